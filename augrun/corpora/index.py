"""What is known of every file of a corpus, remembered between runs.

Reading a corpus of 18,000 tracks must neither open the audio nor hash it each time: the index keeps size,
time of change, a digest of the content and the result of a probe per file in a small database, and looks at
a file again only when its size or time of change has changed.
"""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from augrun.core.errors import AugrunError
from augrun.core.store import folder_lock, locks

#: Bytes hashed at each end of a file.
EDGE = 64 * 1024

#: Bumped when the meaning of the stored columns changes: an older database is then begun anew.
VERSION = 1

#: Files probed between two commits: what a kill can cost.
CHUNK = 256

#: Samples of a channel decoded at a time, or up to half as many more, where a whole file is looked through.
BLOCK = 1 << 20

_TABLES = (
    "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER,"
    " edges TEXT, seconds REAL, sample_rate INTEGER, error TEXT) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS levels (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER,"
    " peak_db REAL) WITHOUT ROWID",
)

T = TypeVar("T")
R = TypeVar("R", "_Row", "_Level")


class FileFacts(NamedTuple):
    """What the index knows of one file.

    Attributes:
        found: whether the file is there.
        digest: hex digest over its path within the corpus, its size, and its first and last 64 KiB; "" if not found.
        seconds: duration; nan where the file does not tell (feature arrays) or cannot be read.
        sample_rate: samples a second; 0 where unknown.
        error: why it cannot be used, None where it can.
        peak_db: the highest sample of any channel, in dB of full scale, -inf for digital silence; nan where nobody
            asked for levels or the file holds no sound.
    """

    found: bool
    digest: str
    seconds: float
    sample_rate: int
    error: str | None
    peak_db: float = math.nan

    def shortcoming(self, min_seconds: float, silence_db: float) -> str | None:
        """What kind of clip it is if it is too short or too quiet to be of use; None where it will do or is unknown."""
        if self.seconds < min_seconds:
            return f"clips shorter than {min_seconds:g} s"
        return f"clips that stay below {silence_db:g} dB" if self.peak_db < silence_db else None


class _Row(NamedTuple):
    """One stored row: the state of a file when it was last looked at."""

    path: str
    size: int
    mtime_ns: int
    edges: str
    seconds: float | None
    sample_rate: int
    error: str | None


class _Level(NamedTuple):
    """One stored level; `error` is never stored, because such a file is looked at again."""

    path: str
    size: int
    mtime_ns: int
    peak_db: float
    error: str | None = None


class _Stale(NamedTuple):
    """A file to look at: its name within the corpus, and its state."""

    name: str
    path: str
    size: int
    mtime_ns: int


class Index:
    """A cache of `FileFacts`, by absolute path.

    Args:
        folder: where the database lies (created); None keeps everything in memory.
        workers: threads that probe files not known yet.
        progress: say on the console how far a long probing is.

    Raises:
        AugrunError: the folder cannot be written.
    """

    def __init__(self, folder: Path | None = None, workers: int = 2, progress: bool = False) -> None:
        self.workers = max(1, workers)
        self.progress = progress
        self._memory: dict[str, _Row] = {}
        self._levels: dict[str, _Level] = {}
        self._database: Path | None = None
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise AugrunError(f"{folder}: the file index cannot be kept here ({error.strerror})") from None
            self._database = folder / f"files-{VERSION}.sqlite"

    def lookup(self, root: Path, relative: Sequence[str], levels: bool = False) -> list[FileFacts]:
        """The facts of the files `relative` to `root`, in that order; a path may appear many times.

        Args:
            root: the corpus's folder.
            relative: the files.
            levels: know their peaks as well. What is not known yet is decoded from end to end, block by block.

        Raises:
            AugrunError: the database cannot be written.
        """
        base = os.path.abspath(root)
        known = self._load(base)
        facts: dict[str, FileFacts | None] = {}
        there: list[_Stale] = []
        stale: list[_Stale] = []
        for name in relative:
            if name in facts:
                continue
            facts[name] = None
            path = os.path.join(base, name)
            try:
                status = os.stat(path)
            except OSError:
                facts[name] = FileFacts(False, "", math.nan, 0, "missing")
                continue
            row = known.get(path)
            same = row is not None and (row.size, row.mtime_ns) == (status.st_size, status.st_mtime_ns)
            if levels:
                there.append(_Stale(name, path, status.st_size, status.st_mtime_ns))
            if row is not None and same and row.error is None:  # a failure may have passed: look again
                facts[name] = _facts(name, row)
            else:
                stale.append(_Stale(name, path, status.st_size, status.st_mtime_ns))
        for name, row in self._probe_all(stale):
            facts[name] = _facts(name, row)
        whole: dict[str, FileFacts] = facts  # type: ignore[assignment]
        if levels:
            self._add_levels(base, there, whole)
        return [whole[name] for name in relative]

    def _add_levels(self, base: str, there: list[_Stale], facts: dict[str, FileFacts]) -> None:
        """Fills in the peaks of all usable sounds; one that does not decode to its end is no longer usable."""
        known = self._load_levels(base)
        stale = []
        for item in there:
            level = known.get(item.path)
            if facts[item.name].error is not None or item.path.endswith(".npy"):
                continue
            if level is not None and (level.size, level.mtime_ns) == (item.size, item.mtime_ns):
                facts[item.name] = facts[item.name]._replace(peak_db=level.peak_db)
            else:
                stale.append(item)
        for name, level in self._in_chunks(
            stale, lambda item: _listen(*item[1:]), self._save_levels, "measuring levels"
        ):
            facts[name] = facts[name]._replace(peak_db=level.peak_db, error=level.error)

    def _probe_all(self, stale: Sequence[tuple[str, str, int, int]]) -> Iterator[tuple[str, _Row]]:
        """Looks at new or changed files."""
        return self._in_chunks(stale, lambda item: _look(*item[1:]), self._save, "looking at files")

    def _in_chunks(
        self,
        stale: Sequence[tuple[str, str, int, int]],
        look: Callable[[tuple[str, str, int, int]], R],
        save: Callable[[list[R]], None],
        what: str,
    ) -> Iterator[tuple[str, R]]:
        """Does to each file what there is to do, in chunks that are remembered one by one."""
        if not stale:
            return
        with ThreadPoolExecutor(self.workers) as pool, _Ticker(len(stale), self.progress, what) as ticker:
            for begin in range(0, len(stale), CHUNK):
                chunk = stale[begin : begin + CHUNK]
                rows = list(pool.map(look, chunk))
                save(rows)
                ticker.show(begin + len(chunk))
                yield from zip((item[0] for item in chunk), rows, strict=True)

    def _load(self, base: str) -> dict[str, _Row]:
        """All rows below `base`."""
        return self._memory if self._database is None else {row[0]: _Row(*row) for row in self._below("files", base)}

    def _load_levels(self, base: str) -> dict[str, _Level]:
        """All levels below `base`."""
        if self._database is None:
            return self._levels
        return {row[0]: _Level(*row) for row in self._below("levels", base)}

    def _below(self, table: str, base: str) -> list[Any]:
        prefix = base.rstrip(os.sep) + os.sep
        query = f"SELECT * FROM {table} WHERE path >= ? AND path < ?"
        return self._transact(lambda database: database.execute(query, (prefix, prefix + "\U0010ffff")).fetchall())

    def _save(self, rows: list[_Row]) -> None:
        if self._database is None:
            self._memory.update((row.path, row) for row in rows)
            return
        query = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)"
        self._transact(lambda database: database.executemany(query, rows))

    def _save_levels(self, levels: list[_Level]) -> None:
        good = [level for level in levels if level.error is None]
        if self._database is None:
            self._levels.update((level.path, level) for level in good)
            return
        query = "INSERT OR REPLACE INTO levels VALUES (?, ?, ?, ?)"
        self._transact(lambda database: database.executemany(query, [level[:4] for level in good]))

    def _transact(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `action` and commits; a damaged database is only a cache, and is begun anew."""
        assert self._database is not None
        for last_try in (False, True):
            try:
                with self._alone(), closing(sqlite3.connect(self._database, timeout=60)) as connection, connection:
                    for table in _TABLES:
                        connection.execute(table)
                    return action(connection)
            except sqlite3.OperationalError as error:
                raise AugrunError(f"{self._database}: the file index cannot be used ({error})") from None
            except sqlite3.DatabaseError as error:
                if last_try:
                    raise AugrunError(f"{self._database}: the file index is damaged ({error}); delete it") from None
                self._database.unlink(missing_ok=True)
        raise AssertionError("unreachable")

    def _alone(self) -> AbstractContextManager[Any]:
        """A lock of ours where the store has those: sqlite's own hold no better between machines than flock does."""
        assert self._database is not None
        folder = self._database.parent
        if locks.intended(folder.parent / "locks") == "flock":
            return nullcontext()
        return folder_lock.FolderLock(folder / "index.lock")


class _Ticker:
    """One line on the console that says how far the probing is, for corpora where it takes a while."""

    def __init__(self, total: int, enabled: bool, what: str) -> None:
        self.total = total
        self.what = what
        self.enabled = enabled and total > 4 * CHUNK
        self.started = self.shown = time.monotonic()

    def __enter__(self) -> _Ticker:
        return self

    def show(self, done: int) -> None:
        """Rewrites the line on a terminal, at most once a second; elsewhere says it every half minute."""
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if self.enabled and (done == self.total or now - self.shown >= (1 if terminal else 30)):
            self.shown = now
            end = "\r" if terminal and done < self.total else "\n"
            print(f"{self.what}: {done:,} of {self.total:,}", end=end, file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        return None


def _facts(name: str, row: _Row) -> FileFacts:
    digest = hashlib.sha256(f"{name}\0{row.size}\0{row.edges}".encode()).hexdigest()
    seconds = math.nan if row.seconds is None else row.seconds
    return FileFacts(True, digest, seconds, row.sample_rate, row.error)


def _look(path: str, size: int, mtime_ns: int) -> _Row:
    """Hashes a file's edges and probes it."""
    try:
        edges = _hash_edges(path, size)
        seconds, rate = _probe_array(path) if path.endswith(".npy") else _probe_audio(path)
    except (AugrunError, OSError, ValueError) as error:
        text = str(error).removeprefix(f"{path}: ")
        return _Row(path, size, mtime_ns, "", None, 0, text or type(error).__name__)
    return _Row(path, size, mtime_ns, edges, seconds, rate, None)


def _listen(path: str, size: int, mtime_ns: int) -> _Level:
    """Decodes a file from end to end and measures its peak."""
    try:
        peak = _peak(path)
    except (AugrunError, OSError, ValueError) as error:
        text = str(error).removeprefix(f"{path}: ")
        return _Level(path, size, mtime_ns, math.nan, text or type(error).__name__)
    return _Level(path, size, mtime_ns, 20 * math.log10(peak) if peak > 0 else -math.inf)


def _peak(path: str) -> float:
    """The highest absolute sample of any channel; full scale is 1."""
    from augrun.core.audio import probe, read

    info = probe(path, check_end=False)
    # What is left at the end goes with the window before it: stated lengths of lossy files are off by some frames.
    starts = range(0, max(1, info.frames - BLOCK // 2), BLOCK)
    peak = 0.0
    for first in starts:
        seconds = None if first == starts[-1] else BLOCK / info.sample_rate
        samples = read(path, start_s=first / info.sample_rate, seconds=seconds, mono=False)
        peak = max(peak, float(samples.max()), -float(samples.min()))
    return peak


def _hash_edges(path: str, size: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        digest.update(file.read(EDGE))
        if size > EDGE:
            file.seek(max(EDGE, size - EDGE))
            digest.update(file.read(EDGE))
    return digest.hexdigest()


def _probe_audio(path: str) -> tuple[float | None, int]:
    from augrun.core.audio import probe

    info = probe(path)
    return info.seconds, info.sample_rate


def _probe_array(path: str) -> tuple[float | None, int]:
    """Checks the header and the size of a stored feature array, shape (bands, frames)."""
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise AugrunError(f"{path}: is no NumPy array, or cut off ({error})") from None
    if array.ndim != 2 or array.size == 0:
        raise AugrunError(f"{path}: holds an array of shape {array.shape} where (bands, frames) is expected")
    return None, 0
