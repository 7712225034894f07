"""A miniature of ESC-50: `meta/esc50.csv` and `audio/{fold}-{recording}-{take}-{class}.wav`.

Each class stands for a scene; a recording's scene is its class's and a good deal of chance, and its takes are alike.
Loudness is drawn without regard to the class. As in the real one, a recording's takes lie in two folds; one clip is
silent.
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
from augrun.corpora.standin.sounds import DIMENSIONS, RATE, Scene, play

#: Bumped when the same request renders something else.
VERSION = 1

#: What can be asked for: how many of the classes, recordings of each class and fold (every other one has two takes),
#: and how long a clip is in seconds.
SIZES: dict[str, Any] = {"categories": 10, "recordings": 2, "seconds": 5.0}

FOLDS = 5

#: Class, its number in ESC-50, whether it is one of ESC-10, and how it sounds.
SCENES = {
    # noise, colour, flutter, depth, impacts, density, ring, tone, pitch, glide
    "rain": (10, True, Scene(0.9, 0.7, 0.3, -0.7, 0.2, 1.0, -0.8, -0.9, 0.6, -0.8)),
    "sea_waves": (11, True, Scene(0.9, 0.2, -0.8, 0.7, -0.6, 0.3, -0.3, -0.8, -0.3, -0.6)),
    "crackling_fire": (12, True, Scene(0.2, 0.1, -0.2, -0.2, 0.7, 0.7, -0.9, -0.9, 0.3, -0.8)),
    "wind": (16, False, Scene(0.9, -0.6, -0.6, 0.3, -0.7, 0.0, -0.2, 0.1, 0.1, 0.5)),
    "door_wood_knock": (30, False, Scene(-0.5, -0.4, 0.0, -0.4, 0.9, 0.1, -0.3, -0.8, -0.6, -0.7)),
    "clock_tick": (38, True, Scene(-0.4, 0.4, 0.1, -0.5, 0.9, 0.2, -0.7, -0.8, 0.8, -0.8)),
    "helicopter": (40, True, Scene(0.5, -0.5, 0.9, 0.7, 0.2, 0.9, -0.4, 0.3, -0.8, -0.7)),
    "siren": (42, False, Scene(0.0, 0.2, -0.2, -0.4, -0.7, 0.0, -0.2, 0.9, 0.8, 0.9)),
    "engine": (44, False, Scene(0.4, -0.5, 0.8, 0.2, -0.2, 0.7, -0.4, 0.7, -0.7, -0.1)),
    "church_bells": (46, False, Scene(-0.4, -0.1, -0.1, -0.3, 0.8, -0.2, 0.9, 0.3, 0.3, -0.7)),
}

#: Standard deviations of what chance adds to a class's scene for a recording, and to that for a take; the first sets
#: how far the classes overlap.
CHANCE = 0.4
TAKE = 0.05

#: Root mean square of the clips in dB of full scale, whatever their class.
LEVELS_DB = (-38.0, -24.0)

#: The noise in the silent clip, in dB of full scale.
SILENT_DB = -85.0


@dataclass(frozen=True)
class _Clip:
    category: str
    fold: int
    recording: int
    take: str
    scene: Scene
    level_db: float

    @property
    def filename(self) -> str:
        return f"{self.fold}-{self.recording}-{self.take}-{SCENES[self.category][0]}.wav"

    @property
    def row(self) -> str:
        target, esc10, _ = SCENES[self.category]
        return f"{self.filename},{self.fold},{target},{self.category},{esc10},{self.recording},{self.take}"


def check(**sizes: Any) -> dict[str, Any]:
    """The sizes as plain values.

    Raises:
        RequestError: a size is not what it should be.
    """
    for name, most in (("categories", len(SCENES)), ("recordings", 100)):
        least = 2 if name == "categories" else 1
        if not isinstance(sizes[name], int) or not least <= sizes[name] <= most:
            raise RequestError(f"standin esc50: {name}={sizes[name]!r} is no whole number in {least} to {most}")
    seconds = sizes["seconds"]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 1 <= seconds <= 60:
        raise RequestError(f"standin esc50: seconds={seconds!r} is no number in 1 to 60")
    return {**sizes, "seconds": float(seconds)}


def render(folder: Path, seed: int, categories: int, recordings: int, seconds: float) -> None:
    """Writes the corpus into `folder`, which is empty."""
    clips = _plan(seed, categories, recordings)
    (folder / "meta").mkdir()
    (folder / "audio").mkdir()
    rows = [clip.row for clip in sorted(clips, key=lambda clip: clip.filename)]
    header = "filename,fold,target,category,esc10,src_file,take"
    (folder / "meta/esc50.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(lambda clip: write(folder / "audio" / clip.filename, _sound(clip, seconds, seed), RATE), clips))


def _sound(clip: _Clip, seconds: float, seed: int) -> np.ndarray:
    # Seeded by its own names: no clip depends on how many others there are or on the order of the work.
    rng = np.random.default_rng((seed, clip.recording, ord(clip.take)))
    if clip.level_db == SILENT_DB:
        return (10 ** (SILENT_DB / 20) * rng.standard_normal(round(seconds * RATE))).astype(np.float32)
    return play(clip.scene, seconds, clip.level_db, seed * 1_000_000 + clip.recording, rng)


def _plan(seed: int, categories: int, recordings: int) -> list[_Clip]:
    """What to render: recordings, their takes and scenes; the last clip is the silent one."""
    rng = np.random.default_rng((seed, 0))
    # Spread over all of them, so that a few classes are as unlike as many.
    names = [list(SCENES)[k] for k in np.linspace(0, len(SCENES) - 1, categories).round().astype(int)]
    numbers = iter(rng.choice(np.arange(1_000, 260_000), size=categories * FOLDS * recordings + 1, replace=False))
    clips: list[_Clip] = []
    for category in names:
        for fold in range(1, FOLDS + 1):
            for place in range(recordings):
                own = SCENES[category][2].array() + rng.normal(0, CHANCE, size=DIMENSIONS)
                number = int(next(numbers))
                for take in "AB" if place % 2 == 0 else "A":
                    clips.append(_take(category, fold, number, take, own, rng))
    first = clips[0]
    clips.append(_take(first.category, 2, first.recording, "C", first.scene.array(), rng))
    silent = _take(names[1], FOLDS, int(next(numbers)), "A", first.scene.array(), rng)
    return [*clips, _Clip(silent.category, silent.fold, silent.recording, silent.take, silent.scene, SILENT_DB)]


def _take(category: str, fold: int, number: int, take: str, own: np.ndarray, rng: np.random.Generator) -> _Clip:
    scene = np.clip(own + rng.normal(0, TAKE, size=DIMENSIONS), -1.3, 1.3)
    return _Clip(category, fold, number, take, Scene(*scene.tolist()), float(rng.uniform(*LEVELS_DB)))
