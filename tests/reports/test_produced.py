"""What generators made, in figures and words; and the label validity for people."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import matplotlib.image
import pytest

from augrun.reports import produced, renderings, validity
from augrun.reports.table_files import write_table

MADE: dict[str, Any] = {
    "clips": 392.0,
    "seconds": 3920.0,
    "seconds_per_class": {"calm": 1960.0, "dark": 1960.0},
    "share_of_train": 0.05,
    "clips_per_class": {"calm": 196.0, "dark": 196.0},
    "type": "primed",
    "sample_s": {"mean": 10.0, "min": 10.0, "max": 10.0},
    "prime_s": {"mean": 4.0, "min": 4.0, "max": 4.0},
    "sample_rates": [16000],
    "reused": 0.0,
    "shortfalls": {},
    "notes": [],
}
CONDITION = {"dataset": "jamendo_emotion", "generator": "samplernn", "scale": "paper", "data": "published"}


def test_the_columns_of_table_2() -> None:
    found = produced.figures_of(MADE)
    assert found == {
        "Sample type": "Primed",
        "Sample length (s)": 10,
        "Prime length (s)": 4,
        "Sample rate (kHz)": 16,
        "Samples a class": 196,
        "Seconds a class": 1960,
        "Hours": pytest.approx(3920 / 3600),
        "% of train part": pytest.approx(5.0),
    }
    assert tuple(found) == produced.COLUMNS
    balanced = {"clips_per_class": {"calm": 0.0, "dark": 30.0}, "seconds_per_class": {"calm": 0.0, "dark": 60.0}}
    found = produced.figures_of({**MADE, **balanced})
    assert (found["Samples a class"], found["Seconds a class"]) == (30, 60)  # of the classes that have samples
    assert produced.figures_of({**MADE, "type": "reconstructed"})["Prime length (s)"] == "n/a"
    assert produced.figures_of({**MADE, "type": "unprimed", "prime_s": None})["Prime length (s)"] == "n/a"
    assert produced.figures_of({**MADE, "sample_rates": [16000, 44100]})["Sample rate (kHz)"] == "16 and 44.1"


def test_published_stands_beside_measured_and_what_means_hide_is_told(tmp_path: Path) -> None:
    odd = {
        **MADE,
        "sample_s": {"mean": 9.0, "min": 3.5, "max": 10.0},
        "reused": 7.0,
        "shortfalls": {"dark": 30.0},
        "notes": ["weights of my own."],
    }
    published = {"SampleRNN": {"Sample type": "Primed", "Sample length (s)": 10, "Hours": 8}}
    table = produced.table("t", [("SampleRNN", CONDITION, MADE), ("odd", CONDITION, odd)], published, ["Published: X."])
    shown = renderings.text(table)
    lines = [line.split() for line in shown.splitlines()]
    assert ["SampleRNN", "published", "Primed", "10", "–", "–", "–", "–", "8", "–"] in lines
    assert ["measured", "Primed", "10", "4", "16", "196", "1,960", "1.089", "5.000"] in lines
    assert max(map(len, shown.splitlines())) < 120
    for note in (
        "odd: samples are 3.50 to 10.00 s long.",
        "odd: 7 samples were primed by a window that primed another of their class.",
        "odd: 1 classes ran out of windows; 30 s are missing.",
        "odd: weights of my own.",
        "Published: X.",
    ):
        assert note in table.footnotes
    assert (
        "samplernn, copy: weights of my own."
        in produced.table(
            "t", [("samplernn", CONDITION, odd), ("copy", CONDITION, {**MADE, "notes": odd["notes"]})]
        ).footnotes
    )
    write_table(table, tmp_path, "produced")
    stored = json.loads((tmp_path / "produced.json").read_text())
    assert stored["rows"][0]["measured"]["Sample type"]["mean"] == "Primed"
    assert stored["rows"][0]["published"]["Hours"] == 8
    assert stored["rows"][1]["published"]["Hours"] is None
    with open(tmp_path / "produced.csv", newline="") as file:
        first = next(csv.DictReader(file))
    assert (first["Sample type mean"], first["Sample type published"], first["Samples a class mean"]) == (
        "Primed",
        "Primed",
        "196",
    )
    assert "Primed" in (tmp_path / "produced.tex").read_text()


def account(diagonal: float, favourite: int = 0) -> dict[str, Any]:
    names = ["calm", "dark"]
    confusion = [[10 * diagonal, 10 - 10 * diagonal], [10 - 10 * diagonal, 10 * diagonal]]
    per_class = {
        name: {"samples": 10, "validity": diagonal, "recorded": 0.7, "taken_for": 0.8 if k == favourite else 0.2}
        for k, name in enumerate(names)
    }
    both = {"mean": diagonal, "std": 0.05, "n": 2}
    return {
        "classes": names,
        "confusion": confusion,
        "per_class": per_class,
        "validity_trials": [[diagonal, diagonal], [diagonal, None]],
        "recorded_trials": [[0.7, 0.7], [0.7, 0.7]],
        "summary": {"validity": both, "recorded": {"mean": 0.7, "std": None, "n": 2}},
    }


def test_validity_is_written_for_people_and_programs(tmp_path: Path) -> None:
    accounts = {"ddsp": account(0.6), "a|<b>": account(0.3, favourite=1)}
    validity.write(accounts, tmp_path)
    text = (tmp_path / "label_validity.txt").read_text().splitlines()
    assert text[0].startswith("Label validity: the share of samples that the baseline's classifier takes for")
    assert text[2].split() == [
        "ddsp",
        "0.600",
        "±",
        "0.050",
        "0.700",
        *["calm", "0.60", "of", "10,", "dark", "0.60", "of", "10", "calm", "80%"],
    ]
    assert text[3].endswith("dark 80%")
    assert "a\\|&lt;b>" in (tmp_path / "label_validity.md").read_text()
    with open(tmp_path / "label_validity.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["generator"], row["class"], row["validity"]) for row in rows[:2]] == [
        ("ddsp", "calm", "0.6"),
        ("ddsp", "dark", "0.6"),
    ]
    files = validity.draw(accounts, tmp_path / "figures", "_x", note="stand-in")
    assert [path.name for path in files] == ["generated_confusion_x.png", "label_validity_x.png"]
    other = {**accounts["ddsp"], "recorded_trials": [[0.2, 0.2], [0.2, 0.2]]}  # of another baseline
    with patch.object(validity.figures, "per_class") as drawn:
        validity.draw({**accounts, "other": other}, tmp_path / "figures")
    bars = {name: values.tolist() for name, values in drawn.call_args.args[0].items()}
    assert list(bars) == [*(f"recorded test clips: {name}" for name in (*accounts, "other")), *accounts, "other"]
    assert bars["recorded test clips: other"] == other["recorded_trials"]
    for path in files:
        assert matplotlib.image.imread(path).std() > 0.02
