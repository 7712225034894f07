"""What of a store is still wanted, and the removal of the rest (`augrun store gc`)."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from augrun.core.files import write_text
from augrun.core.store.stages import RESULTS, Entry, Stage, Store

NEEDED = "needed"  # a list in the folder of locks: what a job that runs will come back to


@contextmanager
def needed(store: Store, by: Stage, stages: Iterable[Stage]) -> Iterator[None]:
    """Keeps stages from `collect` within it: a job comes back to them, and no finished condition leads there yet.

    Args:
        store: where they are.
        by: the condition.
        stages: what it is made of, done or not.
    """
    name = f"{by.fingerprint}-{platform.node()}-{os.getpid()}"
    folder = store.root / "locks"
    listed = folder / f"{NEEDED}-{name}.json"
    with store.writing():
        lock = store.new_lock(NEEDED, name)
        lock.acquire()
    try:
        write_text(listed, json.dumps([stage.fingerprint for stage in stages]))
        yield
    finally:
        listed.unlink(missing_ok=True)
        (folder / f"{NEEDED}-{name}.lock").unlink(missing_ok=True)  # its name is this job's alone
        lock.release()


def _listed(store: Store) -> Iterator[str]:
    """Fingerprints that jobs which run come back to."""
    for listed in sorted((store.root / "locks").glob(f"{NEEDED}-*.json")):
        if store.held(NEEDED, listed.stem.removeprefix(f"{NEEDED}-")):
            with suppress(OSError, ValueError):
                yield from json.loads(listed.read_text(encoding="utf-8"))


def collect(
    store: Store, keep_days: float | None = None, dry_run: bool = False, spare_hours: float = 0.0
) -> list[Entry]:
    """Removes what no condition or comparison leads to, nor a job that runs, and unfinished work that no job holds.

    Args:
        store: what to look through.
        keep_days: also drop conditions and comparisons not used for this many days.
        dry_run: only say what would go.
        spare_hours: leave alone what was used this recently: a job that still runs has stages that no finished
            condition leads to yet.

    Returns:
        The removed entries.
    """
    entries = list(store.entries())
    by_name = {entry.fingerprint: entry for entry in entries if not entry.partial}
    limit = None if keep_days is None else time.time() - keep_days * 86400
    waiting = [e for e in by_name.values() if e.kind in RESULTS and (limit is None or e.used >= limit)]
    waiting += [by_name[one] for one in _listed(store) if one in by_name]
    kept: set[str] = set()
    while waiting:
        entry = waiting.pop()
        if entry.fingerprint not in kept:
            kept.add(entry.fingerprint)
            waiting.extend(by_name[i] for i in entry.inputs if i in by_name)
    young = time.time() - spare_hours * 3600
    gone = [e for e in entries if (e.partial or e.fingerprint not in kept) and e.used <= young and not e.held]
    if not dry_run:
        for entry in gone:
            entry.remove()
    return gone
