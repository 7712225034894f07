"""Recorded clips that nothing was trained on, posing as generated: what as many further recordings would give.

A control: the most that samples of this amount could give, be they as good as recordings, and of sounds that are not in
the train part. Beside it a generator's own gain reads as a share of what could be had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from augrun.generators.copy import Copy


@dataclass(frozen=True)
class Oracle(Copy):
    """Writes each prime as the sample; its primes are windows of the fold's reserve (`protocol.reserve`).

    Settings are those of `Copy`.
    """

    draws_from: ClassVar[str] = "reserve"

    def notes(self) -> list[str]:
        """Says that nothing was generated."""
        return ["no generator: recorded clips kept out of training (the reserve), each with the class it was drawn for"]
