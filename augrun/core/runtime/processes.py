"""Who a process is, on this machine or another, and whether it still runs."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path


def process(pid: int | None = None) -> str:
    """A process of this machine, by default this one: host, id, and when it started (ids are used again)."""
    pid = os.getpid() if pid is None else pid
    return f"{socket.gethostname()}:{pid}:{started(pid)}"


def is_dead(identity: str) -> bool:
    """Whether a process named by `process` is known to be gone; one on another host is not."""
    host, pid, since = identity.rsplit(":", 2)
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return started(int(pid)) != since


def started(pid: int) -> str:
    """Clock ticks from the machine's start to the process's; empty where /proc does not tell. Zombies count as gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "gone" if fields[0] in "ZX" else fields[19]


def this_host() -> str:
    """The machine's name, the id of its present run, and the namespace of process ids, which containers have."""
    with suppress(OSError):
        run = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {run} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()
