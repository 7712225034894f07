"""Metrics under weights of clusters: parity with measuring drawn clips, and derivatives with differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from augrun.evaluation import metrics
from augrun.evaluation.thresholds import fit_thresholds
from augrun.evaluation.weighted import NAMES, Table, Weighted

CLUSTERS = 12
SINGLE = ("uar", "war", "f1_macro", "f1_argmax_macro", "pr_auc_macro", "pr_auc_micro", "roc_auc_macro", "roc_auc_micro")
SEVERAL = tuple(name for name in NAMES if name not in ("uar", "war", "f1_macro"))


def draw(seed: int, multilabel: bool, ties: bool, clips: int = 50, classes: int = 4) -> tuple[Table, np.ndarray]:
    """Predictions, and a validation part's scores and targets as one array of two."""
    rng = np.random.default_rng(seed)
    scores, validation = rng.random((clips, classes)).astype(np.float32), rng.random((clips, classes), np.float32)
    if ties:
        scores, validation = scores.round(1), validation.round(1)
    truth = rng.random((clips, classes)) < 0.2
    first = np.where(truth.any(1), truth.argmax(1), -1)
    if not multilabel:
        first = rng.integers(classes, size=clips)
        truth = np.eye(classes, dtype=bool)[first]
    targets = rng.random((clips, classes)) < 0.3
    decisions = scores >= fit_thresholds(validation, targets)
    return Table(scores, truth, first, rng.integers(CLUSTERS, size=clips), decisions), np.array([validation, targets])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), multilabel=st.booleans(), ties=st.booleans())
def test_weights_count_as_repeated_clips_do(seed: int, multilabel: bool, ties: bool) -> None:
    table, validation = draw(seed, multilabel, ties)
    names = SEVERAL if multilabel else SINGLE
    weights = np.random.default_rng(seed).integers(0, 3, size=(3, CLUSTERS))
    weights[0] = 1
    found = Weighted(table, names, CLUSTERS).measure(weights)
    for row, measured in zip(weights, found, strict=True):
        clips = np.repeat(np.arange(len(table.scores)), row[table.clusters])
        if not len(clips):
            continue
        wanted = metrics.evaluate(
            table.scores[clips],
            table.targets[clips].astype(np.float32),
            table.first_labels[clips],
            multilabel=multilabel,
            validation=(validation[0].astype(np.float32), validation[1].astype(np.float32)),
        )
        np.testing.assert_allclose(measured, [wanted[name] for name in names], atol=1e-6)


@pytest.mark.parametrize("ties", [False, True])
def test_whole_weights_are_exact_in_single_precision_as_long_as_they_fit(
    ties: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, _ = draw(5, True, ties, clips=400)
    weights = np.random.default_rng(5).integers(0, 9, size=(20, CLUSTERS)).astype(float)
    whole = Weighted(table, SEVERAL, CLUSTERS)
    sums = whole._by_class.sums(weights.T)
    assert {one.dtype for one in sums} == {np.dtype(np.float32)}
    found = whole.measure(weights)
    for at, large in ((0, 2.0**24), (3, 0.5)):  # float32 has no odd numbers from there on, and half of one is not whole
        other = weights.copy()
        other[at] *= large
        assert {one.dtype for one in whole._by_class.sums(other.T)} == {np.dtype(np.float64)}
        np.testing.assert_allclose(
            whole.measure(other), found, rtol=1e-12
        )  # areas do not know how large all weights are
    monkeypatch.setattr("augrun.evaluation.ranking.EXACT", 0)
    for one, same in zip(sums, whole._by_class.sums(weights.T), strict=True):
        assert same.dtype == np.float64 and np.array_equal(one, same)
    assert np.array_equal(whole.measure(weights), found)


def test_areas_are_scikit_learns() -> None:
    table, _ = draw(1, True, True)
    weights = np.random.default_rng(1).integers(1, 4, size=CLUSTERS)
    found = Weighted(table, ["pr_auc_macro", "roc_auc_macro", "pr_auc_micro", "roc_auc_micro"], CLUSTERS).measure(
        weights[None]
    )[0]
    by_clip = weights[table.clusters]
    wanted = [
        measure(table.targets, table.scores, average=average, sample_weight=by_clip)
        for average in ("macro", "micro")
        for measure in (average_precision_score, roc_auc_score)
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("multilabel", [False, True])
def test_influence_is_the_derivative(multilabel: bool, ties: bool) -> None:
    table, _ = draw(2, multilabel, ties)
    weighted = Weighted(table, SEVERAL if multilabel else SINGLE, CLUSTERS)
    influence, step = weighted.influence(), 1e-5
    np.testing.assert_allclose(influence.sum(1), 0, atol=1e-9)
    up, down = (weighted.measure(np.ones((CLUSTERS, CLUSTERS)) + sign * step * np.eye(CLUSTERS)) for sign in (1, -1))
    np.testing.assert_allclose(influence, ((up - down) / (2 * step)).T, atol=1e-6)
    assert np.abs(influence).max() > 1e-3


def test_exchanged_clusters_change_places() -> None:
    mine, its = draw(3, True, False)[0], draw(3, True, False)[0]
    its = Table(draw(4, True, False)[0].scores, its.targets, its.first_labels, its.clusters, mine.decisions)
    stay = np.random.default_rng(0).integers(2, size=(5, CLUSTERS))
    here, there = Weighted(mine.beside(its), SEVERAL, 2 * CLUSTERS).exchange(np.concatenate([stay, 1 - stay], axis=1))
    for row, one, other in zip(stay, here, there, strict=True):
        kept = row[mine.clusters][:, None].astype(bool)
        for found, scores in ((one, np.where(kept, mine.scores, its.scores)), (other, None)):
            scores = np.where(kept, its.scores, mine.scores) if scores is None else scores
            mixed = Table(scores, mine.targets, mine.first_labels, mine.clusters, mine.decisions)
            np.testing.assert_allclose(found, Weighted(mixed, SEVERAL, CLUSTERS).measure(np.ones((1, CLUSTERS)))[0])


def test_what_cannot_be_weighted_is_refused() -> None:
    table, _ = draw(5, True, False)
    with pytest.raises(ValueError, match="f1_oracle_macro: not among the metrics"):
        Weighted(table, ["f1_oracle_macro"])
    plain = Table(table.scores, table.targets, table.first_labels, table.clusters)
    with pytest.raises(ValueError, match="f1_val wants the decisions"):
        Weighted(plain, ["f1_val_macro"])


def test_a_metric_without_a_class_is_nan() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    table = Table(scores, np.zeros((2, 2), bool), np.array([-1, -1]), np.array([0, 1]))
    weighted = Weighted(table, ["pr_auc_macro", "roc_auc_micro", "uar"])
    assert np.isnan(weighted.measure(np.ones((1, 2)))).all()
    assert np.isnan(weighted.influence()).all()
