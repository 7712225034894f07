"""Small corpora in the real layouts, made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from augrun.core import audio

HEADER = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"


@pytest.fixture(scope="session")
def beep() -> np.ndarray:
    """One second at 8 kHz."""
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)).astype(np.float32)


@pytest.fixture
def jamendo_tables(tmp_path: Path) -> Callable[..., Path]:
    """Writes the three TSVs from `part: [(number, artist, seconds, tags), ...]`."""

    def write(folder: str = "data/splits/split-0", header: str = HEADER, **parts: list[tuple]) -> Path:
        place = tmp_path / folder
        place.mkdir(parents=True, exist_ok=True)
        for part in ("train", "validation", "test"):
            rows = [
                "\t".join(
                    [f"track_{number:07d}", f"artist_{artist:06d}", "album_000001"]
                    + [f"{number % 100:02d}/{number}.mp3", str(seconds)]
                    + ([f"mood/theme---{tag}" for tag in tags.split()] or [""])
                )
                for number, artist, seconds, tags in parts.get(part, [])
            ]
            (place / f"autotagging_moodtheme-{part}.tsv").write_text("\n".join([header, *rows]) + "\n")
        return tmp_path

    return write


@pytest.fixture
def small_jamendo(jamendo_tables: Callable[..., Path], beep: np.ndarray) -> Path:
    """Four tracks of one second with two tags, `calm` and `happy`."""
    root = jamendo_tables(
        train=[(1007, 1, 1.0, "calm"), (2007, 1, 1.0, "calm happy")],
        validation=[(3008, 2, 1.0, "happy calm")],
        test=[(4009, 3, 1.0, "happy")],
    )
    for number in (1007, 2007, 3008, 4009):
        path = root / f"{number % 100:02d}/{number}.mp3"
        path.parent.mkdir(exist_ok=True)
        audio.write(path, beep, 8000)
    return root


@pytest.fixture
def feel_root(tmp_path: Path, beep: np.ndarray) -> Callable[..., Path]:
    """Writes a manifest from its lines, and a second of sound for each `files`."""

    def write(*lines: str, files: tuple[str, ...] = ("a.wav", "b.wav", "c.wav"), name: str = "manifest.csv") -> Path:
        for file in files:
            audio.write(tmp_path / file, beep, 8000)
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path

    return write
