"""Files that are written whole or not at all, and JSON read and written.

A file is written under a temporary name in the same folder and then renamed, so that a reader finds the old content
or the new one, also where the writer is killed. A killed writer leaves its temporary file behind; it is hidden, and
its name matches `TEMPORARY`.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_MARK = "~writing-"

#: Pattern, as `Path.glob` takes it, of the names of temporary files. No other file may match it.
TEMPORARY = f".*{_MARK}*"

#: Characters of a file's name in that of its temporary file, which must not grow too long for the file system.
_STEM_LENGTH = 50


@contextmanager
def atomic_path(path: Path, sync: bool = False) -> Iterator[Path]:
    """Yield a temporary path, and rename what was written there to `path` when the block ends.

    The temporary path lies in the folder of `path` and has its suffix, as some libraries choose the format by it.
    It is not created, so that the file gets the permissions of any new one. No two calls get the same path, on
    whatever thread, process or machine. Where the block raises, what was written is removed and `path` stays as it is.

    Code that lists a folder by suffix must skip hidden files: `Path.glob("*.wav")` also finds a temporary file.

    Args:
        path: where the file goes; its folder exists.
        sync: whether to wait until the content is on the disk before renaming.
    """
    stem = path.stem.lstrip(".")[:_STEM_LENGTH]
    fresh = path.with_name(f".{stem}{_MARK}{os.getpid()}-{secrets.token_hex(6)}{path.suffix}")
    try:
        yield fresh
        if sync:
            _sync(fresh)
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, sync: bool = True) -> None:
    """Write a text file whole or not at all, as UTF-8.

    Args:
        path: where the file goes; its folder exists.
        text: its content.
        sync: whether to wait until it is on the disk. On by default: such files say what is done.
    """
    with atomic_path(path, sync) as fresh, open(fresh, "w", encoding="utf-8") as file:
        file.write(text)


def write_bytes(path: Path, content: bytes, sync: bool = False) -> None:
    """Write a binary file whole or not at all; see `write_text`."""
    with atomic_path(path, sync) as fresh:
        fresh.write_bytes(content)


def write_json(path: Path, value: Any, sync: bool = False) -> None:
    """Write a value as indented ASCII JSON, whole or not at all; see `write_text`."""
    write_text(path, json.dumps(value, indent=1), sync)


def read_json(path: Path) -> Any:
    """Return the value in a JSON file; an empty mapping where there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def file_name(name: str) -> str:
    """Return the name with every character replaced that not every file system takes."""
    return "".join(char if char.isalnum() or char in "-_." else "_" for char in name)


def remove_temporary(folder: Path) -> int:
    """Remove the temporary files that killed writers left in a folder and below it.

    Only for a folder that nobody else writes to.

    Returns:
        How many files were removed.
    """
    found = [path for path in folder.rglob(TEMPORARY) if path.is_file()]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
