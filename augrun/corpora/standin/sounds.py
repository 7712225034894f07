"""Environmental sounds from three sources: shaped noise, impacts and tones.

What a place sounds like (`Scene`) and what one recording of it has of its own are drawn apart, so that several takes
of a recording are more alike than two recordings of a class.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from scipy import fft

RATE = 44_100
_TABLE = 2048


@dataclass(frozen=True)
class Scene:
    """How a place sounds; each from about -1 to 1.

    Attributes:
        noise: share of rushing and hissing.
        colour: dark to bright.
        flutter: modulated slowly to fast.
        depth: steady to modulated.
        impacts: share of strikes and crackles.
        density: few to many strikes.
        ring: dry to ringing strikes.
        tone: share of tones.
        pitch: low to high.
        glide: steady to gliding pitch.
    """

    noise: float
    colour: float
    flutter: float
    depth: float
    impacts: float
    density: float
    ring: float
    tone: float
    pitch: float
    glide: float

    def array(self) -> np.ndarray:
        """Shape (10,)."""
        return np.array(astuple(self))


#: The dimensions of a scene.
DIMENSIONS = len(Scene.__dataclass_fields__)


def play(scene: Scene, seconds: float, level_db: float, place: int, rng: np.random.Generator) -> np.ndarray:
    """Renders a take.

    Args:
        scene: how it sounds.
        seconds: how long it lasts.
        level_db: its root mean square, in dB of full scale.
        place: seeds what all takes of one recording share (resonances, timbre, rhythm).
        rng: everything else.

    Returns:
        Mono float32 at `RATE`, shape (samples,), within ±1.
    """
    own = np.random.default_rng(place)
    count = round(seconds * RATE)
    time = np.arange(count, dtype=np.float32) / RATE
    swing = _swing(scene, time, own, rng)
    parts = [
        (scene.noise, _noise(scene, count, own, rng) * swing),
        (scene.impacts, _impacts(scene, count, own, rng)),
        (scene.tone, _tone(scene, time, own, rng) * np.sqrt(swing)),
    ]
    sound = sum(np.float32(10 ** (0.7 * share) / _rms(part)) * part for share, part in parts)
    sound *= np.float32(10 ** (level_db / 20) / _rms(sound))
    # Rounds off the few peaks beyond full scale, and so keeps the level.
    return np.tanh(sound)


def _rms(part: np.ndarray) -> float:
    return max(float(np.sqrt(np.mean(part**2))), 1e-9)


def _noise(scene: Scene, count: int, own: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
    """Noise with a slope of its own and a broad resonance; a microphone hears little below 60 Hz."""
    size = fft.next_fast_len(count, real=True)
    hertz = fft.rfftfreq(size, 1 / RATE).astype(np.float32)
    octaves = np.log2(np.maximum(hertz, 30) / 1000)
    slope = -1.0 + 0.7 * scene.colour + 0.2 * own.standard_normal()
    centre, height = own.uniform(-2.5, 2.5), own.uniform(0, 1.5)
    gain = np.exp2(slope * octaves + height * np.exp(-((octaves - centre) ** 2))).astype(np.float32)
    gain *= (hertz / 60) ** 2 / (1 + (hertz / 60) ** 2)
    spectrum = fft.rfft(rng.standard_normal(size, dtype=np.float32))
    return fft.irfft(spectrum * gain, size)[:count]


def _swing(scene: Scene, time: np.ndarray, own: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
    """What waves, gusts, engines and rotors do to loudness, in 0.15 to 15 beats a second."""
    hertz = 1.5 * 10 ** float(np.clip(scene.flutter + 0.15 * own.standard_normal(), -1, 1))
    wander = np.interp(time, np.linspace(0, time[-1], 8), rng.normal(0, 0.3, 8)).astype(np.float32)
    phase = 2 * np.pi * (np.float32(hertz) * time + wander) + np.float32(rng.uniform(0, 2 * np.pi))
    return np.exp(np.float32(0.7 + 0.7 * np.clip(scene.depth, -1, 1)) * np.sin(phase))


def _impacts(scene: Scene, count: int, own: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
    """Strikes on one body: damped partials and a click; evenly spaced in some recordings, at random in others."""
    a_second = 2.5 * 2 ** (2.2 * float(np.clip(scene.density, -1.3, 1.3)))
    even = own.uniform(0, 1)
    gaps = even + (1 - even) * rng.exponential(1, size=8 + round(2 * a_second * count / RATE))
    at = (rng.uniform(0, 0.7) + np.cumsum(gaps) - gaps[0]) * RATE / a_second
    train = np.zeros(count, dtype=np.float32)
    at = at[at < count - 1].astype(np.int64)
    train[at] = rng.lognormal(0, 0.35, size=len(at))
    decay = 0.03 * 10 ** (0.9 * float(np.clip(scene.ring, -1.2, 1.2)))
    time = np.arange(round(min(6 * decay, count / RATE) * RATE), dtype=np.float32) / RATE
    base = 500 * 2 ** (2 * scene.pitch + 0.4 * own.standard_normal())
    body = own.standard_normal(len(time), dtype=np.float32) * np.exp(-time * np.float32(4 / decay)) * np.float32(0.6)
    for ratio in (1.0, *own.uniform(1.3, 5, size=4)):
        partial = np.float32(min(base * ratio, 0.4 * RATE))
        damping = np.float32((0.6 + 0.4 * ratio) / decay)
        body += np.float32(1 / ratio) * np.sin(2 * np.pi * partial * time) * np.exp(-time * damping)
    size = fft.next_fast_len(count + len(time), real=True)
    return fft.irfft(fft.rfft(train, size) * fft.rfft(body, size), size)[:count]


def _tone(scene: Scene, time: np.ndarray, own: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
    """A hum or a wail, read from one cycle of it."""
    strengths = np.arange(1, 25) ** -float(np.clip(1.3 - 0.5 * scene.colour + 0.2 * own.standard_normal(), 0.5, 3))
    strengths *= own.uniform(0.3, 1, size=24)
    hertz = 220 * 2 ** (2 * scene.pitch + 0.3 * own.standard_normal())
    spectrum = np.zeros(_TABLE // 2 + 1)
    audible = min(24, int(0.35 * RATE / hertz))
    spectrum[1 : audible + 1] = strengths[:audible]
    cycle = (np.fft.irfft(-1j * spectrum) * (_TABLE / 2)).astype(np.float32)
    reach = 0.5 * 10 ** (0.8 * float(np.clip(scene.glide, -1.5, 1)) - 0.8)
    period = own.uniform(0.8, 3)
    bend = np.exp2(np.float32(reach) * np.sin(np.float32(2 * np.pi / period) * time + np.float32(rng.uniform(0, 6))))
    cycles = np.cumsum(np.float64(hertz / RATE) * bend)
    return cycle[(cycles * _TABLE).astype(np.int64) & (_TABLE - 1)]
