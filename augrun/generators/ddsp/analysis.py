"""What the autoencoder is told about a sound: fundamental, loudness and timbre; and the cache that holds it.

Loudness and MFCCs follow the package `ddsp` 3.7.0 (Engel et al., ICLR 2020), whose numbers the tests hold them against.
The fundamental is YIN's (de Cheveigné & Kawahara 2002) in place of CREPE's, which needs weights to be fetched. In
recordings of instruments and voices it is within 50 cents of librosa's pYIN, at a small part of its cost, on 98 % and
more of the voiced frames (tests/generators/test_yin.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from augrun.core import audio
from augrun.core.job import Hardware
from augrun.corpora.corpus import Corpus
from augrun.features.cache import Features, build, one_by_one
from augrun.generators.ddsp.synthesis import magnitude, upsample_linear
from augrun.generators.ddsp.yin import WINDOW, yin

MFCCS = 30  # of 128 mel bands, as the package's MfccTimeDistributedRnnEncoder keeps
MEL_BANDS, MEL_LOW_HZ = 128, 20.0
RANGE_DB = 80.0
LOUDNESS_WINDOW = 512

#: A window's arrays, in the order that the cache keeps them.
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Analysis:
    """How windows of sound are analysed.

    Attributes:
        sample_rate: Hz.
        samples: samples in a window.
        frames: frames of fundamental and loudness in a window; divides `samples`.
        z_size: FFT size of the MFCCs.
        z_hop: samples between two frames of MFCCs.
        f0_min: lowest fundamental, Hz.
        f0_max: highest fundamental, Hz.
        f0_confidence: fundamentals of a lower confidence are bridged from their confident neighbours; 0 keeps all.
    """

    sample_rate: int
    samples: int
    frames: int
    z_size: int
    z_hop: int
    f0_min: float
    f0_max: float
    f0_confidence: float

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each array that `analyse` makes."""
        z_frames = -(-self.samples // self.z_hop)
        frames = (self.frames,)
        return {
            "audio": (self.samples,),
            "f0_hz": frames,
            "confidence": frames,
            "loudness_db": frames,
            "mfcc": (z_frames, MFCCS),
        }

    def analyse(self, sound: np.ndarray) -> Arrays:
        """Everything the autoencoder takes, from a window of sound of at most `samples` samples.

        Returns:
            `audio`, `f0_hz`, `confidence`, `loudness_db` and `mfcc`, float32, shapes as in `shapes`.
        """
        window = np.zeros(self.samples, np.float32)
        window[: len(sound)] = sound[: self.samples]
        hop = self.samples // self.frames
        f0_hz, confidence = fundamental(window, self.sample_rate, hop, self.f0_min, self.f0_max)
        f0_hz, confidence = f0_hz[: self.frames], confidence[: self.frames]
        with torch.inference_mode():
            tensor = torch.from_numpy(window)[None]
            loudness_db = upsample_linear(loudness(tensor, self.sample_rate, hop)[..., None], self.frames)[0, :, 0]
            timbre = mfcc(tensor, self.sample_rate, self.z_size, self.z_hop)[0]
        return {
            "audio": window,
            "f0_hz": bridge(f0_hz, confidence >= self.f0_confidence).astype(np.float32),
            "confidence": confidence.astype(np.float32),
            "loudness_db": loudness_db.numpy(),
            "mfcc": timbre.numpy(),
        }

    def pack(self, arrays: Arrays) -> np.ndarray:
        """One row of the cache. The sound takes 16 bits a sample, two of them in the place of one number."""
        pcm = np.round(np.clip(arrays["audio"], -1, 1) * 32767).astype("<i2")
        pcm = np.pad(pcm, (0, self.samples % 2)).view("<f4")
        rest = [arrays[name].astype("<f4").ravel() for name in self.shapes if name != "audio"]
        return np.concatenate([pcm, *rest])

    def unpack(self, row: np.ndarray) -> Arrays:
        """The arrays of a row that `pack` made; copies."""
        at = (self.samples + 1) // 2
        arrays: Arrays = {"audio": row[:at].view("<i2")[: self.samples].astype(np.float32) / np.float32(32767)}
        for name, shape in self.shapes.items():
            if name != "audio":
                size = math.prod(shape)
                arrays[name] = np.array(row[at : at + size], dtype=np.float32).reshape(shape)
                at += size
        return arrays

    @property
    def width(self) -> int:
        """Numbers in a row of the cache."""
        rest = sum(math.prod(shape) for name, shape in self.shapes.items() if name != "audio")
        return (self.samples + 1) // 2 + rest


class Windows(torch.utils.data.Dataset):
    """The windows of a corpus, analysed once and then read from a memory-mapped file."""

    def __init__(self, analysis: Analysis, features: Features) -> None:
        self.analysis, self.features = analysis, features
        self.places = [(clip, row) for clip, rows in enumerate(features.frames) for row in range(int(rows))]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Arrays:
        clip, row = self.places[index]
        return self.analysis.unpack(self.features[clip][row])


def windows_of(
    corpus: Corpus, analysis: Analysis, folder: Path, hardware: Hardware, *, per_clip: int | None, title: str | None
) -> Windows:
    """Cuts and analyses a corpus's clips, in parallel, into `folder`; a killed call is continued by the next.

    Args:
        corpus: the clips; each gives windows within its own start and end.
        analysis: how.
        folder: where the cache lies.
        hardware: how many threads.
        per_clip: at most so many windows of a clip, spread over it; None takes all.
        title: what to call this work on the console; None shows nothing.

    Raises:
        AugrunError: some clips cannot be read.
    """
    seconds = analysis.samples / analysis.sample_rate
    clips = list(corpus.clips[["path", "start_s", "duration_s"]].itertuples(index=False, name=None))

    def compute(clip: int) -> np.ndarray:
        path, begin, duration = clips[clip]
        starts, end = window_starts(begin, duration, seconds, per_clip), begin + duration
        sounds = (audio.read(path, analysis.sample_rate, start, min(seconds, end - start)) for start in starts)
        return np.stack([analysis.pack(analysis.analyse(sound)) for sound in sounds])

    names = corpus.clips["clip_id"].tolist()
    key = repr((corpus.digest, analysis, per_clip))
    threads = torch.get_num_threads()
    try:
        features = build(
            folder,
            names,
            analysis.width,
            one_by_one(compute),
            key=key,
            workers=hardware.workers,
            prepare=_one_thread,
            title=title,
        )
    finally:
        torch.set_num_threads(threads)  # part of it holds for the whole process
    return Windows(analysis, features)


def _one_thread() -> None:
    torch.set_num_threads(1)


def window_starts(start_s: float, duration_s: float, seconds: float, limit: int | None) -> list[float]:
    """Where a clip's windows start: one after the other, the last one ending with the clip.

    A clip shorter than a window has one. At most `limit` are kept, evenly spread.
    """
    count = max(1, math.ceil(duration_s / seconds - 0.01))
    starts = [start_s + min(turn * seconds, max(0.0, duration_s - seconds)) for turn in range(count)]
    if limit is None or count <= limit:
        return starts
    return [starts[(2 * pick + 1) * count // (2 * limit)] for pick in range(limit)]


def fundamental(
    sound: np.ndarray, sample_rate: int, hop: int, low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fundamental and confidence at frames centred on every `hop` samples.

    The confidence is the normalised correlation of the frame with itself one period later: near 1 for a steady
    tone, near 0 for noise, 0 for silence.

    Args:
        sound: mono, (N,).
        sample_rate: Hz.
        hop: samples.
        low: lowest fundamental, Hz.
        high: highest fundamental, Hz.

    Returns:
        Hz and confidence in [0, 1], each (N // hop + 1,).
    """
    window = WINDOW
    f0_hz = yin(sound, sample_rate, hop, low, high, window)
    lag = np.round(sample_rate / f0_hz).astype(np.int64)[:, None]
    padded = np.pad(sound.astype(np.float64), window // 2)
    framed = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][: len(f0_hz)]
    times = np.arange(window)[None]
    both = times + lag < window
    early = framed * both
    late = np.take_along_axis(framed, np.minimum(times + lag, window - 1), 1) * both
    scale = np.sqrt((early**2).sum(1) * (late**2).sum(1))
    confidence = (early * late).sum(1) / np.maximum(scale, 1e-9)
    return f0_hz, np.clip(confidence, 0.0, 1.0)


def bridge(f0_hz: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Replaces what is not sure by a line, in octaves, between its sure neighbours; the ends are held."""
    if sure.all() or not sure.any():
        return f0_hz
    places = np.arange(len(f0_hz))
    return np.exp2(np.interp(places, places[sure], np.log2(f0_hz[sure])))


def loudness(sound: Tensor, sample_rate: int, hop: int) -> Tensor:
    """A-weighted loudness in dB, from -80 to 0 and above: (B, N) to (B, N // hop + 1), frames centred."""
    size = LOUDNESS_WINDOW
    framed = functional.pad(sound, (size // 2, size // 2)).unfold(-1, size, hop)
    power = torch.fft.rfft(framed * torch.hann_window(size, dtype=sound.dtype, device=sound.device)).abs().square()
    weighted = (power * _a_weighting(sample_rate, size).to(power)).mean(-1)
    return (10 * weighted.clamp(min=10 ** (-RANGE_DB / 10)).log10()).clamp(min=-RANGE_DB)


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _a_weighting(sample_rate: int, size: int) -> Tensor:
    """A-weighting as a factor on power at the frequencies of a transform (IEC 61672:2003); at least -80 dB."""
    squares = torch.fft.rfftfreq(size, 1 / sample_rate, dtype=torch.float64).square()
    low, lower, upper, high = (f * f for f in (20.598997, 107.65265, 737.86223, 12194.217))
    gain = high * squares**2 / ((squares + low) * (squares + high) * ((squares + lower) * (squares + upper)).sqrt())
    decibels = 20 * gain.clamp(min=1e-30).log10() + 2.0
    return 10 ** (decibels.clamp(min=-80.0) / 10)


def mfcc(sound: Tensor, sample_rate: int, size: int, hop: int) -> Tensor:
    """The first 30 MFCCs of 128 mel bands from 20 Hz to half the sample rate: (B, N) to (B, ceil(N / hop), 30)."""
    mel = magnitude(sound, size, hop) @ _mel_filters(sample_rate, size).to(sound)
    logarithms = torch.where(mel <= 0, torch.full_like(mel, 1e-5), mel).log()
    return logarithms @ _cosines().to(sound)


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _mel_filters(sample_rate: int, size: int) -> Tensor:
    """Triangles on the mel scale (HTK's), (size // 2 + 1, 128); as TensorFlow makes them, linear in mel, not in Hz."""

    def to_mel(frequency: Tensor) -> Tensor:
        return 1127 * torch.log1p(frequency / 700)

    bins = to_mel(torch.fft.rfftfreq(size, 1 / sample_rate, dtype=torch.float64))[:, None]
    low_end, high_end = to_mel(torch.tensor([MEL_LOW_HZ, sample_rate / 2], dtype=torch.float64)).tolist()
    edges = torch.linspace(low_end, high_end, MEL_BANDS + 2, dtype=torch.float64)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    filters = torch.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clamp(min=0)
    filters[0] = 0  # the constant part of the sound belongs to no band
    return filters


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def _cosines() -> Tensor:
    """Cosine transform of 128 bands to 30 coefficients, (128, 30): DCT-II, scaled by sqrt(2 / 128)."""
    bands = torch.arange(MEL_BANDS, dtype=torch.float64)[:, None] + 0.5
    return torch.cos(math.pi / MEL_BANDS * bands * torch.arange(MFCCS)) * math.sqrt(2 / MEL_BANDS)


def batch_of(windows: Sequence[Arrays]) -> dict[str, Tensor]:
    """Stacks windows to tensors."""
    return {name: torch.from_numpy(np.stack([window[name] for window in windows])) for name in windows[0]}
