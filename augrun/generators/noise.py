"""Noise, the same for every class: what material without labels gives.

A control: what a classifier gains by having more to look at whose labels tell nothing, as a regulariser does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from augrun.core import audio
from augrun.generators.base import Generator
from augrun.generators.requests import GenerationInputs

#: Hz; below, pink noise has no part: it would be most of the energy there, and none of the sound.
LOWEST = 20.0


@dataclass(frozen=True)
class Noise(Generator):
    """Writes noise of one level, each sample from its own seed; classes make no difference.

    Attributes:
        colour: `pink` (as much energy in every octave) or `white` (in every Hz).
        rms_db: level in dB of full scale, as a root mean square; no louder, so that no peak is cut.
        sample_s: seconds of a sample.
        sample_rate: Hz.
    """

    domain: ClassVar[str] = "waveform"
    trained: ClassVar[bool] = False
    primed: ClassVar[bool] = False

    colour: Literal["pink", "white"] = "pink"
    rms_db: Annotated[float, "[-90, -15]"] = -25.0
    sample_s: Annotated[float, "(0, inf)"] = 4.0
    sample_rate: Annotated[int, "[1000, inf)"] = 44100

    def generate(self, inputs: GenerationInputs) -> None:
        """Write the noise; see `Generator.generate`."""
        for request in inputs.requests.itertuples(index=False):
            path = inputs.job.folder / f"{request.sample_id}.wav"
            if not path.exists():
                audio.write(path, self.sound(float(request.seconds), int(request.seed)), self.sample_rate)

    def sound(self, seconds: float, seed: int) -> np.ndarray:
        """Noise of the level, float32 (samples,)."""
        count = max(2, round(seconds * self.sample_rate))
        sound = np.random.default_rng(seed).normal(size=count)
        if self.colour == "pink":
            hertz = np.fft.rfftfreq(count, 1 / self.sample_rate)
            gains = np.where(hertz >= LOWEST, 1 / np.sqrt(np.maximum(hertz, LOWEST)), 0.0)
            sound = np.fft.irfft(np.fft.rfft(sound) * gains, count)
        return (sound * 10 ** (self.rms_db / 20) / np.sqrt(np.mean(sound**2))).astype(np.float32)
