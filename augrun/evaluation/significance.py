"""Whether two conditions differ: by more than the noise of training and the choice of test clips.

Two questions, never one for the other:

**Would training anew on clips of the same kind show it again?** The difference is of two means over trials t and folds f.
Two things make it vary. Training: another seed gives another metric. Seeds differ by trial and fold, so each fold's
variance over trials of either condition is an estimate of its own, and V_train = sum over folds and conditions of
var_t / (F² T); that a condition and its reference may share a seed is not counted on. Test clips: other clusters
(artists, speakers) would give other metrics. Each cluster's influence u[t, g] on a condition's metric is known
(`augrun.evaluation.weighted`), and what different trainings have of it in common is the clips' own: V_clips = sum over
clusters of what the products u[t, g] u[t', g] of different trainings are on average, the two conditions' with a plus,
those between them with a minus; what trainings have not in common is in V_train already. That is the analysis of
Obuchowski and Rockette 1995 for readers and cases, with trainings as readers and clusters as cases (by the
infinitesimal jackknife, within folds). The degrees of freedom of V_train + V_clips are Satterthwaite's 1946, as Hillis
2007 has them for that analysis. Student's t then gives the interval and p. With fewer than `LEAST_TRIALS` trials there
is an interval but no p.

**Would other test clips of the same kind, given to these very models, show it again?** (`these trained models only`.)
The paired bootstrap over clusters (percentile interval; Efron and Tibshirani 1993) and the paired permutation test
(each cluster's predictions change places between the two conditions, or not). The noise of training is not in it: with
few trials it finds differences that a second run would not.

Where a fold has one cluster alone (a speaker a fold), clusters within folds tell nothing and the folds themselves are
the units: Student's t over their differences, which hold the noise of training as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from augrun.evaluation.thresholds import fit_thresholds
from augrun.evaluation.weighted import NAMES, Table, Weighted

#: With fewer trials there is no p: the spread of two of them is known too badly.
LEAST_TRIALS = 3

#: With fewer clusters (beyond one a fold) there is no p either; scripts/calibrate_significance.py shows why.
LEAST_CLUSTERS = 10

#: The chance to find a difference as large as `detectable`.
POWER = 0.8

#: Draws that one thread works on at a time.
BATCH = 200

TOO_FEW_TRIALS = {
    1: "one trial says nothing about the noise of training",
    2: "two trials cannot decide",
}


@dataclass(frozen=True)
class Difference:
    """How one metric of a condition differs from its reference's.

    Attributes:
        difference: of the means over trials and folds.
        ci_low: the interval's lower end; None where the noise of training cannot be known.
        ci_high: its upper end.
        p: two-sided, of no difference; None where it cannot be had.
        df: degrees of freedom of the interval.
        detectable: the smallest true difference that so many clips and trials would have shown four times in five.
        fixed_low: for these trained models only, the bootstrap interval's lower end.
        fixed_high: its upper end.
        fixed_p: for these trained models only, of the permutation test.
        trials: how many both have.
        clusters: of test clips.
        why: why there is no p; empty where there is one.
    """

    difference: float
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
    why: str = ""

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Cell:
    """What one fold and trial predicted.

    Attributes:
        clips: ids of the test utterances, shape (utterances,).
        clusters: the cluster of each, shape (utterances,).
        table: the scores and the truth; its clusters are numbered within the fold.
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
        codes = np.unique(clusters, return_inverse=True)[1]
        table = Table(scores, targets, file["test_first_labels"], codes, decisions)
        return Cell(file["test_clips"], clusters, table)


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
    return {
        name: world.difference(place, confidence, fixed[place])
        for place, name in enumerate(names)
        if np.isfinite(world.differences[:, :, place]).all()
    }


def _same_clips(mine: Predicted, its: Predicted, fold: str) -> bool:
    """Whether all trials of both were tested on the same clips of the fold, in the same order."""
    cells = [cell for one in (mine, its) for (name, _), cell in one.cells.items() if name == fold]
    return all(np.array_equal(cells[0].clips, cell.clips) for cell in cells)


class _World:
    """Two conditions on the same clips, trial by trial."""

    def __init__(self, mine: Predicted, its: Predicted, names: list[str], trials: list[int]) -> None:
        self.mine, self.its, self.names = mine, its, names
        self.trials, self.folds = trials, mine.folds
        places = [[one.names.index(name) for name in names] for one in (mine, its)]
        self.places = places
        #: Shape (trials, folds, metrics).
        self.differences = np.array(
            [
                [mine.metrics[fold, t][places[0]] - its.metrics[fold, t][places[1]] for fold in self.folds]
                for t in trials
            ]
        )
        self.clusters = len(np.unique(np.concatenate([self._clusters(fold) for fold in self.folds])))
        #: Whether folds, not clusters within them, are what varies.
        self.by_fold = any(len(np.unique(self._clusters(fold))) < 2 for fold in self.folds)

    def _clusters(self, fold: str) -> np.ndarray:
        return self.mine.cells[fold, self.trials[0]].clusters

    def difference(
        self, place: int, confidence: float, fixed: tuple[float | None, float | None, float | None]
    ) -> Difference:
        """One metric, with its interval and p."""
        values = self.differences[:, :, place]
        low, high, fixed_p = fixed
        mean, found, why = float(values.mean()), self._variance(place), self._why()
        known: dict[str, Any] = {"fixed_low": low, "fixed_high": high, "fixed_p": fixed_p}
        known |= {"trials": len(self.trials), "clusters": self.clusters, "why": why}
        if found is not None:
            known |= student(mean, *found, confidence)
        return Difference(mean, **(known | {"p": None} if why else known))

    def _why(self) -> str:
        """Why there can be no p."""
        if len(self.trials) < LEAST_TRIALS:
            return TOO_FEW_TRIALS[len(self.trials)]
        units, what = (len(self.folds), "folds") if self.by_fold else (self.clusters, "clusters")
        least = 3 if self.by_fold else LEAST_CLUSTERS
        return f"{units} {what} of test clips are too few" if units < least else ""

    def _variance(self, place: int) -> tuple[float, float] | None:
        """Of the difference, and its degrees of freedom; None where the noise of training cannot be known."""
        values = self.differences[:, :, place]
        trials, folds = values.shape
        if self.by_fold:
            return None if folds < 2 else (float(values.mean(0).var(ddof=1)) / folds, folds - 1.0)
        if trials < 2:
            return None
        return combine(*self._parts(place))

    def _parts(self, place: int) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
        """What `combine` wants of a metric."""
        values, influences = [], []
        for one, places in zip((self.mine, self.its), self.places, strict=True):
            at = places[place]
            values.append(np.array([[one.metrics[fold, t][at] for fold in self.folds] for t in self.trials]))
            influences.append([np.array([one.influences[fold, t][at] for t in self.trials]) for fold in self.folds])
        return values, influences

    def fixed(
        self, resamples: int, seed: int, workers: int, confidence: float
    ) -> list[tuple[float | None, float | None, float | None]]:
        """For these trained models only: interval and p of each metric."""
        if self.clusters < 2:
            return [(None, None, None)] * len(self.names)
        observed = self.differences.mean((0, 1))
        with ThreadPoolExecutor(workers) as pool:
            seeds = np.random.SeedSequence(seed).spawn(-(-resamples // BATCH))
            sizes = [min(BATCH, resamples - at * BATCH) for at in range(len(seeds))]
            drawn = np.concatenate(list(pool.map(self._bootstrap, seeds, sizes)))
            swapped = np.concatenate(list(pool.map(self._permute, seeds, sizes)))
        ends = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
        # The pairs as they are count as one of the permutations (Phipson and Smyth 2010), so that p is never 0.
        beyond = (np.abs(swapped) >= np.abs(observed) - 1e-12).sum(0)
        p = (beyond + 1) / (resamples + 1)
        return [(float(low), float(high), float(one)) for low, high, one in zip(*ends, p, strict=True)]

    def _bootstrap(self, seed: np.random.SeedSequence, draws: int) -> np.ndarray:
        """Differences under weights of drawn clusters, shape (draws, metrics)."""
        rng = np.random.default_rng([*seed.generate_state(2), 0])
        if self.by_fold:
            picked = rng.integers(len(self.folds), size=(draws, len(self.folds)))
            return self.differences.mean(0)[picked].mean(1)
        total = np.zeros((draws, len(self.names)))
        for fold in self.folds:
            count = len(np.unique(self._clusters(fold)))
            weights = rng.multinomial(count, np.full(count, 1 / count), size=draws)
            for one, sign, places in ((self.mine, 1, self.places[0]), (self.its, -1, self.places[1])):
                for trial in self.trials:
                    total += sign * one.weighted[fold, trial].measure(weights)[:, places]
        return total / (len(self.folds) * len(self.trials))

    def _permute(self, seed: np.random.SeedSequence, draws: int) -> np.ndarray:
        """Differences where clusters have changed places, shape (draws, metrics)."""
        rng = np.random.default_rng([*seed.generate_state(2), 1])
        if self.by_fold:
            signs = rng.choice([-1.0, 1.0], size=(draws, len(self.folds)))
            return signs @ self.differences.mean(0) / len(self.folds)
        total = np.zeros((draws, len(self.names)))
        for fold in self.folds:
            count = len(np.unique(self._clusters(fold)))
            stay = rng.integers(2, size=(draws, count))
            for trial in self.trials:
                both = self._stacked[fold, trial]
                total += both.measure(np.concatenate([stay, 1 - stay], axis=1))
                total -= both.measure(np.concatenate([1 - stay, stay], axis=1))
        return total / (len(self.folds) * len(self.trials))

    @cached_property
    def _stacked(self) -> dict[tuple[str, int], Weighted]:
        """Both conditions' predictions one below the other, so that weights choose between them."""
        return {
            (fold, trial): Weighted(
                self.mine.cells[fold, trial].table.beside(self.its.cells[fold, trial].table), self.names
            )
            for fold in self.folds
            for trial in self.trials
        }


def combine(values: Sequence[np.ndarray], influences: Sequence[Sequence[np.ndarray]]) -> tuple[float, float]:
    """The variance of the difference of two means over trials and folds, and its degrees of freedom.

    Args:
        values: a metric of both conditions by trial and fold, shape (trials, folds) each; two trials at least.
        influences: of both conditions, for each fold those of its clusters, shape (trials, clusters of the fold); two
            clusters at least.

    Returns:
        Variance and degrees of freedom (infinite where nothing varies).
    """
    trials, folds = values[0].shape
    spreads = np.concatenate([one.var(axis=0, ddof=1) for one in values])
    training = float(spreads.sum()) / (folds**2 * trials)
    clips = clips_spread = 0.0
    clips_units = 0
    for pair in zip(*influences, strict=True):
        count = pair[0].shape[1]
        # Influences add up to 0 within a fold, so one of them is not free.
        scale = np.sqrt(count / (count - 1)) / folds
        mine, its = (scale * (found - found.mean(axis=1, keepdims=True)) for found in pair)
        products = -2 * mine.mean(0) * its.mean(0)
        for found in (mine, its):
            products += (found.sum(0) ** 2 - (found**2).sum(0)) / (trials * (trials - 1))
        clips += float(products.sum())
        clips_spread += count * float(products.var(ddof=1))
        clips_units += count - 1
    clips = max(clips, 0.0)
    train_df = (trials - 1) * _satterthwaite(spreads)
    # Of independent squares of a normal variable this is their number; where a few clusters matter it is smaller.
    clips_df = min(2 * clips**2 / clips_spread, clips_units) if clips_spread > 0 else float(clips_units)
    total = training + clips
    if total <= 0:
        return 0.0, np.inf
    parts = training**2 / train_df if training else 0.0
    parts += clips**2 / max(clips_df, 1.0) if clips else 0.0
    return total, total**2 / parts


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
