"""Manifest corpora in the manner of FEEL-25k (Chatziagapi et al. 2019, section 3.1): one row an utterance.

FEEL-25k itself is private: "almost 25k utterances" and 49 hours, labelled by 3 to 7 annotators each, with a
separate test set of "almost 50k utterances" and 100 hours. Any corpus with a manifest reads the same way:

    path             the sound file, relative to the corpus's folder; a backslash parts folders too (required)
    label            its class; or `votes`, e.g. `angry;angry;happy`; or one column a rater, `rater_1`, `rater_2`, ...
    start, end       the utterance within the file, in seconds (optional)
    speaker, session, split, duration, id, utterance        (optional)

A path that leaves the corpus's folder, absolute or by `..`, is refused: a manifest from elsewhere shall not read other
files. Only names are judged: a symbolic link in the folder that leads out of it was put there by its owner, and is
followed. Sound files that no manifest names are no part of the corpus.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from augrun.core.errors import AugrunError
from augrun.corpora.checks import BadClips, first_few
from augrun.corpora.corpus import Corpus, LabelSet
from augrun.corpora.index import FileFacts, Index
from augrun.corpora.manifest import number, read_table
from augrun.corpora.reader import Reader, absolute, build, look_up, provenance, report_files, require_folder

#: The classes in order; `ambiguous` is one only where clips carry it.
CLASSES = ("angry", "happy", "neutral", "sad", "ambiguous")
AMBIGUOUS = "ambiguous"

#: As published, rounded by the authors, so that no corpus at hand can be told by its counts.
PUBLISHED_UTTERANCES = {"train and validation": 25_000, "test": 50_000}
PUBLISHED_HOURS = {"train and validation": 49.0, "test": 100.0}

#: How manifests name the parts.
SPLITS = {
    "": "",
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "development": "validation",
    "test": "test",
    "eval": "test",
    "evaluation": "test",
}

#: What an utterance's stated end may exceed its file by: durations in manifests are rounded.
SLACK_S = 0.05


class Utterance(NamedTuple):
    """One row of a manifest; `path` relative to the root, `end_s` and `seconds` None where not stated."""

    clip_id: str
    path: str
    label: str
    start_s: float
    end_s: float | None
    seconds: float | None
    split: str
    speaker: str
    session: str
    utterance: str


@dataclass(frozen=True)
class Feel(Reader):
    """A corpus described by a manifest.

    Attributes:
        manifest: the manifest, below the root.
        test_manifest: a manifest of its own for the test part, whatever its `split` column says; None where there is
            none. Its paths start at the corpus's folder as well.
        agreement: an utterance is `ambiguous` where the most frequent vote has a smaller share than this, or a tie.
        labels: the classes in order; None takes those of angry, happy, neutral, sad and ambiguous that occur.
    """

    name: str = "feel"
    manifest: str = "manifest.csv"
    test_manifest: str | None = None
    agreement: Annotated[float, "[0, 1]"] = 0.5
    labels: list[str] | None = None

    def read(self, root: Path, index: Index | None) -> Corpus:
        """Reads the corpus; see `Reader.read`."""
        require_folder(root, self.name)
        rows = self._utterances(root, self.manifest, "manifest")
        if self.test_manifest is not None:
            test = self._utterances(root, self.test_manifest, "test_manifest")
            rows += [row._replace(split="test") for row in test]
        bad, total = BadClips(self.name), len(rows)
        labels = self._label_set(rows)
        rows = _usable(rows, labels, bad)
        facts = look_up(root, [row.path for row in rows], index)
        good = report_files([row.path for row in rows], facts, bad)
        pairs = [pair for pair, kept in zip(zip(rows, facts, strict=True), good, strict=True) if kept]
        pairs = [(row, known) for row, known in pairs if _within_file(row, known, bad)]
        notes = bad.settle(self.on_bad_clip, total)
        return self._build(root, pairs, labels, notes)

    def _utterances(self, root: Path, name: str, setting: str) -> list[Utterance]:
        """The rows of one manifest.

        Raises:
            AugrunError: it is missing, lacks a column, or has a row that does not parse or whose path leaves the root.
        """
        path = root / name
        if not path.exists():
            raise AugrunError(f"{self.name}: {path} does not exist; name the manifest with dataset.{setting}=")
        columns, rows = read_table(path)
        raters = [column for column in columns if re.fullmatch(r"rater[ _-]?\d+", column)]
        seen = f"the header has {', '.join(columns)}"
        if "path" not in columns:
            raise AugrunError(f"{path}: column path is missing; {seen}")
        if not raters and "label" not in columns and "votes" not in columns:
            raise AugrunError(f"{path}: column label is missing (or votes, or rater_1, rater_2, ...); {seen}")
        base = os.path.abspath(root)
        utterances = [self._utterance(base, row, raters, where) for where, row in rows]
        if not utterances:
            raise AugrunError(f"{path}: holds no row below the header")
        return utterances

    def _utterance(self, base: str, row: dict[str, str], raters: list[str], where: str) -> Utterance:
        place = _inside(base, row["path"], where)
        start, end, seconds = (_seconds(row, name, where) for name in ("start", "end", "duration"))
        if end is not None and end <= (start or 0.0):
            raise AugrunError(f"{where}: end {end:g} is not after start {start or 0:g}")
        if end is None and start is not None and seconds is not None:
            end = start + seconds
        split = row.get("split", "").lower()
        if split not in SPLITS:
            raise AugrunError(f"{where}: split {split!r} is none of train, validation, test")
        piece = "" if start is None and end is None else f"@{start or 0:g}" + ("" if end is None else f"-{end:g}")
        clip_id = row.get("id") or row.get("clip_id") or place + piece
        return Utterance(
            clip_id=clip_id,
            path=place,
            label=self._label(row, raters),
            start_s=start or 0.0,
            end_s=end,
            seconds=seconds,
            split=SPLITS[split],
            speaker=row.get("speaker", ""),
            session=row.get("session", ""),
            utterance=row.get("utterance") or clip_id,
        )

    def _label(self, row: dict[str, str], raters: list[str]) -> str:
        """The raters' verdict where there are votes, else the label; "" where there is neither."""
        votes = [row[rater] for rater in raters] + re.split(r"[;|,]", row.get("votes", ""))
        votes = [vote.strip().lower() for vote in votes if vote.strip()]
        return verdict(votes, self.agreement) if votes else row.get("label", "").lower()

    def _label_set(self, rows: list[Utterance]) -> LabelSet:
        present = {row.label for row in rows}
        names = [name.lower() for name in self.labels] if self.labels else [name for name in CLASSES if name in present]
        if len(names) < 2 or len(set(names)) < len(names):
            known = first_few(sorted(present - {""}), 12) or "no labels"
            raise AugrunError(
                f"{self.name}: two classes or more of {', '.join(self.labels or CLASSES)} are needed; there are "
                f"{known}\nname the classes with dataset.labels=[...]"
            )
        return LabelSet(tuple(names))

    def _build(
        self, root: Path, pairs: list[tuple[Utterance, FileFacts]], labels: LabelSet, notes: tuple[str, ...]
    ) -> Corpus:
        rows = [row for row, _ in pairs]
        columns: dict[str, list[Any]] = {
            "clip_id": [row.clip_id for row in rows],
            "path": [absolute(root, row.path) for row in rows],
            "start_s": [row.start_s for row in rows],
            "end_s": [_end(row, known) for row, known in pairs],
            "labels": [(labels.index(row.label),) for row in rows],
            "split": [row.split for row in rows],
            "speaker": [row.speaker for row in rows],
            "session": [row.session for row in rows],
            "utterance": [row.utterance for row in rows],
            "digest": [known.digest or hashlib.sha256(row.path.encode()).hexdigest() for row, known in pairs],
        }
        return build(self.name, columns, labels, provenance(root, {}, None), notes)


def verdict(votes: list[str], agreement: float) -> str:
    """The most frequent vote; `ambiguous` on a tie or where its share is below `agreement`."""
    (best, count), *others = Counter(votes).most_common(2)
    if count < agreement * len(votes) or (others and others[0][1] == count):
        return AMBIGUOUS
    return best


def _usable(rows: list[Utterance], labels: LabelSet, bad: BadClips) -> list[Utterance]:
    """The first row of each id whose label is a class; the others are added to `bad`."""
    seen: set[str] = set()
    heard: set[tuple[str, float, float | None]] = set()
    kept = []
    for row in rows:
        window = (row.path, row.start_s, row.end_s)
        if row.clip_id in seen:
            bad.add("duplicate ids", row.clip_id)
        elif window in heard:
            bad.add("rows that repeat another's sound", row.clip_id)
        elif not row.label:
            bad.add("clips without a label", row.clip_id)
        elif row.label not in labels.names:
            bad.add(f"clips with labels other than {', '.join(labels.names)}", f"{row.label} of {row.clip_id}")
        else:
            kept.append(row)
        seen.add(row.clip_id)
        heard.add(window)
    return kept


def _within_file(row: Utterance, known: FileFacts, bad: BadClips) -> bool:
    """Whether the utterance lies in its file; else it is added to `bad`."""
    if math.isnan(known.seconds):
        return True
    if max(row.start_s, row.end_s or 0.0) > known.seconds + SLACK_S or row.start_s >= known.seconds:
        bad.add("utterances outside their file", f"{row.clip_id} of {known.seconds:.2f} s")
        return False
    return True


def _end(row: Utterance, known: FileFacts) -> float:
    """Where the utterance ends in its file; nan where neither manifest nor file has been asked."""
    stated = row.end_s if row.end_s is not None else math.nan
    if math.isnan(known.seconds):
        return stated if row.seconds is None or row.end_s is not None else row.start_s + row.seconds
    return known.seconds if math.isnan(stated) else min(stated, known.seconds)


def _seconds(row: dict[str, str], name: str, where: str) -> float | None:
    """`start`, or `start_s` where the manifest says it so."""
    return number(row, name if name in row else f"{name}_s", where)


def _inside(base: str, path: str, where: str) -> str:
    """`path` relative to the corpus's folder `base`, an absolute path.

    Raises:
        AugrunError: it is empty or leaves the folder.
    """
    prefix = base.rstrip(os.sep) + os.sep
    place = os.path.normpath(os.path.join(base, path.replace("\\", "/")))
    if not path or not place.startswith(prefix):
        raise AugrunError(f"{where}: path {path!r} is refused, it leaves the corpus's folder {base}")
    return place[len(prefix) :]
