"""MSP-IMPROV: 8,438 turns of twelve actors in six sessions of two (Busso et al. 2017).

    Evalution.txt                                                     (sic, or Evaluation.txt) what the raters agreed on
    [Audio/]session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav

A name says the target sentence and the emotion that was meant (`S01A`; the label is what was heard), who speaks
(`F01`), how the turn came about (read R, target sentence in a scene T, the rest of that scene S, between scenes P), the
pair of actors and the turn (`FM01`). The labels name the videos, `UTD-IMPROV-….avi`; the sounds are `MSP-IMPROV-….wav`.
Means of the raters' activation are stored the other way round (6 - A); they are checked, and not used.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from augrun.core.errors import AugrunError
from augrun.corpora.checks import BadClips, first_few
from augrun.corpora.corpus import Corpus
from augrun.corpora.index import FileFacts, Index
from augrun.corpora.labels import class_set, left_out, read_label_file
from augrun.corpora.reader import Reader, build, look_up, provenance, report_files, require_folder

SESSIONS = ("1", "2", "3", "4", "5", "6")

#: The labels: angry, happy, sad, neutral, other, and X where the raters agreed on nothing.
LABELS = ("A", "H", "S", "N", "O", "X")

PUBLISHED_TURNS = 8438
#: The usual four classes, and the turns of each: 7,798.
CLASSES = {"angry": ["A"], "happy": ["H"], "neutral": ["N"], "sad": ["S"]}
PUBLISHED_CLASSES = {"angry": 792, "happy": 2644, "neutral": 3477, "sad": 885}

#: How the label file may be called, and where the sessions' sounds may lie.
LABEL_FILES = ("Evalution.txt", "Evaluation.txt")
AUDIO_FOLDERS = ("Audio", "")
_FOLDERS = tuple(f"session{session}" for session in SESSIONS)

#: `S01A-F01-P-FM01`: what the names of a turn's video and of its sound share.
_NAME = re.compile(r"(S[0-9]{2}[AHSN])-([FM]0[1-6])-([PRST])-[FM]{2}[0-9]{2}")
_FILE = re.compile(r"(?:UTD|MSP)-IMPROV-(\S+)\.(?:avi|wav)")
#: `A:2.8`: the mean of activation, valence, dominance or naturalness; not every turn has each.
_MEAN = re.compile(r"([AVDN])\s*:\s*(?:[-+]?[0-9]+(?:\.[0-9]*)?|nan)", re.IGNORECASE)


class Turn(NamedTuple):
    """One label line; `name` as in `_NAME`."""

    name: str
    label: str

    @property
    def clip_id(self) -> str:
        """The name of the sound, without its ending."""
        return f"MSP-IMPROV-{self.name}"

    @property
    def speaker(self) -> str:
        """`F01`: the third group of the sound's name. The pair of letters before the turn's number is no speaker."""
        return self.name.split("-")[1]

    @property
    def session(self) -> str:
        """`1` to `6`, the speaker's number."""
        return self.speaker[2]

    @property
    def path(self) -> str:
        """Within the folder of the sessions."""
        sentence, _, condition, _ = self.name.split("-")
        return f"session{self.session}/{sentence}/{condition}/{self.clip_id}.wav"


def read_labels(path: Path) -> tuple[list[Turn], list[str]]:
    """The turns of the label file: for each a label line, its raters' lines, and a blank one.

    Returns:
        The turns, and the places (`file:line`) of lines that are neither labels nor raters'.

    Raises:
        AugrunError: the file cannot be read, or a label line does not parse (file and line).
    """
    turns, strays, begins = [], [], True
    for number, raw in enumerate(read_label_file(path), 1):
        line = raw.strip()
        if not line:
            begins = True
        elif begins or _is_label_line(line):
            turns.append(_turn(line, f"{path}:{number}"))
            begins = False
        elif ";" not in line:
            strays.append(f"{path.name}:{number}")
    return turns, strays


def _is_label_line(line: str) -> bool:
    """Whether the first cell is a file, as it never is in a rater's line."""
    first = line.partition(";")[0].rstrip()
    return first.startswith(("UTD-IMPROV", "MSP-IMPROV")) or first.lower().endswith((".avi", ".wav"))


def _turn(line: str, where: str) -> Turn:
    file, *cells = [cell.strip() for cell in line.split(";")]
    match = _FILE.fullmatch(file)
    if match is None or len(cells) < 2:
        raise AugrunError(
            f"{where}: is no label line, UTD-IMPROV-….avi; LABEL; A:…; V:…; D:…; N:…; is expected: {line[:60]!r}"
        )
    name, label = match[1], cells[0]
    if not _NAME.fullmatch(name):
        raise AugrunError(f"{where}: {file!r} is no turn's name, such as UTD-IMPROV-S01A-F01-P-FM01.avi")
    if label not in LABELS:
        raise AugrunError(f"{where}: label {label!r} of {name} is none of {', '.join(LABELS)}")
    means = [_MEAN.fullmatch(cell) for cell in cells[1:] if cell]
    if not {"A", "V", "D"} <= {mean[1].upper() for mean in means if mean} or None in means:
        raise AugrunError(
            f"{where}: {name} has no means such as A:2.8; V:3.2; D:NaN; N:4.0: {'; '.join(cells[1:])[:60]!r}"
        )
    return Turn(name, label)


@dataclass(frozen=True)
class MspImprov(Reader):
    """The turns that carry one of the chosen labels.

    Attributes:
        classes: the classes in order, and the labels of each; None takes the usual four and leaves out O (other) and
            X (no agreement).
    """

    name: str = "msp_improv"
    classes: dict[str, Any] | None = None

    def read(self, root: Path, index: Index | None) -> Corpus:
        """Reads the corpus; see `Reader.read`."""
        require_folder(root, self.name)
        labels, targets = class_set(CLASSES if self.classes is None else self.classes, LABELS, self.name)
        table = self._label_file(root)
        everything, strays = read_labels(table)
        notes: tuple[str, ...] = ()
        if strays:
            notes += (f"lines of labels that are neither labels nor raters': {len(strays):,} ({first_few(strays)})",)
        folder = _audio(table.parent)
        if index is not None:
            self._check_sessions(folder)
            notes += _without_label(folder, {turn.clip_id for turn in everything})
        bad = BadClips(self.name)
        rows = _without_repeats(everything, bad)
        notes += left_out([row.label for row in rows], targets)
        rows = [row for row in rows if row.label in targets]
        total = len(rows) + len(bad)
        if not total:
            raise AugrunError(f"{self.name}: no turn of {table} is in a class; check dataset.classes")
        facts = look_up(folder, [row.path for row in rows], index)
        good = report_files([row.path for row in rows], facts, bad)
        notes += bad.settle(self.on_bad_clip, total)
        pairs = [pair for pair, usable in zip(zip(rows, facts, strict=True), good, strict=True) if usable]
        corpus = build(self.name, _columns(folder, pairs, targets), labels, "other", notes)
        published = self.published()
        counts = {key: count for key, count in corpus.counts().items() if key in published}
        return replace(corpus, data=provenance(table.parent, counts, published))

    def published(self) -> dict[str, int]:
        """Of the four classes; how many turns each speaker has is not published."""
        if self.classes not in (None, CLASSES):
            return {}
        classes = {f"class {name}": count for name, count in PUBLISHED_CLASSES.items()}
        return {"clips": sum(PUBLISHED_CLASSES.values()), **classes}

    def _label_file(self, root: Path) -> Path:
        """The label file, in the root or in its folder MSP-IMPROV."""
        places = [home / name for home in (root, root / "MSP-IMPROV") for name in LABEL_FILES]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise AugrunError(
                f"{self.name}: no {' or '.join(LABEL_FILES)} in {root}\n"
                "copy the release's label file there, or name the folder that holds it with dataset.root="
            )
        return found

    def _check_sessions(self, folder: Path) -> None:
        """Raises AugrunError where the sounds of sessions are missing."""
        missing = [name for name in _FOLDERS if not (folder / name).is_dir()]
        if missing:
            raise AugrunError(
                f"{self.name}: missing in {folder}: {', '.join(missing)}\n"
                "copy the whole of each session there; leaving one session out needs all six"
            )


def _audio(home: Path) -> Path:
    """The folder that the sessions' sounds lie in, or should."""
    places = [home / place for place in AUDIO_FOLDERS]
    return next((place for place in places if any((place / name).is_dir() for name in _FOLDERS)), places[0])


def _without_label(folder: Path, labelled: set[str]) -> tuple[str, ...]:
    """A note on the sounds that the label file does not name."""
    extra: list[str] = []
    for session in _FOLDERS:
        for _, _, names in os.walk(folder / session):
            sounds = {n.removesuffix(".wav") for n in names if n.endswith(".wav") and not n.startswith(".")}
            extra += sounds - labelled
    return (f"audio files without a label: {len(extra):,} ({first_few(sorted(extra))})",) if extra else ()


def _without_repeats(turns: list[Turn], bad: BadClips) -> list[Turn]:
    """The first label line of each turn; the others are added to `bad`."""
    first: dict[str, Turn] = {}
    for turn in turns:
        if first.setdefault(turn.name, turn) is not turn:
            bad.add("duplicate ids", turn.clip_id)
    return list(first.values())


def _columns(folder: Path, pairs: list[tuple[Turn, FileFacts]], targets: Mapping[str, int]) -> dict[str, Sequence[Any]]:
    base = os.path.abspath(folder)
    rows = [row for row, _ in pairs]
    return {
        "clip_id": [row.clip_id for row in rows],
        "path": [os.path.join(base, row.path) for row in rows],
        "start_s": [0.0] * len(rows),
        # The labels state no duration.
        "end_s": [known.seconds for _, known in pairs],
        "labels": [(targets[row.label],) for row in rows],
        "speaker": [row.speaker for row in rows],
        "session": [row.session for row in rows],
        "digest": [known.digest or hashlib.sha256(repr(row).encode()).hexdigest() for row, known in pairs],
    }
