"""TED-LIUM, release 2: talks with their transcripts, a source of speech without classes (Rousseau et al. 2014).

    {train,dev,test}/sph/<Talk>.sph     16 kHz mono, SPHERE
    {train,dev,test}/stm/<Talk>.stm     talk channel speaker start end <tags> text

Each line of a transcript is a clip: a window of its talk's sound, which is read where it lies and never copied.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from augrun.core.errors import AugrunError, RequestError
from augrun.corpora.checks import BadClips, first_few
from augrun.corpora.corpus import Corpus, LabelSet
from augrun.corpora.index import FileFacts, Index
from augrun.corpora.reader import Reader, build, fault, look_up, provenance, require_folder

#: The release's parts, and what they are called here.
SPLITS = {"train": "train", "dev": "validation", "test": "test"}

#: Segments of the training part, 207 hours of 1,495 talks.
PUBLISHED_SEGMENTS = 92_973
PUBLISHED_HOURS = 207.0
PUBLISHED_TALKS = 1495

#: Where the parts may lie within the corpus's folder.
FOLDERS = ("", "TEDLIUM_release2")

#: What a transcript says in place of a text where nothing counts: gaps, applause, music.
IGNORED = "ignore_time_segment_in_scoring"

#: By how much a segment may pass the end of its talk without a note, since times are rounded; and by how much at all,
#: as in Kaldi's `extract-segments`.
SLACK_S = 0.05
OVERSHOOT_S = 0.5


class Segment(NamedTuple):
    """One line of a transcript."""

    talk: str
    part: str
    speaker: str
    start_s: float
    end_s: float

    @property
    def clip_id(self) -> str:
        """Talk, start and end, in milliseconds."""
        return f"{self.talk}-{round(1000 * self.start_s):08d}-{round(1000 * self.end_s):08d}"

    @property
    def path(self) -> str:
        """The talk's sound, within the folder of the parts."""
        return f"{self.part}/sph/{self.talk}.sph"


def read_segments(path: Path, part: str) -> list[Segment]:
    """The segments of a transcript in which something is said.

    Raises:
        AugrunError: the file cannot be read, or a line does not parse (file and line).
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise AugrunError(f"{path}: cannot be read ({error.strerror})") from None
    segments = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        # Comments, as NIST's format has them.
        if not line or line.startswith(";;"):
            continue
        segment = _segment(line, part, f"{path}:{number}")
        if IGNORED not in line:
            segments.append(segment)
    return segments


def _segment(line: str, part: str, where: str) -> Segment:
    cells = line.split(None, 5)
    if len(cells) < 6:
        raise AugrunError(
            f"{where}: is no segment, TALK CHANNEL SPEAKER START END <TAGS> TEXT is expected: {line[:60]!r}"
        )
    talk, _, speaker, start, end, _ = cells
    if "/" in talk or "\\" in talk or talk.startswith("."):
        raise AugrunError(f"{where}: talk {talk!r} is refused, it leaves the folder of the sounds")
    return Segment(talk, part, speaker, _seconds(start, "START", where), _seconds(end, "END", where))


def _seconds(text: str, name: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise AugrunError(f"{where}: {name} {text!r} is no number of seconds")
    return value


@dataclass(frozen=True)
class Tedlium(Reader):
    """The segments of some parts.

    Attributes:
        parts: which of the release's parts: train, dev, test.
        min_seconds: shorter segments are left out, with a note.
    """

    labelled: ClassVar[bool] = False

    name: str = "tedlium"
    parts: list[Literal["train", "dev", "test"]] = field(default_factory=lambda: ["train"])
    min_seconds: Annotated[float, "[0, inf)"] = 0.0

    def read(self, root: Path, index: Index | None) -> Corpus:
        """Reads the corpus; see `Reader.read`."""
        require_folder(root, self.name)
        home = self._home(root, ("stm",) if index is None else ("stm", "sph"))
        everything, notes = self._segments(home, sounds=index is not None)
        rows = [row for row in everything if not 0 < row.end_s - row.start_s < self.min_seconds]
        short = len(everything) - len(rows)
        notes += (f"segments left out that are shorter than {self.min_seconds:g} s: {short:,}",) if short else ()
        total = len(rows)
        if not total:
            raise AugrunError(f"{self.name}: no segment is left of {', '.join(self.parts)} in {home}")
        bad = BadClips(self.name)
        rows = _usable(rows, bad)
        facts = look_up(home, [row.path for row in rows], index)
        pairs, beyond = _within_talks(rows, facts, bad)
        notes += (f"segments cut at the end of their talk: {len(beyond):,} ({first_few(beyond)})",) if beyond else ()
        notes += bad.settle(self.on_bad_clip, total)
        corpus = build(self.name, _columns(home, pairs), LabelSet(()), "other", notes)
        published = self.published()
        counts = {key: count for key, count in corpus.counts().items() if key in published}
        return replace(corpus, data=provenance(home, counts, published))

    def published(self) -> dict[str, int]:
        """Of the training part."""
        if list(self.parts) != ["train"] or self.min_seconds:
            return {}
        return {"clips": PUBLISHED_SEGMENTS, "split train": PUBLISHED_SEGMENTS}

    def _home(self, root: Path, kinds: tuple[str, ...]) -> Path:
        """The folder of the parts, each of which needs folders of such kinds.

        Raises:
            RequestError: a part is asked for that there is not, or none.
            AugrunError: a part's folder is missing.
        """
        strangers = [part for part in self.parts if part not in SPLITS]
        if strangers or not self.parts:
            what = f"{first_few(strangers)} is" if strangers else "an empty list names"
            raise RequestError(f"dataset.parts: {what} no part of {self.name}; it has {', '.join(SPLITS)}")
        home = next((root / place for place in FOLDERS if any((root / place / part).is_dir() for part in SPLITS)), None)
        if home is None:
            raise AugrunError(
                f"{self.name}: no {', '.join(SPLITS)} in {root}, nor in its folder {FOLDERS[1]}\n"
                "name the folder that holds them with dataset.root="
            )
        missing = [f"{part}/{kind}" for part in self.parts for kind in kinds if not (home / part / kind).is_dir()]
        if missing:
            raise AugrunError(
                f"{self.name}: missing in {home}: {', '.join(missing)}\n"
                "copy them there from the release, or leave the part out of dataset.parts"
            )
        return home

    def _segments(self, home: Path, sounds: bool) -> tuple[list[Segment], tuple[str, ...]]:
        """The segments of all parts; where `sounds` are to be looked at, a note on talks without any."""
        segments: list[Segment] = []
        silent: list[str] = []
        for part in dict.fromkeys(self.parts):
            names = _listed(home / part / "stm", ".stm")
            if not names:
                raise AugrunError(f"{self.name}: no transcript (.stm) in {home / part / 'stm'}")
            of_part = [segment for name in names for segment in read_segments(home / part / "stm" / name, part)]
            segments += of_part
            if sounds:
                told = {f"{segment.talk}.sph" for segment in of_part} | {f"{name[:-4]}.sph" for name in names}
                silent += [f"{part}/sph/{name}" for name in _listed(home / part / "sph", ".sph") if name not in told]
        return segments, (f"talks without a transcript: {len(silent):,} ({first_few(silent)})",) if silent else ()


def _listed(folder: Path, ending: str) -> list[str]:
    """The names of a folder's files of a kind, sorted, but not what a Mac leaves there (`._` and the like)."""
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(ending) and not name.startswith("."))
    except OSError as error:
        raise AugrunError(f"{folder}: cannot be read ({error.strerror})") from None


def _usable(rows: list[Segment], bad: BadClips) -> list[Segment]:
    """The first segment of each id that lasts at all; the others are added to `bad`."""
    first: dict[str, Segment] = {}
    for row in rows:
        if row.end_s <= row.start_s:
            bad.add("segments that end before they begin", row.clip_id)
        elif first.setdefault(row.clip_id, row) is not row:
            bad.add("duplicate ids", row.clip_id)
    return list(first.values())


def _within_talks(
    rows: list[Segment], facts: list[FileFacts], bad: BadClips
) -> tuple[list[tuple[Segment, FileFacts]], list[str]]:
    """The segments that lie in a talk that can be used; and which of them end a little beyond it."""
    kept, beyond = [], []
    for row, known in zip(rows, facts, strict=True):
        kind = fault(known)
        if kind:
            bad.add(f"segments of {kind}", row.clip_id if not known.found else f"{row.clip_id}: {known.error}")
        elif row.start_s >= known.seconds or row.end_s > known.seconds + OVERSHOOT_S:
            bad.add("segments outside their talk", f"{row.clip_id} of {known.seconds:.2f} s")
        else:
            kept.append((row, known))
            beyond += [row.clip_id] if row.end_s > known.seconds + SLACK_S else []
    return kept, beyond


def _columns(home: Path, pairs: list[tuple[Segment, FileFacts]]) -> dict[str, Sequence[Any]]:
    base = os.path.abspath(home)
    rows = [row for row, _ in pairs]
    return {
        "clip_id": [row.clip_id for row in rows],
        "path": [os.path.join(base, row.path) for row in rows],
        "start_s": [row.start_s for row in rows],
        "end_s": [row.end_s if math.isnan(known.seconds) else min(row.end_s, known.seconds) for row, known in pairs],
        "labels": [()] * len(rows),
        "split": [SPLITS[row.part] for row in rows],
        "speaker": [row.speaker for row in rows],
        "digest": [known.digest or hashlib.sha256(row.path.encode()).hexdigest() for row, known in pairs],
    }
