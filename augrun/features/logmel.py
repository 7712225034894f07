"""Log-mel spectrograms: MTG-Jamendo's official ones and those of speech emotion recognition.

Framing follows Essentia's `FrameCutter` (and librosa's `center=True, pad_mode="constant"`): frame t is centred on
sample t · hop, silence stands before the start and after the end, and frames go on for as long as they hold a sample,
so that n samples give ceil(n / hop) + 1 frames.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np

from augrun.core import audio
from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Hardware
from augrun.core.runtime.malloc import keep_memory
from augrun.corpora.corpus import Corpus
from augrun.features.cache import Features, build

if TYPE_CHECKING:
    import torch

_BLOCK = 512  # frames transformed at once
_SPARE_S = 0.002  # two samples and more at any rate from 1 kHz on
_GROUP = 4 * _BLOCK  # frames whose clips are transformed together: a short clip alone costs several times as much


#: Path, start and end in seconds; None is the file's end.
_Clip = tuple[str, float, float | None]


@dataclass(frozen=True)
class LogMel:
    """Log-mel spectrogram of a mono sound.

    Attributes:
        sample_rate: Hz; sounds of another rate are resampled.
        window: samples of one Hann window.
        hop: samples between two frames.
        n_fft: samples of one transform; a window that is shorter is padded with zeros.
        bands: mel bands.
        f_min: lower edge of the lowest band, Hz.
        f_max: upper edge of the highest band, Hz.
        mel_scale: `slaney` (linear below 1 kHz) or `htk`.
        norm: `slaney` gives every triangle the area one (Essentia's `unit_tri`), `none` the peak one.
        symmetric: a symmetric Hann window (Essentia) rather than a periodic one (librosa, torch).
        scale: `db10` is 10 · log10(power), `db20` is 20 · log10(power).
        floor_db: smallest value, in the units of `scale`, relative to a full-scale amplitude of one.
        resampling: `sinc` (band-limited) or `linear` (the two neighbouring samples, aliasing and all).
    """

    domain: ClassVar[str] = "logmel"
    version: ClassVar[int] = 1

    sample_rate: Annotated[int, "[1000, inf)"] = 12000
    window: Annotated[int, "[2, inf)"] = 512
    hop: Annotated[int, "[1, inf)"] = 256
    n_fft: Annotated[int, "[2, inf)"] = 512
    bands: Annotated[int, "[1, inf)"] = 96
    f_min: Annotated[float, "[0, inf)"] = 0.0
    f_max: Annotated[float, "(0, inf)"] = 6000.0
    mel_scale: Literal["slaney", "htk"] = "slaney"
    norm: Literal["slaney", "none"] = "slaney"
    symmetric: bool = True
    scale: Literal["db10", "db20"] = "db20"
    floor_db: float = -200.0
    resampling: Literal["sinc", "linear"] = "linear"

    def __post_init__(self) -> None:
        if self.window > self.n_fft:
            raise RequestError(f"representation.window={self.window} is longer than representation.n_fft={self.n_fft}")
        if not self.f_min < self.f_max <= self.sample_rate / 2:
            edges = f"representation.f_min={self.f_min:g} and representation.f_max={self.f_max:g}"
            raise RequestError(f"{edges} must rise and stay within half the sample rate, {self.sample_rate / 2:g} Hz")

    @property
    def seconds_per_frame(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop / self.sample_rate

    def frames_of(self, samples: int) -> int:
        """How many frames `samples` samples give."""
        return math.ceil(samples / self.hop) + 1

    def samples_for(self, frames: int) -> int:
        """How many samples the first `frames` frames look at."""
        return (frames - 1) * self.hop + self.window - self.window // 2

    def transform(self, samples: np.ndarray) -> np.ndarray:
        """The log-mel spectrogram of a mono sound at `sample_rate`.

        Args:
            samples: shape (samples,), full scale is 1.

        Returns:
            shape (frames, bands), float32.
        """
        return self.transform_all([samples])[0]

    def transform_all(self, sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The log-mel spectrograms of several sounds: what `transform` gives for each, several times as fast.

        The sounds are laid in a row, each on a multiple of the hop and with silence between them, so that one framing
        serves them all. Blocks have one size: a clip's bits depend neither on its neighbours nor on its place.
        """
        import torch

        if not sounds:
            return []
        before, frames = self.window // 2, [self.frames_of(len(sound)) for sound in sounds]
        spare = -(-self.window // self.hop)  # frames that reach into the next sound, and are left out
        first = np.cumsum([0] + [count + spare for count in frames])
        blocks = -(-int(first[-1]) // _BLOCK)
        row = np.zeros((blocks * _BLOCK - 1) * self.hop + self.window, dtype=np.float32)
        for at, sound, count in zip(first, sounds, frames, strict=False):
            start = int(at) * self.hop + before
            kept = sound[: (count - 1) * self.hop + self.window - before]
            row[start : start + len(kept)] = kept
        with torch.inference_mode():
            framed = torch.from_numpy(row).unfold(0, self.window, self.hop)  # (frames, window), a view
            bands = torch.cat([self._bands(framed[at * _BLOCK : (at + 1) * _BLOCK]) for at in range(blocks)]).numpy()
        return [bands[at : at + count] for at, count in zip(first, frames, strict=False)]

    def _bands(self, framed: torch.Tensor) -> torch.Tensor:
        import torch

        hann, filters = self._constants
        spectrum = torch.view_as_real(torch.fft.rfft(framed * hann, n=self.n_fft)).square_()  # (frames, bins, 2)
        power = spectrum[..., 0] + spectrum[..., 1]
        factor = 20.0 if self.scale == "db20" else 10.0
        return (power @ filters).clamp_(min=10.0 ** (self.floor_db / factor)).log10_().mul_(factor)

    @cached_property
    def _constants(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The window, shape (window,), and the filters, shape (n_fft / 2 + 1, bands)."""
        import torch
        from torchaudio.functional import melscale_fbanks

        hann = torch.hann_window(self.window, periodic=not self.symmetric, dtype=torch.float64).float()
        norm = "slaney" if self.norm == "slaney" else None
        bins = self.n_fft // 2 + 1
        filters = melscale_fbanks(bins, self.f_min, self.f_max, self.bands, self.sample_rate, norm, self.mel_scale)
        return hann, filters

    def clip(
        self, path: str | Path, start_s: float = 0.0, end_s: float | None = None, max_frames: int | None = None
    ) -> np.ndarray:
        """The log-mel spectrogram of a clip; no more of the file is decoded than `max_frames` frames need.

        Args:
            path: a sound file, or an official MTG-Jamendo spectrogram (`.npy`, shape (bands, frames)), taken as it is.
            start_s: where the clip starts within the file.
            end_s: where it ends; None for the file's end.
            max_frames: keep the first so many frames.

        Returns:
            shape (frames, bands), float32.

        Raises:
            AugrunError: the file cannot be read, or is no spectrogram of this shape.
        """
        if str(path).endswith(".npy"):
            return self._official(Path(path), start_s, end_s, max_frames)
        return self.transform(self._samples(path, start_s, end_s, max_frames))[:max_frames]

    def _samples(self, path: str | Path, start_s: float, end_s: float | None, max_frames: int | None) -> np.ndarray:
        """The sound of a clip at `sample_rate`, no more of it than `max_frames` frames look at."""
        seconds = None if end_s is None else end_s - start_s
        if max_frames is not None:
            needed = self.samples_for(max_frames) / self.sample_rate
            seconds = needed if seconds is None else min(seconds, needed)
        if self.resampling == "sinc":
            return audio.read(path, self.sample_rate, start_s, seconds)
        # A little more than the clip: the neighbour on the right, and the delay.
        samples, rate = audio.read_native(path, start_s, None if seconds is None else seconds + _SPARE_S)
        resampled = linear_resample(samples, rate, self.sample_rate)
        return resampled if seconds is None else resampled[: max(1, round(seconds * self.sample_rate))]

    def check_official(self) -> None:
        """Makes sure that MTG-Jamendo's `.npy` spectrograms are what these settings would give.

        Raises:
            RequestError: they are not.
        """
        ours, official = dataclasses.asdict(self), dataclasses.asdict(LogMel())
        different = [f"{name}={official[name]}, not {value}" for name, value in ours.items() if value != official[name]]
        if different:
            raise RequestError(
                f"the published spectrograms (.npy) were made with {'; '.join(different)}; choose "
                "representation=logmel_jamendo, or give a dataset.root that has the audio"
            )

    def _official(self, path: Path, start_s: float, end_s: float | None, max_frames: int | None) -> np.ndarray:
        try:
            mel = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise AugrunError(f"{path}: no spectrogram can be read from it ({error})") from None
        if mel.ndim != 2 or mel.shape[0] != self.bands or mel.shape[1] == 0 or mel.dtype.kind != "f":
            found = f"{mel.dtype} of shape {mel.shape}"
            raise AugrunError(
                f"{path}: holds {found}, not a spectrogram of shape ({self.bands}, frames); "
                "representation=logmel_jamendo reads the official ones"
            )
        first = round(start_s / self.seconds_per_frame)
        last = mel.shape[1] if end_s is None else max(first + 1, round(end_s / self.seconds_per_frame) + 1)
        last = last if max_frames is None else min(last, first + max_frames)
        matrix = np.ascontiguousarray(mel[:, first:last].T, dtype=np.float32)
        if not len(matrix):
            raise AugrunError(f"{path}: ends after {mel.shape[1] * self.seconds_per_frame:.2f} s, before {start_s:g} s")
        if not np.isfinite(matrix).all():
            raise AugrunError(f"{path}: holds values that are NaN or infinite")
        return matrix

    def extract(
        self,
        corpus: Corpus,
        folder: Path,
        hardware: Hardware,
        max_frames: int | None = None,
        title: str | None = None,
    ) -> Features:
        """The log-mel spectrograms of a corpus, computed in parallel into `folder`.

        A call that was killed is continued by the next one with the same arguments.

        Args:
            corpus: the clips.
            folder: where the features go; `Features.open` finds them again.
            hardware: how many workers, and whether to show progress.
            max_frames: keep only the first frames of each clip (what a classifier with inputs of that length sees).
            title: what to call this work on the console.

        Raises:
            AugrunError: some clips cannot be read; the others are kept for the next call.
        """
        keep_memory()
        rows = [
            (path, float(start), float(end) if math.isfinite(end) else None)
            for path, start, end in corpus.clips[["path", "start_s", "end_s"]].itertuples(index=False, name=None)
        ]
        key = {"settings": dataclasses.asdict(self), "max_frames": max_frames, "corpus": corpus.digest}

        def compute(group: Sequence[int]) -> list[np.ndarray | AugrunError]:
            return self._clips([rows[row] for row in group], max_frames)

        if len(corpus):
            self._constants  # noqa: B018 (made once, before the threads start)
        return build(
            folder,
            corpus.clips["clip_id"].tolist(),
            self.bands,
            compute,
            groups=_groups([self._laid(start_s, end_s, max_frames) for _, start_s, end_s in rows]),
            key=json.dumps(key, sort_keys=True),
            workers=hardware.workers,
            prepare=_one_thread,
            title=(title or f"log-mel of {corpus.name}") if hardware.progress else None,
        )

    def _laid(self, start_s: float, end_s: float | None, max_frames: int | None) -> float:
        """Frames that a clip takes up among others; infinitely many where its length is not known."""
        most = math.inf if max_frames is None else max_frames
        frames = math.inf if end_s is None else self.frames_of(round((end_s - start_s) * self.sample_rate))
        return min(frames, most) + -(-self.window // self.hop)

    def _clips(self, clips: Sequence[_Clip], max_frames: int | None) -> list[np.ndarray | AugrunError]:
        """The spectrogram of each clip, or what is wrong with it."""
        results: list[np.ndarray | AugrunError] = []
        sounds: dict[int, np.ndarray] = {}
        for place, (path, start_s, end_s) in enumerate(clips):
            try:
                if path.endswith(".npy"):
                    results.append(self._official(Path(path), start_s, end_s, max_frames))
                    continue
                sounds[place] = self._samples(path, start_s, end_s, max_frames)
                results.append(sounds[place])
            except AugrunError as error:
                results.append(error)
        for place, matrix in zip(sounds, self.transform_all(list(sounds.values())), strict=True):
            results[place] = matrix[:max_frames]
        return results


def _groups(frames: Sequence[float]) -> list[list[int]]:
    """The places of clips with so many frames, short ones together, as many as fill whole blocks."""
    groups: list[list[int]] = []
    filled = math.inf
    for place, count in enumerate(frames):
        if filled + count > _GROUP:
            groups.append([])
            filled = 0.0
        groups[-1].append(place)
        filled += count
    return groups


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def linear_resample(samples: np.ndarray, rate: int, target: int) -> np.ndarray:
    """Mixes to mono and resamples by linear interpolation, as libsamplerate's `SRC_LINEAR`: a sample late, no filter.

    Args:
        samples: shape (samples,), or (samples, channels), which are averaged.
        rate: their sample rate.
        target: the sample rate wanted.

    Returns:
        shape (ceil(samples · target / rate),), float32.
    """
    import torch

    if rate == target:
        return audio.mix(samples)
    # Positions repeat after `step` new samples, `span` old ones: one block's neighbours and weights serve them all.
    shared = math.gcd(rate, target)
    step, span = target // shared, rate // shared
    count = math.ceil(len(samples) * target / rate)
    at = torch.arange(step, dtype=torch.float64) * (rate / target) - 1.0
    left = at.floor()
    weight, left = (at - left).float(), left.long() + 1
    blocks = -(-count // step)
    padded = np.empty((blocks + 1) * span + 2, dtype=np.float32)
    mono = audio.mix(samples, out=padded[1 : len(samples) + 1])
    padded[0], padded[len(samples) + 1 :] = mono[0], mono[-1]
    row = torch.from_numpy(padded)
    lower, upper = (row[first : first + blocks * span].view(blocks, span).index_select(1, left) for first in (0, 1))
    return torch.lerp(lower, upper, weight).view(-1)[:count].numpy()
