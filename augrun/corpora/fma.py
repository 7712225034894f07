"""FMA: music of the Free Music Archive with its genres (Defferrard et al. 2017, github.com/mdeff/fma).

A corpus of its own, and a source of background music. Its metadata (`fma_metadata/tracks.csv`) describe all 106,574
tracks; each subset is a download of clips of 30 s: `fma_small/000/000002.mp3`. The classes are the top genres.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from augrun.core.errors import AugrunError
from augrun.corpora.checks import BadClips, first_few
from augrun.corpora.corpus import Corpus, LabelSet
from augrun.corpora.index import FileFacts, Index
from augrun.corpora.reader import Reader, absolute, build, provenance, report_files, require_folder

SUBSETS = ("small", "medium", "large")
SPLITS = {"training": "train", "validation": "validation", "test": "test"}

#: Tracks by part: 8,000 in the small subset ("balanced", with an 80/10/10 split), 25,000 in the medium one
#: (Defferrard et al. 2017, sections 2.5 and 2.6, and baselines.ipynb of the repository).
PUBLISHED_TRACKS = {
    "small": {"train": 6400, "validation": 800, "test": 800},
    "medium": {"train": 19_922, "validation": 2505, "test": 2573},
}
#: The eight genres of the small subset, and the tracks of each.
SMALL_GENRES = ("Electronic", "Experimental", "Folk", "Hip-Hop", "Instrumental", "International", "Pop", "Rock")
PUBLISHED_GENRE = 1000

#: How long a clip is, in seconds, where its file is not looked at; one track in a thousand is shorter.
CLIP_SECONDS = 30.0

#: Stubs of the small subset: three without sound, three that end at once. They are found by measure; here they are
#: named because some copies of them do not even decode, which is no damage to the download.
STUBS = frozenset({98565, 98567, 98569, 99134, 108925, 133297})

#: Where the metadata may lie.
TABLES = ("fma_metadata/tracks.csv", "tracks.csv", "../fma_metadata/tracks.csv")

#: Artists' biographies are cells of the table.
_LONGEST_CELL = 1 << 24


class Track(NamedTuple):
    """One row of the metadata; `genre` "" where a track has no top genre."""

    number: int
    subset: str
    split: str
    genre: str
    artist: str
    seconds: float

    @property
    def path(self) -> str:
        """Within the subset's folder."""
        return f"{self.number // 1000:03d}/{self.number:06d}.mp3"


def read_tracks(path: Path, subset: str) -> list[Track]:
    """The rows of the metadata that belong to a subset; a larger subset holds the smaller ones.

    Raises:
        AugrunError: the table cannot be read, lacks a column, or a row does not parse (file and line).
    """
    wanted = SUBSETS[: SUBSETS.index(subset) + 1]
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [track for track in _tracks(path, csv.reader(file, strict=True)) if track.subset in wanted]
    except OSError as error:
        raise AugrunError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise AugrunError(f"{path}: is no UTF-8 table ({error.reason} at byte {error.start:,})") from None


def _tracks(path: Path, reader: Any) -> Iterator[Track]:
    """All rows below the header of three lines, which pandas reads by `index_col=0, header=[0, 1]`."""
    rows = _lines(path, reader)
    (_, groups), (_, names) = next(rows, ("", [])), next(rows, ("", []))
    header = list(zip(groups, names, strict=False))
    wanted = (("set", "subset"), ("set", "split"), ("track", "genre_top"), ("artist", "id"), ("track", "duration"))
    missing = [" ".join(column) for column in wanted if column not in header]
    if missing:
        raise AugrunError(
            f"{path}: column {', '.join(missing)} is missing in the first two lines; "
            "take tracks.csv from fma_metadata.zip as it is"
        )
    places = [header.index(column) for column in wanted]
    for where, row in rows:
        if row[:1] == ["track_id"] or not any(row):
            continue
        if len(row) != len(header):
            raise AugrunError(f"{where}: {len(row)} cells where the header has {len(header)} columns")
        yield _track(row[0], [row[place] for place in places], where)


def _lines(path: Path, reader: Any) -> Iterator[tuple[str, list[str]]]:
    """Each row with the line where it begins: biographies go over several."""
    while True:
        where = f"{path}:{reader.line_num + 1}"
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise AugrunError(f"{where}: does not parse ({error})") from None
        yield where, row


def _track(number: str, cells: list[str], where: str) -> Track:
    subset, split, genre, artist, duration = cells
    if not number.isascii() or not number.isdigit():
        raise AugrunError(f"{where}: track_id {number!r} is no whole number")
    if subset not in SUBSETS:
        raise AugrunError(f"{where}: subset {subset!r} is none of {', '.join(SUBSETS)}")
    if split not in SPLITS:
        raise AugrunError(f"{where}: split {split!r} is none of {', '.join(SPLITS)}")
    try:
        seconds = float(duration)
    except ValueError:
        raise AugrunError(f"{where}: duration {duration!r} is no number of seconds") from None
    return Track(int(number), subset, SPLITS[split], genre, artist, min(seconds, CLIP_SECONDS))


@dataclass(frozen=True)
class Fma(Reader):
    """A subset of FMA with its published split.

    Attributes:
        subset: `small` (8 genres alike), `medium` (16 genres) or `large` (all tracks that have a top genre).
        audio_root: the folder with the numbered folders, absolute or below the root; None: the subset's, else that of a
            larger one, else the root.
        genres: these genres only, in this order; None takes all, sorted.
        min_seconds: shorter clips are left out, with a note.
        silence_db: clips whose peak stays below this, in dB of full scale, are left out, with a note.
    """

    name: str = "fma"
    subset: Literal["small", "medium", "large"] = "small"
    audio_root: str | None = None
    genres: list[str] | None = None
    min_seconds: Annotated[float, "[0, inf)"] = 3.0
    silence_db: Annotated[float, "(-inf, 0]"] = -60.0

    def published(self) -> dict[str, int]:
        """Tracks of the small and the medium subset, stubs among them."""
        tracks = PUBLISHED_TRACKS.get(self.subset)
        if tracks is None or self.genres is not None:
            return {}
        genres = {f"class {genre}": PUBLISHED_GENRE for genre in SMALL_GENRES} if self.subset == "small" else {}
        return {"clips": sum(tracks.values())} | {f"split {part}": tracks[part] for part in tracks} | genres

    def read(self, root: Path, index: Index | None) -> Corpus:
        """Reads the corpus; see `Reader.read`. Silent and short clips are left out whatever `on_bad_clip` says."""
        require_folder(root, self.name)
        everything = read_tracks(self._table(root), self.subset)
        labels = self._label_set(everything)
        tracks = [track for track in everything if track.genre in labels.names]
        out = len(everything) - len(tracks)
        notes: tuple[str, ...] = (f"tracks left out that carry none of the classes: {out:,}",) if out else ()
        bad, useless = BadClips(self.name), BadClips(self.name)
        total = len(tracks)
        tracks = _without_repeats(tracks, bad)
        counts = _counts(tracks)
        folder, facts = root, [FileFacts(True, "", track.seconds, 0, None) for track in tracks]
        if index is not None:
            folder = self._locate(root, tracks)
            if folder.name not in {f"fma_{subset}" for subset in SUBSETS if subset != self.subset}:
                notes += _unlabelled(folder, everything)
            facts = index.lookup(folder, [track.path for track in tracks], levels=True)
        facts = [_stub_as_silence(track, known) for track, known in zip(tracks, facts, strict=True)]
        good = report_files([track.path for track in tracks], facts, bad)
        notes += bad.settle(self.on_bad_clip, total)
        kept = []
        for track, known, usable in zip(tracks, facts, good, strict=True):
            kind = known.shortcoming(self.min_seconds, self.silence_db)
            if usable and kind:
                useless.add(kind, track.path)
            elif usable:
                kept.append((track, known))
        notes += useless.settle("skip", total - len(bad))
        published = {} if len(bad) else self.published()
        data = provenance(root, {name: counts.get(name, 0) for name in published}, published)
        return build(self.name, _columns(kept, folder, labels), labels, data, notes)

    def _table(self, root: Path) -> Path:
        """Where the metadata lie."""
        found = next((root / place for place in TABLES if (root / place).is_file()), None)
        if found is None:
            raise AugrunError(
                f"{self.name}: no {TABLES[0]} in {root}\nunpack fma_metadata.zip of github.com/mdeff/fma there"
            )
        return found

    def _label_set(self, tracks: list[Track]) -> LabelSet:
        known = sorted({track.genre for track in tracks} - {""})
        if self.genres is None:
            return LabelSet(tuple(known))
        strangers = [genre for genre in self.genres if genre not in known]
        if strangers or not self.genres:
            what = f"{first_few(strangers)} is" if strangers else "an empty list names"
            raise AugrunError(f"dataset.genres: {what} no genre of fma_{self.subset}; it has {', '.join(known)}")
        return LabelSet(tuple(dict.fromkeys(self.genres)))

    def _locate(self, root: Path, tracks: list[Track]) -> Path:
        """The folder of the numbered folders.

        Raises:
            AugrunError: none of the tracks looked for is anywhere.
        """
        larger = SUBSETS[SUBSETS.index(self.subset) :]
        places = [f"fma_{subset}" for subset in larger] + [""] if self.audio_root is None else [self.audio_root]
        # A handful all over the table: a few missing tracks must not hide a download.
        sample = tracks[:: max(1, len(tracks) // 64)]
        for place in places:
            if any((root / place / track.path).is_file() for track in sample):
                return root / place
        where = ", ".join(place or "." for place in places)
        example = f"; looked for {sample[0].path} and others in {where}" if sample else ""
        raise AugrunError(
            f"{self.name}: no audio in {root}{example}\n"
            f"unpack fma_{self.subset}.zip there, or name the folder that holds 000 to 155 with dataset.audio_root="
        )


def _stub_as_silence(track: Track, known: FileFacts) -> FileFacts:
    """One of the published stubs that does not decode is what it is known to be: a clip of no length."""
    if track.number in STUBS and known.found and known.error:
        return known._replace(error=None, seconds=0.0)
    return known


def _unlabelled(folder: Path, tracks: list[Track]) -> tuple[str, ...]:
    """A note on sounds that the subset's metadata do not name."""
    known = {track.path for track in tracks}
    extra = []
    for numbered in sorted(os.listdir(folder)):
        if len(numbered) == 3 and numbered.isdigit() and (folder / numbered).is_dir():
            names = (f"{numbered}/{name}" for name in sorted(os.listdir(folder / numbered)) if name.endswith(".mp3"))
            extra += [name for name in names if name not in known]
    return (f"sounds without a label: {len(extra):,} ({first_few(extra)})",) if extra else ()


def _without_repeats(tracks: list[Track], bad: BadClips) -> list[Track]:
    """The first row of each track; the others are added to `bad`."""
    first: dict[int, Track] = {}
    for track in tracks:
        if track.number in first:
            bad.add("duplicate ids", str(track.number))
        first.setdefault(track.number, track)
    return list(first.values())


def _counts(tracks: list[Track]) -> dict[str, int]:
    """What the metadata hold, by the names of `Corpus.counts`."""
    splits = Counter(f"split {track.split}" for track in tracks)
    return {"clips": len(tracks), **splits, **Counter(f"class {track.genre}" for track in tracks)}


def _columns(kept: list[tuple[Track, FileFacts]], folder: Path, labels: LabelSet) -> dict[str, list[Any]]:
    tracks = [track for track, _ in kept]
    place = {genre: k for k, genre in enumerate(labels.names)}
    return {
        "clip_id": [f"{track.number:06d}" for track in tracks],
        "path": [absolute(folder, track.path) for track in tracks],
        "start_s": [0.0] * len(tracks),
        "end_s": [known.seconds for _, known in kept],
        "labels": [(place[track.genre],) for track in tracks],
        "split": [track.split for track in tracks],
        "cluster": [track.artist for track in tracks],
        "digest": [known.digest or hashlib.sha256(track.path.encode()).hexdigest() for track, known in kept],
    }
