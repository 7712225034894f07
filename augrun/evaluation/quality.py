"""How near samples are to recordings, in the embedding of a classifier that was trained on recordings alone.

Usefulness says whether a classifier learns from samples; this says why it may not: they lie elsewhere (Fréchet
distance, precision), they are all alike (recall, coverage), or they are the recordings over again (nearest recording).

The reference is what the classifier was trained on. Beside each measure stands the same of the recorded test clips,
`…_recorded`: what perfect samples would get, with all that parts train from test, such as other speakers or another
corpus. A clip that carries several classes counts for each of them; a sample for the one that it was made for.

Embeddings are taken as they are. To standardise their dimensions would give those that hardly vary, by which the
classifier tells nothing apart, the weight of those that it decides by; and the Fréchet distance is customary without.
Hence distances have the unit of one network's activations: compare them between generators on the same baseline, and
with `…_recorded`, but not between corpora or classifiers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from augrun.evaluation.results import mean_of_defined, summarise

#: Nearest neighbours by which `prdc` draws its balls, as Naeem et al. 2020 propose.
NEIGHBOURS = 5

#: The share of recorded test clips that lie nearer to a train clip than a `copied` sample has to.
COPIED = 0.01

#: Classes that a note names; of more it says how many.
NAMED = 6

#: What is measured of each class, and beside it of recorded test clips as `<measure>_recorded`.
MEASURES = ("frechet", "precision", "recall", "density", "coverage", "nearest", "nearest_ratio", "copied")

#: What is counted of each class beside.
COUNTS = ("samples", "train_clips", "test_clips", "k", "k_recorded")


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """The squared Fréchet distance of the Gaussians fitted to two sets of embeddings.

    Heusel et al. 2017, section 3 (FID); Kilgour et al. 2019 (FAD) for sounds: |μa − μb|² + Tr(Σa + Σb − 2(ΣaΣb)^½).

    With A and B the centred embeddings over the root of their number less one, Σa = AᵀA and Σb = BᵀB, and the
    eigenvalues of ΣaΣb other than zero are the squared singular values of ABᵀ. So the last trace is their sum, and no
    root of a matrix is sought that has none, as where clips are fewer than dimensions. Few clips make the distance
    larger than it would be for many: compare like numbers only.

    Args:
        a: shape (clips, dimensions).
        b: alike.

    Returns:
        In squared units of the embedding; NaN where either has fewer than two clips.
    """
    if min(len(a), len(b)) < 2:
        return math.nan
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    roots = [_root(x) for x in (a, b)]
    between = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    apart = float(np.square(a.mean(axis=0) - b.mean(axis=0)).sum())
    spread = sum(float(np.square(root).sum()) for root in roots)
    return max(0.0, apart + spread - 2.0 * float(between))


def _root(x: np.ndarray) -> np.ndarray:
    """A matrix R with RᵀR the covariance of x, no more rows than it has columns."""
    centred = (x - x.mean(axis=0)) / math.sqrt(len(x) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r")) if len(x) > x.shape[1] else centred


def prdc(real: np.ndarray, fake: np.ndarray, k: int = NEIGHBOURS) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Around each clip lies a ball that reaches to its k-th nearest neighbour of its own kind. Precision is the share of
    samples in some recording's ball, recall that of recordings in some sample's. Density counts in how many recordings'
    balls a sample lies, over k, and may exceed one; coverage is the share of recordings with a sample in their ball.

    Args:
        real: recordings, shape (clips, dimensions).
        fake: samples, alike.
        k: fewer where either has no more than so many.

    Returns:
        The four, and the `k` used; NaN where either has fewer than two clips, and k is then 0.
    """
    from sklearn.metrics import pairwise_distances_chunked

    k = max(0, min(k, len(real) - 1, len(fake) - 1))
    if not k:
        return {**dict.fromkeys(("precision", "recall", "density", "coverage"), math.nan), "k": 0}
    real, fake = np.asarray(real, dtype=np.float64), np.asarray(fake, dtype=np.float64)
    reals, fakes = _radii(real, k), _radii(fake, k)
    balls = np.zeros(len(fake), dtype=np.int64)  # of recordings, that each sample lies in
    inside, covered = [], []
    begin = 0
    for chunk in pairwise_distances_chunked(real, fake):
        radii = reals[begin : begin + len(chunk)]
        balls += (chunk < radii[:, None]).sum(axis=0)
        inside.append((chunk < fakes).any(axis=1))
        covered.append(chunk.min(axis=1) < radii)
        begin += len(chunk)
    return {
        "precision": float((balls > 0).mean()),
        "recall": float(np.concatenate(inside).mean()),
        "density": float(balls.mean() / k),
        "coverage": float(np.concatenate(covered).mean()),
        "k": k,
    }


def _radii(x: np.ndarray, k: int) -> np.ndarray:
    """Each clip's distance to its k-th nearest other one."""
    from sklearn.neighbors import NearestNeighbors

    distances, _ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x).kneighbors()
    return np.asarray(distances[:, -1])


def nearest(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Euclidean distance of each clip to the nearest train clip of any class, shape (clips,)."""
    from sklearn.neighbors import NearestNeighbors

    if not len(x) or not len(train):
        return np.full(len(x), math.nan)
    model = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(np.asarray(train, dtype=np.float64))
    return np.asarray(model.kneighbors(np.asarray(x, dtype=np.float64))[0][:, 0])


def measure(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    made: np.ndarray,
    made_for: np.ndarray,
    k: int = NEIGHBOURS,
) -> dict[str, Any]:
    """The quality of the samples of one fold and trial, class by class, as plain data.

    Args:
        train: embeddings of the recordings that the classifier was trained on, shape (clips, dimensions), and their
            targets, shape (clips, classes).
        test: the same of recorded test clips.
        made: embeddings of the samples, shape (samples, dimensions).
        made_for: the class of each, shape (samples,).
        k: see `prdc`.

    Returns:
        `k` as asked for; `dimensions`; and `classes`, one entry each: its `COUNTS` (of clips, and the k used), and
        for samples and, as `<measure>_recorded`, for test clips the `MEASURES`, null where undefined: `frechet`;
        `precision`, `recall`, `density`, `coverage` (`prdc`); `nearest`, the median distance to the nearest train
        clip of any class; `nearest_ratio`, that over the test clips'; `copied`, the share that lies nearer to a train
        clip than `COPIED` of all test clips do. Honest samples have that share as well, or with n test clips about
        1 / (n + 1) where that is more, copies of whole clips 1; an excerpt of a clip lies elsewhere and is not found.
    """
    distances, recorded = nearest(made, train[0]), nearest(test[0], train[0])
    near = float(np.quantile(recorded, COPIED)) if len(recorded) else math.nan
    classes = []
    for label in range(train[1].shape[1]):
        of = train[0][train[1][:, label] > 0]
        mine, theirs = made_for == label, test[1][:, label] > 0
        usual = _median(recorded[theirs])
        found = _of_class(of, made[mine], distances[mine], usual, near, k)
        beside = _of_class(of, test[0][theirs], recorded[theirs], usual, near, k)
        counts = {"samples": int(mine.sum()), "train_clips": len(of), "test_clips": int(theirs.sum())}
        classes.append(
            {
                **counts,
                **{name: _plain(value) for name, value in found.items()},
                **{f"{name}_recorded": _plain(value) for name, value in beside.items()},
            }
        )
    return {"k": k, "dimensions": int(made.shape[1]), "classes": classes}


def _of_class(
    train: np.ndarray, clips: np.ndarray, distances: np.ndarray, usual: float, near: float, k: int
) -> dict[str, float]:
    """The measures of one class's samples or test clips.

    Args:
        train: embeddings of the class's train clips.
        clips: embeddings of the samples, or test clips.
        distances: of these to the nearest train clip.
        usual: the median of that for test clips of the class.
        near: nearer than this is `copied`.
        k: see `prdc`.
    """
    median = _median(distances)
    return {
        "frechet": frechet(train, clips),
        **prdc(train, clips, k),
        "nearest": median,
        "nearest_ratio": median / usual if usual > 0 else math.nan,
        # Where test clips lie on train clips, nearness says nothing.
        "copied": float((distances < near).mean()) if len(distances) and near > 0 else math.nan,
    }


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else math.nan


def account(
    cells: Sequence[tuple[str, int, Mapping[str, Any]]], names: Sequence[str], confidence: float = 0.95
) -> dict[str, Any]:
    """The quality of a condition's samples, as plain data.

    Args:
        cells: fold, trial, and what `measure` returned.
        names: of the classes.
        confidence: the level of intervals over trials.

    Returns:
        `classes`; `k` and `dimensions`; `per_class`: its `COUNTS` and measures, each the mean over trials of the mean
        over folds; `frechet_trials` and `frechet_recorded_trials`, shape (trials, classes); `summary`: mean, spread and
        interval over trials of each measure and each `<measure>_recorded`, both over the classes that have samples
        (mean, of Fréchet distances median); `notes`: what a reader must know.
    """
    every = (*MEASURES, *(f"{name}_recorded" for name in MEASURES))
    values = {name: _by_trial(cells, name) for name in (*COUNTS, *every)}
    trials = [
        {"fold": fold, "trial": trial, "metrics": {name: _macro(found["classes"], name) for name in every}}
        for fold, trial, found in cells
    ]
    means = {name: mean_of_defined(of) for name, of in values.items()}
    per_class = {label: {name: _plain(of[place]) for name, of in means.items()} for place, label in enumerate(names)}
    first = cells[0][2]
    return {
        "schema": 1,
        "classes": list(names),
        "k": first["k"],
        "dimensions": first["dimensions"],
        "per_class": per_class,
        **{f"{name}_trials": _rows(values[name]) for name in ("frechet", "frechet_recorded")},
        "summary": summarise(trials, confidence),
        "notes": _notes(per_class, first["k"], first["dimensions"]),
    }


def _by_trial(cells: Sequence[tuple[str, int, Mapping[str, Any]]], name: str) -> np.ndarray:
    """Each trial's mean over its folds, of what is defined; shape (trials, classes)."""
    found = [(trial, np.array([of[name] for of in entry["classes"]], dtype=float)) for _, trial, entry in cells]
    trials = sorted({trial for trial, _ in found})
    return np.array([mean_of_defined(np.array([of for number, of in found if number == trial])) for trial in trials])


def _macro(classes: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The mean over the classes that have samples, of what is defined; of Fréchet distances the median.

    One clip far away makes the distance of its class larger than all others together.
    """
    known = [of[name] for of in classes if of["samples"] and of[name] is not None]
    middle = np.median if name.startswith("frechet") else np.mean
    return float(middle(known)) if known else None


def _notes(per_class: Mapping[str, Mapping[str, Any]], k: int, dimensions: int) -> list[str]:
    """Numbers of clips, by which Fréchet distances are biased, and classes that were too small for k."""
    made = {name: of for name, of in per_class.items() if of["samples"]}
    counted = [np.median([of[name] for of in made.values()]) for name in ("train_clips", "test_clips", "samples")]
    notes = [
        "Few clips make a Fréchet distance larger and coverage smaller: samples and test clips compare where they are "
        "as many. Clips a class: about {:,.0f} train, {:,.0f} test, {:,.0f} generated; {:,} dimensions.".format(
            *counted, dimensions
        )
    ]
    small = [name for name, of in made.items() if min(of["k"], of["k_recorded"]) < k]
    if small:
        where = ", ".join(small) if len(small) <= NAMED else f"{len(small)} of {len(made)} classes"
        notes.append(f"Fewer than {k + 1} clips or samples, and so fewer than {k} neighbours, in {where}.")
    return notes


def _rows(values: np.ndarray) -> list[list[float | None]]:
    return [[_plain(value) for value in row] for row in values]


def _plain(value: float) -> float | None:
    """As JSON can hold it."""
    return (value if isinstance(value, int) else float(value)) if math.isfinite(value) else None
