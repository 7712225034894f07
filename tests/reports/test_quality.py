"""Sample quality for people: rows, yardsticks, and what is said beside."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import matplotlib.image
import numpy as np

from augrun.evaluation.quality import MEASURES
from augrun.reports import quality

NAMES = ["calm", "dark"]


def account(value: float, recorded: float = 0.5, notes: tuple[str, ...] = ()) -> dict[str, Any]:
    def of(mean: float) -> dict[str, Any]:
        return {"mean": mean, "std": 0.125, "n": 2, "ci_low": mean - 0.1, "ci_high": mean + 0.1}

    return {
        "classes": NAMES,
        "frechet_trials": [[value, 300.0], [value, None]],
        "frechet_recorded_trials": [[recorded, recorded]] * 2,
        "summary": {m: of(value) for m in MEASURES} | {f"{m}_recorded": of(recorded) for m in MEASURES},
        "notes": list(notes),
    }


def result(generator: str, dataset: str = "one") -> dict[str, Any]:
    condition = {"dataset": dataset, "generator": generator, "scale": "demo", "data": "standin"}
    trials = [{"fold": "f", "trial": k, "metrics": {"uar": 0.1 * k}} for k in range(2)]
    validity = {"validity": {"mean": 0.25, "std": 0.1, "n": 2}, "recorded": {"mean": 0.75, "std": 0.1, "n": 2}}
    return {"condition": condition, "trials": trials, "label_validity": validity, "fingerprint": generator}


def test_samples_stand_beside_recorded_test_clips(tmp_path: Path) -> None:
    results = [("baseline", result("none")), ("a", result("a")), ("b", result("b"))]
    accounts = {"a": account(0.25, notes=("few.",)), "b": account(0.125, notes=("few.",))}
    made = quality.table("sweep", results, accounts)
    assert [row.name for row in made.rows] == ["a", "b", "recorded (test clips)"]
    means = [[values["mean"] for values in row.measured.values()] for row in made.rows]
    assert means == [[0.25] * 8, [0.25] + [0.125] * 7, [0.75] + [0.5] * 7]
    assert all(made.difference(row, column) is None for row in made.rows for column in made.columns)
    assert "a, b: few." in made.footnotes and "STAND-IN" in made.footnotes[0]
    quality.write(made, tmp_path)
    text = (tmp_path / "quality.txt").read_text()
    assert ["b", "measured", "0.250", *["0.125"] * 7] in [line.split() for line in text.splitlines()]
    assert max(map(len, text.splitlines())) < 120
    assert "0.125 ± 0.125" in (tmp_path / "quality.md").read_text()
    assert "Fréchet distance" in (tmp_path / "quality.tex").read_text()
    stored = json.loads((tmp_path / "quality.json").read_text())
    assert stored["name"] == "sweep: sample quality" and stored["data"] == "standin"
    with open(tmp_path / "quality.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert (last["row"], last["generator"], last["Copied mean"], last["Copied std"]) == (
        *("recorded (test clips)", "recorded"),
        *("0.5", "0.125"),
    )


def test_each_dataset_and_each_baseline_has_a_yardstick_of_its_own() -> None:
    results = [("a", result("a")), ("b", result("b")), ("c", result("c", "two"))]
    accounts = {"a": account(0.2), "b": account(0.2, recorded=0.6), "c": account(0.2)}
    names = [row.name for row in quality.table("t", results, accounts).rows]
    assert names[3:] == [
        "recorded (test clips): one: beside a",
        "recorded (test clips): one: beside b",
        "recorded (test clips): two",
    ]


def test_a_bar_a_class_and_condition(tmp_path: Path) -> None:
    accounts = {"a": account(1.5), "b": account(2.5)}
    quality.draw(accounts, tmp_path / "q.png", note="stand-in")
    assert matplotlib.image.imread(tmp_path / "q.png").std() > 0.02
    with patch.object(quality.figures, "per_class") as drawn:
        quality.draw(accounts, tmp_path / "q.png")
        quality.draw({**accounts, "c": account(1.0, recorded=0.7)}, tmp_path / "q.png")
    first, second = (call.args[0] for call in drawn.call_args_list)
    assert list(first) == ["recorded (test clips)", "a", "b"]
    np.testing.assert_equal(first["a"], [[1.5, 300.0], [1.5, np.nan]])
    assert list(second)[:3] == [f"recorded (test clips): {name}" for name in "abc"]
