"""A source-filter speech synthesiser: glottal pulses and noise through formants, a sentence at a time.

Every glottal pulse is made as a spectrum, filtered by the vocal tract as it is at that instant, and added at its
own time, so that jitter, shimmer and gliding formants cost nothing extra. The pulse is the causal/anticausal model
of Doval, d'Alessandro & Henrich (2003), "The voice source as a causal/anticausal linear filter"; the tract is a
cascade of resonators as in Klatt (1980), the hiss of consonants a parallel one. Where the voice is silent the pulses
go on without sound: each carries one period of the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft
from scipy.ndimage import uniform_filter1d

from augrun.corpora.standin.phones import OFF, SILENCE, Segment, spoken

#: Seconds between two values of what changes along a sentence.
STEP = 0.0025

#: Pulses that are computed at once, so that their spectra stay in the processor's cache.
_BLOCK = 128

#: Bandwidths of F1 to F3, and of F3 and those above it as a share of their frequency.
_BANDWIDTHS = (70.0, 95.0, 150.0)
_UPPER_BANDWIDTH = 0.07

#: Formants above F3 of a man's vocal tract, Hz: a tube of 17.5 cm, closed at one end.
_UPPER = tuple(range(3500, 12_000, 1000))


@dataclass(frozen=True)
class Voice:
    """Whose voice it is.

    Attributes:
        hertz: usual fundamental frequency.
        tract: the formants' factor: 1 for a man's vocal tract of 17.5 cm, about 1.17 for a woman's.
        tension: lax (-1) to tense (1).
        breath_db: noise in the vowels against the pulses.
        tempo: speaking rate as a factor.
    """

    hertz: float
    tract: float
    tension: float
    breath_db: float
    tempo: float


@dataclass(frozen=True)
class Manner:
    """How a sentence is said, against the speaker's usual way.

    Attributes:
        pitch: semitones above it.
        span: the intonation's range, as a factor.
        slope: semitones by which the pitch rises from begin to end.
        tempo: a factor.
        tension: added to the voice's.
        breath_db: added to the voice's.
        jitter: standard deviation of a period, as a share.
        pauses: length of pauses, as a factor.
        smile: the formants' factor.
    """

    pitch: float = 0.0
    span: float = 1.0
    slope: float = -2.0
    tempo: float = 1.0
    tension: float = 0.0
    breath_db: float = 0.0
    jitter: float = 0.008
    pauses: float = 1.0
    smile: float = 1.0


#: Seconds of quiet before and after what is said.
MARGIN = 0.06


def usual_seconds(sentences: tuple[str, ...], voice: Voice, manner: Manner) -> float:
    """How long it takes this speaker to say `sentences` in this manner."""
    timeline = _timeline(sentences, manner.pauses)
    paused = sum(segment.seconds for segment in timeline if segment.formants is None and segment.breath == OFF)
    said = sum(segment.seconds for segment in timeline) - paused
    return 2 * MARGIN + paused + said / (voice.tempo * manner.tempo)


def speak(
    sentences: tuple[str, ...],
    seconds: float,
    voice: Voice,
    manner: Manner,
    level_db: float,
    rate: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Says some sentences in exactly so many seconds.

    Args:
        sentences: of `phones.SENTENCES` or of words of `phones.LEXICON`.
        seconds: how long the sound is to be; the tempo follows.
        voice: whose voice.
        manner: how it is said.
        level_db: root mean square of the whole, in dB of full scale.
        rate: samples a second.
        rng: accents, jitter and noise.

    Returns:
        Mono float32, shape (round(seconds · rate),), within ±1.
    """
    count = round(seconds * rate)
    tracks = _tracks(_timeline(sentences, manner.pauses), seconds, voice, manner, rng)
    sound = _excite(tracks, count, voice, manner, rate, rng)
    sound /= max(float(np.sqrt(np.mean(sound**2))), 1e-9)
    sound += 10 ** (rng.uniform(-52, -42) / 20) * rng.standard_normal(count)  # the room and the microphone
    sound *= 10 ** (level_db / 20)
    # Rounds off the few peaks beyond full scale, and so keeps the level.
    return np.tanh(sound).astype(np.float32)


@dataclass(frozen=True)
class _Tracks:
    """What changes along a sentence, each of shape (steps,) but `formants` (3, steps) in Hz; levels as amplitudes."""

    hertz: np.ndarray
    formants: np.ndarray
    damped: np.ndarray
    voice: np.ndarray
    breath: np.ndarray
    hiss: np.ndarray
    hiss_hz: np.ndarray
    hiss_band: np.ndarray


def _timeline(sentences: tuple[str, ...], pauses: float) -> list[Segment]:
    """The segments of all sentences; the last syllable of each is drawn out, as speakers do (Klatt 1976)."""
    timeline: list[Segment] = []
    for sentence in sentences:
        if timeline:
            timeline.append(_lasting(SILENCE, pauses))
        said = spoken(sentence)
        last = max(place for place, segment in enumerate(said) if segment.vowel)
        timeline += [_lasting(segment, 1.35 if place >= last else 1.0) for place, segment in enumerate(said)]
    return timeline


def _lasting(segment: Segment, factor: float) -> Segment:
    values = {name: getattr(segment, name) for name in Segment.__dataclass_fields__}
    return Segment(**values | {"seconds": factor * segment.seconds})


def _tracks(timeline: list[Segment], seconds: float, voice: Voice, manner: Manner, rng: np.random.Generator) -> _Tracks:
    steps = int(np.ceil(seconds / STEP)) + 1
    durations = np.array([segment.seconds for segment in timeline])
    margin = min(MARGIN, 0.1 * seconds)
    edges = margin + np.concatenate([[0.0], np.cumsum(durations)]) * (seconds - 2 * margin) / durations.sum()
    times = np.arange(steps) * STEP
    place = np.searchsorted(edges, times, side="right") - 1
    within = (place >= 0) & (place < len(timeline))
    place = np.clip(place, 0, len(timeline) - 1)

    def track(name: str) -> np.ndarray:
        return np.array([getattr(segment, name) for segment in timeline], dtype=np.float64)[place]

    def amplitude(name: str) -> np.ndarray:
        return _smooth(np.where(within, 10 ** (track(name) / 20), 0.0), 0.010)

    hertz, emphasis = _intonation(timeline, edges, times, voice, manner, rng)
    return _Tracks(
        hertz=hertz,
        formants=_smooth(_formants(timeline).T[:, place], 0.030),
        damped=_smooth(track("nasal"), 0.015),
        voice=amplitude("voice") * emphasis,
        breath=amplitude("breath"),
        hiss=amplitude("hiss"),
        hiss_hz=track("hiss_hz"),
        hiss_band=track("hiss_band"),
    )


def _smooth(values: np.ndarray, seconds: float) -> np.ndarray:
    """A moving average, taken twice, along the last axis."""
    size = max(1, round(seconds / STEP))
    once = uniform_filter1d(values, size, axis=-1, mode="nearest")
    return uniform_filter1d(once, size, axis=-1, mode="nearest")


def _formants(timeline: list[Segment]) -> np.ndarray:
    """F1 to F3 of every segment, shape (segments, 3); one without its own has the next one's, as an [h] does."""
    known = [segment.formants for segment in timeline]
    after = (500.0, 1500.0, 2500.0)
    filled = []
    for formants in reversed(known):
        after = formants or after
        filled.append(after)
    return np.array(filled[::-1])


def _intonation(
    timeline: list[Segment],
    edges: np.ndarray,
    times: np.ndarray,
    voice: Voice,
    manner: Manner,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The fundamental frequency and the strength of the voice at `times`: a line, an accent on every stressed vowel."""
    begin, end = edges[0], edges[-1]
    tone = manner.pitch + manner.slope * ((times - begin) / (end - begin) - 0.5)
    drift = _smooth(rng.standard_normal(len(times)), 0.12)
    tone += 0.35 * drift / max(float(drift.std()), 1e-9)
    loud = np.zeros(len(times))
    vowels = [place for place, segment in enumerate(timeline) if segment.vowel]
    stressed = [place for place in vowels if timeline[place].stressed] or vowels[:1]
    for place in stressed:
        middle, width = (edges[place] + edges[place + 1]) / 2, 0.06 + 0.4 * (edges[place + 1] - edges[place])
        bump = np.exp(-(((times - middle) / width) ** 2))
        height = manner.span * rng.normal(2.6, 1.0)
        tone += height * bump
        loud += 0.35 * height * bump
    # The voice falls off towards the end.
    loud -= 5.0 * np.clip((times - begin) / (end - begin), 0, 1) ** 3
    hertz = voice.hertz * 2 ** (tone / 12)
    return np.clip(hertz, 55, 650), 10 ** (loud / 20)


def _excite(
    tracks: _Tracks, count: int, voice: Voice, manner: Manner, rate: int, rng: np.random.Generator
) -> np.ndarray:
    """All pulses through the tract, added up; shape (count,), of no certain level."""
    grid = _grid(rate)
    phase = np.cumsum(tracks.hertz) * STEP
    starts = np.interp(np.arange(phase[0], phase[-1]), phase, np.arange(len(phase)) * STEP)
    periods = np.diff(starts, append=starts[-1] + 1 / tracks.hertz[-1])
    starts = starts + manner.jitter * periods * rng.standard_normal(len(starts))
    # Seldom and by a hair may jitter put one pulse before the one before it.
    first = np.maximum.accumulate(np.floor(starts * rate).astype(int))
    lengths = np.diff(first, append=first[-1] + round(periods[-1] * rate))
    shimmer = 10 ** (2.5 * manner.jitter * rng.standard_normal(len(starts)))
    noise = rng.standard_normal(count + grid.size)
    place = np.clip(np.round(starts / STEP).astype(int), 0, len(phase) - 1)
    sound = np.zeros(count + 2 * grid.size)
    for begin in range(0, len(starts), _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        at, fraction = place[rows], np.clip(starts[rows] * rate - first[rows], 0, 1)
        pieces = _pieces(noise, first[rows], lengths[rows], grid.size)
        spectra = _spectra(tracks, at, fraction, lengths[rows], shimmer[rows], pieces, voice, manner, grid)
        waves = np.roll(fft.irfft(spectra, grid.size, axis=1), grid.ahead, axis=1)
        for wave, begins in zip(waves, first[rows] + grid.size - grid.ahead, strict=True):
            sound[begins : begins + grid.size] += wave[: len(sound) - begins]
    return sound[grid.size : grid.size + count]


@dataclass(frozen=True, eq=False)
class _Grid:
    """The frequencies of one pulse's spectrum.

    Attributes:
        rate: samples a second.
        size: samples of one pulse with its echo in the tract; beyond them it is below -50 dB.
        ahead: how many of them lie before the pulse's instant: it grows before the glottis closes.
        delay: e^(-jω), shape (bins,).
        fractions: e^(-jωk/16) for k from 0 to 16, shape (17, bins).
    """

    rate: int
    size: int
    ahead: int
    delay: np.ndarray
    fractions: np.ndarray


@lru_cache
def _grid(rate: int) -> _Grid:
    size = 1 << int(np.ceil(np.log2(0.04 * rate)))
    omega = 2 * np.pi * np.arange(size // 2 + 1) / size
    fractions = np.exp(-1j * omega * np.arange(17)[:, None] / 16)
    return _Grid(rate, size, size // 4, np.exp(-1j * omega), fractions)


def _pieces(noise: np.ndarray, first: np.ndarray, lengths: np.ndarray, size: int) -> np.ndarray:
    """Each pulse's own stretch of noise, up to the next pulse, shape (pulses, longest); zero behind it."""
    columns = np.arange(min(max(int(lengths.max()), 1), size // 2))
    pieces = noise[np.minimum(first[:, None] + columns, len(noise) - 1)]
    pieces[columns >= lengths[:, None]] = 0.0
    return pieces


def _spectra(
    tracks: _Tracks,
    at: np.ndarray,
    fraction: np.ndarray,
    lengths: np.ndarray,
    shimmer: np.ndarray,
    pieces: np.ndarray,
    voice: Voice,
    manner: Manner,
    grid: _Grid,
) -> np.ndarray:
    """The spectra of some pulses at the steps `at`, with the noise between them, behind the tract; (pulses, bins)."""
    tension = voice.tension + manner.tension
    pulses = _glottis(tracks.hertz[at], tension, grid)
    # A pulse gets the power of as much white noise as lasts until the next one.
    power = (pulses.real**2 + pulses.imag**2).mean(axis=1)
    strength = tracks.voice[at] * shimmer * np.sqrt(lengths / power)
    pulses *= strength[:, None] * grid.fractions[np.round(16 * fraction).astype(int)]
    # The breath is strongest while the glottis is open, which is the later part of a period.
    share = np.arange(pieces.shape[1]) / np.maximum(lengths, 1)[:, None]
    breath = tracks.breath[at] + tracks.voice[at] * 10 ** ((voice.breath_db + manner.breath_db) / 20)
    pulses += fft.rfft(pieces * (0.4 + 0.9 * share) * breath[:, None], grid.size, axis=1)
    pulses *= _tract(tracks.formants[:, at], tracks.damped[at], voice.tract, manner.smile, tension, grid)
    hissing = np.flatnonzero(tracks.hiss[at] > 1e-4)
    if len(hissing):
        hiss = _mouth(tracks.hiss_hz[at][hissing] * voice.tract * manner.smile, tracks.hiss_band[at][hissing], grid)
        hiss *= fft.rfft(pieces[hissing] * tracks.hiss[at][hissing, None], grid.size, axis=1)
        pulses[hissing] += hiss
    return pulses


def _glottis(hertz: np.ndarray, tension: float, grid: _Grid) -> np.ndarray:
    """Spectra of the glottal flow's derivative, shape (pulses, bins).

    A tense voice has a short open phase and a sharp closure, hence a higher glottal formant and less tilt.
    """
    open_quotient = np.clip(0.62 - 0.17 * tension, 0.3, 0.9)
    corner = np.clip(1000 * 2 ** (1.5 * tension), 150, 0.4 * grid.rate)
    formant, band = hertz / (2 * open_quotient), hertz / (1.73 * open_quotient)
    # Running backwards in time: the conjugate of a resonance.
    rising = fft.rfft(_quadratic(formant, band, grid.rate), grid.size, axis=1).conj()
    falling = 1 - np.exp(-2 * np.pi * corner / grid.rate) * grid.delay
    return ((1 - grid.delay) / falling) / rising


def _tract(
    formants: np.ndarray, damped: np.ndarray, length: float, smile: float, tension: float, grid: _Grid
) -> np.ndarray:
    """The vocal tract's response, shape (pulses, bins): F1 to F3 as they are, those above fixed."""
    bands = np.array(_BANDWIDTHS)[:, None] * (1 + np.array([[0.6], [1.6], [1.2]]) * damped)
    bands[0] *= 2 ** (-0.4 * tension)  # an open glottis damps the first formant
    polynomial, gain = np.ones((formants.shape[1], 1)), 1.0
    for hertz, band in zip(formants * (length * smile), bands, strict=True):
        factor = _quadratic(hertz, band, grid.rate)
        gain = gain * factor.sum(axis=1, keepdims=True)
        polynomial = _product(polynomial, factor)
    return gain * _upper(length, grid.rate) / fft.rfft(polynomial, grid.size, axis=1)


@lru_cache(maxsize=256)
def _upper(length: float, rate: int) -> np.ndarray:
    """The response of the formants above F3, shape (bins,)."""
    grid, response = _grid(rate), np.ones(1)
    for hertz in _UPPER:
        if hertz * length < 0.5 * rate:
            factor = _quadratic(np.array([hertz * length]), np.array([_UPPER_BANDWIDTH * hertz]), rate)
            response = response * factor.sum() / fft.rfft(factor[0], grid.size)
    return response


def _mouth(hertz: np.ndarray, band: np.ndarray, grid: _Grid) -> np.ndarray:
    """The response that makes noise a hiss, of unit power, shape (pulses, bins)."""
    response = (1 - grid.delay) / fft.rfft(_quadratic(np.minimum(hertz, 0.45 * grid.rate), band, grid.rate), grid.size)
    return response / np.sqrt((response.real**2 + response.imag**2).mean(axis=1, keepdims=True))


def _quadratic(hertz: np.ndarray, band: np.ndarray, rate: int) -> np.ndarray:
    """A resonance's denominator in powers of e^(-jω), shape (pulses, 3)."""
    radius = np.exp(-np.pi * band / rate)
    return np.stack([np.ones_like(radius), -2 * radius * np.cos(2 * np.pi * hertz / rate), radius**2], axis=1)


def _product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Products of polynomials, row by row."""
    result = np.zeros((len(second), first.shape[1] + second.shape[1] - 1))
    for power in range(second.shape[1]):
        result[:, power : power + first.shape[1]] += first * second[:, power : power + 1]
    return result
