"""Does the test of augrun.evaluation.significance keep its word? Simulated experiments whose truth is known.

A population of clusters (artists) with clips of several classes is drawn anew for every experiment, and two conditions
are trained on it for several trials: their scores share what is hard about a clip and a cluster, differ in what each
condition makes of it, and every training has a quality of its own (the noise of training: the standard deviation of a
metric over trials, in points of 0.01) and clips of its own that it gets right or wrong. Without an effect both
conditions are drawn alike; the planted effect is a better quality of one of them, and its true size is measured on a
population of 20 times as many clusters over many trainings.

Printed for each number of trials and each noise: how often p < 0.05 without an effect (5 % is meant, 3 to 8 % passes)
and how often the 95 % interval holds the true effect (95 % is meant, 92 to 98 % passes), the smallest and the largest
over the metrics; and how often the effect is found.

    python scripts/calibrate_significance.py                 # the whole table
    python scripts/calibrate_significance.py --trials 3 --noise 1 --experiments 500
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path

import numpy as np

from augrun.evaluation.predicted import Cell, Predicted
from augrun.evaluation.significance import Difference, compare
from augrun.evaluation.thresholds import fit_thresholds
from augrun.evaluation.weighted import Table, Weighted

#: What is allowed of a 5 % test and of a 95 % interval.
REJECTED, COVERED = (0.03, 0.08), (0.92, 0.98)

SINGLE = ("uar", "war", "f1_macro", "pr_auc_macro", "roc_auc_macro")
SEVERAL = ("f1_argmax_macro", "f1_val_macro", "pr_auc_macro", "roc_auc_macro", "pr_auc_micro", "roc_auc_micro")


@dataclass(frozen=True)
class World:
    """What experiments are drawn from.

    Attributes:
        clusters: in the test part of each fold.
        clips: of a cluster on average; their number is geometric.
        classes: how many.
        folds: how many, each with clusters of its own.
        multilabel: whether clips carry several classes, with thresholds of a validation part as large.
        quality: how much the right class's score stands out.
        effect: what the better condition's quality is above that.
        noise: standard deviation of the quality over trainings.
        chaos: standard deviation of what a training gets right or wrong of a clip on its own; 0 with no noise at all.
    """

    clusters: int = 60
    clips: float = 5.0
    classes: int = 6
    folds: int = 1
    multilabel: bool = False
    quality: float = 1.6
    effect: float = 0.0
    noise: float = 0.0
    chaos: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        return SEVERAL if self.multilabel else SINGLE

    def tables(self, trials: int, rng: np.random.Generator) -> list[list[list[Table]]]:
        """The predictions of both conditions on one draw of test clips, [condition][trial][fold]."""
        found: list[list[list[Table]]] = [[[] for _ in range(trials)] for _ in range(2)]
        for _ in range(self.folds):
            parts = [self._population(rng) for _ in range(2 if self.multilabel else 1)]
            for condition in range(2):
                own = [self._own(part, rng) for part in parts]
                for trial in range(trials):
                    quality = self.quality + self.effect * (condition == 0) + self.noise * rng.normal()
                    scores = [self._scores(part, one, quality, rng) for part, one in zip(parts, own, strict=True)]
                    found[condition][trial].append(_table(parts, scores))
        return found

    def _population(self, rng: np.random.Generator) -> _Part:
        """Clips of drawn clusters, and what is hard about them for anyone."""
        sizes = rng.geometric(1 / self.clips, size=self.clusters)
        owners = np.repeat(np.arange(self.clusters), sizes)
        leaning = rng.dirichlet(np.full(self.classes, 0.7), size=self.clusters)[owners]
        if self.multilabel:
            targets = rng.random(leaning.shape) < 0.05 + 0.5 * leaning
        else:
            drawn = (leaning.cumsum(1) > rng.random((len(owners), 1))).argmax(1)
            targets = np.eye(self.classes, dtype=bool)[drawn]
        hard = 0.5 * rng.normal(size=(self.clusters, self.classes))[owners] + 0.8 * rng.normal(size=targets.shape)
        return _Part(owners, targets, hard)

    def _own(self, part: _Part, rng: np.random.Generator) -> np.ndarray:
        """What a condition makes of each clip and cluster, whatever its training's seed."""
        of_clusters = 0.25 * rng.normal(size=(self.clusters, self.classes))[part.owners]
        return of_clusters + 0.4 * rng.normal(size=part.targets.shape)

    def _scores(self, part: _Part, own: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
        chaos = self.chaos * rng.normal(size=own.shape) if self.chaos else 0.0
        return (quality * part.targets + part.hard + own + chaos).astype(np.float32)


@dataclass(frozen=True)
class _Part:
    owners: np.ndarray
    targets: np.ndarray
    hard: np.ndarray


def _table(parts: list[_Part], scores: list[np.ndarray]) -> Table:
    test = parts[0]
    decisions = scores[0] >= fit_thresholds(scores[1], parts[1].targets) if len(parts) > 1 else None
    first = np.where(test.targets.any(1), test.targets.argmax(1), -1)
    return Table(scores[0], test.targets, first, test.owners, decisions)


def experiment(world: World, trials: int, seed: int) -> list[Difference]:
    """What is said of each metric of one experiment."""
    tables = world.tables(trials, np.random.default_rng(seed))
    both = []
    for of in tables:
        cells = {
            # Folds have clusters of their own.
            (str(fold), trial): Cell(
                np.arange(len(table.scores)),
                np.array([f"{fold:03d}-{k:05d}" for k in range(world.clusters)]),
                table,
            )
            for trial, by_fold in enumerate(of)
            for fold, table in enumerate(by_fold)
        }
        both.append(Predicted(cells, world.names))
    found = compare(*both, resamples=0)
    return [found[name] for name in world.names]


@lru_cache(maxsize=None)
def truth(world: World, trainings: int = 300) -> np.ndarray:
    """The true difference of each metric: on 20 times the clusters, over many trainings; shape (metrics,)."""
    rng = np.random.default_rng(12345)
    large = replace(world, clusters=world.clusters * 20, folds=1)
    total = []
    for _ in range(max(1, trainings // 60)):
        tables = large.tables(60 if world.noise or world.chaos else 1, rng)
        values, _ = _levels(tables, large)
        total.append(values)
    return np.mean(total, axis=0)


def _levels(tables: list[list[list[Table]]], world: World) -> tuple[np.ndarray, np.ndarray]:
    """Mean difference of each metric, and the standard deviation of the second condition's over trials."""
    ones = np.ones((1, world.clusters))
    found = np.array(
        [[[Weighted(t, world.names, world.clusters).measure(ones)[0] for t in trial] for trial in of] for of in tables]
    )
    return (found[0] - found[1]).mean((0, 1)), found[1].mean(1).std(axis=0, ddof=1) if found.shape[1] > 1 else 0


def noise_for(points: float, world: World) -> float:
    """The standard deviation of quality that gives the first metric so many points of 0.01 over trials."""
    if not points:
        return 0.0
    rng = np.random.default_rng(54321)
    large = replace(world, clusters=world.clusters * 20, folds=1, noise=0.2)
    _, spread = _levels(large.tables(60, rng), large)
    return 0.2 * points / 100 / float(np.asarray(spread)[0])


def calibrate(world: World, trials: int, points: float, experiments: int, workers: int, seed: int = 0) -> dict:
    """Rejections without an effect and coverage with one; None of what is not said."""
    chaos = 0.4 if points else 0.0
    plain = replace(world, noise=noise_for(points, replace(world, chaos=chaos)), chaos=chaos)
    planted = replace(plain, effect=0.15)
    true = truth(planted)
    with ProcessPoolExecutor(workers) as pool:
        seeds = [seed * 1_000_003 + at for at in range(experiments)]
        null = list(pool.map(partial(experiment, plain, trials), seeds, chunksize=25))
        real = list(pool.map(partial(experiment, planted, trials), seeds, chunksize=25))
    low, high = (
        np.array([[getattr(one, end) for one in found] for found in real], float) for end in ("ci_low", "ci_high")
    )
    return {
        "trials": trials,
        "noise": points,
        "clusters": world.clusters,
        "folds": world.folds,
        "metrics": list(world.names),
        "why": null[0][0].why,
        "rejected": _rejected(null),
        "covered": None if np.isnan(low).all() else ((low <= true) & (true <= high)).mean(0).tolist(),
        "effect": true.tolist(),
        "found": _rejected(real),
    }


def _rejected(experiments: list[list[Difference]]) -> list[float] | None:
    """How often p is below 0.05, by metric; None where there is no p."""
    if experiments[0][0].why:
        return None
    p = np.array([[np.nan if one.p is None else one.p for one in found] for found in experiments])
    return (p < 0.05).mean(0).tolist()


def main() -> int:
    """Prints the table; the exit code is 1 where something is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[2, 3, 5, 10])
    parser.add_argument("--noise", type=float, nargs="+", default=[0, 1, 2], help="points of 0.01 over trials")
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--clusters", type=int, nargs="+", default=[60])
    parser.add_argument("--clips", type=float, default=5.0, help="of a cluster on average")
    parser.add_argument("--folds", type=int, nargs="+", default=[1])
    parser.add_argument("--multilabel", type=int, nargs="+", default=[0, 1], choices=(0, 1))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows, failed = [], 0
    print("classes  clusters  folds  trials  noise   p < 0.05 without an effect   interval holds the effect   found")
    settings = product(given.multilabel, given.folds, given.clusters, given.noise, given.trials)
    for multilabel, folds, clusters, points, trials in settings:
        started = time.perf_counter()
        world = World(clusters, given.clips, folds=folds, multilabel=bool(multilabel))
        row = calibrate(world, trials, points, given.experiments, given.workers)
        rows.append({"multilabel": bool(multilabel), **row})
        bad = not (_within(row["covered"], COVERED) and _within(row["rejected"], REJECTED))
        failed += bad
        told = [_span(row[key]) for key in ("rejected", "covered", "found")]
        print(
            f"{'several' if multilabel else 'one':7}  {clusters:8}  {folds:5}  {trials:6}  {points:5g}   "
            f"{told[0]:26}   {told[1]:25}   {told[2]}{'   <- OUT OF RANGE' if bad else ''}"
            f"   ({time.perf_counter() - started:.0f} s)",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))
    return 1 if failed else 0


def _within(values: list[float] | None, limits: tuple[float, float]) -> bool:
    return values is None or all(limits[0] <= value <= limits[1] for value in values)


def _span(values: list[float] | None) -> str:
    return "none given" if values is None else f"{100 * min(values):.1f} to {100 * max(values):.1f} %"


if __name__ == "__main__":
    sys.exit(main())
