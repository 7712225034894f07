"""A support vector machine on vectors, its two numbers chosen on the validation part.

Latif et al. 2020, section 5.1.2: "We select an RBF kernel and perform a grid search on validation data to select the
optimal hyper-parameters for classification." The machine is scikit-learn's (LIBSVM, one against one).

It knows no soft labels, which mixtures have: such an example is two of one class each, weighted by their shares, or
what else `soft_labels` says.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np

from augrun.classifiers.base import Classifier
from augrun.core.errors import AugrunError
from augrun.core.files import atomic_path
from augrun.core.job import Job
from augrun.features.cache import Features
from augrun.features.examples import Examples

if TYPE_CHECKING:
    from sklearn.svm import SVC

    from augrun.protocols.base import Fold

log = logging.getLogger(__name__)

SEVERAL = "svm takes clips of one class each, and these carry several; choose another classifier"
NO_CHOICE = (
    "svm chooses C and γ on the validation part, and there is none. Give the protocol one "
    "(protocol.validation), or one value each (classifier.costs=[1.0] classifier.gammas=[0.1])."
)

MODEL, HISTORY, GRID = "model.joblib", "history.json", "grid.json"


@dataclass(frozen=True)
class SVM(Classifier):
    """Vectors → RBF kernel → one class each.

    Attributes:
        costs: the values of C that are tried.
        gammas: the values of the kernel's γ that are tried, as multiples of one over the number of dimensions and the
            variance of all values (scikit-learn's `scale`), so that they serve vectors on any scale.
        class_weight: `balanced` weighs classes by one over their number, `none` leaves clips alike.
        soft_labels: what becomes of an example that is partly of one class and partly of another: one of each, with its
            share as weight (`weighted`); one of the class with the larger share (`argmax`); or nothing (`unmixed`).
            A mixture of two examples of one class is one of that class in any case.
    """

    costs: Sequence[Annotated[float, "(0, inf)"]] = field(default_factory=lambda: [0.1, 1.0, 10.0, 100.0])
    gammas: Sequence[Annotated[float, "(0, inf)"]] = field(default_factory=lambda: [0.01, 0.1, 1.0])
    class_weight: Literal["none", "balanced"] = "none"
    soft_labels: Literal["weighted", "argmax", "unmixed"] = "weighted"

    domain: ClassVar[str] = "functionals"
    version: ClassVar[int] = 1

    def fit(self, train: Examples, validation: Examples, job: Job) -> None:
        """Tries all pairs of C and γ; leaves the best in `model.joblib`, and what each reached in `grid.json`.

        The best has the largest macro recall on the validation part; of equals, it is the one with the smaller C, then
        the smaller γ, which has the smoother boundary. Without a validation part there is no choice to make: C and γ
        are then to be one value each.

        Raises:
            AugrunError: clips carry several classes or all the same one, or there is nothing to choose by.
        """
        import joblib

        if (job.folder / MODEL).exists():
            return
        self._check(train, validation)
        rows, labels, weights = hard(train.targets, self.soft_labels)
        if self.class_weight == "balanced":
            weights = balanced(labels, weights)
        vectors = train.features.rows()
        unit = 1.0 / (vectors.shape[1] * max(float(vectors.var(dtype=np.float64)), np.finfo(np.float32).tiny))
        vectors = vectors[rows]
        pairs = [(cost, gamma) for cost in sorted(self.costs) for gamma in sorted(self.gammas)]

        def attempt(pair: tuple[float, float]) -> float:
            return _macro_recall(self._machine(pair, unit).fit(vectors, labels, weights), validation)

        recalls: list[float] = []
        if len(validation):
            with ThreadPoolExecutor(max(1, job.hardware.workers)) as pool:  # LIBSVM releases Python's lock
                recalls = list(pool.map(attempt, pairs))
        best = int(np.argmax(recalls)) if recalls else 0
        reached: list[float | None] = list(recalls) if recalls else [None] * len(pairs)
        grid = [
            {"cost": cost, "gamma": gamma, "validation/uar": recall, "chosen": place == best}
            for place, ((cost, gamma), recall) in enumerate(zip(pairs, reached, strict=True))
        ]
        (job.folder / GRID).write_text(json.dumps(grid, indent=1))
        (job.folder / HISTORY).write_text("[]")  # nothing is learned epoch by epoch
        if recalls:
            cost, gamma = pairs[best]
            said = "%s: of %d pairs C=%g and γ=%g times %.3g, with a macro recall of %.3f on the validation part"
            log.info(said, job.title or "svm", len(pairs), cost, gamma, unit, recalls[best])
        machine = self._machine(pairs[best], unit).fit(vectors, labels, weights)  # again: twelve of them are large
        with atomic_path(job.folder / MODEL) as fresh:
            joblib.dump({"machine": machine, "classes": train.targets.shape[1]}, fresh)

    def predict(self, features: Features, fitted: Path, job: Job) -> np.ndarray:
        """Softmax of the decision values (one against the rest, from the votes of the pairs), shape (clips, classes).

        They order clips and classes as the machine does; they are no calibrated probabilities.
        """
        import joblib

        model = joblib.load(fitted / MODEL)
        machine: SVC = model["machine"]
        scores = np.zeros((len(features), model["classes"]), dtype=np.float32)
        if len(features):
            values = np.atleast_2d(machine.decision_function(features.rows()))
            values = np.column_stack([-values.ravel(), values.ravel()]) if len(machine.classes_) == 2 else values
            powers = np.exp(values - values.max(axis=1, keepdims=True))
            scores[:, machine.classes_] = powers / powers.sum(axis=1, keepdims=True)
        return scores

    def _machine(self, pair: tuple[float, float], unit: float) -> SVC:
        from sklearn.svm import SVC

        # Without break_ties a clip's class could be another than that of its largest decision value.
        return SVC(C=pair[0], gamma=pair[1] * unit, break_ties=True, decision_function_shape="ovr")

    def check_fold(self, fold: Fold, bands: int) -> None:
        """Refuses before any work what `fit` could not do.

        Raises:
            AugrunError: see `fit`.
        """
        if fold.train.label_set.multilabel:
            raise AugrunError(SEVERAL)
        if not len(fold.validation) and len(self.costs) * len(self.gammas) > 1:
            raise AugrunError(NO_CHOICE)

    def _check(self, train: Examples, validation: Examples) -> None:
        if train.multilabel:
            raise AugrunError(SEVERAL)
        if len(np.unique(train.targets.argmax(axis=1))) < 2:
            raise AugrunError(
                f"all {len(train)} training clips carry the same class, so there is nothing to tell apart. "
                "Check dataset.labels and policy.composition."
            )
        if not len(validation) and len(self.costs) * len(self.gammas) > 1:
            raise AugrunError(NO_CHOICE)


def balanced(labels: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Weights under which every class weighs as much as any other; scikit-learn's own counts examples, not weights.

    Args:
        labels: the class of each example.
        weights: the weight of each; None where all weigh the same.
    """
    own = np.ones(len(labels)) if weights is None else weights
    masses = np.bincount(labels, weights=own)
    return own * (own.sum() / np.count_nonzero(masses)) / masses[labels]


def hard(targets: np.ndarray, soft_labels: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Examples of one class each, for what knows no others.

    Args:
        targets: the share of each class, shape (examples, classes); each row adds up to one.
        soft_labels: see `SVM`.

    Returns:
        For each new example its row in `targets`, its class, and its weight; no weights where all are one.
    """
    soft = targets.max(axis=1) < 1.0
    if soft_labels == "weighted" and soft.any():
        rows, labels = np.nonzero(targets)
        return rows, labels, targets[rows, labels].astype(np.float64)
    rows = np.flatnonzero(~soft) if soft_labels == "unmixed" else np.arange(len(targets))
    return rows, targets[rows].argmax(axis=1), None


def _macro_recall(machine: SVC, examples: Examples) -> float:
    from sklearn.metrics import recall_score

    truth = examples.targets.argmax(axis=1)
    taken = machine.predict(examples.features.rows())
    return float(recall_score(truth, taken, labels=np.unique(truth), average="macro", zero_division=0))
