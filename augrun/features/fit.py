"""Segments of one number of frames: 3 s at 50 ms with 50 % overlap give 121 frames, where a network wants 128.

Chatziagapi et al. 2019, section 3.2, have "fix-sized spectrograms of 128×128" from such segments and do not say how.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Fit:
    """How a matrix of some frames becomes one of another number.

    Attributes:
        whole: frames of a full segment; a shorter one (an utterance shorter than that) is first mirrored at its end,
            again and again, up to these.
        how: `reflect` goes on mirroring, `stretch` interpolates between frames. (`hop` needs neither: the
            representation's hop is chosen so that a segment has the frames.)
    """

    whole: int
    how: Literal["reflect", "stretch", "hop"] = "reflect"

    def __call__(self, matrix: np.ndarray, frames: int) -> np.ndarray:
        """(any, bands) to (frames, bands), float32; the matrix itself where it has the frames."""
        if len(matrix) == frames:
            return matrix
        filled = mirrored(matrix, self.whole)
        if self.how == "stretch":
            return stretched(filled, frames)
        return mirrored(filled, frames)[:frames]


def mirrored(matrix: np.ndarray, frames: int) -> np.ndarray:
    """The matrix, mirrored at its end until it has at least so many frames."""
    if len(matrix) >= frames:
        return matrix
    return np.pad(matrix, ((0, frames - len(matrix)), (0, 0)), mode="reflect" if len(matrix) > 1 else "edge")


def stretched(matrix: np.ndarray, frames: int) -> np.ndarray:
    """Linear interpolation in time; the first and last frame stay."""
    places = np.linspace(0, len(matrix) - 1, frames)
    low = np.floor(places).astype(np.int64)
    high = np.minimum(low + 1, len(matrix) - 1)
    share = (places - low).astype(np.float32)[:, None]
    return (matrix[low] * (1 - share) + matrix[high] * share).astype(np.float32, copy=False)
