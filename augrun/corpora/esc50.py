"""ESC-50: 2,000 environmental sounds of 50 classes in five folds (Piczak 2015, github.com/karolpiczak/ESC-50).

A corpus of its own, and a source of background noise. Read are its own layout (`meta/esc50.csv` and `audio/`) and any
other folder with a table of `filename`, `category` and `fold`: what else a row needs is in the names of the files,
`{fold}-{recording}-{take}-{class}.wav`.

Several clips were cut from one recording; it is the cluster, and its clips share a fold. Four recordings do not in the
published table: theirs are put where most of them lie.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from augrun.core.errors import AugrunError
from augrun.corpora.checks import BadClips, first_few
from augrun.corpora.corpus import Corpus, LabelSet
from augrun.corpora.index import FileFacts, Index
from augrun.corpora.manifest import number, read_table
from augrun.corpora.reader import Reader, absolute, build, provenance, report_files, require_folder

#: The published classes in the order of their targets, and how many clips each has.
CLASSES = (
    *("dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow"),
    *("rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds", "water_drops", "wind", "pouring_water"),
    *("toilet_flush", "thunderstorm", "crying_baby", "sneezing", "clapping", "breathing", "coughing", "footsteps"),
    *("laughing", "brushing_teeth", "snoring", "drinking_sipping", "door_wood_knock", "mouse_click"),
    *("keyboard_typing", "door_wood_creaks", "can_opening", "washing_machine", "vacuum_cleaner", "clock_alarm"),
    *("clock_tick", "glass_breaking", "helicopter", "chainsaw", "siren", "car_horn", "engine", "train"),
    *("church_bells", "airplane", "fireworks", "hand_saw"),
)
PUBLISHED_CLIPS = 40
#: The ten classes of ESC-10.
ESC10 = (
    *("dog", "rooster", "rain", "sea_waves", "crackling_fire"),
    *("crying_baby", "sneezing", "clock_tick", "helicopter", "chainsaw"),
)

#: How long every clip is, in seconds; what is said where the files are not looked at.
CLIP_SECONDS = 5.0

#: Where the table may lie.
TABLES = ("meta/esc50.csv", "esc50.csv", "meta.csv")

#: `1-100032-A-0.wav`: fold, recording, take and target; ESC-10 was also given out as `1-100032-A.ogg`.
_NAME = re.compile(r"\d+-(\d+)-[A-Z]+(-\d+)?\.\w+")

#: What counts as a sound where files without a label are counted.
_SOUNDS = (".wav", ".ogg", ".flac", ".mp3")


class Clip(NamedTuple):
    """One row of the table; `target` None where it has none."""

    filename: str
    category: str
    target: int | None
    fold: int
    recording: str
    esc10: bool
    seconds: float


def read_clips(path: Path) -> list[Clip]:
    """The rows of the table.

    Raises:
        AugrunError: it cannot be read, lacks a column or a row, or a row does not parse (file and line).
    """
    columns, rows = read_table(path)
    missing = [column for column in ("filename", "category", "fold") if column not in columns]
    if missing:
        raise AugrunError(f"{path}: column {', '.join(missing)} is missing; the header has {', '.join(columns)}")
    clips = [_clip(row, where) for where, row in rows]
    if not clips:
        raise AugrunError(f"{path}: holds no row below the header")
    return clips


def _clip(row: dict[str, str], where: str) -> Clip:
    filename, category = row["filename"], row["category"]
    if not filename or os.path.basename(filename) != filename or filename in (".", ".."):
        raise AugrunError(f"{where}: filename {filename!r} is no name of a file in the audio folder")
    if not category:
        raise AugrunError(f"{where}: {filename} has no category")
    truth = row.get("esc10", "").lower()
    if truth not in ("", "true", "false"):
        raise AugrunError(f"{where}: esc10 {row['esc10']!r} is neither True nor False")
    named = _NAME.fullmatch(filename)
    return Clip(
        filename=filename,
        category=category,
        target=_whole(row, "target", where) if row.get("target") else None,
        fold=_whole(row, "fold", where),
        recording=row.get("src_file") or (named[1] if named else os.path.splitext(filename)[0]),
        esc10=truth == "true",
        seconds=number(row, "seconds", where) or CLIP_SECONDS,
    )


def _whole(row: dict[str, str], column: str, where: str) -> int:
    if not row[column].isascii() or not row[column].isdigit():
        raise AugrunError(f"{where}: {column} {row[column]!r} is no whole number")
    return int(row[column])


@dataclass(frozen=True)
class Esc50(Reader):
    """ESC-50, or some of its classes.

    Attributes:
        meta: the table, below the root; None: `meta/esc50.csv`, else `esc50.csv`, else `meta.csv`.
        audio_root: the folder with the sounds, absolute or below the root.
        categories: these classes only, in this order; None takes all, in the order of the table's targets.
        esc10: only the clips that the table counts to ESC-10.
        min_seconds: shorter clips are left out, with a note.
        silence_db: clips whose peak stays below this, in dB of full scale, are left out, with a note.
    """

    name: str = "esc50"
    meta: str | None = None
    audio_root: str = "audio"
    categories: list[str] | None = None
    esc10: bool = False
    min_seconds: Annotated[float, "[0, inf)"] = 1.0
    silence_db: Annotated[float, "(-inf, 0]"] = -60.0

    def published(self) -> dict[str, int]:
        """Clips of the chosen classes. Those of the folds are 400 each before recordings in several are mended."""
        chosen = self.categories if self.categories is not None else ESC10 if self.esc10 else CLASSES
        if (self.esc10 and self.categories is not None) or not set(chosen) <= set(CLASSES):
            return {}
        return {"clips": PUBLISHED_CLIPS * len(chosen)} | {f"class {name}": PUBLISHED_CLIPS for name in chosen}

    def read(self, root: Path, index: Index | None) -> Corpus:
        """Reads the corpus; see `Reader.read`. Silent and short clips are left out whatever `on_bad_clip` says."""
        require_folder(root, self.name)
        table = self._table(root)
        everything = read_clips(table)
        folds = whole_recordings(everything)
        labels = self._label_set(everything, table)
        clips = [clip for clip in everything if clip.category in labels.names and (clip.esc10 or not self.esc10)]
        bad, useless = BadClips(self.name), BadClips(self.name)
        total = len(clips)
        clips = _without_repeats(clips, bad)
        counts = _counts(clips)
        notes = _moved(clips, folds)
        folder = root / self.audio_root
        facts = [FileFacts(True, "", clip.seconds, 0, None) for clip in clips]
        if index is not None:
            notes += self._unlabelled(folder, everything)
            facts = index.lookup(folder, [clip.filename for clip in clips], levels=True)
        good = report_files([clip.filename for clip in clips], facts, bad)
        notes += bad.settle(self.on_bad_clip, total)
        kept = []
        for clip, known, usable in zip(clips, facts, good, strict=True):
            kind = known.shortcoming(self.min_seconds, self.silence_db)
            if usable and kind:
                useless.add(kind, clip.filename)
            elif usable:
                kept.append((clip, known))
        notes += useless.settle("skip", total - len(bad))
        data = provenance(root, counts, None if len(bad) else self.published())
        return build(self.name, _columns(kept, folder, folds, labels), labels, data, notes)

    def _table(self, root: Path) -> Path:
        """Where the table lies."""
        places = TABLES if self.meta is None else (self.meta,)
        found = next((root / place for place in places if (root / place).is_file()), None)
        if found is None:
            raise AugrunError(
                f"{self.name}: no {' or '.join(places)} in {root}\n"
                "copy github.com/karolpiczak/ESC-50 there, or name the table with dataset.meta="
            )
        return found

    def _label_set(self, clips: list[Clip], table: Path) -> LabelSet:
        """The chosen classes, else all: by target where there are targets, else by name."""
        if self.esc10 and not any(clip.esc10 for clip in clips):
            raise AugrunError(f"{table}: no clip is marked as ESC-10's; leave dataset.esc10=true out")
        targets: dict[str, int] = {}
        for clip in clips:
            target = -1 if clip.target is None else clip.target
            if targets.setdefault(clip.category, target) != target:
                raise AugrunError(
                    f"{table}: {clip.category} is target {targets[clip.category]} and, at {clip.filename}, {target}"
                )
        known = sorted(targets, key=lambda category: (targets[category], category))
        if self.categories is None:
            present = {clip.category for clip in clips if clip.esc10 or not self.esc10}
            return LabelSet(tuple(category for category in known if category in present))
        strangers = [category for category in self.categories if category not in targets]
        if strangers or not self.categories:
            what = f"{first_few(strangers)} is" if strangers else "an empty list names"
            raise AugrunError(f"dataset.categories: {what} no class of {self.name}; it has {', '.join(known)}")
        return LabelSet(tuple(dict.fromkeys(self.categories)))

    def _unlabelled(self, folder: Path, clips: list[Clip]) -> tuple[str, ...]:
        """A note on sounds that the table does not name.

        Raises:
            AugrunError: there is no such folder.
        """
        try:
            sounds = {name for name in os.listdir(folder) if name.lower().endswith(_SOUNDS)}
        except OSError as error:
            raise AugrunError(
                f"{self.name}: {folder} cannot be read ({error.strerror}); name the folder with the sounds with "
                "dataset.audio_root="
            ) from None
        extra = sorted(name for name in sounds - {clip.filename for clip in clips} if not name.startswith("."))
        return (f"sounds without a label: {len(extra):,} ({first_few(extra)})",) if extra else ()


def whole_recordings(clips: list[Clip]) -> dict[str, int]:
    """The fold of each recording: the one with most of its clips, of several such the lowest."""
    folds: dict[str, Counter[int]] = defaultdict(Counter)
    for clip in clips:
        folds[clip.recording][clip.fold] += 1
    return {
        recording: min(counts, key=lambda fold, counts=counts: (-counts[fold], fold))  # type: ignore[misc]
        for recording, counts in folds.items()
    }


def _moved(clips: list[Clip], folds: dict[str, int]) -> tuple[str, ...]:
    """A note on the clips that are not in the fold that the table gives them."""
    moved = [clip for clip in clips if clip.fold != folds[clip.recording]]
    if not moved:
        return ()
    recordings = sorted({clip.recording for clip in moved})
    return (
        f"moved to the fold of their recording's other clips: {len(moved):,} clips of {len(recordings):,} recordings "
        f"({first_few(recordings)})",
    )


def _without_repeats(clips: list[Clip], bad: BadClips) -> list[Clip]:
    """The first row of each file; the others are added to `bad`."""
    first: dict[str, Clip] = {}
    for clip in clips:
        if clip.filename in first:
            bad.add("duplicate ids", clip.filename)
        first.setdefault(clip.filename, clip)
    return list(first.values())


def _counts(clips: list[Clip]) -> dict[str, int]:
    """What the table holds, by the names of `Corpus.counts`, of which the published ones."""
    return {"clips": len(clips), **Counter(f"class {clip.category}" for clip in clips)}


def _columns(
    kept: list[tuple[Clip, FileFacts]], folder: Path, folds: dict[str, int], labels: LabelSet
) -> dict[str, list[Any]]:
    clips = [clip for clip, _ in kept]
    return {
        "clip_id": [os.path.splitext(clip.filename)[0] for clip in clips],
        "path": [absolute(folder, clip.filename) for clip in clips],
        "start_s": [0.0] * len(clips),
        "end_s": [known.seconds for _, known in kept],
        "labels": [(labels.index(clip.category),) for clip in clips],
        "session": [str(folds[clip.recording]) for clip in clips],
        "cluster": [clip.recording for clip in clips],
        "digest": [known.digest or hashlib.sha256(clip.filename.encode()).hexdigest() for clip, known in kept],
    }
