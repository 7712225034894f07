"""Metrics of one set of predictions as functions of how much each cluster of clips counts.

`augrun.evaluation.metrics` measures what is there. Here the same metrics are measured with a weight for each cluster
(artist, speaker), thousands of times over, or differentiated by those weights:

- weights drawn as a bootstrap draws clusters give the bootstrap's metrics (Efron and Tibshirani 1993, chapter 8);
- the derivative by a cluster's weight is the metric's empirical influence function (Hampel 1974; the infinitesimal
  jackknife of Jaeckel 1972), for ROC-AUC the structural components of DeLong et al. 1988.

Metrics are those of `NAMES`; with all weights 1 they are `metrics.evaluate`'s, undefined classes left out alike.
Everything that sorts is done once. What is left for a draw is to gather, add up and divide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from augrun.evaluation.ranking import Ranking, matrix, ratio

#: Metrics that can be weighted. `f1_oracle` is none of them: its thresholds would have to be fitted for each draw.
NAMES = (
    *("f1_argmax_macro", "f1_argmax_micro", "f1_macro", "uar", "war", "f1_val_macro", "f1_val_micro"),
    *("pr_auc_macro", "pr_auc_micro", "roc_auc_macro", "roc_auc_micro"),
)
#: One name of those that are the same.
SAME = {"f1_macro": "f1_argmax_macro", "war": "f1_argmax_micro"}

#: Of more clusters than these none is left out in turn: their influence does.
MOST_LEFT_OUT = 200

#: (Clip, class) cells times draws that are measured at once: more would leave the processor's cache.
AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Table:
    """The predictions of one fold and trial.

    Attributes:
        scores: class probabilities, shape (clips, classes).
        targets: which classes each clip carries, bool, shape (clips, classes).
        first_labels: each clip's first class, -1 where it has none, shape (clips,).
        clusters: the number of each clip's cluster, from 0, shape (clips,).
        decisions: which classes each clip is given by the thresholds of the validation part, bool, shape (clips,
            classes); None without such thresholds.
    """

    scores: np.ndarray
    targets: np.ndarray
    first_labels: np.ndarray
    clusters: np.ndarray
    decisions: np.ndarray | None = None

    def beside(self, other: Table) -> Table:
        """Both tables' clips one below the other; the other's clusters get the numbers after this one's.

        With weights (s, 1 - s) it is a table of which some clusters have changed places with the other's.
        """
        count = 1 + max(int(self.clusters.max()), int(other.clusters.max()))
        both = None
        if self.decisions is not None and other.decisions is not None:
            both = np.concatenate([self.decisions, other.decisions])
        return Table(
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.targets, other.targets]),
            np.concatenate([self.first_labels, other.first_labels]),
            np.concatenate([self.clusters, other.clusters + count]),
            both,
        )


class Weighted:
    """A table, ready to be measured under any weights.

    Args:
        table: the predictions.
        names: metrics, of `NAMES`.
        clusters: how many there are; by default as many as the table's clips name.

    Raises:
        ValueError: a metric is none of `NAMES`, or wants decisions that the table has not.
    """

    def __init__(self, table: Table, names: Sequence[str], clusters: int | None = None) -> None:
        unknown = [name for name in names if name not in NAMES]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: not among the metrics that can be weighted ({', '.join(NAMES)})")
        if table.decisions is None and any(name.startswith("f1_val") for name in names):
            raise ValueError("f1_val wants the decisions of thresholds that were fitted on a validation part")
        self.table, self.names = table, tuple(names)
        self.at_once = int(np.clip(AT_ONCE // table.scores.size, 8, 512))
        self.clusters = int(table.clusters.max()) + 1 if clusters is None else clusters

    def measure(self, weights: np.ndarray) -> np.ndarray:
        """The metrics under each row of weights.

        Args:
            weights: how often each cluster counts, shape (draws, clusters).

        Returns:
            float64, shape (draws, metrics); NaN where no class is defined.
        """
        weights = np.asarray(weights, np.float64)
        found = np.empty((len(weights), len(self.names)))
        for at in range(0, len(weights), self.at_once):
            found[at : at + self.at_once] = self._metrics(self._sums(weights[at : at + self.at_once]))
        return found

    def exchange(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The metrics under weights and under 1 - weights, for little more than one of them.

        Args:
            weights: from 0 to 1; see `measure`.
        """
        weights = np.asarray(weights, np.float64)
        found = np.empty((2, len(weights), len(self.names)))
        for at in range(0, len(weights), self.at_once):
            sums = self._sums(weights[at : at + self.at_once])
            rest = {
                kind: [all_ - one for all_, one in zip(self._whole[kind], sums[kind], strict=True)] for kind in sums
            }
            found[:, at : at + self.at_once] = self._metrics(sums), self._metrics(rest)
        return found[0], found[1]

    def shares(self) -> np.ndarray:
        """What each cluster adds to the metrics, so that the sum of squares estimates their variance over clusters.

        With few clusters `influence` makes the variance too small and the jackknife that leaves one out at a time
        (Tukey 1958) too large, by as much: the mean of both is what Bell and McCaffrey 2002 do for linear models. With
        many clusters they agree, and the influence costs one pass. Shape (metrics, clusters).
        """
        count = self.clusters
        if count < 2:
            return np.full((len(self.names), count), np.nan)
        influence = np.sqrt(count / (count - 1)) * self.influence()
        if count > MOST_LEFT_OUT:
            return influence
        without = self.measure(1 - np.eye(count))
        return (influence + np.sqrt((count - 1) / count) * (without.mean(0) - without).T) / 2

    def influence(self) -> np.ndarray:
        """The derivative of each metric by each cluster's weight, where all are 1; shape (metrics, clusters).

        A metric does not change where all weights grow alike, so the influences of all clusters add up to 0.
        """
        rows = {name: self._influence(name) for name in dict.fromkeys(SAME.get(name, name) for name in self.names)}
        return np.array([rows[SAME.get(name, name)] for name in self.names])

    def _metrics(self, sums: Mapping[str, Sequence[np.ndarray]]) -> np.ndarray:
        """The metrics that sums of weights make, shape (draws, metrics)."""
        known: dict[str, np.ndarray] = {}
        for name in (SAME.get(name, name) for name in self.names):
            if name not in known:
                known |= self._metric(name, sums)
        return np.stack([known[SAME.get(name, name)] for name in self.names], axis=1)

    def _metric(self, name: str, sums: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
        """A metric, and what comes with it at no cost; shape (draws,) each."""
        kind, _, average = name.rpartition("_")
        if kind in ("pr_auc", "roc_auc"):
            pr_auc, roc_auc = self._ranking(average).metrics(*sums[average])
            return {f"pr_auc_{average}": _mean(pr_auc.T), f"roc_auc_{average}": _mean(roc_auc.T)}
        hits, made, there = (counts.T for counts in sums["val" if kind == "f1_val" else "argmax"])
        if name == "uar":
            return {name: _mean(ratio(hits, there))}
        if name == "f1_argmax_micro":  # one decision a clip: micro F1 is accuracy
            return {name: ratio(hits.sum(-1), there.sum(-1))}
        if name == "f1_val_micro":
            return {name: np.where(there.sum(-1) > 0, ratio(2 * hits.sum(-1), (made + there).sum(-1)), np.nan)}
        f1 = ratio(2 * hits, made + there)
        return {name: _mean(np.where(there > 0, f1, np.nan) if kind == "f1_val" else f1)}

    def _sums(self, weights: np.ndarray) -> dict[str, Sequence[np.ndarray]]:
        """What of the weights the metrics are made of, by kind of it; each is linear in the weights.

        `argmax` and `val`: hits, decisions and clips of each class, shape (classes, draws) each; `macro` and `micro`:
        see `Ranking.sums`.
        """
        by_cluster = np.ascontiguousarray(weights.T)
        found: dict[str, Sequence[np.ndarray]] = {}
        for name in self.names:
            kind, _, average = SAME.get(name, name).rpartition("_")
            if kind in ("pr_auc", "roc_auc"):
                if average not in found:
                    found[average] = self._ranking(average).sums(by_cluster)
                continue
            how = "val" if kind == "f1_val" else "argmax"
            if how not in found:
                found[how] = [counts @ by_cluster for counts in self._counted(how)]
        return found

    @cached_property
    def _whole(self) -> dict[str, Sequence[np.ndarray]]:
        """The sums where all weights are 1."""
        return self._sums(np.ones((1, self.clusters)))

    def _rank(self, problems: np.ndarray) -> Ranking:
        return Ranking(self.table.scores, self.table.targets, self.table.clusters, problems, self.clusters)

    def _ranking(self, average: str) -> Ranking:
        return self._by_class if average == "macro" else self._at_large

    def _influence(self, name: str) -> np.ndarray:
        kind, _, average = name.rpartition("_")
        if kind in ("pr_auc", "roc_auc"):
            return self._ranking(average).influence(kind)
        counts = self._counted("val" if kind == "f1_val" else "argmax")
        hits, made, there = (one.toarray() for one in counts)
        if average == "micro":
            hits, made, there = (counts.sum(0, keepdims=True) for counts in (hits, made, there))
        over = there if name in ("uar", "f1_argmax_micro") else made + there
        times = 1.0 if name in ("uar", "f1_argmax_micro") else 2.0
        defined = (there if kind == "f1_val" or name == "uar" else over).sum(1) > 0
        total, right = over.sum(1, keepdims=True)[defined], hits.sum(1, keepdims=True)[defined]
        if not defined.any():
            return np.full(self.clusters, np.nan)
        return np.mean(times * (hits[defined] / total - right * over[defined] / total**2), axis=0)

    def _counted(self, kind: str) -> list[sparse.csr_matrix]:
        """Hits, decisions and clips of each class by cluster, shape (classes, clusters) each."""
        return self._by_argmax if kind == "argmax" else self._by_threshold

    @cached_property
    def _by_argmax(self) -> list[sparse.csr_matrix]:
        table = self.table
        known = table.first_labels >= 0
        best, labels, owners = table.scores[known].argmax(1), table.first_labels[known], table.clusters[known]
        right = best == labels
        pairs = ((labels[right], owners[right]), (best, owners), (labels, owners))
        return [self._tally(classes, clusters) for classes, clusters in pairs]

    @cached_property
    def _by_threshold(self) -> list[sparse.csr_matrix]:
        decisions, truth = self.table.decisions, self.table.targets
        assert decisions is not None
        found = []
        for cells in (decisions & truth, decisions, truth):
            clips, classes = np.nonzero(cells)
            found.append(self._tally(classes, self.table.clusters[clips]))
        return found

    def _tally(self, classes: np.ndarray, clusters: np.ndarray) -> sparse.csr_matrix:
        """How many of each class and cluster, shape (classes, clusters)."""
        return matrix(clusters, classes, (self.table.scores.shape[1], self.clusters))

    @cached_property
    def _by_class(self) -> Ranking:
        count, classes = self.table.scores.shape
        problems = np.tile(np.arange(classes), count)
        return self._rank(problems)

    @cached_property
    def _at_large(self) -> Ranking:
        return self._rank(np.zeros(self.table.scores.size, np.int64))


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    return ratio(np.where(defined, values, 0.0).sum(-1), defined.sum(-1).astype(np.float64))
