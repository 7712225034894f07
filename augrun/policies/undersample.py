"""Recorded clips of the larger classes left out at random (Chatziagapi et al. 2019, section 2.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from augrun.corpora.corpus import Corpus
from augrun.policies.balance import class_counts
from augrun.policies.base import Policy


@dataclass(frozen=True)
class Undersample(Policy):
    """At most N_min / ratio clips of each class, N_min being the smallest class's; 1 balances them fully.

    Attributes:
        ratio: of the least to the most populated class.
    """

    drops_recordings: ClassVar[bool] = True
    generates: ClassVar[bool] = False
    version: ClassVar[int] = 1

    ratio: Annotated[float, "(0, 1]"] = 1.0

    def thin(self, train: Corpus, seed: int) -> Corpus:
        """The clips that stay, in their order."""
        counts, owners = class_counts(train)
        most = int(counts.min() / self.ratio + 1e-9)
        stays = np.zeros(len(train), bool)
        for label in range(len(counts)):
            clips = np.flatnonzero(owners == label)
            stays[np.random.default_rng([seed, label, 3]).permutation(clips)[:most]] = True
        return train.select(stays)
