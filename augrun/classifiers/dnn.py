"""A multilayer perceptron on vectors, as Bao et al. 2019, section 4.3, and Latif et al. 2020, section 5.1.1, have it.

Several of them, of folds and repeats, are trained as one (`augrun.stacked`). There is no early stopping: neither paper
has a validation part for it within a corpus, and the last epoch counts.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from augrun import stacked_training
from augrun.classifiers.base import Classifier, Examples
from augrun.devices import device
from augrun.errors import AugrunError
from augrun.features.cache import Features
from augrun.job import Job
from augrun.stacked import Adam, Draws, Perceptrons, replica

MODEL, HISTORY = "model.pt", "history.json"
FIT = "fit"  # the folder of the checkpoints

PREDICTED_AT_ONCE = 4096


@dataclass(frozen=True)
class DNN(Classifier):
    """Vectors → hidden layers with leaky ReLU and dropout → one logit a class.

    Attributes:
        hidden: units of each hidden layer.
        slope: of the leaky ReLU for negative values.
        dropout: chance of a hidden unit to be left out in training.
        batch_size: examples of a batch.
        epochs: passes over the training set.
        rate: learning rate of Adam.
    """

    hidden: Sequence[Annotated[int, "[1, inf)"]] = field(default_factory=lambda: [100, 100])
    slope: Annotated[float, "[0, 1)"] = 0.2
    dropout: Annotated[float, "[0, 1)"] = 0.2
    batch_size: Annotated[int, "[1, inf)"] = 64
    epochs: Annotated[int, "[1, inf)"] = 70
    rate: Annotated[float, "(0, inf)"] = 1e-5

    domain: ClassVar[str] = "functionals"
    together: ClassVar[bool] = True
    embeds: ClassVar[bool] = True
    version: ClassVar[int] = 1

    def fit(self, train: Examples, validation: Examples, job: Job) -> None:
        """Trains; leaves `model.pt` and `history.json`. The validation part is not looked at."""
        if not (job.folder / MODEL).exists():
            self.fit_together([train], [job])

    def fit_together(self, train: Sequence[Examples], jobs: Sequence[Job]) -> None:
        """Trains one network for each training set, all at once; leaves in each job's folder what `fit` leaves.

        Each becomes what training it alone with its job's seed gives, up to rounding. Checkpoints lie in the first
        job's folder, and a killed call is continued by the next one with the same arguments.

        Args:
            train: the training sets; one that serves for several networks is kept once.
            jobs: of each.
        """
        for examples in train:
            _check(examples)
        training = Training(self, train, [job.seed for job in jobs])
        state = stacked_training.train(training, jobs[0].within(FIT, title=jobs[0].title or "classifier"))
        for number, job in enumerate(jobs):
            curves = stacked_training.history(training, state, number)
            (job.folder / HISTORY).write_text(json.dumps(curves, indent=1))
            fresh = job.folder / f".{MODEL}.new"
            shape = {"widths": training.widths, "multilabel": training.multilabel}
            torch.save({**shape, "state": replica(state, number, "network.layers.")}, fresh)
            os.replace(fresh, job.folder / MODEL)
        shutil.rmtree(jobs[0].folder / FIT, ignore_errors=True)  # the checkpoints have served

    def predict(self, features: Features, fitted: Path, job: Job) -> np.ndarray:
        """Class probabilities, shape (clips, classes), float32."""
        model = _load(fitted)

        def probabilities(network: Perceptrons, vectors: torch.Tensor) -> torch.Tensor:
            logits = network(vectors).float()
            return logits.sigmoid() if model["multilabel"] else logits.softmax(-1)

        return self._through(model, features, job, probabilities, model["widths"][-1])

    def embed(self, features: Features, fitted: Path, job: Job) -> np.ndarray:
        """The last hidden layer after its leaky ReLU, shape (clips, hidden units), float32."""
        model = _load(fitted)
        return self._through(model, features, job, Perceptrons.hidden, model["widths"][-2])

    def _through(
        self,
        model: dict[str, Any],
        features: Features,
        job: Job,
        of: Callable[[Perceptrons, torch.Tensor], torch.Tensor],
        width: int,
    ) -> np.ndarray:
        """What `of` gives of all clips in the trained network, shape (clips, width), float32."""
        network = Perceptrons(model["widths"], Draws([0]), self.slope)
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


class Training(stacked_training.Stacked):
    """R networks and their data on the device.

    Args:
        settings: of the networks.
        train: each one's training set.
        seeds: of each.
    """

    vectors: torch.Tensor
    targets: torch.Tensor
    first: torch.Tensor

    def __init__(self, settings: DNN, train: Sequence[Examples], seeds: Sequence[int]) -> None:
        sizes = [len(examples) for examples in train]
        super().__init__(sizes, settings.batch_size, settings.epochs, seeds, ["loss"])
        self.rate, self.multilabel = settings.rate, train[0].multilabel
        self.widths = [train[0].features.bands, *settings.hidden, train[0].targets.shape[1]]
        self.network = Perceptrons(self.widths, Draws(seeds), settings.slope, settings.dropout)
        self.adam = Adam(self.network)
        firsts, places = stacked_training.distinct(train)
        begins = np.cumsum([0, *(sizes[first] for first in firsts)])[places]
        count = sum(sizes[first] for first in firsts)
        rows = stacked_training.filled(count, (train[first].features.rows() for first in firsts))
        self.register_buffer("vectors", rows, persistent=False)
        self.register_buffer(
            "targets", stacked_training.joined([train[first].targets for first in firsts]), persistent=False
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


def _load(fitted: Path) -> dict[str, Any]:
    return dict(torch.load(fitted / MODEL, map_location="cpu", weights_only=True))


def _check(train: Examples) -> None:
    if not len(train):
        raise AugrunError("the training part has no clips. Check the protocol and policy.composition.")
    if not (train.targets.max(0) > train.targets.min(0)).any():
        raise AugrunError(
            f"all {len(train)} training clips carry the same class, so there is nothing to tell apart. "
            "Check dataset.labels and policy.composition."
        )
