"""What spectrograms of sounds show, in figures and on pages: one scale of frequency and of level for all of them."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from augrun.core import audio

if TYPE_CHECKING:
    from augrun.features.logmel import LogMel

#: Sounds of all generators are seen at the rate of the slowest of them (Godwin et al. 2021, Table II): Hz, samples from
#: one frame to the next, mel bands, and the edges of the lowest and of the highest in Hz.
RATE, HOP, BANDS, RANGE_HZ = 16000, 256, 96, (30.0, 8000.0)
FRAME_S = HOP / RATE

#: Levels from the loudest, 0 dB, down to this one, and their colours by matplotlib's name.
LOWEST_DB, COLOURS = -70.0, "magma"


def levels(file: Path, seconds: float | None = None) -> np.ndarray:
    """The level of each mel band of a sound, every `FRAME_S` seconds.

    Args:
        file: a sound file; what it holds above 8 kHz is left out.
        seconds: the first so many alone; None for all.

    Returns:
        shape (frames, `BANDS`), dB.

    Raises:
        AugrunError: the file cannot be read.
    """
    return _mel().transform(audio.read(file, RATE, 0.0, seconds))


@cache
def _mel() -> LogMel:
    from augrun.features.logmel import LogMel

    return LogMel(
        RATE, 1024, HOP, 1024, BANDS, *RANGE_HZ, symmetric=False, scale="db10", floor_db=-100.0, resampling="sinc"
    )


def frequency_places() -> dict[str, float]:
    """Where some frequencies lie on an axis of mel bands (Slaney's scale): bands above the centre of the lowest."""

    def to_mel(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)

    low, high = map(to_mel, RANGE_HZ)
    wanted = {"250 Hz": 250, "1 kHz": 1000, "4 kHz": 4000}
    return {name: (to_mel(hz) - low) / (high - low) * (BANDS + 1) - 1 for name, hz in wanted.items()}
