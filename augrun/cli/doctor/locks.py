"""The doctor's check of the store's locks, on which it depends that jobs at once do no work twice."""

from __future__ import annotations

from collections.abc import Iterator

from augrun.cli.doctor import lock_probe
from augrun.cli.doctor.findings import Examined, Finding, fail, ok, warn
from augrun.cli.doctor.machine import there
from augrun.core.runtime.filesystems import mounted
from augrun.core.store import locks

#: What to do where flock does not hold.
MEND = f"give {locks.VARIABLE}=folder to all jobs, before the first"


def store_locks(examined: Examined) -> Iterator[Finding]:
    """Locks hold between two processes of this machine, and the file system promises no less for others."""
    store = examined.store
    kind, mount = locks.intended(store / "locks"), mounted(there(store))
    where = f"on {mount.kind if mount else 'a file system that is not known'} ({store})"
    try:
        problem = lock_probe.tried(there(store), kind)
    except OSError as error:
        yield warn(f"locks: not tried, the store cannot be written ({error.strerror})")
        return
    if problem:
        yield fail(f"locks: {kind} {where}: {problem}", MEND if kind == "flock" else "put the store elsewhere")
    elif kind == "flock" and mount is not None and mount.shared and mount.locks_locally:
        alone = f"mounted with {mount.locks_locally}, flock holds on this machine alone"
        yield warn(f"locks: {kind} {where}: {alone}", f"where jobs run on several machines, {MEND}")
    elif kind == "flock" and mount is not None and mount.shared and not mount.holds:
        said = "two processes here exclude each other; of other machines this is not known"
        yield warn(f"locks: {kind} {where}: {said}", f"if they do not, {MEND}")
    else:
        yield ok(f"locks: {kind} {where}: two processes exclude each other")
