"""How `dnn` is trained, several networks as one, and how clips go through it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from augrun.classifiers.dnn.settings import DNNSettings
from augrun.core.errors import AugrunError
from augrun.core.job import Job
from augrun.core.training import stacked_fit
from augrun.core.training.device import device
from augrun.core.training.model_files import leave, load
from augrun.core.training.stacked import Adam, Draws, Perceptrons, replica
from augrun.features.cache import Features
from augrun.features.examples import Examples

FIT = "fit"  # the folder of the checkpoints

PREDICTED_AT_ONCE = 4096


def train_together(settings: DNNSettings, train: Sequence[Examples], jobs: Sequence[Job]) -> None:
    """Trains one network for each training set; see `DNN.fit_together`.

    Raises:
        AugrunError: nothing can be learnt from a training set.
    """
    for examples in train:
        _check(examples)
    training = Training(settings, train, [job.seed for job in jobs])
    state = stacked_fit.train(training, jobs[0].within(FIT, title=jobs[0].title or "classifier"))
    for number, job in enumerate(jobs):
        shape = {"widths": training.widths, "multilabel": training.multilabel}
        model = {**shape, "state": replica(state, number, "network.layers.")}
        leave(job.folder, model, stacked_fit.history(training, state, number))
    shutil.rmtree(jobs[0].folder / FIT, ignore_errors=True)  # the checkpoints have served


def probabilities(settings: DNNSettings, features: Features, fitted: Path, job: Job) -> np.ndarray:
    """Class probabilities, shape (clips, classes), float32."""
    model = load(fitted)

    def probability(network: Perceptrons, vectors: torch.Tensor) -> torch.Tensor:
        logits = network(vectors).float()
        return logits.sigmoid() if model["multilabel"] else logits.softmax(-1)

    return _through(settings, model, features, job, probability, model["widths"][-1])


def hidden(settings: DNNSettings, features: Features, fitted: Path, job: Job) -> np.ndarray:
    """The last hidden layer after its leaky ReLU, shape (clips, hidden units), float32."""
    model = load(fitted)
    return _through(settings, model, features, job, Perceptrons.hidden, model["widths"][-2])


def _through(
    settings: DNNSettings,
    model: dict[str, Any],
    features: Features,
    job: Job,
    of: Callable[[Perceptrons, torch.Tensor], torch.Tensor],
    width: int,
) -> np.ndarray:
    """What `of` gives of all clips in the trained network, shape (clips, width), float32."""
    network = Perceptrons(model["widths"], Draws([0]), settings.slope)
    network.layers.load_state_dict(model["state"])
    where = device(job.hardware)
    network.to(where).eval()
    rows = torch.from_numpy(features.rows())
    found = np.empty((len(rows), width), dtype=np.float32)
    with torch.inference_mode():
        for at in range(0, len(rows), PREDICTED_AT_ONCE):
            made = of(network, rows[None, at : at + PREDICTED_AT_ONCE].to(where))[0]
            found[at : at + PREDICTED_AT_ONCE] = made.float().cpu().numpy()
    return found


class Training(stacked_fit.Stacked):
    """R networks and their data on the device.

    Args:
        settings: of the networks.
        train: each one's training set.
        seeds: of each.
    """

    vectors: torch.Tensor
    targets: torch.Tensor
    first: torch.Tensor

    def __init__(self, settings: DNNSettings, train: Sequence[Examples], seeds: Sequence[int]) -> None:
        sizes = [len(examples) for examples in train]
        super().__init__(sizes, settings.batch_size, settings.epochs, seeds, ["loss"])
        self.rate, self.multilabel = settings.rate, train[0].multilabel
        self.widths = [train[0].features.bands, *settings.hidden, train[0].targets.shape[1]]
        self.network = Perceptrons(self.widths, Draws(seeds), settings.slope, settings.dropout)
        self.adam = Adam(self.network)
        firsts, places = stacked_fit.distinct(train)
        begins = np.cumsum([0, *(sizes[first] for first in firsts)])[places]
        count = sum(sizes[first] for first in firsts)
        rows = stacked_fit.filled(count, (train[first].features.rows() for first in firsts))
        self.register_buffer("vectors", rows, persistent=False)
        self.register_buffer(
            "targets", stacked_fit.joined([train[first].targets for first in firsts]), persistent=False
        )
        self.register_buffer("first", torch.from_numpy(begins)[:, None], persistent=False)

    def one(
        self, places: torch.Tensor, there: torch.Tensor, draws: Draws, turns: Sequence[int | None]
    ) -> dict[str, torch.Tensor]:
        """One step; see `Stacked.one`."""
        rows = self.first + places
        each = loss(self.network(self.vectors[rows], draws), self.targets[rows], self.multilabel) * there
        self.adam.step((each.sum(1) / there.sum(1)).sum(), [None if turn is None else self.rate for turn in turns])
        return {"loss": each.detach().sum(1)}


def loss(logits: torch.Tensor, targets: torch.Tensor, multilabel: bool) -> torch.Tensor:
    """Cross-entropy in nats, categorical or binary (mean over classes); shape (R, B). Targets may be soft."""
    if multilabel:
        return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1)
    return -(targets * logits.log_softmax(-1)).sum(-1)


def _check(train: Examples) -> None:
    if not len(train):
        raise AugrunError("the training part has no clips. Check the protocol and policy.composition.")
    if not (train.targets.max(0) > train.targets.min(0)).any():
        raise AugrunError(
            f"all {len(train)} training clips carry the same class, so there is nothing to tell apart. "
            "Check dataset.labels and policy.composition."
        )
