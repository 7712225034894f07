"""What is sent to MLflow is read back through its own client: exact runs, metrics, parameters, artifacts."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2

from augrun.core.errors import AugrunError, RequestError
from augrun.core.runtime.processes import is_dead, process
from augrun.tracking import Tracking, saved_view, sync, ui
from augrun.tracking.dataset_inputs import inputs
from augrun.tracking.descriptions import experiment_note, note
from augrun.tracking.formatting import absolute_uri, flatten, short
from augrun.tracking.recorder import Recorder
from tests.processes import restore_signals

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 3
NAMES = {
    "dataset": "jamendo_mood",
    "generator": "ddsp",
    "policy": "equal_duration",
    "classifier": "net",
    "protocol": "official",
    "representation": "logmel_jamendo",
    "scale": "demo",
    "data": "standin",
}
TITLE = "jamendo_mood/ddsp/equal_duration/net"
CONFIG = {
    "dataset": {"name": "jamendo_mood", "root": None},
    "generator": {"name": "ddsp", "hidden": [512, 512], "reverb": False, "learning_rate": 3e-4},
    "note": "x" * 7000,
    "tracking": {"uri": None, "experiment": None},
    "output": {"root": "/somewhere"},
} | {f"setting{number:03d}": number for number in range(150)}


def condition(folder: Path, fingerprint: str = "f0", folds: tuple[str, ...] = ("a", "b"), trials: int = 2) -> Path:
    """A condition's folder as the store holds it."""
    entries = []
    for trial in range(trials):
        for fold in folds:
            metrics = {"f1_val_macro": 0.25 + trial / 10, "pr_auc_macro": 0.5, "undefined": None}
            entries.append({"fold": fold, "trial": trial, "seed": 100 + trial, "metrics": metrics, "predictions": "p"})
            curve = [{"epoch": e, "train/loss": 1 / e, "validation/loss": 2 / e} for e in range(1, EPOCHS + 1)]
            place = folder / "curves" / f"fold-{fold}-trial-{trial}.json"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(curve))
    summary = {"mean": 0.3, "std": 0.07, "n": trials, "ci_low": 0.1, "ci_high": 0.5, "std_over_folds": 0.0}
    alone = {"mean": 0.5, "std": None, "n": trials, "ci_low": None, "ci_high": None, "std_over_folds": None}
    results = {
        "schema": 1,
        "condition": NAMES,
        "fingerprint": fingerprint,
        "trials": entries,
        "summary": {"f1_val_macro": summary, "pr_auc_macro": alone},
        "generated": {"clips": 12, "seconds": 48.0, "seconds_per_class": {}},
    }
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    for name in ("tables/table.md", "figures/a.png", "audio/happy-prime.wav", "predictions/p.npz"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"content")
    return folder


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as MLflow creates it, which takes seconds."""
    place = tmp_path_factory.mktemp("fresh")
    Recorder(Tracking(experiment="Default"), place).prepare()
    return place / "mlflow.db"


@pytest.fixture
def output(tmp_path: Path, fresh_database: Path) -> Path:
    """An output root, with what a path may hold, and a database without runs."""
    return with_database(tmp_path / "out put ü", fresh_database)


def with_database(folder: Path, database: Path) -> Path:
    folder.mkdir()
    shutil.copyfile(database, folder / "mlflow.db")
    return folder


def recorder(output: Path, uri: str | None = None) -> Recorder:
    return Recorder(Tracking(uri=uri, experiment="jamendo_mood", timeout_s=2), output)


def record(output: Path, folder: Path, fingerprint: str = "f0") -> None:
    with recorder(output).running(fingerprint, TITLE, NAMES, CONFIG) as run:
        run.log_condition(folder)


def client(output: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{output}/mlflow.db")


def runs(output: Path, kind: str | None = None) -> list[MlflowRun]:
    its = client(output)
    experiment = its.get_experiment_by_name("jamendo_mood")
    found = list(its.search_runs([experiment.experiment_id], max_results=1000))
    return [run for run in found if kind in (None, run.data.tags["augrun.kind"])]


def artifacts(output: Path, run_id: str, folder: str = "") -> list[str]:
    found = []
    for entry in client(output).list_artifacts(run_id, folder):
        found += artifacts(output, run_id, entry.path) if entry.is_dir else [entry.path]
    return sorted(found)


def everything(output: Path) -> dict[str, Any]:
    """All that MLflow holds of all runs, histories included."""
    its = client(output)
    held = {}
    for run in runs(output):
        histories = {
            name: [(m.value, m.step, m.timestamp) for m in its.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        tags = {name: value for name, value in run.data.tags.items() if name != "augrun.process"}
        held[run.info.run_id] = (run.info.status, run.data.params, tags, histories, artifacts(output, run.info.run_id))
    return held


def test_a_condition_is_a_parent_and_a_child_for_each_fold_and_trial(tmp_path: Path, output: Path) -> None:
    record(output, condition(tmp_path / "store"))
    (parent,), children = runs(output, "condition"), runs(output, "trial")
    assert parent.info.run_name == TITLE
    assert parent.info.status == "FINISHED"
    expected = {f"augrun.{name}": value for name, value in NAMES.items()} | {"augrun.fingerprint": "f0"}
    assert expected.items() <= parent.data.tags.items()
    assert len(parent.data.tags["augrun.commit"].removesuffix("-dirty")) >= 7
    assert "stand-in" in parent.data.tags["mlflow.note.content"]
    assert parent.data.metrics == {
        "test/f1_val_macro/mean": 0.3,
        "test/f1_val_macro/std": 0.07,
        "test/f1_val_macro/ci_low": 0.1,
        "test/f1_val_macro/ci_high": 0.5,
        "test/pr_auc_macro/mean": 0.5,
        "generated/clips": 12,
        "generated/seconds": 48,
    }
    assert len(parent.data.params) == 2 + 4 + 1 + 150 + len(NAMES)
    assert NAMES.items() <= parent.data.params.items(), "columns of the runs table, by plain names"
    assert parent.data.params["generator.hidden"] == "[512, 512]"
    assert parent.data.params["dataset.root"] == "null"
    assert len(parent.data.params["note"]) == 6000
    names = ["audio/happy-prime.wav", "config.yaml", "figures/a.png", "results.json", "tables/table.md"]
    names += [f"curves/fold-{fold}-trial-{trial}.json" for fold in "ab" for trial in range(2)]
    names = sorted([*names, "predictions/p.npz"])
    assert artifacts(output, parent.info.run_id) == names
    assert (output / "mlartifacts").is_dir()

    assert sorted(run.info.run_name for run in children) == [f"fold-{f}/trial-{t}" for f in "ab" for t in (0, 1)]
    for child in children:
        assert child.info.status == "FINISHED"
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.params == {
            "fold": child.data.tags["augrun.fold"],
            "trial": child.data.tags["augrun.trial"],
            "seed": str(100 + int(child.data.tags["augrun.trial"])),
        }
        assert set(child.data.metrics) == {"test/f1_val_macro", "test/pr_auc_macro", "train/loss", "validation/loss"}
        curve = client(output).get_metric_history(child.info.run_id, "train/loss")
        assert sorted((m.step, m.value) for m in curve) == [(e, 1 / e) for e in range(1, EPOCHS + 1)]


def test_a_repeat_adds_and_changes_nothing(tmp_path: Path, output: Path) -> None:
    folder = condition(tmp_path / "store")
    record(output, folder)
    before = everything(output)
    assert len(before) == 5
    with recorder(output).running("f0", TITLE, NAMES, CONFIG | {"setting000": "another"}) as run:
        assert run.log_condition(folder) is False
    assert everything(output) == before
    record(output, condition(tmp_path / "other", "f1", trials=1), "f1")
    assert len(runs(output)) == 5 + 3


def test_more_points_than_a_batch_holds_all_arrive(tmp_path: Path, output: Path) -> None:
    folder = condition(tmp_path / "store", folds=("a",), trials=1)
    curve = [{"epoch": epoch, "x": epoch * 0.5, "y": -epoch, "z": float("nan")} for epoch in range(1, 1301)]
    (folder / "curves" / "fold-a-trial-0.json").write_text(json.dumps(curve))
    record(output, folder)
    (child,) = runs(output, "trial")
    for name, factor in (("x", 0.5), ("y", -1)):
        history = client(output).get_metric_history(child.info.run_id, name)
        assert sorted((m.step, m.value) for m in history) == [(e, e * factor) for e in range(1, 1301)]
    assert "z" not in child.data.metrics


@pytest.mark.parametrize(
    ("raised", "status"),
    [(ValueError("broken"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(143), "KILLED")],
)
def test_runs_end_truthfully_and_are_taken_up_again(
    tmp_path: Path, output: Path, raised: BaseException, status: str
) -> None:

    def work() -> None:
        with recorder(output).running("f0", TITLE, NAMES, CONFIG):
            (during,) = runs(output)
            assert during.info.status == "RUNNING"
            raise raised

    with pytest.raises(type(raised)):
        work()
    (ended,) = runs(output)
    assert ended.info.status == status
    record(output, condition(tmp_path / "store"))
    (parent,) = runs(output, "condition")
    assert parent.info.run_id == ended.info.run_id
    assert parent.info.status == "FINISHED"
    assert len(runs(output)) == 5


def test_sending_that_breaks_off_is_completed_without_doubles(
    tmp_path: Path, output: Path, fresh_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, folder = with_database(tmp_path / "undisturbed", fresh_database), condition(tmp_path / "store")
    record(undisturbed, folder)
    calls = 0
    real = MlflowClient.log_batch

    def breaking(self: MlflowClient, *args: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        real(self, *args, **kwargs)
        if calls == 6:  # the answer to the second child's metrics is lost
            raise OSError("connection reset")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", breaking)
        broken = recorder(output)
        with broken.running("f0", TITLE, NAMES, CONFIG) as run:
            assert run.log_condition(folder) is False
    assert "connection reset" in broken.closing_line()
    assert 1 < len(runs(output)) < 5
    assert [run.info.status for run in runs(output, "condition")] == ["FAILED"]
    record(output, folder)

    def values(place: Path) -> list[Any]:
        held = [(status, params, curves, files) for status, params, _, curves, files in everything(place).values()]
        return sorted(held, key=lambda run: json.dumps(run[1:3]))

    assert values(output) == values(undisturbed)


def test_a_dead_process_leaves_no_running_run(tmp_path: Path, output: Path) -> None:
    code = (
        "import os, signal\n"
        "from tests.tracking.test_recorder import *\n"
        f"with recorder(Path({str(output)!r})).running('f0', TITLE, NAMES, CONFIG):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL
    (left,) = runs(output)
    assert left.info.status == "RUNNING"
    with recorder(output).running("another", "t", NAMES, CONFIG):
        states = {run.data.tags["augrun.fingerprint"]: run.info.status for run in runs(output)}
    assert states == {"f0": "KILLED", "another": "RUNNING"}  # this process's own is left alone


def test_sigterm_ends_a_run_as_killed(tmp_path: Path, output: Path) -> None:
    code = (
        "import os, signal, time\n"
        "from tests.tracking.test_recorder import *\n"
        f"with recorder(Path({str(output)!r})).running('f0', TITLE, NAMES, CONFIG):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(600)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert ended.returncode == 143
    assert [run.info.status for run in runs(output)] == ["KILLED"]


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_that_is_down_stops_nothing_and_sync_sends_the_rest(tmp_path: Path, output: Path) -> None:
    folder = condition(tmp_path / "store")
    comparison = tmp_path / "comparison"
    (comparison / "tables").mkdir(parents=True)
    (comparison / "tables" / "comparison.md").write_text("| a |")
    down = recorder(output, f"http://127.0.0.1:{closed_port()}")
    down.prepare()
    with down.running("f0", TITLE, NAMES, CONFIG) as run:
        assert run.log_condition(folder) is False
    down.add_comparison(folder, comparison)
    down.comparison("sweep", "c0", comparison)
    down.comparison("sweep", "c0", comparison)
    assert str(down.session.uri) in down.closing_line()
    assert "augrun store sync" in down.closing_line()
    with pytest.raises(AugrunError, match=r"does not take the runs .*try again later"):
        sync.sync([folder], output, down.session.uri)

    assert sync.sync([folder], output) == "MLflow: 1 conditions sent, 0 were there already; 2 comparisons sent"
    assert sync.sync([folder], output) == "MLflow: 0 conditions sent, 1 were there already; 0 comparisons sent"
    (parent,), (sweep,) = runs(output, "condition"), runs(output, "sweep")
    assert parent.info.status == sweep.info.status == "FINISHED"
    assert parent.info.run_name == TITLE
    assert parent.data.tags["augrun.commit"] == "unknown"  # nobody wrote down which code made it
    assert "tables/comparison.md" in artifacts(output, parent.info.run_id)
    assert len(runs(output)) == 6


def test_what_sync_sends_is_what_a_run_sends(tmp_path: Path, fresh_database: Path) -> None:
    folder = condition(tmp_path / "store")
    (folder / "record.json").write_text(json.dumps({"title": "a title", "commit": "c" * 40}))
    for place in ("live", "synced"):
        with_database(tmp_path / place, fresh_database)
    record(tmp_path / "live", folder)
    sync.sync([folder], tmp_path / "synced")
    (live,), (synced,) = (runs(tmp_path / place, "condition") for place in ("live", "synced"))
    assert synced.info.run_name == "a title"
    assert synced.data.tags["augrun.commit"] == "c" * 40
    assert live.data.metrics == synced.data.metrics
    assert live.data.params == synced.data.params
    assert len(runs(tmp_path / "synced")) == 5


def test_a_sweep_ends_with_one_comparison_run(tmp_path: Path, output: Path) -> None:
    folder = tmp_path / "comparison"
    for suffix in ("md", "csv", "tex", "json"):
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        (folder / "tables" / f"comparison.{suffix}").write_text("| table |")
    rows = [{"condition": NAMES | {"generator": name}} for name in ("none", "ddsp")]
    (folder / "tables" / "comparison.json").write_text(json.dumps({"rows": rows}))
    for _ in range(2):
        recorder(output).comparison("godwin2021_table3a", "c0", folder)
    (run,) = runs(output, "sweep")
    assert (run.info.run_name, run.info.status) == ("godwin2021_table3a", "FINISHED")
    assert run.data.tags["mlflow.note.content"] == "| table |"
    assert run.data.params == NAMES | {"generator": "none, ddsp"}
    assert artifacts(output, run.info.run_id) == [f"tables/comparison.{s}" for s in ("csv", "json", "md", "tex")]


def compared(folder: Path, gain: float | None, of: Path | None = None) -> Path:
    """A condition's comparison with its baseline, as the store holds it."""
    told = {"difference": gain, "ci_low": -0.05, "ci_high": None, "p": None}
    measured = {
        "f1_val_macro": {"mean": 0.3, "difference": told},
        "pr_auc_macro": {"mean": 0.5, "difference": None},
        "undefined": {"mean": None},
    }
    plain = {name: {"mean": value} for name, value in (("f1_val_macro", 0.25), ("pr_auc_macro", 0.625))}
    rows = [{"row": "baseline", "measured": plain}, {"row": "ddsp", "measured": measured}]
    table = {"name": "comparison", "reference": "baseline", "rows": [row | {"condition": NAMES} for row in rows]}
    (folder / "tables").mkdir(parents=True)
    (folder / "tables" / "comparison.json").write_text(json.dumps(table))
    if of is not None:
        asked = {"settings": {"name": "comparison"}, "inputs": {"0/baseline": "b0", "1/ddsp": of.name}}
        (folder / "stage.json").write_text(json.dumps({"content": asked, "finished": folder.name}))
    return folder


GAINS = {"gain/f1_val_macro": 0.05, "gain/f1_val_macro/ci_low": -0.05, "gain/pr_auc_macro": -0.125}


def gained(output: Path) -> dict[str, float]:
    (parent,) = runs(output, "condition")
    return {name: value for name, value in parent.data.metrics.items() if name.startswith("gain")}


def test_gains_are_metrics_and_stand_in_the_description_and_in_a_saved_view(tmp_path: Path, output: Path) -> None:
    folder = condition(tmp_path / "store")
    record(output, folder)
    assert gained(output) == {}
    comparison = compared(tmp_path / "one", 0.05)
    for _ in range(2):
        recorder(output).add_comparison(folder, comparison)
    assert gained(output) == GAINS
    (parent,) = runs(output, "condition")
    assert len(client(output).get_metric_history(parent.info.run_id, "gain/pr_auc_macro")) == 1
    told = parent.data.tags["mlflow.note.content"]
    assert "| f1_val_macro | 0.3000 | 0.0700 | 2 | +0.0500 | – | – |" in told
    assert (
        "The classifier `net`, trained on recordings of `jamendo_mood` and on samples of the generator `ddsp`" in told
    )
    its = client(output)
    place = its.get_experiment_by_name("jamendo_mood")
    view = json.loads(place.tags[saved_view.TAG])
    state = json.loads(zlib.decompress(base64.b64decode(view["state"].removeprefix("deflate;"))))
    assert view["name"] == saved_view.NAME and view["name"] in place.tags["mlflow.note.content"]
    assert {"params.`generator`", "metrics.`gain/f1_val_macro`"} <= set(state["selectedColumns"])
    its.set_experiment_tag(place.experiment_id, saved_view.TAG, "")  # as a reader deletes it
    recorder(output).add_comparison(folder, compared(tmp_path / "two", 0.0625))
    assert its.get_experiment_by_name("jamendo_mood").tags.get(saved_view.TAG, "") == ""
    assert gained(output) == GAINS | {"gain/f1_val_macro": 0.0625}


def test_sync_sends_gains_of_the_last_comparison(tmp_path: Path, output: Path) -> None:
    folder = condition(tmp_path / "store" / "condition" / "f0")
    for when, gain in ((1, 0.5), (3, 0.05), (2, 0.25)):
        compared(tmp_path / "store" / "comparison" / str(when), gain, folder)
    sync.sync([folder], output)
    assert gained(output) == GAINS


def test_corpora_are_inputs(tmp_path: Path, output: Path) -> None:
    corpus = {"name": "jamendo", "digest": "d" * 64, "clips": 3, "data": "standin", "hours": 0.5, "classes": ["a"]}
    target = corpus | {"name": "other", "data": "published"}
    folder = condition(tmp_path / "store")
    (folder / "record.json").write_text(json.dumps({"corpora": {"dataset": corpus, "target": target}}))
    sync.sync([folder], output)
    (parent,) = runs(output, "condition")
    found = {one.tags[0].value: one.dataset for one in parent.inputs.dataset_inputs}
    assert {context: dataset.name for context, dataset in found.items()} == {
        "training": "jamendo (standin)",
        "test": "other",
    }
    assert found["training"].digest == "d" * 36
    assert json.loads(found["training"].source) == {"corpus": "jamendo", "data": "standin"}, "no folder of a machine's"
    profile = {"data": "standin", "clips": 3, "hours": 0.5, "classes": ["a"]}
    assert json.loads(found["training"].profile) == profile
    (given,) = inputs({"corpora": {"dataset": corpus}}, {"dataset": {"root": "/corpora/mine"}})
    assert json.loads(given.dataset.source)["uri"] == "/corpora/mine"
    assert given.tags[0].value == "training and test"


def test_a_server_without_inputs_gets_the_rest(tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(self: MlflowClient, *args: Any, **kwargs: Any) -> None:
        raise MlflowException("no such endpoint", error_code=databricks_pb2.ENDPOINT_NOT_FOUND)

    monkeypatch.setattr(MlflowClient, "log_inputs", unknown)
    folder = condition(tmp_path / "store")
    corpus = {"name": "jamendo", "digest": "d" * 64, "clips": 3, "data": "standin"}
    (folder / "record.json").write_text(json.dumps({"corpora": {"dataset": corpus}}))
    record(output, folder)
    assert runs(output, "condition")[0].info.status == "FINISHED"


def test_an_experiment_says_which_corpora_it_holds_unless_somebody_wrote_otherwise(output: Path) -> None:
    def note() -> str:
        return str(client(output).get_experiment_by_name("jamendo_mood").tags["mlflow.note.content"])

    recorder(output).prepare()
    assert note() == experiment_note(())
    for name, data in (("iemocap", "published"), ("jamendo_mood", "standin")):
        recorder(output).session.describe(NAMES | {"dataset": name, "data": data})
    assert "- `iemocap`: the published corpus\n- `jamendo_mood`: a rendered **stand-in**" in note()
    assert "**Some of it on stand-ins, not on real corpora.**" in note().splitlines()[0]
    assert len(note()) < 5000
    its = client(output)
    its.set_experiment_tag(its.get_experiment_by_name("jamendo_mood").experiment_id, "mlflow.note.content", "mine")
    recorder(output).session.describe(NAMES | {"dataset": "feel"})
    assert note() == "mine"


@pytest.mark.parametrize(
    ("names", "composition", "said"),
    [
        ({"generator": "none", "policy": "none"}, "recorded", "recordings of `jamendo_mood` alone: the baseline"),
        ({"generator": "none", "policy": "undersample"}, "both", "alone, as `undersample` leaves them."),
        ({}, "synthetic", "trained on samples of the generator `ddsp`, as many as `equal_duration` wants, and on no"),
        ({}, "recorded", "trained on recordings of `jamendo_mood` alone."),
    ],
)
def test_a_description_says_what_a_condition_is(
    tmp_path: Path, names: dict[str, str], composition: str, said: str
) -> None:
    results = json.loads((condition(tmp_path / "store") / "results.json").read_text())
    text = note(results | {"condition": NAMES | names}, {"policy": {"composition": composition}})
    assert said in text
    assert "Protocol `official` (2 folds, 2 trials), representation `logmel_jamendo`." in text


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "new", condition(tmp_path / "store"))
    assert capfd.readouterr() == ("", "")


def test_a_deleted_experiment_is_brought_back(tmp_path: Path, output: Path) -> None:
    folder = condition(tmp_path / "store")
    record(output, folder)
    its = client(output)
    its.delete_experiment(its.get_experiment_by_name("jamendo_mood").experiment_id)
    record(output, folder)
    assert {run.info.status for run in runs(output)} == {"FINISHED"}
    assert len(runs(output, "condition")) == 1


@pytest.mark.parametrize("uri", ["htp://x", "/some/folder", "localhost:5000", "file:///tmp/x"])
def test_addresses_that_cannot_be_are_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(RequestError, match=r"tracking\.uri=.*sqlite:///FILE"):
        recorder(tmp_path, uri)


def test_addresses_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_uri(None, tmp_path / "out") == f"sqlite:///{tmp_path}/out/mlflow.db"
    assert absolute_uri("sqlite:///runs.db", Path("/out")) == f"sqlite:///{tmp_path}/runs.db"
    assert absolute_uri("sqlite:////x/runs.db", Path("/out")) == "sqlite:////x/runs.db"
    assert absolute_uri("https://mlflow:5000", Path("/out")) == "https://mlflow:5000"


def test_processes_are_told_apart() -> None:
    host, pid, started = process().rsplit(":", 2)
    assert not is_dead(process())
    assert is_dead(f"{host}:{pid}:1")  # the id is used again
    assert not is_dead(f"elsewhere:{pid}:1")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_dead(f"{host}:{ended.pid}:{started}")


def test_parameters_are_flat_and_say_what_not_where() -> None:
    flat = flatten(
        {"a": {"b": {"c": 1}, "d": [1]}, "output": {"root": "/x"}, "trainer": {"name": "auto", "devices": 1}}
    )
    assert flat == {"a.b.c": 1, "a.d": [1], "trainer.devices": 1}
    assert short("x" * 10, 4) == "xxx…"
    assert short([1, None, True], 99) == "[1, null, true]"


@pytest.mark.slow
def test_ui_answers_where_it_says_and_leaves_nothing_behind(tmp_path: Path, output: Path) -> None:
    record(output, condition(tmp_path / "store"))
    port = closed_port()
    code = (
        "import sys; from augrun.tracking import ui; from pathlib import Path\n"
        f"sys.exit(ui.ui(Path({str(output)!r}), port={port}))"
    )
    shown = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=restore_signals
    )
    assert shown.stdout is not None
    lines = iter(shown.stdout.readline, "")
    assert any(f"http://127.0.0.1:{port}" in line for line in lines)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=300) as page:
        assert b"MLflow" in page.read()
    shown.send_signal(signal.SIGINT)
    assert shown.wait(timeout=300) == 0
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60):
            time.sleep(0.2)
            continue
        break
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=60)


def test_ui_refuses_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="nothing is recorded"):
        ui.ui(tmp_path)
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RequestError, match=rf"127\.0\.0\.1:{port} cannot be used .*--port {port + 1}"):
            ui.ui(tmp_path, port=port)


def test_importing_costs_nothing() -> None:
    code = "import sys, augrun.tracking.recorder; assert not {'mlflow', 'torch', 'pandas', 'yaml'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
