"""Sounds and spectrograms made small enough to be written into a page.

Sounds become MP3 of variable bit rate: every browser plays it, and the decoder learns the exact length, which at a low
constant bit rate it would not (the first frame has no room for it). Spectrograms become PNG of 16 colours, one pixel a
mel band and no axes: the page draws those, in its own colours.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from augrun.core import audio
from augrun.core.errors import AugrunError
from augrun.reports import levels as scale

log = logging.getLogger(__name__)

#: Rates of MPEG-1 and -2; the lower ones of its later extension are not for every decoder.
MP3_RATES = (16000, 22050, 24000, 32000, 44100, 48000)

#: A picture has at most so many columns, and so many colours: 10 kB for a full one, never more than 23.
COLUMNS, SHADES = 480, 16

#: So many sounds are enough to foretell the size of all.
FORETELLING = 12


@dataclass(frozen=True)
class Grade:
    """How small sounds are made.

    Attributes:
        rate: no sound has a higher one, Hz.
        compression: libsndfile's `compression_level`; with variable bit rate a tenth of LAME's `-V`.
        longest_s: what lies behind so many seconds is cut off; infinite where nothing is.
    """

    rate: int
    compression: float
    longest_s: float = math.inf


#: From the best to the smallest: of music at 44.1 kHz some 90, 66, 38, 30 and 24 kbit/s, then less and less of it.
GRADES = (
    Grade(48000, 0.2),
    Grade(48000, 0.4),
    Grade(24000, 0.5),
    Grade(24000, 0.7),
    Grade(16000, 0.6),
    *(Grade(16000, 0.6, seconds) for seconds in (16.0, 8.0, 4.0)),
)


@dataclass(frozen=True)
class Wanted:
    """A sound to embed.

    Attributes:
        file: where it is.
        lead_s: seconds at its beginning that do not count when it is cut, such as a prime that it begins with.
    """

    file: Path
    lead_s: float = 0.0


@dataclass(frozen=True)
class Embedded:
    """A sound as a page plays it.

    Attributes:
        content: MP3, mono.
        seconds: how long that is.
        whole_s: how long the file is.
        problem: why there is nothing to play; empty where there is.
    """

    content: bytes
    seconds: float
    whole_s: float
    problem: str = ""

    @property
    def cut(self) -> bool:
        """Whether some of the file is missing."""
        return self.seconds < self.whole_s - 0.01


def embed(
    wanted: Sequence[Wanted], budget: float, grades: Sequence[Grade] = GRADES, workers: int = 1
) -> tuple[list[Embedded], Grade]:
    """Encodes sounds, all of them alike, as well as a budget allows.

    All alike, because an ear would take a difference of coding for one of the generators.

    Args:
        wanted: the sounds. One that cannot be read comes back as its problem.
        budget: bytes for all of them together; exceeded where not even the last grade fits.
        grades: from the best to the smallest.
        workers: threads; the encoder leaves Python's lock.

    Returns:
        The sounds in order, and their grade.
    """
    step = len(wanted) // FORETELLING | 1  # odd: primes and samples often take turns
    few = wanted[::step]
    with ThreadPoolExecutor(workers) as pool:
        for grade in grades:
            encode = partial(_encode, grade=grade)
            last = grade is grades[-1]
            if step > 1 and not last and _size(list(pool.map(encode, few))) * len(wanted) > budget * len(few):
                continue
            sounds = list(pool.map(encode, wanted))
            if last or _size(sounds) <= budget:
                break
    if _size(sounds) > budget:
        log.warning(
            "sounds for one page: %.1f MB, more than the %.1f MB it has room for", _size(sounds) / 1e6, budget / 1e6
        )
    for sound in sounds:
        if sound.problem:
            log.warning("not to be heard on the page: %s", sound.problem)
    return sounds, grade


def _size(sounds: Sequence[Embedded]) -> int:
    return sum(len(sound.content) for sound in sounds)


def _encode(wanted: Wanted, grade: Grade) -> Embedded:
    try:
        info = audio.probe(wanted.file)
        rate = mp3_rate(info.sample_rate, grade.rate)
        limit = wanted.lead_s + grade.longest_s
        samples = audio.read(wanted.file, rate, 0.0, limit if limit < info.seconds else None)
    except AugrunError as error:
        return Embedded(b"", 0.0, 0.0, str(error))
    return Embedded(mp3(samples, rate, grade.compression), len(samples) / rate, info.seconds)


def mp3_rate(rate: int, most: int) -> int:
    """The rate to encode a sound of `rate` Hz at: its own where MP3 has it, else the next above; never over `most`."""
    return min(next((one for one in MP3_RATES if one >= rate), MP3_RATES[-1]), most)


def mp3(samples: np.ndarray, rate: int, compression: float) -> bytes:
    """A mono sound as MP3 of variable bit rate.

    Args:
        samples: shape (samples,), full scale is 1.
        rate: one of `MP3_RATES`.
        compression: see `Grade`.
    """
    import soundfile

    file = io.BytesIO()
    soundfile.write(
        file,
        samples,
        rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=compression,
        bitrate_mode="VARIABLE",
    )
    return file.getvalue()


def picture(levels: np.ndarray) -> bytes:
    """A spectrogram as PNG, low frequencies at the bottom, edge to edge.

    Args:
        levels: shape (frames, bands), dB below the loudest.
    """
    from PIL import Image

    frames = len(levels)
    if frames > COLUMNS:
        starts = np.arange(COLUMNS) * frames // COLUMNS
        levels = np.add.reduceat(levels, starts, axis=0) / np.diff(np.append(starts, frames))[:, None]
    shares = 1 - levels.T[::-1] / scale.LOWEST_DB
    shades = np.rint(np.clip(shares, 0, 1) * (SHADES - 1)).astype(np.uint8)  # (bands, columns)
    image = Image.frombytes("P", shades.shape[::-1], shades.tobytes())
    image.putpalette(palette().tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", bits=4, optimize=True)
    return file.getvalue()


@cache
def palette() -> np.ndarray:
    """The colours of levels, the lowest first; shape (`SHADES`, 3), uint8."""
    from matplotlib import colormaps

    colours = colormaps[scale.COLOURS](np.linspace(0, 1, SHADES))[:, :3]
    return np.rint(255 * colours).astype(np.uint8)
