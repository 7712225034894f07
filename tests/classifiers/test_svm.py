"""The support vector machine: the grid's choice, its scores, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import recall_score
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight

from augrun.classifiers.svm import SVM, balanced, hard
from augrun.core.config import compose
from augrun.core.config.component import build
from augrun.core.errors import AugrunError
from augrun.core.job import Hardware, Job
from augrun.features.cache import Features
from augrun.features.examples import Examples
from augrun.features.mixup import Mixup

CPU = Hardware(accelerator="cpu", workers=2, progress=False)


def examples(count: int, seed: int, classes: int = 3, spread: float = 1.0) -> Examples:
    """Rings around one another: no plane parts them, a Gaussian kernel does."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    angles = rng.uniform(0, 2 * np.pi, count)
    radius = 1.0 + 2.0 * labels + spread * rng.normal(size=count) * 0.5
    rows = np.column_stack([radius * np.cos(angles), radius * np.sin(angles), rng.normal(size=(count, 2))])
    features = Features.from_rows(rows.astype(np.float32), np.ones(count, dtype=np.int64))
    return Examples(features, np.eye(classes, dtype=np.float32)[labels], False, tuple("abcdef"[:classes]))


def job(folder: Path) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    return Job(folder, hardware=CPU)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_best_pair_on_validation_is_kept_and_is_scikit_learn_s(classes: int, tmp_path: Path) -> None:
    train, validation, test = (examples(40 * classes, seed, classes) for seed in range(3))
    svm = SVM(costs=[0.1, 1.0, 10.0], gammas=[0.04, 0.4, 4.0])
    svm.fit(train, validation, job(tmp_path / "fit"))
    history = json.loads((tmp_path / "fit" / "grid.json").read_text())
    assert json.loads((tmp_path / "fit" / "history.json").read_text()) == []
    assert [(entry["cost"], entry["gamma"]) for entry in history] == [
        (cost, gamma) for cost in (0.1, 1.0, 10.0) for gamma in (0.04, 0.4, 4.0)
    ]
    rows, labels = train.features.rows(), train.targets.argmax(1)
    by_hand = []
    for entry in history:
        machine = SVC(C=entry["cost"], gamma=entry["gamma"] / (4 * rows.var()), break_ties=True).fit(rows, labels)
        truth = validation.targets.argmax(1)
        by_hand.append(recall_score(truth, machine.predict(validation.features.rows()), average="macro"))
    assert [entry["validation/uar"] for entry in history] == pytest.approx(by_hand)
    assert len(set(by_hand)) > 3  # there was something to choose
    best = history[int(np.argmax(by_hand))]
    assert [entry for entry in history if entry["chosen"]] == [best]
    machine = SVC(C=best["cost"], gamma=best["gamma"] / (4 * rows.var()), break_ties=True).fit(rows, labels)
    scores = svm.predict(test.features, tmp_path / "fit", job(tmp_path / "out"))
    assert scores.dtype == np.float32 and scores.sum(1) == pytest.approx(np.ones(len(test)), abs=1e-5)
    assert np.array_equal(scores.argmax(1), machine.predict(test.features.rows()))
    assert recall_score(test.targets.argmax(1), scores.argmax(1), average="macro") > 0.6


def test_of_equal_pairs_the_smoother_one(tmp_path: Path) -> None:
    train = examples(60, 0, 2, spread=0.1)
    SVM(costs=[1000.0, 100.0], gammas=[1.0, 2.0]).fit(train, train, job(tmp_path))
    history = json.loads((tmp_path / "grid.json").read_text())
    assert [entry["validation/uar"] for entry in history] == [1.0] * 4
    import joblib

    assert joblib.load(tmp_path / "model.joblib")["machine"].C == 100.0


def test_a_class_that_is_not_in_the_train_part_gets_nothing(tmp_path: Path) -> None:
    train = examples(60, 0, 2)
    train = Examples(train.features, np.pad(train.targets, ((0, 0), (1, 0))), False, ("none", "a", "b"))
    svm = SVM(costs=[1.0], gammas=[0.4])
    svm.fit(train, train, job(tmp_path))
    scores = svm.predict(train.features, tmp_path, job(tmp_path))
    assert scores.shape == (60, 3) and (scores[:, 0] == 0).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"multilabel": True}, "svm takes clips of one class each"),
        ({"one": True}, "all 30 training clips carry the same class"),
        ({"validation": 0}, "svm chooses C and γ on the validation part, and there is none"),
    ],
)
def test_what_it_cannot_learn_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    train = examples(30, 0)
    if change.get("one"):
        train = Examples(train.features, np.tile([[1.0, 0.0, 0.0]], (30, 1)).astype(np.float32), False)
    if change.get("multilabel"):
        train = Examples(train.features, train.targets, True)
    rows = np.arange(change.get("validation", 30))
    validation = Examples(train.features.select(rows), train.targets[rows], train.multilabel)
    with pytest.raises(AugrunError, match=said):
        SVM().fit(train, validation, job(tmp_path))
    assert not (tmp_path / "model.joblib").exists()


def test_one_pair_needs_no_validation_part(tmp_path: Path) -> None:
    train = examples(60, 0)
    none = Examples(train.features.select([]), train.targets[:0], False)
    SVM(costs=[1.0], gammas=[0.4]).fit(train, none, job(tmp_path))
    (entry,) = json.loads((tmp_path / "grid.json").read_text())
    assert entry == {"cost": 1.0, "gamma": 0.4, "validation/uar": None, "chosen": True}


def test_the_yaml_and_the_class_have_the_same_defaults() -> None:
    config = compose.compose(["dataset=feel", "representation=is10", "classifier=svm", "generator=none", "policy=none"])
    built = build(config["classifier"])
    assert (list(built.costs), list(built.gammas), built.class_weight) == (SVM().costs, SVM().gammas, "none")


def test_a_mixture_is_two_of_one_class_each() -> None:
    targets = np.array([[0, 1, 0], [0.25, 0, 0.75], [1, 0, 0], [0.5, 0.5, 0]], np.float32)
    rows, labels, weights = hard(targets, "weighted")
    assert rows.tolist() == [0, 1, 1, 2, 3, 3] and labels.tolist() == [1, 0, 2, 0, 0, 1]
    assert weights is not None and weights.tolist() == [1.0, 0.25, 0.75, 1.0, 0.5, 0.5]
    assert [part.tolist() for part in hard(targets, "argmax")[:2]] == [[0, 1, 2, 3], [1, 2, 0, 0]]
    assert [part.tolist() for part in hard(targets, "unmixed")[:2]] == [[0, 2], [1, 0]]
    assert hard(targets, "argmax")[2] is None and hard(targets[::2], "weighted")[2] is None


@pytest.mark.parametrize("soft_labels", ["weighted", "argmax", "unmixed"])
def test_soft_labels_are_learned_from_as_scikit_learn_would(soft_labels: Any, tmp_path: Path) -> None:
    train, validation = Mixup(ratio=1.0).of(examples(60, 0), seed=3), examples(90, 1)
    SVM(costs=[1.0], gammas=[0.4], soft_labels=soft_labels).fit(train, validation, job(tmp_path))
    vectors = train.features.rows()
    rows, labels, weights = hard(train.targets, soft_labels)
    machine = SVC(C=1.0, gamma=0.4 / (4 * vectors.var()), break_ties=True).fit(vectors[rows], labels, weights)
    scores = SVM().predict(validation.features, tmp_path, job(tmp_path / "out"))
    assert scores.argmax(1).tolist() == machine.predict(validation.features.rows()).tolist()
    mixed = int((train.targets.max(1) < 1).sum())  # of two classes
    assert 20 < mixed < 60
    assert len(rows) == {"weighted": 120 + mixed, "argmax": 120, "unmixed": 120 - mixed}[soft_labels]


def test_balanced_classes_weigh_the_same_whatever_their_examples_weigh() -> None:
    targets = Mixup(ratio=1.0).of(examples(60, 0), seed=3).targets
    _, labels, weights = hard(np.concatenate([targets, targets[:1]]), "weighted")
    found = balanced(labels, weights)
    assert np.bincount(labels, weights=found) == pytest.approx(np.full(3, weights.sum() / 3))
    for label in range(3):  # within a class, shares stay what they are to each other
        of_it = labels == label
        assert np.ptp(found[of_it] / weights[of_it]) < 1e-9
    plain = np.array([0, 0, 0, 2])
    assert balanced(plain, None) == pytest.approx(compute_sample_weight("balanced", plain))


def test_folds_that_it_cannot_learn_from_are_refused(tmp_path: Path) -> None:
    fold = SimpleNamespace(train=SimpleNamespace(label_set=SimpleNamespace(multilabel=False)), validation=[])
    with pytest.raises(AugrunError, match="svm chooses C and γ on the validation part, and there is none"):
        SVM().check_fold(fold, 4)
    SVM(costs=[1.0], gammas=[0.1]).check_fold(fold, 4)
    fold.train.label_set.multilabel = True
    with pytest.raises(AugrunError, match="svm takes clips of one class each"):
        SVM(costs=[1.0], gammas=[0.1]).check_fold(fold, 4)
