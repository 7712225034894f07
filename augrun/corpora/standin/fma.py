"""A miniature of FMA: `fma_metadata/tracks.csv` with its header of three lines, and `fma_small/NNN/NNNNNN.mp3`.

Each genre stands for a style of music; a track's style is its genre's, its artist's manner and a good deal of chance.
Loudness and duration are drawn without regard to the genre. One file is silent and one ends at once, as some of the
real ones do; the metadata name tracks of the larger subsets, which are not in this download.
"""

from __future__ import annotations

import csv
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core.audio import write
from augrun.core.errors import RequestError
from augrun.corpora.standin.music import DIMENSIONS, RATE, Style, play

#: Bumped when the same request renders something else.
VERSION = 1

#: What can be asked for: tracks of each part, and the range of their durations in seconds.
SIZES: dict[str, Any] = {"train": 80, "validation": 24, "test": 24, "seconds": (5.0, 6.0)}

PARTS = {"train": "training", "validation": "validation", "test": "test"}

#: The genres of the small subset, and how the music of each is.
STYLES = {
    # tempo, mode, timbre, register, drums, space, swell
    "Electronic": Style(0.7, -0.2, 0.8, -0.3, 0.9, 0.2, 0.2),
    "Experimental": Style(-0.4, -0.8, 0.3, -0.6, -0.5, 0.9, 0.3),
    "Folk": Style(-0.1, 0.6, -0.4, 0.2, -0.9, -0.3, -0.2),
    "Hip-Hop": Style(0.0, -0.6, 0.0, -0.8, 0.8, -0.6, 0.0),
    "Instrumental": Style(-0.6, 0.1, -0.5, 0.4, -0.8, 0.6, 0.5),
    "International": Style(0.3, 0.0, 0.5, 0.8, 0.0, -0.2, -0.3),
    "Pop": Style(0.4, 0.8, 0.4, 0.4, 0.4, 0.0, 0.0),
    "Rock": Style(0.8, 0.1, 0.9, -0.2, 0.9, -0.4, -0.1),
}
GENRES = tuple(STYLES)

#: Standard deviations of what chance and the artist add to a style; they set how far the genres overlap.
CHANCE = 0.3
MANNER = 0.15

#: Root mean square of the tracks in dB of full scale, whatever their genre.
LEVELS_DB = (-28.0, -16.0)

#: How long the file is that ends at once, in seconds.
SHORT_S = 1.0

#: Rows for tracks of the medium and the large subset, the last of which has no top genre.
ELSEWHERE = 6

#: The columns of `tracks.csv`, by group.
COLUMNS = {
    "album": "comments date_created date_released engineer favorites id information listens producer tags title tracks "
    "type",
    "artist": "active_year_begin active_year_end associated_labels bio comments date_created favorites id latitude "
    "location longitude members name related_projects tags website wikipedia_page",
    "set": "split subset",
    "track": "bit_rate comments composer date_created date_recorded duration favorites genre_top genres genres_all "
    "information interest language_code license listens lyricist number publisher tags title",
}
_HEADER = [(group, name) for group, names in COLUMNS.items() for name in names.split()]


@dataclass(frozen=True)
class _Track:
    number: int
    artist: int
    part: str
    subset: str
    genre: str
    style: Style
    seconds: float
    level_db: float

    @property
    def path(self) -> str:
        return f"{self.number // 1000:03d}/{self.number:06d}.mp3"


def check(**sizes: Any) -> dict[str, Any]:
    """The sizes as plain values.

    Raises:
        RequestError: a size is not what it should be.
    """
    for part in PARTS:
        if not isinstance(sizes[part], int) or sizes[part] < 2:
            raise RequestError(f"standin fma: {part}={sizes[part]!r} is no number of tracks from 2 on")
    try:
        shortest, longest = (float(value) for value in sizes["seconds"])
    except (TypeError, ValueError):
        shortest, longest = 0.0, -1.0
    if not 3 <= shortest <= longest <= 30:
        raise RequestError(f"standin fma: seconds={sizes['seconds']!r} is no range [shortest, longest] in 3 to 30")
    return {**sizes, "seconds": [shortest, longest]}


def render(folder: Path, seed: int, train: int, validation: int, test: int, seconds: list[float]) -> None:
    """Writes the corpus into `folder`, which is empty."""
    tracks = _plan(seed, {"train": train, "validation": validation, "test": test}, seconds)
    _write_table(folder / "fma_metadata/tracks.csv", tracks)
    small = [track for track in tracks if track.subset == "small"]
    for track in small:
        (folder / "fma_small" / track.path).parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(lambda track: _render_track(folder / "fma_small" / track.path, track, seed), small))


def _render_track(path: Path, track: _Track, seed: int) -> None:
    # Seeded by its own number: no track depends on how many others there are or on the order of the work.
    rng = np.random.default_rng((seed, track.number))
    silent = np.isneginf(track.level_db)
    sound = np.zeros(round(track.seconds * RATE), np.float32) if silent else None
    write(path, play(track.style, track.seconds, track.level_db, rng) if sound is None else sound, RATE)


def _write_table(path: Path, tracks: list[_Track]) -> None:
    """The three lines of the header are the two levels of the columns and the name of the index."""
    path.parent.mkdir(parents=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["", *(group for group, _ in _HEADER)])
        table.writerow(["", *(name for _, name in _HEADER)])
        table.writerow(["track_id", *([""] * len(_HEADER))])
        for track in sorted(tracks, key=lambda track: track.number):
            cells = _cells(track)
            table.writerow([track.number, *(cells.get(column, "") for column in _HEADER)])


def _cells(track: _Track) -> dict[tuple[str, str], Any]:
    """What a row says; a biography goes over several lines, as many real ones do."""
    return {
        ("album", "id"): track.artist * 3,
        ("album", "tags"): "[]",
        ("artist", "bio"): f'<p>Number {track.artist},\nwho plays "{track.genre or "anything"}".</p>',
        ("artist", "id"): track.artist,
        ("artist", "name"): f"Artist {track.artist}",
        ("set", "split"): PARTS[track.part],
        ("set", "subset"): track.subset,
        ("track", "bit_rate"): 256_000,
        ("track", "duration"): 120 + track.number % 240,
        ("track", "genre_top"): track.genre,
        ("track", "genres"): "[]",
        ("track", "title"): f"Track {track.number}",
    }


def _plan(seed: int, counts: dict[str, int], seconds: list[float]) -> list[_Track]:
    """What to render: ids, artists (no artist in two parts), genres and styles."""
    rng = np.random.default_rng((seed, 0))
    numbers = iter(rng.choice(np.arange(2, 155_320), size=sum(counts.values()) + 2 + ELSEWHERE, replace=False).tolist())
    artists = rng.permutation(np.arange(1, 24_000))
    tracks: list[_Track] = []
    for part, count in counts.items():
        own = max(1, round(count / 2.5))
        here, artists = artists[:own], artists[own:]
        manners = rng.normal(0, MANNER, size=(own, DIMENSIONS))
        rounds = [rng.permutation(len(GENRES)) for _ in range(-(-count // len(GENRES)))]
        for place, kind in enumerate(np.concatenate(rounds)[:count]):
            artist = int(rng.integers(own)) if place >= own else place
            style = STYLES[GENRES[kind]].array() + manners[artist] + rng.normal(0, CHANCE, size=DIMENSIONS)
            tracks.append(
                _Track(
                    number=next(numbers),
                    artist=int(here[artist]),
                    part=part,
                    subset="small",
                    genre=GENRES[kind],
                    style=Style(*np.clip(style, -1.4, 1.4).tolist()),
                    seconds=round(float(rng.uniform(seconds[0], seconds[1])), 1),
                    level_db=float(rng.uniform(*LEVELS_DB)),
                )
            )
    plain = Style(*[0.0] * DIMENSIONS)
    one = int(artists[0])
    tracks.append(_Track(next(numbers), one, "train", "small", GENRES[0], plain, seconds[0], -np.inf))
    tracks.append(_Track(next(numbers), one, "train", "small", GENRES[-1], plain, SHORT_S, -20.0))
    for place in range(ELSEWHERE):
        subset, genre = ("medium", "Jazz") if place % 2 == 0 else ("large", "" if place == ELSEWHERE - 1 else "Blues")
        tracks.append(_Track(next(numbers), one, "train", subset, genre, plain, 30.0, -20.0))
    return tracks
