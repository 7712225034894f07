"""Background noise: stretches of a corpus's clips, cut at random."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from augrun.core import audio
from augrun.core.errors import AugrunError
from augrun.corpora.corpus import Corpus
from augrun.generators.signal.transforms import looped

#: Seconds over which a clip that is too short fades into itself.
FADE_S = 0.05

#: Stretches drawn for one sample before its corpus is given up.
DRAWS = 1000


@dataclass(frozen=True)
class _Clip:
    """Frames [first, first + frames) of a file at `rate` Hz."""

    path: Path
    first: int
    frames: int
    rate: int


class Background:
    """Cuts noise from a corpus; from several threads at once.

    A clip that cannot be used, or a stretch in which nothing sounds, is passed over and another one drawn: what comes
    out depends on the corpus and the generator of random numbers alone.

    Args:
        corpus: of the background sounds.
        min_s: a clip of fewer seconds is not used: again and again, it would be a tone.
        silence_db: a stretch whose peak stays below this, in dB of full scale, is silent.
        role: whose corpus it is, for messages.
    """

    def __init__(self, corpus: Corpus, min_s: float, silence_db: float, role: str = "noise") -> None:
        self.role = role
        self.name = corpus.name
        self._table = list(corpus.clips[["clip_id", "path", "start_s", "end_s"]].itertuples(index=False))
        self._min_s = min_s
        self._floor = 10 ** (silence_db / 20)
        self._known: dict[int, _Clip | str] = {}  # the clips looked at, or what is wrong with them

    def cut(self, samples: int, sample_rate: int, generator: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
        """Noise as long as asked for; a clip that is shorter is looped.

        Args:
            samples: how many.
            sample_rate: Hz.
            generator: draws the clip and where it is cut.

        Returns:
            float32 (samples,), and where it is from: `noise_corpus`, `noise_clip`, `noise_start_s` (within its file),
            `looped`, and `passed_over`, a list of `[clip, reason]`.

        Raises:
            AugrunError: no clip could be used.
        """
        passed: dict[int, str] = {}
        for _ in range(DRAWS if self._table else 0):
            number, place = int(generator.integers(len(self._table))), float(generator.random())
            clip = self._look(number)
            if isinstance(clip, str):
                passed.setdefault(number, clip)
                if len(passed) == len(self._table) and all(isinstance(self._look(known), str) for known in passed):
                    break
                continue
            try:
                noise, start, again = self._read(clip, samples, sample_rate, place)
            except AugrunError as error:
                passed.setdefault(number, _reason(error, clip.path))
                continue
            if max(noise.max(), -noise.min()) < self._floor:
                passed.setdefault(number, f"silent from {start / clip.rate:.2f} s on")
                continue
            return noise, {
                "noise_corpus": self.name,
                "noise_clip": self._table[number].clip_id,
                "noise_start_s": round(start / clip.rate, 6),
                "looped": again,
                "passed_over": [[self._table[other].clip_id, reason] for other, reason in passed.items()],
            }
        raise AugrunError(self._none(passed))

    def _look(self, number: int) -> _Clip | str:
        """The clip, or why it cannot be used: what holds wherever it is cut, so that no order of cuts matters."""
        if number not in self._known:
            row = self._table[number]
            path = Path(row.path)
            try:
                info = audio.probe(path)
            except AugrunError as error:
                self._known[number] = _reason(error, path)
            else:
                first = round(row.start_s * info.sample_rate)
                frames = min(round(row.end_s * info.sample_rate), info.frames) - first
                short = frames < max(2, self._min_s * info.sample_rate)
                seconds = max(0, frames) / info.sample_rate
                clip = _Clip(path, first, frames, info.sample_rate)
                self._known[number] = f"{seconds:.2f} s, shorter than {self._min_s:g} s" if short else clip
        return self._known[number]

    @staticmethod
    def _read(clip: _Clip, samples: int, sample_rate: int, place: float) -> tuple[np.ndarray, int, bool]:
        """Noise float32 (samples,), the frame of the file that it begins at, and whether the clip was looped."""
        wanted = math.ceil(samples * clip.rate / sample_rate)
        again = clip.frames < wanted
        first = clip.first if again else clip.first + int(place * (clip.frames - wanted + 1))
        sound = _frames(clip, first, min(wanted, clip.frames))
        if clip.rate != sample_rate:
            sound = soxr.resample(sound, clip.rate, sample_rate)
        if not again and len(sound) >= samples:
            return sound[:samples], first, False
        begin = int(place * len(sound)) if again else 0
        noise = looped(sound, samples, begin, round(FADE_S * sample_rate))
        return noise, first + begin * clip.rate // sample_rate, again

    def _none(self, passed: dict[int, str]) -> str:
        other = f"dataset@{self.role}=, or its folder with {self.role}.root="
        if not self._table:
            return f"{self.role}: {self.name} has no clips; give another {other}"
        number, reason = next(iter(passed.items()))
        return (
            f"{self.role}: none of the {len(passed):,} clips tried of {self.name} can be used as background (it has "
            f"{len(self._table):,}), the first {self._table[number].path}: {reason}\n"
            f"Mend these files, or give another {other}"
        )


def _frames(clip: _Clip, first: int, count: int) -> np.ndarray:
    """Frames of a clip, mixed to one channel: float32 (count,)."""
    try:
        with soundfile.SoundFile(clip.path) as file:
            # `_look` has checked the file; and numpy makes floats of 16 bits in a third of libsndfile's time.
            if (file.format, file.subtype) == ("WAV", "PCM_16"):
                file.seek(first)
                steps = file.read(count, dtype="int16", always_2d=True)
                return audio.mix(np.multiply(steps, np.float32(1 / 32768), dtype=np.float32))
    except soundfile.LibsndfileError as error:
        raise AugrunError(f"{clip.path}: cannot be decoded ({error.error_string.strip().rstrip('.')})") from None
    return audio.mix(audio.read_native(clip.path, first / clip.rate, count / clip.rate)[0])


def _reason(error: AugrunError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")
