"""The two metric suites: several classes a clip, and one class a clip.

PR-AUC is average precision and ROC-AUC the area under the ROC curve, both by scikit-learn's definitions; `macro` is
the mean over classes, `micro` takes all (clip, class) decisions as one problem. F1 of several classes a clip has
three readings that cannot be compared, so each has its name:

    f1_argmax   the best class against the clip's first label, as if clips had one (Godwin et al. 2021)
    f1_val      a threshold per class, fitted on the validation part, applied with >=
    f1_oracle   a threshold per class, fitted on the test part itself, applied with >: an upper bound, not a
                result. It is how MediaEval 2019's published F-scores were made.

A class without a positive clip in the test part has no recall, PR-AUC or ROC-AUC. Macro means leave it out, and
`undefined_classes` counts such classes, so that nobody takes a mean over fewer classes for a mean over all. It stays
in the micro means, where its clips are negatives like any other. `f1_argmax_macro` and `f1_macro` follow
scikit-learn: the mean over every class that is a first label or is predicted at least once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torchmetrics.functional.classification as tm

from augrun.evaluation.thresholds import fit_thresholds


def evaluate(
    scores: np.ndarray,
    targets: np.ndarray,
    first_labels: np.ndarray,
    *,
    multilabel: bool,
    validation: tuple[np.ndarray, np.ndarray] | None,
) -> dict[str, float]:
    """All metrics of one set of predictions.

    Args:
        scores: larger is likelier, any range, shape (clips, classes).
        targets: multi-hot targets, shape (clips, classes).
        first_labels: each clip's first class, shape (clips,); -1 where it has none, which no argmax metric counts.
        multilabel: which suite.
        validation: scores and targets of the validation part, on which `f1_val` fits its thresholds; without it
            `f1_val` is left out. The single-label suite needs none.

    Returns:
        Name to value; nan where no class is defined. Both suites have `pr_auc`, `roc_auc`, `f1_argmax`, each
        `_macro` and `_micro`, and `undefined_classes`; several classes a clip adds `f1_val` and `f1_oracle`, one
        class a clip `uar` (mean recall), `war` (accuracy) and `f1_macro`.

    Raises:
        ValueError: the shapes do not fit, or a score is not finite.
    """
    per = per_class(scores, targets, first_labels, multilabel=multilabel, validation=validation)
    truth = targets > 0.5
    metrics = {
        "pr_auc_macro": _mean(per["pr_auc"]),
        "pr_auc_micro": _pr_auc(_ranks(scores).ravel(), truth.ravel()),
        "roc_auc_macro": _mean(per["roc_auc"]),
        "roc_auc_micro": _roc_auc(_ranks(scores).ravel(), truth.ravel()),
        "f1_argmax_macro": _mean(per["f1_argmax"]),
        "f1_argmax_micro": _accuracy(scores, first_labels),  # one decision a clip: micro F1 is accuracy
    }
    if multilabel:
        if validation is not None:
            decisions = scores >= fit_thresholds(*validation)
            metrics |= {"f1_val_macro": _mean(per["f1_val"]), "f1_val_micro": _micro_f1(decisions, truth)}
        oracle = scores > fit_thresholds(scores, targets)
        oracle_f1 = _multilabel(tm.multilabel_f1_score, oracle, truth)
        metrics |= {"f1_oracle_macro": _mean(oracle_f1), "f1_oracle_micro": _micro_f1(oracle, truth)}
    else:
        metrics |= {
            "uar": _mean(per["recall_argmax"]),
            "war": metrics["f1_argmax_micro"],
            "f1_macro": metrics["f1_argmax_macro"],
        }
    return metrics | {"undefined_classes": float(np.count_nonzero(per["positives"] == 0))}


def per_class(
    scores: np.ndarray,
    targets: np.ndarray,
    first_labels: np.ndarray,
    *,
    multilabel: bool,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Metrics of each class: float64 arrays of shape (classes,), nan where a class has none.

    Args: as for `evaluate`.

    Returns:
        `positives` (clips that carry the class), `pr_auc`, `roc_auc`, `recall_argmax` and `f1_argmax` (of the best
        class against the first label); `multilabel` with a validation part adds `recall_val` and `f1_val`.
    """
    _check(scores, targets, first_labels)
    ranks, truth = _ranks(scores), targets > 0.5
    positives, clips = truth.sum(0), len(truth)
    counts = confusion(scores, first_labels)
    result = {
        "positives": positives.astype(np.float64),
        "pr_auc": _one_by_one(_pr_auc, ranks, truth, positives > 0),
        "roc_auc": _one_by_one(_roc_auc, ranks, truth, (positives > 0) & (positives < clips)),
        "recall_argmax": _best_class(tm.multiclass_recall, scores, first_labels, counts.sum(1) > 0),
        "f1_argmax": _best_class(tm.multiclass_f1_score, scores, first_labels, counts.sum(0) + counts.sum(1) > 0),
    }
    if multilabel and validation is not None:
        decisions = scores >= fit_thresholds(*validation)
        result["recall_val"] = _multilabel(tm.multilabel_recall, decisions, truth)
        result["f1_val"] = _multilabel(tm.multilabel_f1_score, decisions, truth)
    return result


def confusion(scores: np.ndarray, first_labels: np.ndarray) -> np.ndarray:
    """Clips of each true class (row) by best class (column), int64, shape (classes, classes).

    The first of several equally good classes counts; clips without a label are left out.
    """
    classes = scores.shape[1]
    known = np.asarray(first_labels) >= 0
    cells = np.asarray(first_labels)[known] * classes + scores[known].argmax(1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def _check(scores: np.ndarray, targets: np.ndarray, first_labels: np.ndarray) -> None:
    if scores.ndim != 2 or scores.shape != targets.shape or scores.shape[:1] != first_labels.shape or not scores.size:
        raise ValueError(
            f"scores {scores.shape}, targets {targets.shape} and first labels {first_labels.shape} do not fit"
        )
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite")


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Scores replaced by their dense ranks over all classes, within [0, 1], float64; order and ties stay.

    torchmetrics applies a sigmoid to all scores where one lies outside [0, 1], which makes large ones equal.
    """
    values, places = np.unique(scores, return_inverse=True)
    return places.reshape(scores.shape) / max(len(values) - 1, 1)


def _pr_auc(ranks: np.ndarray, truth: np.ndarray) -> float:
    if not truth.any():
        return math.nan
    return float(tm.binary_average_precision(torch.as_tensor(ranks), torch.as_tensor(truth).long()))


def _roc_auc(ranks: np.ndarray, truth: np.ndarray) -> float:
    if not truth.any() or truth.all():
        return math.nan
    return float(tm.binary_auroc(torch.as_tensor(ranks), torch.as_tensor(truth).long()))


def _one_by_one(
    metric: Callable[[np.ndarray, np.ndarray], float], ranks: np.ndarray, truth: np.ndarray, defined: np.ndarray
) -> np.ndarray:
    """A metric of two vectors, class by class."""
    columns = zip(ranks.T, truth.T, defined, strict=True)
    return np.array([metric(r.copy(), t.copy()) if known else math.nan for r, t, known in columns])


def _best_class(
    metric: Callable[..., torch.Tensor], scores: np.ndarray, first_labels: np.ndarray, defined: np.ndarray
) -> np.ndarray:
    """A metric of one decision a clip, for each class."""
    classes, known = scores.shape[1], first_labels >= 0
    if not known.any():
        return np.full(classes, math.nan)
    best, labels = torch.as_tensor(scores[known].argmax(1)), torch.as_tensor(first_labels[known])
    values = metric(best, labels, num_classes=classes, average="none").double().numpy()
    return np.where(defined, values, math.nan)


def _accuracy(scores: np.ndarray, first_labels: np.ndarray) -> float:
    known = first_labels >= 0
    if not known.any():
        return math.nan
    best, labels = torch.as_tensor(scores[known].argmax(1)), torch.as_tensor(first_labels[known])
    return float(tm.multiclass_accuracy(best, labels, num_classes=scores.shape[1], average="micro"))


def _multilabel(metric: Callable[..., torch.Tensor], decisions: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A metric of a decision per clip and class, for each class with a positive clip."""
    made, right = torch.as_tensor(decisions).long(), torch.as_tensor(truth).long()
    values = metric(made, right, num_labels=truth.shape[1], average="none").double().numpy()
    return np.where(truth.any(0), values, math.nan)


def _micro_f1(decisions: np.ndarray, truth: np.ndarray) -> float:
    if not truth.any():
        return math.nan
    made, right = torch.as_tensor(decisions).long(), torch.as_tensor(truth).long()
    return float(tm.multilabel_f1_score(made, right, num_labels=truth.shape[1], average="micro"))


def _mean(values: np.ndarray) -> float:
    """The mean over the classes that have a value."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
