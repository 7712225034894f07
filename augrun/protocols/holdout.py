"""A shuffled split, as Chatziagapi et al. 2019 use for FEEL-25k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from augrun.corpora.corpus import Corpus
from augrun.protocols.base import Fold, Protocol, fold_of
from augrun.protocols.drawing import draw, generator


@dataclass(frozen=True)
class Holdout(Protocol):
    """A shuffled split with the classes' proportions kept; a given test part stays the test part.

    Attributes:
        validation: share of the utterances outside the test part (Chatziagapi et al. 2019, section 3.2: 80 % to 20 %).
        test: share of all utterances, drawn where the corpus has no given test part.
    """

    validation: Annotated[float, "(0, 1)"] = 0.2
    test: Annotated[float, "(0, 1)"] = 0.2

    def part(self, corpus: Corpus, seed: int, target: Corpus | None) -> list[Fold]:
        """One fold."""
        rng = generator(seed, "holdout")
        utterances = corpus.clips["utterance"].to_numpy(str)
        test = np.isin(utterances, utterances[(corpus.clips["split"] == "test").to_numpy()])
        if not test.any():
            test = draw(corpus, self.test, rng)
        validation = np.zeros(len(corpus), dtype=bool)
        validation[~test] = draw(corpus.select(~test), self.validation, rng)
        return [fold_of("holdout", corpus, [~test & ~validation, validation, test])]
