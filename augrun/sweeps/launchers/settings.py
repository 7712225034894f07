"""The launchers' settings, field by field; `conf/hydra/launcher` has a YAML of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Joblib:
    """Processes on this machine, each of which does one row after another.

    Attributes:
        jobs: how many run at once; null: as many as there are GPUs for, and where there are none a quarter of the
            cores, but two at least where there are two cores.
        threads: of each job; null: the cores divided by the jobs.
    """

    jobs: Annotated[int, "[1, inf)"] | None = None
    threads: Annotated[int, "[1, inf)"] | None = None


@dataclass(frozen=True)
class SubmititLocal:
    """A process for each row on this machine, started as Slurm's are.

    Attributes:
        jobs: as of `Joblib`.
        threads: as of `Joblib`.
        timeout_min: after which a job is ended and taken up again.
        requeued: how often it is taken up again.
    """

    jobs: Annotated[int, "[1, inf)"] | None = None
    threads: Annotated[int, "[1, inf)"] | None = None
    timeout_min: Annotated[int, "[1, inf)"] = 10080
    requeued: Annotated[int, "[0, inf)"] = 3


@dataclass(frozen=True)
class SubmititSlurm:
    """A Slurm array, with a task for each row.

    Attributes:
        partition: of the cluster; null is its default.
        timeout_min: wall time of a job; one that needs more is queued again and goes on from its last checkpoint.
        requeued: how often a job that took longer is queued again.
        gpus_per_node: of each job; null is `trainer.devices` unless the accelerator is the CPU.
        cpus_per_task: of each job.
        mem_gb: memory of each job; null is the cluster's default.
        account: that is charged.
        qos: quality of service.
        jobs: how many run at once at most (the array's parallelism).
        setup: shell commands before the job, as `module load`.
        additional: any other option of sbatch, as `{constraint: a100}`.
    """

    partition: str | None = None
    timeout_min: Annotated[int, "[1, inf)"] = 1440
    requeued: Annotated[int, "[0, inf)"] = 3
    gpus_per_node: Annotated[int, "[0, inf)"] | None = None
    cpus_per_task: Annotated[int, "[1, inf)"] = 4
    mem_gb: Annotated[float, "(0, inf)"] | None = None
    account: str | None = None
    qos: str | None = None
    jobs: Annotated[int, "[1, inf)"] = 64
    setup: list[str] | None = None
    additional: dict[str, Any] | None = None


@dataclass(frozen=True)
class Ray:
    """Tasks of a Ray cluster.

    Attributes:
        address: of a running cluster (`auto`, `ray://host:10001`); null starts one on this machine for the sweep.
        jobs: how many run at once; null: what the cluster has room for, on this machine as of `Joblib`.
        cpus: of each job; null: the machine's cores divided by the jobs, of another cluster 1.
        gpus: of each job, as 0.5 for two jobs on one; null is `trainer.devices` where the cluster has GPUs and the
            accelerator is not the CPU.
        object_store_mb: memory for Ray's own store on this machine, of which jobs need next to nothing.
    """

    address: str | None = None
    jobs: Annotated[int, "[1, inf)"] | None = None
    cpus: Annotated[float, "(0, inf)"] | None = None
    gpus: Annotated[float, "[0, inf)"] | None = None
    object_store_mb: Annotated[int, "[75, inf)"] = 100
