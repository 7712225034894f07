"""How near generated vectors are to recorded ones: Table 1 of Bao et al. 2019, and its picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from augrun.core.errors import AugrunError
from augrun.reports import feature_means
from augrun.reports.definition import Definition
from augrun.reports.feature_means import ONE_SCALE, SOURCE, SYNTHETIC, Means, Near

CONDITION = {"dataset": "iemocap", "generator": "cyclegan", "scale": "demo", "data": "standin"}


def near() -> Near:
    """Two classes, two functionals that vary and one that does not; the train part's ranges are 10, 2 and 0."""
    target = np.array([[0, 1, 5], [10, 1, 5], [10, 3, 5]], np.float32), np.array([0, 0, 1])
    made = np.array([[6, 1, 7], [10, 2, 5], [10, 2, 5]], np.float32), np.array([0, 1, 1])
    source = np.array([[10, 1, 5], [30, 3, 5]], np.float32)
    return Near.of(target, made, 2, source)


def test_differences_are_of_means_averaged_over_functionals_and_classes() -> None:
    found = near().differences
    # Target, min–max: class 0 (.5, 0, 0), class 1 (1, 1, 0); synthetic (.6, 0, 0), (1, .5, 0).
    assert found[SYNTHETIC] == pytest.approx((0.1 + 0.5) / 3 / 2)
    # The source on its own scale has the mean (.5, .5, 0), on the target's (2, .5, 0).
    assert found[SOURCE] == pytest.approx((0.5 + 0.5 + 0.5) / 3 / 2)
    assert found[ONE_SCALE] == pytest.approx((1.5 + 0.5 + 1.0 + 0.5) / 3 / 2)


def test_without_a_source_there_is_the_samples_difference_alone() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    labels = np.array([0, 1, 0, 1])
    assert Near.of((rows, labels), (rows, labels), 2).differences == {SYNTHETIC: 0.0}


def test_a_class_without_samples_is_left_out() -> None:
    rows = np.array([[0.0], [1.0], [1.0]], np.float32)
    found = Near.of((rows, np.array([0, 1, 2])), (rows[1:2], np.array([1])), 3)
    assert found.differences[SYNTHETIC] == 0.0
    assert np.isnan(found.synthetic.mean[[0, 2]]).all()


def test_the_table_is_the_mean_over_folds() -> None:
    first = near()
    second = Near(first.target, first.target, first.source, first.one_scale)
    columns = [SOURCE, SYNTHETIC]
    table = feature_means.table("t", [("λ", CONDITION, [first, second], {SOURCE: 0.084})], columns, ["Elsewhere."])
    (row,) = table.rows
    assert row.measured[SYNTHETIC]["mean"] == pytest.approx(first.differences[SYNTHETIC] / 2)
    assert row.published == {SOURCE: 0.084, SYNTHETIC: None}
    assert "STAND-IN" in table.footnotes[0] and "Means over 2 folds" in table.footnotes[2]


def test_the_figure_has_a_descriptor_s_mean_each(tmp_path: Path) -> None:
    names = [f"{d}_sma{delta}_{f}" for d in "abcdefghijklmnopq" for delta in ("", "_de") for f in ("amean", "stddev")]
    places = feature_means.chosen(names)
    assert len(places) == 12 and all(names[place].endswith("_sma_amean") for place in places)
    assert feature_means.chosen(["x", "y"]) == [0, 1]
    rng = np.random.default_rng(0)
    means = Means.of(rng.normal(size=(30, len(names))), np.arange(30) % 3, 3)
    assert means.mean.shape == means.deviation.shape == (3, len(names))
    feature_means.draw({"target": means, "synthetic": means}, names, tmp_path / "a.png", "stand-in")
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_columns_are_checked() -> None:
    section = {"kind": "features", "columns": ["|target − sauce|"], "rows": [{"name": "a", "overrides": []}]}
    with pytest.raises(AugrunError, match=r"columns: no column is called '\|target − sauce\|'; did you mean"):
        Definition.of("t", section)
