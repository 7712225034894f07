"""The main job, end to end on a small stand-in, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch
import yaml

from tests.processes import restore_signals

SMALL = [
    "dataset.input_frames=256",
    "classifier.width=0.1",
    "classifier.adam_epochs=2",
    "classifier.sgd_epochs=1",
    "classifier.sgd_rates=[0.001]",
    "trials.count=2",
    "policy.fraction=0.1",
    "trainer=cpu",
]
DDSP = [
    "generator=ddsp",
    "generator.prime_s=2.0",
    "generator.sample_s=2.0",
    "generator.units=16",
    "generator.channels=16",
    "generator.layers=1",
    "generator.z_units=16",
    "generator.harmonics=10",
    "generator.steps=4",
    "generator.steps_per_epoch=2",
    "generator.batch_size=2",
    "generator.validation_windows=4",
    "generator.windows_per_clip=1",
]


def start(output: Path, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AUGRUN_", "HYDRA_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "augrun", *arguments],
        env={**clean, "AUGRUN_OUTPUT": str(output)},
        cwd=cwd or output.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=restore_signals,
    )


def augrun(output: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    process = start(output, *arguments, cwd=cwd)
    out, err = process.communicate(timeout=800)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small stand-in for Jamendo."""
    from augrun.corpora import standin

    folder = tmp_path_factory.mktemp("corpus") / "jamendo"
    standin.render("jamendo", folder, seed=1, train=28, validation=14, test=14, seconds=[5.0, 6.0])
    return folder


@pytest.fixture(scope="module")
def base(corpus: Path) -> list[str]:
    return [f"dataset.root={corpus}", "scale=demo", *SMALL]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, base: list[str]) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """`augrun generator=ddsp dataset=jamendo_mood`, run once for all tests that read what it left."""
    output = tmp_path_factory.mktemp("done") / "outputs"
    result = augrun(output, *DDSP, "dataset=jamendo_mood", *base)
    assert result.returncode == 0, result.stderr
    return output, result


def client(output: Path):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{output / 'mlflow.db'}")


def runs(output: Path, experiment: str = "jamendo_mood") -> list:
    found = client(output).get_experiment_by_name(experiment)
    return client(output).search_runs([found.experiment_id], max_results=1000)


def artifacts(output: Path, run_id: str, folder: str | None = None) -> set[str]:
    names: set[str] = set()
    for item in client(output).list_artifacts(run_id, folder):
        names |= artifacts(output, run_id, item.path) if item.is_dir else {item.path}
    return names


def results(output: Path) -> dict[str, dict]:
    """results.json by generator."""
    found = [json.loads(p.read_text()) for p in (output / "store" / "condition").glob("*/results.json")]
    return {entry["condition"]["generator"]: entry for entry in found}


def test_runs_tags_params_and_metrics_are_as_designed(done):
    output, _ = done
    parents = {r.data.tags["augrun.generator"]: r for r in runs(output) if r.data.tags["augrun.kind"] == "condition"}
    assert set(parents) == {"none", "ddsp"}
    parent = parents["ddsp"]
    assert parent.info.run_name == "jamendo_mood/ddsp/equal_duration/mobilenetv2_attention"
    assert parent.info.status == "FINISHED"
    tags = parent.data.tags
    expected = {
        "dataset": "jamendo_mood",
        "generator": "ddsp",
        "policy": "equal_duration",
        "classifier": "mobilenetv2_attention",
        "protocol": "official",
        "representation": "logmel_jamendo",
        "scale": "demo",
        "data": "standin",
    }
    assert {name: tags[f"augrun.{name}"] for name in expected} == expected
    assert len(tags["augrun.fingerprint"]) == 20
    assert "augrun.commit" in tags
    assert parent.data.params["policy.fraction"] == "0.1"
    for metric in ("pr_auc_macro", "roc_auc_macro", "roc_auc_micro", "f1_argmax_macro", "f1_val_macro"):
        for statistic in ("mean", "std", "ci_low", "ci_high"):
            assert f"test/{metric}/{statistic}" in parent.data.metrics
    children = [r for r in runs(output) if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == 2
    means = [child.data.metrics["test/roc_auc_macro"] for child in children]
    assert parent.data.metrics["test/roc_auc_macro/mean"] == pytest.approx(np.mean(means))
    assert parent.data.metrics["test/roc_auc_macro/std"] == pytest.approx(np.std(means, ddof=1))
    curve = client(output).get_metric_history(children[0].info.run_id, "train/loss")
    assert len(curve) == 3  # two epochs of Adam, one of SGD
    assert len(client(output).get_metric_history(children[0].info.run_id, "generator/train/loss")) == 2
    assert parents["none"].data.tags["augrun.policy"] == "none"
    assert len(runs(output)) == 2 + 4


def test_artifacts_are_as_designed(done):
    output, _ = done
    conditions = [r for r in runs(output) if r.data.tags["augrun.kind"] == "condition"]
    (parent,) = [r for r in conditions if r.data.tags["augrun.generator"] == "ddsp"]
    names = artifacts(output, parent.info.run_id)
    assert {"results.json", "config.yaml"} <= names
    assert {f"tables/comparison.{kind}" for kind in ("md", "csv", "tex", "json")} <= names
    assert any(name.startswith("figures/") and name.endswith(".png") for name in names)
    primes = {name for name in names if name.endswith("-prime.wav")}
    samples = {name for name in names if name.endswith("-sample.wav")}
    assert len(primes) == len(samples) == 14, "one of each class"
    assert {name.replace(".wav", ".png") for name in primes | samples} <= names
    page = Path(client(output).download_artifacts(parent.info.run_id, "listen.html")).read_text()
    assert page.count("<audio ") == 28
    assert "a rendered STAND-IN, not the real corpus" in page
    assert {"label_validity.json", "quality.json", "figures/quality_jamendo_mood.png"} <= names
    assert {f"tables/quality.{kind}" for kind in ("md", "csv", "tex", "json", "txt")} <= names
    measured = results(output)["ddsp"]["quality"]
    for metric in ("nearest_ratio", "copied", "precision_recorded"):
        assert parent.data.metrics[f"quality/{metric}/mean"] == pytest.approx(measured[metric]["mean"])
    heard = json.loads(Path(client(output).download_artifacts(parent.info.run_id, "audio/heard.json")).read_text())
    assert {entry["taken_for"] for entry in heard} <= set(results(output)["ddsp"]["classes"])
    assert all(0 < entry["score"] <= 1 and entry["kept_prime_s"] == 0 for entry in heard)
    place = Path(client(output).download_artifacts(parent.info.run_id, sorted(samples)[0]))
    sound, rate = sf.read(place)
    assert rate == 16000
    assert len(sound) == 32000
    assert np.abs(sound).max() > 0


def test_results_json_is_as_designed(done):
    output, _ = done
    entry = results(output)["ddsp"]
    assert entry["schema"] == 1
    assert entry["condition"]["data"] == "standin"
    assert [(t["fold"], t["trial"]) for t in entry["trials"]] == [("official", 0), ("official", 1)]
    assert len({t["seed"] for t in entry["trials"]}) == 2
    made = entry["generated"]
    assert made["clips"] == pytest.approx(sum(made["seconds_per_class"].values()) / 2.0)
    assert len(set(made["seconds_per_class"].values())) == 1, "the same seconds for every class"
    folder = output / "store" / "condition" / entry["fingerprint"]
    for trial in entry["trials"]:
        with np.load(folder / trial["predictions"]) as file:
            assert file["test_scores"].shape == (14, 14)
            assert len(file["test_clips"]) == 14
    summary = entry["summary"]["roc_auc_macro"]
    assert set(summary) == {"mean", "std", "n", "ci_low", "ci_high", "std_over_folds"}
    assert summary["n"] == 2
    assert summary["std_over_folds"] is None


def test_the_baseline_s_classifier_hears_the_samples(done, corpus):
    """Section VI of Godwin et al.: recomputed here from the stored scores, with scikit-learn."""
    from sklearn.metrics import confusion_matrix, roc_auc_score

    output, result = done
    entry = results(output)["ddsp"]
    folder = output / "store" / "condition" / entry["fingerprint"]
    account = json.loads((folder / "label_validity.json").read_text())
    classes = len(account["classes"])
    counts, validity, areas = np.zeros((classes, classes), int), [], []
    for place in sorted((output / "store" / "judged").iterdir()):
        samples = json.loads((place / "stage.json").read_text())["content"]["inputs"]["samples"]
        table = pd.read_parquet(output / "store" / "samples" / samples / "requests.parquet")
        with np.load(place / "predictions.npz") as file:
            scores = file["samples_scores"]
        assert scores.shape == (len(table), classes)
        of_trial = confusion_matrix(table["label"], scores.argmax(1), labels=range(classes))
        counts += of_trial
        validity.append(np.diag(of_trial) / of_trial.sum(1))
        areas.append(np.mean([roc_auc_score(table["label"] == k, scores[:, k]) for k in range(classes)]))
    assert account["confusion"] == counts.tolist()
    np.testing.assert_allclose(account["normalised"], counts / counts.sum(1, keepdims=True))
    per_class = [account["per_class"][name] for name in account["classes"]]
    np.testing.assert_allclose([entry["validity"] for entry in per_class], np.mean(validity, axis=0))
    np.testing.assert_allclose([entry["taken_for"] for entry in per_class], counts.sum(0) / counts.sum())
    assert [entry["samples"] for entry in per_class] == counts.sum(1).tolist()
    summary = entry["label_validity"]
    assert summary["validity"]["mean"] == pytest.approx(np.mean(validity))
    assert summary["validity"]["n"] == 2
    assert summary["roc_auc_macro"]["mean"] == pytest.approx(np.mean(areas), abs=1e-6)
    # The same classifier on the recorded test clips: the recall that the baseline's own predictions give.
    from augrun.corpora.jamendo import JamendoMood

    clips = JamendoMood().read(corpus, None)
    first = clips.select(clips.clips["split"].to_numpy() == "test").first_labels()
    base = results(output)["none"]
    recalls = []
    for trial in base["trials"]:
        with np.load(output / "store" / "condition" / base["fingerprint"] / trial["predictions"]) as file:
            best = file["test_scores"].argmax(1)
        of_class = [np.mean(best[first == k] == k) for k in range(classes) if (first == k).any()]
        recalls.append(np.mean(of_class))
    assert summary["recorded"]["mean"] == pytest.approx(np.mean(recalls))
    assert {"generated_confusion.png", "label_validity.png"} <= {p.name for p in (folder / "figures").iterdir()}
    assert "Label validity: the share of samples" in result.stdout
    assert "what was generated" in result.stdout


def test_samples_are_measured_in_the_embedding_of_the_baseline_s_classifier(done):
    """What is kept of the recordings gives the baseline's own predictions, and the distances that are told."""
    from scipy.spatial.distance import cdist

    output, result = done
    entry, store = results(output)["ddsp"], output / "store"
    account = json.loads((store / "condition" / entry["fingerprint"] / "quality.json").read_text())
    assert account["summary"] == entry["quality"]
    assert len(list((store / "quality").iterdir())) == len(list((store / "embedded").iterdir())) == 2
    predicted = {}
    for place in (store / "predictions").iterdir():
        inputs = json.loads((place / "stage.json").read_text())["content"]["inputs"]
        with np.load(place / "predictions.npz") as file:
            predicted[inputs["classifier"]] = file["test_scores"]
    ratios = []
    for place in (store / "quality").iterdir():
        inputs = json.loads((place / "stage.json").read_text())["content"]["inputs"]
        with np.load(store / "embedded" / inputs["embedded"] / "embeddings.npz") as file:
            train, test = file["train"], file["test"]
        assert train.shape == (28, 512) and test.shape == (14, 512)
        state = torch.load(store / "classifier" / inputs["classifier"] / "model.pt", weights_only=True)["state"]
        heads = (("attention.classify.1", slice(256)), ("plain.3", slice(256, None)))
        logits = [
            test[:, half] @ state[f"network.{head}.weight"].numpy().T + state[f"network.{head}.bias"].numpy()
            for head, half in heads
        ]
        scores = sum(1 / (1 + np.exp(-of)) for of in logits) / 2
        np.testing.assert_allclose(scores, predicted[inputs["classifier"]], atol=1e-5)
        found = json.loads((place / "quality.json").read_text())["classes"]
        near, labels = cdist(test.astype(float), train.astype(float)).min(1), _test_targets(output)
        medians = [np.median(near[labels[:, k]]) if labels[:, k].any() else np.nan for k in range(14)]
        told = np.array([of["nearest_recorded"] for of in found], dtype=float)
        np.testing.assert_allclose(told, medians, rtol=1e-4, atol=1e-6)
        ratios.append(np.nanmean([of["nearest"] / median for of, median in zip(found, medians, strict=True)]))
    assert entry["quality"]["nearest_ratio"]["mean"] == pytest.approx(np.mean(ratios), rel=1e-3)
    table = json.loads(next((store / "comparison").glob("*/tables/quality.json")).read_text())
    assert [row["row"] for row in table["rows"]] == ["ddsp", "recorded (test clips)"]
    assert "comparison: sample quality" in result.stdout
    assert "quality" not in results(output)["none"]


def _test_targets(output):
    """Which test clips carry which class, shape (14, 14)."""
    from augrun.corpora.jamendo import JamendoMood

    base = results(output)["none"]
    config = (output / "store" / "condition" / base["fingerprint"] / "config.yaml").read_text()
    clips = JamendoMood().read(Path(yaml.safe_load(config)["dataset"]["root"]), None)
    return clips.select(clips.clips["split"].to_numpy() == "test").targets() > 0


def test_the_console_says_what_the_data_are_and_shows_the_comparison(done):
    _, result = done
    assert "a rendered stand-in, NOT the real corpus" in result.stderr
    assert "baseline" in result.stdout
    assert "ddsp" in result.stdout
    assert "a rendered STAND-IN, not the real corpus" in result.stdout


def test_a_repeat_does_no_work_twice_and_imports_nothing_heavy(done, base):
    output, first = done
    before = {path: path.read_bytes() for path in (output / "store" / "condition").glob("*/results.json")}
    count = len(runs(output))
    script = (
        "import sys; from augrun.cli import main; code = main.run(sys.argv[1:]); "
        "heavy = {'torch', 'pytorch_lightning', 'torchaudio', 'torchvision', 'sklearn'} & set(sys.modules); "
        "print('heavy:', sorted(heavy), code)"
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AUGRUN_", "HYDRA_"))}
    again = subprocess.run(
        [sys.executable, "-c", script, *DDSP, "dataset=jamendo_mood", *base],
        env={**clean, "AUGRUN_OUTPUT": str(output)},
        cwd=output.parent,
        capture_output=True,
        text=True,
    )
    assert "heavy: [] 0" in again.stdout, again.stdout + again.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert len(runs(output)) == count
    table = [line for line in first.stdout.splitlines() if "baseline" in line or "ddsp" in line]
    assert table
    assert all(line in again.stdout for line in table)


@pytest.mark.slow
def test_adding_copy_costs_only_its_own_stages(done, base):
    output, _ = done
    store = output / "store"
    before = {path for path in store.glob("*/*") if path.parent.name != "locks"}
    result = augrun(output, "generator=copy", "dataset=jamendo_mood", *base)
    assert result.returncode == 0, result.stderr
    new = [path.parent.name for path in store.glob("*/*") if path not in before and path.parent.name != "locks"]
    # Two trials: samples, their features, what the baseline says of them, how near they are to recordings (embedded
    # already), classifier and predictions each; one condition, one comparison.
    each = ["samples", "features", "judged", "quality", "classifier", "predictions"]
    assert sorted(new) == sorted(each * 2 + ["condition", "comparison"])


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_failure_and_ends_with_one_comparison(done, base):
    output, _ = done
    result = augrun(output, "-m", "generator=none,copy", "dataset=jamendo_mood", *base)
    assert result.returncode == 0, result.stderr
    noted = json.loads((output / "sweeps" / "sweep.json").read_text())
    assert [row["name"] for row in noted["rows"]] == ["none", "copy"]
    assert noted["words"] == ["generator=none,copy", "dataset=jamendo_mood", *base] and not noted["published"]
    assert noted["rows"][1]["overrides"] == ["generator=copy", "dataset=jamendo_mood", *base]
    sweeps = [r for r in runs(output) if r.data.tags["augrun.kind"] == "sweep"]
    assert len(sweeps) == 1
    names = artifacts(output, sweeps[0].info.run_id)
    assert {f"tables/comparison.{kind}" for kind in ("md", "csv", "tex", "json")} <= names

    # The rows with an unknown tag are legal, and fail when the corpus is read.
    arguments = ["generator=none,copy", "dataset.tags=null,[nosuchtag]", "dataset=jamendo_mood"]
    result = augrun(output, "-m", *arguments, *base)
    assert result.returncode == 1, result.stderr
    assert "2 of 4 jobs failed:" in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert "nosuchtag" in last
    assert "Traceback" not in result.stderr
    assert "copy" in result.stdout


def wait_for(process: subprocess.Popen[str], appears, seconds: float = 300.0) -> None:
    """Waits until `appears()` is true while the process runs."""
    deadline = time.time() + seconds
    while not appears():
        assert process.poll() is None, process.communicate()[1]
        assert time.time() < deadline, "it never came"
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        # Classifiers are killed in tests of their own.
        pytest.param("generator/*.partial/training/last.ckpt", id="generator"),
    ],
)
def test_a_killed_run_goes_on_and_ends_like_an_undisturbed_one(moment, done, base, tmp_path):
    undisturbed, _ = done
    output = tmp_path / "outputs"
    process = start(output, *DDSP, "dataset=jamendo_mood", *base)
    wait_for(process, lambda: any((output / "store").glob(moment)))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    result = augrun(output, *DDSP, "dataset=jamendo_mood", *base)
    assert result.returncode == 0, result.stderr
    assert "taken up where it was left" in result.stderr
    ours, theirs = results(output)["ddsp"], results(undisturbed)["ddsp"]
    assert ours["fingerprint"] == theirs["fingerprint"]
    assert ours["trials"] == theirs["trials"]
    for trial in ours["trials"]:
        one = np.load(output / "store" / "condition" / ours["fingerprint"] / trial["predictions"])
        two = np.load(undisturbed / "store" / "condition" / ours["fingerprint"] / trial["predictions"])
        np.testing.assert_array_equal(one["test_scores"], two["test_scores"])
    statuses = {r.info.status for r in runs(output)}
    assert statuses == {"FINISHED"}


@pytest.mark.slow
def test_an_interrupted_run_is_marked_killed_and_goes_on(base, tmp_path):
    output = tmp_path / "outputs"
    process = start(output, "generator=none", "dataset=jamendo_mood", *base)
    wait_for(process, lambda: any((output / "store").glob("classifier/*.partial/*/last.ckpt")))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "the same command goes on from here" in err
    assert "Traceback" not in err
    assert [r.info.status for r in runs(output)] == ["KILLED"]
    result = augrun(output, "generator=none", "dataset=jamendo_mood", *base)
    assert result.returncode == 0, result.stderr
    assert {r.info.status for r in runs(output)} == {"FINISHED"}


def test_weights_that_cannot_be_read_are_refused_before_any_work(base, tmp_path):
    output = tmp_path / "outputs"
    bad = tmp_path / "weights.pt"
    bad.write_bytes(b"no weights")
    arguments = ["classifier.width=1.0", "classifier.pretrained=true", f"classifier.weights={bad}"]
    result = augrun(output, "generator=none", "dataset=jamendo_mood", *base, *arguments)
    assert result.returncode in (1, 2)
    assert "classifier.pretrained=false" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((output / "store").glob("classifier/*"))
    assert not list((output / "store").glob("features/*"))
    assert not (output / "mlflow.db").exists()


@pytest.mark.slow
def test_a_published_table_runs_row_by_row_and_shows_published_beside_measured(done, base, corpus, tmp_path):
    """The table's own names, columns and order; its rows are stages that other commands share."""
    output, _ = done
    conf = tmp_path / "conf" / "experiment"
    conf.mkdir(parents=True)
    (conf / "small_table.yaml").write_text(
        "# @package _global_\n# A table\ntable:\n  kind: results\n  columns: [pr_auc_macro, roc_auc_macro]\n"
        "  reference: Recordings\n  highlight: above_reference\n  margin: 0.5\n  rows:\n"
        "    - {name: Recordings, overrides: [generator=none], published: {pr_auc_macro: 0.125}}\n"
        "    - {name: Copies, overrides: [generator=copy], published: {pr_auc_macro: 0.134}}\n"
        "  footnotes: [Published on other data.]\n"
    )
    told = ["--config-dir", str(conf.parent), "experiment=small_table", *base]
    alone = augrun(output, *told)
    assert alone.returncode == 2
    assert "this experiment is a published table with rows of its own: augrun -m experiment=NAME" in alone.stderr
    result = augrun(output, "-m", *told)
    assert result.returncode == 0, result.stderr
    tables = [json.loads(p.read_text()) for p in (output / "store" / "comparison").glob("*/tables/comparison.json")]
    (table,) = (table for table in tables if table["name"] == "small_table")
    assert [row["row"] for row in table["rows"]] == ["Recordings", "Copies"]
    assert table["reference"] == "Recordings"
    assert table["rows"][1]["published"] == {"pr_auc_macro": 0.134, "roc_auc_macro": None}
    assert set(table["rows"][1]["measured"]) == {"pr_auc_macro", "roc_auc_macro"}
    assert table["rows"][1]["condition"]["generator"] == "copy"
    assert "Published on other data." in table["footnotes"]
    assert "0.134" in result.stdout
    assert any(run.info.run_name == "small_table" for run in runs(output))
    again = augrun(output, "table", "small_table", *told[:2], *base)
    assert again.returncode == 0 and "missing" not in again.stderr, again.stderr
    assert (
        again.stdout.strip()
        == result.stdout[result.stdout.rindex("small_table\n") :].partition("\nMLflow: ")[0].strip()
    )
    # Where rows are left out the others keep their names; and each combination of other settings is a table of its own.
    small = (conf / "small_table.yaml").read_text()
    odd = "    - {name: Odd, overrides: [generator=copy, segments.hop=1.0]}\n    - {name: Copies"
    (conf / "odd_table.yaml").write_text(small.replace("    - {name: Copies", odd))
    told[2] = "experiment=odd_table"
    words = ["sweep.skip_invalid=true", "tracking.experiment=a,b"]
    result = augrun(output, "-m", *told, *words)
    assert result.returncode == 0, result.stderr
    assert "left out: generator=copy segments.hop=1.0" in result.stderr
    tables = [json.loads(p.read_text()) for p in (output / "store" / "comparison").glob("*/tables/comparison.json")]
    for experiment in "ab":
        (table,) = (table for table in tables if table["name"] == f"odd_table (tracking.experiment={experiment})")
        assert [(row["row"], row["condition"]["generator"]) for row in table["rows"]] == [
            ("Recordings", "none"),
            ("Copies", "copy"),
        ]
        assert table["rows"][1]["published"] == {"pr_auc_macro": 0.134, "roc_auc_macro": None}
    told[2] = "experiment=small_table"
    # Rows are picked by name; the reference may be missing.
    picked = augrun(output, "-m", *told, "sweep.rows=[Copies]")
    assert picked.returncode == 0, picked.stderr
    shown = picked.stdout[picked.stdout.rindex("small_table\n") :]
    assert "Copies" in shown and "Recordings" not in shown
    unknown = augrun(output, "-m", *told, "sweep.rows=[Copy]")
    assert unknown.returncode == 2
    assert "sweep.rows: small_table has no row 'Copy'; did you mean Copies?" in unknown.stderr
    without = augrun(output, "-m", "generator=none,copy", *base, "sweep.rows=[Copies]")
    assert without.returncode == 2
    assert "sweep.rows picks rows of a published table" in without.stderr


@pytest.mark.slow
def test_a_table_of_samples_makes_them_and_trains_no_classifier(base, tmp_path):
    """Rows that cannot be made are told, the others kept; a repeat makes nothing."""
    output, conf = tmp_path / "outputs", tmp_path / "conf" / "experiment"
    conf.mkdir(parents=True)
    (conf / "made.yaml").write_text(
        "# @package _global_\n# A table\ntable:\n  kind: samples\n"
        "  columns: [Sample type, Sample length (s), Samples a class]\n  rows:\n"
        "    - {name: Copies, overrides: [generator=copy, generator.prime_s=2.0, dataset=jamendo_mood],\n"
        "       published: {Sample type: Primed, Sample length (s): 10}}\n"
        "    - {name: Songs, overrides: [generator=jukebox, generator.weights=nowhere, dataset=jamendo_mood]}\n"
        "  footnotes: [Published on other data.]\n"
    )
    told = ["table", "made", *base, "--config-dir", str(conf.parent), f"output.root={output}"]
    first = augrun(output, *told)
    assert first.returncode == 1
    assert "1 of 2 rows could not be made:" in first.stderr
    assert "Songs: generator.weights=nowhere: no such folder" in first.stderr
    table = json.loads((output / "tables" / "made" / "made.json").read_text())
    assert [row["row"] for row in table["rows"]] == ["Copies"]
    measured = {column: cell["mean"] for column, cell in table["rows"][0]["measured"].items()}
    made = json.loads(next((output / "store" / "samples").glob("*/stage.json")).read_text())["summary"]
    assert measured["Sample type"] == "Recons"
    assert measured["Sample length (s)"] == 2
    assert measured["Samples a class"] == made["clips"] / 14
    assert made["reused"] == 0
    assert made["sample_s"] == {"mean": 2.0, "min": 2.0, "max": 2.0}
    assert any(note.startswith("Not made here: Songs: generator.weights=nowhere") for note in table["footnotes"])
    assert sorted(p.name for p in (output / "store").iterdir() if p.is_dir()) == ["index", "locks", "samples"]
    before = {path: path.stat().st_mtime_ns for path in (output / "store" / "samples").rglob("*.wav")}
    again = augrun(output, *told)
    assert again.stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
