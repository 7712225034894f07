"""Recorded and generated features of every class, for the pictures of a condition."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augrun.core.config.component import build

if TYPE_CHECKING:
    from augrun.experiment.condition import Condition
    from augrun.experiment.fold_trial import Cell
    from augrun.reports.feature_means import Near


def spectra(condition: Condition, cell: Cell, scratch: Path) -> dict[str, Any]:
    """Recorded and generated examples of every class, of a generator that makes features; else nothing.

    A class that the policy wants no samples of (or too few), as the largest when classes are balanced, is shown by
    samples that are made for the picture, in the folder `scratch`, which is gone afterwards.
    """
    samples = condition.generated(cell)
    if samples is None or condition.domain != "logmel" or not len(samples):
        return {}
    from augrun.reports.spectra import EXAMPLES, pick

    names = samples.label_set.names
    recorded, rows = condition.recorded(cell.fold.train)
    labels = cell.fold.train.first_labels()[rows]
    made = condition.heard(cell, samples)[0].features
    generated = pick(made, samples.first_labels(), len(names))
    lacking = np.flatnonzero(np.bincount(samples.first_labels(), minlength=len(names)) < EXAMPLES)
    if len(lacking) and not condition.needs.primed:
        generated[lacking] = _shown(condition, cell, lacking, names, scratch)[lacking]
    return {"classes": names, "recorded": pick(recorded.features, labels, len(names)), "generated": generated}


def vectors(condition: Condition, cell: Cell) -> Near | None:
    """How near a generator's vectors are to recorded ones; None for one that makes none, or none here."""
    samples = condition.generated(cell)
    if samples is None or condition.domain != "functionals" or not len(samples):
        return None
    from augrun.reports.feature_means import Near

    train, source = cell.fold.train, condition.needs.source
    target = condition.recorded(train)[0].features.rows(), train.first_labels()
    made = condition.heard(cell, samples)[0].features.rows(), samples.first_labels()
    turned = None if source is None else condition.given["source"].features.rows()
    return Near.of(target, made, len(train.label_set), turned)


def _shown(condition: Condition, cell: Cell, labels: np.ndarray, names: tuple[str, ...], scratch: Path) -> np.ndarray:
    """Samples of these classes for a picture; shape (classes, examples, frames, bands)."""
    from augrun.features.cache import Features
    from augrun.generators.base import unprimed
    from augrun.generators.samples import FEATURES
    from augrun.reports.spectra import EXAMPLES, pick

    wanted = np.repeat(labels, EXAMPLES)
    requests = unprimed(wanted.tolist(), condition.needs.sample_s or 0.0, cell.seed)
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    scratch.mkdir()
    try:
        job = condition.job(scratch, cell.samples, "showing")
        generator = build(condition.config["generator"])
        generator.generate(requests, names, condition.fitted(cell), job, **condition.given)
        return pick(Features.open(scratch / FEATURES), wanted, len(names))
    finally:
        shutil.rmtree(scratch)
