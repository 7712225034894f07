"""The code of an autoencoder (Hinton and Zemel 1993), one of the reducers in Table 2 of Latif et al. 2020.

Section 5.1.2: "The standard autoencoder applied in this experiment is trained with 3 fully connected encoder layers, 3
decoder layers and 1 hidden layer. ReLU activation is chosen in these layers." The hidden layer is the code; here it and
the reconstruction are linear, or neither could be negative, which scaled vectors are.

Several of them, of folds and repeats, are trained as one (`augrun.stacked`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch

from augrun import stacked_training
from augrun.classifiers.base import Examples
from augrun.devices import device
from augrun.errors import AugrunError
from augrun.features.cache import Features
from augrun.features.mixup import Mixup
from augrun.job import Hardware, Job
from augrun.reducers.base import Reducer
from augrun.stacked import Adam, Draws, Perceptrons, replica

MODEL, HISTORY = "model.pt", "history.json"
FIT = "fit"  # the folder of the checkpoints

ENCODED_AT_ONCE = 4096


@dataclass(frozen=True)
class Autoencoder(Reducer):
    """Vectors → hidden layers with ReLU → code → the same layers the other way round → vectors.

    Attributes:
        dimensions: of the code.
        hidden: units of the encoder's hidden layers.
        batch_size: vectors of a batch, mixed and unmixed as they come.
        epochs: passes over them; the last one counts.
        rate: learning rate of Adam.
    """

    together: ClassVar[bool] = True
    version: ClassVar[int] = 1

    dimensions: Annotated[int, "[1, inf)"] = 25
    hidden: Sequence[Annotated[int, "[1, inf)"]] = field(default_factory=lambda: [1000, 500, 250])
    batch_size: Annotated[int, "[1, inf)"] = 64
    epochs: Annotated[int, "[1, inf)"] = 100
    rate: Annotated[float, "(0, inf)"] = 2e-4

    def fit(self, train: Examples, job: Job, mixup: Mixup) -> None:
        """Trains; leaves `model.pt` and `history.json`.

        Raises:
            AugrunError: there is nothing to learn from.
        """
        if not (job.folder / MODEL).exists():
            self.fit_together([train], [job], mixup)

    def fit_together(self, train: Sequence[Examples], jobs: Sequence[Job], mixup: Mixup) -> None:
        """Trains one for each train part, all at once; see `augrun.classifiers.dnn.DNN.fit_together`."""
        for part in train:
            if not len(part):
                raise AugrunError(
                    "autoencoder has no vectors to learn from: the train part is empty. Check the protocol."
                )
        vectors = [mixup.of(part, job.seed) for part, job in zip(train, jobs, strict=True)]
        training = Training(self, vectors, [job.seed for job in jobs])
        state = stacked_training.train(training, jobs[0].within(FIT, title=jobs[0].title or "autoencoder"))
        for number, job in enumerate(jobs):
            curves = stacked_training.history(training, state, number)
            (job.folder / HISTORY).write_text(json.dumps(curves, indent=1))
            parts = {name: replica(state, number, f"{name}.layers.") for name in ("encoder", "decoder")}
            fresh = job.folder / f".{MODEL}.new"
            centre = torch.from_numpy(training.centres[number])
            torch.save({"widths": training.widths, "centre": centre, **parts}, fresh)
            os.replace(fresh, job.folder / MODEL)
        shutil.rmtree(jobs[0].folder / FIT, ignore_errors=True)  # the checkpoints have served

    def transform(self, features: Features, fitted: Path, job: Job) -> Features:
        """See `Reducer.transform`."""
        model = torch.load(fitted / MODEL, map_location="cpu", weights_only=True)
        rows = features.rows() - model["centre"].numpy()
        codes = encode(rows, model["widths"], model["encoder"], 0.0, job.hardware)
        return Features.from_rows(codes, np.ones(len(codes), dtype=np.int64))


class Training(stacked_training.Stacked):
    """R autoencoders and their vectors on the device, the mean of each one's taken off.

    Vectors may be on any scale: with inputs of one sign, as min–max normalisation leaves them, all weights of a unit
    would be pulled one way at first.

    Args:
        settings: of the networks.
        train: each one's vectors, with their mixtures.
        seeds: of each.
    """

    vectors: torch.Tensor
    first: torch.Tensor

    def __init__(self, settings: Autoencoder, train: Sequence[Examples], seeds: Sequence[int]) -> None:
        sizes = [len(part) for part in train]
        super().__init__(sizes, settings.batch_size, settings.epochs, seeds, ["reconstruction"])
        self.rate = settings.rate
        self.widths = [train[0].features.bands, *settings.hidden, settings.dimensions]
        draws = Draws(seeds)
        self.encoder = Perceptrons(self.widths, draws, slope=0.0)
        self.decoder = Perceptrons(self.widths[::-1], draws, slope=0.0)
        self.adam = Adam(torch.nn.ModuleList([self.encoder, self.decoder]))
        self.both = self.adam.module  # whose moments are kept with all else
        firsts, places = stacked_training.distinct(train)
        begins = np.cumsum([0, *(sizes[first] for first in firsts)])[places]
        rows = [train[first].features.rows() for first in firsts]
        centres = [part.mean(axis=0) for part in rows]
        self.centres = [centres[place] for place in places]
        rows = [part - centre for part, centre in zip(rows, centres, strict=True)]
        self.register_buffer("vectors", stacked_training.joined(rows), persistent=False)
        self.register_buffer("first", torch.from_numpy(begins)[:, None], persistent=False)

    def one(
        self, places: torch.Tensor, there: torch.Tensor, draws: Draws, turns: Sequence[int | None]
    ) -> dict[str, torch.Tensor]:
        """One step; see `Stacked.one`."""
        inputs = self.vectors[self.first + places]
        each = (self.decoder(self.encoder(inputs)) - inputs).square().mean(2) * there
        self.adam.step((each.sum(1) / there.sum(1)).sum(), [None if turn is None else self.rate for turn in turns])
        return {"reconstruction": each.detach().sum(1)}


def encode(
    rows: np.ndarray, widths: Sequence[int], weights: dict[str, torch.Tensor], slope: float, hardware: Hardware
) -> np.ndarray:
    """What an encoder makes of vectors in use, without dropout.

    Args:
        rows: shape (vectors, bands), float32.
        widths: bands, hidden units, dimensions.
        weights: of its layers, R = 1.
        slope: of the leaky ReLU for negative values.
        hardware: where to compute.

    Returns:
        Codes, float32, shape (vectors, dimensions).
    """
    encoder = Perceptrons(widths, Draws([0]), slope)
    encoder.layers.load_state_dict(weights)
    where = device(hardware)
    encoder.to(where).eval()
    vectors = torch.from_numpy(rows)
    codes = np.empty((len(rows), widths[-1]), dtype=np.float32)
    with torch.inference_mode():
        for at in range(0, len(rows), ENCODED_AT_ONCE):
            made = encoder(vectors[None, at : at + ENCODED_AT_ONCE].to(where))[0]
            codes[at : at + ENCODED_AT_ONCE] = made.float().cpu().numpy()
    return codes
