"""Parts of a condition, some of its folds and trials, which jobs of their own can compute (`sweep.spread`)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

from augrun.core.errors import RequestError

if TYPE_CHECKING:
    from augrun.experiment.fold_trial import FoldTrial
    from augrun.experiment.plan import ConditionPlan


#: A fold and a trial, counted from 0; None is all of them.
Part = tuple[int | None, int | None]


def pending_parts(plan: ConditionPlan, spread: str) -> list[Part]:
    """Return the parts of a condition that are not done yet; none where the condition is done.

    Args:
        plan: the condition.
        spread: `trials`, `folds` or `cells`.
    """
    if plan.stage.done:
        return []
    folds: Sequence[int | None] = range(len(plan.folds)) if spread in ("folds", "cells") else (None,)
    trials: Sequence[int | None] = range(plan.config["trials"]["count"]) if spread != "folds" else (None,)
    parts = [(fold, trial) for trial, fold in product(trials, folds)]
    return [part for part in parts if any(_is_pending(one) for one in select_fold_trials(plan, part))]


def _is_pending(fold_trial: FoldTrial) -> bool:
    """Whether some stage is to be done; recordings are embedded for the baseline alone."""
    return any(not stage.done for stage in fold_trial.stages if stage.kind != "embedded")


def select_fold_trials(plan: ConditionPlan, part: Sequence[int | None]) -> list[FoldTrial]:
    """Return the fold trials of a part.

    Raises:
        RequestError: there is none.
    """
    names = [fold.name for fold in plan.folds]
    fold, trial = part if len(part) == 2 else (-1, -1)
    fold_trials = [
        one
        for one in plan.fold_trials
        if (fold is None or names.index(one.fold.name) == fold) and (trial is None or one.trial == trial)
    ]
    if not fold_trials:
        raise RequestError(
            f"sweep.part={list(part)} is no fold and trial of {plan.title}, which has {len(names)} folds and "
            f"{plan.config['trials']['count']} trials; sweep.spread sets it"
        )
    return fold_trials
