"""One condition at work: its plan, the inputs of its classifier, and its baseline."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augrun.core.job import Job
from augrun.core.store import garbage_collection
from augrun.core.store.stages import Stage, Store
from augrun.experiment.inputs import ClassifierInputs
from augrun.experiment.plan import ConditionPlan


@dataclass(frozen=True)
class Condition:
    """What every step of a condition's work is given.

    Attributes:
        plan: its stages by name.
        inputs: what its classifier and its generator are given of clips.
        baseline: the same on all recordings alone; None for that itself, and where no baseline is wanted.
    """

    plan: ConditionPlan
    inputs: ClassifierInputs
    baseline: Condition | None


def open_condition(config: Mapping[str, Any], store: Store) -> Condition:
    """Return the condition of a resolved configuration, and its baseline; nothing is read or computed yet."""
    return _condition(ConditionPlan(config, store))


def _condition(plan: ConditionPlan) -> Condition:
    baseline = None if plan.baseline is None else _condition(plan.baseline)
    return Condition(plan, ClassifierInputs(plan), baseline)


def protected_from_gc(plan: ConditionPlan) -> AbstractContextManager[None]:
    """Return a context in which `augrun store gc` leaves the plan's stages alone, however old they are."""
    if plan.stage.done:
        return nullcontext()
    stages = [stage for fold_trial in plan.fold_trials for stage in fold_trial.stages]
    return garbage_collection.needed(plan.store, plan.stage, stages)


def stage_job(plan: ConditionPlan, folder: Path, stage: Stage | None, activity: str) -> Job:
    """Return the job of a component in a stage: its folder, seed and hardware.

    Args:
        plan: the condition.
        folder: where to write.
        stage: what the seed is of; 0 where it has none.
        activity: what is done, as the console calls it.
    """
    seed = (stage.content.get("seed") if stage else None) or 0
    return Job(folder, seed, plan.hardware, activity)
