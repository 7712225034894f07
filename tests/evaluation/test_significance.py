"""Differences, their intervals and p: parity with scipy where it has the special case, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from augrun.evaluation.predicted import Predicted, Strata
from augrun.evaluation.significance import LEAST_CLUSTERS, ONE_GENERATOR, combine, compare, holm, student

NAMES = ("war", "uar")


def leave(
    folder: Path, right: np.ndarray, clusters: list[np.ndarray], clips: str = "clip", multilabel: bool = False
) -> Predicted:
    """A condition's folder: `right` says which clips each trial and fold gets right, shape (trials, clips) by fold."""
    (folder / "predictions").mkdir(parents=True)
    entries = []
    for fold, (hits, owners) in enumerate(zip(right, clusters, strict=True)):
        labels = np.arange(len(owners)) % 2
        for trial, hit in enumerate(hits):
            best = np.where(hit, labels, 1 - labels)
            name = f"predictions/{fold}-{trial}.npz"
            np.savez(
                folder / name,
                test_scores=np.eye(2, dtype=np.float32)[best],
                test_targets=np.eye(2, dtype=bool)[labels],
                test_first_labels=labels,
                test_clips=np.array([f"{clips}-{fold}-{k}" for k in range(len(owners))]),
                test_clusters=owners.astype(str),
                validation_scores=np.zeros((0, 2), np.float32),
                validation_targets=np.zeros((0, 2), bool),
            )
            entries.append({"fold": str(fold), "trial": trial, "predictions": name})
    (folder / "results.json").write_text(json.dumps({"multilabel": multilabel, "trials": entries}))
    return Predicted.load(folder, NAMES)


def pair(tmp_path: Path, trials: int, clusters: int = 20, each: int = 4, folds: int = 1, gain: float = 0.15):
    """Two conditions; the clips' difficulty is shared."""
    rng = np.random.default_rng(0)
    owners = [np.repeat(np.arange(clusters) + 100 * fold, each) for fold in range(folds)]
    hard = [0.55 + 0.3 * rng.normal(size=clusters)[np.repeat(np.arange(clusters), each)] for _ in range(folds)]
    both = []
    for place, plus in enumerate((gain, 0.0)):
        right = [rng.random((trials, clusters * each)) < level + plus for level in hard]
        both.append(leave(tmp_path / str(place), right, owners))
    return both


def test_without_clip_noise_it_is_welchs_test() -> None:
    rng = np.random.default_rng(3)
    mine, its = rng.normal(0.6, 0.02, 5), rng.normal(0.57, 0.05, 5)
    nothing = np.zeros((5, 8))
    found = student(
        mine.mean() - its.mean(), *combine([mine[:, None], its[:, None]], [nothing, nothing], [np.arange(8)]), 0.95
    )
    wanted = stats.ttest_ind(mine, its, equal_var=False)
    assert found["p"] == pytest.approx(wanted.pvalue) and found["df"] == pytest.approx(wanted.df)
    low, high = wanted.confidence_interval(0.95)
    assert (found["ci_low"], found["ci_high"]) == (pytest.approx(low), pytest.approx(high))


def test_without_training_noise_the_variance_is_that_of_clusters(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    owners = np.repeat(np.arange(30), 6)
    right = [rng.random(180) < level for level in (0.75, 0.55)]
    mine, its = (leave(tmp_path / str(at), [np.tile(hit, (3, 1))], [owners]) for at, hit in enumerate(right))
    found = compare(mine, its, resamples=0)["war"]
    by_cluster = (right[0].astype(float) - right[1]).reshape(30, 6).mean(1)
    assert found.difference == pytest.approx(by_cluster.mean())
    half = (found.ci_high - found.ci_low) / 2
    assert half == pytest.approx(stats.t.ppf(0.975, found.df) * stats.sem(by_cluster))
    assert 20 < found.df < 29.001 and found.p == pytest.approx(stats.ttest_1samp(by_cluster, 0).pvalue, abs=0.005)


def test_folds_are_averaged_and_their_training_noise_is_pooled() -> None:
    rng = np.random.default_rng(5)
    values = [rng.normal(size=(3, 4)), rng.normal(size=(3, 4))]
    nothing = np.zeros((3, 9))
    variance, df = combine(values, [nothing, nothing], [np.arange(9)])
    spreads = np.concatenate([one.var(0, ddof=1) for one in values])
    assert variance == pytest.approx(spreads.sum() / 16 / 3)
    assert df == pytest.approx(2 * spreads.sum() ** 2 / (spreads**2).sum()) and 2 < df <= 16


def test_these_models_only_agrees_with_scipy(tmp_path: Path) -> None:
    mine, its = pair(tmp_path, trials=2, clusters=12, each=5)
    found = compare(mine, its, resamples=20_000, seed=1, workers=2)["war"]
    hits = [
        np.mean([cell.table.scores.argmax(1) == cell.table.first_labels for cell in one.cells.values()], axis=0)
        for one in (mine, its)
    ]
    by_cluster = [one.reshape(12, 5).mean(1) for one in hits]
    exact = stats.permutation_test(
        by_cluster, lambda a, b: a.mean() - b.mean(), permutation_type="samples", n_resamples=np.inf
    )
    assert found.fixed_p == pytest.approx(exact.pvalue, abs=0.01)
    wanted = stats.bootstrap(
        (by_cluster[0] - by_cluster[1],), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(0)
    ).confidence_interval
    assert found.fixed_low == pytest.approx(wanted.low, abs=0.01)
    assert found.fixed_high == pytest.approx(wanted.high, abs=0.01)
    again = compare(mine, its, resamples=20_000, seed=1, workers=1)["war"]
    assert again == found  # whatever the threads


@pytest.mark.parametrize(
    ("trials", "interval", "why"),
    [
        (1, False, "one trial says nothing about the noise of training"),
        (2, True, "two trials cannot decide"),
        (3, True, ""),
    ],
)
def test_few_trials_have_no_p(tmp_path: Path, trials: int, interval: bool, why: str) -> None:
    found = compare(*pair(tmp_path, trials), resamples=100)["uar"]
    assert found.why == why and (found.p is None) == bool(why) and (found.ci_low is not None) == interval
    assert found.fixed_p is not None and found.trials == trials and found.clusters == 20
    assert (found.detectable is None) == bool(why)
    if interval:
        assert found.ci_low < found.difference < found.ci_high


def test_few_clusters_have_no_p(tmp_path: Path) -> None:
    found = compare(*pair(tmp_path, 4, clusters=LEAST_CLUSTERS), resamples=0)["war"]
    assert found.p is None and found.why == f"{LEAST_CLUSTERS} clusters of test clips are too few"
    assert found.ci_low is None and found.detectable is None
    assert compare(*pair(tmp_path / "again", 4, clusters=LEAST_CLUSTERS), resamples=50)["war"].fixed_low is None


def test_folds_of_one_cluster_are_the_units(tmp_path: Path) -> None:
    mine, its = pair(tmp_path, 3, clusters=1, each=20, folds=5)
    found = compare(mine, its, resamples=500)["war"]
    by_fold = np.array(
        [np.mean([mine.metrics[fold, t][0] - its.metrics[fold, t][0] for t in range(3)]) for fold in mine.folds]
    )
    wanted = stats.ttest_1samp(by_fold, 0)
    assert found.p == pytest.approx(wanted.pvalue) and found.df == 4 and found.fixed_p >= 1 / 32


def test_a_generator_that_trials_share_gives_no_p_but_by_folds(tmp_path: Path) -> None:
    mine, its = pair(tmp_path, 4)
    plain = compare(mine, its, resamples=0)["war"]
    mine.trained_once = True
    found = compare(mine, its, resamples=0)["war"]
    assert found.p is None and found.why == ONE_GENERATOR and found.detectable is None
    assert (found.ci_low, found.ci_high) == (plain.ci_low, plain.ci_high) and plain.p is not None
    mine, its = pair(tmp_path / "folds", 3, clusters=2, each=20, folds=5)
    mine.trained_once = True
    by_fold = compare(mine, its, resamples=0)["war"]
    assert by_fold.p is not None and by_fold.folds == 5 and by_fold.df == 4


def test_columns_of_one_seed_are_one_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    owners = np.repeat(np.arange(25), 4)
    right = [rng.random((4, 100)) < 0.7 - 0.1 * at for at in range(2)]
    both = [{c: leave(tmp_path / f"{at}{c}", [right[at]], [owners]) for c in "xyz"} for at in range(2)]
    alone = compare(both[0]["x"], both[1]["x"], resamples=0)["war"]
    found = compare(*(Predicted.joined(columns) for columns in both), resamples=0)["war"]
    # Three times the same condition is no more than one.
    assert (found.ci_low, found.ci_high, found.p) == pytest.approx((alone.ci_low, alone.ci_high, alone.p))


def test_speakers_of_two_corpora_are_different_ones(tmp_path: Path) -> None:
    owners, hits = np.repeat(np.arange(12), 3), np.arange(36) % 3 > 0
    parts = {c: leave(tmp_path / c, [np.tile(hits, (2, 1))], [owners]) for c in "xy"}
    assert len({name for cell in Predicted.joined(parts).cells.values() for name in cell.clusters}) == 12
    parts["y"].dataset = "another"
    assert len({name for cell in Predicted.joined(parts).cells.values() for name in cell.clusters}) == 24


def test_other_clips_cannot_be_compared(tmp_path: Path) -> None:
    owners, hits = np.repeat(np.arange(12), 2), np.ones((3, 24), bool)
    mine, its = leave(tmp_path / "a", [hits], [owners]), leave(tmp_path / "b", [hits], [owners], clips="other")
    assert compare(mine, its) == {}


def test_no_difference_has_no_interval_to_speak_of(tmp_path: Path) -> None:
    owners, hits = np.repeat(np.arange(12), 2), np.arange(24) % 3 > 0
    both = [leave(tmp_path / str(at), [np.tile(hits, (3, 1))], [owners]) for at in range(2)]
    found = compare(*both, resamples=50)["war"]
    assert (found.difference, found.ci_low, found.ci_high, found.p) == (0.0, 0.0, 0.0, None)
    assert found.fixed_p == 1.0


def test_joined_conditions_share_their_clusters(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    owners = np.repeat(np.arange(15), 4)
    conditions = [
        {c: leave(tmp_path / f"{at}{c}", [rng.random((3, 60)) < 0.7 - 0.1 * at], [owners]) for c in "xy"}
        for at in range(2)
    ]
    mine, its = (Predicted.joined(columns) for columns in conditions)
    assert mine.folds == ["x/0", "y/0"]
    found, parts = (
        compare(mine, its, resamples=0)["war"],
        [compare(conditions[0][c], conditions[1][c], resamples=0)["war"] for c in "xy"],
    )
    assert found.difference == pytest.approx(np.mean([part.difference for part in parts])) and found.clusters == 15
    # The clips are the same in both columns, so that a mean over them is no more certain of the clips than one is.
    assert found.ci_high - found.ci_low > 0.5 * min(part.ci_high - part.ci_low for part in parts)


def test_strata_are_folds_unless_folds_share_clusters() -> None:
    apart = Strata.of([np.array(["a", "b"]), np.array(["c", "d", "e"])])
    assert (apart.clusters, apart.free, apart.by_fold) == (5, 3, False)
    weights = apart.drawn(np.random.default_rng(0), 50)
    assert (weights[:, :2].sum(1) == 2).all() and (weights[:, 2:].sum(1) == 3).all()
    same = Strata.of([np.array(["a", "b", "c"])] * 2)
    assert (same.clusters, same.free) == (3, 2)
    shared = Strata.of([np.array(["a", "b"]), np.array(["b", "c"])])
    assert (shared.clusters, shared.free) == (3, 2) and (shared.drawn(np.random.default_rng(0), 9).sum(1) == 3).all()


def test_holm() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005, "none": None})
    assert found == {
        "a": pytest.approx(0.03),
        "b": pytest.approx(0.06),
        "c": pytest.approx(0.06),
        "d": 0.02,
        "none": None,
    }


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_and_keeps_the_order(values: list[float]) -> None:
    found = holm({str(place): value for place, value in enumerate(values)})
    corrected = [found[str(place)] for place in range(len(values))]
    assert all(
        value <= one <= min(1.0, len(values) * value + 1e-12) for value, one in zip(values, corrected, strict=True)
    )
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()
