"""Which GPUs a job takes, so that jobs side by side on one machine have one each.

A job with work to do takes the first GPUs that no other job of this user holds, before CUDA starts, and waits where
there are too few. What holds a GPU is a locked file in a folder of the machine's own: the kernel frees it when the job
ends, in whatever way. Where a scheduler has given a job its devices they are left as they are.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from filelock import FileLock, Timeout

from augrun.core.errors import RequestError
from augrun.core.job import Hardware
from augrun.core.runtime import gpus
from augrun.core.runtime.gpus import VISIBLE

log = logging.getLogger(__name__)

#: `as_is`: take no GPU but leave `CUDA_VISIBLE_DEVICES` alone, as where jobs are to share one.
SETTING = "AUGRUN_GPUS"

#: How often a job that waits for a GPU looks again, seconds.
LOOK_S = 0.5


def folder() -> Path:
    """Where the locks are: on this machine, each user's own."""
    return Path(tempfile.gettempdir()) / f"augrun-gpus-{os.getuid()}"


class Slots:
    """The GPUs of one job.

    Attributes:
        taken: their names, once taken.
    """

    def __init__(self) -> None:
        self.taken: list[str] = []
        self._locks: list[FileLock] = []
        self._before: str | None = None

    def take(self, hardware: Hardware) -> None:
        """Takes as many GPUs as the hardware wants, once; waits for them.

        Raises:
            RequestError: it wants more than there are.
        """
        if self.taken or hardware.accelerator not in ("auto", "gpu", "cuda") or os.environ.get(SETTING) == "as_is":
            return
        names = gpus.visible()
        wanted = len(names) if hardware.devices == "auto" else hardware.devices
        if not names or (_scope() and wanted == len(names)):
            return  # the trainer says what is wrong where it wants a GPU; Slurm gave these to this job alone
        if wanted > len(names):
            raise RequestError(f"trainer.devices={wanted}, but of GPUs there are {len(names)}; give trainer.devices=1")
        if _started():
            # CUDA cannot change its devices any more: a later job of the same process has those of the first.
            names = [name for name in _last if name in names]
            if len(names) < wanted:
                return
        self._wait(names, wanted)
        self._before = os.environ.get(VISIBLE)
        os.environ[VISIBLE] = ",".join(self.taken)
        _last[:] = self.taken
        log.info("on GPU %s", ", ".join(self.taken))

    def _wait(self, names: list[str], wanted: int) -> None:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        told = False
        while True:
            for name in names:
                lock = FileLock(folder() / f"{_scope()}{re.sub(r'[^A-Za-z0-9-]', '_', name)}.lock")
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    continue
                self._locks.append(lock)
                self.taken.append(name)
                if len(self.taken) == wanted:
                    return
            self._free()  # all or none, so that two jobs cannot wait for each other
            if not told:
                log.info("no GPU is free for this job (%d here, %d wanted), waiting", len(names), wanted)
            told = True
            time.sleep(LOOK_S)

    def _free(self) -> None:
        for lock in self._locks:
            lock.release()
        self._locks, self.taken = [], []

    def release(self) -> None:
        """Gives them back."""
        if not self.taken:
            return
        if _started():
            import torch

            torch.cuda.empty_cache()
        self._free()
        if self._before is None:
            os.environ.pop(VISIBLE, None)
        else:
            os.environ[VISIBLE] = self._before


#: The GPUs that the last job of this process had.
_last: list[str] = []
_current: ContextVar[Slots | None] = ContextVar("slots", default=None)


@contextmanager
def job() -> Iterator[None]:
    """Around one job: what it takes (`need`) is given back at its end."""
    slots = Slots()
    token = _current.set(slots)
    try:
        yield
    finally:
        _current.reset(token)
        slots.release()


def need(hardware: Hardware) -> None:
    """The job at hand has work to do on this hardware; outside of `job` nothing is taken."""
    slots = _current.get()
    if slots is not None:
        slots.take(hardware)


def _started() -> bool:
    """Whether CUDA runs in this process."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


def _scope() -> str:
    """Within a job of Slurm devices may have names of the job's own."""
    job = os.environ.get("SLURM_JOB_ID")
    return f"slurm-{job}-" if job else ""
