"""Throughput of the paired bootstrap and permutation over clusters, beside scikit-learn's metrics on drawn clips.

    python scripts/bench_bootstrap.py [--resamples 10000] [--turns 1]

One pair of score tables of the size of MTG-Jamendo's test part (4,231 clips, 56 classes), six metrics. `augrun` weighs
what it has sorted once; the plain way draws clips and measures again, and is timed on a draw a turn.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

import benching
import numpy as np
from sklearn import metrics as sk

from augrun.evaluation.predicted import Predicted
from augrun.evaluation.significance import compare

NAMES = ("f1_argmax_macro", "f1_val_macro", "pr_auc_macro", "roc_auc_macro", "pr_auc_micro", "roc_auc_micro")


def write(folder: Path, scores: np.ndarray, truth: np.ndarray, clusters: np.ndarray, half: int) -> Path:
    """A condition's folder with one trial: the first half is its validation part, the rest the test part."""
    (folder / "predictions").mkdir(parents=True)
    arrays = {}
    for part, rows in (("validation", slice(None, half)), ("test", slice(half, None))):
        targets = truth[rows]
        arrays |= {
            f"{part}_scores": scores[rows],
            f"{part}_targets": targets,
            f"{part}_first_labels": np.where(targets.any(1), targets.argmax(1), -1),
            f"{part}_clips": np.arange(len(truth))[rows].astype(str),
            f"{part}_clusters": clusters[rows].astype(str),
        }
    np.savez(folder / "predictions" / "one.npz", **arrays)
    entry = {"fold": "official", "trial": 0, "predictions": "predictions/one.npz"}
    (folder / "results.json").write_text(json.dumps({"multilabel": True, "trials": [entry]}))
    return folder


def plain(mine: Predicted, its: Predicted, draws: int) -> float:
    """Seconds of a bootstrap draw with scikit-learn."""
    rng = np.random.default_rng(0)
    started = time.perf_counter()
    for _ in range(draws):
        for one in (mine, its):
            table = next(iter(one.cells.values())).table
            rows = rng.integers(len(table.scores), size=len(table.scores))
            scores, targets, first = table.scores[rows], table.targets[rows], table.first_labels[rows]
            assert table.decisions is not None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                sk.f1_score(first[first >= 0], scores[first >= 0].argmax(1), average="macro")
                sk.f1_score(targets, table.decisions[rows], average="macro", zero_division=0)
                for average in ("macro", "micro"):
                    sk.average_precision_score(targets, scores, average=average)
                    sk.roc_auc_score(targets, scores, average=average)
    return (time.perf_counter() - started) / draws


def main() -> int:
    """Prints the figures; the exit code is 1 where the promised time is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--clips", type=int, default=4231)
    parser.add_argument("--classes", type=int, default=56)
    parser.add_argument("--clusters", type=int, default=0, help="0: as many as clips, the dearest case")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--most-s", type=float, default=60.0, help="of 10,000 draws")
    parser.add_argument("--turns", type=int, default=1)
    benching.options(parser)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    clips = 2 * given.clips
    truth = rng.random((clips, given.classes)) < 0.035
    clusters = rng.permutation(np.arange(clips) % (given.clusters or clips))
    with tempfile.TemporaryDirectory() as scratch:
        both = []
        for place in range(2):
            scores = (1.0 * truth + rng.normal(size=truth.shape)).astype(np.float32)
            both.append(Predicted.load(write(Path(scratch) / str(place), scores, truth, clusters, given.clips), NAMES))
        works = {
            "ours": benching.seconds(lambda: compare(*both, resamples=given.resamples, workers=given.workers)),
            "plain": lambda: plain(*both, draws=1),
        }
        found = benching.turns(works, given.turns, warm=0)
    ours = [seconds / given.resamples for seconds in found["ours"]]
    size = f"{given.clips:,} clips × {given.classes} classes, {len(NAMES)} metrics"
    what = f"a draw of the bootstrap and one of the permutation ({given.resamples:,} of {size})"
    rows = [
        benching.row(
            what, [1000 * s for s in ours], [1000 * s for s in found["plain"]], "a draw by scikit-learn", unit="ms"
        ),
        benching.row("10,000 of them", [10_000 * s for s in ours], target=given.most_s),
    ]
    benching.leave(rows, given.json)
    return int(not rows[-1].met)


if __name__ == "__main__":
    sys.exit(main())
