"""The predictions that conditions left, and the clusters of clips that vary in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from augrun.evaluation.thresholds import fit_thresholds
from augrun.evaluation.weighted import NAMES, Table, Weighted


@dataclass(frozen=True)
class Cell:
    """What one fold and trial predicted.

    Attributes:
        clips: ids of the test utterances, shape (utterances,).
        clusters: names of the fold's clusters, in order.
        table: the scores and the truth; its clusters are numbered in that order.
    """

    clips: np.ndarray
    clusters: np.ndarray
    table: Table


class Predicted:
    """The predictions of a condition.

    Args:
        cells: by fold and trial.
        names: the metrics to compare; those that cannot be weighted (`augrun.evaluation.weighted`) are left out.
        dataset: what the clips are of.
        trained_once: whether all trials share a generator that was trained once a fold.
        seeded: for each fold, what says by which seeds it was trained; by default its name.
    """

    def __init__(
        self,
        cells: Mapping[tuple[str, int], Cell],
        names: Sequence[str],
        dataset: str = "",
        trained_once: bool = False,
        seeded: Mapping[str, str] | None = None,
    ) -> None:
        self.cells, self.dataset, self.trained_once = dict(cells), dataset, trained_once
        self.seeded = dict(seeded or {fold: fold for fold, _ in cells})
        decided = all(cell.table.decisions is not None for cell in cells.values())
        self.names = [name for name in names if name in NAMES and (decided or not name.startswith("f1_val"))]

    @staticmethod
    def load(folder: Path, names: Sequence[str]) -> Predicted:
        """Reads them from the folder that a condition left, with results.json and predictions/.

        Raises:
            OSError: predictions are missing.
        """
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        cells = {
            (str(entry["fold"]), int(entry["trial"])): _cell(folder / entry["predictions"], results["multilabel"])
            for entry in results["trials"]
        }
        once = bool(results.get("trained_once"))
        return Predicted(cells, names, str((results.get("condition") or {}).get("dataset", "")), once)

    @staticmethod
    def joined(parts: Mapping[str, Predicted]) -> Predicted:
        """Several conditions as one whose folds are all of theirs, as a mean over a table's columns has them.

        The same fold of two conditions has the same seeds, so that what training makes of it is no two pieces of news.
        Clusters of two corpora are different ones, whatever they are called.
        """
        cells = {
            (f"{column}/{fold}", trial): replace(cell, clusters=np.char.add(f"{part.dataset}/", cell.clusters))
            for column, part in parts.items()
            for (fold, trial), cell in part.cells.items()
        }
        first = next(iter(parts.values()))
        names = [name for name in first.names if all(name in part.names for part in parts.values())]
        seeded = {f"{column}/{fold}": fold for column, part in parts.items() for fold in part.folds}
        return Predicted(cells, names, first.dataset, any(part.trained_once for part in parts.values()), seeded)

    @property
    def folds(self) -> list[str]:
        return list(dict.fromkeys(fold for fold, _ in self.cells))

    @property
    def trials(self) -> list[int]:
        return sorted({trial for _, trial in self.cells})

    @cached_property
    def weighted(self) -> dict[tuple[str, int], Weighted]:
        """Each fold and trial, ready to be measured."""
        return {key: Weighted(cell.table, self.names) for key, cell in self.cells.items()}

    @cached_property
    def metrics(self) -> dict[tuple[str, int], np.ndarray]:
        """Each fold's and trial's metrics, shape (metrics,)."""
        return {key: one.measure(np.ones((1, one.clusters)))[0] for key, one in self.weighted.items()}

    @cached_property
    def shares(self) -> dict[tuple[str, int], np.ndarray]:
        """What each cluster of the fold adds to each metric (`Weighted.shares`), shape (metrics, clusters)."""
        return {key: one.shares() for key, one in self.weighted.items()}


def _cell(path: Path, multilabel: bool) -> Cell:
    with np.load(path) as file:
        scores, targets = file["test_scores"], file["test_targets"]
        clusters = file["test_clusters"]
        decisions = None
        if multilabel and len(file["validation_scores"]):
            decisions = scores >= fit_thresholds(file["validation_scores"], file["validation_targets"])
        names, codes = np.unique(clusters, return_inverse=True)
        table = Table(scores, targets, file["test_first_labels"], codes, decisions)
        return Cell(file["test_clips"], names, table)


#: With fewer clusters in a fold it is folds that are compared, if there are enough of them.
LEAST_IN_FOLD = 5

#: Folds that are enough.
LEAST_FOLDS = 4


@dataclass(frozen=True)
class Strata:
    """Which clusters there are, and what of them varies.

    Attributes:
        at: for each fold the numbers of its clusters.
        groups: numbers of clusters that are drawn among themselves: those of a fold, or all where folds share some.
        clusters: how many there are.
        units: numbers of the folds that have the same clusters; each is a unit of its own where folds are what varies.
        by_fold: whether folds, not clusters within them, are what varies: some fold has too few clusters to tell.
    """

    at: list[np.ndarray]
    groups: list[np.ndarray]
    clusters: int
    units: list[np.ndarray]
    by_fold: bool

    @staticmethod
    def of(folds: Sequence[np.ndarray]) -> Strata:
        """The strata of folds, from the names of each one's clusters."""
        names = np.unique(np.concatenate(folds))
        at = [np.searchsorted(names, fold) for fold in folds]
        places: dict[tuple[int, ...], list[int]] = {}
        for fold, of_fold in enumerate(at):
            places.setdefault(tuple(of_fold.tolist()), []).append(fold)
        apart = sum(map(len, places)) == len(names)
        groups = [np.array(group) for group in places] if apart else [np.arange(len(names))]
        units = [np.array(unit) for unit in places.values()] if apart else [np.arange(len(at))]
        fewest = min(map(len, at))
        by_fold = fewest < 2 or (fewest < LEAST_IN_FOLD and len(units) >= LEAST_FOLDS)
        return Strata(at, groups, len(names), units, by_fold)

    @property
    def free(self) -> int:
        """How many clusters are free to vary."""
        return self.clusters - len(self.groups)

    def drawn(self, rng: np.random.Generator, draws: int) -> np.ndarray:
        """How often each cluster is drawn, with replacement, shape (draws, clusters)."""
        weights = np.zeros((draws, self.clusters))
        for group in self.groups:
            weights[:, group] = rng.multinomial(len(group), np.full(len(group), 1 / len(group)), size=draws)
        return weights
