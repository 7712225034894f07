"""A miniature in the manner of FEEL-25k (Chatziagapi et al. 2019): manifests with the votes of three to seven raters.

    manifest.csv, test.csv     path,rater_1,...,rater_7,start,end,speaker,session
    sounds/<speaker>_<nn>.wav  several utterances of a speaker, one after the other (16 kHz mono)

The test manifest has speakers of its own. On some utterances the raters do not agree; they sound like two emotions.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core.audio import write
from augrun.core.errors import RequestError
from augrun.corpora.standin import voices
from augrun.corpora.standin.voices import Line, Speaker

#: Bumped when the same request renders something else.
VERSION = f"{voices.VERSION}.1"

#: What can be asked for: sessions of a woman and a man in each manifest; utterances of each speaker and class (a number
#: or one for each class: FEEL-25k has five of `neutral` to one of `sad`), and of each speaker without agreement; the
#: range of durations in seconds; whose voices (own or espeak).
SIZES: dict[str, Any] = {
    "sessions": 4,
    "test_sessions": 2,
    "utterances": 6,
    "ambiguous": 4,
    "seconds": (0.8, 6.0),
    "voice": "own",
}

CLASSES = ("angry", "happy", "neutral", "sad")
RATE = 16_000
RATERS = 7

#: How many utterances one sound file holds.
PER_FILE = 5


@dataclass(frozen=True)
class _Utterance:
    """One row of a manifest; `votes` has an empty text for each rater who was not asked."""

    path: str
    votes: list[str]
    start: float
    line: Line
    session: str

    @property
    def row(self) -> list[str]:
        times = [f"{self.start:.3f}", f"{self.start + self.line.seconds:.3f}"]
        return [self.path, *self.votes, *times, self.line.speaker.name, self.session]


def check(**sizes: Any) -> dict[str, Any]:
    """The sizes as plain values.

    Raises:
        RequestError: a size is not what it should be.
    """
    wanted = sizes["utterances"]
    each = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(CLASSES, wanted)
    if set(each) != set(CLASSES):
        raise RequestError(f"standin feel: utterances={each} needs a number for each of {', '.join(CLASSES)}")
    for name in CLASSES:
        voices.check_count("feel", f"utterances.{name}" if isinstance(wanted, Mapping) else "utterances", each[name])
    checked = voices.check("feel", ("sessions", "test_sessions", "ambiguous"), sizes)
    return {**checked, "utterances": {name: each[name] for name in CLASSES}}


def render(
    folder: Path,
    seed: int,
    sessions: int,
    test_sessions: int,
    utterances: dict[str, int],
    ambiguous: int,
    seconds: list[float],
    voice: str,
) -> None:
    """Writes the corpus into `folder`, which is empty."""
    (folder / "sounds").mkdir()
    files: dict[str, list[_Utterance]] = {}
    for name, first, count in (("manifest.csv", 1, sessions), ("test.csv", sessions + 1, test_sessions)):
        rows: list[_Utterance] = []
        for session in range(first, first + count):
            for speaker in voices.cast([(f"s{session:02d}f", True), (f"s{session:02d}m", False)], seed):
                rows += _utterances(speaker, str(session), seed, utterances, ambiguous, seconds)
        _write_manifest(folder / name, rows)
        for row in rows:
            files.setdefault(row.path, []).append(row)

    def sound(path: str) -> None:
        write(folder / path, _sound(files[path], voice, voices.generator(seed, "sound", path)), RATE)

    voices.at_once(sound, files)


def _utterances(
    speaker: Speaker, session: str, seed: int, utterances: dict[str, int], ambiguous: int, seconds: list[float]
) -> list[_Utterance]:
    """All utterances of one speaker, in chance order, dealt to files with pauses between them."""
    rng = voices.generator(seed, "utterances", speaker.name)
    kinds: list[tuple[str, ...]] = [(name,) for name in CLASSES for _ in range(utterances[name])]
    kinds += [tuple(rng.choice(CLASSES, size=2, replace=False).tolist()) for _ in range(ambiguous)]
    rows, clock = [], 0.0
    for place, number in enumerate(rng.permutation(len(kinds)).tolist()):
        if place % PER_FILE == 0:
            clock = 0.0
        clock = round(clock + float(rng.uniform(0.2, 0.8)), 3)
        kind = kinds[number]
        line = voices.line(speaker, kind, seconds, rng)
        path = f"sounds/{speaker.name}_{place // PER_FILE:02d}.wav"
        rows.append(_Utterance(path, _votes(kind, rng), clock, line, session))
        clock += line.seconds
    return rows


def _votes(kind: tuple[str, ...], rng: np.random.Generator) -> list[str]:
    """Seven cells, three to seven of them votes: three fifths at least for one class, or a tie."""
    if len(kind) == 1:
        asked = int(rng.integers(3, RATERS + 1))
        agreeing = int(rng.integers(-(-3 * asked // 5), asked + 1))
        others = [name for name in CLASSES if name != kind[0]]
        votes = [kind[0]] * agreeing + rng.choice(others, size=asked - agreeing).tolist()
    else:
        asked = int(rng.integers(3, RATERS + 1))
        third = str(rng.choice([name for name in CLASSES if name not in kind]))
        votes = [*kind] * (asked // 2) + [third] * (asked % 2)
    cells = [""] * RATERS
    for rater, vote in zip(rng.permutation(RATERS)[:asked].tolist(), rng.permutation(votes).tolist(), strict=True):
        cells[rater] = vote
    return cells


def _write_manifest(path: Path, rows: list[_Utterance]) -> None:
    header = ["path", *(f"rater_{place}" for place in range(1, RATERS + 1)), "start", "end", "speaker", "session"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(row.row for row in rows)


def _sound(rows: list[_Utterance], voice: str, rng: np.random.Generator) -> np.ndarray:
    """A file's utterances in their places, with a faint noise around them; shape (samples,)."""
    seconds = rows[-1].start + rows[-1].line.seconds + float(rng.uniform(0.2, 0.6))
    whole = (10 ** (-75 / 20) * rng.standard_normal(round(seconds * RATE))).astype(np.float32)
    for row in rows:
        said = voices.perform(row.line, RATE, voice, rng)
        begin = round(row.start * RATE)
        whole[begin : begin + len(said)] += said
    return whole
