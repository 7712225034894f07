"""What is asked of samples beside their use: what they are taken for, and how near they are to recordings.

The baseline's classifier answers, that was trained on the recordings of the same fold and trial alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrun.core.config.component import build
from augrun.evaluation.results import PREDICTIONS, QUALITY, SamplePredictions

from augrun.core.files import write_text
if TYPE_CHECKING:
    import numpy as np

    from augrun.core.job import Job
    from augrun.corpora.corpus import Corpus
    from augrun.experiment.condition import Condition
    from augrun.experiment.fold_trial import Cell


def judged(condition: Condition, cell: Cell) -> SamplePredictions | None:
    """What the baseline's classifier, trained on recordings alone, says of the samples.

    Godwin et al. 2021, section VI: "We measure the testing predictive performance of the classifier on the
    generated samples."
    """
    samples, baseline = condition.generated(cell), condition.baseline
    if cell.judged is None or samples is None or baseline is None or not len(samples):
        return None
    heard = baseline.cell(cell.fold, cell.trial)

    def predict(folder: Path) -> None:
        from augrun.evaluation import decisions

        fitted = baseline.classified(heard)
        examples, rows = condition.heard(cell, samples)
        examples = baseline.seen(heard, samples, examples)
        job = condition.job(folder, cell.judged, "predicting")
        scores = build(condition.config["classifier"]).predict(examples.features, fitted, job)
        content = decisions.content("samples", samples, scores, rows, condition.segments.vote)
        decisions.write(folder / PREDICTIONS, content)

    folder = cell.judged.get(predict, f"{samples.name}: heard by the baseline's classifier, {cell.title}")
    return SamplePredictions(folder / PREDICTIONS, samples, baseline.scored(heard))


def embedded(baseline: Condition, cell: Cell) -> Path:
    """The file with the recorded train and test parts in the embedding of a baseline's classifier.

    A stage of the baseline's, so that any number of generators are measured against recordings embedded once.
    """
    from augrun.evaluation import embeddings

    assert cell.embedded is not None
    if not cell.embedded.done:
        baseline.classified(cell)  # before the lock: other jobs may want it

    def embed(folder: Path) -> None:
        job = baseline.job(folder, cell.embedded, "embedding")
        clips = {
            name: _embedding(baseline, cell, part, baseline.recorded(part), job) for name, part in _parts(cell).items()
        }
        embeddings.write(folder / embeddings.FILE, clips)

    name = baseline.config["classifier"]["name"]
    return cell.embedded.get(embed, f"{name}: embedding recordings, {cell.title}") / embeddings.FILE


def measured(condition: Condition, cell: Cell) -> Mapping[str, Any] | None:
    """How near the samples are to recordings in the embedding of the baseline's classifier.

    Returns:
        What `augrun.evaluation.quality.measure` says; None without samples or baseline, or without an embedding.
    """
    samples, baseline = condition.generated(cell), condition.baseline
    if cell.quality is None or samples is None or baseline is None or not len(samples):
        return None
    heard = baseline.cell(cell.fold, cell.trial)
    if not cell.quality.done:
        embedded(baseline, heard)  # before the lock: other generators want it too

    def measure(folder: Path) -> None:
        from augrun.evaluation import embeddings, quality

        recorded = embeddings.read(embedded(baseline, heard))
        job = condition.job(folder, cell.quality, "embedding")
        made = _embedding(baseline, heard, samples, condition.heard(cell, samples), job)
        train, test = ((recorded[name], part.targets()) for name, part in _parts(cell).items())
        found = quality.measure(train, test, made, samples.first_labels())
        write_text(folder / QUALITY, json.dumps(found, indent=1))

    folder = cell.quality.get(measure, f"{samples.name}: measured against recordings, {cell.title}")
    found: dict[str, Any] = json.loads((folder / QUALITY).read_text(encoding="utf-8"))
    return found


def _parts(cell: Cell) -> dict[str, Corpus]:
    """The recorded parts that are embedded: what samples are measured against, and what is measured beside them."""
    return {"train": cell.fold.train, "test": cell.fold.test}


def _embedding(baseline: Condition, cell: Cell, part: Corpus, given: tuple[Any, Any], job: Job) -> np.ndarray:
    """Clips in the embedding of a baseline's classifier, shape (clips, dimensions), float32.

    Args:
        baseline: whose classifier it is.
        cell: the baseline's fold and trial.
        part: the clips.
        given: as `Condition.recorded` and `Condition.heard` have them.
        job: the work.
    """
    from augrun.evaluation import embeddings

    examples, rows = given
    examples = baseline.seen(cell, part, examples)
    classifier = build(baseline.config["classifier"])
    found = classifier.embed(examples.features, baseline.classified(cell), job)
    return embeddings.of_clips(found, rows, len(part), part.name)
