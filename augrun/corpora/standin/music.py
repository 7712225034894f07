"""A small band: chords, melody, bass and drums from a handful of numbers that say how the music is.

Tones are read from single-cycle tables (band-limited additive synthesis), so a minute of music costs a
fraction of a second.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from scipy import fft

RATE = 22_050
_TABLE = 2048

_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
#: Progressions as scale degrees, four chords each.
_PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 3, 4, 0), (0, 5, 3, 4), (3, 0, 4, 5)),
    "minor": ((0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 6), (0, 3, 5, 4)),
}


@dataclass(frozen=True)
class Style:
    """How a piece is; each from about -1 to 1.

    Attributes:
        tempo: slow to fast.
        mode: minor to major, as odds.
        timbre: dull to bright.
        register: low to high.
        drums: none to many.
        space: dry to reverberant.
        swell: fading to growing.
    """

    tempo: float
    mode: float
    timbre: float
    register: float
    drums: float
    space: float
    swell: float

    def array(self) -> np.ndarray:
        """Shape (7,)."""
        return np.array(astuple(self))


#: The dimensions of a style.
DIMENSIONS = len(Style.__dataclass_fields__)


def play(style: Style, seconds: float, level_db: float, rng: np.random.Generator) -> np.ndarray:
    """Renders a piece.

    Args:
        style: how it is.
        seconds: how long it lasts.
        level_db: its root mean square, in dB of full scale.
        rng: everything that the style leaves open.

    Returns:
        Mono float32 at `RATE`, shape (samples,), within ±1.
    """
    beat = 60 / (100 * 2 ** (0.5 * style.tempo + 0.06 * rng.standard_normal()))
    mode = "major" if rng.random() < 1 / (1 + np.exp(-3.5 * style.mode)) else "minor"
    tonic = 57 + round(6 * style.register) + int(rng.integers(-4, 5))
    piece = np.zeros(round(seconds * RATE), dtype=np.float32)
    scale, degrees = _SCALES[mode], _PROGRESSIONS[mode][rng.integers(4)]
    lead, pad, bass = (_Voice.drawn(style, rng) for _ in range(3))
    bars = int(np.ceil(seconds / (4 * beat)))
    for bar in range(bars):
        degree, begin = degrees[bar % 4], 4 * beat * bar
        _chord(piece, pad, tonic, scale, degree, begin, beat, style, rng)
        _add(piece, bass.note(_pitch(tonic - 24, scale, degree), 3.6 * beat, 0.5), begin)
        _melody(piece, lead, tonic + 12, scale, degree, begin, beat, style, rng)
        if style.drums > -0.55 + 0.2 * rng.standard_normal():
            _drums(piece, begin, beat, style, rng)
    piece = _reverb(piece, style, rng)
    piece *= 10 ** (0.45 * style.swell * np.linspace(-1, 1, len(piece), dtype=np.float32))
    fade = min(len(piece), RATE // 20)
    piece[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    piece *= 10 ** (level_db / 20) / max(float(np.sqrt(np.mean(piece**2))), 1e-9)
    # Rounds off the few peaks beyond full scale, and so keeps the level.
    return np.tanh(piece)


@dataclass(frozen=True)
class _Voice:
    """One instrument: strengths of its harmonics, shape (40,), and its envelope in seconds."""

    harmonics: np.ndarray
    attack: float
    decay: float
    vibrato: float

    @staticmethod
    def drawn(style: Style, rng: np.random.Generator) -> _Voice:
        order = np.arange(1, 41)
        slope = np.clip(1.9 - 0.7 * style.timbre + 0.25 * rng.standard_normal(), 0.7, 3.5)
        harmonics = order**-slope
        harmonics[1::2] *= rng.uniform(0.05, 1)  # hollow to full
        centre, width = rng.uniform(2, 12), rng.uniform(1, 4)
        harmonics *= 1 + 2 * np.exp(-(((order - centre) / width) ** 2))  # a body of its own
        attack = 0.004 * 10 ** np.clip(0.75 - 0.5 * style.tempo + 0.35 * rng.standard_normal(), 0, 1.6)
        decay = 0.25 * 2 ** rng.normal(1.0 - 0.7 * style.tempo, 0.6)
        return _Voice(harmonics / np.sqrt((harmonics**2).sum()), attack, decay, max(0.0, rng.normal(0.002, 0.002)))

    def note(self, pitch: float, seconds: float, level: float) -> np.ndarray:
        """A tone of the MIDI number `pitch`."""
        hertz = 440 * 2 ** ((pitch - 69) / 12)
        spectrum = np.zeros(_TABLE // 2 + 1)
        audible = min(len(self.harmonics), int(0.45 * RATE / hertz))
        spectrum[1 : audible + 1] = self.harmonics[:audible]
        table = (np.fft.irfft(-1j * spectrum) * (_TABLE / 2)).astype(np.float32)
        time = np.arange(round((seconds + 0.08) * RATE), dtype=np.float32) / RATE
        cycles = hertz * (time + np.float32(self.vibrato / 33) * np.sin(33 * time))
        tone = table[(cycles * _TABLE).astype(np.int32) & (_TABLE - 1)]
        envelope = np.minimum(time / np.float32(self.attack), 1) * np.exp(-time / np.float32(self.decay))
        envelope *= np.clip((np.float32(seconds + 0.08) - time) / 0.08, 0, 1)
        return tone * envelope * np.float32(level)


def _pitch(tonic: float, scale: tuple[int, ...], degree: int) -> float:
    octave, step = divmod(degree, 7)
    return tonic + 12 * octave + scale[step]


def _add(piece: np.ndarray, sound: np.ndarray, begin: float) -> None:
    """Mixes `sound` in at `begin` seconds; what passes the end is cut."""
    first = round(begin * RATE)
    audible = sound[: max(0, len(piece) - first)]
    piece[first : first + len(audible)] += audible


def _chord(
    piece: np.ndarray,
    voice: _Voice,
    tonic: float,
    scale: tuple[int, ...],
    degree: int,
    begin: float,
    beat: float,
    style: Style,
    rng: np.random.Generator,
) -> None:
    """One bar of a triad: held where the music is slow, struck or broken where it is fast."""
    pitches = [_pitch(tonic, scale, degree + step) for step in (0, 2, 4)]
    if rng.random() < 0.5 - 0.4 * style.tempo:
        for pitch in pitches:
            _add(piece, voice.note(pitch, 3.9 * beat, 0.3), begin)
        return
    broken = rng.random() < 0.5
    for strike in range(4):
        chosen = [pitches[strike % 3]] if broken else pitches
        for pitch in chosen:
            _add(piece, voice.note(pitch, 0.9 * beat, 0.45 if broken else 0.27), begin + strike * beat)


def _melody(
    piece: np.ndarray,
    voice: _Voice,
    tonic: float,
    scale: tuple[int, ...],
    degree: int,
    begin: float,
    beat: float,
    style: Style,
    rng: np.random.Generator,
) -> None:
    """One bar that walks over the scale, in halves, quarters or eighths of notes."""
    odds = np.clip(0.35 + 0.35 * style.tempo, 0.02, 0.9)
    place, step = 0.0, degree + int(rng.integers(0, 3)) * 2
    while place < 4:
        length = 0.5 if rng.random() < odds * 0.7 else 1.0 if rng.random() < 0.3 + odds else 2.0
        if rng.random() > 0.15:
            _add(piece, voice.note(_pitch(tonic, scale, step), 0.95 * length * beat, 0.5), begin + place * beat)
        step = int(np.clip(step + rng.integers(-2, 3), degree - 3, degree + 8))
        place += length


def _drums(piece: np.ndarray, begin: float, beat: float, style: Style, rng: np.random.Generator) -> None:
    """One bar: kick on one and three, snare on two and four, hats in between where there is much of it."""
    level = np.float32(np.clip(0.45 + 0.45 * style.drums, 0.1, 1.2))
    time = np.arange(round(0.22 * RATE), dtype=np.float32) / RATE
    kick = np.sin(2 * np.pi * (48 * time + 3.2 * (1 - np.exp(-30 * time)))) * np.exp(-14 * time)
    noise = rng.standard_normal(len(time)).astype(np.float32)
    snare = (0.5 * noise + np.sin(2 * np.pi * 185 * time)) * np.exp(-22 * time)
    hat = np.diff(noise, prepend=noise[:1]) * np.exp(-70 * time)
    for count in range(4):
        _add(piece, level * (0.9 * kick if count % 2 == 0 else 0.5 * snare), begin + count * beat)
        for half in (0.0, 0.5):
            if rng.random() < 0.35 + 0.5 * style.drums:
                _add(piece, level * 0.16 * hat, begin + (count + half) * beat)


def _reverb(piece: np.ndarray, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Convolution with decaying noise; the room and its share grow with `space`."""
    seconds = float(np.clip(0.5 * 2 ** (1.2 * style.space), 0.15, 2.0))
    time = np.arange(round(seconds * RATE), dtype=np.float32) / RATE
    room = rng.standard_normal(len(time)).astype(np.float32) * np.exp(-6.9 * time / seconds)
    room = np.convolve(room, np.full(4, 0.25, dtype=np.float32), mode="same")
    room /= np.sqrt((room**2).sum())
    size = fft.next_fast_len(len(piece) + len(room) - 1, real=True)
    wet = fft.irfft(fft.rfft(piece, size) * fft.rfft(room, size), size)[: len(piece)]
    share = np.float32(np.clip(0.3 + 0.3 * style.space, 0.03, 0.8))
    return (1 - share) * piece + share * wet
