"""As many samples as bring every class up to the largest (Chatziagapi et al. 2019, sections 2.2 and 2.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from augrun.core.errors import AugrunError
from augrun.corpora.corpus import Corpus
from augrun.generators.requests import REQUEST_COLUMNS, GenerationPlan, PrimeRequirements
from augrun.policies.base import Policy


@dataclass(frozen=True)
class BalanceToMajority(Policy):
    """Every class gets N_max - N_c samples, where N_c counts its recorded clips (or segments) and N_max the largest.

    With replacement (SAR in the paper's Table 1) N_c - N_min of the recorded clips of a class give way to samples made
    from them, "to balance the percentages of noise samples of every class": every class then has N_max clips, of
    which N_max - N_min are samples.

    Attributes:
        replace: the classes whose recorded clips are replaced: `none`, `all`, or the `majority` alone.
    """

    version: ClassVar[int] = 1

    replace: Literal["none", "all", "majority"] = "none"

    def plan(
        self, train: Corpus, needs: PrimeRequirements, seed: int, units: np.ndarray | None = None
    ) -> GenerationPlan:
        """What brings the classes up, class by class; see `Policy.plan`.

        Primes are whole clips. Within a class they are drawn without replacement until all have served, then again.
        From a pool they are drawn for the recorded clips that give way as well.
        """
        counts, owners = class_counts(train, units)
        pool, of_pool = (
            (train, owners) if needs.pool is None else (needs.pool, class_counts(needs.pool, part="reserve")[1])
        )
        if self.replace != "none" and (units is not None or not needs.primed):
            raise AugrunError(
                "policy.replace wants samples that are made from recorded clips, one each; "
                "this generator makes others: policy.replace=none"
            )
        rows: list[tuple] = []
        replaced: list[str] = []
        for label in range(len(counts)):
            generator = np.random.default_rng([seed, label, 2])
            clips = np.flatnonzero(owners == label)
            leaving = generator.permutation(clips)[: self._replacements(counts, label)]
            replaced += train.clips["clip_id"].iloc[leaving].tolist()
            added = int(counts.max() - counts[label])
            if needs.pool is None:
                primes = [*leaving, *islice(_again_and_again(clips, generator), added)]
            else:
                further = _again_and_again(np.flatnonzero(of_pool == label), generator)
                primes = list(islice(further, len(leaving) + added))
            rows += [_request(pool, label, draw, int(clip), needs, generator) for draw, clip in enumerate(primes)]
        table = pd.DataFrame(rows, columns=list(REQUEST_COLUMNS))
        seconds = float(table["seconds"].sum()) / len(counts)
        return GenerationPlan(table, seconds, {}, tuple(replaced))

    def _replacements(self, counts: np.ndarray, label: int) -> int:
        if self.replace == "none" or (self.replace == "majority" and counts[label] < counts.max()):
            return 0
        return int(counts[label] - counts.min())


def class_counts(train: Corpus, units: np.ndarray | None = None, part: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """Clips (or units) of each class, int64, shape (classes,), and each clip's class, shape (clips,).

    Raises:
        AugrunError: clips carry several classes, or a class has none.
    """
    if train.label_set.multilabel:
        raise AugrunError(
            f"{train.name}: its clips carry several classes, so no number of samples balances them; "
            "choose policy=equal_duration"
        )
    owners = train.first_labels()
    each = np.ones(len(train), np.int64) if units is None else np.asarray(units, np.int64)
    counts = np.bincount(owners, weights=each, minlength=len(train.label_set)).astype(np.int64)
    lacking = [train.label_set.names[label] for label in np.flatnonzero(counts == 0)]
    if lacking:
        raise AugrunError(f"{train.name}: no {part} clip of {', '.join(lacking)}; nothing to bring up from")
    return counts, owners


def _again_and_again(clips: np.ndarray, generator: np.random.Generator) -> Iterator[int]:
    while True:
        yield from generator.permutation(clips)


def _request(
    pool: Corpus, label: int, draw: int, clip: int, needs: PrimeRequirements, generator: np.random.Generator
) -> tuple:
    """A row of the request table; a generator without primes gets none."""
    origin = pool.clips.iloc[clip]
    seed = int(generator.integers(2**31))
    seconds = float(origin.duration_s) if needs.reconstructs or needs.sample_s is None else needs.sample_s
    prime = (origin.clip_id, origin.path, float(origin.start_s), float(origin.duration_s))
    return (f"{label:03d}-{draw:05d}", label, (label,), seconds, *(prime if needs.primed else ("", "", 0.0, 0.0)), seed)
