"""A table whose cells are conditions of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from augrun.core.errors import AugrunError
from augrun.reports import grid, renderings
from augrun.reports.definition import Definition
from augrun.reports.table_files import write_table
from augrun.reports.tables import DATA

SECTION: dict[str, Any] = {
    "kind": "grid",
    "metric": "uar",
    "columns": {"Angry": ["protocol.minority=angry"], "Sad": ["protocol.minority=sad", "seed=1"]},
    "average": "Average",
    "reference": "Imbalanced",
    "highlight": "best",
    "rows": [
        {"name": "Imbalanced", "overrides": ["generator=none"], "published": {"Angry": 0.478, "Average": 0.49}},
        {"name": "CP", "overrides": ["generator=copy"]},
    ],
    "footnotes": ["Published elsewhere."],
}


def results(generator: str, uar: list[float], minority: str) -> dict[str, Any]:
    condition = {"dataset": "iemocap", "generator": generator, "protocol": f"imbalance_{minority}", "scale": "demo"}
    condition |= {"data": "standin", "classifier": "vgg19", "representation": "logmel_ser"}
    trials = [{"fold": "1", "trial": k, "metrics": {"uar": value}} for k, value in enumerate(uar)]
    return {"condition": condition, "trials": trials, "generated": {}, "fingerprint": minority, "baseline": "b"}


def test_every_cell_is_a_job_of_its_own() -> None:
    definition = Definition.of("t", SECTION)
    assert definition.columns == ("Angry", "Sad", "Average")
    assert definition.jobs == [
        ("Imbalanced / Angry", ("generator=none", "protocol.minority=angry")),
        ("Imbalanced / Sad", ("generator=none", "protocol.minority=sad", "seed=1")),
        ("CP / Angry", ("generator=copy", "protocol.minority=angry")),
        ("CP / Sad", ("generator=copy", "protocol.minority=sad", "seed=1")),
    ]
    assert [name for name, _ in definition.only(["CP"]).jobs] == ["CP / Angry", "CP / Sad"]


def test_a_cell_s_own_overrides_come_last() -> None:
    rows = [{"name": "CP", "overrides": ["generator=copy"], "cells": {"Sad": ["seed=2"]}}]
    definition = Definition.of("t", {**SECTION, "rows": rows, "reference": None})
    assert definition.jobs == [
        ("CP / Angry", ("generator=copy", "protocol.minority=angry")),
        ("CP / Sad", ("generator=copy", "protocol.minority=sad", "seed=1", "seed=2")),
    ]
    rows[0]["cells"] = {"Average": ["seed=2"]}
    with pytest.raises(AugrunError, match=r"rows\[0\]\.cells: no column is called 'Average'; legal are Angry, Sad"):
        Definition.of("t", {**SECTION, "rows": rows})
    with pytest.raises(AugrunError, match=r"rows\[0\]\.cells: no such key"):
        Definition.of("t", {"kind": "results", "columns": ["uar"], "rows": rows})


def test_cells_averages_and_differences() -> None:
    definition = Definition.of("t", SECTION)
    table = grid.table(
        definition,
        {
            "Imbalanced / Angry": results("none", [0.4, 0.5], "angry"),
            "Imbalanced / Sad": results("none", [0.6, 0.5], "sad"),
            "CP / Angry": results("copy", [0.5, 0.7], "angry"),
            "CP / Sad": results("copy", [0.7, 0.7], "sad"),
        },
    )
    first, second = table.rows
    assert first.measured["Angry"]["mean"] == pytest.approx(0.45)
    assert second.measured["Average"]["mean"] == pytest.approx(0.65)
    # Each trial's mean over the columns, and their spread: not the mean of spreads.
    assert first.measured["Average"]["std"] == pytest.approx(0.0)
    assert second.measured["Average"]["std"] == pytest.approx(0.0707106781)
    assert table.difference(second, "Angry") == pytest.approx(0.15)
    assert table.difference(second, "Average") == pytest.approx(0.15)
    assert table.difference(first, "Angry") is None
    assert first.published == {"Angry": 0.478, "Sad": None, "Average": 0.49}
    text = renderings.text(table)
    assert "Metric: uar." in text and "Published elsewhere." in text and "0.478" in text
    assert "STAND-IN" in text


def test_intervals_are_of_the_level_asked_for() -> None:
    definition = Definition.of("t", SECTION)
    there = {"CP / Sad": results("copy", [0.6, 0.7, 0.8], "sad")}
    wide, narrow = (grid.table(definition, there, level).rows[0].measured["Sad"] for level in (0.99, 0.8))
    for measured, t in ((wide, 9.92484), (narrow, 1.88562)):  # Student's quantiles of two degrees of freedom
        assert measured["ci_high"] - measured["mean"] == pytest.approx(t * 0.1 / 3**0.5, rel=1e-5)


def test_a_result_that_is_of_no_cell_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^t has no cell CP / Sad \(seed=1\)$"):
        grid.table(Definition.of("t", SECTION), {"CP / Sad (seed=1)": results("copy", [0.7], "sad")})


def test_a_missing_cell_is_empty_and_leaves_no_average() -> None:
    definition = Definition.of("t", SECTION)
    there = {"Imbalanced / Angry": results("none", [0.4], "angry"), "CP / Sad": results("copy", [0.7], "sad")}
    table = grid.table(definition, there)
    assert [row.measured["Average"]["mean"] for row in table.rows] == [None, None]
    assert table.rows[0].measured["Sad"]["mean"] is None
    assert table.rows[1].measured["Sad"]["mean"] == 0.7
    only = grid.table(definition, {"CP / Sad": results("copy", [0.7], "sad")})
    assert [row.name for row in only.rows] == ["CP"] and only.reference is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": None}, None),
        ({"columns": ["Angry"]}, "table.columns: a grid's columns hold overrides"),
    ],
)
def test_a_wrong_grid_names_the_key(changes: dict[str, Any], message: str | None) -> None:
    section = {key: value for key, value in (SECTION | changes).items() if value is not None}
    with pytest.raises(AugrunError) as caught:
        Definition.of("t", section)
    assert str(caught.value).startswith(f"conf/experiment/t.yaml: {message or 'table.metric is missing'}")


def test_a_row_whose_cells_differ_is_no_reference_and_names_all_it_has() -> None:
    rows = [{"name": name, "overrides": []} for name in ("one", "other")]
    definition = Definition.of("t", {**SECTION, "rows": rows, "reference": None})
    found = {f"{name} / Angry": results("none", [0.4], "angry") for name in ("one", "other")}
    found |= {f"{name} / Sad": results("copy", [0.5], "sad") for name in ("one", "other")}
    table = grid.table(definition, found)
    assert [row.condition["generator"] for row in table.rows] == ["copy", "copy"]
    assert table.rows[0].condition["protocol"] == "t" and table.rows[0].condition["dataset"] == "iemocap"
    assert [table.difference(row, column) for row in table.rows for column in table.columns] == [None] * 6


def test_cells_on_different_data_are_told_as_mixed(tmp_path: Path) -> None:
    definition = Definition.of("t", {**SECTION, "rows": SECTION["rows"][:1], "reference": None})
    found = {"Imbalanced / Angry": results("none", [0.4], "angry"), "Imbalanced / Sad": results("copy", [0.5], "sad")}
    found["Imbalanced / Angry"]["condition"]["data"] = "published"
    table = grid.table(definition, found)
    assert table.data == "mixed" and table.footnotes[0] == DATA["mixed"]
    assert any("Some rows were measured on a rendered STAND-IN" in note for note in table.footnotes)
    write_table(table, tmp_path)
    assert "STAND-IN" in (tmp_path / "comparison.md").read_text()
