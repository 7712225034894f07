"""A miniature of TED-LIUM release 2 (Rousseau et al. 2014): talks as SPHERE files with their STM transcripts.

{train,dev,test}/sph/<Talk>.sph      (16 kHz mono)
{train,dev,test}/stm/<Talk>.stm      (talk channel speaker start end <tags> text)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from augrun.core.errors import AugrunError
from augrun.corpora.standin import voices
from augrun.corpora.standin.voices import Line, Speaker

#: Bumped when the same request renders something else.
VERSION = f"{voices.VERSION}.1"

#: What can be asked for: talks of each part, the range of their durations in seconds, whose voices (own or espeak).
SIZES: dict[str, Any] = {"train": 8, "dev": 2, "test": 2, "seconds": (20.0, 40.0), "voice": "own"}

PARTS = ("train", "dev", "test")
RATE = 16_000

#: Segments last from the first to the second, as far as the talk does.
SEGMENT_S = (2.0, 10.0)

#: What stands in place of a text where nothing is said that counts.
IGNORED = "ignore_time_segment_in_scoring"

#: How far emotions show in a talk.
_STRENGTH = 0.5


@dataclass(frozen=True)
class _Talk:
    """A talk: its speaker, how long it is, and its segments with their starts."""

    name: str
    part: str
    speaker: Speaker
    seconds: float
    segments: list[tuple[float, Line]]


def check(**sizes: Any) -> dict[str, Any]:
    """The sizes as plain values.

    Raises:
        RequestError: a size is not what it should be.
    """
    return voices.check("tedlium", PARTS, sizes, least=4.0)


def render(folder: Path, seed: int, train: int, dev: int, test: int, seconds: list[float], voice: str) -> None:
    """Writes the corpus into `folder`, which is empty."""
    talks, number = [], 0
    for part, count in zip(PARTS, (train, dev, test), strict=True):
        (folder / part / "sph").mkdir(parents=True)
        for _ in range(count):
            number += 1
            talks.append(_talk(number, part, seed, seconds))
    for talk in talks:
        voices.write_text(folder / talk.part / "stm" / f"{talk.name}.stm", _transcript(talk, seed))

    def sound(talk: _Talk) -> None:
        path = folder / talk.part / "sph" / f"{talk.name}.sph"
        try:
            soundfile.write(path, _sound(talk, voice, seed), RATE, format="NIST", subtype="PCM_16")
        except soundfile.LibsndfileError as error:
            raise AugrunError(f"{path}: cannot be written ({error}); check the folder and the free disk") from None

    voices.at_once(sound, talks)


def _talk(number: int, part: str, seed: int, seconds: list[float]) -> _Talk:
    """Draws a talk: applause, segments one after the other with gaps, applause."""
    rng = voices.generator(seed, "talk", str(number))
    name = f"Speaker{number:02d}_{rng.integers(2005, 2013)}" + ("X" if rng.random() < 0.3 else "")
    speaker = voices.cast([(name, bool(number % 2))], seed)[0]
    whole = round(float(rng.uniform(seconds[0], seconds[1])), 2)
    clock, segments = round(float(rng.uniform(0.5, 1.5)), 2), []
    while whole - clock > SEGMENT_S[0] + 0.5:
        longest = min(SEGMENT_S[1], whole - clock - 0.4)
        emotion = str(rng.choice(list(voices.EMOTIONS)))
        line = voices.line(speaker, [emotion], (SEGMENT_S[0], longest), rng, strength=_STRENGTH)
        segments.append((clock, line))
        # Some segments follow at once, some after a gap.
        clock = round(clock + line.seconds + (0.0 if rng.random() < 0.3 else float(rng.uniform(0.2, 1.0))), 2)
    return _Talk(name, part, speaker, whole, segments)


def _transcript(talk: _Talk, seed: int) -> list[str]:
    """The lines of the talk's STM; gaps are lines of their own, and the development part has tags of its own."""
    rng = voices.generator(seed, "text", talk.name)
    sex = "female" if talk.speaker.female else "male"
    tags = f"<F0_{sex[0].upper()}>" if talk.part == "dev" else f"<o,f0,{sex}>"
    lines, clock = [], 0.0
    for start, line in talk.segments:
        lines += _gap(talk.name, clock, start)
        clock = start + line.seconds
        text = _as_heard(line.text.split(), rng)
        lines.append(f"{talk.name} 1 {talk.name} {start:.2f} {clock:.2f} {tags} {text}")
    return lines + _gap(talk.name, clock, talk.seconds)


def _gap(talk: str, start: float, end: float) -> list[str]:
    if end - start < 0.05:
        return []
    return [f"{talk} 1 inter_segment_gap {start:.2f} {end:.2f} <o,,unknown> {IGNORED}"]


def _as_heard(words: list[str], rng: np.random.Generator) -> str:
    """The text as the release writes it: unknown words, and numbers of pronunciations, here and there."""
    marked = [
        "<unk>" if chance < 0.02 else f"{word}(2)" if chance < 0.05 else word
        for word, chance in zip(words, rng.random(len(words)), strict=True)
    ]
    return " ".join(marked)


def _sound(talk: _Talk, voice: str, seed: int) -> np.ndarray:
    """The whole talk at one level, with a faint noise throughout; shape (samples,)."""
    rng = voices.generator(seed, "sound", talk.name)
    level_db = float(rng.uniform(*voices.LEVELS_DB))
    whole = (10 ** ((level_db - 48) / 20) * rng.standard_normal(round(talk.seconds * RATE))).astype(np.float32)
    for start, line in talk.segments:
        said = voices.perform(line, RATE, voice, rng) * np.float32(10 ** ((level_db - line.level_db) / 20))
        begin = round(start * RATE)
        whole[begin : begin + len(said)] += said[: len(whole) - begin]
    return whole
