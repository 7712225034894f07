"""The settings of the reducer `autoencoder`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated


@dataclass(frozen=True)
class AutoencoderSettings:
    """The autoencoder and its training.

    Attributes:
        dimensions: of the code.
        hidden: units of the encoder's hidden layers.
        batch_size: vectors of a batch, mixed and unmixed as they come.
        epochs: passes over them; the last one counts.
        rate: learning rate of Adam.
    """

    dimensions: Annotated[int, "[1, inf)"] = 25
    hidden: Sequence[Annotated[int, "[1, inf)"]] = field(default_factory=lambda: [1000, 500, 250])
    batch_size: Annotated[int, "[1, inf)"] = 64
    epochs: Annotated[int, "[1, inf)"] = 100
    rate: Annotated[float, "(0, inf)"] = 2e-4
