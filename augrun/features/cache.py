"""Feature matrices of many clips on disk: memory-mapped to read, journalled to write.

A finished folder holds three files:

    features.f32    every clip's (frames, bands) matrix, float32, one after the other
    index.npy       int64, shape (clips, 2): each clip's first row in `features.f32`, and its frames
    features.json   {"schema": 1, "clips", "bands", "key"}; written last, so that it says the folder is complete

While it is built, `journal.i64` takes index.npy's place: one (clip, frames) pair for each finished clip, in the order
of the data, appended only after the clip's data. A killed build therefore loses at most the clips that were in flight.

Features that several jobs made in parts are a folder of such folders, in order, and one `features.json` over them:
{"schema": 1, "clips", "bands", "parts": [their folders]}.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np

from augrun.core.errors import AugrunError
from augrun.core.files import write_bytes
from augrun.core.runtime import progress_hooks
from augrun.features.fit import Fit
from augrun.features.mapped import Block
from augrun.features.writing import DATA, INDEX, MARKER, Writer

_SAY_EVERY_S = 20.0  # seconds between two lines where there is no terminal for a bar

#: Clips, by their place, to their matrices; a clip that a person must mend gives the error.
Compute = Callable[[Sequence[int]], Sequence[np.ndarray | AugrunError]]


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
    _blocks: tuple[Block, ...] = field(repr=False)
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
        block = Block(None, len(rows), rows.shape[1], _frozen(rows))
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
            if "parts" in marker:
                return Features._of_parts(folder, marker)
            index = np.load(folder / INDEX)
            size = (folder / DATA).stat().st_size
        except (OSError, ValueError) as error:
            raise AugrunError(f"{folder} holds no finished features ({error}); remove it and run again") from None
        bands, rows = int(marker["bands"]), int(index[:, 1].sum())
        if len(index) != marker["clips"] or size != rows * bands * 4:
            found = f"{size} bytes, not {rows * bands * 4}"
            raise AugrunError(f"{folder / DATA} is damaged ({found}); remove the folder and run again")
        starts, frames = index[:, 0].copy(), index[:, 1].copy()
        block = Block(folder / DATA, rows, bands)
        return Features(bands, _frozen(frames), (block,), np.zeros(len(index), np.int64), starts)

    @staticmethod
    def _of_parts(folder: Path, marker: dict[str, Any]) -> Features:
        whole = Features.concatenate(Features.open(folder / part) for part in marker["parts"])
        if (len(whole), whole.bands) != (marker["clips"], marker["bands"]):
            found = f"{len(whole)} clips of {whole.bands} bands, not {marker['clips']} of {marker['bands']}"
            raise AugrunError(f"{folder} is damaged ({found}); remove the folder and run again")
        return whole


def join(folder: Path, parts: Sequence[str]) -> Features:
    """Makes one of features in parts, which stay where they are: nothing is copied.

    Args:
        folder: of all; `Features.open` reads it from then on.
        parts: folders within it that `build` has finished, in order.
    """
    whole = Features.concatenate(Features.open(folder / part) for part in parts)
    marker = {"schema": 1, "clips": len(whole), "bands": whole.bands, "parts": list(parts)}
    write_bytes(folder / MARKER, json.dumps(marker).encode())
    return whole


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
    writer = Writer(folder, len(names), bands, key)
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
                progress_hooks.stepped("clips")
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
