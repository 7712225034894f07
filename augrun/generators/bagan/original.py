"""BAGAN as it was published for images, here on log-mel segments: what the improved one is compared with.

Mariani et al. 2018, "BAGAN: Data Augmentation with Balancing GAN" (arXiv:1803.09655); layers as in the authors' code,
github.com/IBM/BAGAN, which for 128 × 128 goes on as it does for 64 × 64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from augrun.generators.bagan.base import BalancingGAN

if TYPE_CHECKING:
    from torch import nn

    from augrun.generators.bagan.networks import OriginalTrunk, Trunk


@dataclass(frozen=True)
class BAGANOriginal(BalancingGAN):
    """Upsampling and convolution, ReLU, no batch normalisation, recorded and generated segments in one batch.

    Attributes:
        generator_widths: channels after each of the four upsamplings.
        kernel: edge of the generator's kernels, odd; the last layer's is 2.
        dropout: probability, in the discriminator alone.
    """

    generator_widths: tuple[Annotated[int, "[1, inf)"], ...] = (256, 256, 256, 128)
    kernel: Annotated[int, "[1, inf)"] = 5
    dropout: Annotated[float, "[0, 1)"] = 0.3
    batches: Literal["separate", "mixed"] = "mixed"
    batch_size: Annotated[int, "[2, inf)"] = 128
    gan_rate: Annotated[float, "(0, inf)"] = 5e-5

    called: ClassVar[str] = "bagan_original"
    layers: ClassVar[int] = 4

    def notes(self) -> list[str]:
        """Where it is not the authors' program."""
        return ["bagan_original: the networks of github.com/IBM/BAGAN, continued from 64 × 64 to 128 × 128"]

    def networks(self, shape: tuple[int, int]) -> tuple[nn.Module, Trunk | OriginalTrunk]:
        """The authors' generator and the trunk of their discriminator."""
        from augrun.generators.bagan.networks import OriginalGenerator, OriginalTrunk

        generator = OriginalGenerator(
            self.latent, shape, self.dense, self.seed_width, self.generator_widths, self.kernel
        )
        trunk = OriginalTrunk(shape, self.discriminator_widths, self.discriminator_kernel, self.slope, self.dropout)
        return generator, trunk
