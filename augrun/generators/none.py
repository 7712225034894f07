"""No generator: the baseline, trained on recorded clips alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from augrun.core.job import Job
from augrun.generators.base import Generator


@dataclass(frozen=True)
class NoGenerator(Generator):
    """Makes nothing."""

    domain: ClassVar[None] = None  # type: ignore[assignment]
    primed: ClassVar[bool] = False

    def generate(self, requests: pd.DataFrame, label_names: tuple[str, ...], fitted: Path | None, job: Job) -> None:
        """Makes nothing."""
