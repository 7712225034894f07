"""What a component is told about the work at hand, and nothing about who asked for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal


@dataclass(frozen=True)
class Hardware:
    """Where to compute. No part of any fingerprint but for `changes`: results must not depend on it beyond rounding.

    Attributes:
        accelerator: Lightning's name of the accelerator, e.g. `auto`, `cpu`, `gpu`.
        devices: how many devices one training uses, a process each; `auto` takes every GPU there is.
        precision: Lightning's precision string, e.g. `32-true`, `bf16-mixed`.
        workers: processes for decoding and feature extraction.
        progress: show progress bars and epoch lines.
        accumulate: pieces in which a device computes its part of a batch, one after the other, before the optimiser's
            step: the batch stays as it is and memory shrinks. Batch normalisation sees the pieces.
        compile: networks by `torch.compile`; or the name of one of its backends.
        at_once: how many networks of folds and trials are trained as one, where they can be; memory grows with it.
    """

    accelerator: str = "auto"
    devices: Annotated[int, "[1, inf)"] | Literal["auto"] = 1
    precision: str = "32-true"
    accumulate: Annotated[int, "[1, inf)"] = 1
    compile: bool | str = False
    workers: int = 2
    progress: bool = True
    at_once: Annotated[int, "[1, inf)"] = 32

    @property
    def changes(self) -> dict[str, Any]:
        """What results depend on beyond rounding: it enters the fingerprints of what is trained."""
        changes: dict[str, Any] = {"precision": self.precision}
        if self.accumulate != 1:
            changes["accumulate"] = self.accumulate
        if self.compile:
            changes["compile"] = self.compile
        return changes

    @property
    def alone(self) -> Hardware:
        """The same for work that takes one device, whole batches and networks as they are."""
        return replace(self, devices=1, accumulate=1, compile=False)


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
