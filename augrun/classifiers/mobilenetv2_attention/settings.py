"""Sizes of the MobileNetV2 network that its settings are checked against."""

from __future__ import annotations

import math
from collections.abc import Sequence

PAPER_BLOCKS = (  # Sandler et al. 2018, Table 2
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def smallest(blocks: Sequence[Sequence[int]]) -> int:
    """The fewest bands, or frames a slice, of which the strides leave the 3 that the 3×3 convolution takes."""
    stride = 2 * math.prod(row[3] for row in blocks)
    return 2 * stride + 1
