"""`run` reads as the method section of a paper, and what it lists is what is done."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from augrun.core.store import stages
from augrun.experiment import run as story
from augrun.experiment.plan import ConditionPlan
from tests.experiment.test_leakage import condition, write

STEPS = ("fit_generator", "generate_samples", "compose_training_set", "fit_classifier", "predict", "record")


def config_of(tmp_path: Path) -> dict[str, Any]:
    """Two folds of one trial without a baseline, of a generator and a classifier that take no time."""
    words = [
        *("generator=none", "generator._target_=tests.toy_generators.ClassMeans", "generator.name=means"),
        *("+generator.sample_s=0.5", "policy=balance_to_majority", "protocol=imbalance", "protocol.limit=2"),
        *("protocol.minority=sad", "segments.seconds=0.5", "segments.frames=32", "baseline=false"),
    ]
    made = condition(write(tmp_path / "corpus", 0), tmp_path / "out", *words, without=("generator", "policy"))
    classifier = {"_target_": "tests.toy_generators.Nearest", "name": "nearest"}
    return {**made.plan.config, "classifier": classifier, "tracking": None}


def test_run_is_short_and_has_its_steps_in_order() -> None:
    (function,) = ast.parse(inspect.getsource(story.run)).body
    assert isinstance(function, ast.FunctionDef)
    assert function.end_lineno is not None and function.end_lineno - function.lineno + 1 <= 60
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    read = [node.id for node in sorted(names, key=lambda node: (node.lineno, node.col_offset)) if node.id in STEPS]
    assert tuple(read) == STEPS  # each once, in the data's direction
    called = {
        node.func.id: node for node in ast.walk(function) if isinstance(node, ast.Call) and hasattr(node.func, "id")
    }
    assert "record" in called
    handed = {node.id for node in ast.walk(called["run_steps"]) if isinstance(node, ast.Name)}
    assert {"condition", "steps"} <= handed


def test_run_calls_its_steps_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is called through the name that `run` has, once a fold; the training set while the classifier is locked."""
    config = config_of(tmp_path)
    calls: list[tuple[str, str]] = []

    def logged(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(made: Any, *rest: Any) -> Any:
            calls.append((name, rest[0].fold.name if name != "record" else ""))
            if name == "compose_training_set":
                assert rest[0].classifier.held and not rest[0].classifier.done
            return step(made, *rest)

        return call

    for name in STEPS:
        monkeypatch.setattr(story, name, logged(name, getattr(story, name)))
    folder = story.run(config)
    order = ("fit_generator", "generate_samples", "fit_classifier", "compose_training_set", "predict")
    folds = [fold.name for fold in ConditionPlan(config, stages.open_store(config)).folds]
    assert len(folds) == 2
    assert calls == [*((name, fold) for fold in folds for name in order), ("record", "")]
    calls.clear()
    assert story.run(config) == folder
    assert calls == [("record", "")]  # all is found


def test_a_part_runs_the_same_steps_and_records_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(tmp_path)
    calls: list[str] = []

    def logged(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: (calls.append(name), step(*arguments))[1]

    for name in STEPS:
        monkeypatch.setattr(story, name, logged(name, getattr(story, name)))
    part = {**config, "sweep": {**config["sweep"], "part": [1, 0]}}
    store = stages.open_store(config)
    assert story.run(part) == store.root
    assert calls == ["fit_generator", "generate_samples", "fit_classifier", "compose_training_set", "predict"]
    plan = ConditionPlan(config, store)
    assert [one.predictions.done for one in plan.fold_trials] == [False, True]
    assert not plan.stage.done
