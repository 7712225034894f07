"""Tuning on validation: what is searched, by what it is judged, and how a study goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from mlflow import MlflowClient
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sklearn.metrics import average_precision_score, f1_score, recall_score, roc_auc_score

from augrun.cli import main
from augrun.core.errors import AugrunError, RequestError
from augrun.core.store import locks
from augrun.core.store.stages import Store
from augrun.evaluation.results import summarise_validation
from augrun.experiment import run as experiment
from augrun.sweeps import sweeper
from augrun.sweeps.tuning import sweeper as tuning
from augrun.sweeps.tuning.search_space import space_of
from augrun.sweeps.tuning.study import about_of, name_of
from augrun.tracking.null_recorder import Off
from tests.experiment.test_leakage import write

TUNE = ["-m", "hydra/sweeper=optuna", "dataset=feel", "generator=none", "policy=none", "representation=is10"]
TUNE += ["classifier=dnn", "classifier.hidden=[8]", "classifier.epochs=4", "scale=demo"]
TUNE += ["trainer=cpu", "trainer.progress=false", "hydra.sweeper.study=mine"]
RATE, DROPOUT = "classifier.rate=tag(log,interval(1e-4,1e-2))", "classifier.dropout=0.1,0.5"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tones") / "corpus", 0)


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AUGRUN_DATA", "AUGRUN_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AUGRUN_OUTPUT", str(tmp_path / "out"))
    return tmp_path / "out"


def study(output: Path, name: str = "mine") -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(output / "studies" / f"{name}.log")))
    return optuna.load_study(study_name=name, storage=storage)


def recalled(folder: Path) -> dict[str, list[float]]:
    """Metrics of the validation parts by scikit-learn, from the scores that were kept."""
    found: dict[str, list[float]] = {"uar": [], "f1_macro": [], "pr_auc_macro": [], "roc_auc_macro": []}
    for path in sorted((folder / "predictions").glob("*.npz")):
        with np.load(path) as kept:
            scores, targets = kept["validation_scores"], kept["validation_targets"]
            truth = kept["validation_first_labels"]
        found["uar"].append(recall_score(truth, scores.argmax(1), average="macro"))
        found["f1_macro"].append(f1_score(truth, scores.argmax(1), average="macro"))
        found["pr_auc_macro"].append(average_precision_score(targets, scores, average="macro"))
        found["roc_auc_macro"].append(roc_auc_score(targets, scores, average="macro"))
    return found


@pytest.mark.slow
def test_a_real_study_is_judged_on_validation_and_goes_on(
    corpus: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("opensmile", reason="openSMILE is not installed: pip install 'augrun[functionals]'")
    command = [*TUNE, f"dataset.root={corpus}", RATE, DROPOUT, "trials.count=2"]
    assert main.run([*command, "hydra.sweeper.trials=2"]) == 0
    first = study(output).trials
    assert [trial.state for trial in first] == [TrialState.COMPLETE] * 2
    for trial in first:
        folder = output / "store" / "condition" / trial.user_attrs["fingerprint"]
        results = json.loads((folder / "results.json").read_text())
        assert results["schema"] == 1
        config = json.loads((folder / "stage.json").read_text())
        assert config["kind"] == "condition"
        for metric, values in recalled(folder).items():
            assert len(values) == 4  # two folds, two trials
            assert results["validation"][metric]["mean"] == pytest.approx(np.mean(values), abs=1e-6)
        assert trial.value == results["validation"]["uar"]["mean"]
        assert summarise_validation(results["trials"]) == results["validation"]
        assert not [name for name in results["validation"] if name.startswith("f1_oracle")]
    capsys.readouterr()

    assert main.run([*command, "hydra.sweeper.trials=3", "hydra.sweeper.jobs=2"]) == 0
    trials = study(output).trials
    assert [(t.params, t.value) for t in trials[:2]] == [(t.params, t.value) for t in first]
    assert len(trials) == 3 and trials[2].params not in [trial.params for trial in first]
    best = max(trials, key=lambda trial: trial.value)
    tested = json.loads((output / "store" / "condition" / best.user_attrs["fingerprint"] / "results.json").read_text())[
        "summary"
    ]["uar"]["mean"]
    said = capsys.readouterr().out
    (marked,) = [line for line in said.splitlines() if line.startswith("*  ")]
    assert marked.split()[1] == str(best.number)
    assert f"* is the best on validation. Its test/uar: {tested:.4f} ± " in said
    assert said.count("test/uar") == 1
    assert "Study mine on feel: 3 trials by tpe, 0 failed." in said

    client = MlflowClient(tracking_uri=f"sqlite:///{output}/mlflow.db")
    place = client.get_experiment_by_name("feel").experiment_id
    runs = client.search_runs([place], "tags.`augrun.kind` = 'condition'")
    assert sorted(run.data.tags["augrun.study.trial"] for run in runs) == ["0", "1", "2"]
    for run in runs:
        trial = trials[int(run.data.tags["augrun.study.trial"])]
        assert run.data.params["study"] == "mine"
        assert run.data.metrics["study/value"] == run.data.metrics["validation/uar/mean"] == trial.value
    sweeps = client.search_runs([place], "tags.`augrun.kind` = 'sweep'")
    assert [run.info.run_name for run in sweeps] == ["mine", "mine"]
    assert "| trial |" in sweeps[0].data.tags["mlflow.note.content"]

    stages = len(list(Store(output / "store").entries()))
    assert main.run([*command, "hydra.sweeper.trials=3"]) == 0
    assert len(list(Store(output / "store").entries())) == stages, "nothing was done again"
    assert len(study(output).trials) == 3


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, output: Path) -> list[dict[str, Any]]:
    """Jobs that cost nothing: what they would measure follows from their settings. Returns those that ran."""
    ran: list[dict[str, Any]] = []

    def run(config: Mapping[str, Any], command: str | None = None, swept: bool = False) -> Path:
        settings = config["classifier"]
        ran.append({key: settings[key] for key in ("rate", "dropout", "batch_size")})
        if settings["batch_size"] == 13:
            raise AugrunError("the loss is not a number")
        place = Path(config["output"]["root"]) / "store" / "condition" / f"c{len(ran)}"
        place.mkdir(parents=True)
        value = {"mean": 1 - settings["dropout"], "std": None}
        results = {"fingerprint": place.name, "condition": {"data": "other"}, "validation": {"uar": value}}
        (place / "results.json").write_text(json.dumps(results | {"summary": {"uar": {"mean": 0.25, "std": None}}}))
        return place

    monkeypatch.setattr(experiment, "run", run)
    monkeypatch.setattr(experiment, "open_recorder", lambda _: Off())
    return ran


def tune(corpus: Path, *words: str) -> int:
    return main.run([*TUNE, f"dataset.root={corpus}", *words])


def test_a_trial_that_was_cut_off_is_run_again_with_its_values(
    corpus: Path, output: Path, pretended: list[dict[str, Any]]
) -> None:
    assert tune(corpus, RATE, DROPOUT, "hydra.sweeper.trials=1") == 0
    space = {"classifier.rate": FloatDistribution(1e-4, 1e-2, log=True)}
    space |= {"classifier.dropout": CategoricalDistribution(["0.1", "0.5"])}
    cut_off = study(output).ask(space)  # and its process is killed
    assert cut_off.number == 1
    assert tune(corpus, RATE, DROPOUT, "hydra.sweeper.trials=3") == 0
    trials = study(output).trials
    assert [trial.state for trial in trials] == [*[TrialState.COMPLETE], TrialState.FAIL, *[TrialState.COMPLETE] * 2]
    assert trials[1].user_attrs == {"cut_off": True}
    assert trials[2].params == cut_off.params != trials[3].params
    assert len(pretended) == 3, "one, its values again, and one more"


def test_a_failed_trial_is_told_and_stops_nothing(
    corpus: Path, output: Path, pretended: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["hydra.sweeper.sampler=grid", "classifier.batch_size=range(12,15)", "classifier.dropout=0.5,0.25"]
    assert tune(corpus, *words, "hydra.sweeper.jobs=4") == 1
    assert [(one["batch_size"], one["dropout"]) for one in pretended] == [
        (size, dropout) for size in (12, 13, 14) for dropout in (0.5, 0.25)
    ]
    states = [trial.state.name for trial in study(output).trials]
    assert states == ["COMPLETE", "COMPLETE", "FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    said = capsys.readouterr()
    assert "Study mine on feel: 6 trials by grid, 2 failed." in said.out
    assert "Trial 2 failed: the loss is not a number" in said.out
    assert "augrun: 2 of 6 jobs failed:" in said.err
    (tables,) = output.glob("store/comparison/*/tables")
    kept = json.loads((tables / "trials.json").read_text())
    assert kept["best"] == 1 and kept["test_of_best"]["uar"]["mean"] == 0.25
    assert [trial["state"] for trial in kept["trials"]] == states
    assert (tables / "trials.csv").read_text().splitlines()[0] == (
        ",trial,classifier.batch_size,classifier.dropout,validation/uar,std"
    )
    assert (tables.parent / "figures" / "history.png").stat().st_size > 5000

    assert tune(corpus, *words) == 0
    assert len(pretended) == 6, "failures are kept as well, and the grid has no more"


def test_a_resumed_study_does_not_draw_the_same_again(
    corpus: Path, output: Path, pretended: list[dict[str, Any]]
) -> None:
    for trials in (1, 2, 2):
        assert tune(corpus, RATE, "hydra.sweeper.sampler=random", f"hydra.sweeper.trials={trials}") == 0
    assert len({one["rate"] for one in pretended}) == len(pretended) == 2
    assert sweeper.outcome.rows == [], "the last command ran nothing"


def test_a_study_searches_one_space_and_one_process_is_at_it(
    corpus: Path, output: Path, pretended: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(corpus, RATE, "hydra.sweeper.trials=1") == 0
    assert tune(corpus, RATE.replace("1e-2", "1e-1"), DROPOUT, "hydra.sweeper.trials=2") == 2
    said = "hydra.sweeper.study=mine: it was begun with another range of classifier.dropout, another range of"
    assert said in capsys.readouterr().err
    assert tune(corpus, RATE, "hydra.sweeper.metric=war", "seed=5", "hydra.sweeper.trials=2") == 2
    said = "it was begun with another choice of what is fixed, another metric; give the same, or another name"
    assert said in capsys.readouterr().err
    assert tune(corpus, RATE, "trainer=cpu", "hydra.sweeper.trials=1") == 0  # where it runs is no matter
    with locks.lock(output / "studies" / "mine.lock"):
        assert tune(corpus, RATE, "hydra.sweeper.trials=2") == 2
    assert "study mine is at work in another process; give hydra.sweeper.study=ANOTHER" in capsys.readouterr().err


def test_the_same_request_has_the_same_study() -> None:
    config = {
        group: {"name": name} for group, name in (("dataset", "feel"), ("generator", "none"), ("classifier", "dnn"))
    }

    def name(*words: str, metric: str = "uar", corpus: str = "abc") -> str:
        space = space_of(OverridesParser.create().parse_overrides([*words, RATE]))
        return name_of(space, about_of(space, metric, {"dataset": corpus}), config)

    first = name("dataset=feel", "seed=3")
    assert first.startswith("feel-none-dnn-")
    assert name("seed=3", "dataset=feel", "trainer=cpu", "output.root=/x", "tracking.uri=http://y") == first
    others = [
        name("dataset=feel"),
        name("dataset=feel", "seed=3", DROPOUT),
        name("dataset=feel", "seed=3", metric="war"),
        name("dataset=feel", "seed=3", corpus="def"),  # the real one after its stand-in
    ]
    assert len({first, *others}) == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "hydra/sweeper=optuna: nothing is searched; give parameters such as 'classifier.learning_rate=tag(log,"),
        (["classifier.rte=1,2"], "2 of 2 ends of what is searched cannot work, nothing was started:"),
        (["classifier.dropout=interval(0.5,2)"], "classifier.dropout=2.0: classifier.dropout: 2.0 is not in [0, 1)"),
        (["seed=1,2"], "seed=1,2: decides what is measured, not what is tuned; a sweep compares such choices"),
        (["protocol=loso,holdout"], "protocol=loso,holdout: decides what is measured"),
        (["trainer.workers=1,2"], "trainer.workers=1,2: is no setting of the condition; give trainer.workers=ONE"),
        (
            [DROPOUT, "protocol=loso", "protocol.validation=none"],
            "protocol=loso holds no validation",
        ),
        ([DROPOUT, "hydra.sweeper.metric=test/uar"], "metric=test/uar: settings are tuned on validation/NAME alone"),
        ([DROPOUT, "hydra.sweeper.metric=validation/uap"], "metric=validation/uap: no such metric; did you mean uar"),
        ([DROPOUT, "hydra.sweeper.trials=0"], "hydra.sweeper.trials=0: give a whole number from 1"),
        ([DROPOUT, "hydra.sweeper.jobs=x"], "hydra.sweeper.jobs=x: give a whole number from 1"),
        ([DROPOUT, "hydra.sweeper.sampler=tpee"], "hydra.sweeper.sampler=tpee: no such sampler; did you mean tpe?"),
        ([RATE, "hydra.sweeper.sampler=grid"], "sampler=grid: classifier.rate is an interval; give range(START,STOP,"),
        (
            [DROPOUT, "controls=true"],
            "controls=true adds conditions; tune one, and run it with its controls afterwards",
        ),
        ([DROPOUT, "sweep.spread=trials"], "sweep.spread makes jobs of a condition's parts; hydra.sweeper.jobs=N has"),
        (["generator=glob(*)"], "generator=glob(*): cannot be searched; give interval(LOW,HIGH)"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_anything_starts(
    corpus: Path,
    output: Path,
    pretended: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    assert tune(corpus, *words) == 2
    assert said in capsys.readouterr().err
    assert pretended == []
    assert not (output / "store" / "condition").exists()


def test_several_classes_a_clip_are_tuned_without_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Songs:
        folds = ()

        class corpus:
            class label_set:
                multilabel = True

        def __init__(self, *_: object) -> None:
            pass

    class Parted:
        holds_out = True

    monkeypatch.setattr("augrun.experiment.plan.ConditionPlan", Songs)
    monkeypatch.setattr("augrun.core.config.component.build", lambda _: Parted)
    config = {"protocol": {"name": "official"}, "output": {"root": "x", "store": None}}
    assert tuning.TuningSweeper()._metric(config) == "pr_auc_macro"
    with pytest.raises(
        RequestError, match=r"f1_val_macro: its thresholds would be fitted on the clips that it is judg"
    ):
        tuning.TuningSweeper(metric="validation/f1_val_macro")._metric(config)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("a.b=interval(1,4)", FloatDistribution(1, 4)),
        ("a.b=int(interval(1.2,4.7))", IntDistribution(1, 4)),
        ("a.b=tag(log,interval(1e-5,1e-2))", FloatDistribution(1e-5, 1e-2, log=True)),
        ("a.b=tag(log,int(interval(2,64)))", IntDistribution(2, 64, log=True)),
        ("a.b=range(1,10,3)", IntDistribution(1, 7, step=3)),
        ("a.b=range(0.0,1.0,0.25)", FloatDistribution(0, 0.75, step=0.25)),
        ("a.b=[8],[8,8]", CategoricalDistribution(["[8]", "[8,8]"])),
        ("a.b=choice(x,3)", CategoricalDistribution(["x", "3"])),
    ],
)
def test_hydra_s_grammar_says_what_is_searched(word: str, expected: Any) -> None:
    space = space_of(OverridesParser.create().parse_overrides(["fixed=1", word]))
    assert space.fixed == ("fixed=1",)
    assert dict(space.searched) == {"a.b": expected}
    assert space.overrides({"a.b": 1e-05}) == ["fixed=1", "a.b=1e-05"]


def test_ends_and_grids() -> None:
    words = ["a=int(interval(1,4))", "b=x,y", "c=range(0.0,1.0,0.5)"]
    space = space_of(OverridesParser.create().parse_overrides(words))
    corners = [{"a": 1, "b": "x", "c": 0.0}, {"a": 4, "b": "x", "c": 0.0}]
    corners += [{"a": 1, "b": "y", "c": 0.0}, {"a": 1, "b": "x", "c": 0.5}]
    assert space.corners() == corners
    space = space_of(OverridesParser.create().parse_overrides(words[1:]))
    assert space.grid() == [{"b": b, "c": c} for b in ("x", "y") for c in (0.0, 0.5)]
