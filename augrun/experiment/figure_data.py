"""Recorded and generated features of every class, for the figures of a condition."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augrun.core.config.component import build
from augrun.experiment.condition import stage_job
from augrun.experiment.generation import auxiliary_inputs, fit_generator, generate_samples

if TYPE_CHECKING:
    from augrun.experiment.condition import Condition
    from augrun.experiment.fold_trial import FoldTrial
    from augrun.reports.feature_means import Near


def spectrogram_examples(condition: Condition, fold_trial: FoldTrial, scratch: Path) -> dict[str, Any]:
    """Return recorded and generated examples of every class, of a generator of spectrograms; else nothing.

    A class that the policy wants no samples of (or too few), as the largest when classes are balanced, is shown by
    samples that are generated for the figure, in the folder `scratch`, which is removed afterwards.
    """
    samples = generate_samples(condition, fold_trial)
    if samples is None or condition.plan.domain != "logmel" or not len(samples):
        return {}
    from augrun.reports.spectra import EXAMPLES, pick

    names, train = samples.label_set.names, fold_trial.fold.train
    recordings, rows = condition.inputs.recording_inputs(train)
    labels = train.first_labels()[rows]
    features = condition.inputs.sample_inputs(fold_trial, samples)[0].features
    generated = pick(features, samples.first_labels(), len(names))
    lacking = np.flatnonzero(np.bincount(samples.first_labels(), minlength=len(names)) < EXAMPLES)
    if len(lacking) and not condition.plan.prime_requirements.primed:
        generated[lacking] = _generate_for_figure(condition, fold_trial, lacking, names, scratch)[lacking]
    return {"classes": names, "recorded": pick(recordings.features, labels, len(names)), "generated": generated}


def functionals_distance(condition: Condition, fold_trial: FoldTrial) -> Near | None:
    """Return how near a generator's vectors are to recorded ones; None for one that makes none, or none here."""
    samples = generate_samples(condition, fold_trial)
    if samples is None or condition.plan.domain != "functionals" or not len(samples):
        return None
    from augrun.reports.feature_means import Near

    inputs, train = condition.inputs, fold_trial.fold.train
    target = inputs.recording_inputs(train)[0].features.rows(), train.first_labels()
    generated = inputs.sample_inputs(fold_trial, samples)[0].features.rows(), samples.first_labels()
    has_source = condition.plan.prime_requirements.source is not None
    source = auxiliary_inputs(condition)["source"].features.rows() if has_source else None
    return Near.of(target, generated, len(train.label_set), source)


def _generate_for_figure(
    condition: Condition, fold_trial: FoldTrial, labels: np.ndarray, names: tuple[str, ...], scratch: Path
) -> np.ndarray:
    """Samples of these classes for a figure; shape (classes, examples, frames, bands)."""
    from augrun.features.cache import Features
    from augrun.generators.requests import GenerationInputs, build_unprimed_requests
    from augrun.generators.samples import FEATURES
    from augrun.reports.spectra import EXAMPLES, pick

    plan, wanted = condition.plan, np.repeat(labels, EXAMPLES)
    requests = build_unprimed_requests(wanted.tolist(), plan.prime_requirements.sample_s or 0.0, fold_trial.seed)
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    scratch.mkdir()
    try:
        job = stage_job(plan, scratch, fold_trial.samples, "showing")
        fitted = fit_generator(condition, fold_trial)
        inputs = GenerationInputs(requests, names, fitted, job, **auxiliary_inputs(condition))
        build(plan.config["generator"]).generate(inputs)
        return pick(Features.open(scratch / FEATURES), wanted, len(names))
    finally:
        shutil.rmtree(scratch)
