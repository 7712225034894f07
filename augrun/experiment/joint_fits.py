"""Networks of several folds and trials that are fitted as one, each into the stage that it would have alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from augrun.core.job import Job
from augrun.core.store import joint_stages
from augrun.core.store.stages import Stage
from augrun.experiment.condition import stage_job
from augrun.experiment.fold_trial import FoldTrial
from augrun.experiment.plan import ConditionPlan

#: Of the training sets of networks that are trained as one: they lie on the device, and in memory before that.
JOINT_BYTES = 8 << 30

#: Fits the networks of some fold trials, each in the folder of its job.
JointFit = Callable[[list[Job], list[FoldTrial]], None]


def first_of_each_stage(fold_trials: Iterable[FoldTrial], kind: str) -> list[FoldTrial]:
    """Return the first fold trial of each stage of a kind that is yet to be done.

    Args:
        fold_trials: some of which may share a stage.
        kind: `generator`, `reducer` or `classifier`.
    """
    first: dict[str, FoldTrial] = {}
    for fold_trial in fold_trials:
        stage: Stage | None = getattr(fold_trial, kind)
        if stage is not None and not stage.done:
            first.setdefault(stage.fingerprint, fold_trial)
    return list(first.values())


def joint_training_groups(
    plan: ConditionPlan, fold_trials: Sequence[FoldTrial], bytes_of: Callable[[FoldTrial], int] = lambda _: 0
) -> list[list[FoldTrial]]:
    """Return the fold trials whose networks are trained as one, group by group; one that would be alone is in none.

    Args:
        plan: says how many are trained as one at most (`trainer.at_once`).
        fold_trials: all that are to be trained.
        bytes_of: memory of what a fold trial's network is trained on, of which a group has `JOINT_BYTES` at most.
    """
    groups: list[list[FoldTrial]] = []
    total = 0
    for fold_trial in fold_trials:
        size = bytes_of(fold_trial)
        if not groups or len(groups[-1]) == plan.hardware.at_once or total + size > JOINT_BYTES:
            groups.append([])
            total = 0
        groups[-1].append(fold_trial)
        total += size
    return [group for group in groups if len(group) > 1]


def fit_jointly(plan: ConditionPlan, kind: str, fit: JointFit, fold_trials: Sequence[FoldTrial]) -> None:
    """Fit as one the networks of those fold trials that no other job works on.

    Args:
        plan: the condition.
        kind: of the stages: `generator`, `reducer` or `classifier`.
        fit: does it.
        fold_trials: a group of them.
    """
    stages: list[Stage] = [getattr(fold_trial, kind) for fold_trial in fold_trials]

    def title(places: list[int]) -> str:
        first, last = (fold_trials[place].title for place in (places[0], places[-1]))
        return f"{plan.config[kind]['name']}: training {len(places)} at once, {first} to {last}"

    def train(jobs: list[Job], places: list[int]) -> None:
        from augrun.core.training import distributed

        own = [fold_trials[place] for place in places]
        devices = min(distributed.count(plan.hardware), len(jobs))
        if devices == 1:
            fit(jobs, own)
        else:  # each device trains some of them as one
            arguments = (devices, fit, jobs, own)
            folder = jobs[0].folder.parent
            distributed.spawn(
                _fit_share_of_rank, *arguments, ranks=devices, folder=folder, title=title(places), apart=True
            )

    joint_stages.train(stages, lambda folder, stage: stage_job(plan, folder, stage, "training"), train, title)


def _fit_share_of_rank(rank: int, devices: int, fit: JointFit, jobs: list[Job], fold_trials: list[FoldTrial]) -> None:
    """Fit every `devices`-th network, beginning with that of the rank's number."""
    share = slice(rank, None, devices)
    hardware = replace(jobs[0].hardware.alone, progress=jobs[0].hardware.progress and not rank)
    fit([replace(job, hardware=hardware) for job in jobs[share]], fold_trials[share])
