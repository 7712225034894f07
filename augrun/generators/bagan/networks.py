"""The networks of both balancing GANs: a generator, which is also the decoder, and the trunk that judges share.

Chatziagapi et al. 2019, section 2 and Figure 1 (`Generator`, `Trunk`), and Mariani et al. 2018 as its authors' code,
github.com/IBM/BAGAN, has it (`OriginalGenerator`, `OriginalTrunk`). The encoder and the discriminator are one trunk
under heads of their own (`Judge`).
Shapes: B segments, F frames, M mel bands, L latent dimensions, W channels. A spectrogram is an image (B, 1, F, M) of
values from -1 to 1; both F and M are halved or doubled four times, so 128 × 128 begins as 8 × 8.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

#: What four doublings make of one pixel.
GROWTH = 16

#: "We double the stride in every second deconvolution layer"; the discriminator takes the same way back.
STRIDES = (1, 2, 1, 2, 1, 2, 1, 2)


class Judge(nn.Module):
    """A trunk and one dense layer: the encoder (to L latent dimensions), or the discriminator (to classes and fake).

    Args:
        trunk: gives (B, features) of spectrograms; its attribute `features` says how many.
        outputs: of the dense layer. The discriminator's softmax is part of its loss.
    """

    def __init__(self, trunk: Trunk | OriginalTrunk, outputs: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(trunk.features, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, F, M) to (B, outputs)."""
        return cast(Tensor, self.head(self.trunk(images)))


class Generator(nn.Module):
    """Two dense layers, eight transposed convolutions, a convolution, tanh: (B, L) to (B, 1, F, M).

    Every transposed convolution is followed by batch normalisation, leaky ReLU and dropout. (Dropout scales what it
    keeps, so it and a leaky ReLU may change places.)

    Args:
        latent: L.
        shape: F and M.
        dense: units of the first dense layer.
        seed_width: W of the F/16 × M/16 image that the second one makes.
        widths: W after each transposed convolution.
        kernel: edge of the kernels of stride one, odd.
        stride_kernel: edge of the kernels of stride two.
        slope: of the leaky ReLU below zero.
        dropout: probability.
    """

    def __init__(
        self,
        latent: int,
        shape: tuple[int, int],
        dense: int,
        seed_width: int,
        widths: Sequence[int],
        kernel: int,
        stride_kernel: int,
        slope: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.seed = (seed_width, shape[0] // GROWTH, shape[1] // GROWTH)
        self.dense = nn.Sequential(
            nn.Linear(latent, dense),
            nn.LeakyReLU(slope),
            nn.Linear(dense, seed_width * self.seed[1] * self.seed[2]),
            nn.LeakyReLU(slope),
        )
        layers = []
        for before, after, stride in zip([seed_width, *widths], widths, STRIDES, strict=False):
            size = kernel if stride == 1 else stride_kernel
            padding = -(-(size - stride) // 2)
            spare = 2 * padding - (size - stride)
            convolution = nn.ConvTranspose2d(before, after, size, stride, padding, output_padding=spare, bias=False)
            layers += [_block(convolution, after, slope, dropout)]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Sequential(nn.Conv2d(widths[-1], 1, kernel, padding=kernel // 2), nn.Tanh())

    def forward(self, latents: Tensor) -> Tensor:
        """(B, L) to (B, 1, F, M)."""
        return cast(Tensor, self.out(self.layers(self.dense(latents).unflatten(1, self.seed))))


class Trunk(nn.Module):
    """Eight convolutions, each with batch normalisation, leaky ReLU and dropout: (B, 1, F, M) to (B, features).

    Args:
        shape: F and M.
        widths: W after each convolution.
        kernel: edge of the kernels, odd.
        slope: of the leaky ReLU below zero.
        dropout: probability.
    """

    def __init__(
        self, shape: tuple[int, int], widths: Sequence[int], kernel: int, slope: float, dropout: float
    ) -> None:
        super().__init__()
        layers = []
        for before, after, stride in zip([1, *widths], widths, reversed(STRIDES), strict=False):
            convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
            layers += [_block(convolution, after, slope, dropout)]
        self.layers = nn.Sequential(*layers)
        self.features = widths[-1] * (shape[0] // GROWTH) * (shape[1] // GROWTH)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, F, M) to (B, features)."""
        return cast(Tensor, self.layers(images).flatten(1))


def _block(convolution: nn.Module, width: int, slope: float, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            convolution=convolution,
            norm=nn.BatchNorm2d(width),
            activation=nn.LeakyReLU(slope, inplace=True),
            dropout=nn.Dropout(dropout),
        )
    )


class OriginalGenerator(nn.Module):
    """Two dense layers, four times upsampling and convolution, a convolution, tanh: (B, L) to (B, 1, F, M).

    ReLU throughout, no biases, no batch normalisation, no dropout.

    Args:
        latent: L.
        shape: F and M.
        dense: units of the first dense layer.
        seed_width: W of the F/16 × M/16 image that the second one makes.
        widths: W after each upsampling's convolution.
        kernel: edge of their kernels, odd.
    """

    def __init__(
        self, latent: int, shape: tuple[int, int], dense: int, seed_width: int, widths: Sequence[int], kernel: int
    ) -> None:
        super().__init__()
        self.seed = (seed_width, shape[0] // GROWTH, shape[1] // GROWTH)
        self.dense = nn.Sequential(
            nn.Linear(latent, dense, bias=False),
            nn.ReLU(),
            nn.Linear(dense, seed_width * self.seed[1] * self.seed[2], bias=False),
            nn.ReLU(),
        )
        layers = []
        for before, after in zip([seed_width, *widths], widths, strict=False):
            convolution = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
            layers += [nn.Sequential(nn.Upsample(scale_factor=2), convolution, nn.ReLU(inplace=True))]
        self.layers = nn.Sequential(*layers)
        # A kernel of 2 × 2 with the size kept: Keras pads below and on the right.
        self.out = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(widths[-1], 1, 2, bias=False), nn.Tanh())
        self.apply(_as_keras)

    def forward(self, latents: Tensor) -> Tensor:
        """(B, L) to (B, 1, F, M)."""
        return cast(Tensor, self.out(self.layers(self.dense(latents).unflatten(1, self.seed))))


class OriginalTrunk(nn.Module):
    """Eight convolutions, each with leaky ReLU and dropout: (B, 1, F, M) to (B, features).

    Args:
        shape: F and M.
        widths: W after each convolution.
        kernel: edge of the kernels, odd.
        slope: of the leaky ReLU below zero.
        dropout: probability.
    """

    def __init__(
        self, shape: tuple[int, int], widths: Sequence[int], kernel: int, slope: float, dropout: float
    ) -> None:
        super().__init__()
        layers = []
        for before, after, stride in zip([1, *widths], widths, reversed(STRIDES), strict=False):
            convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2)
            layers += [nn.Sequential(convolution, nn.LeakyReLU(slope, inplace=True), nn.Dropout(dropout))]
        self.layers = nn.Sequential(*layers)
        self.features = widths[-1] * (shape[0] // GROWTH) * (shape[1] // GROWTH)
        self.apply(_as_keras)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, F, M) to (B, features)."""
        return cast(Tensor, self.layers(images).flatten(1))


def _as_keras(layer: nn.Module) -> None:
    """The initial values of the authors' code: Glorot, the generator's convolutions normal, all else uniform."""
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        return
    if isinstance(layer, nn.Conv2d) and layer.bias is None:
        nn.init.xavier_normal_(layer.weight)
    else:
        nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
