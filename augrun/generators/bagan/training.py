"""The two trainings of a balancing GAN: an autoencoder on all classes, then generator against discriminator.

Chatziagapi et al. 2019, sections 2.2 and 2.3; Mariani et al. 2018, section 4.
Shapes: B segments, C classes, L latent dimensions; images are (B, 1, frames, bands) in [-1, 1].
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from augrun.core.training.batching import pieces_of
from augrun.generators.bagan import health
from augrun.generators.bagan.data import Recorded
from augrun.generators.bagan.latents import ClassLatents
from augrun.generators.bagan.networks import Judge

log = logging.getLogger(__name__)

Batch = Mapping[str, Tensor]


class Autoencoder(pl.LightningModule):
    """Encoder and decoder under the mean squared error, without any knowledge of classes.

    A batch is a dict of `image` and `label`, the latter unused.

    Args:
        encoder: images to (B, L).
        decoder: (B, L) to images.
        learning_rate: Adam's.
        beta1: Adam's.
    """

    channels_last = True

    def __init__(self, encoder: Judge, decoder: nn.Module, learning_rate: float, beta1: float) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.learning_rate, self.beta1 = learning_rate, beta1

    def loss(self, batch: Batch) -> Tensor:
        """Mean squared error of the reconstruction."""
        made = self.decoder(self.encoder(batch["image"]))
        return functional.mse_loss(made.float(), batch["image"].float())

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """One update."""
        loss = self.loss(batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["label"]))
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """The same without an update."""
        self.log("validation/loss", self.loss(batch), on_step=False, on_epoch=True, batch_size=len(batch["label"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over both."""
        return adam(self.parameters(), self.learning_rate, self.beta1)


class Adversaries(pl.LightningModule):
    """A generator fed with latents of uniformly drawn classes, and a discriminator of C classes and `fake`.

    A training step updates the discriminator, on recorded segments under their classes and on generated ones under
    `fake`, the last of its outputs, and then the generator, towards the classes that it was asked for.

    Args:
        generator: (B, L) to images.
        discriminator: images to (B, C + 1).
        latents: where the latents of each class come from.
        recorded: the train part, for the health of what is made.
        mixed: recorded and generated segments share one batch, of which one part in C + 1 is generated, so that `fake`
            is as frequent as a class (Mariani et al.); else they make two batches of one size and two updates, so that
            batch normalisation never sees both (Chatziagapi et al., section 2.3).
        learning_rate: Adam's, of both.
        beta1: Adam's, of both.
        title: what to call this training in a warning.
    """

    channels_last = True

    def __init__(
        self,
        generator: nn.Module,
        discriminator: Judge,
        latents: ClassLatents,
        recorded: Recorded,
        *,
        mixed: bool,
        learning_rate: float,
        beta1: float,
        title: str = "",
    ) -> None:
        super().__init__()
        self.automatic_optimization, self.accumulate = False, 1
        self.generator, self.discriminator, self.recorded = generator, discriminator, recorded
        self.mixed, self.learning_rate, self.beta1, self.title = mixed, learning_rate, beta1, title
        self.classes = len(latents.means)
        for name, values in (("means", latents.means), ("factors", latents.factors)):
            self.register_buffer(name, torch.from_numpy(values).float(), persistent=False)
        self.register_buffer("counted", torch.zeros(0), persistent=False)
        self.warned: set[str] = set()
        self.reset()

    def start_from(self, autoencoder: Autoencoder) -> None:
        """Takes over the decoder's weights as the generator's, and the encoder's as the discriminator's.

        The last dense layer is the discriminator's own.
        """
        self.generator.load_state_dict(autoencoder.decoder.state_dict())
        self.discriminator.trunk.load_state_dict(autoencoder.encoder.trunk.state_dict())

    def draw(self, labels: Tensor) -> Tensor:
        """Latents of classes (B,): (B, L)."""
        means, factors = cast(Tensor, self.means), cast(Tensor, self.factors)
        noise = torch.randn(len(labels), means.shape[1], 1, device=means.device)
        return means[labels] + (factors[labels] @ noise)[..., 0]

    def uniform(self, count: int) -> Tensor:
        """Class labels (count,), each class equally likely."""
        return torch.randint(self.classes, (count,), device=cast(Tensor, self.means).device)

    def training_step(self, batch: Batch, _: int) -> None:
        """One update of each."""
        judging, making = cast(Any, self.optimizers())
        self.update(batch, judging, making, self.manual_backward)

    def update(self, batch: Batch, judging: Any, making: Any, backward: Callable[[Tensor], Any]) -> None:
        """The discriminator's updates, then the generator's.

        Args:
            batch: recorded segments.
            judging: the discriminator's optimizer.
            making: the generator's.
            backward: from a loss to gradients.
        """
        images, labels = batch["image"], batch["label"]
        fakes = -(-len(labels) // self.classes) if self.mixed else len(labels)
        with torch.no_grad():
            made = self.generator(self.draw(self.uniform(fakes)))
        false = torch.full_like(labels[:1], self.classes).expand(fakes)
        if self.mixed:
            parts = [(torch.cat([images, made.to(images.dtype)]), torch.cat([labels, false]))]
        else:
            parts = [(images, labels), (made, false)]
        losses, verdicts = [], []
        for seen, truth in parts:
            judging.zero_grad()
            loss, logits = self._judged(self.discriminator, seen, truth, backward)
            judging.step()
            losses.append(loss)
            verdicts.append(logits.argmax(dim=1))
        asked = self.uniform(fakes + len(labels) if self.mixed else len(labels))
        self.discriminator.requires_grad_(False)  # its gradients would go unused
        making.zero_grad()
        loss, logits = self._judged(
            lambda latents: self.discriminator(self.generator(latents)), self.draw(asked), asked, backward
        )
        making.step()
        self.discriminator.requires_grad_(True)
        self._count(torch.stack(losses).mean(), loss, torch.cat(verdicts), labels, logits, asked)

    def _judged(
        self, judge: Callable[[Tensor], Tensor], given: Tensor, truth: Tensor, backward: Callable[[Tensor], Any]
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of what is given, its gradients added, and the logits; in pieces where that was asked for."""
        losses, judged = [], []
        for some, classes in pieces_of(self.accumulate, given, truth):
            logits = judge(some).float()
            loss = functional.cross_entropy(logits, classes) * (len(classes) / len(truth))
            backward(loss)
            losses.append(loss.detach())
            judged.append(logits.detach())
        return torch.stack(losses).sum(), torch.cat(judged)

    def _count(
        self, judging: Tensor, making: Tensor, verdicts: Tensor, labels: Tensor, logits: Tensor, asked: Tensor
    ) -> None:
        """Adds a step to what the epoch's curves are made of, without waiting for the device."""
        kinds = torch.arange(self.classes + 1, device=verdicts.device)
        real, fake = verdicts[: len(labels)], verdicts[len(labels) :]
        shares = [(real == labels), (fake == self.classes), (logits.argmax(dim=1) == asked)]
        row = [judging, making, *(share.float().mean() for share in shares)]
        counted = torch.cat([torch.stack(row), (verdicts[:, None] == kinds).float().mean(dim=0)])
        self.counted += functional.pad(counted, (1, 0), value=1.0)

    def reset(self) -> None:
        """Forgets the steps that were counted."""
        self.counted = torch.zeros(7 + self.classes, device=cast(Tensor, self.means).device)

    def on_train_epoch_start(self) -> None:
        """Counts anew."""
        self.reset()

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's curves and the health of what the generator now makes."""
        steps, *rest = self.counted.tolist()
        judging, making, real, fake, fooled, *verdicts = (value / steps for value in rest)
        values = {
            "discriminator_loss": judging,
            "generator_loss": making,
            "real_accuracy": real,  # recorded segments that the discriminator gives their class
            "fake_accuracy": fake,  # generated ones that it gives `fake`
            "fooled": fooled,  # generated ones that it gives the class they were asked for
            "one_verdict": max(verdicts),  # the largest share of its verdicts that are the same
            **self.health(),
        }
        for name, value in values.items():
            self.log(f"train/{name}", value)
        for kind, complaint in health.complaints(values, self.recorded.extreme).items():
            if kind not in self.warned:
                log.warning("%s: after epoch %d %s", self.title or "bagan", self.current_epoch + 1, complaint)
            self.warned.add(kind)

    def health(self) -> dict[str, float]:
        """What `augrun.generators.bagan.health.measure` says of samples that are made as they will be."""
        return health.measure(self.samples(health.SAMPLES), self.recorded)

    @torch.no_grad()
    def samples(self, count: int) -> np.ndarray:
        """So many segments of each class, the same latents at each call: (C, count, frames, bands)."""
        means, factors = cast(Tensor, self.means), cast(Tensor, self.factors)
        fixed = torch.Generator().manual_seed(0)
        noise = torch.randn(self.classes, count, means.shape[1], generator=fixed).to(means.device)
        latents = means[:, None] + noise @ factors.mT
        training = self.generator.training
        self.generator.eval()
        made = [self.generator(of_class)[:, 0].float().cpu() for of_class in latents]
        self.generator.train(training)
        return torch.stack(made).numpy()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for the discriminator, and for the generator."""
        networks = (self.discriminator, self.generator)
        return [adam(network.parameters(), self.learning_rate, self.beta1) for network in networks]


def adam(parameters: Any, learning_rate: float, beta1: float) -> torch.optim.Adam:
    """Adam with torch's own constants but for the first."""
    return torch.optim.Adam(parameters, learning_rate, betas=(beta1, 0.999))
