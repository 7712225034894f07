"""Rows of features in a file that is mapped into memory, and how much of it stays there.

Pages of a map that have been read count as this process's memory until the system wants them back. Of a corpus of
thousands of hours that would be all memory there is, so they are given back in good time: what is read again comes from
the system's cache of the disk, where it still lies.
"""

from __future__ import annotations

import mmap
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: What all maps of this process may keep in memory, bytes; beside it stays what is looked at right now.
KEPT_BYTES = 256 << 20


@dataclass(eq=False)
class Block:
    """Rows of features: a file mapped on first use, or an array in memory (no path).

    Attributes:
        path: the file, float32 rows one after the other; None for an array in memory.
        rows: how many.
        bands: columns.
        array: shape (rows, bands), read-only; None as long as nothing was read.
    """

    path: Path | None
    rows: int
    bands: int
    array: np.ndarray | None = None
    _map: mmap.mmap | None = None

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop), a view; nothing is loaded before it is looked at."""
        if self.array is None:
            self.array = self._mapped()
        if self._map is not None:
            _resident.add(self, (stop - start) * self.bands * 4)
        return self.array[start:stop]

    def _mapped(self) -> np.ndarray:
        assert self.path is not None
        if not self.rows:
            return np.empty((0, self.bands), np.float32)
        with open(self.path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 4 * self.rows * self.bands, access=mmap.ACCESS_READ)
        return np.frombuffer(self._map, dtype="<f4").reshape(self.rows, self.bands)

    def release(self) -> None:
        """Gives memory back; views stay good, and read from the file again."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | ({"array": None, "_map": None} if self.path else {})


class _Resident:
    """What has been read through the maps of this process since they were last released."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: weakref.WeakSet[Block] = weakref.WeakSet()
        self._bytes = 0

    def add(self, block: Block, count: int) -> None:
        """So many bytes of a block are about to be read; when it becomes too much, what was read before is released."""
        with self._lock:
            if self._bytes + count > KEPT_BYTES:
                for one in self._blocks:
                    one.release()
                self._blocks.clear()
                self._bytes = 0
            self._blocks.add(block)
            self._bytes += count


_resident = _Resident()
