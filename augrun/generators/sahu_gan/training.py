"""The training steps of the GANs of `augrun.generators.sahu_gan`, for several of them at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from augrun.core.training import stacked_fit
from augrun.core.training.stacked import Adam, Draws, Perceptrons
from augrun.features.examples import Examples
from augrun.features.span import Span
from augrun.generators.sahu_gan.settings import RADIUS, PlaneGANSettings, Prior

BEFORE, AFTER = ("reconstruction", "encoder", "code"), ("generator", "discriminator")  # curves of the two phases


class Training(stacked_fit.Stacked):
    """R generators, discriminators, encoders and discriminators of codes, and the vectors on the device.

    Each part is min–max normalised and its mean taken off, and the networks see points of the prior in units of its
    radius: with inputs of one sign Adam's steps add up over 1,582 of them, and the codes jump about.

    Args:
        settings: of the networks.
        train: each one's train part.
        seeds: of each.
    """

    vectors: torch.Tensor
    labels: torch.Tensor
    first: torch.Tensor
    means: torch.Tensor
    factors: torch.Tensor

    def __init__(self, settings: PlaneGANSettings, train: Sequence[Examples], seeds: Sequence[int]) -> None:
        sizes, epochs = [len(part) for part in train], settings.pretraining + settings.epochs
        super().__init__(sizes, settings.batch_size, epochs, seeds, [*(BEFORE if settings.pretraining else ()), *AFTER])
        self.settings, self.classes = settings, train[0].targets.shape[1]
        self.told = self.classes if settings.conditional else 0
        bands, draws = train[0].features.bands, Draws(seeds)
        self.widths = [2 + self.told, *settings.hidden[::-1], bands]
        self.generator = Perceptrons(self.widths, draws, settings.slope)
        critic = [bands + self.told, *settings.critic, 1]
        self.discriminator = Perceptrons(critic, draws, settings.slope, settings.critic_dropout)
        self.adams = {
            "generator": Adam(self.generator, "adversarial", settings.beta1),
            "discriminator": Adam(self.discriminator, "adversarial", settings.beta1),
        }
        if settings.pretraining:
            self.encoder = Perceptrons([bands, *settings.hidden, 2], draws, settings.slope)
            self.code_critic = Perceptrons([2 + self.classes, *settings.code_critic, 1], draws, settings.slope)
            self.both = nn.ModuleList([self.encoder, self.generator])
            self.adams |= {
                "autoencoder": Adam(self.both, "autoencoder"),
                "encoder": Adam(self.encoder, "fooling", settings.beta1),
                "code_critic": Adam(self.code_critic, "telling", settings.beta1),
            }
        self._keep(train)

    def _keep(self, train: Sequence[Examples]) -> None:
        """Data on the device, what several replicas share once, and the prior."""
        firsts, places = stacked_fit.distinct(train)
        spans = [Span.of(train[first].features) for first in firsts]
        self.spans = [spans[place] for place in places]
        rows = [span.apply(train[first].features.rows()) for span, first in zip(spans, firsts, strict=True)]
        centres = [part.mean(axis=0) for part in rows]
        rows = [part - centre for part, centre in zip(rows, centres, strict=True)]
        self.centres = [centres[place] for place in places]
        labels = np.concatenate([train[first].targets.argmax(axis=1) for first in firsts])
        begins = np.cumsum([0, *(len(part) for part in rows)])[places]
        prior = Prior.of(self.classes)
        self.register_buffer("vectors", stacked_fit.joined(rows), persistent=False)
        self.register_buffer("labels", torch.from_numpy(labels), persistent=False)
        self.register_buffer("first", torch.from_numpy(begins)[:, None], persistent=False)
        for name in ("means", "factors"):
            values = torch.from_numpy(getattr(prior, name) / RADIUS).float()
            self.register_buffer(name, values, persistent=False)

    def one(
        self, places: torch.Tensor, there: torch.Tensor, draws: Draws, turns: Sequence[int | None]
    ) -> dict[str, torch.Tensor]:
        """One step; see `Stacked.one`."""
        vectors, labels = self.vectors[self.first + places], self.labels[self.first + places]
        before = [turn is not None and turn < self.settings.pretraining for turn in turns]
        after = [turn is not None and turn >= self.settings.pretraining for turn in turns]
        sums: dict[str, torch.Tensor] = {}
        for going, phase in ((before, self._pretrain), (after, self._compete)):
            if any(going):
                with draws.of(going):
                    made = phase(vectors, labels, there, draws, going)
                at_it = torch.tensor(going, device=self.device)
                sums |= {curve: torch.where(at_it, each.sum(1), 0.0) for curve, each in made.items()}
        return sums

    def _pretrain(
        self,
        vectors: torch.Tensor,
        labels: torch.Tensor,
        there: torch.Tensor,
        draws: Draws,
        going: Sequence[bool],
    ) -> dict[str, torch.Tensor]:
        """Reconstruction, then the discriminator of codes, then the encoder against it."""
        rates = [self.settings.pretraining_rate if one else None for one in going]
        made = self.generator(given(self.encoder(vectors), labels, self.told))
        off = (made - vectors).square().mean(2) * there
        self.adams["autoencoder"].step(mean(off, there), rates)
        with torch.no_grad():
            codes = self.encoder(vectors)
        drawn = self.draw(labels, draws)
        telling = functional.softplus(-self._tell(drawn, labels)) + functional.softplus(self._tell(codes, labels))
        telling = telling * there
        self.adams["code_critic"].step(mean(telling, there), rates)
        fooling = functional.softplus(-self._tell(self.encoder(vectors), labels)) * there
        self.adams["encoder"].step(mean(fooling, there), rates)
        return {"reconstruction": off.detach(), "encoder": fooling.detach(), "code": telling.detach()}

    def _compete(
        self,
        vectors: torch.Tensor,
        labels: torch.Tensor,
        there: torch.Tensor,
        draws: Draws,
        going: Sequence[bool],
    ) -> dict[str, torch.Tensor]:
        """The generator some times, then the discriminator; each time on new points of the batch's classes."""
        rates, critic = (
            [rate if one else None for one in going] for rate in (self.settings.rate, self.settings.critic_rate)
        )
        for _ in range(self.settings.generator_steps):
            made = self.generator(given(self.draw(labels, draws), labels, self.told))
            fooling = functional.softplus(-self._judge(made, labels, draws)) * there  # -log D(G(z))
            self.adams["generator"].step(mean(fooling, there), rates)
        with torch.no_grad():
            made = self.generator(given(self.draw(labels, draws), labels, self.told))
        real = functional.softplus(-self._judge(vectors, labels, draws))
        fake = functional.softplus(self._judge(made, labels, draws))
        telling = (real + fake) * there
        self.adams["discriminator"].step(mean(telling, there), critic)
        return {"generator": fooling.detach(), "discriminator": telling.detach()}

    def draw(self, labels: torch.Tensor, draws: Draws) -> torch.Tensor:
        """A point of each label's component, in units of the radius; (R, B) to (R, B, 2)."""
        noise = draws.normal(labels.shape[1], 2)[:, :, :, None]
        return self.means[labels] + (self.factors[labels] @ noise)[:, :, :, 0]

    def _judge(self, vectors: torch.Tensor, labels: torch.Tensor, draws: Draws) -> torch.Tensor:
        return self.discriminator(given(vectors, labels, self.told), draws)[:, :, 0]

    def _tell(self, codes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.code_critic(given(codes, labels, self.classes))[:, :, 0]


def given(vectors: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Vectors (R, B, bands) and beside them their labels (R, B) one-hot: (R, B, bands + classes); 0 adds nothing."""
    if not classes:
        return vectors
    return torch.cat([vectors, functional.one_hot(labels, classes).to(vectors.dtype)], dim=2)


def mean(each: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """The sum over the replicas of each one's mean over the examples that are there."""
    return (each.sum(1) / there.sum(1).clamp(min=1)).sum()
