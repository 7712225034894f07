"""What each transform does to duration, pitch and noise, in numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import librosa
import numpy as np
import pytest
import torch
import torchaudio

from augrun.generators.signal import vocoder
from augrun.generators.signal.transforms import (
    FULL_SCALE,
    SILENCE,
    add_gaussian_noise,
    add_noise,
    below_full_scale,
    looped,
    pitch_shift,
    power,
    time_stretch,
)

WINDOW_S = 0.064
RATES = (0.5, 0.81, 0.93, 1.07, 1.23, 2.0)
SHIFTS = (-12.0, -3.5, -2.0, -0.37, 0.5, 1.0, 2.0, 7.0)


def tone(frequency: float, seconds: float, rate: int = 16000, harmonics: int = 1, level: float = 0.3) -> np.ndarray:
    """A steady tone; its harmonics fall by 6 dB an octave."""
    time_s = np.arange(round(seconds * rate)) / rate
    return sum(level / k * np.sin(2 * np.pi * k * frequency * time_s) for k in range(1, harmonics + 1)).astype("f4")


@lru_cache(maxsize=None)
def voice(speed: float, seed: int, seconds: float = 2.0, rate: int = 16000) -> np.ndarray:
    """A gliding voice with moving formants and pauses, as it is when all of its movements are `speed` times as fast."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate / speed)) / rate * speed
    phase = rng.uniform(0, 6, size=5)
    f0 = 160 * (1 - 0.05 * time_s) * (1 + 0.12 * np.sin(2 * np.pi * 0.9 * time_s + phase[0]))
    angle = 2 * np.pi * np.cumsum(f0) / rate
    formants = [
        (550 + 250 * np.sin(2 * np.pi * 1.9 * time_s + phase[1]), 80, 1.0),
        (1500 + 500 * np.sin(2 * np.pi * 1.3 * time_s + phase[2]), 110, 0.6),
        (2600 + 200 * np.sin(2 * np.pi * 2.3 * time_s + phase[3]), 160, 0.3),
    ]
    loudness = np.clip(np.sin(2 * np.pi * 2.1 * time_s + phase[4]) + 0.45, 0, None)
    sound = np.zeros(len(time_s))
    for k in range(1, int(7600 / f0.max())):
        heard = sum(g / (1 + ((k * f0 - centre) / width) ** 2) for centre, width, g in formants) + 0.003
        sound += heard * np.sin(k * angle) / np.sqrt(k)
    made = (0.1 * loudness * sound / sound.std()).astype(np.float32)
    made.setflags(write=False)
    return made


def log_mel(sound: np.ndarray, rate: int = 16000) -> np.ndarray:
    spectrum = librosa.feature.melspectrogram(y=sound, sr=rate, n_fft=512, hop_length=160, n_mels=64, fmax=7600)
    return 10 * np.log10(spectrum + 1e-12)


def difference_db(made: np.ndarray, true: np.ndarray) -> float:
    """Mean difference of two log-mel spectrograms, 60 dB deep."""
    ours, theirs = log_mel(made), log_mel(true)
    floor = theirs.max() - 60
    return float(np.abs(np.maximum(ours, floor) - np.maximum(theirs, floor)).mean())


def frequency(sound: np.ndarray, rate: int, near: float) -> float:
    """The frequency of the strongest partial within a semitone and a half of `near`, in Hz, far finer than a bin."""
    middle = sound[len(sound) // 8 : -len(sound) // 8]
    spectrum = np.abs(np.fft.rfft(middle * np.blackman(len(middle)), 1 << 19))
    bins = np.fft.rfftfreq(1 << 19, 1 / rate)
    within = np.flatnonzero((bins > near * 2 ** (-1.5 / 12)) & (bins < near * 2 ** (1.5 / 12)))
    top = within[np.argmax(spectrum[within])]
    left, centre, right = np.log(spectrum[top - 1 : top + 2])
    return float((top + (left - right) / (left - 2 * centre + right) / 2) * rate / (1 << 19))


def cents(one: float, other: float) -> float:
    return 1200 * math.log2(one / other)


def snr_db(clean: np.ndarray, mixed: np.ndarray) -> float:
    noise = mixed.astype(np.float64) - clean
    return float(10 * np.log10(np.mean(clean.astype(np.float64) ** 2) / np.mean(noise**2)))


@pytest.mark.parametrize("samples", [1, 2, 100, 1023, 1024, 16000, 47_777])
@pytest.mark.parametrize("rate", RATES)
def test_a_stretched_sound_lasts_as_long_as_its_speed_says(rate: float, samples: int) -> None:
    sound = np.random.default_rng(0).normal(scale=0.1, size=samples).astype(np.float32)
    made = time_stretch(sound, rate, 16000, WINDOW_S)
    assert made.dtype == np.float32
    assert len(made) == max(1, round(samples / rate))
    assert np.isfinite(made).all()


@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100])
@pytest.mark.parametrize("rate", RATES)
def test_a_stretched_tone_keeps_its_pitch_and_its_level(rate: float, sample_rate: int) -> None:
    sound = tone(220.7, 2.0, sample_rate, harmonics=6)
    made = time_stretch(sound, rate, sample_rate, WINDOW_S)
    for harmonic in range(1, 7):
        assert abs(cents(frequency(made, sample_rate, 220.7 * harmonic), 220.7 * harmonic)) < 1
    assert 10 * abs(np.log10(power(made) / power(sound))) < 0.1


def test_stretching_moves_what_happens_when() -> None:
    sound = np.zeros(32000, np.float32)
    times_s = np.array([0.3, 0.75, 1.2, 1.8])
    for time_s in times_s:
        sound[round(time_s * 16000) :][:800] += tone(900, 0.05) * np.hanning(800).astype(np.float32)
    for rate in (0.81, 1.23):
        made = time_stretch(sound, rate, 16000, WINDOW_S)
        for time_s in times_s:
            around = slice(round((time_s / rate - 0.1) * 16000), round((time_s / rate + 0.15) * 16000))
            energy = np.square(made[around])
            centre = (np.arange(len(energy)) * energy).sum() / energy.sum() / 16000 - 0.1
            # The middle of a burst of 50 ms is as far behind its start as speed has it.
            assert centre == pytest.approx(0.025 / rate, abs=0.005)


def test_speed_one_changes_nothing() -> None:
    sound = voice(1.0, seed=1)
    np.testing.assert_allclose(vocoder.stretch(sound, 1.0, 256), sound, atol=2e-6)
    np.testing.assert_allclose(pitch_shift(sound, 0.0, 16000, WINDOW_S), sound, atol=2e-6)


@pytest.mark.parametrize("rate", [0.81, 0.93, 1.07, 1.23])
def test_a_stretched_voice_is_like_one_that_speaks_at_that_speed(rate: float) -> None:
    """Held against the truth, and against torchaudio's vocoder with the same window, which is off by over 2 dB."""
    ours, theirs = [], []
    for seed in range(3):
        sound, true = voice(1.0, seed), voice(rate, seed)
        ours.append(difference_db(time_stretch(sound, rate, 16000, WINDOW_S), true))
        theirs.append(difference_db(torchaudio_stretch(sound, rate, 1024), true))
    assert np.mean(ours) < 0.7
    assert np.mean(ours) < np.mean(theirs) / 3


def torchaudio_stretch(sound: np.ndarray, rate: float, window: int) -> np.ndarray:
    hann, hop = torch.hann_window(window), window // 4
    spectrum = torch.stft(torch.from_numpy(sound.copy()), window, hop, window=hann, return_complex=True)
    advance = torch.linspace(0, math.pi * hop, window // 2 + 1)[:, None]
    made = torchaudio.functional.phase_vocoder(spectrum[None], rate, advance)[0]
    return torch.istft(made, window, hop, window=hann, length=round(len(sound) / rate)).numpy()


def tone_within(made: np.ndarray, pitch: float) -> tuple[float, float]:
    """The level of the best fitting tone away from the edges, and the share of the power that it leaves."""
    inner = made[4000:-4000].astype(np.float64)
    angle = 2 * np.pi * pitch / 16000 * np.arange(len(inner))
    weights, rest, *_ = np.linalg.lstsq(np.stack([np.sin(angle), np.cos(angle)], 1), inner)
    return float(np.hypot(*weights)), float(rest[0] / np.square(inner).sum())


@pytest.mark.parametrize("pitch", [220.7, 431.1])
def test_a_tone_stays_a_tone_as_it_does_with_torchaudio(pitch: float) -> None:
    sound = tone(pitch, 2.0)
    for made in (time_stretch(sound, 0.81, 16000, WINDOW_S), time_stretch(sound, 1.23, 16000, WINDOW_S)):
        assert tone_within(made, pitch) == pytest.approx((0.3, 0.0), abs=1e-6)
    # At other speeds, torchaudio's bins of one tone are out of step from its abrupt beginning on and weaken each other
    assert tone_within(torchaudio_stretch(sound, 1.23, 1024), pitch) == pytest.approx((0.3, 0.0), abs=1e-6)


def test_the_work_does_not_depend_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = voice(1.0, seed=2)
    whole = vocoder.stretch(sound, 0.9, 256)
    for block in (1, 7, 10_000):
        monkeypatch.setattr(vocoder, "BLOCK", block)
        np.testing.assert_allclose(vocoder.stretch(sound, 0.9, 256), whole, atol=2e-5)


def test_regions_reach_half_way_to_the_next_peak() -> None:
    power_of = np.zeros((3, 12), np.float32)
    power_of[0, [3, 8]] = 1, 2
    power_of[2, 5] = 1
    peaks, widths = vocoder.regions(power_of)
    # The middle frame has no peak: it is one region, led by its first bin.
    assert peaks.tolist() == [3, 8, 12, 24 + 5]
    assert widths.tolist() == [6, 6, 12, 12]


def test_bins_of_one_peak_keep_their_phases_to_each_other() -> None:
    sound = tone(300.0, 1.0)
    frames = np.lib.stride_tricks.sliding_window_view(sound, 1024)[::300] * vocoder.hann(1024)
    before = np.lib.stride_tricks.sliding_window_view(np.pad(sound, (256, 0)), 1024)[::300][: len(frames)]
    here = np.fft.rfft(frames).astype(np.complex64)
    turned = vocoder.Locked().turn(here, np.fft.rfft(before * vocoder.hann(1024)).astype(np.complex64))
    np.testing.assert_allclose(np.abs(turned), np.abs(here), rtol=1e-4, atol=1e-4)
    peak = 19  # 300 Hz
    assert np.abs(here[:, peak]).min() > 20
    for other in (18, 20):
        was, now = (np.angle(x[:, other] * x[:, peak].conj()) for x in (here, turned))
        np.testing.assert_allclose(np.exp(1j * was), np.exp(1j * now), atol=1e-3)


@pytest.mark.parametrize("semitones", SHIFTS)
def test_a_shifted_tone_is_as_many_cents_higher_and_lasts_as_long(semitones: float) -> None:
    for sample_rate in (16000, 44100):
        sound = tone(220.7, 2.0, sample_rate, harmonics=6)
        made = pitch_shift(sound, semitones, sample_rate, WINDOW_S)
        assert made.dtype == np.float32
        assert len(made) == len(sound)
        for harmonic in range(1, 7):
            was = 220.7 * harmonic
            now = frequency(made, sample_rate, was * 2 ** (semitones / 12))
            assert abs(cents(now, was) - 100 * semitones) < 1


@pytest.mark.parametrize("semitones", [-2.0, 1.37])
def test_a_shifted_voice_is_as_much_higher_to_yin(semitones: float) -> None:
    sound = voice(1.0, seed=3)
    made = pitch_shift(sound, semitones, 16000, WINDOW_S)
    was, now = (librosa.yin(x, fmin=80, fmax=400, sr=16000, frame_length=1024) for x in (sound, made))
    loud = librosa.feature.rms(y=sound, frame_length=1024, hop_length=256)[0] > 0.05
    assert loud.sum() > 60
    assert np.median(1200 * np.log2(now[loud] / was[loud])) == pytest.approx(100 * semitones, abs=5)


def test_a_shift_keeps_when_things_happen() -> None:
    sound = np.zeros(32000, np.float32)
    sound[20000:20800] = tone(900, 0.05) * np.hanning(800).astype(np.float32)
    for semitones in (-3.5, 3.5):
        energy = np.square(pitch_shift(sound, semitones, 16000, WINDOW_S))
        centre = (np.arange(len(energy)) * energy).sum() / energy.sum()
        assert centre == pytest.approx(20400, abs=80)


@pytest.mark.parametrize("samples", [1, 3, 100, 1000])
def test_less_than_a_window_is_shifted_amid_silence(samples: int) -> None:
    sound = np.random.default_rng(1).normal(scale=0.1, size=samples).astype(np.float32)
    for semitones in (-2.0, 2.0):
        made = pitch_shift(sound, semitones, 16000, WINDOW_S)
        assert len(made) == samples
        assert np.isfinite(made).all()


def test_silence_stays_silence() -> None:
    silence = np.zeros(8000, np.float32)
    assert not time_stretch(silence, 0.81, 16000, WINDOW_S).any()
    assert not pitch_shift(silence, 2.0, 16000, WINDOW_S).any()


def test_silence_before_and_after_a_sound_ends_in_nothing_odd() -> None:
    sound = np.concatenate([np.zeros(16000), tone(300, 0.5), np.zeros(16000), tone(300, 0.5)]).astype(np.float32)
    made = time_stretch(sound, 0.81, 16000, WINDOW_S)
    assert np.isfinite(made).all()
    assert power(made[round(1.15 * 16000 / 0.81) :][:4000]) == pytest.approx(0.045, rel=0.05)
    assert not made[: round(0.9 * 16000 / 0.81)].any()


@pytest.mark.parametrize("snr", [-5.0, 0.0, 12.3, 40.0])
def test_gaussian_noise_has_the_ratio_asked_for(snr: float) -> None:
    sound = voice(1.0, seed=4)
    made = add_gaussian_noise(sound, snr, np.random.default_rng(0))
    assert made.dtype == np.float32
    assert snr_db(sound, made) == pytest.approx(snr, abs=0.01)


def test_gaussian_noise_is_white_and_gaussian() -> None:
    sound = voice(1.0, seed=5, seconds=8.0)
    noise = add_gaussian_noise(sound, 0.0, np.random.default_rng(0)).astype(np.float64) - sound
    noise /= noise.std()
    # The spectrum of white noise: bands of 500 bins differ by about 1 / sqrt(500), 0.2 dB.
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    bands_db = 10 * np.log10(spectrum[1:64001].reshape(-1, 500).mean(axis=1) / spectrum.mean())
    assert np.abs(bands_db).max() < 1.0
    assert bands_db.std() < 0.3
    assert abs((noise**4).mean() - 3) < 0.05
    assert abs(np.mean(noise[1:] * noise[:-1])) < 0.01
    assert abs(np.corrcoef(noise, sound)[0, 1]) < 0.01


@pytest.mark.parametrize("snr", [-5.0, 0.0, 19.1])
def test_added_noise_has_the_ratio_asked_for_and_keeps_its_shape(snr: float) -> None:
    sound, noise = voice(1.0, seed=6), 3 * voice(1.1, seed=7, seconds=2.2)
    made = add_noise(sound, noise, snr)
    assert snr_db(sound, made) == pytest.approx(snr, abs=0.01)
    assert np.corrcoef(made.astype(np.float64) - sound, noise)[0, 1] > 0.9999


def test_no_noise_is_added_where_there_is_no_ratio() -> None:
    sound, noise = tone(300, 0.5), tone(700, 0.5)
    faint = sound * np.float32(1e-5)
    assert power(faint) < SILENCE
    for clean, added in ((faint, noise), (sound, np.zeros_like(noise))):
        made = add_noise(clean, added, 0.0)
        np.testing.assert_array_equal(made, clean)
        assert made is not clean


def test_what_would_clip_is_turned_down_and_keeps_its_ratio() -> None:
    sound, noise = tone(300, 1.0, level=0.9), tone(711, 1.0, level=0.9)
    made, gain_db = below_full_scale(add_noise(sound, noise, 3.0))
    peak = np.abs(made).max()
    assert peak == pytest.approx(FULL_SCALE, abs=1e-6)
    assert np.rint(peak * 32768) <= 32767
    assert gain_db < -3
    assert snr_db(sound * np.float32(10 ** (gain_db / 20)), made) == pytest.approx(3.0, abs=0.01)


def test_what_would_not_clip_is_left_as_it_is() -> None:
    sound = tone(300, 0.1, level=0.99)
    made, gain_db = below_full_scale(sound)
    assert made is sound
    assert gain_db == 0.0


def test_a_loop_goes_round_without_a_click() -> None:
    noise = np.random.default_rng(0).normal(size=4000).astype(np.float32)
    loop = looped(noise, 20_000, start=1234, fade=800)
    assert len(loop) == 20_000
    np.testing.assert_array_equal(loop[:3200], loop[3200:6400])  # 4000 - 800 samples a round
    assert loop[0] == noise[1234]
    # The power within the crossfade is that of the rest.
    assert np.square(looped(noise, 800, start=0, fade=800)).mean() == pytest.approx(1, rel=0.15)
    ramp = np.linspace(-1, 1, 4000, dtype=np.float32)  # the end is as far from the beginning as can be
    assert np.abs(np.diff(looped(ramp, 10_000, start=0, fade=800))).max() < 0.01


@pytest.mark.parametrize(("length", "fade"), [(2, 800), (3, 0), (1000, 999_999)])
def test_a_loop_of_any_piece(length: int, fade: int) -> None:
    made = looped(np.ones(length, np.float32), 5000, start=length - 1, fade=fade)
    assert len(made) == 5000
    assert np.isfinite(made).all()
    assert made.min() >= 1


@pytest.mark.parametrize(
    "change",
    [
        lambda sound: time_stretch(sound, 0.9, 16000, WINDOW_S),
        lambda sound: pitch_shift(sound, 1.5, 16000, WINDOW_S),
        lambda sound: add_gaussian_noise(sound, 5.0, np.random.default_rng(3)),
        lambda sound: add_noise(sound, np.flip(sound).copy(), 5.0),
        lambda sound: below_full_scale(sound * 3)[0],
    ],
)
def test_the_sound_given_is_not_changed_and_the_result_is_the_same_again(
    change: Callable[[np.ndarray], np.ndarray],
) -> None:
    sound = voice(1.0, seed=8, seconds=1.0)
    before = sound.copy()
    first = change(sound)
    np.testing.assert_array_equal(sound, before)
    np.testing.assert_array_equal(change(sound), first)
    assert not np.shares_memory(first, sound)


@pytest.mark.parametrize("rate", [1000, 8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_the_window_is_as_long_as_asked_for_at_any_rate(rate: int) -> None:
    assert 4 * vocoder.hop_of(rate, WINDOW_S) / rate == pytest.approx(WINDOW_S, rel=0.04)
