"""Speakers, and how emotions sound in them: what the speech stand-ins have in common.

Emotions act on prosody and voice quality in the directions that Murray & Arnott (1993), "Toward the simulation of
emotion in synthetic speech", and Scherer (2003), "Vocal communication of emotion", report (and a smile
shortens the vocal tract: Tartter 1980, "Happy talk"), with so much chance and so
much of the speaker's own manner that they overlap. Level, duration and the choice of sentences are drawn without
regard to them: what is said slowly has fewer syllables.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

import numpy as np

from augrun.core.errors import RequestError
from augrun.corpora.standin import espeak, speech
from augrun.corpora.standin.phones import SENTENCES, natural_seconds

#: Bumped when the same utterance of the same seed sounds different; part of every speech stand-in's version.
VERSION = 1

#: Whose voices: the synthesiser of `speech`, or espeak-ng where it is installed.
VOICES = ("own", "espeak")

#: Where each emotion lies, in units of about the distance of two emotions.
EMOTIONS = {
    # pitch, span, slope, tempo, tension, breath, jitter, pauses, smile
    "angry": (0.6, 0.6, -0.3, 0.5, 1.0, -0.6, 0.5, -0.4, -0.3),
    "happy": (0.9, 0.8, 0.6, 0.4, 0.2, 0.0, -0.2, -0.3, 0.9),
    "neutral": (-0.3, -0.3, 0.0, 0.1, -0.1, -0.3, -0.2, 0.0, 0.0),
    "sad": (-0.5, -0.7, -0.5, -0.7, -0.8, 0.9, 0.3, 0.7, -0.5),
    "excited": (1.1, 1.0, 0.5, 0.7, 0.5, 0.0, 0.0, -0.6, 0.7),
    "frustrated": (0.1, 0.3, -0.5, 0.0, 0.6, 0.0, 0.4, 0.2, -0.4),
    "surprised": (1.2, 1.2, 1.2, 0.1, 0.1, 0.3, 0.0, 0.0, 0.2),
    "fearful": (1.2, 0.2, 0.5, 0.8, -0.2, 0.7, 0.9, 0.2, -0.2),
    "disgusted": (-0.2, 0.1, -0.7, -0.4, 0.4, 0.1, 0.6, 0.3, -0.5),
    "other": (0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
}

#: Standard deviations of what chance and the speaker add; they set how far the emotions overlap.
CHANCE = 0.4
HABIT = 0.2

#: Root mean square of the utterances in dB of full scale, whatever the emotion.
LEVELS_DB = (-36.0, -22.0)


@dataclass(frozen=True, eq=False)
class Speaker:
    """A person.

    Attributes:
        name: as the corpus names them.
        female: whether the voice is a woman's.
        voice: for the synthesiser.
        expression: how strongly they show emotions, about 1.2.
        habit: what they add to every emotion, shape (9,).
    """

    name: str
    female: bool
    voice: speech.Voice
    expression: float
    habit: np.ndarray


@dataclass(frozen=True, eq=False)
class Line:
    """One utterance, ready to be said."""

    speaker: Speaker
    sentences: tuple[str, ...]
    manner: speech.Manner
    seconds: float
    level_db: float

    @property
    def text(self) -> str:
        """Its words."""
        return " ".join(self.sentences)


def cast(names: Sequence[tuple[str, bool]], seed: int) -> list[Speaker]:
    """Speakers of these names (and whether female), each drawn from the name and the seed alone."""
    return [_speaker(name, female, generator(seed, "speaker", name)) for name, female in names]


def generator(seed: int, *names: str) -> np.random.Generator:
    """A generator of its own for everything that has a name: nothing depends on how much else there is."""
    return np.random.default_rng((seed, *(crc32(name.encode()) for name in names)))


def _speaker(name: str, female: bool, rng: np.random.Generator) -> Speaker:
    voice = speech.Voice(
        hertz=float((195 if female else 112) * 2 ** (rng.normal(0, 2.0) / 12)),
        tract=float((1.16 if female else 1.0) * np.exp(rng.normal(0, 0.03))),
        tension=float(np.clip(rng.normal(-0.1 if female else 0.0, 0.18), -0.5, 0.5)),
        breath_db=float(np.clip(rng.normal(-28 if female else -30, 2.0), -34, -24)),
        tempo=float(np.exp(rng.normal(0, 0.07))),
    )
    return Speaker(name, female, voice, float(rng.uniform(0.95, 1.45)), rng.normal(0, HABIT, len(EMOTIONS["angry"])))


def line(
    speaker: Speaker, emotions: Iterable[str], seconds: Sequence[float], rng: np.random.Generator, strength: float = 1.0
) -> Line:
    """Draws an utterance.

    Args:
        speaker: who says it.
        emotions: of `EMOTIONS`; several are mixed.
        seconds: the shortest and longest it may last.
        rng: all else.
        strength: how far the emotion shows.
    """
    duration = lasting(seconds, rng)
    level_db = float(rng.uniform(*LEVELS_DB))
    centre = np.mean([EMOTIONS[name] for name in emotions], axis=0)
    style = strength * speaker.expression * centre + speaker.habit + rng.normal(0, CHANCE, len(centre))
    manner = _manner(style)
    return Line(speaker, _sentences(duration, speaker.voice, manner, rng), manner, duration, level_db)


def lasting(seconds: Sequence[float], rng: np.random.Generator) -> float:
    """A duration, log-normal about the geometric mean of the shortest and the longest, in whole milliseconds."""
    shortest, longest = seconds
    middle, width = np.log(shortest * longest) / 2, np.log(longest / shortest) / 5
    return round(float(np.clip(np.exp(rng.normal(middle, width)), shortest, longest)), 3)


def _manner(style: np.ndarray) -> speech.Manner:
    pitch, span, slope, tempo, tension, breath, jitter, pauses, smile = np.clip(style, -2.2, 2.2).tolist()
    return speech.Manner(
        pitch=2.6 * pitch,
        span=2 ** (0.7 * span),
        slope=-2.0 + 2.5 * slope,
        tempo=2 ** (0.28 * tempo),
        tension=1.0 * tension,
        breath_db=6.0 * breath,
        jitter=0.008 * 2 ** (0.8 * jitter),
        pauses=2 ** (0.7 * pauses),
        smile=2 ** (0.06 * smile),
    )


def _sentences(seconds: float, voice: speech.Voice, manner: speech.Manner, rng: np.random.Generator) -> tuple[str, ...]:
    """What is said: of some random choices, the one that needs the least stretching to last so long."""
    pace = voice.tempo * manner.tempo
    pause = speech.SILENCE.seconds * manner.pauses
    best: tuple[float, tuple[str, ...]] | None = None
    for _ in range(6):
        chosen: list[str] = []
        room = seconds - 2 * speech.MARGIN
        while True:
            fitting = [sentence for sentence in SENTENCES if natural_seconds(sentence) / pace < 1.1 * room]
            if not fitting:
                break
            # Seldom the short ones where there is room for long ones.
            weights = np.array([natural_seconds(sentence) for sentence in fitting])
            chosen.append(str(rng.choice(fitting, p=weights / weights.sum())))
            room -= natural_seconds(chosen[-1]) / pace + pause
        said = tuple(chosen or ["oh"])
        misfit = abs(np.log(speech.usual_seconds(said, voice, manner) / seconds))
        if best is None or misfit < best[0]:
            best = misfit, said
    assert best is not None
    return best[1]


def perform(utterance: Line, rate: int, voices: str, rng: np.random.Generator) -> np.ndarray:
    """Says an utterance.

    Args:
        utterance: what, who and how.
        rate: samples a second.
        voices: of `VOICES`.
        rng: accents and noise.

    Returns:
        Mono float32, shape (round(seconds · rate),).
    """
    what, speaker, how, level_db = utterance.sentences, utterance.speaker, utterance.manner, utterance.level_db
    if voices == "espeak":
        return espeak.say(what, utterance.seconds, speaker.voice, speaker.female, how, level_db, rate)
    return speech.speak(what, utterance.seconds, speaker.voice, how, level_db, rate, rng)


Item = TypeVar("Item")


def at_once(work: Callable[[Item], Any], items: Iterable[Item]) -> None:
    """Does `work` for every item on all cores; the first failure is raised."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(work, items))


def write_text(path: Path, lines: Iterable[str]) -> None:
    """Writes lines, with the folders above them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{text}\n" for text in lines), encoding="utf-8", newline="\n")


def check_count(dataset: str, name: str, value: Any) -> int:
    """The value, a number from 1 on.

    Raises:
        RequestError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise RequestError(f"standin {dataset}: {name}={value!r} is no number from 1 on")
    return value


def check(dataset: str, counts: Sequence[str], sizes: dict[str, Any], least: float = 0.3) -> dict[str, Any]:
    """The sizes of a speech stand-in as plain values.

    Args:
        dataset: its name, for messages.
        counts: which of the sizes are counts.
        sizes: with `seconds` (a range) and `voice` besides.
        least: the shortest duration that can be asked for.

    Raises:
        RequestError: a size is not what it should be, or espeak-ng is asked for and not there.
    """
    checked: dict[str, Any] = {}
    for name in counts:
        checked[name] = check_count(dataset, name, sizes[name])
    try:
        shortest, longest = (float(value) for value in sizes["seconds"])
    except (TypeError, ValueError):
        shortest, longest = 0.0, -1.0
    if not least <= shortest <= longest <= 600:
        wanted = f"no range [shortest, longest] in {least:g} to 600"
        raise RequestError(f"standin {dataset}: seconds={sizes['seconds']!r} is {wanted}")
    if sizes["voice"] not in VOICES:
        raise RequestError(f"standin {dataset}: voice={sizes['voice']!r} is none of {', '.join(VOICES)}")
    if sizes["voice"] == "espeak":
        espeak.program()
    return {**checked, "seconds": [shortest, longest], "voice": sizes["voice"]}
