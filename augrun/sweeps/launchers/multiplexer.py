"""What is shown of jobs that run side by side: their lines behind their numbers, and which wait, run and have ended."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from augrun.sweeps.launchers.worker import Result, Task

log = logging.getLogger(__name__)

#: How often to look for new lines, seconds.
LOOK_S = 0.3


class Console:
    """Follows the output files of jobs while they are written.

    Args:
        tasks: the jobs.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = {task.number: task for task in tasks}
        self._read = {task.number: _size(task.output) for task in tasks}
        self._started: set[int] = set()
        self._ended: dict[int, Result] = {}
        shared = set.intersection(*(set(task.overrides) for task in tasks)) if len(tasks) > 1 else set()
        self._names = {
            task.number: " ".join(word for word in task.overrides if word not in shared) or "the defaults"
            for task in tasks
        }
        self._width = len(str(max(self._tasks)))
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Console:
        for task in self._tasks.values():
            log.info("job %d: %s", task.number, self._names[task.number])
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def ended(self, result: Result) -> None:
        """Tells that a job has ended."""
        self._look()
        with self._lock:
            self._started.add(result.number)
            self._ended[result.number] = result
            running = sorted(self._started - self._ended.keys())
            failed = sum(one.error is not None or bool(one.killed) for one in self._ended.values())
        how = "its process is gone" if result.killed else "failed" if result.error is not None else "done"
        waiting = len(self._tasks) - len(self._started)
        run = f"{len(running)} run ({', '.join(map(str, running))})" if running else "none runs"
        counts = f"{len(self._ended)} of {len(self._tasks)} ended, {failed} failed; {run}, {waiting} wait"
        log.info("job %d: %s. %s", result.number, how, counts)

    def again(self, number: int) -> None:
        """Tells that a job that had ended starts anew."""
        with self._lock:
            self._ended.pop(number, None)

    def _follow(self) -> None:
        while not self._over.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        """Prints the whole lines that are new."""
        with self._lock:
            for number, task in self._tasks.items():
                size, read = _size(task.output), self._read[number]
                if size <= read:
                    continue
                if number not in self._started:
                    self._started.add(number)
                    log.info("job %d: runs", number)
                with open(task.output, "rb") as file:
                    file.seek(read)
                    new = file.read(size - read)
                ended = number in self._ended
                whole = new if ended else new[: new.rfind(b"\n") + 1]
                self._read[number] += len(whole)
                for line in whole.decode("utf-8", errors="replace").splitlines():
                    print(f"{number:>{self._width}} | {line.split(chr(13))[-1]}", file=sys.stderr)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
