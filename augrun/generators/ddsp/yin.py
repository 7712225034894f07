"""The fundamental frequency by YIN (de Cheveigné & Kawahara 2002, JASA 111(4)).

It is written out here because `librosa.yin` compiles two small loops with numba: half a minute on first use, and two
seconds of every process, for what takes a thirtieth of a second a window. The two differ where a frame is slow beside
its length: librosa 0.11 leaves one term out of the difference at a lag of one sample, and with it shifts all means.
"""

from __future__ import annotations

import math

import numpy as np

from augrun.core.errors import RequestError

WINDOW = 1024  # 64 ms at 16 kHz: three periods of 50 Hz
THRESHOLD = 0.1  # section II.D: a period is taken for the fundamental's below this aperiodic share of the power


def check_range(low: float, high: float, sample_rate: int) -> None:
    """Refuses a range that YIN cannot look through in its window.

    Args:
        low: lowest fundamental, Hz.
        high: highest fundamental, Hz.
        sample_rate: Hz.

    Raises:
        RequestError: it does not rise, or an end of it is out of reach.
    """
    edges = f"generator.f0_min={low:g} and generator.f0_max={high:g}"
    if not low < high < sample_rate / 2:
        raise RequestError(f"{edges} must rise and stay below half the sample rate, {sample_rate / 2:g} Hz")
    if sample_rate / low > WINDOW - 2:
        least = math.ceil(10 * sample_rate / (WINDOW - 2)) / 10
        raise RequestError(
            f"generator.f0_min={low:g}: no period of it fits into the {WINDOW} samples that are looked at, at "
            f"{sample_rate} Hz; give {least:g} or more"
        )


def yin(sound: np.ndarray, sample_rate: int, hop: int, low: float, high: float, window: int) -> np.ndarray:
    """Fundamental at frames centred on every `hop` samples, for the unvoiced ones too.

    Args:
        sound: mono, float32 or float64, (N,).
        sample_rate: Hz.
        hop: samples.
        low: lowest fundamental, Hz.
        high: highest fundamental, Hz.
        window: samples of a frame, an even number; the longest period is shorter than that.

    Returns:
        Hz, (N // hop + 1,).
    """
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, window // 2), window)[::hop]
    shortest, longest = math.floor(sample_rate / high), min(math.ceil(sample_rate / low), window - 1)
    aperiodicity = _normalised_difference(frames, longest)[:, shortest - 1 :]
    picked = _first_dip(aperiodicity)
    return sample_rate / (shortest + picked + _vertex(aperiodicity, picked))


def _normalised_difference(frames: np.ndarray, longest: int) -> np.ndarray:
    """Cumulative mean normalised difference (equation 8) at lags 1 to `longest`: (T, longest).

    A frame is taken to be followed by silence, so that the difference (equation 6) of a lag k has three terms: the
    frame's energy, that of its samples from k on, and twice the autocorrelation.
    """
    from scipy import fft

    size = fft.next_fast_len(2 * frames.shape[1] - 1, real=True)
    spectrum = fft.rfft(frames, size)
    correlation = fft.irfft(spectrum.real**2 + spectrum.imag**2, size)
    head = np.cumsum(frames[:, :longest] ** 2, axis=1)
    difference = 2 * (correlation[:, :1] - correlation[:, 1 : longest + 1]) - head
    mean = np.cumsum(difference, axis=1) / np.arange(1, longest + 1)
    return difference / (mean + np.finfo(frames.dtype).tiny)


def _first_dip(aperiodicity: np.ndarray) -> np.ndarray:
    """The first local minimum below the threshold (section II.D), or else the lowest of all: columns, (T,)."""
    falls = np.ones(aperiodicity.shape, bool)
    falls[:, 1:] = aperiodicity[:, 1:] < aperiodicity[:, :-1]
    ends = np.ones(aperiodicity.shape, bool)
    ends[:, :-1] = aperiodicity[:, :-1] <= aperiodicity[:, 1:]
    ends[:, 0] = aperiodicity[:, 0] < aperiodicity[:, 1]
    dips = falls & ends & (aperiodicity < THRESHOLD)
    return np.where(dips.any(1), dips.argmax(1), aperiodicity.argmin(1))


def _vertex(aperiodicity: np.ndarray, picked: np.ndarray) -> np.ndarray:
    """Where the parabola through a minimum and its neighbours is lowest (section II.E): lags from the minimum, (T,)."""
    rows, last = np.arange(len(picked)), aperiodicity.shape[1] - 1
    before, at, after = (aperiodicity[rows, np.clip(picked + step, 0, last)] for step in (-1, 0, 1))
    slope, bend = (after - before) / 2, after + before - 2 * at
    inside = (picked > 0) & (picked < last) & (np.abs(slope) < np.abs(bend))
    return np.where(inside, -slope / np.where(inside, bend, 1), 0)
