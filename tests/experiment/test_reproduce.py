"""`augrun reproduce`: a recorded condition again, and what is said of its figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from augrun.cli import main
from augrun.core.config.compose import compose, override
from augrun.core.errors import RequestError
from augrun.core.job import Hardware
from augrun.core.runtime import provenance
from augrun.experiment import checks, reproduction_report, run
from tests.experiment.test_leakage import write

SMALL = [
    *("dataset=feel", "generator=none", "scale=demo", "trainer=cpu", "trials.count=1", "protocol.limit=1"),
    *("representation.bands=80", "dataset.input_frames=96", "classifier.slice_frames=96", "classifier.width=0.1"),
    *("classifier.adam_epochs=1", "classifier.sgd_epochs=1"),
]
ABOUT = {
    "title": "feel/none/none/net",
    "commit": "abc",
    "versions": {"python": "3.11.7", "torch": "2.9.0"},
    "device": {"accelerator": "cpu", "name": "a CPU", "threads": 2},
    "corpora": {"dataset": {"name": "feel", "digest": "d0", "clips": 4, "data": "other"}},
    "platform": "Linux",
}
MEANS = {"uar": 0.5, "war": 0.25}


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUGRUN_OUTPUT", str(tmp_path / "outputs"))
    monkeypatch.delenv("AUGRUN_DATA", raising=False)
    monkeypatch.delenv("AUGRUN_STORE", raising=False)
    return tmp_path / "outputs"


def left(folder: Path, about: dict[str, Any] | None = None, shift: float = 0.0, **means: float) -> Path:
    """A condition's folder with two folds; `shift` is added to one score."""
    folder.mkdir(parents=True)
    values = {**MEANS, **means}
    trials = []
    for number, fold in enumerate("ab"):
        scores = np.full((2, 2), 0.5, np.float32)
        scores[0, 0] += shift * number
        np.savez(folder / f"{fold}.npz", test_scores=scores, test_clips=np.array(["x", "y"]))
        trials.append({"fold": fold, "trial": 0, "seed": 1, "metrics": dict(values), "predictions": f"{fold}.npz"})
    summary = {name: {"mean": value, "std": None, "n": 1} for name, value in values.items()}
    results = {"fingerprint": "f0", "trials": trials, "summary": summary, "label_validity": {"recorded": None}}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "record.json").write_text(json.dumps(ABOUT if about is None else about))
    return folder


def test_figures_agree_exactly_or_within_what_is_tolerated(tmp_path: Path) -> None:
    old = left(tmp_path / "old")
    same = reproduction_report.compare_runs(old, left(tmp_path / "same"), 1e-6)
    assert same.agrees and [one.verdict for one in same.metrics] == ["exactly", "exactly"]
    assert (same.trials, same.trials_agreeing, same.scores, same.scores_agreeing, same.greatest) == (2, 2, 8, 8, 0.0)
    near = left(tmp_path / "near", shift=0.25, uar=0.5 + 5e-7)
    close = reproduction_report.compare_runs(old, near, 1e-6)
    assert close.agrees and close.metrics[0].verdict == "within 1e-06"
    assert (close.scores_agreeing, close.greatest) == (7, 0.25)
    assert not reproduction_report.compare_runs(old, near, 1e-7).agrees
    far = left(tmp_path / "far", war=0.375, f1=0.5)
    (far / "a.npz").unlink()
    found = reproduction_report.compare_runs(old, far, 1e-6)
    assert not found.agrees and (found.trials_agreeing, found.scores) == (0, 4)
    assert {one.name: one.verdict for one in found.metrics} == {"uar": "exactly", "war": "differs", "f1": "differs"}
    assert reproduction_report.report_text(found, []).splitlines() == [
        "metric  recorded  reproduced  difference  agrees",
        "uar     0.500000    0.500000           0  exactly",
        "war     0.250000    0.375000      +0.125  differs",
        "f1             –    0.500000              differs",
        "",
        "0 of 2 folds and trials agree in every metric.",
        "4 of 4 test scores agree; the greatest difference is 0.",
        "Not reproduced: war, f1 differ.",
        "Nothing that is recorded of the runs differs: operations that are not deterministic are left as the cause.",
    ]


def test_what_differs_is_told_part_by_part(tmp_path: Path) -> None:
    new = json.loads(json.dumps(ABOUT))
    new |= {"commit": "def", "platform": "Darwin"}
    new["versions"] |= {"torch": "2.10.0", "opensmile": "2.6.0"}
    new["device"]["name"] = "another"
    new["corpora"]["dataset"] |= {"digest": "d1", "clips": 3}
    new["corpora"]["noise"] = {"name": "esc50"}
    old, now = left(tmp_path / "old"), left(tmp_path / "new", new)
    for folder, scored in ((old, "p0"), (now, "p1")):
        inputs = {"a/0": scored, "b/0": "p"}
        (folder / "stage.json").write_text(json.dumps({"content": {"inputs": inputs}}))
    results = json.loads((now / "results.json").read_text()) | {"fingerprint": "f1"}
    (now / "results.json").write_text(json.dumps(results))
    assert reproduction_report.environment_differences(old, now, ["trainer=cpu"]) == [
        "commit: abc then, def now",
        "torch: 2.9.0 then, 2.10.0 now",
        "opensmile: none then, 2.6.0 now",
        "device: name: a CPU then, another now",
        "corpus: digest: d0 then, d1 now",
        "corpus: clips: 4 then, 3 now",
        "corpus of the role noise: name: none then, esc50 now",
        "platform: Linux then, Darwin now",
        "configuration: trainer=cpu (given now)",
        "fingerprint of the condition: f0 then, f1 now",
        "settings, data or code of: a/0",
    ]
    assert reproduction_report.environment_differences(old, left(tmp_path / "same"), []) == []
    bare = left(tmp_path / "bare", {"commit": "abc"})
    assert reproduction_report.environment_differences(bare, old, []) == [
        "versions, device and corpora: not recorded then"
    ]


def test_circumstances_are_what_is_installed_and_where_it_runs() -> None:
    import torch

    found = provenance.versions()
    assert found["torch"] == torch.__version__.partition("+")[0] or found["torch"] == torch.__version__
    assert {"python", "numpy", "torchaudio", "pytorch-lightning", "scikit-learn", "soundfile"} <= found.keys()
    device = provenance.device(Hardware(accelerator="cpu", precision="bf16-mixed"))
    assert device["accelerator"] == "cpu" and device["name"] and device["precision"] == "bf16-mixed"


def test_overrides_of_a_recorded_configuration(output: Path) -> None:
    config = compose(["scale=paper", "generator=none"])
    assert override(config, []) == config
    changed = override(config, ["trainer=gpu", "dataset.root='/else where'", "+classifier.new=[1,2]"])
    assert changed["trainer"]["accelerator"] == "gpu" and changed["dataset"]["root"] == "/else where"
    assert changed["classifier"]["new"] == [1, 2] and "new" not in config["classifier"]
    for word, message in [
        ("datset.root=x", "datset.root: no such key in the recorded configuration; did you mean dataset or data?"),
        ("trainer.acelerator=cpu", "did you mean accelerator?"),
        ("trainer=cpuu", "no such choice"),
        ("seed=1,2", "give one value for one key"),
    ]:
        with pytest.raises(RequestError, match=message.replace("?", r"\?")):
            override(config, [word])


def test_wrong_requests(output: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = left(tmp_path / "left")
    wrong = [
        (["nowhere/results.json"], "nowhere/results.json: no such file, and no id of an MLflow run"),
        (["0" * 32], f"nothing is recorded at sqlite:///{output / 'mlflow.db'}"),
        ([str(folder / "a.npz")], "a.npz: give a condition's results.json, or its folder"),
        ([str(tmp_path)], f"no results.json in {tmp_path}"),
        ([str(folder)], f"no config.yaml in {folder}"),
        ([str(folder), "--tolerance", "-1"], "--tolerance -1.0: give 0 or more"),
    ]
    for words, message in wrong:
        assert main.run(["reproduce", *words]) == 2
        assert message in capsys.readouterr().err
    (folder / "config.yaml").write_text("- 1\n")
    kept = (folder / "results.json").read_text()
    for text in ("{}", "[]", "{", kept):
        (folder / "results.json").write_text(text)
        assert main.run(["reproduce", str(folder)]) == 2
        assert (f"{folder / 'results.json'}: is no condition's results" in capsys.readouterr().err) == (text != kept)
    assert main.run(["reproduce", str(folder)]) == 2
    assert "config.yaml: is no condition's configuration" in capsys.readouterr().err
    config = compose(["dataset=feel", "generator=none", "dataset.root=/nowhere"])
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert main.run(["reproduce", str(folder)]) == 2
    assert "dataset.root: no folder /nowhere" in capsys.readouterr().err
    assert main.run(["reproduce", str(folder), "output.root=x"]) == 2
    assert "output.root=x: a reproduction is not tracked and has a store of its own" in capsys.readouterr().err


@pytest.mark.slow
def test_a_condition_is_reproduced_and_a_changed_figure_is_found(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    corpus = write(tmp_path / "corpus", 0)
    config = compose([*SMALL, f"dataset.root={corpus}"])
    checks.check_config(config)
    folder = run.run({**config, "tracking": None})
    fingerprint = folder.name
    kept = shutil.copytree(folder, tmp_path / "kept")
    about = json.loads((kept / "record.json").read_text())
    assert about["corpora"]["dataset"]["clips"] == 72 and about["device"]["accelerator"] == "cpu"
    before = set((output / "store").rglob("*"))
    capsys.readouterr()
    assert main.run(["reproduce", str(kept / "results.json")]) == 0
    said = capsys.readouterr()
    assert "1 of 1 folds and trials agree in every metric." in said.out
    assert "the greatest difference is 0." in said.out and "differs" not in said.out
    assert "training, fold" in said.err, "nothing was found done"
    assert set((output / "store").rglob("*")) == before and not (output / "mlflow.db").exists()
    place = output / "reproduced" / fingerprint
    assert sorted(path.name for path in place.iterdir()) == ["condition", "reproduction.json"]
    # A figure that somebody changed, and other code and another version.
    results = json.loads((kept / "results.json").read_text())
    results["summary"]["uar"]["mean"] += 0.125
    (kept / "results.json").write_text(json.dumps(results))
    about |= {"commit": "0" * 40, "versions": {**about["versions"], "numpy": "1.0"}}
    (kept / "record.json").write_text(json.dumps(about))
    assert main.run(["reproduce", str(kept), "trainer.workers=1"]) == 1
    said = capsys.readouterr().out
    assert "Not reproduced: uar differ." in said
    assert f"  commit: {'0' * 40} then, " in said and "  numpy: 1.0 then, " in said
    assert "  configuration: trainer.workers=1 (given now)" in said
    account = json.loads((place / "reproduction.json").read_text())
    assert not account["agrees"] and account["trials_agreeing"] == 1
    # A reproduction can be reproduced.
    assert main.run(["reproduce", str(place / "condition")]) == 0
    assert f"written to {place}: again/, reproduction.json" in capsys.readouterr().out
