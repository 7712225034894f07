"""Mixup: vectors between two recorded ones, with classes between theirs.

Zhang et al. 2018, equations 1 and 2 of Latif et al. 2020: x = λ x_i + (1 - λ) x_j and y = λ y_i + (1 - λ) y_j, with λ
from Beta(α, α). The recorded vectors stay as they are; the mixtures come beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from augrun.core.errors import AugrunError
from augrun.features.cache import Features
from augrun.features.examples import Examples


@dataclass(frozen=True)
class Mixup:
    """How many mixtures of recorded vectors a classifier sees beside them.

    Attributes:
        ratio: mixtures for each recorded vector; 0 has none.
        alpha: λ is drawn from Beta(α, α); 1 is the uniform distribution.
    """

    ratio: Annotated[float, "[0, inf)"] = 0.0
    alpha: Annotated[float, "(0, inf)"] = 1.0

    def of(self, examples: Examples, seed: int) -> Examples:
        """The vectors, and behind them their mixtures with soft targets, in memory.

        Args:
            examples: recorded vectors with targets of one class each.
            seed: of the draw.

        Raises:
            AugrunError: there are fewer than two vectors to mix.
        """
        more = round(self.ratio * len(examples))
        if not more:
            return examples
        if len(examples) < 2:
            raise AugrunError(f"mixup.ratio={self.ratio:g} wants two clips at least, and there are {len(examples)}")
        first, second, share = (part[len(examples) :] for part in mixtures(len(examples), more, self.alpha, seed))
        share = share[:, None]
        rows, targets = examples.features.rows(), examples.targets
        mixed = [share * part[first] + (1 - share) * part[second] for part in (rows, targets)]
        of_all = Features.from_rows(np.concatenate([rows, mixed[0]]), np.ones(len(rows) + more, dtype=np.int64))
        return replace(examples, features=of_all, targets=np.concatenate([targets, mixed[1]]).astype(np.float32))


def mixtures(count: int, more: int, alpha: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which vectors are mixed, and how much of the first: all of them unmixed (λ = 1), then the mixtures.

    Args:
        count: recorded vectors.
        more: mixtures of two different ones.
        alpha: λ is drawn from Beta(α, α).
        seed: of the draw.

    Returns:
        Rows of the first and of the second, int64, and λ, float32; each of shape (count + more,).
    """
    from augrun.core.seeding import derive_seed  # brings torch, which settings do without

    rng = np.random.default_rng(derive_seed(seed, "mixup"))
    first = rng.integers(count, size=more)
    second = (first + rng.integers(1, count, size=more)) % count
    share = np.minimum(rng.beta(alpha, alpha, size=more).astype(np.float32), np.nextafter(np.float32(1), np.float32(0)))
    alone = np.arange(count)
    return (
        np.concatenate([alone, first]),
        np.concatenate([alone, second]),
        np.concatenate([np.ones(count, np.float32), share]),
    )
