"""In which order a job takes its folds and trials, where other jobs want some of the same stages.

What no other job has locked comes first, and only where all that remains is locked does a job wait. Stages are pure, so
that no result depends on the order.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from augrun.core.store.stages import Stage
from augrun.experiment.fold_trial import FoldTrial

if TYPE_CHECKING:
    from augrun.experiment.condition import Condition

log = logging.getLogger(__name__)

#: How often a job that waits for others looks again, seconds.
LOOK_S = 0.2

#: The name of a fold trial's stage, and what does it.
Step = tuple[str, Callable[[FoldTrial], Any]]

#: The same of any condition.
ConditionStep = tuple[str, Callable[["Condition", FoldTrial], Any]]


def bind(condition: Condition, steps: Sequence[ConditionStep]) -> list[Step]:
    """Return the steps of one condition."""
    return [(name, partial(step, condition)) for name, step in steps]


@dataclass
class _PendingSteps:
    """A fold trial and its pending steps.

    Attributes:
        fold_trial: the fold and trial.
        steps: in their order.
    """

    fold_trial: FoldTrial
    steps: list[Step] = field(default_factory=list)

    def drop_finished_steps(self) -> None:
        """Drop the first steps as long as they are done, or have no stage."""
        while self.steps and ((stage := self.stage) is None or stage.done):
            del self.steps[0]

    @property
    def stage(self) -> Stage | None:
        """The stage of the next step."""
        stage: Stage | None = getattr(self.fold_trial, self.steps[0][0])
        return stage

    @property
    def is_locked(self) -> bool:
        """Whether another job works on the next step."""
        stage = self.stage
        return stage is not None and stage.held


def run_pending_steps(
    fold_trials: Sequence[FoldTrial], steps: Sequence[Step], while_: Callable[[], bool] | None = None
) -> None:
    """Run all pending steps of all fold trials, each one's in order, and first those that no other job has locked.

    Args:
        fold_trials: in the order that they are done in where no other job wants any of it.
        steps: the names of stages, and what does each.
        while_: called before each step, says whether to go on; where it is given, nothing is waited for.
    """
    turns = [_PendingSteps(fold_trial, list(steps)) for fold_trial in fold_trials]
    announced = False
    while True:
        turns = _pending(turns)
        if not turns or (while_ is not None and not while_()):
            return
        free = next((turn for turn in turns if not turn.is_locked), None)
        if free is not None:
            announced = False
            free.steps.pop(0)[1](free.fold_trial)
        elif while_ is not None:
            return
        else:
            if not announced:
                log.info("other jobs are at all that is left (%s, …), waiting", turns[0].fold_trial.title)
            announced = True
            time.sleep(LOOK_S)


def all_locked_by_others(fold_trials: Sequence[FoldTrial], stages: Sequence[str]) -> bool:
    """Return whether some stage is pending, and other jobs have locked every one that could be next.

    Args:
        fold_trials: whose stages.
        stages: their names, in the order of the work.
    """
    steps: list[Step] = [(name, lambda _: None) for name in stages]
    turns = _pending([_PendingSteps(fold_trial, list(steps)) for fold_trial in fold_trials])
    return bool(turns) and all(turn.is_locked for turn in turns)


def _pending(turns: Sequence[_PendingSteps]) -> list[_PendingSteps]:
    """Those with pending steps."""
    for turn in turns:
        turn.drop_finished_steps()
    return [turn for turn in turns if turn.steps]
