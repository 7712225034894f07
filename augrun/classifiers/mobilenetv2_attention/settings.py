"""The settings of `mobilenetv2_attention`, and the sizes that they are checked against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

PAPER_BLOCKS = (  # Sandler et al. 2018, Table 2
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


@dataclass(frozen=True)
class MobileNetV2Settings:
    """The network, the phases of its training and the augmentation of training clips.

    Attributes:
        frames: what a clip is cropped or tiled to: recorded and generated clips alike.
        slice_frames: frames in a slice; `frames` is a multiple of it.
        divide_by: brings decibels near one before the first batch normalisation.
        blocks: MobileNetV2's table (Sandler et al. 2018, Table 2): expansion, channels, repeats and stride of each
            stage.
        width: multiplies every number of channels before the slice vectors; 1 is the paper's network.
        pretrained: start MobileNetV2 from ImageNet weights.
        weights: a local file with them (torchvision's `mobilenet_v2` state dict); null takes torchvision's hub.
        batch_size: clips in a training batch.
        adam_epochs: epochs of the first phase; the best is where the next begins.
        adam_rate: its learning rate.
        attention_rate: its learning rate of the attention head, which collapses at rates that convolutions from
            scratch can do with; the paper has one rate for all.
        sgd_epochs: epochs of each further phase, each from the best epoch so far.
        sgd_rates: their learning rates, one phase each.
        sgd_momentum: Nesterov momentum.
        sgd_weight_decay: L2 penalty.
        mixup_alpha: λ ~ Beta(α, α) for each clip of a batch; 0 mixes nothing.
        mask_probability: chance that a training clip is masked (SpecAugment).
        masks: at most this many masks in frequency and as many in time; at least one.
        mask_bands: largest share of the bands that one mask covers.
        mask_frames: largest share of the frames that one mask covers.
    """

    frames: Annotated[int, "[1, inf)"]
    slice_frames: Annotated[int, "[1, inf)"] = 256
    divide_by: Annotated[float, "(0, inf)"] = 100.0
    blocks: list[list[int]] = field(default_factory=lambda: [list(row) for row in PAPER_BLOCKS])
    width: Annotated[float, "(0, 2]"] = 1.0
    pretrained: bool = True
    weights: Path | None = None
    batch_size: Annotated[int, "[1, inf)"] = 8
    adam_epochs: Annotated[int, "[1, inf)"] = 60
    adam_rate: Annotated[float, "(0, inf)"] = 1e-4
    attention_rate: Annotated[float, "(0, inf)"] = 1e-4
    sgd_epochs: Annotated[int, "[0, inf)"] = 20
    sgd_rates: list[float] = field(default_factory=lambda: [1e-3, 1e-4, 1e-5])
    sgd_momentum: Annotated[float, "[0, 1)"] = 0.9
    sgd_weight_decay: Annotated[float, "[0, inf)"] = 1e-4
    mixup_alpha: Annotated[float, "[0, inf)"] = 1.0
    mask_probability: Annotated[float, "[0, 1]"] = 0.5
    masks: Annotated[int, "[1, inf)"] = 2
    mask_bands: Annotated[float, "[0, 1]"] = 0.15
    mask_frames: Annotated[float, "[0, 1]"] = 0.20


def smallest(blocks: Sequence[Sequence[int]]) -> int:
    """The fewest bands, or frames a slice, of which the strides leave the 3 that the 3×3 convolution takes."""
    stride = 2 * math.prod(row[3] for row in blocks)
    return 2 * stride + 1
