"""One fold and trial of a condition, by the stages that it is made of."""

from __future__ import annotations

from dataclasses import dataclass

from augrun.core.store.stages import Stage
from augrun.protocols.base import Fold


@dataclass(frozen=True)
class FoldTrial:
    """One fold and trial of a condition, as stages yet to be done or found.

    Attributes:
        fold: the train, validation and test parts.
        trial: from 0.
        seed: of the trial.
        generator: the fold's generator; None where nothing is trained.
        samples: what it generates; None for the baseline.
        reducer: what makes vectors shorter; None where nothing does.
        classifier: trained on what the policy composes of recordings and samples.
        predictions: its scores on the validation and test parts.
        embeddings: the recorded train and test parts in its embedding; None where it has none. Wanted of a baseline
            alone, against whose recordings every generator's samples are measured.
        label_validity: the baseline classifier's scores on the samples; None without samples, or without a baseline.
        quality: how near the samples are to recordings in the embedding of that classifier; None where it has none.
    """

    fold: Fold
    trial: int
    seed: int
    generator: Stage | None
    samples: Stage | None
    reducer: Stage | None
    classifier: Stage
    predictions: Stage
    embeddings: Stage | None
    label_validity: Stage | None
    quality: Stage | None

    @property
    def stages(self) -> list[Stage]:
        """The stages that there are, in the order of the work."""
        stages = [self.generator, self.samples, self.reducer, self.classifier, self.predictions, self.embeddings]
        return [stage for stage in (*stages, self.label_validity, self.quality) if stage is not None]

    @property
    def title(self) -> str:
        """The fold and trial in words."""
        return f"fold {self.fold.name}, trial {self.trial + 1}"
