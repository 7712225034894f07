"""The results of each fold and trial, gathered from its stages."""

from __future__ import annotations

from augrun.evaluation.results import FoldTrialResult, GeneratedSamples
from augrun.experiment.classification import predict, trained_classifier
from augrun.experiment.condition import Condition
from augrun.experiment.fold_trial import FoldTrial
from augrun.experiment.generation import fit_generator, generate_samples
from augrun.experiment.sample_evaluation import measure_sample_quality, score_samples_with_baseline


def generated_samples(condition: Condition, fold_trial: FoldTrial) -> GeneratedSamples | None:
    """Return the samples of a fold and trial, and the account of them; None for the baseline."""
    samples = generate_samples(condition, fold_trial)
    if fold_trial.samples is None or samples is None:
        return None
    return GeneratedSamples(samples, fold_trial.samples.manifest["summary"], fold_trial.fold.train.seconds)


def fold_trial_result(condition: Condition, fold_trial: FoldTrial) -> FoldTrialResult:
    """Return all results of a fold and trial; what of it is not done is done now."""
    history = trained_classifier(condition, fold_trial) / "history.json"
    sample_predictions = score_samples_with_baseline(condition, fold_trial)
    quality = measure_sample_quality(condition, fold_trial)
    return FoldTrialResult(
        predict(condition, fold_trial),
        history,
        fit_generator(condition, fold_trial),
        generated_samples(condition, fold_trial),
        sample_predictions,
        quality,
    )
