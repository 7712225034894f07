"""Min–max normalisation of vectors that goes back and forth, for generators of vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from augrun.features.cache import Features


@dataclass(frozen=True, eq=False)
class Span:
    """The smallest and largest value of each functional (Bao et al. 2019, section 4.1; Latif et al. 2020, section 4.3).

    Attributes:
        low: float64, shape (bands,).
        high: alike.
    """

    low: np.ndarray
    high: np.ndarray

    @staticmethod
    def of(features: Features) -> Span:
        """Of all vectors; of the train part, that is."""
        rows = features.rows()
        return Span(rows.min(axis=0).astype(np.float64), rows.max(axis=0).astype(np.float64))

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """To [0, 1] for what lies within; a functional that does not vary becomes zero. float32."""
        width = self.high - self.low
        factor = np.divide(1.0, width, out=np.zeros_like(width), where=width > 0)
        return ((rows - self.low) * factor).astype(np.float32)

    def undo(self, rows: np.ndarray) -> np.ndarray:
        """Back to the functionals' own units; float32."""
        return (rows * (self.high - self.low) + self.low).astype(np.float32)
