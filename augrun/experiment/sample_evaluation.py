"""What samples are measured by beside their use: what they are taken for, and how near they are to recordings.

Both are told by the baseline's classifier, which was trained on the recordings of the same fold and trial alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrun.core.config.component import build
from augrun.core.files import write_text
from augrun.evaluation.results import PREDICTIONS, QUALITY, SamplePredictions
from augrun.experiment.classification import predict, trained_classifier
from augrun.experiment.condition import Condition, stage_job
from augrun.experiment.generation import generate_samples
from augrun.experiment.reduction import preprocess

if TYPE_CHECKING:
    import numpy as np

    from augrun.core.job import Job
    from augrun.corpora.corpus import Corpus
    from augrun.experiment.fold_trial import FoldTrial


def score_samples_with_baseline(condition: Condition, fold_trial: FoldTrial) -> SamplePredictions | None:
    """Score the samples with the baseline's classifier, trained on recordings alone.

    Godwin et al. 2021, section VI: "We measure the testing predictive performance of the classifier on the
    generated samples."

    Returns:
        Its scores; None without samples, or without a baseline.
    """
    samples, baseline = generate_samples(condition, fold_trial), condition.baseline
    if fold_trial.label_validity is None or samples is None or baseline is None or not len(samples):
        return None
    plan, reference = condition.plan, baseline.plan.fold_trial(fold_trial.fold, fold_trial.trial)

    def write_scores(folder: Path) -> None:
        from augrun.evaluation import decisions

        fitted = trained_classifier(baseline, reference)
        examples, rows = condition.inputs.sample_inputs(fold_trial, samples)
        examples = preprocess(baseline, reference, samples, examples)
        job = stage_job(plan, folder, fold_trial.label_validity, "predicting")
        scores = build(plan.config["classifier"]).predict(examples.features, fitted, job)
        arrays = decisions.content("samples", samples, scores, rows, plan.segments.vote)
        decisions.write(folder / PREDICTIONS, arrays)

    title = f"{samples.name}: heard by the baseline's classifier, {fold_trial.title}"
    folder = fold_trial.label_validity.get(write_scores, title)
    return SamplePredictions(folder / PREDICTIONS, samples, predict(baseline, reference))


def embed_recordings(baseline: Condition, fold_trial: FoldTrial) -> Path:
    """Embed the recorded train and test parts with a baseline's classifier.

    A stage of the baseline's, so that any number of generators are measured against recordings embedded once.

    Returns:
        The file with the embeddings.
    """
    from augrun.evaluation import embeddings

    assert fold_trial.embeddings is not None
    if not fold_trial.embeddings.done:
        trained_classifier(baseline, fold_trial)  # before the lock: other jobs may want it

    def embed(folder: Path) -> None:
        job = stage_job(baseline.plan, folder, fold_trial.embeddings, "embedding")
        clips = {
            name: _embedding(baseline, fold_trial, part, baseline.inputs.recording_inputs(part), job)
            for name, part in _embedded_parts(fold_trial).items()
        }
        embeddings.write(folder / embeddings.FILE, clips)

    title = f"{baseline.plan.config['classifier']['name']}: embedding recordings, {fold_trial.title}"
    return fold_trial.embeddings.get(embed, title) / embeddings.FILE


def measure_sample_quality(condition: Condition, fold_trial: FoldTrial) -> Mapping[str, Any] | None:
    """Measure how near the samples are to recordings in the embedding of the baseline's classifier.

    Returns:
        What `augrun.evaluation.quality.measure` returns; None without samples or baseline, or without an embedding.
    """
    samples, baseline = generate_samples(condition, fold_trial), condition.baseline
    if fold_trial.quality is None or samples is None or baseline is None or not len(samples):
        return None
    reference = baseline.plan.fold_trial(fold_trial.fold, fold_trial.trial)
    if not fold_trial.quality.done:
        embed_recordings(baseline, reference)  # before the lock: other generators want it too

    def measure(folder: Path) -> None:
        from augrun.evaluation import embeddings, quality

        recorded = embeddings.read(embed_recordings(baseline, reference))
        job = stage_job(condition.plan, folder, fold_trial.quality, "embedding")
        inputs = condition.inputs.sample_inputs(fold_trial, samples)
        generated = _embedding(baseline, reference, samples, inputs, job)
        train, test = ((recorded[name], part.targets()) for name, part in _embedded_parts(fold_trial).items())
        measures = quality.measure(train, test, generated, samples.first_labels())
        write_text(folder / QUALITY, json.dumps(measures, indent=1))

    folder = fold_trial.quality.get(measure, f"{samples.name}: measured against recordings, {fold_trial.title}")
    measures: dict[str, Any] = json.loads((folder / QUALITY).read_text(encoding="utf-8"))
    return measures


def _embedded_parts(fold_trial: FoldTrial) -> dict[str, Corpus]:
    """The recorded parts that are embedded: what samples are measured against, and what is measured beside them."""
    return {"train": fold_trial.fold.train, "test": fold_trial.fold.test}


def _embedding(
    baseline: Condition, fold_trial: FoldTrial, part: Corpus, inputs: tuple[Any, Any], job: Job
) -> np.ndarray:
    """Clips in the embedding of a baseline's classifier, shape (clips, dimensions), float32.

    Args:
        baseline: whose classifier it is.
        fold_trial: the baseline's fold and trial.
        part: the clips.
        inputs: as `recording_inputs` and `sample_inputs` of `ClassifierInputs` return them.
        job: the work.
    """
    from augrun.evaluation import embeddings

    examples, rows = inputs
    examples = preprocess(baseline, fold_trial, part, examples)
    classifier = build(baseline.plan.config["classifier"])
    vectors = classifier.embed(examples.features, trained_classifier(baseline, fold_trial), job)
    return embeddings.of_clips(vectors, rows, len(part), part.name)
