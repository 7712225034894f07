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
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

from filelock import FileLock, Timeout

from augrun.core.errors import AugrunError, RequestError
from augrun.core.store.folder_lock import FolderLock

log = logging.getLogger(__name__)

#: A lock of either kind.
Lock = FileLock | FolderLock

Kind = Literal["flock", "folder"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: The variable that chooses the kind, and the file in a folder of locks that remembers it.
VARIABLE, REMEMBERED = "AUGRUN_LOCKS", "kind"


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
