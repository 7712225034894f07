"""Both metric suites against scikit-learn, and a published submission against its published figures."""

from __future__ import annotations

import csv
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from augrun.evaluation.metrics import confusion, evaluate, per_class
from augrun.evaluation.thresholds import fit_thresholds

TOLERANCE = 1e-6


def draw(seed: int, clips: int, classes: int, levels: int, scale: float, multilabel: bool, dtype: str):
    """Scores with ties, targets and first labels; every class has a positive where there are clips enough."""
    rng = np.random.default_rng(seed)
    scores = (scale * (rng.integers(0, levels, (clips, classes)) / levels - 0.3)).astype(dtype)
    first = np.concatenate([np.arange(classes), rng.integers(0, classes, clips)])[:clips]
    targets = np.eye(classes, dtype=np.float32)[first]
    if multilabel:
        targets = np.maximum(targets, rng.random((clips, classes)) < 0.2).astype(np.float32)
    return scores, targets, first


cases = given(
    seed=st.integers(0, 2**32 - 1),
    clips=st.integers(6, 60),
    classes=st.integers(2, 6),
    levels=st.sampled_from([1, 2, 5, 100, 10**6]),
    scale=st.sampled_from([1e-6, 1.0, 40.0, 1e4]),
    dtype=st.sampled_from(["float32", "float64"]),
)
many = settings(max_examples=60, deadline=None)


@many
@cases
def test_several_classes_a_clip_agree_with_scikit_learn(seed, clips, classes, levels, scale, dtype) -> None:
    scores, targets, first = draw(seed, clips, classes, levels, scale, True, dtype)
    assume(not targets.all(0).any())
    half = clips // 2
    measured = evaluate(scores, targets, first, multilabel=True, validation=(scores[:half], targets[:half]))
    best, known = scores.argmax(1), targets > 0.5
    decisions = scores >= fit_thresholds(scores[:half], targets[:half])
    oracle = scores > fit_thresholds(scores, targets)
    expected = {"undefined_classes": 0}
    for average in ("macro", "micro"):
        expected |= {
            f"pr_auc_{average}": sk.average_precision_score(known, scores, average=average),
            f"roc_auc_{average}": sk.roc_auc_score(known, scores, average=average),
            f"f1_argmax_{average}": sk.f1_score(first, best, average=average),
            f"f1_val_{average}": sk.f1_score(known, decisions, average=average, zero_division=0),
            f"f1_oracle_{average}": sk.f1_score(known, oracle, average=average, zero_division=0),
        }
    assert measured == pytest.approx(expected, abs=TOLERANCE)


@many
@cases
def test_one_class_a_clip_agrees_with_scikit_learn(seed, clips, classes, levels, scale, dtype) -> None:
    scores, targets, first = draw(seed, clips, classes, levels, scale, False, dtype)
    measured = evaluate(scores, targets, first, multilabel=False, validation=None)
    best = scores.argmax(1)
    expected = {
        "uar": sk.balanced_accuracy_score(first, best),
        "war": sk.accuracy_score(first, best),
        "f1_macro": sk.f1_score(first, best, average="macro"),
        "undefined_classes": 0,
    }
    for average in ("macro", "micro"):
        expected |= {
            f"pr_auc_{average}": sk.average_precision_score(targets, scores, average=average),
            f"roc_auc_{average}": sk.roc_auc_score(targets, scores, average=average),
            f"f1_argmax_{average}": sk.f1_score(first, best, average=average),
        }
    assert measured == pytest.approx(expected, abs=TOLERANCE)
    rows = per_class(scores, targets, first, multilabel=False)
    assert rows["recall_argmax"] == pytest.approx(sk.recall_score(first, best, average=None), abs=TOLERANCE)
    assert rows["f1_argmax"] == pytest.approx(sk.f1_score(first, best, average=None), abs=TOLERANCE)
    assert (confusion(scores, first) == sk.confusion_matrix(first, best, labels=range(classes))).all()


@many
@cases
def test_per_class_agrees_with_scikit_learn(seed, clips, classes, levels, scale, dtype) -> None:
    scores, targets, first = draw(seed, clips, classes, levels, scale, True, dtype)
    assume(not targets.all(0).any())
    rows = per_class(scores, targets, first, multilabel=True, validation=(scores, targets))
    decisions = scores >= fit_thresholds(scores, targets)
    assert rows["positives"].tolist() == targets.sum(0).tolist()
    for index in range(classes):
        truth, score, made = targets[:, index], scores[:, index], decisions[:, index]
        assert rows["pr_auc"][index] == pytest.approx(sk.average_precision_score(truth, score), abs=TOLERANCE)
        assert rows["roc_auc"][index] == pytest.approx(sk.roc_auc_score(truth, score), abs=TOLERANCE)
        assert rows["f1_val"][index] == pytest.approx(sk.f1_score(truth, made), abs=TOLERANCE)
        assert rows["recall_val"][index] == pytest.approx(sk.recall_score(truth, made), abs=TOLERANCE)


@many
@cases
def test_fitted_thresholds_are_the_best_there_are(seed, clips, classes, levels, scale, dtype) -> None:
    scores, targets, _ = draw(seed, clips, classes, levels, scale, True, dtype)
    thresholds = fit_thresholds(scores, targets)
    for index, threshold in enumerate(thresholds):
        truth, score = targets[:, index], scores[:, index]
        values = np.unique(score)
        f1 = np.array([sk.f1_score(truth, score >= value) for value in values])
        assert threshold in values
        assert sk.f1_score(truth, score >= threshold) == pytest.approx(f1.max(), abs=1e-12)
        assert threshold == values[np.flatnonzero(f1 >= f1.max() - 1e-12)[0]]


@many
@cases
def test_any_rising_function_of_the_scores_gives_the_same_areas(seed, clips, classes, levels, scale, dtype) -> None:
    scores, targets, first = draw(seed, clips, classes, levels, scale, True, dtype)
    one = evaluate(scores, targets, first, multilabel=True, validation=None)
    ranks = np.unique(scores, return_inverse=True)[1].reshape(scores.shape)
    other = evaluate(ranks.astype(np.float64) ** 3 * 7 - 1e6, targets, first, multilabel=True, validation=None)
    assert one == pytest.approx(other, abs=1e-12, nan_ok=True)


def test_large_logits_stay_apart() -> None:
    """In float32 the sigmoid of 20 and of 30 are both 1; the ranking must not suffer."""
    scores = np.array([[30.0, -1], [20, -2], [25, -3], [18, -4]], dtype=np.float32)
    targets = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=np.float32)
    rows = per_class(scores, targets, targets.argmax(1), multilabel=False)
    assert rows["roc_auc"].tolist() == [1.0, 0.25]


def test_perfect_and_reversed_scores() -> None:
    targets = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]]
    first = targets.argmax(1)
    perfect = evaluate(targets, targets, first, multilabel=False, validation=None)
    assert {name for name, value in perfect.items() if value != 1.0} == {"undefined_classes"}
    worst = evaluate(1 - targets, targets, first, multilabel=False, validation=None)
    assert worst["roc_auc_macro"] == worst["uar"] == worst["war"] == worst["f1_macro"] == 0.0


def test_classes_without_positives_are_left_out_and_counted() -> None:
    scores, targets, first = draw(1, 40, 4, 100, 1.0, True, "float32")
    first[first == 2] = 0
    targets[:, 2] = 0
    rest = [0, 1, 3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured = evaluate(scores, targets, first, multilabel=True, validation=(scores, targets))
        rows = per_class(scores, targets, first, multilabel=True, validation=(scores, targets))
    assert measured["undefined_classes"] == 1
    known = targets[:, rest] > 0.5
    assert measured["roc_auc_macro"] == pytest.approx(sk.roc_auc_score(known, scores[:, rest]), abs=TOLERANCE)
    assert measured["pr_auc_macro"] == pytest.approx(sk.average_precision_score(known, scores[:, rest]), abs=TOLERANCE)
    decisions = (scores >= fit_thresholds(scores, targets))[:, rest]
    assert measured["f1_val_macro"] == pytest.approx(sk.f1_score(known, decisions, average="macro"), abs=TOLERANCE)
    assert measured["roc_auc_micro"] == pytest.approx(sk.roc_auc_score(targets.ravel(), scores.ravel()), abs=TOLERANCE)
    assert fit_thresholds(scores, targets)[2] == np.inf
    undefined = {name for name, values in rows.items() if np.isnan(values[2])}
    assert undefined == {"pr_auc", "roc_auc", "recall_argmax", "recall_val", "f1_val"}
    assert rows["positives"][2] == 0


def test_a_class_that_every_clip_carries_has_no_roc_auc() -> None:
    scores, targets, first = draw(2, 20, 3, 50, 1.0, True, "float64")
    targets[:, 0] = 1
    rows = per_class(scores, targets, first, multilabel=True)
    assert np.isnan(rows["roc_auc"]).tolist() == [True, False, False]
    assert rows["pr_auc"][0] == 1.0


def test_clips_without_a_label_count_in_no_argmax_metric() -> None:
    scores, targets, first = draw(3, 30, 3, 50, 1.0, True, "float64")
    some = first.copy()
    some[::3] = -1
    kept = some >= 0
    measured = evaluate(scores, targets, some, multilabel=True, validation=None)
    assert measured["f1_argmax_macro"] == pytest.approx(
        sk.f1_score(first[kept], scores[kept].argmax(1), average="macro"), abs=TOLERANCE
    )
    assert confusion(scores, some).sum() == kept.sum()
    nothing = evaluate(scores, 0 * targets, np.full(30, -1), multilabel=False, validation=None)
    assert nothing.pop("undefined_classes") == 3
    assert np.isnan(list(nothing.values())).all()


def test_the_best_class_of_a_tie_is_the_first() -> None:
    scores = np.full((4, 3), 0.5)
    assert confusion(scores, np.array([0, 1, 2, -1])).tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    ("scores", "targets", "first", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 3)), np.zeros(3, int), r"\(3, 2\).*\(3, 3\).*do not fit"),
        (np.zeros((3, 2)), np.zeros((3, 2)), np.zeros(2, int), "do not fit"),
        (np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0, int), "do not fit"),
        (np.array([[0.0, np.nan]]), np.ones((1, 2)), np.zeros(1, int), "not finite"),
    ],
)
def test_what_cannot_be_measured_is_refused(scores, targets, first, message) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(scores, targets, first, multilabel=True, validation=None)


@pytest.fixture(scope="module")
def submission(shared_data: Path) -> dict[str, np.ndarray]:
    with np.load(shared_data / "mediaeval2019" / "vggish_baseline.npz") as file:
        return dict(file)


def test_published_figures_of_the_vggish_submission(submission: dict[str, np.ndarray]) -> None:
    """MediaEval 2019, emotion and theme recognition in music: the baseline's published results."""
    scores, truth = submission["scores"], submission["ground_truth"].astype(np.float32)
    measured = evaluate(scores, truth, truth.argmax(1), multilabel=True, validation=None)
    assert measured["pr_auc_macro"] == pytest.approx(0.107734, abs=1e-5)
    assert measured["roc_auc_macro"] == pytest.approx(0.725821, abs=1e-5)
    assert measured["f1_oracle_macro"] == pytest.approx(0.165694, abs=1e-5)
    assert measured["undefined_classes"] == 0
    average_precision = sk.average_precision_score(truth, scores, average="micro")
    assert measured["pr_auc_micro"] == pytest.approx(average_precision, abs=TOLERANCE)
    assert measured["roc_auc_micro"] == pytest.approx(sk.roc_auc_score(truth, scores, average="micro"), abs=TOLERANCE)


def test_published_decisions_are_scores_above_thresholds_fitted_on_test(submission: dict[str, np.ndarray]) -> None:
    scores, truth = submission["scores"], submission["ground_truth"]
    thresholds = fit_thresholds(scores, truth)
    assert ((scores > thresholds) == submission["decisions"]).all()
    assert ((scores >= thresholds) != submission["decisions"]).sum() == 57  # one a class, and a tie


def test_first_tags_of_the_real_test_split(submission: dict[str, np.ndarray], shared_data: Path) -> None:
    tags = (shared_data / "jamendo" / "tags_moodtheme_split.txt").read_text().split()
    with open(shared_data / "jamendo" / "autotagging_moodtheme-test.tsv", newline="") as file:
        first = np.array([tags.index(row[5]) for row in list(csv.reader(file, delimiter="\t"))[1:]])
    truth = submission["ground_truth"].astype(np.float32)
    measured = evaluate(submission["scores"], truth, first, multilabel=True, validation=None)
    best = submission["scores"].argmax(1)
    assert measured["f1_argmax_macro"] == pytest.approx(sk.f1_score(first, best, average="macro"), abs=TOLERANCE)
    assert measured["f1_argmax_micro"] == pytest.approx(0.130702, abs=1e-5)


def test_importing_the_metrics_leaves_lightning_alone() -> None:
    script = "import sys, augrun.evaluation.metrics; sys.exit('pytorch_lightning' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=root).returncode == 0
