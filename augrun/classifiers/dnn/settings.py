"""The settings of `dnn`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated


@dataclass(frozen=True)
class DNNSettings:
    """The multilayer perceptron and its training.

    Attributes:
        hidden: units of each hidden layer.
        slope: of the leaky ReLU for negative values.
        dropout: chance of a hidden unit to be left out in training.
        batch_size: examples of a batch.
        epochs: passes over the training set.
        rate: learning rate of Adam.
    """

    hidden: Sequence[Annotated[int, "[1, inf)"]] = field(default_factory=lambda: [100, 100])
    slope: Annotated[float, "[0, 1)"] = 0.2
    dropout: Annotated[float, "[0, 1)"] = 0.2
    batch_size: Annotated[int, "[1, inf)"] = 64
    epochs: Annotated[int, "[1, inf)"] = 70
    rate: Annotated[float, "(0, inf)"] = 1e-5
