"""A lock that is a folder, for file systems whose flock is missing or holds on one machine only."""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout

from augrun.core.runtime.processes import this_host

log = logging.getLogger(__name__)

#: How often the holder of a folder lock shows that it lives, and after how long without a sign it is taken to be gone.
HEARTBEAT_S, STALE_S = 10.0, 120.0


#: How often who waits for a folder lock looks again.
POLL_S = 0.2


_OWNER = "owner-"


#: The last sign of life that this process has seen of each lock's owner, and when, by its own clock.
_SEEN: dict[Path, tuple[tuple[str, int], float]] = {}


@dataclass(frozen=True)
class Owner:
    """Who holds a folder lock.

    Attributes:
        token: names this hold, and no other ever.
        host: the machine, the time since its start that process ids belong to, and the namespace that they are in.
        pid: the process.
        started: when the process was started, in the machine's ticks; ids are used again.
        beat: the time of its last sign of life, by the file server's clock.
    """

    token: str
    host: str
    pid: int
    started: str
    beat: int

    @property
    def gone(self) -> bool:
        """Whether the owner is known to be dead; of another machine's nothing is known."""
        from augrun.core.runtime.processes import started

        return self.host == this_host() and started(self.pid) != self.started


class FolderLock:
    """A lock that a folder's being there is: with its owner in it, it is put in place in one step, by a rename.

    A rename onto a folder that is not empty fails on every file system, also between machines, and of several at once
    only one succeeds. The owner's file is touched every few seconds. Who waits takes the lock over when the owner is
    known to be dead, or has shown no sign of life for `stale_s` as measured by the clock of the one who waits, so that
    clocks need not agree. To take it over is to rename the owner's file, whose name no other hold ever has, so that a
    lock that somebody else has just taken is never broken. A holder whose lock was taken over is told, by `lost` where
    that is set.

    Args:
        path: names the lock.
        heartbeat_s: seconds between two signs of life.
        stale_s: seconds without one after which the owner is taken to be gone.
        poll_s: seconds between two looks of one who waits.
    """

    def __init__(
        self, path: Path, heartbeat_s: float = HEARTBEAT_S, stale_s: float = STALE_S, poll_s: float = POLL_S
    ) -> None:
        self.path = path.with_name(f"{path.name}.held")
        self.heartbeat_s, self.stale_s, self.poll_s = heartbeat_s, stale_s, poll_s
        self._count = 0
        self._token = ""
        self._process = 0
        self._stop: threading.Event | None = None
        self.lost: Callable[[], object] | None = None

    @property
    def is_locked(self) -> bool:
        """Whether this object holds the lock, and nobody has taken it over."""
        return bool(self._token) and self._mine.exists()

    @property
    def _mine(self) -> Path:
        return self.path / f"{_OWNER}{self._token}"

    def acquire(self, timeout: float = -1) -> FolderLock:
        """Takes the lock; as often as it was taken it must be released.

        Args:
            timeout: seconds to wait; without end if below 0.

        Raises:
            Timeout: another process holds it.
        """
        if self._count:
            self._count += 1
            return self
        until = time.monotonic() + timeout
        while not self._take():
            if timeout >= 0 and time.monotonic() >= until:
                raise Timeout(str(self.path))
            time.sleep(self.poll_s)
        self._count = 1
        return self

    def release(self) -> None:
        """Gives the lock back; of one that was taken over nothing is left to give."""
        self._count = max(0, self._count - 1)
        if self._count or not self._token or self._process != os.getpid():
            return  # a forked process has no part in what its parent holds
        if self._stop is not None:
            self._stop.set()
        mine, self._token = self._mine, ""
        with suppress(FileNotFoundError):
            mine.unlink()
        with suppress(OSError):  # somebody else's already
            self.path.rmdir()

    def __enter__(self) -> FolderLock:
        return self.acquire()

    def __exit__(self, *_: Any) -> None:
        self.release()

    def __del__(self) -> None:
        self._count = 0  # a lock that nobody has any more is nobody's
        self.release()

    def owner(self) -> Owner | None:
        """Who holds the lock; None where nobody does."""
        try:
            names = [name for name in os.listdir(self.path) if name.startswith(_OWNER)]
            for name in names:
                # To open the file is to ask a file server for its time of change, which may else be an old answer.
                with open(self.path / name, encoding="utf-8") as file:
                    told, beat = json.load(file), os.fstat(file.fileno()).st_mtime_ns
                return Owner(name.removeprefix(_OWNER), told["host"], told["pid"], told["started"], beat)
        except (FileNotFoundError, NotADirectoryError):
            pass
        return None

    def _take(self) -> bool:
        """One attempt."""
        owner = self.owner()
        if owner is not None and not self.stale(owner):
            return False
        if owner is not None:
            self._break(owner)
        token = secrets.token_hex(16)
        beside = self.path.with_name(f".{self.path.name}.{token}")
        beside.mkdir()
        try:
            from augrun.core.runtime.processes import started

            told = {"host": this_host(), "pid": os.getpid(), "started": started(os.getpid())}
            (beside / f"{_OWNER}{token}").write_text(json.dumps(told), encoding="utf-8")
            with suppress(OSError):  # the answer of a file server may be lost: what is there counts
                beside.rename(self.path)
            if not (self.path / f"{_OWNER}{token}").exists():
                return False
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        self._token, self._process = token, os.getpid()
        self._stop = threading.Event()
        # And not the lock, which could then never be forgotten.
        beat = (self._mine, self.heartbeat_s, self._stop, self.lost)
        threading.Thread(target=_show_life, args=beat, daemon=True).start()
        return True

    def stale(self, owner: Owner) -> bool:
        """Whether the owner is gone, as far as one can know."""
        sign = (owner.token, owner.beat)
        if self.path not in _SEEN or _SEEN[self.path][0] != sign:
            _SEEN[self.path] = (sign, time.monotonic())
        return owner.gone or time.monotonic() - _SEEN[self.path][1] > self.stale_s

    def _break(self, owner: Owner) -> None:
        """Takes the lock from an owner that is gone; another's is not touched, whoever was faster."""
        aside = self.path.with_name(f".{self.path.name}.{owner.token}.gone")
        with suppress(FileNotFoundError):
            (self.path / f"{_OWNER}{owner.token}").rename(aside)
            log.warning("%s: its holder (process %d on %s) is gone", self.path.name, owner.pid, owner.host.split()[0])
        with suppress(FileNotFoundError):
            aside.unlink()


def _show_life(mine: Path, every_s: float, stop: threading.Event, lost: Callable[[], object] | None) -> None:
    """Shows again and again that the holder of a lock lives."""
    while not stop.wait(every_s):
        try:
            os.utime(mine)
        except FileNotFoundError:
            if not stop.is_set():
                log.warning("%s: another job has taken this lock over", mine.parent.name)
                if lost is not None:
                    lost()
            return
        except OSError:
            continue  # a file server that is away for a moment
