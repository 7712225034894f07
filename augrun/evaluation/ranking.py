"""PR-AUC and ROC-AUC under weights of clusters, and their derivatives; see `augrun.evaluation.weighted`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

#: Whole numbers below this are float32's own, and sums of them exact.
EXACT = 2**24


class Ranking:
    """PR-AUC and ROC-AUC of one or several rankings of (clip, class) cells.

    Cells are sorted once, ranking by ranking, the highest score first. Equal scores make a block, since a threshold
    takes all of them or none. Sums are only wanted at the ends of blocks that hold a positive cell, so that all of the
    negative cells between two of them are added up in one go.

    Args:
        scores: shape (clips, classes).
        truth: which classes each clip carries, bool, the same shape.
        owners: the number of each clip's cluster, shape (clips,).
        problems: the ranking that each cell belongs to, in the order of `scores.ravel()`.
        clusters: how many there are.
    """

    def __init__(
        self, scores: np.ndarray, truth: np.ndarray, owners: np.ndarray, problems: np.ndarray, clusters: int
    ) -> None:
        owners = np.repeat(owners, scores.shape[1])
        scores, truth = scores.ravel(), truth.ravel()
        order = np.lexsort((-scores, problems))
        scores, truth, problems = scores[order], truth[order], problems[order]
        self.clusters = clusters
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
        between = matrix(self.owners, np.repeat(places, self.lengths), (len(places), clusters))
        inside = matrix(self.owners[self.positive], self.block, (len(begins), clusters))
        self.cells = np.bincount(self.owners, minlength=clusters)  # of each cluster
        self.added = {
            np.dtype(np.float64): (between, inside),
            np.dtype(np.float32): (_single(between), _single(inside)),
        }
        self.begin_at, self.end_at = np.searchsorted(limits, begins), np.searchsorted(limits, ends)
        last = np.append(first[1:], len(scores))
        self.first_at, self.last_at = np.searchsorted(limits, first), np.searchsorted(limits, last)
        names = problems[first]
        of_block = np.searchsorted(names, problems[begins]) if len(begins) else np.zeros(0, np.int64)
        self.of_block = of_block  # the ranking of each block
        self.blocks_at = np.searchsorted(of_block, np.arange(len(names) + 1))  # each ranking's blocks
        self.by_ranking = matrix(np.arange(len(begins)), of_block, (len(names), len(begins)))
        self.ranking_of = np.searchsorted(self.first_at, places, side="right") - 1
        self.next_block = np.searchsorted(self.end_at, places, side="right")  # the first that ends below

    def sums(self, weights: np.ndarray) -> tuple[np.ndarray, ...]:
        """By block: cells up to its end, cells in it, positive cells in it and up to its end; by ranking: all cells.

        Whole weights, as counts of drawn clusters are, make whole sums. As long as float32 holds them it is exact, and
        three times as fast.

        Args:
            weights: shape (clusters, draws).

        Returns:
            Shape (blocks or rankings, draws) each.
        """
        weights = np.asarray(weights, np.float64)
        if (weights == np.rint(weights)).all() and (self.cells @ np.abs(weights)).max(initial=0) < EXACT:
            weights = weights.astype(np.float32)
        between, inside_of = self.added[weights.dtype]
        total, inside = _added_up(between @ weights), inside_of @ weights
        positive = _added_up(inside)
        end, first = total.take(self.end_at, 0), total.take(self.first_at, 0)
        upto = end - first.take(self.of_block, 0)
        hits = positive[1:] - positive.take(self.blocks_at[:-1], 0).take(self.of_block, 0)
        return upto, end - total.take(self.begin_at, 0), inside, hits, total.take(self.last_at, 0) - first

    def metrics(
        self, upto: np.ndarray, block: np.ndarray, inside: np.ndarray, hits: np.ndarray, cells: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """PR-AUC and ROC-AUC of each ranking from its `sums`, NaN where there is none; shape (rankings, draws) each."""
        upto, block, inside, hits, cells = (
            one.astype(np.float64, copy=False) for one in (upto, block, inside, hits, cells)
        )
        found = self._totals(inside)
        precision = np.divide(hits, upto, out=np.zeros_like(hits), where=upto > 0)
        pr_auc = ratio(self._totals(inside * precision), found)
        negative = cells - found
        below = negative[self.of_block] - (upto - hits) + (block - inside) / 2
        return pr_auc, ratio(self._totals(inside * below), found * negative)

    def _totals(self, values: np.ndarray) -> np.ndarray:
        """Sums of blocks by ranking, shape (rankings, draws)."""
        return self.by_ranking @ values

    def influence(self, kind: str) -> np.ndarray:
        """Of each cluster on the mean over rankings; shape (clusters,)."""
        sums = [one.astype(np.float64) for one in self.sums(np.ones((self.clusters, 1)))]
        found = self._totals(sums[2])[:, 0]
        values = self.metrics(*sums)[0 if kind == "pr_auc" else 1][:, 0]
        defined = np.isfinite(values)
        if not defined.any():
            return np.full(self.clusters, np.nan)
        make = self._of_pr_auc if kind == "pr_auc" else self._of_roc_auc
        of_positive, of_limit = make([column[:, 0] for column in sums], found, np.where(defined, values, 0.0))
        share = np.where(defined, 1.0 / defined.sum(), 0.0)
        # A cell between two limits has what its limit has, and a positive one its own on top of that.
        cell_values = np.repeat(of_limit * share[self.ranking_of], self.lengths)
        cell_values[self.positive] += (of_positive * share[self.of_block])[self.block]
        return np.bincount(self.owners, weights=cell_values, minlength=self.clusters)

    def _of_pr_auc(
        self, sums: Sequence[np.ndarray], found: np.ndarray, values: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What a positive cell of each block has beside, and what any cell between two limits has.

        PR-AUC is the sum over blocks of (positives inside / all positives) * (hits / cells up to its end). A cell's
        weight is in `cells up to the end` of its own block and of all below, a positive cell's in `hits` as well.
        """
        upto, _, inside, hits, _ = sums
        by = found[self.of_block]
        of_hits = self._from_here(inside / upto)
        of_cells = self._from_here(inside * hits / upto**2)
        of_positive = (hits / upto - values[self.of_block] + of_hits) / by
        return of_positive, -self._at_limits(of_cells / by)

    def _of_roc_auc(
        self, sums: Sequence[np.ndarray], found: np.ndarray, values: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same of ROC-AUC: a positive cell counts negative ones below it, a negative one positive ones above."""
        upto, block, inside, hits, cells = sums
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


def matrix(columns: np.ndarray, rows: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    """How many cells there are by row and column; times weights of columns it adds up those of each row's cells."""
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)


def _single(of: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same in float32."""
    return sparse.csr_matrix((of.data.astype(np.float32), of.indices, of.indptr), shape=of.shape)


def _added_up(values: np.ndarray) -> np.ndarray:
    """Sums over the first axis of all that is above each place, beginning with nothing."""
    total = np.zeros((len(values) + 1, values.shape[1]), values.dtype)
    np.cumsum(values, axis=0, out=total[1:])
    return total


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotients; NaN where there is nothing below."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)
