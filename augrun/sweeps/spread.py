"""The folds and trials of one row of a sweep as jobs of their own (`sweep.spread`).

Each such job does the stages of its part; then the row itself is run as without, finds them done, and records results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus

from augrun.core.errors import AugrunError
from augrun.core.store import stages
from augrun.experiment.parts import Part, pending_parts

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher


def launch(
    launcher: Launcher, rows: Sequence[Sequence[str]], compose: Callable[[Sequence[str]], Mapping[str, Any]]
) -> list[JobReturn]:
    """Runs the parts of all rows, then the rows; a row whose part failed fails with the part's error.

    Args:
        launcher: what runs jobs.
        rows: the overrides of each.
        compose: makes a row's configuration of them.

    Returns:
        What became of each row.
    """
    ended: dict[int, JobReturn] = {}
    jobs: list[tuple[int, list[str]]] = []
    for number, row in enumerate(rows):
        try:
            jobs += [(number, [*row, _word(part)]) for part in _parts_of(compose(row))]
        except AugrunError as error:  # its corpus cannot be read
            ended[number] = JobReturn(overrides=list(row), status=JobStatus.FAILED, _return_value=error)
    if jobs:
        returns = launcher.launch([words for _, words in jobs], initial_job_idx=len(rows))
        for (number, _), result in zip(jobs, returns, strict=True):
            if result.status != JobStatus.COMPLETED:
                ended.setdefault(number, result)
    whole = [number for number in range(len(rows)) if number not in ended]
    ended |= zip(whole, _by_number(launcher, [rows[number] for number in whole], whole), strict=True)
    return [ended[number] for number in range(len(rows))]


def _by_number(launcher: Launcher, rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> Sequence[JobReturn]:
    """Runs rows under their numbers in the sweep, of which some may be missing."""
    from augrun.sweeps.launchers.base import ManyJobs

    if list(numbers) == list(range(len(numbers))):
        return launcher.launch(rows, initial_job_idx=0) if rows else []
    if isinstance(launcher, ManyJobs):
        return launcher.launch(rows, initial_job_idx=0, numbers=numbers)
    return [launcher.launch([row], initial_job_idx=number)[0] for row, number in zip(rows, numbers, strict=True)]


def _parts_of(config: Mapping[str, Any]) -> list[Part]:
    from augrun.experiment.plan import ConditionPlan

    spread = config["sweep"].get("spread")
    return pending_parts(ConditionPlan(config, stages.open_store(config)), spread) if spread else []


def _word(part: Part) -> str:
    told = ",".join("null" if number is None else str(number) for number in part)
    return f"sweep.part=[{told}]"
