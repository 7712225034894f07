"""The settings of `cyclegan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated


@dataclass(frozen=True)
class CycleGANSettings:
    """The networks and their training.

    Attributes:
        hidden: units of the hidden layers of G and F.
        critic: units of the discriminators' hidden layers.
        classifier: units of the classifier's hidden layers.
        slope: of the leaky ReLU for negative values.
        dropout: of G and F in pretraining.
        critic_dropout: of the discriminators.
        classifier_dropout: of the classifier.
        cycle: λ_cyc, the weight of the cycle consistency loss.
        classification: λ_cls, the weight of the classification loss; 0 leaves the classifier out.
        real: what the discriminators are to say of recorded vectors, and the generators want them to say of theirs.
        generator_steps: updates of the generators for one of the discriminators.
        batch_size: vectors of a batch, of source and of target each.
        pretraining: passes over the smallest class of G and F alone, for the cycle consistency loss.
        epochs: passes over the smallest class of all networks after that.
        rate: of Adam.
        decay: what the rate is multiplied by after every `decay_epochs` of them.
        decay_epochs: see there.
    """

    hidden: Sequence[Annotated[int, "[1, inf)"]] = field(default_factory=lambda: [1000, 500, 1000])
    critic: Sequence[Annotated[int, "[1, inf)"]] = field(default_factory=lambda: [1000, 1000])
    classifier: Sequence[Annotated[int, "[1, inf)"]] = field(default_factory=lambda: [100, 100])
    slope: Annotated[float, "[0, 1)"] = 0.2
    dropout: Annotated[float, "[0, 1)"] = 0.2
    critic_dropout: Annotated[float, "[0, 1)"] = 0.2
    classifier_dropout: Annotated[float, "[0, 1)"] = 0.5
    cycle: Annotated[float, "[0, inf)"] = 5.0
    classification: Annotated[float, "[0, inf)"] = 2.0
    real: Annotated[float, "(0.5, 1]"] = 0.9
    generator_steps: Annotated[int, "[1, inf)"] = 2
    batch_size: Annotated[int, "[1, inf)"] = 64
    pretraining: Annotated[int, "[0, inf)"] = 10000
    epochs: Annotated[int, "[1, inf)"] = 2000
    rate: Annotated[float, "(0, inf)"] = 2e-4
    decay: Annotated[float, "(0, 1]"] = 0.8
    decay_epochs: Annotated[int, "[1, inf)"] = 50
    prime_s: None = None
    sample_s: None = None
