"""MTG-Jamendo, mood/theme subset (Bogdanov et al. 2019, https://github.com/MTG/mtg-jamendo-dataset).

Metadata come from the dataset's own TSVs; the sound from any of its downloads: full audio (`48/948.mp3`),
audio-low (`48/948.low.mp3`) or the official mel spectrograms (`48/948.npy`).
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from augrun.core.errors import AugrunError
from augrun.corpora.checks import BadClips, first_few
from augrun.corpora.corpus import Corpus, LabelSet
from augrun.corpora.index import FileFacts, Index
from augrun.corpora.reader import Reader, absolute, build, look_up, provenance, report_files, require_folder

SPLITS = ("train", "validation", "test")

#: Tracks of split-0, the split of the MediaEval challenges, as published.
PUBLISHED_TRACKS = {"train": 9949, "validation": 3802, "test": 4231}
#: Hours of split-0, and its number of tags.
PUBLISHED_HOURS = {"train": 611.0, "validation": 223.0, "test": 261.1}
PUBLISHED_TAGS = 56
#: Tracks of each tag in the three parts of split-0, counted in the published tables.
PUBLISHED_TAG_TRACKS = {
    tag: int(tracks)
    for tag, tracks in re.findall(
        r"(\w+) (\d+)",
        """
        action 407, adventure 448, advertising 673, background 496, ballad 334, calm 457, children 456, christmas 623,
        commercial 428, cool 251, corporate 609, dark 1202, deep 635, documentary 612, drama 424, dramatic 317,
        dream 951, emotional 1271, energetic 1357, epic 982, fast 119, film 1502, fun 480, funny 203, game 261,
        groovy 194, happy 1657, heavy 156, holiday 176, hopeful 216, inspiring 877, love 909, meditative 742,
        melancholic 441, melodic 1213, motivational 635, movie 413, nature 259, party 266, positive 539, powerful 238,
        relaxing 1350, retro 213, romantic 627, sad 749, sexy 122, slow 437, soft 465, soundscape 480, space 503,
        sport 297, summer 505, trailer 270, travel 171, upbeat 444, uplifting 693
        """,
    )
}
#: Size of each download in GB.
PUBLISHED_GIGABYTES = {"audio": 152, "audio-low": 46, "melspecs": 68}

#: Category of the subset's tags, as the TSVs write it before each tag.
CATEGORY = "mood/theme---"

#: Fixed columns of the TSVs; each tag of a track is one more column, so rows are ragged.
HEADER = ("TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS")

#: Where a download may lie within the root, in the order of the search.
FOLDERS = (
    "",
    "audio",
    "audio-low",
    "melspecs",
    "autotagging_moodtheme/audio",
    "autotagging_moodtheme/audio-low",
    "autotagging_moodtheme/melspecs",
    "raw_30s/audio",
    "raw_30s/audio-low",
    "raw_30s/melspecs",
)

#: What replaces `.mp3` in each kind of download; sound comes before spectrograms, which no generator can prime.
ENDINGS = {
    "audio": (".mp3", ".flac", ".wav", ".ogg"),
    "audio-low": (".low.mp3",),
    "melspecs": (".npy",),
}

#: Where the list of tags may lie: in the dataset's repository, or loose.
TAG_FILES = (
    "data/tags/moodtheme_split.txt",
    "tags/moodtheme_split.txt",
    "tags_moodtheme_split.txt",
    "moodtheme_split.txt",
)


class Track(NamedTuple):
    """One row of the TSVs; `tags` without their category, in the row's order (sorted, as published)."""

    track_id: str
    artist_id: str
    album_id: str
    path: str
    seconds: float
    tags: tuple[str, ...]
    split: str


def read_splits(root: Path, split: int = 0) -> list[Track]:
    """The rows of the three TSVs of a split, found in `root` or where the dataset's repository has them.

    Args:
        root: the corpus's folder, or a clone of the dataset's repository.
        split: which of the published splits, 0 to 4.

    Raises:
        AugrunError: the TSVs are not there, lack a column, or a row does not parse (file and line).
    """
    name = "autotagging_moodtheme-{}.tsv"
    places = [root / f"data/splits/split-{split}", root / f"splits/split-{split}", root / f"split-{split}"]
    # Loose files do not say which split they are; they can only be the usual one.
    places += [root] if split == 0 else []
    folder = next((place for place in places if (place / name.format("train")).is_file()), None)
    if folder is None:
        where = ", ".join(os.path.relpath(place, root) for place in places)
        raise AugrunError(
            f"{root}: no {name.format('train')} in {where}\n"
            "copy `data/` of github.com/MTG/mtg-jamendo-dataset there, or name another folder with dataset.root="
        )
    return [track for part in SPLITS for track in _read_tsv(folder / name.format(part), part)]


def read_tags(root: Path) -> list[str] | None:
    """The subset's tags in class order from the dataset's tag file; None where it is not there."""
    for place in TAG_FILES:
        if (root / place).is_file():
            lines = (root / place).read_text(encoding="utf-8").split()
            return [line.removeprefix(CATEGORY) for line in lines]
    return None


def _read_tsv(path: Path, split: str) -> list[Track]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            header = next(rows, [])
            missing = [column for column in HEADER if column not in header]
            if missing:
                raise AugrunError(
                    f"{path}: column {', '.join(missing)} is missing; the header has {', '.join(header) or 'nothing'}"
                )
            places = [header.index(column) for column in HEADER]
            return [_track(row, places, f"{path}:{number}", split) for number, row in enumerate(rows, 2) if row]
    except OSError as error:
        raise AugrunError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise AugrunError(f"{path}: is no UTF-8 table ({error})") from None


def _track(row: list[str], places: list[int], where: str, split: str) -> Track:
    if len(row) < len(HEADER):
        raise AugrunError(f"{where}: {len(row)} columns where at least {len(HEADER)} are expected")
    track, artist, album, path, duration, _ = (row[place] for place in places)
    try:
        seconds = float(duration)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise AugrunError(f"{where}: DURATION {duration!r} is no number of seconds")
    if not path or path.startswith("/") or ".." in path.split("/"):
        raise AugrunError(f"{where}: PATH {path!r} leaves the corpus's folder")
    tags = tuple(tag.strip().removeprefix(CATEGORY) for tag in row[places[-1] :] if tag.strip())
    return Track(track, artist, album, path, seconds, tags, split)


@dataclass(frozen=True)
class Jamendo(Reader):
    """The tracks of the mood/theme subset with a published split; what their classes are is for subclasses to say.

    Attributes:
        split: which of the published splits, 0 to 4.
        files: which download to read; `auto` takes what is there, sound before spectrograms.
        audio_root: where the numbered folders `00` to `99` lie, absolute or below the root; None: the usual places.
    """

    split: Annotated[int, "[0, 4]"] = 0
    files: Literal["auto", "audio", "audio-low", "melspecs"] = "auto"
    audio_root: str | None = None

    def read(self, root: Path, index: Index | None) -> Corpus:
        """Reads the corpus; see `Reader.read`."""
        require_folder(root, self.name)
        tracks = read_splits(root, self.split)
        bad, total = BadClips(self.name), len(tracks)
        labels = self.label_set(root, tracks)
        tracks, targets, notes = self._labelled(_without_repeats(tracks, bad), labels, bad)
        counts = _counts(tracks, targets, labels)
        folder, places = root, [track.path for track in tracks]
        if index is not None:
            folder, ending = self._locate(root, places)
            places = [_with_ending(path, ending) for path in places]
        facts = look_up(folder, places, index)
        usable = report_files(places, facts, bad)
        notes += bad.settle(self.on_bad_clip, total)
        kept = [row for row, good in enumerate(usable) if good]
        tracks, facts = [tracks[row] for row in kept], [facts[row] for row in kept]
        seconds = [_seconds(track, known) for track, known in zip(tracks, facts, strict=True)]
        short = sum(have < 0.9 * track.seconds for track, have in zip(tracks, seconds, strict=True))
        if short:
            notes += (f"files over 10 % shorter than the table says: {short:,}",)
        columns: dict[str, list[Any]] = {
            "clip_id": [track.track_id for track in tracks],
            "path": [absolute(folder, places[row]) for row in kept],
            "start_s": [0.0] * len(tracks),
            "end_s": seconds,
            "labels": [targets[row] for row in kept],
            "split": [track.split for track in tracks],
            "cluster": [track.artist_id for track in tracks],
            "digest": [known.digest or _metadata_digest(track) for track, known in zip(tracks, facts, strict=True)],
        }
        data = provenance(root, counts, None if len(bad) or short else self.published())
        return build(self.name, columns, labels, data, notes)

    def label_set(self, root: Path, tracks: Iterable[Track]) -> LabelSet:
        """The classes in order.

        Raises:
            AugrunError: the settings name tags that there are not.
        """
        raise NotImplementedError

    def targets(self, track: Track, labels: LabelSet) -> tuple[int, ...] | None:
        """A track's class indices in the order of its tags; None where it is no part of this corpus.

        Raises:
            KeyError: a tag is no class.
        """
        raise NotImplementedError

    def _labelled(
        self, tracks: list[Track], labels: LabelSet, bad: BadClips
    ) -> tuple[list[Track], list[tuple[int, ...]], tuple[str, ...]]:
        """The tracks that have classes, their class indices, and a note on what is no part of this corpus."""
        kept, targets, out = [], [], 0
        for track in tracks:
            try:
                indices = self.targets(track, labels)
            except KeyError as error:
                bad.add("tracks with unknown labels", f"{error.args[0]} of {track.track_id}")
                continue
            if indices is None:
                out += 1
            elif not indices:
                bad.add("tracks without a label", track.track_id)
            else:
                kept.append(track)
                targets.append(indices)
        return kept, targets, (f"tracks left out that carry none of the classes: {out:,}",) if out else ()

    def _locate(self, root: Path, paths: list[str]) -> tuple[Path, str]:
        """The folder and the ending under which the tracks lie.

        Raises:
            AugrunError: none of the tracks looked for is anywhere.
        """
        folders = FOLDERS if self.audio_root is None else (self.audio_root,)
        kinds = ENDINGS if self.files == "auto" else {self.files: ENDINGS[self.files]}
        # A handful all over the table: a few missing tracks must not hide a download.
        sample = paths[:: max(1, len(paths) // 64)]
        for endings in kinds.values():
            for ending in endings:
                for folder in folders:
                    if any((root / folder / _with_ending(path, ending)).is_file() for path in sample):
                        return root / folder, ending
        wanted = " or ".join(_with_ending(paths[0], endings[0]) for endings in kinds.values()) if paths else "tracks"
        where = ", ".join(folder or "." for folder in folders)
        raise AugrunError(
            f"{self.name}: no audio in {root}; looked for {wanted} and others in {where}\n"
            "name the folder that holds 00 to 99 with dataset.audio_root="
        )


@dataclass(frozen=True)
class JamendoMood(Jamendo):
    """The mood/theme subset with its tags as classes, of which a track may have several.

    Attributes:
        tags: these tags only, in this order; None takes all. A track with none of them is left out.
    """

    name: str = "jamendo_mood"
    tags: list[str] | None = None

    def published(self) -> dict[str, int]:
        """Of split-0 with all its tags."""
        if self.split or self.tags is not None:
            return {}
        splits = {f"split {part}": tracks for part, tracks in PUBLISHED_TRACKS.items()}
        tags = {f"class {tag}": tracks for tag, tracks in PUBLISHED_TAG_TRACKS.items()}
        return {"clips": sum(PUBLISHED_TRACKS.values()), **splits, **tags}

    def label_set(self, root: Path, tracks: Iterable[Track]) -> LabelSet:
        """The classes in order: the tag file's, else sorted, else those chosen by `tags`."""
        known = known_tags(root, tracks)
        if self.tags is None:
            return LabelSet(tuple(known), multilabel=True)
        strangers = [tag for tag in self.tags if tag not in known]
        if strangers or not self.tags:
            what = f"{first_few(strangers)} is" if strangers else "an empty list names"
            raise AugrunError(f"dataset.tags: {what} no tag of {self.name}; it has {', '.join(known)}")
        return LabelSet(tuple(self.tags), multilabel=True)

    def targets(self, track: Track, labels: LabelSet) -> tuple[int, ...] | None:
        """See `Jamendo.targets`."""
        if self.tags is None:
            return tuple(labels.index(tag) for tag in track.tags)
        return tuple(labels.index(tag) for tag in track.tags if tag in labels.names) or None


def known_tags(root: Path, tracks: Iterable[Track]) -> list[str]:
    """The tags that there are: the tag file's in its order, else those of the tracks, sorted."""
    return read_tags(root) or sorted({tag for track in tracks for tag in track.tags})


def _counts(tracks: list[Track], targets: list[tuple[int, ...]], labels: LabelSet) -> dict[str, int]:
    """What the tables hold, by the names of `Corpus.counts`."""
    splits = Counter(f"split {track.split}" for track in tracks)
    classes = Counter(f"class {labels.names[k]}" for indices in targets for k in indices)
    return {"clips": len(tracks), **splits, **classes}


def _without_repeats(tracks: list[Track], bad: BadClips) -> list[Track]:
    """The first row of each track; the others are added to `bad`."""
    seen: set[str] = set()
    first = []
    for track in tracks:
        if track.track_id in seen:
            bad.add("duplicate ids", track.track_id)
        else:
            seen.add(track.track_id)
            first.append(track)
    return first


def _with_ending(path: str, ending: str) -> str:
    return os.path.splitext(path)[0] + ending


def _seconds(track: Track, known: FileFacts) -> float:
    """The table's duration, or the file's own where that is shorter, so that no window passes its end."""
    return track.seconds if math.isnan(known.seconds) else min(track.seconds, known.seconds)


def _metadata_digest(track: Track) -> str:
    return hashlib.sha256(repr((track.path, track.seconds)).encode()).hexdigest()
