"""Generators of a condition: their training, and the samples that they generate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core.config.component import build
from augrun.core.job import Job
from augrun.corpora.corpus import Corpus
from augrun.experiment.condition import Condition, stage_job
from augrun.experiment.fold_trial import FoldTrial
from augrun.experiment.joint_fits import first_of_each_stage, fit_jointly, joint_training_groups
from augrun.experiment.sections import component_constant
from augrun.generators.requests import GenerationInputs


def fit_generator(condition: Condition, fold_trial: FoldTrial) -> Path | None:
    """Fit the fold's generator on its train part, selected on its validation part.

    Returns:
        The folder of the fitted generator; None where none is trained.
    """
    if fold_trial.generator is None:
        return None
    plan = condition.plan

    def fit(folder: Path) -> None:
        generator = build(plan.config["generator"])
        job = stage_job(plan, folder, fold_trial.generator, "training")
        parts: list[Any] = [fold_trial.fold.train, fold_trial.fold.validation]
        if plan.domain != "waveform":
            parts = [condition.inputs.recording_inputs(part)[0] for part in parts]
        generator.fit(*parts, job, **auxiliary_inputs(condition))

    return fold_trial.generator.get(fit, f"{plan.config['generator']['name']}: training, {fold_trial.title}")


def fit_generators_jointly(condition: Condition) -> None:
    """Fit the generators of all folds (and trials) as one, where they can be; `fit_generator` then finds them."""
    plan = condition.plan
    if not component_constant(plan.config, "generator", "together"):
        return

    def fit(jobs: list[Job], fold_trials: list[FoldTrial]) -> None:
        trains = {one.fold.name: condition.inputs.recording_inputs(one.fold.train)[0] for one in fold_trials}
        generator = build(plan.config["generator"])
        generator.fit_together([trains[one.fold.name] for one in fold_trials], jobs, **auxiliary_inputs(condition))

    # Trials share their fold's generator, where it is not trained anew for each.
    for group in joint_training_groups(plan, first_of_each_stage(plan.fold_trials, "generator")):
        fit_jointly(plan, "generator", fit, group)


def generate_samples(condition: Condition, fold_trial: FoldTrial) -> Corpus | None:
    """Generate the samples that the policy plans for a fold and trial.

    Returns:
        The samples; None where the condition has no generator.
    """
    if fold_trial.samples is None:
        return None
    from augrun.generators import samples

    plan, train = condition.plan, fold_trial.fold.train
    fitted = fit_generator(condition, fold_trial)
    name = plan.config["generator"]["name"]

    def generate(folder: Path) -> dict[str, Any]:
        generator = build(plan.config["generator"])
        policy = build(plan.config["policy"])
        requirements = plan.prime_requirements_in(fold_trial.fold)
        planned = policy.plan(train, requirements, fold_trial.seed, _examples_per_clip(condition, train))
        job = stage_job(plan, folder, fold_trial.samples, "generating")
        inputs = dict(auxiliary_inputs(condition))
        if plan.domain != "waveform" and requirements.primed:
            inputs["primes"] = _prime_features(condition, planned.requests["prime_clip"])
        if component_constant(plan.config, "generator", "wants_classes"):
            primes = train if requirements.pool is None else requirements.pool
            inputs["classes"] = dict(primes.clips[["clip_id", "labels"]].itertuples(index=False))
        generator.generate(GenerationInputs(planned.requests, train.label_set.names, fitted, job, **inputs))
        if plan.domain == "waveform":
            summary = samples.commit(folder, planned, name, requirements)
        else:
            seconds_of = _seconds_of_frames(condition) if plan.domain == "logmel" else None
            summary = samples.commit_features(folder, planned, name, requirements, seconds_of)
        return summary | {"notes": generator.notes()}

    folder = fold_trial.samples.get(generate, f"{name}: generating, {fold_trial.title}")
    return samples.load(folder, name, train)


def auxiliary_inputs(condition: Condition) -> dict[str, Any]:
    """Return the corpora in other roles as a generator is given them: clips, or examples where it makes features."""
    corpora = condition.plan.role_corpora("generator")
    if condition.plan.domain == "waveform":
        return dict(corpora)
    inputs = condition.inputs
    return {role: inputs.examples(corpus, inputs.corpus_features(corpus))[0] for role, corpus in corpora.items()}


def _prime_features(condition: Condition, clips: Iterable[str]) -> Any:
    """The recorded features of each clip, in their order."""
    source = condition.plan.prime_requirements.source
    if source is None:
        features, rows = condition.inputs.recorded_features
    else:
        features = condition.inputs.corpus_features(source)
        rows = {clip: row for row, clip in enumerate(source.clips["clip_id"])}
    return features.select([rows[clip] for clip in clips])


def _examples_per_clip(condition: Condition, train: Corpus) -> Any:
    """How many examples each clip is for the generator; None where that is one."""
    if condition.plan.domain == "waveform" or condition.plan.segments.seconds is None:
        return None
    _, rows = condition.inputs.recording_inputs(train)
    return np.bincount(rows, minlength=len(train))


def _seconds_of_frames(condition: Condition) -> Callable[[int], float]:
    """A function that returns the seconds of an example of so many frames."""
    segments, section = condition.plan.segments, condition.plan.representation

    def seconds(frames: int) -> float:
        if segments.seconds is not None and frames == segments.frames:
            return segments.seconds
        return frames * float(build(section).seconds_per_frame)

    return seconds
