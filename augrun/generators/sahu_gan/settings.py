"""The prior of the GANs of Sahu et al."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RADIUS, ALONG, ACROSS = 10.0, 10.0, 1.0  # Sahu et al. 2017: where the means lie, and the two variances


@dataclass(frozen=True, eq=False)
class Prior:
    """A Gaussian on the plane for each of C classes, evenly on a circle, the long axis away from its centre.

    Sahu et al. 2017 have (±10, 0) and (0, ±10) for four classes.

    Attributes:
        means: (C, 2), float64.
        factors: (C, 2, 2), float64; factor @ its transpose is the covariance.
    """

    means: np.ndarray
    factors: np.ndarray

    @staticmethod
    def of(classes: int) -> Prior:
        """Of so many classes; the first lies at (10, 0), the others follow counterclockwise."""
        angles = 2.0 * np.pi * np.arange(classes) / classes
        away = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        beside = np.stack([-away[:, 1], away[:, 0]], axis=1)
        factors = np.stack([np.sqrt(ALONG) * away, np.sqrt(ACROSS) * beside], axis=2)
        return Prior(RADIUS * away, factors)

    def draw(self, label: int, seed: int) -> np.ndarray:
        """One point of a class, (2,), float32; the same for the same seed."""
        noise = np.random.default_rng(seed).standard_normal(2)
        return (self.means[label] + self.factors[label] @ noise).astype(np.float32)
