"""Locks between processes: one at a time, none for ever, whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from augrun.cli.doctor import lock_probe
from augrun.core.errors import AugrunError, RequestError
from augrun.core.store import folder_lock, locks
from augrun.core.store.folder_lock import FolderLock
from augrun.core.store.stages import Store

ROOT = Path(__file__).resolve().parents[3]

HOLD = """
    import sys, time
    from pathlib import Path
    from augrun.core.store import locks
    with locks.lock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
"""

COUNT = """
    import sys
    from pathlib import Path
    from augrun.core.store import locks
    path, number = Path(sys.argv[1]), Path(sys.argv[2])
    for _ in range(25):
        one = locks.lock(path)
        if isinstance(one, locks.FolderLock):
            one.poll_s = 0.002
        with one:
            number.write_text(str(int(number.read_text()) + 1))
"""


@pytest.fixture(params=locks.KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AUGRUN_LOCKS", request.param)
    return str(request.param)


def start(code: str, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, words)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def holding(path: Path) -> subprocess.Popen[str]:
    process = start(HOLD, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_processes_that_contend_go_one_at_a_time(tmp_path: Path, kind: str) -> None:
    number = tmp_path / "number"
    number.write_text("0")
    processes = [start(COUNT, tmp_path / "one.lock", number) for _ in range(4)]
    assert [process.wait(600) for process in processes] == [0] * 4
    assert number.read_text() == "100"
    assert (tmp_path / "kind").read_text() == f"{kind}\n"
    assert not list(tmp_path.glob(".*")), "nothing is left beside the lock"


def test_a_holder_keeps_others_out_until_it_ends(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "one.lock"
    holder = holding(path)
    assert locks.held(path)
    with pytest.raises(Timeout):
        locks.lock(path).acquire(timeout=0.3)
    holder.communicate("")
    assert not locks.held(path)
    with locks.lock(path) as one:
        assert isinstance(one, FolderLock if kind == "folder" else FileLock)


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "one.lock"
    holder = holding(path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    one = locks.lock(path)
    one.acquire(timeout=0)  # without waiting
    assert locks.held(path)
    one.release()
    assert not locks.held(path)


def elsewhere(path: Path) -> Path:
    """A folder lock that a process of another machine holds; returns its owner's file."""
    owner = FolderLock(path).path / "owner-0123"
    owner.parent.mkdir()
    owner.write_text('{"host": "node7 1234 pid:[1]", "pid": 1, "started": "1"}')
    return owner


class Clock:
    """A clock that only sleeping moves on; meanwhile a holder may show that it lives."""

    def __init__(self, owner: Path) -> None:
        self.now, self.owner, self.alive = 0.0, owner, True

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.alive:
            os.utime(self.owner, (self.now, self.now))


def test_a_holder_elsewhere_is_believed_for_as_long_as_it_shows_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(elsewhere(tmp_path / "one.lock"))
    monkeypatch.setattr(folder_lock, "time", clock)
    waiting = FolderLock(tmp_path / "one.lock", stale_s=0.4, poll_s=0.02)
    with pytest.raises(Timeout):
        waiting.acquire(timeout=1.5)
    clock.alive, before = False, clock.now
    waiting.acquire(timeout=10)
    assert 0.4 < clock.now - before < 0.45
    waiting.release()


def test_who_asks_again_and_again_sees_that_a_holder_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUGRUN_LOCKS", "folder")
    monkeypatch.setattr(FolderLock.__init__, "__defaults__", (10.0, 0.3, 0.02))
    path = tmp_path / "one.lock"
    elsewhere(path)
    assert locks.held(path)
    time.sleep(0.4)
    assert not locks.held(path)
    with locks.lock(path):  # at once: what was seen before counts
        assert locks.held(path)


def test_clocks_need_not_agree(tmp_path: Path) -> None:
    """A sign of life from the past of this clock, as a file server whose clock is behind gives it."""
    os.utime(elsewhere(tmp_path / "one.lock"), (0, 0))
    with pytest.raises(Timeout):
        FolderLock(tmp_path / "one.lock", stale_s=60, poll_s=0.02).acquire(timeout=0.2)


def test_a_holder_shows_that_it_lives(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "one.lock", heartbeat_s=0.05)
    with lock:
        first = lock.owner()
        assert first is not None and not first.gone
        second, deadline = lock.owner(), time.monotonic() + 60
        while second is not None and second.beat == first.beat and time.monotonic() < deadline:
            time.sleep(0.01)
            second = lock.owner()
        assert second is not None and second.token == first.token and second.beat > first.beat
    assert lock.owner() is None


def test_whoever_was_slow_to_break_a_lock_does_not_break_the_next_holders(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    elsewhere(path)
    slow = FolderLock(path)
    judged = slow.owner()
    assert judged is not None
    fast = FolderLock(path, stale_s=0.05, poll_s=0.02)
    fast.acquire(timeout=300)
    slow._break(judged)
    assert fast.is_locked
    with pytest.raises(Timeout):
        slow.acquire(timeout=0)
    fast.release()


def test_a_job_whose_lock_was_taken_over_commits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AUGRUN_LOCKS", "folder")
    stage = Store(tmp_path).stage("features", settings={}, inputs={}, code="augrun.core.errors")
    path = tmp_path / "locks" / f"features-{stage.fingerprint}.lock"

    def slow(folder: Path) -> None:
        (owner,) = FolderLock(path).path.iterdir()
        owner.unlink()

    with pytest.raises(AugrunError, match=r"another job has taken this lock over, .* its work is left to the other"):
        stage.get(slow)
    assert not stage.done
    assert stage.get(lambda folder: None) == stage.folder


LOSING = """
import sys, time
from pathlib import Path
from augrun.core.store.locks import FolderLock
from augrun.core.store.stages import Store
from augrun.core.runtime.signals import sigterm_raises
FolderLock.__init__.__defaults__ = (0.05, 60.0, 0.02)
stage = Store(Path(sys.argv[1])).stage("features", settings={}, inputs={}, code="augrun.core.errors")
def work(folder):
    print("working", flush=True)
    time.sleep(600)
with sigterm_raises():
    stage.get(work)
"""


def test_a_job_whose_lock_was_taken_over_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would write into the folder that the other one works in."""
    monkeypatch.setenv("AUGRUN_LOCKS", "folder")
    job = subprocess.Popen(
        [sys.executable, "-c", LOSING, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert job.stdout is not None and job.stdout.readline() == "working\n"
    (held,) = (tmp_path / "locks").glob("features-*.lock.held")
    (owner,) = held.iterdir()
    owner.unlink()
    assert job.wait(300) == 143  # long before its work of ten minutes is done
    assert len(list((tmp_path / "features").glob("*.partial"))) == 1, "what it did is left to the other"


def test_a_lock_is_given_back_as_often_as_it_was_taken(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "one.lock")
    with lock:
        with lock:
            pass
        assert lock.is_locked
    assert not lock.is_locked
    assert lock.owner() is None


def test_a_lock_that_nobody_has_any_more_is_free(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "one.lock").acquire() as lock:
        path = lock.path
        assert path.exists()
    del lock
    assert not path.exists()


def test_a_folder_of_locks_is_of_one_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUGRUN_LOCKS", "folder")
    assert locks.kind_of(tmp_path) == "folder"
    monkeypatch.delenv("AUGRUN_LOCKS")
    assert locks.kind_of(tmp_path) == "folder", "jobs on other machines need not be told"
    monkeypatch.setenv("AUGRUN_LOCKS", "flock")
    with pytest.raises(RequestError, match=r"AUGRUN_LOCKS=flock, but the locks in .* are of the kind folder.*; leave"):
        locks.kind_of(tmp_path)
    monkeypatch.setenv("AUGRUN_LOCKS", "soft")
    with pytest.raises(RequestError, match="AUGRUN_LOCKS=soft: no such kind of lock; legal are flock, folder"):
        locks.kind_of(tmp_path)


def test_without_flock_the_mend_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.delenv("AUGRUN_LOCKS", raising=False)
    monkeypatch.setattr("fcntl.flock", missing)
    with pytest.raises(AugrunError, match=r"this file system has no flock .* give AUGRUN_LOCKS=folder"):
        locks.lock(tmp_path / "one.lock")


def test_a_stage_is_computed_once_under_either_kind(tmp_path: Path, kind: str) -> None:
    calls = []

    def compute(folder: Path) -> None:
        calls.append(1)
        time.sleep(0.2)

    def get() -> None:
        Store(tmp_path).stage("features", settings={}, inputs={}, code="augrun.core.errors").get(compute)

    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


@pytest.mark.parametrize("which", locks.KINDS)
def test_locks_are_tried_between_two_processes(tmp_path: Path, which: locks.Kind) -> None:
    assert lock_probe.tried(tmp_path, which) == ""
    assert list(tmp_path.iterdir()) == []


def test_locks_that_hold_nothing_are_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileLock, "acquire", lambda self, timeout=-1: self)
    assert lock_probe.tried(tmp_path, "flock") == "two processes hold one at once"
