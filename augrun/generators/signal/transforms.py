"""The signal-based transforms of Chatziagapi et al. 2019, section 2.5: one utterance in, one transformed utterance out.

Pure functions on float32 (samples,). Whatever is random comes from the numpy generator that they are given.
"""

from __future__ import annotations

import numpy as np
import soxr

from augrun.generators.signal import vocoder

#: Below this mean power (-100 dB of full scale, under one step of 16 bits) a sound is silence, which has no SNR.
SILENCE = 1e-10

#: The largest sample of 16 bits.
FULL_SCALE = 32767 / 32768


def time_stretch(sound: np.ndarray, rate: float, sample_rate: int, window_s: float) -> np.ndarray:
    """Changes the duration, not the pitch.

    Args:
        sound: float32 (samples,), of any length above 0; what is shorter than a window is stretched amid silence.
        rate: above 1 is faster, and shorter.
        sample_rate: Hz.
        window_s: seconds of the vocoder's window.

    Returns:
        float32 (round(samples / rate),).
    """
    return vocoder.stretch(sound, rate, vocoder.hop_of(sample_rate, window_s))


def pitch_shift(sound: np.ndarray, semitones: float, sample_rate: int, window_s: float) -> np.ndarray:
    """Changes the pitch, and with it the formants, not the duration.

    Args:
        sound: float32 (samples,), of any length above 0; what is shorter than a window is shifted amid silence.
        semitones: upwards; a fraction is cents.
        sample_rate: Hz.
        window_s: seconds of the vocoder's window.

    Returns:
        float32, as long as `sound` to the sample.
    """
    factor = 2 ** (semitones / 12)
    stretched = time_stretch(sound, 1 / factor, sample_rate, window_s)
    # soxr takes any ratio as it is; torchaudio's resampler wants whole numbers, and would be some cents off.
    shifted = soxr.resample(stretched, factor, 1.0)[: len(sound)]
    return np.pad(shifted, (0, len(sound) - len(shifted)))


def add_noise(sound: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Adds noise at a signal-to-noise ratio: the mean power of the whole sound over that of all the noise added.

    Silence within the sound gets as much noise as the rest. A sound that is all silence, and so has no such ratio,
    comes back as it is.

    Args:
        sound: float32 (samples,).
        noise: float32 (samples,).
        snr_db: dB.

    Returns:
        float32 (samples,); it may exceed full scale.
    """
    signal, there = power(sound), power(noise)
    if signal <= SILENCE or there == 0:
        return sound.copy()
    return sound + np.float32((signal / there / 10 ** (snr_db / 10)) ** 0.5) * noise


def add_gaussian_noise(sound: np.ndarray, snr_db: float, generator: np.random.Generator) -> np.ndarray:
    """Adds white Gaussian noise at a signal-to-noise ratio in dB; see `add_noise`."""
    return add_noise(sound, generator.standard_normal(len(sound), dtype=np.float32), snr_db)


def looped(noise: np.ndarray, samples: int, start: int, fade: int) -> np.ndarray:
    """Noise of any length from a shorter piece: the piece again and again, faded into itself.

    Args:
        noise: float32, at least two samples.
        samples: the length wanted.
        start: where in the loop to begin.
        fade: samples over which the end fades into the beginning; at most half of the piece.

    Returns:
        float32 (samples,).
    """
    fade = max(0, min(fade, len(noise) // 2))
    loop = noise[: len(noise) - fade].copy()
    if fade:
        angle = ((np.arange(fade) + 0.5) / fade * (np.pi / 2)).astype(np.float32)
        # Sine and cosine keep the power of sounds that are unlike each other.
        loop[:fade] = np.sin(angle) * loop[:fade] + np.cos(angle) * noise[len(noise) - fade :]
    return np.take(loop, np.arange(start, start + samples), mode="wrap")


def below_full_scale(sound: np.ndarray) -> tuple[np.ndarray, float]:
    """The sound as a file of 16 bits can hold it, and the dB by which it was turned down: 0 unless it would clip."""
    peak = float(np.abs(sound).max())
    if peak <= FULL_SCALE:
        return sound, 0.0
    gain = FULL_SCALE / peak
    return sound * np.float32(gain), float(20 * np.log10(gain))


def power(sound: np.ndarray) -> float:
    """The mean square."""
    # Not `np.dot`, whose sum depends on the number of processors; and without the copy that `np.square` would make.
    return float(np.einsum("i,i->", sound, sound)) / len(sound)
