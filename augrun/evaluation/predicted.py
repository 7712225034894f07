"""The predictions that conditions left, and the clusters of clips that vary in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """The predictions of a condition, read from the folder that it left.

    Args:
        folder: with results.json and predictions/.
        names: the metrics to compare.

    Raises:
        OSError: predictions are missing.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        self.multilabel = bool(results["multilabel"])
        self.names = [name for name in names if name in NAMES]
        self.cells = {
            (str(entry["fold"]), int(entry["trial"])): _cell(folder / entry["predictions"], self.multilabel)
            for entry in results["trials"]
        }
        if any(cell.table.decisions is None for cell in self.cells.values()):
            self.names = [name for name in self.names if not name.startswith("f1_val")]

    @staticmethod
    def joined(parts: Mapping[str, Predicted]) -> Predicted:
        """Several conditions as one whose folds are all of theirs, as a mean over a table's columns has them."""
        whole = object.__new__(Predicted)
        whole.multilabel = any(part.multilabel for part in parts.values())
        first = next(iter(parts.values()))
        whole.names = [name for name in first.names if all(name in part.names for part in parts.values())]
        whole.cells = {
            (f"{column}/{fold}", trial): cell
            for column, part in parts.items()
            for (fold, trial), cell in part.cells.items()
        }
        return whole

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
    def influences(self) -> dict[tuple[str, int], np.ndarray]:
        """Of each cluster of the fold on each metric, shape (metrics, clusters)."""
        return {key: one.influence() for key, one in self.weighted.items()}


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


@dataclass(frozen=True)
class Strata:
    """Which clusters there are, and what of them varies.

    Attributes:
        at: for each fold the numbers of its clusters.
        groups: numbers of clusters that are drawn among themselves: those of a fold, or all where folds share some.
        clusters: how many there are.
        by_fold: whether folds, not clusters within them, are what varies: some fold has one cluster alone.
    """

    at: list[np.ndarray]
    groups: list[np.ndarray]
    clusters: int
    by_fold: bool

    @staticmethod
    def of(folds: Sequence[np.ndarray]) -> Strata:
        """The strata of folds, from the names of each one's clusters."""
        names = np.unique(np.concatenate(folds))
        at = [np.searchsorted(names, fold) for fold in folds]
        different = list({tuple(places): places for places in at}.values())
        apart = sum(map(len, different)) == len(names)
        return Strata(at, different if apart else [np.arange(len(names))], len(names), min(map(len, at)) < 2)

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
