"""A miniature of MTG-Jamendo's mood/theme subset: its TSVs, its list of tags, and `NN/ID.mp3`.

Each tag stands for a style of music; a track's style is the mean of its tags' styles, its artist's manner
and a good deal of chance. Loudness and duration are drawn without regard to the tags.
"""

from __future__ import annotations

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
SIZES: dict[str, Any] = {"train": 112, "validation": 42, "test": 56, "seconds": (10.0, 12.0)}

PARTS = ("train", "validation", "test")

#: The nine tags of the arousal/valence relabelling and five more, and how the music of each is.
STYLES = {
    # tempo, mode, timbre, register, drums, space, swell
    "calm": Style(-0.8, 0.4, -0.6, 0.0, -0.9, 0.3, -0.4),
    "dark": Style(-0.2, -0.9, -0.6, -0.9, 0.0, 0.5, 0.2),
    "dramatic": Style(0.4, -0.8, 0.3, -0.4, 0.5, 0.4, 0.9),
    "dream": Style(-0.5, 0.2, 0.1, 0.6, -0.8, 1.0, -0.1),
    "energetic": Style(1.0, 0.2, 0.9, 0.0, 1.0, -0.6, -0.2),
    "epic": Style(0.5, -0.2, 0.5, -0.5, 0.9, 0.7, 0.9),
    "film": Style(-0.2, -0.2, 0.0, -0.2, -0.5, 0.8, 0.6),
    "happy": Style(0.8, 0.9, 0.6, 0.5, 0.6, -0.5, -0.2),
    "love": Style(-0.4, 0.5, -0.1, 0.2, -0.4, 0.0, -0.3),
    "melancholic": Style(-0.6, -0.7, -0.3, 0.1, -0.7, 0.1, 0.0),
    "positive": Style(0.5, 0.9, 0.4, 0.4, 0.4, -0.2, 0.0),
    "relaxing": Style(-0.7, 0.5, -0.5, 0.2, -0.6, 0.5, -0.5),
    "sad": Style(-0.7, -0.9, -0.5, -0.1, -0.8, 0.2, -0.2),
    "uplifting": Style(0.6, 0.8, 0.6, 0.3, 0.5, 0.1, 0.8),
}
TAGS = tuple(sorted(STYLES))

#: Standard deviations of what chance and the artist add to a style; they set how far the tags overlap.
CHANCE = 0.3
MANNER = 0.15

#: Root mean square of the tracks in dB of full scale, whatever their tags.
LEVELS_DB = (-28.0, -16.0)


@dataclass(frozen=True)
class _Track:
    number: int
    artist: int
    album: int
    part: str
    tags: tuple[str, ...]
    style: Style
    seconds: float
    level_db: float

    @property
    def path(self) -> str:
        return f"{self.number % 100:02d}/{self.number}.mp3"

    @property
    def row(self) -> str:
        tags = [f"mood/theme---{tag}" for tag in self.tags]
        ids = (f"track_{self.number:07d}", f"artist_{self.artist:06d}", f"album_{self.album:06d}")
        return "\t".join((*ids, self.path, f"{self.seconds:.1f}", *tags))


def check(**sizes: Any) -> dict[str, Any]:
    """The sizes as plain values.

    Raises:
        RequestError: a size is not what it should be.
    """
    checked: dict[str, Any] = {}
    for part in PARTS:
        if not isinstance(sizes[part], int) or sizes[part] < 1:
            raise RequestError(f"standin jamendo: {part}={sizes[part]!r} is no number of tracks")
        checked[part] = sizes[part]
    try:
        shortest, longest = (float(value) for value in sizes["seconds"])
    except (TypeError, ValueError):
        shortest, longest = 0.0, -1.0
    if not 1 <= shortest <= longest <= 600:
        raise RequestError(f"standin jamendo: seconds={sizes['seconds']!r} is no range [shortest, longest] in 1 to 600")
    return {**checked, "seconds": [shortest, longest]}


def render(folder: Path, seed: int, train: int, validation: int, test: int, seconds: list[float]) -> None:
    """Writes the corpus into `folder`, which is empty."""
    tracks = _plan(seed, {"train": train, "validation": validation, "test": test}, seconds)
    for part in PARTS:
        _write_table(folder / f"data/splits/split-0/autotagging_moodtheme-{part}.tsv", tracks, part)
    tags = folder / "data/tags/moodtheme_split.txt"
    tags.parent.mkdir(parents=True)
    tags.write_text("".join(f"mood/theme---{tag}\n" for tag in TAGS), encoding="utf-8")
    for track in tracks:
        (folder / track.path).parent.mkdir(exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(lambda track: _render_track(folder, track, seed), tracks))


def _render_track(folder: Path, track: _Track, seed: int) -> None:
    # Seeded by its own number: no track depends on how many others there are or on the order of the work.
    rng = np.random.default_rng((seed, track.number))
    write(folder / track.path, play(track.style, track.seconds, track.level_db, rng), RATE)


def _write_table(path: Path, tracks: list[_Track], part: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"
    rows = [track.row for track in sorted(tracks, key=lambda track: track.number) if track.part == part]
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def _plan(seed: int, counts: dict[str, int], seconds: list[float]) -> list[_Track]:
    """What to render: ids, artists (no artist in two parts), tags and styles."""
    rng = np.random.default_rng((seed, 0))
    total = sum(counts.values())
    numbers = rng.choice(np.arange(200, 1_420_000), size=total, replace=False)
    artists = rng.permutation(np.arange(1, 20_000))
    tracks: list[_Track] = []
    for part, count in counts.items():
        first_tags = _dealt(count, rng)
        own = max(1, round(count / 2.5))
        artists, here = artists[own:], artists[:own]
        manners = rng.normal(0, MANNER, size=(own, DIMENSIONS))
        for place in range(count):
            tags = _with_kin(first_tags[place], rng)
            artist = int(rng.integers(own)) if place >= own else place
            mean = np.mean([STYLES[tag].array() for tag in tags], axis=0)
            style = mean + manners[artist] + rng.normal(0, CHANCE, size=DIMENSIONS)
            tracks.append(
                _Track(
                    number=int(numbers[len(tracks)]),
                    artist=int(here[artist]),
                    album=int(here[artist]) * 3 + int(rng.integers(3)),
                    part=part,
                    tags=tags,
                    style=Style(*np.clip(style, -1.4, 1.4).tolist()),
                    seconds=round(float(rng.uniform(seconds[0], seconds[1])), 1),
                    level_db=float(rng.uniform(*LEVELS_DB)),
                )
            )
    return tracks


def _dealt(count: int, rng: np.random.Generator) -> list[str]:
    """First tags of `count` tracks, every tag as often as the others."""
    rounds = -(-count // len(TAGS))
    return [TAGS[k] for k in np.concatenate([rng.permutation(len(TAGS)) for _ in range(rounds)])[:count]]


def _with_kin(tag: str, rng: np.random.Generator) -> tuple[str, ...]:
    """`tag` and up to two more, mostly of like style; sorted, as the real tables have them."""
    more = int(rng.choice(3, p=(0.45, 0.4, 0.15)))
    others = [other for other in TAGS if other != tag]
    distance = np.array([np.sum((STYLES[other].array() - STYLES[tag].array()) ** 2) for other in others])
    odds = np.exp(-distance / 1.2)
    chosen = rng.choice(len(others), size=more, replace=False, p=odds / odds.sum())
    return tuple(sorted([tag, *(others[k] for k in chosen)]))
