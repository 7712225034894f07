"""The threshold of each class that gives the best F1 on a part (Godwin et al. 2021 take the validation part)."""

from __future__ import annotations

import numpy as np


def fit_thresholds(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The threshold of each class that gives `score >= threshold` the largest F1; shape (classes,).

    A threshold is one of the class's scores, the smallest of several equally good ones (as scikit-learn's
    `precision_recall_curve` with `argmax` gives it). A class without positives gets infinity: it is never predicted.

    Args:
        scores: shape (clips, classes).
        targets: multi-hot targets, shape (clips, classes).
    """
    thresholds = np.full(scores.shape[1], np.inf, dtype=scores.dtype)
    for index, (score, truth) in enumerate(zip(scores.T, np.asarray(targets).T > 0.5, strict=True)):
        if not truth.any():
            continue
        order = np.argsort(score, kind="stable")[::-1]
        score, truth = score[order], truth[order]
        hits = np.cumsum(truth)
        f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
        f1[:-1][score[:-1] == score[1:]] = -1.0  # a threshold takes all clips of one score, or none
        thresholds[index] = score[np.flatnonzero(f1 == f1.max())[-1]]
    return thresholds
