"""Classifiers of a condition: their training sets, their training, and their predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core.config.component import build
from augrun.core.errors import AugrunError
from augrun.core.job import Job
from augrun.corpora.corpus import RECORDED
from augrun.evaluation.results import PREDICTIONS, Predictions
from augrun.experiment import scheduling
from augrun.experiment.condition import Condition, stage_job
from augrun.experiment.fold_trial import FoldTrial
from augrun.experiment.generation import fit_generator, generate_samples
from augrun.experiment.joint_fits import fit_jointly, joint_training_groups
from augrun.experiment.reduction import preprocess, training_inputs_with_mixup
from augrun.experiment.sections import component_constant

#: Makes the training set of a fold and trial: `compose_training_set`.
Compose = Callable[[Condition, FoldTrial], Any]


def compose_training_set(condition: Condition, fold_trial: FoldTrial) -> Any:
    """Compose the classifier's training set of recordings and samples, as the policy says.

    It is no stage: whoever fits a classifier asks for it then, so that no more is read and held than is trained on.

    Returns:
        The examples.

    Raises:
        AugrunError: a class has no example, so that no classifier could learn it.
    """
    from augrun.features.examples import Examples

    plan = condition.plan
    recordings = plan.kept_recordings(fold_trial.fold, fold_trial.seed)
    samples = generate_samples(condition, fold_trial)
    if samples is None or fold_trial.samples is None or not len(samples):
        return training_inputs_with_mixup(condition, fold_trial, recordings)
    from augrun.generators.samples import replaced

    composed = build(plan.config["policy"]).compose(recordings, samples, replaced(fold_trial.samples.folder))
    from_recordings = (composed.clips["origin"] == RECORDED).to_numpy()
    parts = []
    if from_recordings.any():
        parts.append(training_inputs_with_mixup(condition, fold_trial, composed.select(from_recordings)))
    if not from_recordings.all():
        examples, _ = condition.inputs.sample_inputs(fold_trial, samples)
        parts.append(preprocess(condition, fold_trial, samples, examples))
    whole = Examples.concatenate(parts)
    lacking = [name for name, some in zip(whole.names, np.any(whole.targets > 0, axis=0), strict=True) if not some]
    if lacking:
        raise AugrunError(
            f"{fold_trial.title}: the training set has no example of {', '.join(lacking)}, as "
            f"policy={plan.names['policy']} makes no samples of it and leaves the recordings out; give "
            "policy.composition=both, or a policy that makes samples of every class"
        )
    return whole


def fit_classifier(condition: Condition, fold_trial: FoldTrial, compose: Compose) -> Path:
    """Fit the classifier of a fold and trial on its training set, selected on the validation part.

    Args:
        condition: the condition.
        fold_trial: the fold and trial.
        compose: makes the training set, where the classifier is not fitted already.

    Returns:
        The folder of the fitted classifier.
    """
    plan, validation = condition.plan, fold_trial.fold.validation
    if not fold_trial.classifier.done:
        generate_samples(condition, fold_trial)  # before the lock: other jobs may want these stages meanwhile

    def fit(folder: Path) -> None:
        job = stage_job(plan, folder, fold_trial.classifier, "training")
        examples, _ = condition.inputs.recording_inputs(validation)
        held_out = preprocess(condition, fold_trial, validation, examples)
        build(plan.config["classifier"]).fit(compose(condition, fold_trial), held_out, job)

    return fold_trial.classifier.get(fit, f"{plan.config['classifier']['name']}: training, {fold_trial.title}")


def fit_classifiers_jointly(condition: Condition, compose: Compose) -> None:
    """Fit the classifiers of all folds and trials as one, where they can be; `fit_classifier` then finds them.

    Args:
        condition: the condition.
        compose: makes each training set.
    """
    plan = condition.plan
    waiting = [one for one in plan.fold_trials if not one.classifier.done]
    if not component_constant(plan.config, "classifier", "together") or len(waiting) < 2:
        return
    steps = [("generator", fit_generator), ("samples", generate_samples)]
    scheduling.run_pending_steps(waiting, scheduling.bind(condition, steps))

    def fit(jobs: list[Job], fold_trials: list[FoldTrial]) -> None:
        sets: dict[str, Any] = {}
        names = [_training_set_key(condition, one) for one in fold_trials]
        for name, fold_trial in zip(names, fold_trials, strict=True):
            if name not in sets:  # what differs in the classifier's seed alone is read and kept once
                sets[name] = compose(condition, fold_trial)
        build(plan.config["classifier"]).fit_together([sets[name] for name in names], jobs)

    for group in joint_training_groups(plan, waiting, lambda one: training_set_bytes(condition, one)):
        fit_jointly(plan, "classifier", fit, group)


def trained_classifier(condition: Condition, fold_trial: FoldTrial) -> Path:
    """Return the folder of the classifier of a fold and trial, fitted now where nobody has done so before."""
    return fit_classifier(condition, fold_trial, compose_training_set)


def predict(condition: Condition, fold_trial: FoldTrial) -> Predictions:
    """Predict the validation and test parts of a fold and trial with its classifier."""
    plan, fold = condition.plan, fold_trial.fold

    def write_scores(folder: Path) -> None:
        from augrun.evaluation import decisions

        classifier, fitted = build(plan.config["classifier"]), trained_classifier(condition, fold_trial)
        job = stage_job(plan, folder, fold_trial.predictions, "predicting")
        arrays: dict[str, Any] = {}
        for name, part in (("validation", fold.validation), ("test", fold.test)):
            examples, rows = condition.inputs.recording_inputs(part)
            examples = preprocess(condition, fold_trial, part, examples)
            scores = classifier.predict(examples.features, fitted, job)
            arrays |= decisions.content(name, part, scores, rows, plan.segments.vote)
        decisions.write(folder / PREDICTIONS, arrays)

    if not fold_trial.predictions.done:
        trained_classifier(condition, fold_trial)
    title = f"{plan.config['classifier']['name']}: predicting, {fold_trial.title}"
    folder = fold_trial.predictions.get(write_scores, title)
    validation, test = (part.by_utterance()[0] for part in (fold.validation, fold.test))
    return Predictions(fold.name, fold_trial.trial, fold_trial.seed, folder / PREDICTIONS, validation, test)


def training_set_bytes(condition: Condition, fold_trial: FoldTrial) -> int:
    """Return the memory of a fold trial's training set, about, as if no other had the same."""
    plan = condition.plan
    samples = fold_trial.samples.manifest["summary"]["clips"] if fold_trial.samples else 0
    vectors = len(fold_trial.fold.train) * (1 + plan.mixup.ratio) + samples
    return int(4 * vectors * build(plan.representation).bands)


def _training_set_key(condition: Condition, fold_trial: FoldTrial) -> str:
    """What a fold trial's classifier is trained on, in a word."""
    seed = fold_trial.seed if condition.plan.mixup.ratio else None
    return repr((sorted(fold_trial.classifier.content["inputs"].items()), seed))
