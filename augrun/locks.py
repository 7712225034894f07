"""Locks between processes, on one machine or on several that share a file system.

`AUGRUN_LOCKS` says how a folder of locks works when it is used for the first time; the folder remembers it (`kind`),
because jobs that lock in two ways do not lock each other out:

    flock     the kernel's locks: the default. They hold on local disks, and on NFS where the server keeps them
    folder    a folder that is put in place in one step and holds its owner's name; for file systems whose flock holds
              on one machine only or is missing: Lustre with `localflock`, NFS with `nolock` or `local_lock`

filelock's own locks by existence never take a lock over from a dead job where two names cannot be exchanged in one
step, which NFS and Lustre refuse; hence `FolderLock`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock, Timeout

from augrun.errors import AugrunError, RequestError

log = logging.getLogger(__name__)

Kind = Literal["flock", "folder"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: The variable that chooses the kind, and the file in a folder of locks that remembers it.
VARIABLE, REMEMBERED = "AUGRUN_LOCKS", "kind"

#: How often the holder of a folder lock shows that it lives, and after how long without a sign it is taken to be gone.
HEARTBEAT_S, STALE_S = 10.0, 120.0

#: How often who waits for a folder lock looks again.
POLL_S = 0.2

_OWNER = "owner-"

#: The last sign of life that this process has seen of each lock's owner, and when, by its own clock.
_SEEN: dict[Path, tuple[tuple[str, int], float]] = {}

_NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


def lock(path: Path) -> FileLock | FolderLock:
    """A lock between all processes that name this path; not yet taken. Its folder must be there.

    Raises:
        RequestError: `AUGRUN_LOCKS` is no kind of lock, or another one than that of the folder.
        AugrunError: the file system has no flock.
    """
    return FolderLock(path) if kind_of(path.parent) == "folder" else FileLock(path)


def held(path: Path) -> bool:
    """Whether a job holds the lock of this path right now."""
    if not path.parent.is_dir():
        return False
    one = lock(path)
    if isinstance(one, FolderLock):
        owner = one.owner()
        return owner is not None and not one.stale(owner)
    if not path.exists():
        return False
    try:
        one.acquire(timeout=0)
    except Timeout:
        return True
    one.release()
    return False


def require(one: FileLock | FolderLock) -> None:
    """Makes sure that a lock is still its holder's.

    Raises:
        AugrunError: it was taken over, because its holder was stopped for too long.
    """
    if isinstance(one, FolderLock) and not one.is_locked:
        raise AugrunError(
            f"{one.path}: another job has taken this lock over, as this one gave no sign of life for {one.stale_s:g} s;"
            " its work is left to the other"
        )


def kind_of(folder: Path) -> Kind:
    """How the locks in a folder work; decided when they are used for the first time.

    Raises:
        RequestError: `AUGRUN_LOCKS` is no kind of lock, or another one than that of the folder.
        AugrunError: the file system has no flock.
    """
    asked, path = _asked(), folder / REMEMBERED
    with suppress(FileExistsError), open(path, "x", encoding="utf-8") as file:  # of several at once, one decides
        file.write(f"{asked or KINDS[0]}\n")
    there = _remembered(path)
    if asked not in (None, there):
        raise RequestError(
            f"{VARIABLE}={asked}, but the locks in {folder} are of the kind {there}, and the two do not exclude each "
            f"other; leave {VARIABLE} out, or remove {path} while no job runs"
        )
    return there


def intended(folder: Path) -> Kind:
    """`kind_of`, or what it would be; nothing is written.

    Raises: as `kind_of`.
    """
    return kind_of(folder) if (folder / REMEMBERED).is_file() else _asked() or KINDS[0]


def _asked() -> Kind | None:
    """What the environment asks for."""
    asked = os.environ.get(VARIABLE) or None
    for kind in KINDS:
        if asked == kind:
            return kind
    if asked is not None:
        raise RequestError(f"{VARIABLE}={asked}: no such kind of lock; legal are {', '.join(KINDS)}")
    return None


def _remembered(path: Path) -> Kind:
    """What a folder's file says; who creates it writes it in the next moment."""
    for _ in range(50):
        with open(path, encoding="utf-8") as file:
            said = file.read().strip()
            if said == "flock":
                _require_flock(file.fileno(), path)
        for kind in KINDS:
            if said == kind:
                return kind
        time.sleep(0.1)
    raise AugrunError(f"{path} names no kind of lock ({', '.join(KINDS)}): {said!r}; remove it while no job runs")


def _require_flock(file: int, path: Path) -> None:
    """Refuses a file system without flock."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_FLOCK:
            raise AugrunError(
                f"{path.parent}: this file system has no flock ({error.strerror}); "
                f"remove {path} and give {VARIABLE}=folder"
            ) from error
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise


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
        from augrun.tracking_parts import started

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
            from augrun.tracking_parts import started

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


def this_host() -> str:
    """The machine's name, the id of its present run, and the namespace of process ids, which containers have."""
    with suppress(OSError):
        run = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {run} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


Lock = FileLock | FolderLock

#: Holds the lock that it is given until its input ends.
_HOLDER = """
import sys
from pathlib import Path
from augrun.locks import FileLock, FolderLock
with {"flock": FileLock, "folder": FolderLock}[sys.argv[2]](Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def tried(folder: Path, kind: Kind) -> str:
    """What is wrong with locks in a folder, tried between two processes of this machine; empty where nothing is.

    Args:
        folder: an existing one that can be written.
        kind: of the lock.
    """
    path = folder / f".tried-{secrets.token_hex(4)}.lock"
    command = [sys.executable, "-c", _HOLDER, str(path), kind]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    mine = FolderLock(path) if kind == "folder" else FileLock(path)
    try:
        assert other.stdin is not None and other.stdout is not None and other.stderr is not None
        if other.stdout.readline() != "held\n":
            return f"one process cannot take one ({(other.stderr.read().strip().splitlines() or ['no word'])[-1]})"
        try:
            mine.acquire(timeout=0)
        except Timeout:
            other.communicate("")
            mine.acquire(timeout=5)
            mine.release()
            return ""
        mine.release()
        return "two processes hold one at once"
    except (OSError, NotImplementedError, Timeout) as error:
        return f"one cannot be taken ({error})"
    finally:
        other.kill()
        other.wait()
        path.unlink(missing_ok=True)
