"""What the launchers share: from rows to jobs, and from what became of each to what the sweeper is told."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import pickle
from abc import abstractmethod
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from augrun.core.config import validation
from augrun.core.errors import RequestError
from augrun.core.runtime import gpus
from augrun.core.runtime.signals import sigterm_raises
from augrun.sweeps import launchers
from augrun.sweeps.launchers.multiplexer import Console
from augrun.sweeps.launchers.worker import JobError, Result, Task

log = logging.getLogger(__name__)


class Trace(Exception):
    """Where in another process an error was raised; shown as that error's cause."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class ManyJobs(Launcher):
    """A launcher whose jobs run in processes of their own.

    Attributes:
        name: as `hydra/launcher=` has it.
        engine: the module that it needs.
        alone: whether a job whose process died is tried once more with no other beside it: the system may have ended
            it for memory that others took.
    """

    name: ClassVar[str]
    engine: ClassVar[str]
    alone: ClassVar[bool] = True

    def __init__(self, **settings: Any) -> None:
        self._given = settings
        self.settings: Any = None
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `launch`.

        Raises:
            RequestError: the settings are wrong, or the engine is not installed.
        """
        given: Any = OmegaConf.to_container(OmegaConf.create(self._given), resolve=True)
        target = launchers.SETTINGS[self.name]
        validation.check_section("hydra.launcher", given, target)
        if importlib.util.find_spec(self.engine) is None:
            raise RequestError(f"hydra/launcher={self.name} needs {self.engine}: pip install 'augrun[launchers]'")
        module, _, name = target.rpartition(".")
        self.settings = getattr(importlib.import_module(module), name)(**given)
        self.config, self.hydra_context, self.task_function = config, hydra_context, task_function

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int, numbers: Sequence[int] | None = None
    ) -> Sequence[JobReturn]:
        """Runs all jobs.

        Args:
            job_overrides: what makes each one's configuration.
            initial_job_idx: the number of the first.
            numbers: of all, where they do not follow one another.

        Returns:
            What became of each, in their order.
        """
        setup_globals()
        numbers = numbers or range(initial_job_idx, initial_job_idx + len(job_overrides))
        tasks = [self._task(list(words), number) for words, number in zip(job_overrides, numbers, strict=True)]
        if not tasks:
            return []
        with Console(tasks) as console, sigterm_raises():
            results = self._results(tasks, console)
        return [self._returned(task, results[task.number]) for task in tasks]

    @abstractmethod
    def run(self, tasks: Sequence[Task]) -> Generator[Result, None, None]:
        """Runs jobs and yields what became of each as it ends; when it is closed early, it ends those that run."""

    def close(self) -> None:
        """Ends what waits for more jobs of the sweep; it ends with this process in any case."""

    def environment(self) -> dict[str, str | None]:
        """Variables that a job's process is to have."""
        return {}

    def _task(self, words: list[str], number: int) -> Task:
        assert self.config is not None and self.hydra_context is not None and self.task_function is not None
        config = self.hydra_context.config_loader.load_sweep_config(self.config, words)
        folder = Path(str(self.config.hydra.sweep.dir)).resolve()
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
            config.hydra.sweep.dir = str(folder)  # the time in it is that of this process
        return Task(
            number,
            tuple(words),
            folder / str(number),
            config,
            self.hydra_context,
            self.task_function,
            threads=self.threads(config),
            verbose=config.hydra.verbose is True,
            environment=self.environment(),
        )

    def _results(self, tasks: Sequence[Task], console: Console) -> dict[int, Result]:
        results: dict[int, Result] = {}

        def keep(of: Sequence[Task]) -> None:
            with closing(self.run(of)) as ended:
                for result in ended:
                    results[result.number] = result
                    console.ended(result)

        keep(tasks)
        for task in tasks:
            if results[task.number].killed and self.alone and len(tasks) > 1 and self.jobs(task.config) > 1:
                killed = results[task.number].killed
                log.warning("job %d: its process is gone (%s); once more, with no other beside it", task.number, killed)
                console.again(task.number)
                keep([task])
        return results

    def _returned(self, task: Task, result: Result) -> JobReturn:
        """As Hydra's own launcher has it."""
        returned = JobReturn(overrides=list(task.overrides), cfg=task.config, status=JobStatus.COMPLETED)
        returned.return_value = result.value
        error = result.error
        if result.killed:
            error = JobError(
                f"its process was ended before it was done ({result.killed}), as the system does where memory runs "
                f"out; what it said is in {task.output}"
            )
        if error is not None:
            if result.trace:
                error.__cause__ = Trace(result.trace)
            returned.status, returned.return_value = JobStatus.FAILED, error
        return returned

    def jobs(self, config: DictConfig) -> int:
        """How many run at once."""
        return int(self.settings.jobs or usual_jobs(config))

    def threads(self, config: DictConfig) -> int | None:
        """How many threads a job may take."""
        return int(self.settings.threads or max(1, cores() // self.jobs(config)))


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wants_gpus(config: DictConfig, auto: int = 1) -> int:
    """How many GPUs a job takes where there are some.

    Args:
        config: the job's.
        auto: what `trainer.devices=auto` stands for.
    """
    trainer = config.get("trainer") or {}
    if trainer.get("accelerator", "auto") not in ("auto", "gpu", "cuda"):
        return 0
    devices = trainer.get("devices", 1)
    return auto if devices == "auto" else int(devices)


def usual_jobs(config: DictConfig) -> int:
    """How many jobs this machine runs at once if nobody says: one for each GPU, else a quarter of the cores or two."""
    count = len(gpus.visible())
    wanted = wants_gpus(config, auto=count)
    if count and wanted > 0:
        return max(1, count // wanted)
    return max(1, min(cores(), max(2, cores() // 4)))


def packed(task: Task) -> bytes:
    """A job as it is sent."""
    return pickle.dumps(task)


def unpacked(answer: bytes) -> Result:
    """What became of a job, as it is sent back."""
    result: Result = pickle.loads(answer)
    return result
