"""The steps of `augrun.generators.mixup_gan`, for several of them at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from augrun.core.errors import AugrunError
from augrun.core.files import atomic_path
from augrun.core.job import Job
from augrun.core.training import stacked_fit
from augrun.core.training.stacked import Adam, Draws, Perceptrons, replica
from augrun.features.examples import Examples
from augrun.features.mixup import mixtures
from augrun.features.span import Span

MODEL, HISTORY = "model.pt", "history.json"
FIT = "fit"  # the folder of the checkpoints
PRETRAINED = ("epoch", "train/reconstruction")  # what there is to say of a pass of pretraining


class Settings(Protocol):
    """What the training wants to know; `augrun.generators.mixup_gan.MixupGAN` says what each is."""

    @property
    def hidden(self) -> Sequence[int]: ...
    @property
    def code(self) -> int: ...
    @property
    def critic(self) -> Sequence[int]: ...
    @property
    def slope(self) -> float: ...
    @property
    def dropout(self) -> float: ...
    @property
    def ratio(self) -> float: ...
    @property
    def alpha(self) -> float: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def pretraining(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def autoencoder_rate(self) -> float: ...
    @property
    def rate(self) -> float: ...


def train(settings: Settings, parts: Sequence[Examples], jobs: Sequence[Job]) -> None:
    """Trains one GAN for each train part, all at once; leaves `model.pt` and `history.json` in each job's folder.

    Raises:
        AugrunError: there is nothing to learn from.
    """
    for part in parts:
        if len(part) < 2:
            raise AugrunError(f"mixup_gan learns from two clips at least, and the train part has {len(part)}")
    training = Training(settings, parts, [job.seed for job in jobs])
    state = stacked_fit.train(training, jobs[0].within(FIT, title=jobs[0].title or "mixup_gan"))
    for number, job in enumerate(jobs):
        curves = [
            entry if entry["epoch"] > settings.pretraining else {key: entry[key] for key in PRETRAINED}
            for entry in stacked_fit.history(training, state, number)
        ]
        (job.folder / HISTORY).write_text(json.dumps(curves, indent=1))
        networks = {name: replica(state, number, f"{name}.layers.") for name in ("encoder", "generator")}
        span = {edge: torch.from_numpy(getattr(training.spans[number], edge)) for edge in ("low", "high")}
        with atomic_path(job.folder / MODEL) as fresh, open(fresh, "wb") as file:
            torch.save({"widths": training.widths, **networks, **span}, file)
    shutil.rmtree(jobs[0].folder / FIT, ignore_errors=True)  # the checkpoints have served


class Training(stacked_fit.Stacked):
    """R encoders, generators and discriminators, and their vectors on the device, each part min–max normalised.

    Args:
        settings: of the networks.
        train: each one's train part.
        seeds: of each.
    """

    vectors: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    share: torch.Tensor

    def __init__(self, settings: Settings, train: Sequence[Examples], seeds: Sequence[int]) -> None:
        mixed = [round(settings.ratio * len(part)) for part in train]
        sizes = [len(part) + more for part, more in zip(train, mixed, strict=True)]
        epochs = settings.pretraining + settings.epochs
        super().__init__(sizes, settings.batch_size, epochs, seeds, ["reconstruction", "generator", "discriminator"])
        self.settings = settings
        firsts, places = stacked_fit.distinct(train)
        spans = [Span.of(train[first].features) for first in firsts]
        self.spans = [spans[place] for place in places]
        self.widths = [train[0].features.bands, *settings.hidden, settings.code]
        draws = Draws(seeds)
        self.encoder = Perceptrons(self.widths, draws, settings.slope, settings.dropout)
        self.generator = Perceptrons(self.widths[::-1], draws, settings.slope, settings.dropout)
        self.discriminator = Perceptrons([self.widths[0], *settings.critic, 1], draws, settings.slope)
        self.adams = {
            "autoencoder": Adam(nn.ModuleList([self.encoder, self.generator]), "autoencoder"),
            "generator": Adam(self.generator, "adversarial"),
            "discriminator": Adam(self.discriminator, "adversarial"),
        }
        self.both = self.adams["autoencoder"].module  # whose moments are kept with all else
        rows = [span.apply(train[first].features.rows()) for span, first in zip(spans, firsts, strict=True)]
        self.register_buffer("vectors", stacked_fit.joined(rows), persistent=False)
        begins = np.cumsum([0, *(len(part) for part in rows)])[places]
        pairs = [
            mixtures(len(part), more, settings.alpha, seed)
            for part, more, seed in zip(train, mixed, seeds, strict=True)
        ]
        for place, name in enumerate(("left", "right", "share")):
            table = np.zeros((len(train), max(sizes)), np.float32 if name == "share" else np.int64)
            for number, (pair, begin) in enumerate(zip(pairs, begins, strict=True)):
                table[number, : sizes[number]] = pair[place] + (0 if name == "share" else begin)
            self.register_buffer(name, torch.from_numpy(table), persistent=False)

    def one(
        self, places: torch.Tensor, there: torch.Tensor, draws: Draws, turns: Sequence[int | None]
    ) -> dict[str, torch.Tensor]:
        """One step; see `Stacked.one`."""
        share = self.share.gather(1, places)
        first, second = (self.vectors[table.gather(1, places)] for table in (self.left, self.right))
        inputs = torch.lerp(second, first, share[:, :, None])  # equation 1
        sums = {"reconstruction": self._reconstruct(inputs, there, draws, turns)}
        beyond = [None if turn is None or turn < self.settings.pretraining else turn for turn in turns]
        if any(turn is not None for turn in beyond):
            rates = [None if turn is None else self.settings.rate for turn in beyond]
            with draws.of([rate is not None for rate in rates]):
                sums |= self._compete(inputs, there, there * (share == 1), draws, rates)
        return sums

    def _reconstruct(
        self, inputs: torch.Tensor, there: torch.Tensor, draws: Draws, turns: Sequence[int | None]
    ) -> torch.Tensor:
        """Encoder and generator as an autoencoder: equation 3, over the number of functionals."""
        made = self.generator(self.encoder(inputs, draws), draws)
        each = (made - inputs).square().mean(2) * there
        rates = [None if turn is None else self.settings.autoencoder_rate for turn in turns]
        self.adams["autoencoder"].step(mean(each, there), rates)
        return each.detach().sum(1)

    def _compete(
        self,
        inputs: torch.Tensor,
        there: torch.Tensor,
        unmixed: torch.Tensor,
        draws: Draws,
        rates: Sequence[float | None],
    ) -> dict[str, torch.Tensor]:
        """The generator on all inputs, then the discriminator on those that are not mixed (equation 4)."""
        with torch.no_grad():
            codes = self.encoder(inputs, draws)
        made = self.generator(codes, draws)
        fooling = functional.softplus(-self.discriminator(made)[:, :, 0]) * there  # -log D(G(E(x)))
        self.adams["generator"].step(mean(fooling, there), rates)
        with torch.no_grad():
            made = self.generator(codes, draws)
        real = functional.softplus(-self.discriminator(inputs)[:, :, 0])
        fake = functional.softplus(self.discriminator(made)[:, :, 0])
        telling = (real + fake) * unmixed
        self.adams["discriminator"].step(mean(telling, unmixed), rates)
        # The curve is a mean over all examples; the unmixed ones of a pass are so many of them.
        scale = (self.settings.ratio + 1.0) / 2.0
        at_it = torch.tensor([0.0 if rate is None else 1.0 for rate in rates], device=self.device)
        sums = {"generator": fooling.detach().sum(1), "discriminator": telling.detach().sum(1) * scale}
        return {curve: values * at_it for curve, values in sums.items()}


def mean(each: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """The sum over the replicas of each one's mean over the examples that are there."""
    return (each.sum(1) / there.sum(1).clamp(min=1)).sum()
