"""What a component is told about the work at hand, and nothing about who asked for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any


@dataclass(frozen=True)
class Hardware:
    """Where to compute. No part of any fingerprint: results must not depend on it beyond rounding.

    Attributes:
        accelerator: Lightning's name of the accelerator, e.g. `auto`, `cpu`, `gpu`.
        devices: how many devices one job uses.
        precision: Lightning's precision string, e.g. `32-true`, `bf16-mixed`.
        workers: processes for decoding and feature extraction.
        progress: show progress bars and epoch lines.
        at_once: how many networks of folds and trials are trained as one, where they can be; memory grows with it.
    """

    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32-true"
    workers: int = 2
    progress: bool = True
    at_once: Annotated[int, "[1, inf)"] = 32


@dataclass(frozen=True)
class Job:
    """One piece of work of one stage.

    Attributes:
        folder: an existing folder, private to this work. It holds what an earlier, killed attempt
            left behind (checkpoints), and becomes the stage's result when the work returns.
        seed: the only source of randomness.
        hardware: where to compute.
        title: what to call this work on the console.
    """

    folder: Path
    seed: int = 0
    hardware: Hardware = field(default_factory=Hardware)
    title: str = ""

    def within(self, name: str, **changes: Any) -> Job:
        """The same job one folder down."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        values: dict[str, Any] = {"seed": self.seed, "hardware": self.hardware, "title": self.title} | changes
        return Job(folder=folder, **values)
