"""A stage whose work falls into parts, each done once, by whichever job comes to it first.

Every part has a folder and a lock of its own. A job that wants the stage does the parts that nobody is at, waits for
those that others are at, and takes over what a killed one has left. When all are there, one job puts them together and
the stage is done. Who did what is not to be seen in the result.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core.errors import AugrunError
from augrun.core.files import write_text
from augrun.core.runtime import progress_hooks, resource_usage
from augrun.core.store import locks
from augrun.core.store.locks import Lock
from augrun.core.store.stages import PARTIAL, Stage

log = logging.getLogger(__name__)

#: Folder of the parts within the stage's, and what a part's folder holds when it is done: its cost.
PARTS, DONE = "parts", "part.json"

#: Seconds of sound in a part: a corpus below that is one.
PART_S = 2 * 3600.0

#: As many parts at most; those of larger corpora are longer.
MOST = 256

#: A clip of unknown length counts so many seconds.
UNKNOWN_S = 60.0

_LOOK_EVERY_S = 0.2


def parted(seconds: Sequence[float] | np.ndarray) -> list[np.ndarray]:
    """The places of clips in each part: one after the other, about equally long together.

    Args:
        seconds: of each clip; NaN where unknown.

    Returns:
        As many arrays as there are parts, at least one; none is empty unless there are no clips.
    """
    lengths = np.nan_to_num(np.asarray(seconds, dtype=np.float64), nan=UNKNOWN_S)
    total = float(lengths.sum())
    count = min(max(1, int(np.ceil(total / PART_S))), MOST, max(1, len(lengths)))
    if count == 1:
        return [np.arange(len(lengths))]
    middles = np.cumsum(lengths) - lengths / 2
    part_of = np.minimum((middles / total * count).astype(np.int64), count - 1)
    return [places for part in range(count) if len(places := np.flatnonzero(part_of == part))]


def get(
    stage: Stage,
    count: int,
    compute: Callable[[Path, int], object],
    join: Callable[[Path, list[str]], object],
    title: str = "",
) -> Path:
    """The stage's folder; what is missing of it is computed now, together with all jobs that want it.

    Args:
        stage: which.
        count: its parts. A single one is computed into the stage's own folder.
        compute: computes a part, by its number, into the folder it is given, which may hold the remains of a killed
            attempt.
        join: makes one of all parts: is given the stage's folder and the parts' folders within it.
        title: what to call this on the console.

    Raises:
        AugrunError: parts failed; all others are computed and kept.
    """
    if count == 1:
        return stage.get(lambda folder: _none(compute(folder, 0)), title)
    work = _Work(stage, count, compute, title)
    if not stage.done:
        work.do()

    def together(folder: Path) -> Mapping[str, Any]:
        join(folder, [f"{PARTS}/{part:04d}" for part in range(count)])
        for part in range(count):
            resource_usage.add(json.loads((work.folder(part) / DONE).read_text(encoding="utf-8")))
        return {"parts": count}

    return stage.get(together, title, said=False)


def _none(_: object) -> None:
    return None


class _Work:
    """The parts of one stage."""

    def __init__(self, stage: Stage, count: int, compute: Callable[[Path, int], object], title: str) -> None:
        self.stage, self.count, self.compute, self.title = stage, count, compute, title
        self.failed: dict[int, AugrunError] = {}
        self.told = False

    def folder(self, part: int) -> Path:
        """Where a part lies as long as the stage is not done."""
        stage = self.stage
        return stage.folder.with_name(stage.fingerprint + PARTIAL) / PARTS / f"{part:04d}"

    def do(self) -> None:
        """Returns when every part is there."""
        while waiting := [part for part in range(self.count) if part not in self.failed and not self._done(part)]:
            if self.stage.done:
                return
            did = [self._try(part) for part in waiting]
            if not any(did):
                self._tell(waiting)
                time.sleep(_LOOK_EVERY_S)
        if self.failed and not self.stage.done:
            raise AugrunError("\n".join(str(error) for error in self.failed.values()))

    def _done(self, part: int) -> bool:
        return (self.folder(part) / DONE).exists()

    def _try(self, part: int) -> bool:
        """Does a part that nobody is at; whether anything was done."""
        lock = self.stage.store.claim(self.stage, part)
        if lock is None:
            return False
        try:
            # In this order: a part that is not here although nobody is at it may have moved with the finished stage.
            if not self._done(part) and not self.stage.done:
                self._compute(part, lock)
        finally:
            lock.release()
        return True

    def _compute(self, part: int, lock: Lock) -> None:
        folder, title = self.folder(part), f"{self.title}, part {part + 1} of {self.count}"
        with self.stage.store.writing():
            folder.mkdir(parents=True, exist_ok=True)
            log.info("%s", title)
            try:
                with progress_hooks.piece(self.stage.kind, title), resource_usage.measured() as measured:
                    self.compute(folder, part)
            except AugrunError as error:
                self.failed[part] = error
                return
            locks.require(lock)
            write_text(folder / DONE, json.dumps(measured.plain()))

    def _tell(self, waiting: Sequence[int]) -> None:
        if not self.told:
            self.told = True
            log.info("%s: other jobs are at %d of %d parts, waiting", self.title, len(waiting), self.count)
