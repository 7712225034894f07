"""`hydra/launcher=joblib`: processes on this machine, by loky's executor.

Each place has an executor with one process, which does one job after another, so that torch is imported once. When a
process dies it is known whose it was, and no other job is touched.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from augrun.core.runtime.parent_death import end_with
from augrun.sweeps.launchers.base import ManyJobs, packed, unpacked
from augrun.sweeps.launchers.worker import THREADS, Result, Task, carry_out

if TYPE_CHECKING:
    from joblib.externals.loky import ProcessPoolExecutor

#: How long jobs have to end after they are told to, seconds.
GRACE_S = 5.0


class JoblibLauncher(ManyJobs):
    """See `augrun.sweeps.launchers.settings.Joblib`."""

    name = "joblib"
    engine = "joblib"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._idle: list[ProcessPoolExecutor] = []

    def run(self, tasks: Sequence[Task]) -> Generator[Result, None, None]:
        waiting = list(tasks)
        running: dict[Future[bytes], tuple[Task, ProcessPoolExecutor]] = {}
        places = min(self.jobs(tasks[0].config), len(tasks))
        try:
            while waiting or running:
                while waiting and len(running) < places:
                    place = self._idle.pop() if self._idle else _place(waiting[0])
                    try:
                        future = place.submit(carry_out, packed(waiting[0]))
                    except BrokenExecutor:  # its process died while it had nothing to do
                        place.shutdown(wait=True, kill_workers=True)
                        continue
                    running[future] = waiting.pop(0), place
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    task, place = running.pop(future)
                    result = _result(task, future)
                    if result.killed:
                        place.shutdown(wait=True, kill_workers=True)
                    else:
                        self._idle.append(place)
                    yield result
        finally:
            _end(running)
            for _, place in running.values():
                place.shutdown(wait=True, kill_workers=True)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().shutdown(wait=True, kill_workers=True)


def _place(task: Task) -> ProcessPoolExecutor:
    """An executor with one process."""
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.backend.context import get_context

    threads = {name: str(task.threads) for name in THREADS} if task.threads else {}
    return ProcessPoolExecutor(
        max_workers=1,
        context=get_context("loky"),
        env=threads,
        initializer=end_with,
        initargs=(os.getpid(), signal.SIGTERM),
    )


def _result(task: Task, future: Future[bytes]) -> Result:
    try:
        return unpacked(future.result())
    except BrokenExecutor as error:
        codes = re.search(r"\{(.*?)\}", str(error))
        return Result(task.number, killed=codes[1] if codes else "it is gone")
    except (KeyboardInterrupt, SystemExit):
        return Result(task.number, killed="interrupted")


def _end(running: dict[Future[bytes], tuple[Task, ProcessPoolExecutor]]) -> None:
    """Lets jobs that run close what they have open."""
    for _, place in running.values():
        for process in list(place._processes):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
    if running:
        wait(running, timeout=GRACE_S)
