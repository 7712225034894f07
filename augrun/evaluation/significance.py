"""Whether two conditions differ: by more than the noise of training and the choice of test clips.

Two questions, never one for the other:

**Would training anew on these train clips, tested on other clips of the same kind, show it again?** The difference is
of two means over trials t and folds f. Two things make it vary. Training: another seed gives another metric. Seeds
differ by trial and fold, so each fold's variance over trials of either condition is an estimate of its own, and
V_train = sum over folds and conditions of var_t / (F² T); that a condition and its reference may share a seed is not
counted on. Test clips: other clusters (artists, speakers) would give other metrics. What each cluster adds to a
condition's metric, u[t, g], is known (`Weighted.shares`), and what different trainings have of it in common is the
clips' own: V_clips = sum over clusters of what the products u[t, g] u[t', g] of different trainings are on average,
the two conditions' with a plus, those between them with a minus; what trainings have not in common is in V_train
already. That is the analysis of Obuchowski and Rockette 1995 for readers and cases, with trainings as readers and
clusters as cases. The degrees of freedom of V_train + V_clips are Satterthwaite's 1946, as Hillis 2007 has them for
that analysis. Student's t then gives the interval and p. With fewer than `LEAST_TRIALS` trials there is an interval
but no p; nor is there one where all trials share a generator, whose training may have been lucky. What another draw
of train and validation clips would change is not known to either.

**Would other test clips of the same kind, given to these very models, show it again?** (`these trained models only`.)
The paired bootstrap over clusters (percentile interval; Efron and Tibshirani 1993) and the paired permutation test
(each cluster's predictions change places between the two conditions, or not). The noise of training is not in it: with
few trials it finds differences that a second run would not.

Where folds have few clusters (two speakers a session), clusters within folds tell too little, and the folds themselves
are the units: Student's t over their differences, which hold the noise of training as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from augrun.evaluation.predicted import LEAST_FOLDS, Predicted, Strata
from augrun.evaluation.weighted import Weighted

#: With fewer trials there is no p: the spread of two of them is known too badly.
LEAST_TRIALS = 3

#: With fewer clusters that are free to vary there is neither: intervals would be too narrow, as
#: scripts/calibrate_significance.py --clusters 5 shows.
LEAST_CLUSTERS = 10

#: The chance to find a difference as large as `detectable`.
POWER = 0.8

#: Draws that one thread works on at a time.
BATCH = 200

TOO_FEW_TRIALS = {
    1: "one trial says nothing about the noise of training",
    2: "two trials cannot decide",
}

#: Why there is no p where trials share a generator.
ONE_GENERATOR = "all trials share one generator a fold, so that the noise of its training is not known"


@dataclass(frozen=True)
class Difference:
    """How one metric of a condition differs from its reference's.

    Attributes:
        difference: of the means over trials and folds; None where some fold has no class to measure.
        ci_low: the interval's lower end; None where the noise of training cannot be known.
        ci_high: its upper end.
        p: two-sided, of no difference; None where it cannot be had.
        df: degrees of freedom of the interval.
        detectable: the smallest true difference that so many clips and trials would have shown four times in five;
            None without a p.
        fixed_low: for these trained models only, the bootstrap interval's lower end; None with few clusters.
        fixed_high: its upper end.
        fixed_p: for these trained models only, of the permutation test.
        trials: how many both have.
        clusters: of test clips.
        folds: where these are the units that vary, and not clusters, how many there are; else None.
        why: why there is no p, and perhaps no interval; empty where there is one.
    """

    difference: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    p: float | None = None
    df: float | None = None
    detectable: float | None = None
    fixed_low: float | None = None
    fixed_high: float | None = None
    fixed_p: float | None = None
    trials: int = 0
    clusters: int = 0
    folds: int | None = None
    why: str = ""

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def compare(
    mine: Predicted,
    its: Predicted,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    workers: int = 1,
) -> dict[str, Difference]:
    """How each metric of a condition differs from that of its reference.

    Args:
        mine: the condition.
        its: the reference.
        confidence: the level of intervals.
        resamples: draws of bootstrap and permutation; 0 leaves `these trained models only` out.
        seed: of the draws.
        workers: threads for them.

    Returns:
        By metric; nothing where the two were not tested on the same clips.
    """
    if mine.folds != its.folds or any(not _same_clips(mine, its, fold) for fold in mine.folds):
        return {}
    trials = [trial for trial in mine.trials if trial in its.trials]
    pairs = [(fold, trial) for fold in mine.folds for trial in trials]
    names = [name for name in mine.names if name in its.names]
    if not trials or not names or any(key not in mine.cells or key not in its.cells for key in pairs):
        return {}
    world = _World(mine, its, names, trials)
    fixed = world.fixed(resamples, seed, workers, confidence) if resamples else [(None, None, None)] * len(names)
    return {name: world.difference(place, confidence, fixed[place]) for place, name in enumerate(names)}


def _same_clips(mine: Predicted, its: Predicted, fold: str) -> bool:
    """Whether all trials of both were tested on the same clips of the fold, in the same order."""
    cells = [cell for one in (mine, its) for (name, _), cell in one.cells.items() if name == fold]
    return all(np.array_equal(cells[0].clips, cell.clips) for cell in cells)


class _World:
    """Two conditions on the same clips, trial by trial."""

    def __init__(self, mine: Predicted, its: Predicted, names: list[str], trials: list[int]) -> None:
        self.both, self.names, self.trials, self.folds = (mine, its), names, trials, mine.folds
        places = [[one.names.index(name) for name in names] for one in self.both]
        #: Shape (trials, folds, metrics) each.
        self.values = [
            np.array([[one.metrics[fold, trial][at] for fold in self.folds] for trial in trials])
            for one, at in zip(self.both, places, strict=True)
        ]
        self.places = places
        self.differences = self.values[0] - self.values[1]
        self.strata = Strata.of([mine.cells[fold, trials[0]].clusters for fold in self.folds])

    def difference(self, place: int, confidence: float, fixed: tuple[float | None, ...]) -> Difference:
        """One metric, with its interval and p."""
        low, high, fixed_p = fixed
        defined = bool(np.isfinite(self.differences[:, :, place]).all())
        few = self._few_units()
        why = (few or self._unknown_noise()) if defined else "some folds have no class to measure"
        known: dict[str, Any] = {"fixed_low": low, "fixed_high": high, "fixed_p": fixed_p} if defined else {}
        known |= {"trials": len(self.trials), "clusters": self.strata.clusters, "why": why}
        known |= {"folds": len(self.strata.units)} if self.strata.by_fold else {}
        mean = float(self.differences[:, :, place].mean()) if defined else None
        found = self._variance(place) if defined and not few else None
        if found is not None and mean is not None:
            known |= student(mean, *found, confidence)
        return Difference(mean, **(known | {"p": None, "detectable": None} if why else known))

    def _unknown_noise(self) -> str:
        """Why the noise of training is known too badly for a p; empty where it is not."""
        if len(self.trials) in TOO_FEW_TRIALS:
            return TOO_FEW_TRIALS[len(self.trials)]
        # Between folds, each with a generator of its own, its noise shows; between trials that share one it does not.
        return ONE_GENERATOR if not self.strata.by_fold and any(one.trained_once for one in self.both) else ""

    def _few_units(self) -> str:
        """Why the test clips are too few for an interval; empty where they are not."""
        if self.strata.by_fold:
            units = len(self.strata.units)
            return "" if units >= LEAST_FOLDS else f"{units} folds with few clusters of test clips are too few"
        free = self.strata.free
        return "" if free >= LEAST_CLUSTERS else f"{self.strata.clusters} clusters of test clips are too few"

    def _variance(self, place: int) -> tuple[float, float] | None:
        """Of the difference, and its degrees of freedom; None where the noise of training cannot be known."""
        if len(self.trials) < 2:
            return None
        if self.strata.by_fold:
            units = self._by_unit()[:, place]
            return float(units.var(ddof=1)) / len(units), len(units) - 1.0
        # Folds that were trained by the same seeds are one: the mean over a table's columns.
        seeds = [self.both[0].seeded[fold] for fold in self.folds]
        alike = [[at for at, seed in enumerate(seeds) if seed == one] for one in dict.fromkeys(seeds)]
        values = [np.stack([one[:, at, place].mean(1) for at in alike], axis=1) for one in self.values]
        found = combine(values, self._shares(place), self.strata.groups)
        return found if np.isfinite(found[0]) else None

    def _by_unit(self) -> np.ndarray:
        """Differences of the folds that vary, shape (units, metrics)."""
        return np.array([self.differences[:, unit].mean((0, 1)) for unit in self.strata.units])

    def _shares(self, place: int) -> list[np.ndarray]:
        """What all clusters add to the mean over folds, for both conditions, shape (trials, clusters)."""
        found = []
        for one, places in zip(self.both, self.places, strict=True):
            total = np.zeros((len(self.trials), self.strata.clusters))
            for row, trial in enumerate(self.trials):
                for fold, at in zip(self.folds, self.strata.at, strict=True):
                    total[row, at] += one.shares[fold, trial][places[place]] / len(self.folds)
            found.append(total)
        return found

    def fixed(self, resamples: int, seed: int, workers: int, confidence: float) -> list[tuple[float | None, ...]]:
        """For these trained models only: interval and p of each metric."""
        if self.strata.clusters < 2:
            return [(None, None, None)] * len(self.names)
        observed = self.differences.mean((0, 1))
        with ThreadPoolExecutor(workers) as pool:
            seeds = np.random.SeedSequence(seed).spawn(-(-resamples // BATCH))
            sizes = [min(BATCH, resamples - at * BATCH) for at in range(len(seeds))]
            drawn = np.concatenate(list(pool.map(self._bootstrap, seeds, sizes)))
            swapped = np.concatenate(list(pool.map(self._permute, seeds, sizes)))
        ends = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
        few = (len(self.strata.units) if self.strata.by_fold else self.strata.free) < LEAST_CLUSTERS
        if few:  # a percentile of so few is far too sure of itself
            ends[:] = np.nan
        # The pairs as they are count as one of the permutations (Phipson and Smyth 2010), so that p is never 0.
        beyond = (np.abs(swapped) >= np.abs(observed) - 1e-12).sum(0)
        p = (beyond + 1) / (resamples + 1)
        return [tuple(float(x) if np.isfinite(x) else None for x in found) for found in zip(*ends, p, strict=True)]

    def _bootstrap(self, seed: np.random.SeedSequence, draws: int) -> np.ndarray:
        """Differences under weights of drawn clusters, shape (draws, metrics)."""
        rng = np.random.default_rng([*seed.generate_state(2), 0])
        if self.strata.by_fold:
            units = self._by_unit()
            return units[rng.integers(len(units), size=(draws, len(units)))].mean(1)
        weights = self.strata.drawn(rng, draws)
        total = np.zeros((draws, len(self.names)))
        for fold, at in zip(self.folds, self.strata.at, strict=True):
            for one, sign, places in zip(self.both, (1, -1), self.places, strict=True):
                for trial in self.trials:
                    total += sign * one.weighted[fold, trial].measure(weights[:, at])[:, places]
        return total / (len(self.folds) * len(self.trials))

    def _permute(self, seed: np.random.SeedSequence, draws: int) -> np.ndarray:
        """Differences where clusters have changed places, shape (draws, metrics)."""
        rng = np.random.default_rng([*seed.generate_state(2), 1])
        stay = rng.integers(2, size=(draws, self.strata.clusters))
        total = np.zeros((draws, len(self.names)))
        for fold, at in zip(self.folds, self.strata.at, strict=True):
            mine, its = stay[:, at], 1 - stay[:, at]
            for trial in self.trials:
                here, there = self._stacked[fold, trial].exchange(np.concatenate([mine, its], axis=1))
                total += here - there
        return total / (len(self.folds) * len(self.trials))

    @cached_property
    def _stacked(self) -> dict[tuple[str, int], Weighted]:
        """Both conditions' predictions one below the other, so that weights choose between them."""
        return {
            key: Weighted(self.both[0].cells[key].table.beside(self.both[1].cells[key].table), self.names)
            for key in ((fold, trial) for fold in self.folds for trial in self.trials)
        }


def combine(
    values: Sequence[np.ndarray], shares: Sequence[np.ndarray], groups: Sequence[np.ndarray]
) -> tuple[float, float]:
    """The variance of the difference of two means over trials and folds, and its degrees of freedom.

    Args:
        values: a metric of both conditions by trial and fold, shape (trials, folds) each; two trials at least.
        shares: what each cluster adds to both conditions' means over folds, shape (trials, clusters) each.
        groups: numbers of the clusters that vary among themselves, such as those of a fold.

    Returns:
        Variance and degrees of freedom (infinite where nothing varies).
    """
    trials, folds = values[0].shape
    spreads = np.concatenate([one.var(axis=0, ddof=1) for one in values])
    training = float(spreads.sum()) / (folds**2 * trials)
    mine, its = shares
    products = -2 * mine.mean(0) * its.mean(0)
    for found in (mine, its):
        products += (found.sum(0) ** 2 - (found**2).sum(0)) / (trials * (trials - 1))
    clips = max(float(products.sum()), 0.0)
    total = training + clips
    if total <= 0:
        return 0.0, np.inf
    train_df = (trials - 1) * _satterthwaite(spreads)
    return total, total**2 / (training**2 / train_df + clips**2 / _clips_df(products, clips, groups))


def _clips_df(products: np.ndarray, clips: float, groups: Sequence[np.ndarray]) -> float:
    """How many independent squares of normal variables the variance over clusters is worth, at least 1.

    One less than each group's clusters; fewer where groups differ, and where some clusters matter more than others.
    """
    free = len(products) - len(groups)
    spread = len(products) * float(products.var(ddof=1))
    parts = [(max(float(products[group].sum()), 0.0), len(group) - 1) for group in groups]
    weighted = sum(part**2 / count for part, count in parts if count)
    by_group = sum(part for part, _ in parts) ** 2 / weighted if weighted else free
    by_cluster = 2 * clips**2 / spread if spread else free
    return max(1.0, min(free, by_group, by_cluster))


def _satterthwaite(variances: np.ndarray) -> float:
    """How many equal variances a sum of different ones is worth."""
    squares = float((variances**2).sum())
    return float(variances.sum()) ** 2 / squares if squares else float(len(variances))


def student(mean: float, variance: float, df: float, confidence: float) -> dict[str, float | None]:
    """Interval, p and smallest detectable difference by Student's t."""
    from scipy import stats

    if variance <= 0:
        return {"ci_low": mean, "ci_high": mean, "p": None, "df": None, "detectable": None}
    error = float(np.sqrt(variance))
    critical = float(stats.t.ppf((1 + confidence) / 2, df))
    return {
        "ci_low": mean - critical * error,
        "ci_high": mean + critical * error,
        "p": float(2 * stats.t.sf(abs(mean) / error, df)),
        "df": float(df),
        "detectable": (critical + float(stats.t.ppf(POWER, df))) * error,
    }


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Corrected so that the chance of any false discovery among them stays the level (Holm 1979).

    Args:
        p_values: by name; None where there is none, which is no comparison and counts as none.
    """
    known = sorted((p, name) for name, p in p_values.items() if p is not None)
    corrected: dict[str, float | None] = dict.fromkeys(p_values)
    highest = 0.0
    for place, (p, name) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - place)))
        corrected[name] = highest
    return corrected
