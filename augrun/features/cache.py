"""Feature matrices of many clips on disk: memory-mapped to read, journalled to write.

A finished folder holds three files:

    features.f32    every clip's (frames, bands) matrix, float32, one after the other
    index.npy       int64, shape (clips, 2): each clip's first row in `features.f32`, and its frames
    features.json   {"schema": 1, "clips", "bands", "key"}; written last, so that it says the folder is complete

While it is built, `journal.i64` takes index.npy's place: one (clip, frames) pair for each finished clip, in the order
of the data, appended only after the clip's data. A killed build therefore loses at most the clips that were in flight.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np

from augrun.errors import AugrunError
from augrun.features.fit import Fit

DATA, INDEX, MARKER, JOURNAL, PLAN = "features.f32", "index.npy", "features.json", "journal.i64", "plan.json"
_SYNC_EVERY = 256  # clips between two flushes to the disk
_SAY_EVERY_S = 20.0  # seconds between two lines where there is no terminal for a bar

#: Clips, by their place, to their matrices; a clip that a person must mend gives the error.
Compute = Callable[[Sequence[int]], Sequence[np.ndarray | AugrunError]]


@dataclass
class _Block:
    """Rows of features: a file mapped on first use, or an array in memory (no path)."""

    path: Path | None
    rows: int
    bands: int
    array: np.ndarray | None = None

    def read(self, start: int, stop: int) -> np.ndarray:
        if self.array is None:
            assert self.path is not None
            mapped = np.memmap(self.path, dtype="<f4", mode="r", shape=(self.rows, self.bands)) if self.rows else None
            self.array = np.empty((0, self.bands), np.float32) if mapped is None else np.asarray(mapped)
        return self.array[start:stop]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | ({"array": None} if self.path else {})


@dataclass(frozen=True, eq=False)
class Features(Sequence[np.ndarray]):
    """An immutable list of feature matrices, one a clip.

    `features[i]` is a read-only float32 array of shape (frames, bands): a view of a memory-mapped file where the
    features come from a folder, so that only what is read is loaded. Pickles hold paths, not data: a worker maps the
    files anew.

    Attributes:
        bands: columns of every matrix.
        frames: rows of each clip's matrix, int64, shape (clips,).
    """

    bands: int
    frames: np.ndarray
    _blocks: tuple[_Block, ...] = field(repr=False)
    _block_of: np.ndarray = field(repr=False)
    _starts: np.ndarray = field(repr=False)
    _stored: np.ndarray | None = field(default=None, repr=False)  # rows as they are kept, where `_fit` changes them
    _fit: Fit | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.frames)

    @overload
    def __getitem__(self, item: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, item: slice) -> Features: ...

    def __getitem__(self, item: int | slice) -> np.ndarray | Features:
        if isinstance(item, slice):
            return self.select(np.arange(len(self))[item])
        start, rows = int(self._starts[item]), int(self._rows[item])
        matrix = self._blocks[self._block_of[item]].read(start, start + rows)
        return matrix if self._fit is None else self._fit(matrix, int(self.frames[item]))

    @property
    def _rows(self) -> np.ndarray:
        return self.frames if self._stored is None else self._stored

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    def rows(self) -> np.ndarray:
        """All frames of all clips in their order, float32, shape (frames, bands); a copy."""
        if self._fit is not None:
            return np.concatenate([*self, np.empty((0, self.bands), np.float32)])
        made = np.empty((int(self.frames.sum()), self.bands), dtype=np.float32)
        first = np.cumsum(self.frames) - self.frames
        # Clips of one frame each are read at once, a block at a time; the others one by one.
        single = self.frames == 1
        for number, block in enumerate(self._blocks):
            of_it = np.flatnonzero(single & (self._block_of == number))
            if len(of_it):
                made[first[of_it]] = block.read(0, block.rows)[self._starts[of_it]]
        for clip in np.flatnonzero(~single).tolist():
            made[first[clip] : first[clip] + self.frames[clip]] = self[clip]
        return made

    def select(self, rows: Sequence[int] | np.ndarray) -> Features:
        """The clips at `rows` (positions or a boolean mask), in that order."""
        picked = np.asarray(rows)
        if picked.dtype == bool:
            if len(picked) != len(self):
                raise ValueError(f"a mask of {len(picked)} for {len(self)} clips")
            picked = np.flatnonzero(picked)
        picked = picked.astype(np.int64)
        places = (self._blocks, self._block_of[picked], self._starts[picked])
        stored = None if self._stored is None else self._stored[picked]
        return Features(self.bands, _frozen(self.frames[picked]), *places, stored, self._fit)

    def fitted(self, frames: int, fit: Fit) -> Features:
        """The same clips, each brought to so many frames when it is read."""
        shown = np.full(len(self), frames, dtype=np.int64)
        return Features(self.bands, _frozen(shown), self._blocks, self._block_of, self._starts, self._rows, fit)

    def cut(self, rows: np.ndarray, first: np.ndarray, frames: np.ndarray) -> Features:
        """Stretches of clips, without copying: `frames[k]` frames of clip `rows[k]` from its frame `first[k]` on.

        Raises:
            ValueError: a stretch is empty or does not lie within its clip.
        """
        if self._fit is not None:
            raise ValueError("what has been brought to a number of frames is cut no further")
        if (first < 0).any() or (frames < 1).any() or (first + frames > self.frames[rows]).any():
            raise ValueError("a stretch that does not lie within its clip")
        return Features(
            self.bands, _frozen(frames.astype(np.int64)), self._blocks, self._block_of[rows], self._starts[rows] + first
        )

    @staticmethod
    def concatenate(parts: Iterable[Features]) -> Features:
        """One after the other, without copying; parts without clips are left out.

        Raises:
            ValueError: the parts have different numbers of bands or are fitted differently, or there are none.
        """
        given = list(parts)
        if not given:
            raise ValueError("nothing to concatenate")
        filled = [part for part in given if len(part)] or given[:1]
        if len({part.bands for part in filled}) > 1:
            raise ValueError(f"features of different widths: {[part.bands for part in filled]} bands")
        fits = {part._fit for part in filled if part._fit is not None}
        if len(fits) > 1:
            raise ValueError(f"features fitted in different ways: {fits}")
        firsts = np.cumsum([0] + [len(part._blocks) for part in filled])
        return Features(
            filled[0].bands,
            _frozen(np.concatenate([part.frames for part in filled])),
            tuple(block for part in filled for block in part._blocks),
            np.concatenate([part._block_of + first for part, first in zip(filled, firsts, strict=False)]),
            np.concatenate([part._starts for part in filled]),
            np.concatenate([part._rows for part in filled]) if fits else None,
            fits.pop() if fits else None,
        )

    @staticmethod
    def from_arrays(arrays: Sequence[np.ndarray]) -> Features:
        """Features held in memory, from one (frames, bands) array a clip."""
        if not len(arrays):
            raise ValueError("features of no clips have no width")
        frames = np.array([len(array) for array in arrays], dtype=np.int64)
        return Features.from_rows(np.concatenate(list(arrays)), frames)

    @staticmethod
    def from_rows(rows: np.ndarray, frames: np.ndarray) -> Features:
        """Features held in memory, from all frames of all clips, (frames, bands), and how many each clip has."""
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        starts = np.cumsum(frames) - frames
        block = _Block(None, len(rows), rows.shape[1], _frozen(rows))
        return Features(rows.shape[1], _frozen(frames), (block,), np.zeros(len(frames), np.int64), starts)

    @staticmethod
    def open(folder: Path | str) -> Features:
        """The features that `build` left in `folder`.

        Raises:
            AugrunError: the folder is not complete, or its files do not belong together.
        """
        folder = Path(folder)
        try:
            marker = json.loads((folder / MARKER).read_text())
            index = np.load(folder / INDEX)
            size = (folder / DATA).stat().st_size
        except (OSError, ValueError) as error:
            raise AugrunError(f"{folder} holds no finished features ({error}); remove it and run again") from None
        bands, rows = int(marker["bands"]), int(index[:, 1].sum())
        if len(index) != marker["clips"] or size != rows * bands * 4:
            found = f"{size} bytes, not {rows * bands * 4}"
            raise AugrunError(f"{folder / DATA} is damaged ({found}); remove the folder and run again")
        starts, frames = index[:, 0].copy(), index[:, 1].copy()
        block = _Block(folder / DATA, rows, bands)
        return Features(bands, _frozen(frames), (block,), np.zeros(len(index), np.int64), starts)


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def build(
    folder: Path,
    names: Sequence[str],
    bands: int,
    compute: Compute,
    *,
    key: str,
    groups: Sequence[Sequence[int]] | None = None,
    workers: int = 1,
    prepare: Callable[[], None] | None = None,
    title: str | None = None,
) -> Features:
    """Computes one matrix a clip, on `workers` threads, into a folder that `Features.open` reads.

    Whatever an earlier, killed call with the same `key` finished is kept. At most a few clips are in memory at once,
    and the files' bytes depend neither on `workers` nor on kills.

    Args:
        folder: where; created where it is missing.
        names: what to call each clip in an error.
        bands: columns that every matrix must have.
        compute: makes the (frames, bands) matrix, or the error, of each clip of a group from their places in `names`;
            called from several threads. `one_by_one` makes it of a function of one clip.
        groups: the clips that are computed together, in order; None computes each alone. A group is computed whole
            wherever one of its clips is missing, so that what a clip's matrix is does not depend on kills.
        key: says what is computed from what; data of another key in `folder` are thrown away.
        workers: threads. Decoding, resampling and transforms release Python's lock, so threads do what processes would.
        prepare: called once in each thread before its first clip.
        title: what to call this work on the console; None shows nothing.

    Raises:
        AugrunError: some clips failed; all the others are computed and kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = _Writer(folder, len(names), bands, key)
    wanted = [[clip] for clip in range(len(names))] if groups is None else groups
    waiting = [group for group in wanted if any(clip not in writer.written for clip in group)]
    missing = len(names) - len(writer.written)
    failures: list[tuple[str, str]] = []
    try:
        with _progress(title, missing, len(names)) as step:
            for group, results in _in_order(compute, waiting, workers, prepare):
                fresh = [
                    (clip, result) for clip, result in zip(group, results, strict=True) if clip not in writer.written
                ]
                for clip, result in fresh:
                    step()
                    if isinstance(result, AugrunError):
                        failures.append((names[clip], str(result)))
                    elif result.ndim != 2 or result.shape[1] != bands or not len(result):
                        raise ValueError(f"{names[clip]}: features of shape {result.shape}, not (frames, {bands})")
                writer.write([(clip, result) for clip, result in fresh if not isinstance(result, AugrunError)])
    finally:
        writer.close()
    if failures:
        raise AugrunError(_failure_text(failures, len(names)))
    writer.finish()
    return Features.open(folder)


def _failure_text(failures: list[tuple[str, str]], total: int) -> str:
    shown = "; ".join(f"{message if name in message else f'{name}: {message}'}" for name, message in failures[:3])
    more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
    return (
        f"{len(failures)} of {total} clips cannot be read: {shown}{more}\n"
        "Mend these files, or take them out of the corpus's list (what shows only in full decoding is not skipped)"
    )


def one_by_one(compute: Callable[[int], np.ndarray]) -> Compute:
    """`compute` of one clip, as `build` takes it; an AugrunError is the clip's result."""

    def attempt(clip: int) -> np.ndarray | AugrunError:
        try:
            return compute(clip)
        except AugrunError as error:
            return error

    return lambda group: [attempt(clip) for clip in group]


def _in_order(
    compute: Compute, groups: Sequence[Sequence[int]], workers: int, prepare: Callable[[], None] | None
) -> Iterator[tuple[Sequence[int], Sequence[np.ndarray | AugrunError]]]:
    """Groups and their results (or errors a person can mend) in order, computed a few ahead."""
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="features", initializer=prepare) as pool:
        ahead: list[tuple[Sequence[int], Future[Sequence[np.ndarray | AugrunError]]]] = []
        rest = iter(groups)
        try:
            while True:
                for group in rest:
                    ahead.append((group, pool.submit(compute, group)))
                    if len(ahead) > 2 * workers:
                        break
                if not ahead:
                    return
                first, future = ahead.pop(0)
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _progress(title: str | None, missing: int, total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, else a line now and then; yields what to call after each clip."""
    if title is None or not missing:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total, completed=total - missing)
        started = said = time.monotonic()
        finished = 0

        def step() -> None:
            nonlocal said, finished
            bar.advance(task)
            finished += 1
            if not console.is_terminal and finished < missing and time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                console.print(f"{title}: {total - missing + finished:,} of {total:,} clips")

        yield step
    if (seconds := time.monotonic() - started) > 1:
        console.print(f"{title}: {finished:,} clips in {seconds:.0f} s")


class _Writer:
    """Appends clips to `features.f32` and its journal; picks up what an earlier writer finished."""

    def __init__(self, folder: Path, clips: int, bands: int, key: str) -> None:
        self.folder, self.clips, self.bands = folder, clips, bands
        self.plan = {"schema": 1, "clips": clips, "bands": bands, "key": key}
        self.written: dict[int, tuple[int, int]] = {}  # clip → (first row, frames)
        self.rows = 0
        self.unsynced = 0
        self.beside = ThreadPoolExecutor(1, thread_name_prefix="features-disk")
        self.syncing: Future[None] | None = None
        if self._finished():
            index = np.load(folder / INDEX)
            self.written = {clip: (int(start), int(frames)) for clip, (start, frames) in enumerate(index)}
            self.data = self.journal = None
            return
        (folder / MARKER).unlink(missing_ok=True)
        kept = self._recover()
        self.data = open(folder / DATA, "ab")  # noqa: SIM115 (closed by `close`)
        self.journal = open(folder / JOURNAL, "ab")  # noqa: SIM115
        self.data.truncate(self.rows * bands * 4)
        self.journal.truncate(kept * 16)

    def _finished(self) -> bool:
        try:
            return bool(json.loads((self.folder / MARKER).read_text()) == self.plan)
        except (OSError, ValueError):
            return False

    def _recover(self) -> int:
        """Reads the journal; returns how many of its entries hold."""
        plan = self.folder / PLAN
        try:
            same = json.loads(plan.read_text()) == self.plan
        except (OSError, ValueError):
            same = False
        if not same:
            for name in (DATA, JOURNAL, INDEX):
                (self.folder / name).unlink(missing_ok=True)
            _write_atomically(plan, json.dumps(self.plan).encode())
            return 0
        try:
            raw = (self.folder / JOURNAL).read_bytes()
            size = (self.folder / DATA).stat().st_size
        except OSError:
            return 0
        entries = np.frombuffer(raw[: len(raw) // 16 * 16], dtype="<i8").reshape(-1, 2)
        kept = 0
        for clip, frames in entries.tolist():
            if (self.rows + frames) * self.bands * 4 > size or not 0 <= clip < self.clips:
                break  # a journal entry that outlived its data (power cut): compute from here on again
            self.written[clip] = (self.rows, frames)
            self.rows += frames
            kept += 1
        return kept

    def write(self, clips: Sequence[tuple[int, np.ndarray]]) -> None:
        """Appends the matrices of some clips, then says in the journal that they are there."""
        if not clips:
            return
        assert self.data is not None
        assert self.journal is not None
        whole = np.concatenate([matrix for _, matrix in clips]) if len(clips) > 1 else clips[0][1]
        self.data.write(np.ascontiguousarray(whole, dtype="<f4").data)
        self.data.flush()
        self.journal.write(np.array([(clip, len(matrix)) for clip, matrix in clips], dtype="<i8").data)
        self.journal.flush()
        for clip, matrix in clips:
            self.written[clip] = (self.rows, len(matrix))
            self.rows += len(matrix)
        self.unsynced += len(clips)
        if self.unsynced >= _SYNC_EVERY and (self.syncing is None or self.syncing.done()):
            self.unsynced = 0
            self.syncing = self.beside.submit(self._sync)  # the disk must not keep the computing waiting

    def _sync(self) -> None:
        for file in (self.data, self.journal):
            if file is not None:
                os.fsync(file.fileno())

    def close(self) -> None:
        self.beside.shutdown(wait=True)
        if self.syncing is not None:
            self.syncing.result()
        self._sync()
        for file in (self.data, self.journal):
            if file is not None:
                file.close()

    def finish(self) -> None:
        if self._finished():
            return
        index = np.array([self.written[clip] for clip in range(self.clips)], dtype=np.int64).reshape(-1, 2)
        part = self.folder / f".{INDEX}"
        with open(part, "wb") as file:
            np.save(file, index)
        os.replace(part, self.folder / INDEX)
        _write_atomically(self.folder / MARKER, json.dumps(self.plan).encode())
        for name in (JOURNAL, PLAN):
            (self.folder / name).unlink(missing_ok=True)


def _write_atomically(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)
