"""What happens in the process of one job: the same as without a launcher, its output in a file of its own."""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from hydra.core.utils import JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from augrun.core.errors import AugrunError

#: A job's output, in its folder.
OUTPUT = "output.log"

#: What sets how many threads a library takes, read when it is imported.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class JobError(AugrunError):
    """A job ended without an answer, or with an exception that cannot be sent from one process to another."""


@dataclass(frozen=True)
class Task:
    """One job, as it is sent to its process.

    Attributes:
        number: in the sweep.
        overrides: what makes its configuration.
        folder: for its output, absolute.
        config: its configuration, Hydra's part with it.
        context: Hydra's own.
        function: the job.
        threads: that it may take; None is as many as it likes.
        verbose: whether it says more.
        environment: variables to be set, or where None not to be there.
        at: the working directory.
    """

    number: int
    overrides: tuple[str, ...]
    folder: Path
    config: DictConfig
    context: HydraContext
    function: TaskFunction
    threads: int | None = None
    verbose: bool = False
    environment: Mapping[str, str | None] = field(default_factory=dict)
    at: Path = field(default_factory=Path.cwd)

    @property
    def output(self) -> Path:
        """The file with all that it prints."""
        return self.folder / OUTPUT


@dataclass(frozen=True)
class Result:
    """What became of a job.

    Attributes:
        number: in the sweep.
        value: what it returned.
        error: what ended it; None where it ended well.
        trace: where in its process the error was raised.
        killed: how its process ended where it gave no answer, in a few words; empty where it did.
    """

    number: int
    value: Any = None
    error: BaseException | None = None
    trace: str = ""
    killed: str = ""


def carry_out(packed: bytes) -> bytes:
    """Does a job; both ways through `pickle`, so that no engine has to know what a job is."""
    task: Task = pickle.loads(packed)
    with ExitStack() as around:
        around.enter_context(_environment({**_threads(task.threads), **task.environment}))
        around.enter_context(_at(task.at))
        around.enter_context(_printed_to(task.output))
        result = _done(task)
    return pickle.dumps(result)


def _done(task: Task) -> Result:
    from augrun.core.config import resolvers
    from augrun.core.runtime import log_setup

    setup_globals()
    resolvers.register()
    log_setup.set_up_logging(task.verbose)
    if task.threads is not None and "torch" in sys.modules:  # left by the job before
        sys.modules["torch"].set_num_threads(task.threads)
    config = task.config
    returned = run_job(
        hydra_context=task.context,
        task_function=task.function,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    if returned.status == JobStatus.COMPLETED:
        return Result(task.number, returned.return_value)
    error: BaseException = returned._return_value  # `return_value` would raise it
    trace = "".join(traceback.format_exception(error))
    print(f"augrun: {error}" if isinstance(error, AugrunError) else trace, file=sys.stderr)
    return Result(task.number, error=_sendable(error), trace=trace)


def _sendable(error: BaseException) -> BaseException:
    """The exception, or where it does not survive `pickle` one that has its class and message as text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return JobError(f"{type(error).__name__}: {error}")
    return error


def _threads(count: int | None) -> dict[str, str | None]:
    return {} if count is None else {name: str(count) for name in THREADS}


@contextmanager
def _environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Variables of the environment for a while."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _at(folder: Path) -> Iterator[None]:
    """Another working directory for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _lines(number: int) -> TextIO:
    """Text, line by line, for a file that is open."""
    return open(number, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)


@contextmanager
def _printed_to(path: Path) -> Iterator[None]:
    """What this process and all that it starts print goes to a file, line by line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    streams = sys.stdout, sys.stderr
    for stream in streams:
        stream.flush()
    kept = os.dup(1), os.dup(2)
    with open(path, "ab", buffering=0) as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = _lines(1), _lines(2)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = streams
        for number, original in zip((1, 2), kept, strict=True):
            os.dup2(original, number)
            os.close(original)
