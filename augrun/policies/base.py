"""What every policy promises: how much is generated per class, and what the training set is made of."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from augrun.corpora.corpus import RECORDED, Corpus


@dataclass(frozen=True)
class Needs:
    """What a generator wants of a request.

    Attributes:
        primed: whether each sample starts from a recorded window.
        prime_s: seconds of prime; None takes whole clips.
        sample_s: seconds of one finished sample; None makes it as long as its prime.
        reconstructs: the sample is as long as its prime, also where a clip is too short for a full one.
        source: the unlabelled clips that it turns into samples of any class; None where it has none.
        pool: the recorded clips that primes are drawn from; None: the train part, by which amounts are counted anyway.
    """

    primed: bool
    prime_s: float | None
    sample_s: float | None
    reconstructs: bool = False
    source: Corpus | None = None
    pool: Corpus | None = None


@dataclass(frozen=True)
class Plan:
    """What to generate.

    Attributes:
        requests: one row a sample (`augrun.generators.base.REQUEST_COLUMNS`).
        seconds_per_class: the budget of each class.
        shortfalls: per class name, the seconds for which there was no prime left.
        replaced: ids of recorded clips that leave the training set where the samples join it.
    """

    requests: pd.DataFrame
    seconds_per_class: float
    shortfalls: dict[str, float]
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True)
class Policy:
    """Base of all policies; a frozen dataclass whose fields are its settings.

    Class attributes:
        thins: whether it leaves recorded clips out of the training set, with a generator or without.
        generates: whether it plans samples.
        version: bumped by hand when the meaning of stored results changes without a code change.

    Attributes:
        composition: what the training set holds: `both`, `synthetic` or `recorded` clips.
    """

    thins: ClassVar[bool] = False
    generates: ClassVar[bool] = True
    version: ClassVar[int] = 1

    composition: Literal["both", "synthetic", "recorded"] = "both"

    def plan(self, train: Corpus, needs: Needs, seed: int, units: np.ndarray | None = None) -> Plan:
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
        """The recorded clips that are trained on, of a policy that `thins`."""
        return train

    def compose(self, recorded: Corpus, generated: Corpus | None, replaced: Collection[str] = ()) -> Corpus:
        """The training set: recorded clips first, then generated ones.

        Args:
            recorded: the train part.
            generated: the samples; None where there are none.
            replaced: ids of recorded clips that samples stand in for (`Plan.replaced`).
        """
        if generated is None or not len(generated) or self.composition == RECORDED:
            return recorded
        if self.composition == "synthetic":
            return generated
        kept = recorded.select(~recorded.clips["clip_id"].isin(list(replaced)).to_numpy()) if replaced else recorded
        return Corpus.concatenate([kept, generated])
