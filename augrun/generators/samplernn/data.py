"""What SampleRNN reads: sound as whole numbers, and windows of a corpus.

Mehri et al. 2017 (arXiv:1612.07837), section 2.2: a sample is one of q levels, predicted as a class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from augrun.core import audio
from augrun.corpora.corpus import Corpus


@dataclass(frozen=True)
class Quantiser:
    """Sound in [-1, 1] to `levels` codes and back, over a fixed range.

    A range of each file's own (its minimum and maximum) would move silence to another level in every file and
    lose how loud files are. Here silence is `levels // 2` and decodes to exactly zero. For an even number of levels
    the lowest code is never made: the levels lie symmetrically about silence.

    Attributes:
        levels: how many.
        scale: `mu-law` (ITU-T G.711's curve with mu = levels - 1) or `linear`.
    """

    levels: int = 256
    scale: Literal["mu-law", "linear"] = "mu-law"

    @property
    def silence(self) -> int:
        """The code of zero."""
        return self.levels // 2

    @property
    def _reach(self) -> int:
        """Levels on either side of silence."""
        return (self.levels - 1) // 2

    def encode(self, sound: np.ndarray) -> np.ndarray:
        """Codes, int16, of sound; what lies beyond ±1 is clipped."""
        sound = np.clip(np.asarray(sound, np.float32), -1, 1)
        if self.scale == "mu-law":
            mu = self.levels - 1
            sound = np.sign(sound) * np.log1p(mu * np.abs(sound)) / math.log1p(mu)
        return (np.round(sound * self._reach) + self.silence).astype(np.int16)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Sound, float32 in [-1, 1], of codes."""
        sound = np.clip((np.asarray(codes, np.float64) - self.silence) / self._reach, -1, 1)
        if self.scale == "mu-law":
            mu = self.levels - 1
            sound = np.sign(sound) * np.expm1(np.abs(sound) * math.log1p(mu)) / mu
        return sound.astype(np.float32)


class Windows(torch.utils.data.Dataset):
    """Windows of a corpus's clips, each read from its file by its offset when it is asked for.

    A window of a clip that carries several classes is shown with one of them, drawn anew in every epoch (a function of
    seed, epoch and window): what is learned is the sound of clips that carry the class, which is what a request for
    one class asks for. A clip without a class is shown with none.

    Args:
        corpus: the clips.
        quantiser: how sound becomes codes.
        sample_rate: Hz.
        samples: in a window; a shorter clip is followed by silence, which `length` tells apart.
        classes: width of the one-hot; 0 for an unconditional network.
        per_clip: at most so many windows of a clip, spread over it; None takes all.
        seed: of the draw of classes.
    """

    def __init__(
        self,
        corpus: Corpus,
        quantiser: Quantiser,
        sample_rate: int,
        samples: int,
        classes: int,
        per_clip: int | None,
        seed: int,
    ) -> None:
        self.quantiser, self.sample_rate, self.samples = quantiser, sample_rate, samples
        self.classes, self.seed, self.epoch = classes, seed, 0
        clips = corpus.clips[["path", "start_s", "duration_s", "labels"]].itertuples(index=False, name=None)
        self.clips = list(clips)
        self.places = [
            (clip, start)
            for clip, (_, begin, duration, _) in enumerate(self.clips)
            for start in window_starts(begin, duration, samples / sample_rate, per_clip)
        ]

    def set_epoch(self, epoch: int) -> None:
        """Decides the draw of classes."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`codes` (samples,) int16, `length` (samples of sound among them), `classes` (classes,) float32."""
        clip, start = self.places[index]
        path, begin, duration, labels = self.clips[clip]
        seconds = min(self.samples / self.sample_rate, begin + duration - start)
        sound = audio.read(path, self.sample_rate, start, seconds)[: self.samples]
        codes = np.full(self.samples, self.quantiser.silence, np.int16)
        codes[: len(sound)] = self.quantiser.encode(sound)
        return {"codes": codes, "length": len(sound), "classes": one_hot(self._drawn(labels, index), self.classes)}

    def _drawn(self, labels: Sequence[int], index: int) -> int | None:
        if len(labels) < 2:
            return labels[0] if len(labels) else None
        return labels[int(np.random.default_rng([self.seed, self.epoch, index]).integers(len(labels)))]


def one_hot(label: int | None, classes: int) -> np.ndarray:
    """(classes,) float32; all zero for no class."""
    row = np.zeros(classes, np.float32)
    if label is not None and classes:
        row[label] = 1.0
    return row


def window_starts(start_s: float, duration_s: float, seconds: float, limit: int | None) -> list[float]:
    """Where a clip's windows start: one after the other, the last one ending with the clip.

    A clip shorter than a window has one. At most `limit` are kept, evenly spread.
    """
    count = max(1, math.ceil(duration_s / seconds - 0.01))
    starts = [start_s + min(turn * seconds, max(0.0, duration_s - seconds)) for turn in range(count)]
    if limit is None or count <= limit:
        return starts
    return [starts[(2 * pick + 1) * count // (2 * limit)] for pick in range(limit)]
