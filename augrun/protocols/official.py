"""The split that a corpus is published with."""

from __future__ import annotations

from dataclasses import dataclass

from augrun.core.errors import AugrunError
from augrun.corpora.corpus import Corpus
from augrun.protocols.base import PARTS, Fold, Protocol, fold_of


@dataclass(frozen=True)
class Official(Protocol):
    """The split that the corpus comes with."""

    def part(self, corpus: Corpus, seed: int, target: Corpus | None) -> list[Fold]:
        """One fold; `seed` has no part in it."""
        given = corpus.clips["split"].to_numpy()
        absent = [part for part in PARTS if not (given == part).any()]
        if absent:
            said = "has no given split" if len(absent) == len(PARTS) else f"has no given {' and no '.join(absent)} part"
            raise AugrunError(
                f"protocol=official: {corpus.name} {said}; choose protocol=holdout, or protocol=speaker_folds "
                "where speakers are named"
            )
        return [fold_of("official", corpus, [given == part for part in PARTS])]
