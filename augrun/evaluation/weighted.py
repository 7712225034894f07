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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

#: Metrics that can be weighted. `f1_oracle` is none of them: its thresholds would have to be fitted for each draw.
NAMES = (
    *("f1_argmax_macro", "f1_argmax_micro", "f1_macro", "uar", "war", "f1_val_macro", "f1_val_micro"),
    *("pr_auc_macro", "pr_auc_micro", "roc_auc_macro", "roc_auc_micro"),
)
#: One name of those that are the same.
SAME = {"f1_macro": "f1_argmax_macro", "war": "f1_argmax_micro"}

#: Draws that are measured at once: more would leave the processor's cache.
AT_ONCE = 8


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
        for at in range(0, len(weights), AT_ONCE):
            some = weights[at : at + AT_ONCE]
            known: dict[str, np.ndarray] = {}
            for place, name in enumerate(self.names):
                name = SAME.get(name, name)
                if name not in known:
                    known |= self._measured(name, some)
                found[at : at + AT_ONCE, place] = known[name]
        return found

    def influence(self) -> np.ndarray:
        """The derivative of each metric by each cluster's weight, where all are 1; shape (metrics, clusters).

        A metric does not change where all weights grow alike, so the influences of all clusters add up to 0.
        """
        rows = {name: self._influence(name) for name in dict.fromkeys(SAME.get(name, name) for name in self.names)}
        return np.array([rows[SAME.get(name, name)] for name in self.names])

    def _measured(self, name: str, weights: np.ndarray) -> dict[str, np.ndarray]:
        """A metric, and what comes with it at no cost; shape (draws,) each."""
        kind, _, average = name.rpartition("_")
        if kind in ("pr_auc", "roc_auc"):
            ranking = self._by_class if average == "macro" else self._at_large
            pr_auc, roc_auc = ranking.measure(weights)
            return {f"pr_auc_{average}": _mean(pr_auc.T), f"roc_auc_{average}": _mean(roc_auc.T)}
        hits, made, there = self._added("val" if kind == "f1_val" else "argmax", weights)
        if name == "uar":
            return {name: _mean(_ratio(hits, there))}
        if name == "f1_argmax_micro":  # one decision a clip: micro F1 is accuracy
            return {name: _ratio(hits.sum(-1), there.sum(-1))}
        if name == "f1_val_micro":
            return {name: np.where(there.sum(-1) > 0, _ratio(2 * hits.sum(-1), (made + there).sum(-1)), np.nan)}
        f1 = _ratio(2 * hits, made + there)
        return {name: _mean(np.where(there > 0, f1, np.nan) if kind == "f1_val" else f1)}

    def _influence(self, name: str) -> np.ndarray:
        kind, _, average = name.rpartition("_")
        if kind in ("pr_auc", "roc_auc"):
            ranking = self._by_class if average == "macro" else self._at_large
            return ranking.influence(kind)
        counts = self._counted("val" if kind == "f1_val" else "argmax")
        hits, made, there = (matrix.toarray() for matrix in counts)
        if average == "micro":
            hits, made, there = (counts.sum(0, keepdims=True) for counts in (hits, made, there))
        over = there if name in ("uar", "f1_argmax_micro") else made + there
        times = 1.0 if name in ("uar", "f1_argmax_micro") else 2.0
        defined = (there if kind == "f1_val" or name == "uar" else over).sum(1) > 0
        total, right = over.sum(1, keepdims=True)[defined], hits.sum(1, keepdims=True)[defined]
        if not defined.any():
            return np.full(self.clusters, np.nan)
        return np.mean(times * (hits[defined] / total - right * over[defined] / total**2), axis=0)

    def _added(self, kind: str, weights: np.ndarray) -> list[np.ndarray]:
        """Weighted hits, decisions and clips of each class, shape (draws, classes) each."""
        by_cluster = np.ascontiguousarray(weights.T)
        return [(counts @ by_cluster).T for counts in self._counted(kind)]

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
        return _matrix(clusters, classes, (self.table.scores.shape[1], self.clusters))

    @cached_property
    def _by_class(self) -> _Ranking:
        count, classes = self.table.scores.shape
        problems = np.tile(np.arange(classes), count)
        return _Ranking(self.table, problems, self.clusters, balanced=True)

    @cached_property
    def _at_large(self) -> _Ranking:
        return _Ranking(self.table, np.zeros(self.table.scores.size, np.int64), self.clusters, balanced=False)


class _Ranking:
    """PR-AUC and ROC-AUC of one or several rankings of (clip, class) cells.

    Cells are sorted once, ranking by ranking, the highest score first. Equal scores make a block, since a threshold
    takes all of them or none. Sums are only wanted at the ends of blocks that hold a positive cell, so that all of the
    negative cells between two of them are added up in one go.

    Args:
        table: the predictions.
        problems: the ranking that each cell belongs to, in the order of `table.scores.ravel()`.
        clusters: how many there are.
        balanced: whether a ranking without a negative cell has no ROC-AUC (by class), as `metrics` has it.
    """

    def __init__(self, table: Table, problems: np.ndarray, clusters: int, balanced: bool) -> None:
        scores, truth = table.scores.ravel(), table.targets.ravel()
        owners = np.repeat(table.clusters, table.scores.shape[1])
        order = np.lexsort((-scores, problems))
        scores, truth, problems = scores[order], truth[order], problems[order]
        self.clusters, self.balanced = clusters, balanced
        self.owners = owners[order]
        first = np.flatnonzero(np.diff(problems, prepend=problems[0] - 1))  # where each ranking begins
        new = np.ones(len(scores), bool)
        new[1:] = (scores[1:] != scores[:-1]) | (problems[1:] != problems[:-1])
        begins = np.flatnonzero(new)  # of blocks
        ends = np.append(begins[1:], len(scores))
        block_of = np.cumsum(new) - 1
        with_positive = np.unique(block_of[truth])
        begins, ends = begins[with_positive], ends[with_positive]
        self.positive = np.flatnonzero(truth)
        self.block = np.searchsorted(with_positive, block_of[self.positive])  # of each positive cell
        limits = np.unique(np.concatenate([first, begins, ends, [len(scores)]]))
        self.lengths = np.diff(limits)  # cells between two limits
        places = np.arange(len(self.lengths))
        self.between = _matrix(self.owners, np.repeat(places, self.lengths), (len(places), clusters))
        self.inside = _matrix(self.owners[self.positive], self.block, (len(begins), clusters))
        self.begin_at, self.end_at = np.searchsorted(limits, begins), np.searchsorted(limits, ends)
        last = np.append(first[1:], len(scores))
        self.first_at, self.last_at = np.searchsorted(limits, first), np.searchsorted(limits, last)
        names = problems[first]
        of_block = np.searchsorted(names, problems[begins]) if len(begins) else np.zeros(0, np.int64)
        self.of_block = of_block  # the ranking of each block
        self.blocks_at = np.searchsorted(of_block, np.arange(len(names) + 1))  # each ranking's blocks
        self.by_ranking = _matrix(np.arange(len(begins)), of_block, (len(names), len(begins)))
        self.ranking_of = np.searchsorted(self.first_at, places, side="right") - 1
        self.next_block = np.searchsorted(self.end_at, places, side="right")  # the first that ends below

    def _sums(self, weights: np.ndarray) -> tuple[np.ndarray, ...]:
        """By block: cells up to its end, cells in it, positive cells in it and up to its end; by ranking: all cells.

        Args:
            weights: shape (draws, clusters).

        Returns:
            Shape (blocks or rankings, draws) each.
        """
        by_cluster = np.ascontiguousarray(weights.T)
        total, inside = _added_up(self.between @ by_cluster), self.inside @ by_cluster
        positive = _added_up(inside)
        end = total[self.end_at]
        upto = end - total[self.first_at][self.of_block]
        hits = positive[1:] - positive[self.blocks_at[:-1]][self.of_block]
        return upto, end - total[self.begin_at], inside, hits, total[self.last_at] - total[self.first_at]

    def measure(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """PR-AUC and ROC-AUC of each ranking, NaN where there is none; shape (rankings, draws) each.

        Args:
            weights: shape (draws, clusters).
        """
        upto, block, inside, hits, cells = self._sums(weights)
        found = self._totals(inside)
        precision = np.divide(hits, upto, out=np.zeros_like(hits), where=upto > 0)
        pr_auc = _ratio(self._totals(inside * precision), found)
        negative = cells - found
        below = negative[self.of_block] - (upto - hits) + (block - inside) / 2
        return pr_auc, _ratio(self._totals(inside * below), found * negative)

    def _totals(self, values: np.ndarray) -> np.ndarray:
        """Sums of blocks by ranking, shape (rankings, draws)."""
        return self.by_ranking @ values

    def influence(self, kind: str) -> np.ndarray:
        """Of each cluster on the mean over rankings; shape (clusters,)."""
        ones = np.ones((1, self.clusters))
        upto, block, inside, hits, cells = (values[:, 0] for values in self._sums(ones))
        found = self._totals(inside[:, None])[:, 0]
        values = self.measure(ones)[0 if kind == "pr_auc" else 1][:, 0]
        defined = np.isfinite(values)
        if not defined.any():
            return np.full(self.clusters, np.nan)
        make = self._of_pr_auc if kind == "pr_auc" else self._of_roc_auc
        of_positive, of_limit = make(upto, block, inside, hits, cells, found, np.where(defined, values, 0.0))
        share = np.where(defined, 1.0 / defined.sum(), 0.0)
        # A cell between two limits has what its limit has, and a positive one its own on top of that.
        cell_values = np.repeat(of_limit * share[self.ranking_of], self.lengths)
        cell_values[self.positive] += (of_positive * share[self.of_block])[self.block]
        return np.bincount(self.owners, weights=cell_values, minlength=self.clusters)

    def _of_pr_auc(
        self,
        upto: np.ndarray,
        block: np.ndarray,
        inside: np.ndarray,
        hits: np.ndarray,
        cells: np.ndarray,
        found: np.ndarray,
        values: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """What a positive cell of each block has beside, and what any cell between two limits has.

        PR-AUC is the sum over blocks of (positives inside / all positives) * (hits / cells up to its end). A cell's
        weight is in `cells up to the end` of its own block and of all below, a positive cell's in `hits` as well.
        """
        by = found[self.of_block]
        of_hits = self._from_here(inside / upto)
        of_cells = self._from_here(inside * hits / upto**2)
        of_positive = (hits / upto - values[self.of_block] + of_hits) / by
        return of_positive, -self._at_limits(of_cells / by)

    def _of_roc_auc(
        self,
        upto: np.ndarray,
        block: np.ndarray,
        inside: np.ndarray,
        hits: np.ndarray,
        cells: np.ndarray,
        found: np.ndarray,
        values: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same of ROC-AUC: a positive cell counts negative ones below it, a negative one positive ones above."""
        negative = cells - found
        pairs = np.maximum(found * negative, 1e-300)
        below = negative[self.of_block] - (upto - hits) + (block - inside) / 2
        p, q = np.maximum(found, 1e-300), np.maximum(negative, 1e-300)
        of_positive = (below / pairs[self.of_block]) - (values / p)[self.of_block]
        above = np.zeros(len(self.lengths))  # positives above a limit, half of those in its own block
        place, ranking_of = self.next_block, self.ranking_of
        before = place > self.blocks_at[ranking_of]
        above[before] = hits[place[before] - 1]
        above[self.begin_at] += inside / 2
        of_negative = above / pairs[ranking_of] - (values / q)[ranking_of]
        # Positive cells are no negative ones: what every cell of their block is given here is taken off them again.
        return of_positive - of_negative[self.begin_at], of_negative

    def _from_here(self, values: np.ndarray) -> np.ndarray:
        """For each block the sum over it and all below it in its ranking."""
        total = np.append(np.cumsum(values[::-1])[::-1], 0.0)
        return total[:-1] - total[self.blocks_at[1:]][self.of_block]

    def _at_limits(self, values: np.ndarray) -> np.ndarray:
        """For each limit the value of the first block that ends after it in its ranking; 0 below the last one."""
        there = self.next_block < self.blocks_at[self.ranking_of + 1]
        found = np.zeros(len(self.lengths))
        found[there] = values[self.next_block[there]]
        return found


def _matrix(columns: np.ndarray, rows: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    """How many cells there are by row and column; times weights of columns it adds up those of each row's cells."""
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)


def _added_up(values: np.ndarray) -> np.ndarray:
    """Sums over the first axis of all that is above each place, beginning with nothing."""
    total = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=total[1:])
    return total


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotients; NaN where there is nothing below."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    return _ratio(np.where(defined, values, 0.0).sum(-1), defined.sum(-1).astype(np.float64))
