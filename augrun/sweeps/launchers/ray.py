"""`hydra/launcher=ray`: tasks of a Ray cluster, on this machine or wherever one runs.

Ray sees to it that a job's GPUs are its own. The store and the output root must be the same folders on all machines of
the cluster.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Sequence
from typing import Any

from omegaconf import DictConfig

from augrun.core.errors import AugrunError
from augrun.core.runtime import gpu_slots, gpus
from augrun.sweeps.launchers.base import ManyJobs, cores, packed, unpacked, wants_gpus
from augrun.sweeps.launchers.worker import Result, Task, carry_out

log = logging.getLogger(__name__)

#: How long jobs have to end after they are told to, seconds.
GRACE_S = 5.0


class RayLauncher(ManyJobs):
    """See `augrun.sweeps.launchers.settings.Ray`."""

    name = "ray"
    engine = "ray"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._own = False

    def close(self) -> None:
        """Leaves the cluster, which ends if it was started for the sweep."""
        if self._own:
            import ray

            ray.shutdown()
        self._own = False

    def _connect(self) -> None:
        """Connects to the cluster, or starts one, for the first jobs of the sweep."""
        import ray

        if ray.is_initialized():
            return
        told: dict[str, Any] = {"address": self.settings.address}
        if self.settings.address is None:
            told = {
                "address": "local",  # never one that happens to run here
                "num_cpus": cores(),
                "num_gpus": len(gpus.visible()),
                "include_dashboard": False,
                "object_store_memory": self.settings.object_store_mb << 20,
            }
        try:
            ray.init(**told, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            where = f"address={self.settings.address}" if self.settings.address else "a cluster on this machine"
            raise AugrunError(f"hydra/launcher=ray: {where} cannot be had: {error}") from error
        self._own = True

    def run(self, tasks: Sequence[Task]) -> Generator[Result, None, None]:
        import ray

        self._connect()
        there, work = ray.cluster_resources(), ray.remote(carry_out)
        limit = self.jobs(tasks[0].config) if self.settings.jobs or self.settings.address is None else len(tasks)
        waiting, running = list(tasks), dict[Any, Task]()
        try:
            while waiting or running:
                while waiting and len(running) < limit:
                    task = waiting.pop(0)
                    wanted: Any = work.options(max_retries=0, **self.resources(task.config, there))
                    running[wanted.remote(packed(task))] = task
                ended, _ = ray.wait(list(running), num_returns=1)
                for reference in ended:
                    yield _result(running.pop(reference), reference)
        finally:
            _end(list(running))

    def resources(self, config: DictConfig, of: dict[str, float]) -> dict[str, Any]:
        """What a job takes of a cluster that has so much."""
        local = self.settings.address is None
        cpus = self.settings.cpus or (max(1, cores() // self.jobs(config)) if local else 1)
        count = (wants_gpus(config) if of.get("GPU") else 0) if self.settings.gpus is None else self.settings.gpus
        return {"num_cpus": cpus, "num_gpus": count}

    def threads(self, config: DictConfig) -> int | None:
        return max(1, int(self.resources(config, {})["num_cpus"]))

    def environment(self) -> dict[str, str | None]:
        """Of a cluster that was there already the environment is another; and Ray has given the job its GPUs."""
        own = {name: value for name, value in os.environ.items() if name.startswith("AUGRUN_")}
        return {**own, gpu_slots.SETTING: "as_is"}


def _result(task: Task, reference: Any) -> Result:
    import ray

    try:
        return unpacked(ray.get(reference))
    except ray.exceptions.OutOfMemoryError:
        return Result(task.number, killed="Ray ended it as memory ran out")
    except ray.exceptions.WorkerCrashedError:
        return Result(task.number, killed="it died")
    except (ray.exceptions.TaskCancelledError, ray.exceptions.RayError) as error:
        return Result(task.number, killed=" ".join(str(error).split()))


def _end(references: list[Any]) -> None:
    """Ends tasks that run: first as Ctrl-C does, then for good."""
    import ray

    if not references:
        return
    for force in (False, True):
        for reference in references:
            ray.cancel(reference, force=force)
        _, references = ray.wait(references, num_returns=len(references), timeout=GRACE_S)
        if not references:
            return
