"""Whether samples sound like their class to a classifier that was trained on recordings alone.

Godwin et al. 2021, section VI, Figs. 2 and 3: the baseline's classifier hears the generated samples. A class's **label
validity** is the share of the samples made for it that the classifier takes for it (its best class): the diagonal of
the row-normalised confusion matrix. Beside it stands the same share of the recorded test clips (by their first
label), which says what could be reached.

A sample that holds its prime is heard with it, as in the paper: part of what makes it valid was recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from augrun.evaluation import metrics
from augrun.evaluation.results import SamplePredictions, mean_of_defined, summarise

#: What is measured on the samples beside their validity: the paper's three kinds of metric.
KEPT = ("f1_argmax_macro", "pr_auc_macro", "pr_auc_micro", "roc_auc_macro", "roc_auc_micro")


def account(judged: Sequence[SamplePredictions], confidence: float = 0.95) -> dict[str, Any]:
    """The label validity of a condition's samples, as plain data.

    Args:
        judged: one a fold and trial.
        confidence: the level of intervals over trials.

    Returns:
        `classes`; `confusion` (samples made for the row's class that were taken for the column's, over all folds and
        trials) and `normalised` (each row's shares; null where nothing was made); `per_class`, by class: `samples`,
        `validity`, `recorded` (the same of test recordings), `taken_for` (the share of all samples taken for it),
        each the mean over trials; `validity_trials` (trials, classes); `summary`: mean, std and interval over trials
        of `validity` and `recorded` (both macro, over the classes that have samples) and of the metrics in `KEPT`.
    """
    names = judged[0].samples.label_set.names
    counts = np.sum([confusion(one) for one in judged], axis=0)
    cells = [_measured(one) for one in judged]
    summary = summarise([{**place, "metrics": values} for place, values, _, _ in cells], confidence)
    validity = _by_trial([(place["trial"], shares) for place, _, shares, _ in cells])
    recorded = _by_trial([(place["trial"], shares) for place, _, _, shares in cells])
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    means = [mean_of_defined(validity), mean_of_defined(recorded), columns / max(1, counts.sum())]
    return {
        "schema": 1,
        "classes": list(names),
        "confusion": counts.tolist(),
        "normalised": [
            (row / total).tolist() if total else [None] * len(row) for row, total in zip(counts, rows, strict=True)
        ],
        "per_class": {
            name: {"samples": int(rows[k]), **{key: _plain(of[k]) for key, of in zip(PER_CLASS, means, strict=True)}}
            for k, name in enumerate(names)
        },
        "validity_trials": [[_plain(value) for value in row] for row in validity],
        "recorded_trials": [[_plain(value) for value in row] for row in recorded],
        "summary": summary,
    }


#: What is said of each class beside the number of its samples.
PER_CLASS = ("validity", "recorded", "taken_for")


def confusion(one: SamplePredictions) -> np.ndarray:
    """Samples by the class they were made for (row) and the class they are taken for, int64, (classes, classes)."""
    return metrics.confusion(one.load(), one.samples.first_labels())


def _measured(one: SamplePredictions) -> tuple[dict[str, Any], dict[str, float | None], np.ndarray, np.ndarray]:
    """Fold and trial, the metrics, and each class's validity and the same of recordings."""
    samples, scores = one.samples, one.load()
    label_set, intended = samples.label_set, samples.first_labels()
    found = metrics.evaluate(scores, samples.targets(), intended, multilabel=label_set.multilabel, validation=None)
    shares = metrics.per_class(scores, samples.targets(), intended, multilabel=label_set.multilabel)["recall_argmax"]
    recorded = one.on_recordings.per_class("recall_argmax")
    # Beside the samples stand recordings of the same classes; a policy may want samples of some classes alone.
    alike = np.where(np.isfinite(shares), recorded, np.nan)
    macro = {"validity": _macro(shares), "recorded": _macro(alike)}
    kept = {name: None if np.isnan(found[name]) else found[name] for name in KEPT}
    return {"fold": one.on_recordings.fold, "trial": one.on_recordings.trial}, {**macro, **kept}, shares, recorded


def _macro(shares: np.ndarray) -> float | None:
    known = shares[np.isfinite(shares)]
    return float(known.mean()) if len(known) else None


def _by_trial(shares: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """Each trial's mean over its folds, of what is defined; shape (trials, classes)."""
    trials = sorted({trial for trial, _ in shares})
    return np.array([mean_of_defined(np.array([of for number, of in shares if number == trial])) for trial in trials])


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
