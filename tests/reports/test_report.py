"""The page of a sweep: what is on it, that it stands alone, and what its charts show."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augrun.reports import charts, comparison
from augrun.reports.evidence import Settings
from augrun.reports.report import FILE

NAMES = ("calm", "dark", "epic")


def leave(folder: Path, generator: str, gain: float, trials: int = 5, clusters: int = 14, **about: Any) -> Path:
    """A condition's folder: classifiers that are right with some chance about clips of some speakers."""
    rng = np.random.default_rng(int(1000 * gain) + 7)
    clips = clusters * 9
    labels = np.arange(clips) % 3
    hard = 0.5 + 0.15 * np.random.default_rng(0).normal(size=clusters)[np.arange(clips) // 9]
    (folder / "predictions").mkdir(parents=True)
    (folder / "curves").mkdir()
    entries = []
    for trial in range(trials):
        best = np.where(rng.random(clips) < hard + gain, labels, (labels + 1) % 3)
        scores = (np.eye(3)[best] * 0.6 + 0.2 * rng.random((clips, 3))).astype(np.float32)
        targets = np.eye(3, dtype=bool)[labels]
        arrays = {"scores": scores, "targets": targets, "first_labels": labels, "clips": np.arange(clips).astype(str)}
        arrays["clusters"] = (np.arange(clips) // 9).astype(str)
        part = {f"test_{key}": value for key, value in arrays.items()}
        part |= {f"validation_{key}": value[:0] for key, value in arrays.items()}
        np.savez(folder / "predictions" / f"{trial}.npz", **part)
        accuracy = float((scores.argmax(1) == labels).mean())
        metrics = {"uar": accuracy, "war": accuracy}
        entries.append(
            {"fold": "f", "trial": trial, "seed": trial, "metrics": metrics, "predictions": f"predictions/{trial}.npz"}
        )
        curve = [{"epoch": epoch, "train/loss": 1 / epoch, "phase": "a"} for epoch in (1, 2, 3)]
        (folder / "curves" / f"fold-f-trial-{trial}.json").write_text(json.dumps(curve))
    values = [entry["metrics"]["uar"] for entry in entries]
    summary = {"mean": float(np.mean(values)), "std": 0.01, "n": trials, "ci_low": 0.1, "ci_high": 0.9}
    condition = {"dataset": "d<1>", "generator": generator, "policy": "p", "classifier": "c", "protocol": "o"}
    condition |= {"representation": "r", "scale": "demo", "data": "standin"}
    results = {
        "condition": condition,
        "fingerprint": generator,
        "baseline": "none",
        "classes": list(NAMES),
        "multilabel": False,
        "trials": entries,
        "summary": {"uar": summary, "war": summary},
        "generated": {"clips": 0},
    }
    cost = {"seconds": 75.0, "gpu_hours": 0.5, "gpu": "H100", "peak_bytes": 2e9, "gpu_peak_bytes": None}
    files = {
        "results.json": results,
        "per_class.json": {"metric": "recall_argmax", "support": [9, 8, 7], "trials": [[0.5, 0.6, 0.5 + gain]] * 2},
        "confusion.json": [[3, 1, 0], [0, 4, 0], [2, 0, 2]],
        "cost.json": {**cost, "kinds": {"classifier": {"stages": 3, "seconds": 75.0}}},
        "record.json": {"commit": "abc123", "command": f"augrun generator={generator} seed=1", **about},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "config.yaml").write_text("seed: 1\n")
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The comparison of a baseline and two generators, and its page."""
    folder = tmp_path_factory.mktemp("comparison")
    gains = {"none": 0.0, "good": 0.25, "idle": 0.001}
    rows = [(name, leave(folder / "store" / "condition" / name, name, gain)) for name, gain in gains.items()]
    comparison.write(folder, "sweep", rows, settings=Settings(resamples=200))
    return folder, (folder / FILE).read_text(encoding="utf-8")


def test_the_table_knows_what_is_more_than_noise(page: tuple[Path, str]) -> None:
    table = json.loads((page[0] / "tables" / "comparison.json").read_text())
    rows = {row["row"]: row["measured"]["uar"] for row in table["rows"]}
    good, idle = rows["good"]["difference"], rows["idle"]["difference"]
    assert good["p"] < 0.001 and rows["good"]["p"] == pytest.approx(2 * good["p"]) == good["p_corrected"]
    assert good["ci_low"] > 0 and good["fixed_low"] > 0 and good["fixed_p"] == pytest.approx(1 / 201)
    assert good["difference"] == pytest.approx(rows["good"]["mean"] - rows["none"]["mean"])
    assert idle["p"] > 0.05 and idle["ci_low"] < 0 < idle["ci_high"] and 0 < idle["detectable"] < 0.3
    assert "difference" not in rows["none"] and rows["none"]["p"] is None
    notes = " ".join(table["footnotes"])
    assert "corrected over 2 rows (Holm); the noise of training (5 trials) and the choice of test clips (14" in notes
    text = (page[0] / "tables" / "differences.md").read_text()
    assert "these trained models only: p" in text and "| uar: idle |" in text and "could have shown" in text
    assert "<.001" in (page[0] / "tables" / "comparison.txt").read_text()


def test_several_rows_without_a_generator_are_compared_with_the_first(tmp_path: Path) -> None:
    """Undersampled corpora have no generator either; the table of differences is one of words."""
    rows = [("Initial", leave(tmp_path / "initial", "none", 0.0))]
    for name, gain in (("0.4 Balanced", 0.25), ("Fully Balanced", 0.1)):
        place = leave(tmp_path / name, "none", gain)
        content = json.loads((place / "results.json").read_text()) | {"fingerprint": name}
        content["condition"]["policy"] = name
        (place / "results.json").write_text(json.dumps(content))
        rows.append((name, place))
    comparison.write(tmp_path, "sweep", rows, settings=Settings(resamples=200))
    stored = json.loads((tmp_path / "tables" / "comparison.json").read_text())
    means = {row["row"]: row["measured"]["uar"] for row in stored["rows"]}
    found = {name: values["difference"]["difference"] for name, values in means.items() if "difference" in values}
    assert found == {name: pytest.approx(means[name]["mean"] - means["Initial"]["mean"]) for name, _ in rows[1:]}
    words = json.loads((tmp_path / "tables" / "differences.json").read_text())
    assert [row["row"] for row in words["rows"]] == [
        f"{column}: {name}" for column in ("uar", "war") for name in ("0.4 Balanced", "Fully Balanced")
    ]
    assert words["rows"][0]["measured"]["difference"]["mean"] == f"{found['0.4 Balanced']:+.3f}"
    assert "In brackets" not in (tmp_path / "tables" / "differences.md").read_text()


def test_the_page_stands_alone_and_has_every_part(page: tuple[Path, str]) -> None:
    html = page[1]
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", html)
    parts = re.findall(r'<section id="part-([\w-]+)"', html)
    assert parts == ["results", "differences", "classes", "confusions", "learning-curves", "cost", "run-again"]
    assert set(re.findall(r'href="#(part-[\w-]+)"', html)) == {f"part-{part}" for part in parts}
    assert "STAND-IN" in html and "d&lt;1&gt;" in html and "d<1>" not in html
    assert "augrun generator=good seed=1\naugrun reproduce store/condition/good/results.json" in html
    assert "commit abc123; 5 seeds" in html and "H100" in html and "1.2 min" not in html and "75.0 s" in html


def test_effects_are_filled_where_they_are_certain(page: tuple[Path, str]) -> None:
    circles = re.findall(r'<circle[^>]*fill="([^"]+)"[^>]*><title>(\w+)', page[1])
    assert {name: fill for fill, name in circles} == {"good": "var(--c1)", "idle": "var(--paper)"}


def test_gains_of_classes_and_confusions_are_figures(page: tuple[Path, str]) -> None:
    html = page[1]
    assert "+0.250" in html and ">0.500</td>" in html  # of epic, and the level without a generator
    assert ">0.75</td>" in html  # of calm, taken for calm


def test_pages_in_a_sweep_of_two_trials_say_why_there_is_no_p(tmp_path: Path) -> None:
    rows = [(name, leave(tmp_path / name, name, gain, trials=2)) for name, gain in {"none": 0.0, "good": 0.25}.items()]
    comparison.write(tmp_path / "out", "sweep", rows, settings=Settings(resamples=0))
    notes = json.loads((tmp_path / "out" / "tables" / "comparison.json").read_text())["footnotes"]
    assert "good: no p: two trials cannot decide." in notes and any(
        note.startswith("trials.count=3 or more gives p;") for note in notes
    )
    assert not any(note.startswith("p:") for note in notes)


def test_results_without_predictions_have_no_p(tmp_path: Path) -> None:
    rows = [(name, leave(tmp_path / name, name, gain)) for name, gain in {"none": 0.0, "good": 0.25}.items()]
    for file in (tmp_path / "good" / "predictions").iterdir():
        file.unlink()
    comparison.write(tmp_path / "out", "sweep", rows, settings=Settings(resamples=0))
    table = json.loads((tmp_path / "out" / "tables" / "comparison.json").read_text())
    said = "good: no interval of the difference and no p: the scores of its test clips, or of its reference's, are not"
    assert any(note.startswith(said) for note in table["footnotes"])
    row = table["rows"][1]
    assert row["measured"]["uar"]["p"] is None and "difference" not in row["measured"]["uar"]


def test_ticks_are_round_and_within() -> None:
    assert charts.ticks(-0.013, 0.031) == [-0.01, 0.0, 0.01, 0.02, 0.03]
    assert charts.ticks(1, 40) == [10, 20, 30, 40]


def test_lines_of_one_epoch_and_of_equal_values_are_drawn() -> None:
    drawn = charts.lines({"a": ([1], [0.5])}, "loss", {"a": 1})
    assert "<circle" in drawn and "nan" not in drawn and "inf" not in drawn
