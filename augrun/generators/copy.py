"""Recorded clips again: what more of the same would give, and a check of everything around a generator.

A control: what mere repetition gives. A generator that gives no more has added nothing of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from augrun.core import audio
from augrun.generators.base import Generator
from augrun.generators.requests import GenerationInputs


@dataclass(frozen=True)
class Copy(Generator):
    """Writes each prime as the sample.

    Attributes:
        prime_s: seconds copied; null copies whole clips.
        sample_s: the same, always.
        sample_rate: Hz; null keeps the recording's.
    """

    domain: ClassVar[str] = "waveform"
    trained: ClassVar[bool] = False
    primed: ClassVar[bool] = True
    reconstructs: ClassVar[bool] = True

    prime_s: Annotated[float, "(0, inf)"] | None = 4.0
    sample_s: Annotated[float, "(0, inf)"] | None = 4.0
    sample_rate: Annotated[int, "[1000, inf)"] | None = None

    def generate(self, inputs: GenerationInputs) -> None:
        """Copy the primes; see `Generator.generate`."""
        for request in inputs.requests.itertuples(index=False):
            path = inputs.job.folder / f"{request.sample_id}.wav"
            if path.exists():
                continue
            rate = self.sample_rate or audio.probe(Path(request.prime_path)).sample_rate
            sound = audio.read(
                Path(request.prime_path), sample_rate=rate, start_s=request.prime_start_s, seconds=request.prime_s
            )
            audio.write(path, sound, rate)
