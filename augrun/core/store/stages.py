"""Run-once stages: a fingerprint, a lock, an atomic commit, resume after a kill.

A stage's result is a folder `STORE/<kind>/<fingerprint>`. It is made as `<fingerprint>.partial` and renamed
when complete, so a folder without the suffix is always whole. A `.partial` folder that a killed job left
behind is handed to the next attempt, which picks up from the checkpoints in it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import platform
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import Timeout

from augrun.core.errors import AugrunError
from augrun.core.files import remove_temporary, write_text
from augrun.core.runtime import progress_hooks
from augrun.core.runtime.resource_usage import measured
from augrun.core.store import locks
from augrun.core.store.code_digest import code_digest
from augrun.core.store.folder_lock import FolderLock
from augrun.core.store.locks import Lock

log = logging.getLogger(__name__)

MANIFEST = "stage.json"
PARTIAL = ".partial"
RESULTS = ("condition", "comparison")  # what people want to keep; everything else serves these
JOURNAL = "computed.jsonl"  # a line for every computation there ever was: two of one stage would show
LENGTH = 20  # hexadecimal digits of a fingerprint: 80 bits


def fingerprint(content: Mapping[str, Any]) -> str:
    """Digest of plain data (numbers, strings, lists, dicts), independent of key order."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | set | frozenset):
        return sorted(value) if isinstance(value, set | frozenset) else list(value)
    raise TypeError(f"a fingerprint cannot hold {type(value).__name__}: {value!r}")


@dataclass(frozen=True)
class Stage:
    """One pure step, done or to be done.

    Attributes:
        store: where it lives.
        kind: `features`, `generator`, `samples`, `classifier`, `condition`, …
        content: what the fingerprint is made of.
    """

    store: Store
    kind: str
    content: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        return fingerprint({"kind": self.kind, **self.content})

    @property
    def folder(self) -> Path:
        """Where the result is, once done."""
        return self.store.root / self.kind / self.fingerprint

    @property
    def done(self) -> bool:
        return self.folder.is_dir()

    @property
    def manifest(self) -> dict[str, Any]:
        """What was recorded when the stage was done: content, cost, versions."""
        return json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))

    @property
    def held(self) -> bool:
        """Whether a job is at it right now."""
        return self.store.held(self.kind, self.fingerprint)

    def claim(self) -> Lock | None:
        """Its lock, taken, for whoever does several stages at once; None where it is done or another job is at it.

        Never waits, so that who holds some stages may try to claim more.
        """
        lock = None if self.done else self.store.claim(self)
        if lock is not None and self.made:  # another job was faster
            lock.release()
            return None
        return lock

    def get(
        self,
        compute: Callable[[Path], Mapping[str, Any] | None],
        title: str = "",
        uses: Sequence[str] = (),
        claimed: Lock | None = None,
        said: bool = True,
    ) -> Path:
        """The result's folder; computed now, under the stage's lock, if nobody has done so before.

        Args:
            compute: writes the result into the folder it is given, which may hold the remains of a killed
                attempt. What it returns (plain data) is kept in the manifest as `summary`.
            title: what to call this on the console; nothing is said without.
            uses: fingerprints of further stages to keep for as long as this one is kept, though it can do without
                (features that it would cost hours to extract again).
            claimed: the lock, where the caller has it already from `claim`.
            said: whether to say the title on the console.
        """
        if self.done:
            self.store.note(self, computed=False)
            return self.folder
        if claimed is not None:
            return self._compute(compute, title, uses, claimed, said)
        with self.store.lock(self, title) as lock:
            if self.made:  # another job was faster
                self.store.note(self, computed=False)
                return self.folder
            return self._compute(compute, title, uses, lock, said)

    @property
    def made(self) -> bool:
        """`done`, asked of the folder above: a network file system may remember what was not there a moment ago."""
        with suppress(FileNotFoundError):
            return self.fingerprint in os.listdir(self.folder.parent)
        return False

    def _compute(
        self,
        compute: Callable[[Path], Mapping[str, Any] | None],
        title: str,
        uses: Sequence[str],
        lock: Lock,
        said: bool = True,
    ) -> Path:
        partial = self.folder.with_name(self.fingerprint + PARTIAL)
        resumed = partial.is_dir()
        with self.store.writing():
            partial.mkdir(parents=True, exist_ok=True)
        if title and said:
            log.info("%s%s", title, " (taken up where it was left)" if resumed else "")
        with self.store.writing():
            with progress_hooks.piece(self.kind, title), measured() as cost:
                summary = compute(partial)
            manifest = {
                "kind": self.kind,
                "fingerprint": self.fingerprint,
                "content": self.content,
                "uses": list(uses),
                "title": title,
                "seconds": round(cost.seconds, 3),
                "cost": cost.plain(),
                "resumed": resumed,
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "host": platform.node(),
                "python": platform.python_version(),
                "summary": dict(summary or {}),
            }
            write_text(partial / MANIFEST, json.dumps(manifest, indent=1, default=_plain))
            locks.require(lock)
            if resumed:
                remove_temporary(partial)  # of attempts that were killed
            partial.rename(self.folder)
        self.store.note(self, computed=True)
        self.store.journal(self, manifest)
        return self.folder


@dataclass
class Store:
    """The folder of all stages.

    Attributes:
        root: the folder.
        computed: stages done by this process, as (kind, fingerprint).
        reused: stages found done, as (kind, fingerprint).
    """

    root: Path
    computed: list[tuple[str, str]] = field(default_factory=list)
    reused: list[tuple[str, str]] = field(default_factory=list)

    def stage(
        self,
        kind: str,
        *,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        code: str,
        version: int = 1,
        seed: int | None = None,
    ) -> Stage:
        """Names a stage.

        Args:
            kind: its kind, also the name of its folder in the store.
            settings: resolved settings, defaults included; no devices, workers or paths.
            inputs: digests of the corpora and fingerprints of the stages that it reads, by role.
            code: the module whose code (and what it imports from the package) makes the result.
            version: bumped by hand where the result's meaning changes without a code change.
            seed: the seed, where there is one.
        """
        content = {
            "settings": dict(settings),
            "inputs": dict(inputs),
            "code": code_digest(code, reports=kind in RESULTS),
            "module": code,
            "version": version,
            "seed": seed,
        }
        return Stage(self, kind, content)

    def note(self, stage: Stage, computed: bool) -> None:
        """Keeps the account of what was done and what was found, and marks the stage as used today."""
        (self.computed if computed else self.reused).append((stage.kind, stage.fingerprint))
        with suppress(OSError):  # a store one may only read still serves
            os.utime(stage.folder)

    def journal(self, stage: Stage, manifest: Mapping[str, Any]) -> None:
        """Adds a line to the account of all computations, in one write, as several processes add to it."""
        known = {key: manifest[key] for key in ("kind", "fingerprint", "title", "seconds", "finished", "host")}
        line = json.dumps(known | {"own_seconds": manifest["cost"]["own_seconds"], "process": os.getpid()}) + "\n"
        with suppress(OSError), open(self.root / JOURNAL, "ab", buffering=0) as file:
            file.write(line.encode())

    def new_lock(self, kind: str, fingerprint: str, part: int | None = None) -> Lock:
        """The lock of a name, not taken yet."""
        of_part = "" if part is None else f".{part}"
        path = self.root / "locks" / f"{kind}-{fingerprint}{of_part}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = locks.lock(path)
        if isinstance(lock, FolderLock):
            lock.lost = _leave
        return lock

    def claim(self, stage: Stage, part: int | None = None) -> Lock | None:
        """The lock of a stage or of a part of it, already taken; None where another job holds it."""
        with self.writing():
            lock = self.new_lock(stage.kind, stage.fingerprint, part)
            try:
                lock.acquire(timeout=0.1)  # longer than another job takes to see whether it is held
            except Timeout:
                return None
        return lock

    @contextmanager
    def lock(self, stage: Stage, title: str = "") -> Iterator[Lock]:
        """Holds the stage's lock; says so when another job has it and this one waits."""
        lock = self.claim(stage)
        if lock is None:
            log.info("%s: another job is at it, waiting", title or stage.kind)
            with self.writing():
                lock = self.new_lock(stage.kind, stage.fingerprint)
                lock.acquire()
        try:
            yield lock
        finally:
            lock.release()

    def held(self, kind: str, fingerprint: str) -> bool:
        """Whether a job holds the lock of a stage, or of a part of it, right now."""
        folder, name = self.root / "locks", f"{kind}-{fingerprint}"
        parts = {path.with_name(path.name.removesuffix(".held")) for path in folder.glob(f"{name}.*.lock*")}
        return any(locks.held(path) for path in (folder / f"{name}.lock", *sorted(parts)))

    def writing(self) -> _Writing:
        """Turns a full disk or an unwritable folder into a clear message."""
        return _Writing(self.root)

    def entries(self) -> Iterator[Entry]:
        """Every stage in the store, whole or partial, by kind and age."""
        if not self.root.is_dir():
            return
        for kind in sorted(path for path in self.root.iterdir() if path.is_dir() and path.name != "locks"):
            for folder in sorted(kind.iterdir(), key=lambda path: path.stat().st_mtime):
                if folder.name.endswith(PARTIAL) or (folder / MANIFEST).is_file():
                    yield Entry(self, kind.name, folder)


def _leave() -> None:
    """Ends this process as who asks it to terminate would: another one writes where it wrote."""
    os.kill(os.getpid(), signal.SIGTERM)


@dataclass(frozen=True)
class Entry:
    """A folder in the store."""

    store: Store
    kind: str
    folder: Path

    @property
    def partial(self) -> bool:
        return self.folder.name.endswith(PARTIAL)

    @property
    def fingerprint(self) -> str:
        return self.folder.name.removesuffix(PARTIAL)

    @property
    def used(self) -> float:
        """When it was last used, in seconds since the epoch."""
        return self.folder.stat().st_mtime

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    @property
    def title(self) -> str:
        return "" if self.partial else str(self._manifest().get("title", ""))

    @property
    def inputs(self) -> list[str]:
        manifest = self._manifest()
        return [*manifest["content"].get("inputs", {}).values(), *manifest.get("uses", [])]

    @property
    def held(self) -> bool:
        """Whether a job holds its lock, or that of a part of it, right now."""
        return self.store.held(self.kind, self.fingerprint)

    def remove(self) -> None:
        """Moves the folder out of its place first, so that it is never seen half removed."""
        doomed = self.folder.with_name(f"{self.fingerprint}.removed{PARTIAL}")
        self.folder.rename(doomed)
        shutil.rmtree(doomed)

    def _manifest(self) -> dict[str, Any]:
        return json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))


class _Writing:
    def __init__(self, root: Path) -> None:
        self.root = root

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, OSError):
            return
        where = error.filename or self.root
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            mend = "free some (`augrun store gc`) or set AUGRUN_STORE"
            raise AugrunError(f"no space left for {where}; {mend}") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise AugrunError(f"cannot write {where}: {error.strerror}; choose another AUGRUN_OUTPUT") from error


def open_store(config: Mapping[str, Any]) -> Store:
    """The store that the configuration names."""
    output = config["output"]
    return Store(Path(output["store"] or Path(output["root"]) / "store").resolve())
