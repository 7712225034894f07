"""The summary over trials."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from augrun.core.seeding import trial_seed
from augrun.evaluation.results import summarise


def entries(values: dict[tuple[str, int], float | None]) -> list[dict]:
    return [{"fold": fold, "trial": trial, "metrics": {"uar": value}} for (fold, trial), value in values.items()]


def test_folds_are_averaged_first_and_the_spread_is_over_trials():
    summary = summarise(entries({("a", 0): 0.2, ("b", 0): 0.4, ("a", 1): 0.5, ("b", 1): 0.7}))["uar"]
    assert summary["mean"] == pytest.approx(0.45)
    assert summary["n"] == 2
    assert summary["std"] == pytest.approx(np.std([0.3, 0.6], ddof=1))
    assert summary["std_over_folds"] == pytest.approx(np.std([0.2, 0.4], ddof=1))


def test_a_single_trial_has_no_spread_and_no_interval():
    summary = summarise(entries({("a", 0): 0.2, ("b", 0): 0.4}))["uar"]
    assert (summary["std"], summary["ci_low"], summary["ci_high"]) == (None, None, None)
    assert summary["std_over_folds"] is not None


def test_an_undefined_fold_is_left_out_of_its_trial():
    summary = summarise(entries({("a", 0): None, ("b", 0): 0.4, ("a", 1): 0.5, ("b", 1): 0.7}))["uar"]
    assert summary["mean"] == pytest.approx(0.5)


def test_what_is_undefined_everywhere_is_null():
    summary = summarise(entries({("a", 0): None, ("a", 1): None}))["uar"]
    assert summary == {"mean": None, "std": None, "n": 0, "ci_low": None, "ci_high": None, "std_over_folds": None}


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_is_scipy_s(values, confidence):
    summary = summarise(entries({("a", trial): value for trial, value in enumerate(values)}), confidence)["uar"]
    if np.std(values) > 1e-9:
        low, high = stats.t.interval(confidence, len(values) - 1, np.mean(values), stats.sem(values))
        assert (summary["ci_low"], summary["ci_high"]) == (pytest.approx(low), pytest.approx(high))


def test_trial_seeds_are_distinct_and_fixed():
    seeds = [trial_seed(seed, trial, "a") for seed in range(20) for trial in range(20)]
    assert len(set(seeds)) == 400
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert trial_seed(0, 0, "a") == trial_seed(0, 0, "a") != trial_seed(0, 0, "b")
