"""Writes feature matrices so that a killed writer loses little; `augrun.features.cache` says what the files hold."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from augrun.core.files import atomic_path, write_bytes

DATA, INDEX, MARKER, JOURNAL, PLAN = "features.f32", "index.npy", "features.json", "journal.i64", "plan.json"
_SYNC_EVERY = 256  # clips between two flushes to the disk


class Writer:
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
            write_bytes(plan, json.dumps(self.plan).encode())
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
            if self.syncing is not None:
                self.syncing.result()  # a full disk is told once, and then no more
            self.syncing = self.beside.submit(self._sync)  # the disk must not keep the computing waiting

    def _sync(self) -> None:
        for file in (self.data, self.journal):
            if file is not None:
                os.fsync(file.fileno())

    def close(self) -> None:
        """Leaves all that is written on the disk."""
        self.beside.shutdown(wait=True)
        if self.syncing is not None:
            self.syncing.result()
        self._sync()
        for file in (self.data, self.journal):
            if file is not None:
                file.close()

    def finish(self) -> None:
        """Says that all clips are there."""
        if self._finished():
            return
        index = np.array([self.written[clip] for clip in range(self.clips)], dtype=np.int64).reshape(-1, 2)
        with atomic_path(self.folder / INDEX) as fresh, open(fresh, "wb") as file:
            np.save(file, index)
        write_bytes(self.folder / MARKER, json.dumps(self.plan).encode())
        for name in (JOURNAL, PLAN):
            (self.folder / name).unlink(missing_ok=True)
