"""Clips as classifiers and generators of features get them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from augrun.features.cache import Features


@dataclass(frozen=True)
class Examples:
    """Clips as a classifier sees them.

    Attributes:
        features: one (frames, bands) float32 array a clip.
        targets: multi-hot targets, shape (clips, classes), float32.
        multilabel: whether several classes may hold at once (sigmoid) or exactly one does (softmax).
        names: the classes' names; empty where nobody has told them.
    """

    features: Features
    targets: np.ndarray
    multilabel: bool
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)

    @staticmethod
    def concatenate(parts: Sequence[Examples]) -> Examples:
        """One after the other, without copying features; parts without clips are left out."""
        filled = [part for part in parts if len(part)] or list(parts[:1])
        features = Features.concatenate([part.features for part in filled])
        targets = np.concatenate([part.targets for part in filled])
        return Examples(features, targets, filled[0].multilabel, filled[0].names)
