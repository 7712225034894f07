"""Conditions in several jobs at once: each shared stage is done once, and parts of a row make the same of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.utils import JobReturn, JobStatus

from augrun.cli import main
from augrun.core.errors import AugrunError, RequestError
from augrun.core.store import stages
from augrun.core.store.stages import JOURNAL
from augrun.experiment import parts as experiment_parts
from augrun.experiment import run
from augrun.experiment.plan import ConditionPlan
from augrun.sweeps import spread
from tests.experiment.test_leakage import condition, write
from tests.sweeps.test_launchers import computations, folders, launcher

TOYS = {
    "classifier/nearest": (
        "_target_: tests.toy_generators.Nearest\nname: nearest\npause_s: 0.1\nkill: null\nfail: false"
    ),
    "generator/means": "_target_: tests.toy_generators.ClassMeans\nname: means\nsample_s: 0.5",
}
SMALL = [
    *("scale=demo", "trainer=cpu", "trainer.workers=1", "dataset=feel", "representation.bands=80"),
    *("dataset.input_frames=96", "segments.seconds=0.5", "segments.frames=32", "protocol=imbalance"),
    *("protocol.minority=sad", "protocol.limit=2", "policy=balance_to_majority", "significance.resamples=0"),
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tones") / "corpus", 0)


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the choices of the toys."""
    folder = tmp_path_factory.mktemp("conf")
    for name, text in TOYS.items():
        (folder / f"{name}.yaml").parent.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(f"# A toy\n{text}\n")
    return folder


def eight_jobs(name: str, output: Path, corpus: Path, choices: Path) -> None:
    """Eight conditions with a baseline each, of which all but the predictions is shared, by two workers."""
    words = [*SMALL, f"dataset.root={corpus}", "generator=means", "classifier=nearest", "sweep.part=[null,null]"]
    rows = [
        [*words, f"output.root={output}", f"segments.vote={vote}", f"trials.count={count}", f"confidence={level}"]
        for vote in ("mean", "majority")
        for count in (1, 2)
        for level in (0.9, 0.95)
    ]
    made = launcher(name, output, f"hydra.searchpath=[file://{choices}]", "hydra.launcher.jobs=2", *SMALL, job=main.job)
    returns = [*made.launch(rows[:4], initial_job_idx=0), *made.launch(rows[4:], initial_job_idx=4)]
    made.close()
    assert [result.status for result in returns] == [JobStatus.COMPLETED] * 8, [r._return_value for r in returns]
    store = output / "store"
    assert computations(store) == folders(store)
    # Two folds; of the second trial the generator is that of the first; with a baseline and without samples each.
    counts = Counter(kind for kind, _ in computations(store))
    assert counts == {
        "features": 1,
        "generator": 2,
        "samples": 4,
        "classifier": 8,
        "predictions": 16,  # by two votes
        "judged": 8,
    }
    by_process = Counter(json.loads(line)["process"] for line in (store / JOURNAL).read_text().splitlines())
    assert len(by_process) >= 2, "both had something to do"


@pytest.mark.slow
def test_eight_conditions_of_two_workers_do_each_shared_stage_once(tmp_path: Path, corpus: Path, choices: Path) -> None:
    eight_jobs("joblib", tmp_path, corpus, choices)


@pytest.mark.slow
def test_eight_conditions_on_ray_do_each_shared_stage_once(tmp_path: Path, corpus: Path, choices: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'augrun[launchers]'")
    eight_jobs("ray", tmp_path, corpus, choices)


class Here:
    """A launcher that runs a row or a part of it in this process."""

    def __init__(self, of: Callable[[Sequence[str]], dict[str, Any]]) -> None:
        self.of, self.launched = of, list[tuple[int, list[str]]]()

    def launch(self, rows: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        returns = []
        for place, row in enumerate(rows):
            self.launched.append((initial_job_idx + place, [word for word in row if word.startswith("sweep.part")]))
            config = self.of(row)
            try:
                folder = run.run(config)
                returns.append(JobReturn(status=JobStatus.COMPLETED, _return_value=folder))
            except AugrunError as error:
                returns.append(JobReturn(status=JobStatus.FAILED, _return_value=error))
        return returns


def composer(corpus: Path, output: Path) -> Callable[[Sequence[str]], dict[str, Any]]:
    """Makes a row's configuration, of a generator and a classifier that take no time."""

    def compose(row: Sequence[str]) -> dict[str, Any]:
        words = [
            *("generator=none", "generator._target_=tests.toy_generators.ClassMeans", "generator.name=means"),
            *("+generator.sample_s=0.5", "policy=balance_to_majority", "protocol=imbalance", "protocol.limit=2"),
            *("protocol.minority=sad", "segments.seconds=0.5", "segments.frames=32"),
            *("significance.resamples=0", "trials.count=2", *row),
        ]
        made = condition(corpus, output, *words, without=("generator", "policy", "trials"))
        classifier = {"_target_": "tests.toy_generators.Nearest", "name": "nearest"}
        return {**made.plan.config, "classifier": classifier, "tracking": None}

    return compose


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_parts_of_a_row_make_the_same_of_it(corpus: Path, tmp_path: Path) -> None:
    whole = composer(corpus, tmp_path / "whole")([])
    undivided = run.run(whole)
    compose = composer(corpus, tmp_path / "parts")
    here = Here(compose)
    (result,) = spread.launch(here, [["sweep.spread=cells"]], compose)  # type: ignore[arg-type]
    assert here.launched == [(number + 1, [f"sweep.part=[{number % 2},{number // 2}]"]) for number in range(4)] + [
        (0, [])
    ]
    ours, theirs = (json.loads((folder / "results.json").read_text()) for folder in (result._return_value, undivided))
    assert ours["fingerprint"] == theirs["fingerprint"]
    for key in ("trials", "summary", "generated", "label_validity"):
        assert ours[key] == theirs[key]
    for trial in ours["trials"]:
        scores = [np.load(f / trial["predictions"])["test_scores"] for f in (result._return_value, undivided)]
        np.testing.assert_array_equal(*scores)
    (tmp_path / "parts" / "store" / JOURNAL).rename(tmp_path / "before")
    (again,) = spread.launch(here, [["sweep.spread=cells"]], compose)  # type: ignore[arg-type]
    assert again._return_value == result._return_value and here.launched[5:] == [(0, [])]  # nothing is left to spread


def test_a_row_whose_part_failed_fails_with_its_error(corpus: Path, tmp_path: Path) -> None:
    compose = composer(corpus, tmp_path)

    class Failing(Here):
        def launch(self, rows: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
            self.launched += [(initial_job_idx + place, list(row[-1:])) for place, row in enumerate(rows)]
            return [
                JobReturn(status=JobStatus.FAILED, _return_value=AugrunError(f"{row[-1]} broke"))
                if row == ["seed=1", "sweep.spread=trials", "sweep.part=[null,1]"]
                else JobReturn(status=JobStatus.COMPLETED, _return_value=tmp_path)
                for row in rows
            ]

    failing = Failing(compose)
    rows = [["seed=1", "sweep.spread=trials"], ["seed=2", "sweep.spread=folds"], ["seed=3"]]
    rows.append(["dataset.labels=[angry]", "sweep.spread=cells"])  # clips of other classes, found when it is read
    returns = spread.launch(failing, rows, compose)  # type: ignore[arg-type]
    parts = ["sweep.part=[null,0]", "sweep.part=[null,1]", "sweep.part=[0,null]", "sweep.part=[1,null]"]
    assert failing.launched[:4] == [(4 + place, [part]) for place, part in enumerate(parts)]
    assert failing.launched[4:] == [(1, ["sweep.spread=folds"]), (2, ["seed=3"])], "numbers are those of the rows"
    assert [result.status == JobStatus.COMPLETED for result in returns] == [False, True, True, False]
    assert str(returns[0]._return_value) == "sweep.part=[null,1] broke"
    assert isinstance(returns[3]._return_value, AugrunError)


def test_a_part_that_is_none_is_refused(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = ConditionPlan(composer(corpus, tmp_path)([]), stages.open_store(composer(corpus, tmp_path)([])))
    assert [cell.title for cell in experiment_parts.select_fold_trials(whole, [1, None])] == [
        "fold session2, trial 1",
        "fold session2, trial 2",
    ]
    with pytest.raises(RequestError, match=r"sweep\.part=\[2, 0\] is no fold and trial of .*, which has 2 folds and 2"):
        experiment_parts.select_fold_trials(whole, [2, 0])
    assert main.run(["sweep.spread=cells", "generator=none", f"output.root={tmp_path}"]) == 2
    assert "sweep.spread=cells makes jobs of one: augrun -m" in capsys.readouterr().err
