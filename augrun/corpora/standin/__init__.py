"""Rendered miniatures of corpora in their real layouts, for where no real corpus is at hand.

A stand-in's classes lie where the real ones are heard (tempo, mode, register, timbre, dynamics), with
overlap, and not in loudness or duration, so that an experiment on it can come out either way.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from augrun.core.errors import AugrunError, RequestError
from augrun.corpora.marker import read_marker, write_marker

#: Every stand-in that can be rendered, each by the module of its name: its `SIZES` with their defaults, its `VERSION`,
#: `check(**sizes)`, which returns the sizes or refuses them, and `render(folder, seed, **sizes)`.
DATASETS = ("jamendo", "iemocap", "msp_improv", "tedlium", "feel", "esc50", "fma")


def render(dataset: str, folder: Path, seed: int = 0, **sizes: Any) -> Path:
    """Renders a stand-in; the folder appears whole or not at all.

    Args:
        dataset: one of `DATASETS`.
        folder: where to; new, empty, or a stand-in rendered earlier. One from the same request is kept,
            another is replaced.
        seed: two renderings with one seed and one set of sizes hold the same bytes.
        sizes: what the dataset's `render` takes, else its defaults.

    Returns:
        The folder.

    Raises:
        RequestError: there is no such stand-in, a size is not one of its, or the folder holds something else.
        AugrunError: the folder cannot be written.
    """
    make, request = _request(dataset, seed, sizes)
    folder = Path(os.path.abspath(folder))
    if _is_done(folder, request):
        return folder
    beside = folder.parent / f".{folder.name}.{os.getpid()}.part"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        make(beside, **{key: value for key, value in request.items() if key not in ("dataset", "version")})
        write_marker(beside, request)
        _put(beside, folder, request)
    except OSError as error:
        raise AugrunError(f"{folder}: the stand-in cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _request(dataset: str, seed: int, sizes: dict[str, Any]) -> tuple[Callable[..., None], dict[str, Any]]:
    """The function that renders, and all that the result depends on."""
    if dataset not in DATASETS:
        raise RequestError(f"standin: there is no stand-in for {dataset!r}; there is {', '.join(DATASETS)}")
    module = importlib.import_module(f"{__name__}.{dataset}")
    strangers = [name for name in sizes if name not in module.SIZES]
    if strangers:
        legal = ", ".join(module.SIZES)
        raise RequestError(f"standin {dataset}: {', '.join(strangers)} is no size of it; there is {legal}")
    filled = module.check(**{**module.SIZES, **sizes})
    return module.render, {"dataset": dataset, "version": module.VERSION, "seed": int(seed), **filled}


def _is_done(folder: Path, request: dict[str, Any]) -> bool:
    """Whether the folder holds just this stand-in.

    Raises:
        RequestError: it holds something that is no stand-in.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    there = read_marker(folder) if folder.is_dir() else None
    if there is None:
        raise RequestError(f"{folder}: holds something that is no stand-in, and is left as it is; name a new folder")
    return there == request


def _put(beside: Path, folder: Path, request: dict[str, Any]) -> None:
    """Moves the finished rendering to its place; another process may have been faster with the same one."""
    if folder.exists() and any(folder.iterdir()):
        if read_marker(folder) == request:
            return
        shutil.rmtree(folder)
    elif folder.exists():
        folder.rmdir()
    try:
        os.rename(beside, folder)
    except OSError:
        if read_marker(folder) != request:
            raise
