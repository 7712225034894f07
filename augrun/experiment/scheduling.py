"""In which order a job takes its folds and trials, where other jobs want some of the same stages.

What no other job holds comes first, and only where all that is left is held does a job wait. Stages are pure, so that
no result depends on the order.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from augrun.core.store.stages import Stage
from augrun.experiment.fold_trial import Cell

log = logging.getLogger(__name__)

#: How often a job that waits for others looks again, seconds.
LOOK_S = 0.2

#: A cell's stage by its name, and what does it.
Step = tuple[str, Callable[[Cell], Any]]


@dataclass
class _Turn:
    """A cell and what is left to do of it.

    Attributes:
        cell: the fold and trial.
        steps: in their order.
    """

    cell: Cell
    steps: list[Step] = field(default_factory=list)

    def settle(self) -> None:
        """Leaves out what there is not, and what is done."""
        while self.steps and ((stage := self.stage) is None or stage.done):
            del self.steps[0]

    @property
    def stage(self) -> Stage | None:
        """What is next."""
        found: Stage | None = getattr(self.cell, self.steps[0][0])
        return found

    @property
    def held(self) -> bool:
        """Whether another job is at what is next."""
        stage = self.stage
        return stage is not None and stage.held


def take(cells: Sequence[Cell], steps: Sequence[Step], while_: Callable[[], bool] | None = None) -> None:
    """Does all steps of all cells, each cell's in their order, and first those that no other job is at.

    Args:
        cells: in the order that they are done in where no other job wants any of it.
        steps: stages of a cell by name, and what does each.
        while_: asked before each step whether to go on; where it is given, nothing is waited for.
    """
    turns = [_Turn(cell, list(steps)) for cell in cells]
    told = False
    while True:
        for turn in turns:
            turn.settle()
        turns = [turn for turn in turns if turn.steps]
        if not turns or (while_ is not None and not while_()):
            return
        free = next((turn for turn in turns if not turn.held), None)
        if free is not None:
            told = False
            free.steps.pop(0)[1](free.cell)
        elif while_ is not None:
            return
        else:
            if not told:
                log.info("other jobs are at all that is left (%s, …), waiting", turns[0].cell.title)
            told = True
            time.sleep(LOOK_S)


def busy(cells: Sequence[Cell], kinds: Sequence[str]) -> bool:
    """Whether something is left to do of these cells, and other jobs are at all of it that could be done next."""
    turns = [_Turn(cell, [(kind, lambda _: None) for kind in kinds]) for cell in cells]
    for turn in turns:
        turn.settle()
    left = [turn for turn in turns if turn.steps]
    return bool(left) and all(turn.held for turn in left)
