"""The story of one condition, in the data's direction.

    corpus → folds → fit_generator → generate_samples → compose_training_set → fit_classifier → predict → record

Read `run` first. Each step is a stage of `augrun.experiment.plan`, computed once and found ever after; the modules of
this folder say how.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrun.core.config import schema
from augrun.core.config.compose import resolve
from augrun.core.errors import RequestError
from augrun.core.runtime import gpu_slots
from augrun.core.store.stages import open_store
from augrun.experiment import parts
from augrun.experiment.announcement import announce
from augrun.experiment.checks import check_config
from augrun.experiment.classification import (
    compose_training_set,
    fit_classifier,
    fit_classifiers_jointly,
    predict,
)
from augrun.experiment.comparison import compare_conditions
from augrun.experiment.component_checks import check_components
from augrun.experiment.condition import Condition, open_condition, protected_from_gc
from augrun.experiment.generation import fit_generator, fit_generators_jointly, generate_samples
from augrun.experiment.profiling import profile_condition
from augrun.experiment.record import record
from augrun.experiment.reduction import fit_reducer, fit_reducers_jointly
from augrun.experiment.sample_evaluation import measure_sample_quality, score_samples_with_baseline
from augrun.experiment.scheduling import ConditionStep, all_locked_by_others, bind, run_pending_steps
from augrun.tracking.recorder import open_recorder

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from augrun.experiment.classification import Compose
    from augrun.experiment.fold_trial import FoldTrial
    from augrun.tracking.null_recorder import Off
    from augrun.tracking.recorder import Recorder

log = logging.getLogger(__name__)


def run(
    config: Mapping[str, Any], command: str | None = None, swept: bool = False, recorder: Recorder | Off | None = None
) -> Path:
    """Run one condition, after the baseline that it is compared with.

    Args:
        config: a checked configuration (`resolve`, `check_config`); with `sweep.part`, only that part of it is done.
        command: the command line, kept beside the results.
        swept: whether it is a row of a sweep, which has a page of its own at the end.
        recorder: where it is recorded; None opens the one that the configuration names.

    Returns:
        The folder with `results.json`, `config.yaml`, predictions, tables, figures and sounds; of a part, the store.
    """
    condition = open_condition(config, open_store(config))
    steps: list[ConditionStep] = [  # of each fold and trial: a stage, and what does it
        ("generator", fit_generator),
        ("samples", generate_samples),
        ("reducer", fit_reducer),
        ("classifier", with_training_set(compose_training_set, fit_classifier)),
        ("predictions", predict),
    ]
    evaluation = [("label_validity", score_samples_with_baseline), ("quality", measure_sample_quality)]
    if config.get("sweep", {}).get("part") is not None:
        return run_part(condition, steps, evaluation)

    plan, recorder, reference = condition.plan, recorder or open_recorder(config), None
    announce(plan)
    if not plan.stage.done:
        check_components(plan)  # before the baseline: what cannot work is refused before hours of work
        gpu_slots.need(plan.hardware)
    if condition.baseline is not None:
        work_while_baseline_is_locked(condition, steps)
        reference = run_baseline(condition.baseline)
    profiled = profile_condition(bool(config.get("profile")), plan.title, plan.stage.done)
    with recorder.running(plan.stage.fingerprint, plan.title, plan.names, config) as parent, profiled as write_profile:
        with protected_from_gc(plan):
            if not plan.stage.done:
                run_steps(condition, [*steps, *evaluation])
            folder = record(condition, command)
        write_profile(folder)
        parent.log_condition(folder)
    if reference is not None:
        rows = [("baseline", reference), (plan.names["generator" if plan.generates else "policy"], folder)]
        compare_conditions(config, rows, of=folder, page=not swept, recorder=recorder)
    elif recorder.problem:
        log.warning(recorder.closing_line())
    return folder


def with_training_set(
    compose: Compose, fit: Callable[[Condition, FoldTrial, Compose], Path]
) -> Callable[[Condition, FoldTrial], Path]:
    """Return the step that fits on what `compose` makes: under the stage's lock, and only where it is not done."""
    return lambda condition, fold_trial: fit(condition, fold_trial, compose)


def run_steps(condition: Condition, steps: Sequence[ConditionStep]) -> None:
    """Run steps of every fold and trial: what can be fitted as one first, then what no other job has locked."""
    fit_generators_jointly(condition)
    fit_reducers_jointly(condition)
    fit_classifiers_jointly(condition, compose_training_set)
    run_pending_steps(condition.plan.fold_trials, bind(condition, steps))


def work_while_baseline_is_locked(condition: Condition, steps: Sequence[ConditionStep]) -> None:
    """Do what does not need the baseline, while other jobs have locked all that is pending of the baseline."""
    assert condition.baseline is not None
    baseline = condition.baseline.plan

    def is_locked() -> bool:
        return not baseline.stage.done and all_locked_by_others(baseline.fold_trials, [name for name, _ in steps])

    if is_locked():
        fit_generators_jointly(condition)
    if is_locked():
        fit_reducers_jointly(condition)
    if is_locked():
        fit_classifiers_jointly(condition, compose_training_set)
    run_pending_steps(condition.plan.fold_trials, bind(condition, steps), while_=is_locked)


def run_baseline(baseline: Condition) -> Path:
    """Run a baseline, once for all rows of a sweep that are compared with it.

    Returns:
        The folder of its results, at once where this process has recorded it before.
    """
    plan, config = baseline.plan, baseline.plan.config
    key = (str(plan.store.root), json.dumps([config["output"], config["tracking"]]), plan.stage.fingerprint)
    if key in _baselines and plan.stage.done:
        return _baselines[key]
    recorder = open_recorder(config)
    folder = run(config, recorder=recorder)
    if recorder.problem is None:  # else the next row tries again
        _baselines[key] = folder
    return folder


#: The results of baselines that this process has run and recorded.
_baselines: dict[tuple[str, str, str], Path] = {}


def run_part(condition: Condition, steps: Sequence[ConditionStep], evaluation: Sequence[ConditionStep]) -> Path:
    """Run the steps of some of a condition's folds and trials (`sweep.part`), and of the same of its baseline.

    Returns:
        The store. Results are recorded by whoever runs the whole condition, and finds all of this done.
    """
    plan = condition.plan
    plan.fold_trials = parts.select_fold_trials(plan, plan.config["sweep"]["part"])
    log.info("%s: %s", plan.title, ", ".join(fold_trial.title for fold_trial in plan.fold_trials))
    check_components(plan)
    gpu_slots.need(plan.hardware)
    if condition.baseline is not None:
        baseline = condition.baseline.plan
        baseline.fold_trials = [baseline.fold_trial(one.fold, one.trial) for one in plan.fold_trials]
        work_while_baseline_is_locked(condition, steps)
        run_steps(condition.baseline, steps)
    with protected_from_gc(plan):
        run_steps(condition, [*steps, *evaluation])
    return plan.store.root


def run_config(config: DictConfig) -> Path:
    """One Hydra job."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    plain, told = resolve(config), HydraConfig.get()
    swept = told.mode == RunMode.MULTIRUN
    check_config(plain, swept=swept)
    if plain["sweep"].get("spread") and not swept:
        raise RequestError(f"sweep.spread={plain['sweep']['spread']} makes jobs of one: augrun -m")
    if plain["sweep"].get("part") is not None:
        return run(plain)
    tabled = plain.pop(schema.TABLE, None) is not None
    folders = [source.path for source in told.runtime.config_sources if source.provider == "command-line"]
    words = [word for folder in folders for word in ("--config-dir", folder)]
    # A row of a published table is no run of its own: its experiment would be refused.
    return run(plain, None if tabled else shlex.join(["augrun", *words, *told.overrides.task]), swept)
