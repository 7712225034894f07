"""BAGAN, improved for spectrograms: generated log-mel segments of each class, for a classifier that takes those.

Chatziagapi et al., "Data Augmentation using GANs for Speech Emotion Recognition", Interspeech 2019, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from augrun.generators.bagan.base import BalancingGAN

if TYPE_CHECKING:
    from torch import nn

    from augrun.generators.bagan.networks import OriginalTrunk, Trunk


@dataclass(frozen=True)
class BAGAN(BalancingGAN):
    """Transposed convolutions, batch normalisation and dropout in both networks, batches of one kind (section 2.4).

    Attributes:
        generator_widths: channels after each of the eight transposed convolutions.
        stride_kernel: edge of the kernels of the four that double the size.
    """

    generator_widths: tuple[Annotated[int, "[1, inf)"], ...] = (256, 256, 256, 128, 128, 64, 64, 32)
    stride_kernel: Annotated[int, "[2, inf)"] = 4

    called: ClassVar[str] = "bagan"
    layers: ClassVar[int] = 8

    def notes(self) -> list[str]:
        """What the paper does not state."""
        return [
            "bagan: Chatziagapi et al. 2019 state neither widths, kernels, batch size nor epochs; what was chosen, and "
            "why, is in conf/generator/bagan.yaml"
        ]

    def networks(self, shape: tuple[int, int]) -> tuple[nn.Module, Trunk | OriginalTrunk]:
        """The generator of Figure 1a and the trunk of Figure 1b."""
        from augrun.generators.bagan.networks import Generator, Trunk

        generator = Generator(
            self.latent,
            shape,
            self.dense,
            self.seed_width,
            self.generator_widths,
            self.kernel,
            self.stride_kernel,
            self.slope,
            self.dropout,
        )
        return generator, Trunk(shape, self.discriminator_widths, self.discriminator_kernel, self.slope, self.dropout)
