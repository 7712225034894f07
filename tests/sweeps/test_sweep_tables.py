"""`augrun table` of what a sweep runs: what is there, what is missing, and where it is looked for."""

from __future__ import annotations

import csv
import json
import logging
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from augrun.cli import main
from augrun.core.config.compose import compose
from augrun.core.errors import RequestError
from augrun.core.store import stages
from augrun.core.store.stages import MANIFEST
from augrun.experiment.comparison import compare_conditions
from augrun.experiment.plan import ConditionPlan
from augrun.sweeps import history
from augrun.tracking import Tracking
from augrun.tracking.download import Source
from augrun.tracking.recorder import Recorder
from tests.experiment.test_leakage import write
from tests.tracking.test_recorder import fresh_database  # noqa: F401

TABLE = """\
# @package _global_
# A table
defaults:
  - override /dataset: feel
table:
  kind: results
  columns: [uar]
  reference: Recordings
  rows:
    - {name: Recordings, overrides: [generator=none], published: {uar: 0.5}}
    - {name: Copies, overrides: [generator=copy], published: {uar: 0.625}}
  footnotes: [Published on other data.]
"""


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUGRUN_OUTPUT", str(tmp_path / "outputs"))
    monkeypatch.delenv("AUGRUN_DATA", raising=False)
    monkeypatch.delenv("AUGRUN_STORE", raising=False)
    return tmp_path / "outputs"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("corpus") / "feel", 0)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "small.yaml").write_text(TABLE)
    return tmp_path / "conf"


def planned(conf: Path, *words: str) -> ConditionPlan:
    config = compose(words, conf)
    config.pop("table", None)
    return ConditionPlan(config, stages.open_store(config))


def finish(condition: ConditionPlan, uar: float) -> Path:
    """Leaves a condition's results in its store, as if it had run."""
    entry = {"metrics": {"uar": uar}, "predictions": "predictions/p.npz", "seed": 0}
    mean = {"mean": uar, "std": None, "n": 1, "ci_low": None, "ci_high": None, "std_over_folds": None}
    results: dict[str, Any] = {
        "schema": 1,
        "condition": condition.names,
        "fingerprint": condition.stage.fingerprint,
        "baseline": "",
        "classes": ["angry", "sad"],
        "multilabel": False,
        "trials": [{"fold": one.fold.name, "trial": one.trial, **entry} for one in condition.fold_trials],
        "summary": {"uar": mean},
        "generated": {"clips": 0, "seconds": 0.0, "seconds_per_class": {}, "notes": []},
    }
    folder = condition.stage.folder
    (folder / "predictions").mkdir(parents=True)
    (folder / "predictions" / "p.npz").write_bytes(b"scores")
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "config.yaml").write_text(yaml.safe_dump(condition.config))
    (folder / "record.json").write_text(json.dumps({"title": condition.title}))
    (folder / MANIFEST).write_text(json.dumps({"title": condition.title, "content": {}}))
    return folder


def score(condition: ConditionPlan, count: int) -> None:
    """Leaves the first folds and trials of a condition predicted."""
    for one in condition.fold_trials[:count]:
        one.predictions.folder.mkdir(parents=True)


def test_a_table_says_what_is_there_and_what_is_missing(
    output: Path, corpus: Path, conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    told = ["small", f"dataset.root={corpus}", "trials.count=2"]
    command = ["table", *told, "--config-dir", str(conf)]
    goes_on = shlex.join(["augrun", "-m", "--config-dir", str(conf), "experiment=small", *told[1:]])
    assert main.run(command) == 1
    said = capsys.readouterr()
    assert said.err == f"augrun: small: none of its 2 rows is finished under {output}\nto run them: {goes_on}\n"
    assert said.out == "" and not output.exists()

    words = ["experiment=small", *told[1:]]
    rows = {name: planned(conf, *words, f"generator={name}") for name in ("none", "copy")}
    number = len(rows["copy"].fold_trials)
    assert number >= 4
    score(rows["copy"], 3)
    assert main.run(command) == 1
    how_far = f"3 of {number} folds and trials are scored"
    assert f"under {output}\n  Copies: {how_far}\nto go on: {goes_on}\n" in capsys.readouterr().err

    finish(rows["none"], 0.55)
    assert main.run([*command, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        f"written to {tmp_path / 'out'}: small.{{txt,md,csv,tex,json,html}}",
        "1 of 2 rows are missing:",
        f"  Copies: {how_far}",
        f"to go on: {goes_on}",
    ]
    lines = said.out.splitlines()
    assert lines[0] == "small" and f"Missing: Copies: {how_far}." in lines
    (line,) = (line for line in lines if line.startswith("  Recordings"))
    assert line.split() == ["Recordings", "0.550", "0.500"]
    for form in ("md", "tex", "json"):
        assert f"Missing: Copies: {how_far}." in (tmp_path / "out" / f"small.{form}").read_text(), form
    with open(tmp_path / "out" / "small.csv") as file:
        written = list(csv.DictReader(file))
    assert [(row["row"], row["uar mean"]) for row in written] == [("Recordings", "0.55"), ("Copies", "")]

    finish(rows["copy"], 0.6)
    assert main.run([*command, "--format", "json"]) == 0
    said = capsys.readouterr()
    assert "missing" not in said.err
    table = json.loads(said.out)
    assert [row["measured"]["uar"]["mean"] for row in table["rows"]] == [0.55, 0.6]
    assert [row["published"]["uar"] for row in table["rows"]] == [0.5, 0.625]
    # Rows that are picked, and each combination of the command line's own overrides, as in a sweep.
    assert main.run([*command, "sweep.rows=[Copies]", "--format", "json"]) == 0
    assert [row["row"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["Copies"]
    assert main.run([*command[:3], "trials.count=1,2", *command[4:], "--format", "csv"]) == 0
    said = capsys.readouterr()
    assert "small (trials.count=1): no row of it is there" in said.err
    assert f"  Copies (trials.count=1): 3 of {number // 2} folds and trials are scored" in said.err
    assert said.out.count("\n") == 3


def test_no_stand_in_is_rendered_to_know_that_nothing_is_there(
    output: Path, conf: Path, capsys: pytest.CaptureFixture
) -> None:
    (output / "store" / "classifier").mkdir(parents=True)  # of other work
    assert main.run(["table", "small", "--config-dir", str(conf)]) == 1
    assert "small: none of its 2 rows is finished" in capsys.readouterr().err
    assert [path.name for path in (output / "store").iterdir()] == ["classifier"]


def test_a_sweep_that_was_started_can_be_asked_for(
    output: Path, corpus: Path, conf: Path, capsys: pytest.CaptureFixture
) -> None:
    common = (f"dataset.root={corpus}", "dataset=feel", "trials.count=1")
    rows = [history.SweptRow(name, (f"generator={name}", *common)) for name in ("none", "copy")]
    words = ["generator=none,copy", *common]
    first = history.started("two", rows[:1], ["generator=none", *common], False, None)
    first.write(output)
    history.started("two", rows, words, False, None).write(output)
    assert history.load(output, f"two/{first.started}") == first
    assert len(list((output / "sweeps" / "two").glob("*.json"))) == 2
    finish(planned(conf, *rows[0].overrides), 0.55)
    assert main.run(["table", "two"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("two\n") and "Missing: copy: no fold or trial is scored." in said.out
    assert said.err.endswith(f"to go on: {shlex.join(['augrun', '-m', *words])}\n")
    assert main.run(["table", f"two/{first.started}", "--format", "csv"]) == 0
    said = capsys.readouterr()
    assert "missing" not in said.err and said.out.count("\n") == 2
    assert (output / "tables" / f"two_{first.started}" / "two.md").is_file()
    assert main.run(["table", "tow"]) == 2
    assert "tow: no such table; did you mean two?" in capsys.readouterr().err
    # A published table says with what its last sweep was started, where that is not what is asked for.
    other = history.started("small", rows, ["experiment=small", "seed=7"], True, str(conf))
    history.Started(**{**vars(other), "commit": "abc"}).write(output)
    assert main.run(["table", "small", f"dataset.root={corpus}", "seed=8", "--config-dir", str(conf)]) == 1
    said = capsys.readouterr().err
    assert "the last sweep of that name was started with: augrun -m experiment=small seed=7\n" in said
    assert "the last sweep of that name ran other code (abc, now " in said


def test_what_the_store_lacks_comes_from_mlflow(
    output: Path,
    corpus: Path,
    conf: Path,
    capsys: pytest.CaptureFixture,
    fresh_database: Path,  # noqa: F811
) -> None:
    told = [f"dataset.root={corpus}", "trials.count=1"]
    command = ["table", "small", *told, "--config-dir", str(conf)]
    assert main.run([*command, "--tracking", "default"]) == 2
    assert f"nothing is recorded at sqlite:///{output / 'mlflow.db'}" in capsys.readouterr().err
    output.mkdir()
    shutil.copyfile(fresh_database, output / "mlflow.db")
    recorder = Recorder(Tracking(experiment="feel"), output)
    rows = {name: planned(conf, "experiment=small", *told, f"generator={name}") for name in ("none", "copy")}
    folders = {name: finish(row, uar) for (name, row), uar in zip(rows.items(), (0.55, 0.6), strict=True)}
    compared = compare_conditions(
        {**rows["none"].config, "tracking": {"_target_": "augrun.tracking.Tracking", "experiment": "feel"}},
        [("Recordings", folders["none"]), ("Copies", folders["copy"])],
    )
    assert compared.is_dir()
    for name, row in rows.items():
        with recorder.running(row.stage.fingerprint, row.title, row.names, row.config) as run:
            assert run.log_condition(folders[name])
    shutil.rmtree(output / "store" / "condition")
    capsys.readouterr()
    assert main.run([*command, "--tracking", "default", "--format", "json"]) == 0
    said = capsys.readouterr()
    assert [row["measured"]["uar"]["mean"] for row in json.loads(said.out)["rows"]] == [0.55, 0.6]
    kept = output / "fetched" / rows["copy"].stage.fingerprint
    assert (kept / "predictions" / "p.npz").read_bytes() == b"scores" and (kept / "config.yaml").is_file()
    # A run by its id, as `augrun reproduce` is given it.
    source = Source("default", output)
    shutil.rmtree(kept)
    everything = recorder.session.search("tags.`augrun.kind` LIKE '%'")
    by_kind = {found.data.tags["augrun.kind"]: found for found in everything}
    assert source.run(by_kind["condition"].info.run_id).parent == kept.parent
    child = by_kind["trial"]
    for run_id, message in [
        ("0" * 32, f"{'0' * 32}: no such run in MLflow at sqlite:///"),
        (child.info.run_id, f"is no condition; its condition is {child.data.tags['mlflow.parentRunId']}"),
        (by_kind["sweep"].info.run_id, "sweep is no condition; give the run of one condition"),
    ]:
        with pytest.raises(RequestError, match=message):
            source.run(run_id)
    # Without the corpus there are no fingerprints: the last resort is what the sweep left.
    shutil.rmtree(output / "store")
    absent = ["table", "sweep", f"--tracking=sqlite:///{output / 'mlflow.db'}", "--format", "csv"]
    assert main.run(absent) == 0
    said = capsys.readouterr()
    assert [line.partition(",")[0] for line in said.out.splitlines()] == ["row", "Recordings", "Copies"]
    assert "This is what a sweep recorded in MLflow at sqlite:///" in said.err
    assert f"  no sweep of that name was started in {output}\n" in said.err
    assert main.run(["table", "other", *absent[2:]]) == 2
    assert "other: no such table" in capsys.readouterr().err


def test_tables_that_are_measured_ask_no_server(output: Path, capsys: pytest.CaptureFixture) -> None:
    assert main.run(["table", "godwin2021_table1", "--tracking", "default"]) == 2
    assert "it is measured on corpora, not on runs; leave --tracking out" in capsys.readouterr().err


class Kept:
    """A recorder that sends nothing."""

    def __init__(self, problem: str | None = None) -> None:
        self.problem = problem

    def add_comparison(self, of: Path, folder: Path) -> None: ...

    def closing_line(self) -> str:
        return self.problem or "all is sent"


def test_a_swept_row_is_shown_when_it_is_done_and_not_again(
    output: Path, corpus: Path, conf: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from augrun.reports import comparison

    def write(folder: Path, name: str, *_: Any, **__: Any) -> None:
        (folder / comparison.CONSOLE).write_text(f"the table of {name}")

    monkeypatch.setattr(comparison, "write", write)
    words = ["experiment=small", f"dataset.root={corpus}", "trials.count=1"]
    made = {name: planned(conf, *words, f"generator={name}") for name in ("none", "copy")}
    rows = [(name, finish(one, 0.5)) for name, one in made.items()]

    def shown(page: bool, problem: str | None = None) -> list[str]:
        recorder: Any = Kept(problem)
        compare_conditions(made["copy"].config, rows, of=rows[1][1], page=page, recorder=recorder)
        return capsys.readouterr().out.splitlines()

    told = ["the table of comparison", "all is sent"]
    assert shown(page=False) == told
    assert shown(page=False) == []
    warned: list[str] = []
    monkeypatch.setattr(logging.getLogger("augrun.experiment.comparison"), "warning", warned.append)
    assert shown(page=False, problem="12 figures were not sent") == []
    assert warned == ["12 figures were not sent"]
    assert shown(page=True) == told and shown(page=True) == told  # who asks for it alone sees it each time
