"""Reducers, which make vectors shorter, and examples as the classifier takes them: scaled, then reduced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from augrun.core.config.component import build
from augrun.core.job import Job
from augrun.corpora.corpus import Corpus
from augrun.experiment.condition import Condition, stage_job
from augrun.experiment.fold_trial import FoldTrial
from augrun.experiment.joint_fits import first_of_each_stage, fit_jointly, joint_training_groups
from augrun.experiment.sections import component_constant


def fit_reducer(condition: Condition, fold_trial: FoldTrial) -> Path | None:
    """Fit what makes vectors shorter on the recordings of the training set and their mixtures.

    Returns:
        The folder of the fitted reducer; None where the condition has none.
    """
    if fold_trial.reducer is None:
        return None
    plan = condition.plan

    def fit(folder: Path) -> None:
        job = stage_job(plan, folder, fold_trial.reducer, "training")
        build(plan.config["reducer"]).fit(_scaled_recordings(condition, fold_trial), job, plan.mixup)

    return fold_trial.reducer.get(fit, f"{plan.config['reducer']['name']}: training, {fold_trial.title}")


def fit_reducers_jointly(condition: Condition) -> None:
    """Fit the reducers of all folds and trials as one, where they can be; `fit_reducer` then finds them."""
    plan = condition.plan
    if not component_constant(plan.config, "reducer", "together"):
        return

    def fit(jobs: list[Job], fold_trials: list[FoldTrial]) -> None:
        recordings: dict[str, Any] = {}
        digests = [plan.kept_recordings(one.fold, one.seed).digest for one in fold_trials]
        for digest, fold_trial in zip(digests, fold_trials, strict=True):
            if digest not in recordings:  # what differs in the seed alone is read and kept once
                recordings[digest] = _scaled_recordings(condition, fold_trial)
        build(plan.config["reducer"]).fit_together([recordings[digest] for digest in digests], jobs, plan.mixup)

    for group in joint_training_groups(plan, first_of_each_stage(plan.fold_trials, "reducer")):
        fit_jointly(plan, "reducer", fit, group)


def preprocess(condition: Condition, fold_trial: FoldTrial, part: Corpus, examples: Any) -> Any:
    """Return examples as the classifier takes them: scaled, and made shorter where the condition has a reducer.

    Args:
        condition: whose classifier it is.
        fold_trial: whose train part sets the scale.
        part: the clips or samples that the examples are of.
        examples: as the features have them.
    """
    return _reduce(condition, fold_trial, condition.inputs.scale(fold_trial, part, examples))


def training_inputs_with_mixup(condition: Condition, fold_trial: FoldTrial, part: Corpus) -> Any:
    """Return recorded clips of the training set as the classifier takes them, with their mixtures."""
    inputs = condition.inputs
    scaled = inputs.scale(fold_trial, part, inputs.recording_inputs(part)[0])
    return _reduce(condition, fold_trial, condition.plan.mixup.of(scaled, fold_trial.seed))


def _reduce(condition: Condition, fold_trial: FoldTrial, examples: Any) -> Any:
    """Scaled examples, made shorter where the condition has a reducer."""
    fitted = fit_reducer(condition, fold_trial)
    if fitted is None:
        return examples
    job = stage_job(condition.plan, fitted, fold_trial.reducer, "reducing")
    reducer = build(condition.plan.config["reducer"])
    return replace(examples, features=reducer.transform(examples.features, fitted, job))


def _scaled_recordings(condition: Condition, fold_trial: FoldTrial) -> Any:
    """The recordings of the training set on the classifier's scale."""
    train = condition.plan.kept_recordings(fold_trial.fold, fold_trial.seed)
    return condition.inputs.scale(fold_trial, train, condition.inputs.recording_inputs(train)[0])
