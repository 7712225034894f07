"""No generator: the baseline, trained on recorded clips alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from augrun.generators.base import Generator
from augrun.generators.requests import GenerationInputs


@dataclass(frozen=True)
class NoGenerator(Generator):
    """Make nothing."""

    domain: ClassVar[None] = None  # type: ignore[assignment]
    primed: ClassVar[bool] = False

    def generate(self, inputs: GenerationInputs) -> None:
        """Make nothing."""
