"""Parts of a condition, some of its folds and trials, which jobs of their own can compute (`sweep.spread`)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

from augrun.core.errors import RequestError

if TYPE_CHECKING:
    from augrun.experiment.condition import Condition
    from augrun.experiment.fold_trial import Cell


#: A fold and a trial, counted from 0; None is all of them.
Part = tuple[int | None, int | None]


def parts(condition: Condition, spread: str) -> list[Part]:
    """The parts of a condition that something is left to do of; none where it is done.

    Args:
        condition: the row.
        spread: `trials`, `folds` or `cells`.
    """
    if condition.stage.done:
        return []
    folds: Sequence[int | None] = range(len(condition.folds)) if spread in ("folds", "cells") else (None,)
    trials: Sequence[int | None] = range(condition.config["trials"]["count"]) if spread != "folds" else (None,)
    found = [(fold, trial) for trial, fold in product(trials, folds)]
    return [part for part in found if any(_left(cell) for cell in picked(condition, part))]


def _left(cell: Cell) -> bool:
    """Whether something of it is to be done; recordings are embedded for the baseline alone."""
    return any(not stage.done for stage in cell.stages if stage.kind != "embedded")


def picked(condition: Condition, part: Sequence[int | None]) -> list[Cell]:
    """The cells of a part.

    Raises:
        RequestError: there is none.
    """
    names = [fold.name for fold in condition.folds]
    fold, trial = part if len(part) == 2 else (-1, -1)
    cells = [
        cell
        for cell in condition.cells
        if (fold is None or names.index(cell.fold.name) == fold) and (trial is None or cell.trial == trial)
    ]
    if not cells:
        raise RequestError(
            f"sweep.part={list(part)} is no fold and trial of {condition.title}, which has {len(names)} folds and "
            f"{condition.config['trials']['count']} trials; sweep.spread sets it"
        )
    return cells
