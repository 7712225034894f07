"""A normal distribution over the latents of each class: where a balancing GAN takes its classes from.

Chatziagapi et al. 2019, section 2.2, "GAN Initialization"; Mariani et al. 2018, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Estimator = Literal["oas", "ledoit_wolf", "empirical"]


@dataclass(frozen=True)
class ClassLatents:
    """A multivariate normal for each of C classes over L latent dimensions.

    Attributes:
        means: (C, L), float64.
        factors: (C, L, L), float64; factor @ its transpose is the covariance.
        shrinkage: (C,), the weight of the multiple of the identity in the covariance.
    """

    means: np.ndarray
    factors: np.ndarray
    shrinkage: np.ndarray

    @staticmethod
    def of(latents: np.ndarray, labels: np.ndarray, classes: int, estimator: Estimator) -> ClassLatents:
        """Of the encoded train part.

        Args:
            latents: (B, L).
            labels: (B,); every class has two or more.
            classes: C.
            estimator: of the covariance; `empirical` is singular where a class has no more segments than L.
        """
        means, factors, shrinkage = [], [], []
        for label in range(classes):
            own = latents[labels == label].astype(np.float64)
            covariance, weight = _covariance(own, estimator)
            means.append(own.mean(axis=0))
            factors.append(_root(covariance))
            shrinkage.append(weight)
        return ClassLatents(np.stack(means), np.stack(factors), np.array(shrinkage))

    def draw(self, label: int, seed: int) -> np.ndarray:
        """One latent of a class, (L,), float32; the same for the same seed."""
        noise = np.random.default_rng(seed).standard_normal(self.means.shape[1])
        return (self.means[label] + self.factors[label] @ noise).astype(np.float32)


def _covariance(latents: np.ndarray, estimator: Estimator) -> tuple[np.ndarray, float]:
    """The covariance (L, L), and how far it is shrunk."""
    from sklearn.covariance import empirical_covariance, ledoit_wolf, oas

    if estimator == "empirical":
        unbiased = len(latents) / (len(latents) - 1)  # as numpy.cov, which the authors of BAGAN call
        return empirical_covariance(latents) * unbiased, 0.0
    covariance, weight = (oas if estimator == "oas" else ledoit_wolf)(latents)
    return covariance, float(weight)


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric root: unlike Cholesky's factor, a singular matrix has one as well."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)
