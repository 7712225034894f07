"""Try whether locks in a folder exclude each other."""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from augrun.core.store.folder_lock import FolderLock
from augrun.core.store.locks import Kind

#: Holds the lock that it is given until its input ends.
_HOLDER = """
import sys
from pathlib import Path
from augrun.core.store.locks import FileLock, FolderLock
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
