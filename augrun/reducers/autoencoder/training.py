"""How the reducer `autoencoder` is trained, several networks as one, and the codes it makes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from augrun.core.errors import AugrunError
from augrun.core.job import Hardware, Job
from augrun.core.training import stacked_fit
from augrun.core.training.device import device
from augrun.core.training.model_files import leave, load
from augrun.core.training.stacked import Adam, Draws, Perceptrons, replica
from augrun.features.cache import Features
from augrun.features.examples import Examples
from augrun.features.mixup import Mixup
from augrun.reducers.autoencoder.settings import AutoencoderSettings

FIT = "fit"  # the folder of the checkpoints

ENCODED_AT_ONCE = 4096


def train_together(settings: AutoencoderSettings, train: Sequence[Examples], jobs: Sequence[Job], mixup: Mixup) -> None:
    """Trains one autoencoder for each train part; see `Autoencoder.fit_together`.

    Raises:
        AugrunError: there is nothing to learn from.
    """
    for part in train:
        if not len(part):
            raise AugrunError("autoencoder has no vectors to learn from: the train part is empty. Check the protocol.")
    vectors = [mixup.of(part, job.seed) for part, job in zip(train, jobs, strict=True)]
    training = Training(settings, vectors, [job.seed for job in jobs])
    state = stacked_fit.train(training, jobs[0].within(FIT, title=jobs[0].title or "autoencoder"))
    for number, job in enumerate(jobs):
        parts = {name: replica(state, number, f"{name}.layers.") for name in ("encoder", "decoder")}
        centre = torch.from_numpy(training.centres[number])
        model = {"widths": training.widths, "centre": centre, **parts}
        leave(job.folder, model, stacked_fit.history(training, state, number))
    shutil.rmtree(jobs[0].folder / FIT, ignore_errors=True)  # the checkpoints have served


def codes_of(features: Features, fitted: Path, job: Job) -> Features:
    """The code of each vector; see `Reducer.transform`."""
    model = load(fitted)
    rows = features.rows() - model["centre"].numpy()
    codes = encode(rows, model["widths"], model["encoder"], 0.0, job.hardware)
    return Features.from_rows(codes, np.ones(len(codes), dtype=np.int64))


class Training(stacked_fit.Stacked):
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

    def __init__(self, settings: AutoencoderSettings, train: Sequence[Examples], seeds: Sequence[int]) -> None:
        sizes = [len(part) for part in train]
        super().__init__(sizes, settings.batch_size, settings.epochs, seeds, ["reconstruction"])
        self.rate = settings.rate
        self.widths = [train[0].features.bands, *settings.hidden, settings.dimensions]
        draws = Draws(seeds)
        self.encoder = Perceptrons(self.widths, draws, slope=0.0)
        self.decoder = Perceptrons(self.widths[::-1], draws, slope=0.0)
        self.adam = Adam(torch.nn.ModuleList([self.encoder, self.decoder]))
        self.both = self.adam.module  # whose moments are kept with all else
        firsts, places = stacked_fit.distinct(train)
        begins = np.cumsum([0, *(sizes[first] for first in firsts)])[places]
        rows = [train[first].features.rows() for first in firsts]
        centres = [part.mean(axis=0) for part in rows]
        self.centres = [centres[place] for place in places]
        rows = [part - centre for part, centre in zip(rows, centres, strict=True)]
        self.register_buffer("vectors", stacked_fit.joined(rows), persistent=False)
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
