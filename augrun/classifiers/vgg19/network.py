"""VGG19 from scratch over spectrograms (Simonyan and Zisserman 2015, Table 1, configuration E).

(B, frames, bands) in the representation's unit
  → min–max normalised                 (B, 1, frames, bands)
  → 2, 2, 4, 4, 4 convolutions of 3×3, each with ReLU, and a 2×2 maximum after each group
                                       (B, 512, frames/32, bands/32)
  → averaged to a fixed map            (B, 512, pooled, pooled)
  → two hidden layers with dropout     (B, 4096)
  = logits                             (B, classes)
"""

from __future__ import annotations

import torch
from torch import nn

from augrun.core.errors import AugrunError

#: Channels and number of convolutions of each group.
GROUPS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
HIDDEN = 4096
POOLED = 7  # rows and columns that five halvings leave of 224
SMALLEST = 2 ** len(GROUPS)  # frames or bands of which the groups leave one


class VGG19(nn.Module):
    """torchvision's `vgg19` (`vgg19_bn`) with one input channel, a width, and the normalisation in front.

    Args:
        frames: of the input.
        bands: of the input.
        classes: how many.
        low: what becomes -1: the smallest value of the train part.
        high: what becomes 1: the largest.
        width: multiplies every number of channels and hidden units.
        batch_norm: batch normalisation after each convolution.
        pooled: rows and columns of the map before the hidden layers.
        dropout: of the hidden layers.
        shrink: so many frames and as many bands are averaged into one before the first convolution.

    Raises:
        AugrunError: the input is too small for five halvings.
    """

    low: torch.Tensor
    high: torch.Tensor

    def __init__(
        self,
        frames: int,
        bands: int,
        classes: int,
        low: float,
        high: float,
        width: float = 1.0,
        batch_norm: bool = False,
        pooled: int = POOLED,
        dropout: float = 0.5,
        shrink: int = 1,
    ) -> None:
        super().__init__()
        if min(frames, bands) < SMALLEST * shrink:
            raise AugrunError(
                f"{frames} frames of {bands} bands are too few for vgg19, which halves both five times and takes "
                f"{SMALLEST * shrink} or more. Use longer segments, or a representation with more bands."
            )
        self.shrink = nn.AvgPool2d(shrink) if shrink > 1 else nn.Identity()
        self.register_buffer("low", torch.tensor(low, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(high, dtype=torch.float32))
        self.features = _convolutions(width, batch_norm)
        self.pool = nn.AdaptiveAvgPool2d(pooled)
        hidden = scaled(HIDDEN, width)
        self.classifier = nn.Sequential(
            nn.Linear(scaled(GROUPS[-1][0], width) * pooled**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )
        self._initialise()

    def _initialise(self) -> None:
        """As torchvision has it: He et al.'s weights for the convolutions, for the rest normal ones of 0.01.

        A layer with fewer inputs than at full size has larger weights, so that its outputs vary as much as there.
        """
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        linear = [layer for layer in self.classifier if isinstance(layer, nn.Linear)]
        for layer, inputs in zip(linear, (GROUPS[-1][0] * POOLED**2, HIDDEN, HIDDEN), strict=True):
            nn.init.normal_(layer.weight, 0.0, 0.01 * (inputs / layer.in_features) ** 0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, spectrograms: torch.Tensor) -> torch.Tensor:
        """Logits, shape (B, classes), of spectrograms in the representation's unit, shape (B, frames, bands)."""
        return self.classifier[-1](self.hidden(spectrograms))

    def hidden(self, spectrograms: torch.Tensor) -> torch.Tensor:
        """What the last layer is given: the second hidden layer after its ReLU, shape (B, hidden units)."""
        maps = self.pool(self.features(self.shrink(self.normalise(spectrograms)[:, None])))
        return self.classifier[:-1](maps.flatten(1))

    def normalise(self, spectrograms: torch.Tensor) -> torch.Tensor:
        """Between -1 and 1 for values between `low` and `high`.

        Values of other parts may lie outside, and stay there: cutting them off would hide what is louder or quieter
        than everything in the train part.
        """
        return (spectrograms - self.low) * (2.0 / (self.high - self.low)) - 1.0


def scaled(count: int, width: float) -> int:
    """Channels or units at this width, a multiple of 4 and at least 4."""
    return max(4, round(count * width / 4) * 4)


def _convolutions(width: float, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 1
    for count, repeats in GROUPS:
        for _ in range(repeats):
            following = scaled(count, width)
            layers.append(nn.Conv2d(channels, following, kernel_size=3, padding=1))
            layers += [nn.BatchNorm2d(following)] if batch_norm else []
            layers.append(nn.ReLU(inplace=True))
            channels = following
        layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    return nn.Sequential(*layers)
