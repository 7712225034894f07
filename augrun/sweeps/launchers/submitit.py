"""`hydra/launcher=submitit_local` and `submitit_slurm`: a batch job for each row, by submitit.

The folder of the submission (scripts, pickles, the processes' own output) lies in the sweep's. A job that takes longer
than its wall time, or has to make room for others, is queued again by submitit and goes on from its last checkpoint.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from augrun.core.errors import AugrunError, RequestError
from augrun.core.runtime import gpus
from augrun.sweeps.launchers.base import ManyJobs, packed, unpacked, wants_gpus
from augrun.sweeps.launchers.worker import Result, Task, carry_out

if TYPE_CHECKING:
    import submitit

log = logging.getLogger(__name__)

#: The folder of submissions in the sweep's.
FOLDER = "submitit"


class Work:
    """A job as submitit takes it."""

    def __call__(self, task: bytes) -> bytes:
        """Does it."""
        return carry_out(task)

    def checkpoint(self, task: bytes) -> Any:
        """Asked by submitit when the job has to go: the same once more, as its stages go on where they were left."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Work(), task)


class SubmititLauncher(ManyJobs):
    """What both have in common."""

    engine = "submitit"
    cluster: str
    look_s: float

    def parameters(self, config: DictConfig) -> dict[str, Any]:
        """As submitit's `AutoExecutor.update_parameters` takes them."""
        raise NotImplementedError

    def executor(self, config: DictConfig, folder: Path) -> submitit.AutoExecutor:
        """What submits jobs.

        Raises:
            RequestError: a setting is none that submitit knows, or none that fits.
        """
        import submitit

        requeued = {f"{self.cluster}_max_num_timeout": self.settings.requeued}
        executor = submitit.AutoExecutor(folder=folder, cluster=self.cluster, **requeued)
        try:
            executor.update_parameters(**self.parameters(config))
        except (NameError, ValueError, AssertionError) as error:
            raise RequestError(f"hydra/launcher={self.name}: {error}") from error
        return executor

    def at_once(self, tasks: Sequence[Task]) -> int:
        """How many are submitted before one has ended."""
        return self.jobs(tasks[0].config)

    def run(self, tasks: Sequence[Task]) -> Generator[Result, None, None]:
        waiting, running = list(tasks), list[tuple[Task, "submitit.Job[bytes]"]]()
        places = self.at_once(tasks)
        try:
            while waiting or running:
                new, waiting = waiting[: places - len(running)], waiting[places - len(running) :]
                for alike in self._alike(new):  # rows may want more devices than others
                    executor = self.executor(alike[0].config, alike[0].folder.parent / FOLDER / "%j")
                    running += zip(alike, self._submitted(executor, alike), strict=True)
                ended = [(task, job) for task, job in running if job.done()]
                running = [(task, job) for task, job in running if (task, job) not in ended]
                for task, job in ended:
                    yield self._result(task, job)
                if running and not ended:
                    time.sleep(self.look_s)
        finally:
            for _, job in running:
                job.cancel(check=False)

    def _alike(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """Jobs that are submitted with the same parameters, together."""
        found: dict[str, list[Task]] = {}
        for task in tasks:
            found.setdefault(repr(self.parameters(task.config)), []).append(task)
        return list(found.values())

    def _submitted(self, executor: submitit.AutoExecutor, tasks: Sequence[Task]) -> Sequence[submitit.Job[bytes]]:
        try:
            with executor.batch():  # one array, where the cluster has arrays
                jobs = [executor.submit(Work(), packed(task)) for task in tasks]
        except Exception as error:  # whatever the cluster says
            raise AugrunError(f"hydra/launcher={self.name}: the jobs were not taken: {error}") from error
        log.info("submitted: %s", ", ".join(f"job {t.number} as {j.job_id}" for t, j in zip(tasks, jobs, strict=True)))
        return jobs

    def _result(self, task: Task, job: submitit.Job[bytes]) -> Result:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            return unpacked(job.result())
        except (FailedJobError, UncompletedJobError):
            said = f"; see also {job.paths.stderr}" if job.paths.stderr.is_file() else ""
            return Result(task.number, killed=f"{self.cluster} says {job.state}{said}")


class SubmititLocalLauncher(SubmititLauncher):
    """See `augrun.sweeps.launchers.settings.SubmititLocal`."""

    name, cluster, look_s = "submitit_local", "local", 0.1

    def parameters(self, config: DictConfig) -> dict[str, Any]:
        return {"timeout_min": self.settings.timeout_min, "name": "augrun"}

    def _result(self, task: Task, job: submitit.Job[bytes]) -> Result:
        if not job.paths.result_pickle.exists():  # submitit would look for it for long, as a cluster's files come late
            return Result(task.number, killed="it ended without an answer")
        return super()._result(task, job)

    def environment(self) -> dict[str, str | None]:
        """submitit's own way of telling GPUs apart gives the same to every job."""
        return {gpus.VISIBLE: os.environ.get(gpus.VISIBLE)}


class SubmititSlurmLauncher(SubmititLauncher):
    """See `augrun.sweeps.launchers.settings.SubmititSlurm`."""

    name, cluster, look_s = "submitit_slurm", "slurm", 5.0
    alone = False  # what Slurm has ended for memory would wait in its queue to be ended again

    def parameters(self, config: DictConfig) -> dict[str, Any]:
        of = self.settings
        count = wants_gpus(config) if of.gpus_per_node is None else of.gpus_per_node
        found = {
            "name": "augrun",
            "timeout_min": of.timeout_min,
            "cpus_per_task": of.cpus_per_task,
            "gpus_per_node": count or None,
            "mem_gb": of.mem_gb,
            "slurm_partition": of.partition,
            "slurm_account": of.account,
            "slurm_qos": of.qos,
            "slurm_array_parallelism": of.jobs,
            "slurm_setup": of.setup,
            "slurm_additional_parameters": of.additional,
        }
        return {key: value for key, value in found.items() if value is not None}

    def executor(self, config: DictConfig, folder: Path) -> submitit.AutoExecutor:
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise RequestError(
                "hydra/launcher=submitit_slurm: there is no sbatch here; run it where jobs are submitted, or try it "
                "with hydra/launcher=submitit_local"
            )
        return super().executor(config, folder)

    def at_once(self, tasks: Sequence[Task]) -> int:
        return len(tasks)  # the array keeps to `jobs`

    def threads(self, config: DictConfig) -> int | None:
        return int(self.settings.cpus_per_task)

    def environment(self) -> dict[str, str | None]:
        """Lightning would take a batch job for one rank of several, and the ranks for those that Slurm has started."""
        return {"SLURM_NTASKS": None}
