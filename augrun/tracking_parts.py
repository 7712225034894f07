"""What tracking needs that does not talk to MLflow: who runs, from which code, and how things are put into words."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from augrun.errors import RequestError

_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")


def absolute_uri(uri: str | None, output: Path) -> str:
    """The tracking URI with an absolute path; by default that of the database under the output root.

    Raises:
        RequestError: MLflow keeps no runs at such an address.
    """
    if uri is None:
        return f"sqlite:///{output / 'mlflow.db'}"
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme not in _SCHEMES and uri != "databricks":
        raise RequestError(f"tracking.uri={uri}: give a server, http://HOST:PORT, or a database, sqlite:///FILE")
    if scheme == "sqlite":
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).expanduser().resolve()}"
    return uri


def short(value: Any, limit: int) -> str:
    """The value as text of at most `limit` characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `group.key`: value; what says how and where to run, not what, is left out."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if name in ("output", "tracking", "sweep", "trainer.progress", "trainer.name"):
            continue
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def is_number(value: Any) -> bool:
    """Whether MLflow can hold the value as a metric."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def curves(path: Path) -> list[tuple[str, float, int]]:
    """Name, value and epoch of every point in a `history.json`."""
    if not path.is_file():
        return []
    points = []
    for entry in json.loads(path.read_text(encoding="utf-8")):
        points += [(name, float(value), int(entry["epoch"])) for name, value in entry.items() if is_number(value)]
    return [point for point in points if point[0] != "epoch"]


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


@lru_cache(maxsize=1)
def commit() -> str:
    """The commit of the code that runs, `-dirty` with changes on top; the version where this is no checkout."""
    root = Path(__file__).resolve().parents[1]
    if (root / ".git").exists():
        try:
            head = _git(root, "rev-parse", "HEAD")
            return head + ("-dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
        except (OSError, subprocess.SubprocessError):
            pass
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"version {version('augrun')}"
    except PackageNotFoundError:
        return "unknown"


def provenance(code: str) -> dict[str, str]:
    """Tags that say which code ran, and who ran it."""
    import getpass

    tags = {"augrun.commit": code, "mlflow.source.name": "augrun", "mlflow.source.type": "LOCAL"}
    if len(code.removesuffix("-dirty")) == 40:
        tags["mlflow.source.git.commit"] = code.removesuffix("-dirty")
    try:
        return tags | {"mlflow.user": getpass.getuser()}
    except (OSError, KeyError):  # a user without a name, as in some containers
        return tags


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Lets SIGTERM unwind the stack (SystemExit 143), so that what is open is closed; elsewhere it stays as it is."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def leave(signum: int, frame: Any) -> None:
        raise SystemExit(143)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
