"""IEMOCAP: 10,039 utterances of ten actors in five sessions of two (Busso et al. 2008).

    Session1/dialog/EmoEvaluation/Ses01F_impro01.txt                  what the raters agreed on, a file a dialog
    Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M000.wav     16 kHz mono

A session's woman and man speak in each of its dialogs. The last letter of an utterance's name says who speaks; the
first one says who wore the markers for motion capture, and is no speaker. Folders within EmoEvaluation hold the views
of single raters, and are not read.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from augrun.core.errors import AugrunError
from augrun.corpora.checks import BadClips, first_few
from augrun.corpora.corpus import Corpus
from augrun.corpora.index import FileFacts, Index
from augrun.corpora.labels import class_set, left_out, read_label_file
from augrun.corpora.reader import Reader, build, look_up, provenance, report_files, require_folder

SESSIONS = ("1", "2", "3", "4", "5")

#: The labels, and the utterances of each: 10,039 in all. The raters agreed on nothing where it is `xxx`.
PUBLISHED_LABELS = {
    "ang": 1103,
    "hap": 595,
    "exc": 1041,
    "neu": 1708,
    "sad": 1084,
    "fru": 1849,
    "sur": 107,
    "fea": 40,
    "dis": 2,
    "oth": 3,
    "xxx": 2507,
}
#: The usual four classes: those of most papers, with excitement as happiness (Chatziagapi et al. 2019, section 3.1).
CLASSES = {"angry": ["ang"], "happy": ["hap", "exc"], "neutral": ["neu"], "sad": ["sad"]}
#: Utterances of these that each session's woman and man speak: 5,531 of 6.99 hours.
PUBLISHED_SPEAKERS = {
    "1": {"F": 528, "M": 557},
    "2": {"F": 481, "M": 542},
    "3": {"F": 522, "M": 629},
    "4": {"F": 528, "M": 503},
    "5": {"F": 590, "M": 651},
}
PUBLISHED_HOURS = 6.99

#: Where the sessions may lie within the corpus's folder.
FOLDERS = ("", "IEMOCAP_full_release", "IEMOCAP", "IEMOCAP/IEMOCAP_full_release")

#: Names of dialogs and of utterances: `Ses03M_impro05a`, `Ses05M_script01_1b`, `Ses03M_impro05a_F012`.
_DIALOG = re.compile(r"Ses0([1-5])[FM]_(impro[0-9]{2}[ab]?|script[0-9]{2}_[0-9]b?)")
_TURN = re.compile(r"([FM])[0-9]{3}")

_NUMBER = r"\s*(-?[0-9.]+|nan)\s*"
#: `[6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]`
_CONSENSUS = re.compile(
    rf"\[\s*([0-9]+(?:\.[0-9]+)?)\s*-\s*([0-9]+(?:\.[0-9]+)?)\s*\]\s+(\S+)\s+(\S+)\s+\[{_NUMBER},{_NUMBER},{_NUMBER}\]",
    re.IGNORECASE,
)
#: `C-E2:	Neutral;	()`: a rater's category, or (`A-`) valence, activation and dominance.
_RATER = re.compile(r"[CA]-\w+:")


class Utterance(NamedTuple):
    """One label line."""

    name: str
    dialog: str
    label: str
    start_s: float
    end_s: float

    @property
    def session(self) -> str:
        """`1` to `5`."""
        return self.name[4]

    @property
    def speaker(self) -> str:
        """`1F`: the session and the last letter of the name."""
        return self.session + self.name[-4]

    @property
    def improvised(self) -> bool:
        """Whether the dialog was improvised rather than read from a script."""
        return self.dialog[7:].startswith("impro")

    @property
    def path(self) -> str:
        """Within the folder of the sessions."""
        return f"Session{self.session}/sentences/wav/{self.dialog}/{self.name}.wav"


def read_labels(path: Path) -> tuple[list[Utterance], list[str]]:
    """The utterances of a dialog's label file.

    Raters' lines are passed over. What continues a rater's remark on a line of its own is neither; it does no harm.

    Args:
        path: the file, called by the dialog's name.

    Returns:
        The utterances, and the places (`file:line`) of lines that are neither labels nor raters'.

    Raises:
        AugrunError: the file cannot be read, or a label line does not parse (file and line).
    """
    utterances, strays, begins = [], [], True
    for number, raw in enumerate(read_label_file(path), 1):
        line = raw.strip()
        if not line or line[0] == "%":
            begins = True
        elif line[0] in "CA" and _RATER.match(line):
            begins = False
        elif begins or line[0] == "[" or re.search(r"Ses0[1-5]", line):
            utterances.append(_utterance(line, path.stem, f"{path}:{number}"))
            begins = False
        else:
            strays.append(f"{path.name}:{number}")
    return utterances, strays


def _utterance(line: str, dialog: str, where: str) -> Utterance:
    match = _CONSENSUS.fullmatch(line)
    if match is None:
        raise AugrunError(
            f"{where}: is no label line, [START - END] TURN_NAME EMOTION [V, A, D] is expected: {line[:60]!r}"
        )
    start, end, name, label = match.group(1, 2, 3, 4)
    if name[: len(dialog) + 1] != f"{dialog}_" or not _TURN.fullmatch(name, len(dialog) + 1):
        raise AugrunError(f"{where}: {name!r} is no utterance of {dialog}, such as {dialog}_F000")
    if label not in PUBLISHED_LABELS:
        raise AugrunError(f"{where}: label {label!r} of {name} is none of {', '.join(PUBLISHED_LABELS)}")
    if float(end) <= float(start):
        raise AugrunError(f"{where}: {name} ends at {end} s and begins at {start} s")
    return Utterance(name, dialog, label, float(start), float(end))


@dataclass(frozen=True)
class Iemocap(Reader):
    """The utterances that carry one of the chosen labels.

    Attributes:
        classes: the classes in order, and the labels of each; None takes the usual four.
        speech: all dialogs, or only those that were improvised or scripted.
    """

    folders: ClassVar[tuple[str, ...]] = ("IEMOCAP",)

    name: str = "iemocap"
    classes: dict[str, Any] | None = None
    speech: Literal["all", "improvised", "scripted"] = "all"

    def read(self, root: Path, index: Index | None) -> Corpus:
        """Reads the corpus; see `Reader.read`."""
        require_folder(root, self.name)
        labels, targets = class_set(CLASSES if self.classes is None else self.classes, PUBLISHED_LABELS, self.name)
        home = self._home(root)
        files, notes = self._label_files(home)
        everything, strays = [], []
        for path in files:
            utterances, odd = read_labels(path)
            everything += utterances
            strays += odd
        if strays:
            notes += (
                f"lines of label files that are neither labels nor raters': {len(strays):,} ({first_few(strays)})",
            )
        if index is not None:
            notes += self._without_label(home, {utterance.name for utterance in everything})
        bad = BadClips(self.name)
        rows = _without_repeats(everything, bad)
        if self.speech != "all":
            asked = [row for row in rows if row.improvised == (self.speech == "improvised")]
            other = len(rows) - len(asked)
            notes += (f"utterances left out that are not {self.speech}: {other:,}",) if other else ()
            rows = asked
        notes += left_out([row.label for row in rows], targets)
        rows = [row for row in rows if row.label in targets]
        total = len(rows) + len(bad)
        if not total:
            raise AugrunError(f"{self.name}: no utterance of {home} is in a class; check dataset.classes")
        facts = look_up(home, [row.path for row in rows], index)
        good = report_files([row.path for row in rows], facts, bad)
        notes += bad.settle(self.on_bad_clip, total)
        pairs = [pair for pair, usable in zip(zip(rows, facts, strict=True), good, strict=True) if usable]
        corpus = build(self.name, _columns(home, pairs, targets), labels, "other", notes)
        return replace(corpus, data=provenance(home, corpus.counts(), self.published()))

    def published(self) -> dict[str, int]:
        """Of the four classes, improvised and scripted."""
        if self.speech != "all" or self.classes not in (None, CLASSES):
            return {}
        sessions = {f"session {session}": sum(of.values()) for session, of in PUBLISHED_SPEAKERS.items()}
        speakers = {
            f"speaker {session}{letter}": count
            for session, of in PUBLISHED_SPEAKERS.items()
            for letter, count in of.items()
        }
        classes = {f"class {name}": sum(PUBLISHED_LABELS[label] for label in of) for name, of in CLASSES.items()}
        return {"clips": sum(sessions.values()), **sessions, **speakers, **classes}

    def _home(self, root: Path) -> Path:
        """The folder of the sessions.

        Raises:
            AugrunError: there is none, or a session is missing in it.
        """
        folders = [f"Session{session}" for session in SESSIONS]
        home = next((root / place for place in FOLDERS if any((root / place / f).is_dir() for f in folders)), None)
        if home is None:
            raise AugrunError(
                f"{self.name}: no Session1 to Session5 in {root}, nor in its folders {', '.join(FOLDERS[1:])}\n"
                "name the folder that holds them with dataset.root="
            )
        missing = [folder for folder in folders if not (home / folder).is_dir()]
        if missing:
            raise AugrunError(
                f"{self.name}: missing in {home}: {', '.join(missing)}\n"
                "copy the whole of each session there; leaving one session out needs all five"
            )
        return home

    def _label_files(self, home: Path) -> tuple[list[Path], tuple[str, ...]]:
        """All dialogs' label files, and a note on files that are none.

        Raises:
            AugrunError: a folder of label files is missing, or a dialog has a folder of sounds and no label file.
        """
        files: list[Path] = []
        missing: list[str] = []
        others: list[str] = []
        for session in SESSIONS:
            below = f"Session{session}/dialog/EmoEvaluation"
            names = {name.removesuffix(".txt") for name in _listed(home / below) if name.endswith(".txt")}
            dialogs = {name for name in names if _is_dialog(name, session)}
            others += sorted(f"{below}/{name}.txt" for name in names - dialogs)
            heard = {name for name in _listed(home / f"Session{session}/sentences/wav") if _is_dialog(name, session)}
            if not dialogs and not heard:
                missing.append(f"{below}/*.txt")
            missing += [f"{below}/{dialog}.txt" for dialog in sorted(heard - dialogs)]
            files += [home / below / f"{dialog}.txt" for dialog in sorted(dialogs)]
        if missing:
            raise AugrunError(
                f"{self.name}: {len(missing):,} label files are missing in {home}: {first_few(missing)}\n"
                "copy the release's dialog/EmoEvaluation folders there"
            )
        note = f"files beside the label files that are no dialog's: {len(others):,} ({first_few(others)})"
        return files, (note,) if others else ()

    def _without_label(self, home: Path, labelled: set[str]) -> tuple[str, ...]:
        """A note on the sounds that no label file names.

        Raises:
            AugrunError: a session's folder of sounds is missing.
        """
        extra: list[str] = []
        for session in SESSIONS:
            sounds = home / f"Session{session}/sentences/wav"
            if not sounds.is_dir():
                raise AugrunError(
                    f"{self.name}: {sounds} is missing\n"
                    "copy the release's sentences/wav folders there, or name another folder with dataset.root="
                )
            for dialog in _listed(sounds):
                names = {name.removesuffix(".wav") for name in _listed(sounds / dialog) if name.endswith(".wav")}
                extra += sorted(names - labelled)
        return (f"audio files without a label: {len(extra):,} ({first_few(extra)})",) if extra else ()


def _is_dialog(name: str, session: str) -> bool:
    match = _DIALOG.fullmatch(name)
    return match is not None and match[1] == session


def _listed(folder: Path) -> list[str]:
    """The names in a folder, sorted, without what a Mac leaves there (`._`); none where there is no folder."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise AugrunError(f"{folder}: cannot be read ({error.strerror})") from None


def _without_repeats(utterances: list[Utterance], bad: BadClips) -> list[Utterance]:
    """The first label line of each utterance; the others are added to `bad`."""
    first: dict[str, Utterance] = {}
    for utterance in utterances:
        if first.setdefault(utterance.name, utterance) is not utterance:
            bad.add("duplicate ids", utterance.name)
    return list(first.values())


def _columns(
    home: Path, pairs: list[tuple[Utterance, FileFacts]], targets: Mapping[str, int]
) -> dict[str, Sequence[Any]]:
    base = os.path.abspath(home)
    rows = [row for row, _ in pairs]
    return {
        "clip_id": [row.name for row in rows],
        "path": [os.path.join(base, row.path) for row in rows],
        "start_s": [0.0] * len(rows),
        "end_s": [row.end_s - row.start_s if math.isnan(known.seconds) else known.seconds for row, known in pairs],
        "labels": [(targets[row.label],) for row in rows],
        "speaker": [row.speaker for row in rows],
        "session": [row.session for row in rows],
        "digest": [known.digest or hashlib.sha256(repr(row).encode()).hexdigest() for row, known in pairs],
    }
