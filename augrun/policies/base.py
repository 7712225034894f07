"""What every policy promises: how much is generated per class, and what the training set is made of."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from augrun.corpora.corpus import RECORDED, Corpus
from augrun.generators.requests import GenerationPlan, PrimeRequirements


@dataclass(frozen=True)
class Policy:
    """Base of all policies; a frozen dataclass whose fields are its settings.

    Class attributes:
        drops_recordings: whether it leaves recorded clips out of the training set, with a generator or without.
        generates: whether it plans samples.
        version: bumped by hand when the meaning of stored results changes without a code change.

    Attributes:
        composition: what the training set holds: `both`, `synthetic` or `recorded` clips.
    """

    drops_recordings: ClassVar[bool] = False
    generates: ClassVar[bool] = True
    version: ClassVar[int] = 1

    composition: Literal["both", "synthetic", "recorded"] = "both"

    def plan(
        self, train: Corpus, needs: PrimeRequirements, seed: int, units: np.ndarray | None = None
    ) -> GenerationPlan:
        """What to generate.

        Args:
            train: the recorded train part; nothing else is ever drawn from, but for `needs.pool`.
            needs: what the generator wants.
            seed: of the draw.
            units: how many examples each clip is for the generator (its segments, where that learns from segments),
                shape (clips,); None counts each clip as one.

        Raises:
            AugrunError: the train part (or the pool) does not serve.
        """
        raise NotImplementedError(f"{type(self).__name__} generates nothing")

    def thin(self, train: Corpus, seed: int) -> Corpus:
        """The recorded clips that are trained on, of a policy with `drops_recordings`."""
        return train

    def compose(self, recorded: Corpus, generated: Corpus | None, replaced: Collection[str] = ()) -> Corpus:
        """The training set: recorded clips first, then generated ones.

        Args:
            recorded: the train part.
            generated: the samples; None where there are none.
            replaced: ids of recorded clips that samples stand in for (`GenerationPlan.replaced`).
        """
        if generated is None or not len(generated) or self.composition == RECORDED:
            return recorded
        if self.composition == "synthetic":
            return generated
        kept = recorded.select(~recorded.clips["clip_id"].isin(list(replaced)).to_numpy()) if replaced else recorded
        return Corpus.concatenate([kept, generated])
