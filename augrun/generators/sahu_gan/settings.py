"""The settings of the GANs of Sahu et al., and their prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

RADIUS, ALONG, ACROSS = 10.0, 10.0, 1.0  # Sahu et al. 2017: where the means lie, and the two variances


@dataclass(frozen=True, eq=False)
class Prior:
    """A Gaussian on the plane for each of C classes, evenly on a circle, the long axis away from its centre.

    Sahu et al. 2017 have (±10, 0) and (0, ±10) for four classes.

    Attributes:
        means: (C, 2), float64.
        factors: (C, 2, 2), float64; factor @ its transpose is the covariance.
    """

    means: np.ndarray
    factors: np.ndarray

    @staticmethod
    def of(classes: int) -> Prior:
        """Of so many classes; the first lies at (10, 0), the others follow counterclockwise."""
        angles = 2.0 * np.pi * np.arange(classes) / classes
        away = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        beside = np.stack([-away[:, 1], away[:, 0]], axis=1)
        factors = np.stack([np.sqrt(ALONG) * away, np.sqrt(ACROSS) * beside], axis=2)
        return Prior(RADIUS * away, factors)

    def draw(self, label: int, seed: int) -> np.ndarray:
        """One point of a class, (2,), float32; the same for the same seed."""
        noise = np.random.default_rng(seed).standard_normal(2)
        return (self.means[label] + self.factors[label] @ noise).astype(np.float32)


@dataclass(frozen=True)
class PlaneGANSettings:
    """The networks and their training.

    Attributes:
        hidden: units of the encoder's hidden layers; the generator has them the other way round.
        critic: units of the discriminator's hidden layers.
        code_critic: units of the hidden layers of the discriminator of codes.
        slope: of the leaky ReLU for negative values.
        critic_dropout: of the discriminator.
        generator_steps: updates of the generator for one of the discriminator.
        batch_size: vectors of a batch.
        pretraining: passes as an adversarial autoencoder.
        epochs: passes as a GAN after that.
        pretraining_rate: Adam's, of encoder, decoder and discriminator of codes.
        rate: Adam's, of the generator against the discriminator.
        critic_rate: Adam's, of the discriminator.
        beta1: of Adam, for whatever competes.
        sample_s: what a sample counts where seconds are counted.

    Class attributes:
        conditional: whether generator and discriminator are told the class.
    """

    conditional: ClassVar[bool]

    hidden: Sequence[Annotated[int, "[1, inf)"]] = field(default_factory=lambda: [1000, 500])
    critic: Sequence[Annotated[int, "[1, inf)"]] = field(default_factory=lambda: [100, 100])
    code_critic: Sequence[Annotated[int, "[1, inf)"]] = field(default_factory=lambda: [100, 100])
    slope: Annotated[float, "[0, 1)"] = 0.2
    critic_dropout: Annotated[float, "[0, 1)"] = 0.5
    generator_steps: Annotated[int, "[1, inf)"] = 2
    batch_size: Annotated[int, "[1, inf)"] = 64
    pretraining: Annotated[int, "[0, inf)"] = 200
    epochs: Annotated[int, "[1, inf)"] = 200
    pretraining_rate: Annotated[float, "(0, inf)"] = 1e-3
    rate: Annotated[float, "(0, inf)"] = 1e-4
    critic_rate: Annotated[float, "(0, inf)"] = 2e-3
    beta1: Annotated[float, "[0, 1)"] = 0.5
    prime_s: None = None
    sample_s: Annotated[float, "(0, inf)"] = 4.5
