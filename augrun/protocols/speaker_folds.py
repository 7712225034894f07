"""Cross-validation over speakers, for corpora without sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from augrun.core.errors import AugrunError
from augrun.corpora.corpus import Corpus
from augrun.protocols.base import Fold, Protocol, fold_of
from augrun.protocols.drawing import balanced_groups, class_counts, generator, representative


@dataclass(frozen=True)
class SpeakerFolds(Protocol):
    """Cross-validation over speakers: no speaker is in two parts of a fold.

    Attributes:
        count: folds; each speaker is tested in one of them.
        validation: share of a fold's other speakers that are its validation part; at least one speaker.
        limit: how many of the folds to run; None runs all.
        ignore_split: part a corpus anew that comes with parts of its own; else it is refused.
    """

    count: Annotated[int, "[2, inf)"] = 5
    validation: Annotated[float, "(0, 1)"] = 0.2
    limit: Annotated[int, "[1, inf)"] | None = None
    ignore_split: bool = False

    def part(self, corpus: Corpus, seed: int, target: Corpus | None) -> list[Fold]:
        """The first `limit` of `count` folds, their classes as alike as the speakers allow."""
        given = sorted(set(corpus.clips["split"]) - {""})
        if given and not self.ignore_split:
            raise AugrunError(
                f"protocol=speaker_folds: {corpus.name} comes with parts of its own ({', '.join(given)}); choose "
                "protocol=official (holdout, where only test is given), or protocol.ignore_split=true to part it anew"
            )
        speakers = corpus.clips["speaker"].to_numpy()
        nameless = int((speakers == "").sum())
        if nameless:
            raise AugrunError(
                f"protocol=speaker_folds: {nameless:,} of {len(corpus):,} clips of {corpus.name} name no speaker; "
                "choose protocol=holdout"
            )
        names, owner = np.unique(speakers, return_inverse=True)
        if len(names) < self.count + 1:
            fewer = f"set protocol.count={len(names) - 1} or " if len(names) > 2 else ""
            raise AugrunError(
                f"protocol=speaker_folds: {self.count} folds and a validation speaker need {self.count + 1} speakers, "
                f"{corpus.name} has {len(names)}; {fewer}choose protocol=holdout"
            )
        counts = class_counts(corpus, owner, len(names))
        rng = generator(seed, "speaker_folds")
        tested = balanced_groups(counts, self.count, rng)
        folds = []
        for number in range(min(self.count, self.limit or self.count)):
            rest = np.flatnonzero(tested != number)
            chosen = rest[representative(counts[rest], max(1, round(self.validation * len(rest))), rng)]
            in_validation = np.isin(owner, chosen)
            in_test = tested[owner] == number
            parts = [~in_validation & ~in_test, in_validation, in_test]
            folds.append(fold_of(f"fold{number + 1}", corpus, parts))
        return folds
