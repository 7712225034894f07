"""The settings of `vgg19`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

FIT = "fit"  # the folder of the checkpoints


@dataclass(frozen=True)
class VGG19Settings:
    """The network and its training.

    Attributes:
        width: multiplies the channels and the hidden units; 1 is the paper's network.
        batch_norm: batch normalisation after each convolution (Ioffe and Szegedy 2015); VGG19 has none.
        pooled: rows and columns of the map before the hidden layers; torchvision's network has 7.
        shrink: so many frames and as many bands are averaged into one before the first convolution; 1 leaves all.
        dropout: of the hidden layers (Simonyan and Zisserman: 0.5).
        batch_size: segments in a training batch.
        epochs: how many.
        rate: learning rate of Adam.
        weight_decay: L2 penalty.
        select: which epoch is kept: that of the largest macro recall on validation (`uar`), or of the least `loss`.
            Without a validation part it is the last.
    """

    width: Annotated[float, "(0, 2]"] = 1.0
    batch_norm: bool = False
    pooled: Annotated[int, "[1, inf)"] = 7
    shrink: Annotated[int, "[1, inf)"] = 1
    dropout: Annotated[float, "[0, 1)"] = 0.5
    batch_size: Annotated[int, "[2, inf)"] = 32
    epochs: Annotated[int, "[1, inf)"] = 60
    rate: Annotated[float, "(0, inf)"] = 1e-4
    weight_decay: Annotated[float, "[0, inf)"] = 0.0
    select: Literal["uar", "loss"] = "uar"
