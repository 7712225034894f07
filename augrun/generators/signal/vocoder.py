"""A phase-locked vocoder: another duration at the same pitch.

The phase vocoder of librosa and torchaudio turns each frequency bin on its own, so that the bins of one harmonic drift
apart and the voice gets reverberant. Here a spectral peak and the bins around it turn together, "identity phase
locking" of Laroche & Dolson 1999 (Improved phase vocoder time-scale modification of audio), section III. Beside it,
magnitudes are not interpolated between frames: each frame is taken where it is needed, and once more one hop before,
which tells by how much its phases turn in a hop.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import scipy.fft

#: Frames overlap by three quarters.
OVERLAP = 4

#: A peak that rises by this much in power within a hop (40 dB) is new: it has the phases that it was recorded with, and
#: not what follows from the noise that it rose from.
ONSET = 1e-4

#: Frames that are worked on at once: little enough to stay in a processor's cache, and in memory for hours of sound.
BLOCK = 128


def hop_of(sample_rate: int, window_s: float) -> int:
    """A quarter of the window in samples, such that the window's Fourier transform is a fast one."""
    return int(scipy.fft.next_fast_len(max(1, round(window_s * sample_rate / OVERLAP)), real=True))


def stretch(sound: np.ndarray, rate: float, hop: int) -> np.ndarray:
    """Speeds a sound up without changing its pitch.

    What lies before and after it counts as silence, so that it may be shorter than a window.

    Args:
        sound: float32 (samples,), at least one.
        rate: above 1 is faster, and shorter.
        hop: a quarter of the window, in samples.

    Returns:
        float32 (round(samples / rate),), at least one sample.
    """
    length = max(1, round(len(sound) / rate))
    window = hann(OVERLAP * hop)
    centres = np.arange(math.ceil(length / hop) + 1) * hop  # of the frames to be made
    taken = np.rint(centres * rate).astype(np.int64)  # where the sound is at that time
    half = len(window) // 2
    padded = np.pad(sound, (half + hop, max(0, int(taken[-1]) + half - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, len(window))

    out = np.zeros((len(centres) + OVERLAP - 1, hop), dtype=np.float32)
    weight = np.zeros_like(out)
    locked = Locked()
    for first in range(0, len(centres), BLOCK):
        at = taken[first : first + BLOCK]
        here = scipy.fft.rfft(frames[at + hop] * window, axis=1)
        before = scipy.fft.rfft(frames[at] * window, axis=1)
        made = scipy.fft.irfft(locked.turn(here, before), len(window), axis=1, overwrite_x=True)
        made *= window
        for part in range(OVERLAP):
            rows = slice(first + part, first + part + len(at))
            out[rows] += made[:, part * hop : (part + 1) * hop]
            weight[rows] += np.square(window[part * hop : (part + 1) * hop])
    inside = slice(half, half + length)
    return out.reshape(-1)[inside] / weight.reshape(-1)[inside]


@lru_cache(maxsize=16)
def hann(samples: int) -> np.ndarray:
    """Hann's window, periodic, float32 (samples,)."""
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)).astype(np.float32)
    window.setflags(write=False)
    return window


class Locked:
    """Turns the phases of frames to where they are after the frames made before them, block by block."""

    def __init__(self) -> None:
        self._turned: np.ndarray | None = None  # the last frame made, (bins,)

    def turn(self, here: np.ndarray, before: np.ndarray) -> np.ndarray:
        """The frames of one block with their phases turned.

        Args:
            here: complex64 (frames, bins), the frames as they are.
            before: the same one hop earlier: from there to here a frame's phases turn as they must from one frame made
                to the next.

        Returns:
            complex64 (frames, bins), with the magnitudes of `here`.
        """
        bins = here.shape[1]
        power = squared(here)
        peaks, widths = regions(power)
        old = int(np.searchsorted(peaks, bins))  # peaks of the first frame, which follows on the block before
        region = np.repeat(np.arange(len(peaks)), widths)
        # A peak goes on from what lay at its bin in the frame before: that bin's region was turned by `turns[parent]`.
        nobody = len(peaks)
        parent = np.full(nobody + 1, nobody)
        parent[old:nobody] = region[peaks[old:] - bins]
        turns = np.zeros(nobody + 1, dtype=np.complex64)
        earlier = before.reshape(-1)[peaks].conj()
        turns[old:nobody] = here.reshape(-1)[peaks[old:] - bins] * earlier[old:]
        if self._turned is not None:
            turns[:old] = self._turned[peaks[:old]] * earlier[:old]
        # Both factors are what the peak was a hop ago, in the sound made and in the sound given.
        sudden = np.abs(turns) <= ONSET * np.append(power.reshape(-1)[peaks], 1)
        turns[sudden], parent[sudden] = 1, nobody
        turns /= np.abs(turns)
        # Products along each line of peaks, of all lines at once: after n rounds of them, over 2^n frames.
        for _ in range((len(here) - 1).bit_length()):
            turns = turns * turns[parent]
            parent = parent[parent]
        turned = here * np.repeat(turns[:nobody] / np.abs(turns[:nobody]), widths).reshape(here.shape)
        self._turned = turned[-1].copy()
        return turned


def squared(numbers: np.ndarray) -> np.ndarray:
    """The squares of the magnitudes."""
    return np.square(numbers.real) + np.square(numbers.imag)


def regions(power: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spectral peaks, and the bins that belong to each.

    A peak is no smaller than its two neighbours on either side, and reaches half way to the next one of its frame.

    Args:
        power: (frames, bins).

    Returns:
        The peaks' places in the flattened frames, in order, and the number of bins of each; they fill all frames.
    """
    inner = power[:, 2:-2]
    peak = np.zeros(power.shape, dtype=bool)
    peak[:, 2:-2] = (inner > power[:, :-4]) & (inner > power[:, 1:-3])
    peak[:, 2:-2] &= (inner >= power[:, 3:-1]) & (inner >= power[:, 4:])
    peak[:, 0] = ~peak.any(axis=1)  # a frame without any, such as silence, is one region
    peaks = np.flatnonzero(peak)
    rows = peaks // power.shape[1]
    starts = np.concatenate([[0], (peaks[:-1] + peaks[1:]) // 2 + 1])
    leading = np.concatenate([[True], rows[1:] != rows[:-1]])
    starts[leading] = rows[leading] * power.shape[1]
    return peaks, np.diff(starts, append=power.size)
