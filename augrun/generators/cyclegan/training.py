"""The steps of `augrun.generators.cyclegan`, for several of them at once, each with a CycleGAN for every class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from augrun.core.seeding import derive_seed
from augrun.core.training import stacked_fit
from augrun.core.training.stacked import Adam, Batches, Draws, Perceptrons
from augrun.features.examples import Examples
from augrun.features.span import Span
from augrun.generators.cyclegan.settings import CycleGANSettings

CURVES = ("cycle", "generator", "discriminator", "classifier")


class Training(stacked_fit.Stacked):
    """R times C CycleGANs, R classifiers, and the vectors on the device.

    G and F are called `forth` and `back`. All are stacked replica by replica, class by class: (R · C, B, bands).

    Args:
        settings: of the networks.
        train: each replica's train part.
        source: the unlabelled vectors, of all replicas.
        seeds: of each replica.
    """

    targets: torch.Tensor
    sources: torch.Tensor
    first: torch.Tensor

    def __init__(
        self, settings: CycleGANSettings, train: Sequence[Examples], source: Examples, seeds: Sequence[int]
    ) -> None:
        self.classes = train[0].targets.shape[1]
        labels = [part.targets.argmax(axis=1) for part in train]
        counts = [np.bincount(of, minlength=self.classes) for of in labels]
        # "An epoch is the smallest class's batches."
        smallest = [int(of.min()) for of in counts]
        epochs = settings.pretraining + settings.epochs
        curves = [curve for curve in CURVES if curve != "classifier" or settings.classification]
        super().__init__(smallest, settings.batch_size, epochs, seeds, curves)
        self.settings = settings
        own = [derive_seed(seed, "class", label) for seed in seeds for label in range(self.classes)]
        self.target_batches = Batches([int(n) for of in counts for n in of], settings.batch_size, own)
        self.source_batches = Batches(
            [len(source)] * len(own), settings.batch_size, [derive_seed(seed, "source") for seed in own]
        )
        bands = source.features.bands
        self.widths = [bands, *settings.hidden, bands]
        self.own, self.inner = own, Draws(own)
        draws, together = Draws(own), Draws(seeds)
        self.forth = Perceptrons(self.widths, draws, settings.slope, settings.dropout)
        self.back = Perceptrons(self.widths, draws, settings.slope, settings.dropout)
        critic = [bands, *settings.critic, 1]
        self.of_target = Perceptrons(critic, draws, settings.slope, settings.critic_dropout)
        self.of_source = Perceptrons(critic, draws, settings.slope, settings.critic_dropout)
        widths = [bands, *settings.classifier, self.classes]
        self.classifier = Perceptrons(widths, together, settings.slope, settings.classifier_dropout)
        self.generators = nn.ModuleList([self.forth, self.back])
        self.critics = nn.ModuleList([self.of_target, self.of_source])
        self.adams = {
            "pretraining": Adam(self.generators, "pretraining"),
            "generators": Adam(self.generators, "adversarial"),
            "critics": Adam(self.critics, "adversarial"),
            "classifier": Adam(self.classifier, "adversarial"),
        }
        self._keep(train, labels, counts, source)

    def _keep(
        self, train: Sequence[Examples], labels: Sequence[np.ndarray], counts: Sequence[np.ndarray], source: Examples
    ) -> None:
        """Data on the device: the target's classes one after the other, scaled by the train part, and the source."""
        firsts, places = stacked_fit.distinct(train)
        spans = [Span.of(train[first].features) for first in firsts]
        self.spans, self.source_span = [spans[place] for place in places], Span.of(source.features)
        rows = [
            span.apply(train[first].features.rows()[np.argsort(labels[first], kind="stable")])
            for span, first in zip(spans, firsts, strict=True)
        ]
        begins = np.cumsum([0, *(len(part) for part in rows)])[places]
        first = np.concatenate([begin + np.cumsum(of) - of for begin, of in zip(begins, counts, strict=True)])
        self.register_buffer("targets", stacked_fit.joined(rows), persistent=False)
        self.register_buffer("first", torch.from_numpy(first)[:, None], persistent=False)
        own = torch.from_numpy(self.source_span.apply(source.features.rows()))
        self.register_buffer("sources", own, persistent=False)

    def begin(self, first: int, count: int) -> None:
        """The batches of a piece, and its random numbers."""
        if self.inner.device != self.device:
            self.inner = Draws(self.own, self.device)
        self.inner.begin("steps", first)
        self.piece = [
            tuple(part.to(self.device) for part in batches.draw(first, count))
            for batches in (self.target_batches, self.source_batches)
        ]
        self.at = 0

    def one(
        self, places: torch.Tensor, there: torch.Tensor, draws: Draws, turns: Sequence[int | None]
    ) -> dict[str, torch.Tensor]:
        """One iteration; see `Stacked.one`. What is drawn of the smallest class's places is not used: see `begin`."""
        (rows, kept), (other, kept_other) = ([part[self.at] for part in pair] for pair in self.piece)
        self.at += 1
        target, source = (self.targets[self.first + rows], kept), (self.sources[other], kept_other)
        before = [turn is not None and turn < self.settings.pretraining for turn in turns]
        after = [turn is not None and turn >= self.settings.pretraining for turn in turns]
        cycle = self._each(kept) * 0.0
        sums = {}
        if any(before):
            with self.inner.of(self._every(before)):
                cycle = self._pretrain(target, source, before)
        if any(after):
            rates = [self._rate(turn) if going else None for turn, going in zip(turns, after, strict=True)]
            with self.inner.of(self._every(after)), draws.of(after):
                sums = self._compete(target, source, rates, draws)
            going = torch.tensor(after, device=self.device)
            sums = {curve: torch.where(going, values, 0.0) for curve, values in sums.items()}
            cycle = torch.where(going, sums["cycle"], cycle)
        # Curves are means over the examples of a pass: a batch's mean counts as often as it has examples.
        size = there.sum(1)
        return {curve: values * size for curve, values in {**sums, "cycle": cycle}.items()}

    def _pretrain(
        self,
        target: tuple[torch.Tensor, torch.Tensor],
        source: tuple[torch.Tensor, torch.Tensor],
        going: Sequence[bool],
    ) -> torch.Tensor:
        """G and F for the cycle consistency loss alone, with dropout."""
        each = self._turn(target, source, self.inner)[2]
        self.adams["pretraining"].step(each.sum(), [self.settings.rate if one else None for one in self._every(going)])
        return self._each(each.detach()[:, None])

    def _compete(
        self,
        target: tuple[torch.Tensor, torch.Tensor],
        source: tuple[torch.Tensor, torch.Tensor],
        rates: Sequence[float | None],
        draws: Draws,
    ) -> dict[str, torch.Tensor]:
        """The generators some times, then the discriminators and the classifier, on one pair of batches."""
        every = self._every(rates)
        for _ in range(self.settings.generator_steps):
            forth, back, cycle = self._turn(target, source, None)
            fooling = self._say(self.of_target, (forth, source[1], self.settings.real))
            fooling = fooling + self._say(self.of_source, (back, target[1], self.settings.real))
            loss = fooling + self.settings.cycle * cycle
            if self.settings.classification:
                told = self._tell(forth, source[1], draws)
                loss = loss + self.settings.classification * told
            self.adams["generators"].step(loss.sum(), every)
        with torch.no_grad():
            forth, back = self.forth(source[0]), self.back(target[0])
        telling = self._say(self.of_target, (*target, self.settings.real), (forth, source[1], 0.0))
        telling = telling + self._say(self.of_source, (*source, self.settings.real), (back, target[1], 0.0))
        self.adams["critics"].step(telling.sum(), every)
        sums = {"cycle": cycle, "generator": fooling, "discriminator": telling}
        if self.settings.classification:
            told = self._tell(forth, source[1], draws)
            self.adams["classifier"].step(told.view(-1, self.classes).mean(1).sum(), rates)
            sums["classifier"] = told
        return {curve: self._each(values.detach()[:, None]) for curve, values in sums.items()}

    def _turn(
        self,
        target: tuple[torch.Tensor, torch.Tensor],
        source: tuple[torch.Tensor, torch.Tensor],
        draws: Draws | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """G of the source, F of the target, and the cycle consistency loss (equation 3), (R · C,).

        G takes both of its batches at once: these networks are mostly weights, which are read less often so.
        """
        back = self.back(target[0], draws)
        forth, there_again = self.forth(torch.cat([source[0], back], 1), draws).chunk(2, 1)
        return forth, back, _cycle(self.back(forth, draws), source) + _cycle(there_again, target)

    def _say(self, critic: Perceptrons, *batches: tuple[torch.Tensor, torch.Tensor, float]) -> torch.Tensor:
        """Cross-entropy between what a discriminator says and should, in nats; means of each batch, added up, (R · C,).

        Args:
            critic: the discriminators.
            batches: vectors, which of them are there, and what is to be said of them.
        """
        vectors = batches[0][0] if len(batches) == 1 else torch.cat([batch[0] for batch in batches], 1)
        said = critic(vectors, self.inner)[:, :, 0].chunk(len(batches), 1)
        means = [
            _mean(
                functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, wanted), reduction="none"),
                there,
            )
            for logits, (_, there, wanted) in zip(said, batches, strict=True)
        ]
        return torch.stack(means).sum(0)

    def _tell(self, forth: torch.Tensor, there: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Cross-entropy of the classifier on what was turned into each class (equation 4), in nats; (R · C,)."""
        together = forth.reshape(len(self.seeds), -1, forth.shape[2])  # all classes of a replica in one batch
        logits = self.classifier(together, draws).view(len(forth), forth.shape[1], self.classes)
        label = torch.arange(self.classes, device=self.device).repeat(len(self.seeds))[:, None, None]
        each = -logits.log_softmax(-1).gather(2, label.expand(-1, forth.shape[1], 1))[:, :, 0]
        return _mean(each, there)

    def _rate(self, turn: int | None) -> float:
        assert turn is not None
        settings = self.settings
        return settings.rate * settings.decay ** ((turn - settings.pretraining) // settings.decay_epochs)

    def _every(self, values: Sequence) -> list:
        """What holds for a replica, for each of its classes."""
        return [value for value in values for _ in range(self.classes)]

    def _each(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over the classes of each replica, (R,)."""
        return values.reshape(len(self.seeds), -1).mean(1)


def _cycle(made: torch.Tensor, of: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Mean squared error over the vectors that are there and their functionals (equation 3); (R · C,)."""
    return _mean((made - of[0]).square().mean(2), of[1])


def _mean(each: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    return (each * there).sum(1) / there.sum(1)
