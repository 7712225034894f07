"""Vectors on one scale: by mean and deviation (z), or by the smallest and largest value (min–max).

Functionals are of every magnitude, so their classifiers want them on one scale. Which clips the statistics are of
decides what a classifier can see. They are of the fold's recorded train part, with two exceptions, both the papers':

- Bao et al. 2019, section 4.1, "scale the features on each dataset with z-normalization separately", and so do Latif et
  al. 2020, section 4.3, across corpora: samples then have statistics of their own, and so has another corpus that is
  tested on.
- The latter looks at all clips of that corpus, also those of the test part (not at their classes); `other=train` does
  not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from augrun.features.cache import Features

#: Vectors that are taken into double precision at once.
_AT_ONCE = 4096


@dataclass(frozen=True)
class Normalise:
    """How vectors come to one scale before a classifier sees them; of no effect on spectrograms.

    Attributes:
        scale: `z` for mean zero and deviation one, `minmax` for values from zero to one, `none`.
        samples: whose statistics generated samples get: their `own`, or those of the recorded `train` part.
        other: whose statistics another corpus gets that is tested on: its `own`, or those of the recorded `train` part.
    """

    scale: Literal["z", "minmax", "none"] = "z"
    samples: Literal["own", "train"] = "own"
    other: Literal["own", "train"] = "own"

    def fit(self, features: Features) -> Scale:
        """The scale that brings these vectors to the range or the moments that are wanted.

        A functional that is the same in all of them becomes zero.
        """
        rows = features.rows()
        if self.scale == "none" or not len(rows):
            return Scale(np.zeros(features.bands), np.ones(features.bands))
        if self.scale == "minmax":
            shift = rows.min(axis=0).astype(np.float64)
            width = rows.max(axis=0).astype(np.float64) - shift
        else:
            # In two passes and double precision: functionals of 1e8 vary by a thousandth.
            blocks = [rows[at : at + _AT_ONCE] for at in range(0, len(rows), _AT_ONCE)]
            shift = np.sum([block.sum(axis=0, dtype=np.float64) for block in blocks], axis=0) / len(rows)
            width = np.sqrt(np.sum([np.square(block - shift).sum(axis=0) for block in blocks], axis=0) / len(rows))
            width[width < 1e-6 * np.abs(shift)] = 0.0  # what rounding leaves of one that is the same in all
        return Scale(shift, np.divide(1.0, width, out=np.zeros_like(width), where=width > 0))


@dataclass(frozen=True, eq=False)
class Scale:
    """(x - shift) · factor, for each functional.

    Attributes:
        shift: float64, shape (bands,).
        factor: float64, shape (bands,).
    """

    shift: np.ndarray
    factor: np.ndarray

    def __call__(self, features: Features) -> Features:
        """The vectors on this scale, in memory."""
        rows = features.rows()
        scaled = np.empty(rows.shape, dtype=np.float32)
        for at in range(0, len(rows), _AT_ONCE):
            scaled[at : at + _AT_ONCE] = (rows[at : at + _AT_ONCE] - self.shift) * self.factor
        return Features.from_rows(scaled, features.frames)
