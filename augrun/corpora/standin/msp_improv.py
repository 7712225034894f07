"""A miniature of MSP-IMPROV (Busso et al. 2017): six sessions of a woman and a man, in the release's layout.

    Evalution.txt                                                     (sic; consensus and raters)
    Audio/session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav              (44.1 kHz mono)

A name says the target sentence, the emotion that was intended, who speaks, and how the turn came about: read (R), the
target sentence within a scene (T), the rest of that scene (S), or between the scenes (P). The label is what is heard.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core.audio import write
from augrun.corpora.standin import voices
from augrun.corpora.standin.voices import Line, Speaker

#: Bumped when the same request renders something else.
VERSION = f"{voices.VERSION}.1"

#: What can be asked for: utterances of each speaker and class, and of each speaker with other labels (O and X); the
#: range of durations in seconds; whose voices (own or espeak).
SIZES: dict[str, Any] = {"utterances": 6, "others": 2, "seconds": (0.6, 5.0), "voice": "own"}

RATE = 44_100
SESSIONS = 6

#: The emotion that is heard, its name in raters' lines, and its valence, activation and dominance.
LABELS = {
    "A": ("angry", "Angry", (1.9, 3.8, 3.7)),
    "H": ("happy", "Happy", (4.0, 3.6, 3.3)),
    "S": ("sad", "Sad", (2.0, 2.4, 2.5)),
    "N": ("neutral", "Neutral", (3.1, 2.8, 3.0)),
    "O": ("surprised", "Other", (2.9, 3.2, 2.9)),
}

#: Where the raters agree on nothing.
NO_AGREEMENT = "X"

_CONDITIONS = "PRST"
_CONDITION_ODDS = (0.3, 0.1, 0.5, 0.1)
_PAIRS = ("FM", "MF", "FF", "MM")

#: How often something else is heard than was intended, and how often a mean was not given.
UNINTENDED = 0.25
NOT_GIVEN = 0.05


@dataclass(frozen=True)
class _Turn:
    """An utterance; `name` is what its names in the audio folder and in the labels share."""

    name: str
    session: int
    label: str
    heard: tuple[str, ...]
    line: Line

    @property
    def path(self) -> str:
        sentence, _, condition, _ = self.name.split("-")
        return f"Audio/session{self.session}/{sentence}/{condition}/MSP-IMPROV-{self.name}.wav"


def check(**sizes: Any) -> dict[str, Any]:
    """The sizes as plain values.

    Raises:
        RequestError: a size is not what it should be.
    """
    return voices.check("msp_improv", ("utterances", "others"), sizes)


def render(folder: Path, seed: int, utterances: int, others: int, seconds: list[float], voice: str) -> None:
    """Writes the corpus into `folder`, which is empty."""
    turns: list[_Turn] = []
    for session in range(1, SESSIONS + 1):
        names = [(f"F{session:02d}", True), (f"M{session:02d}", False)]
        for speaker in voices.cast(names, seed):
            turns += _turns(speaker, session, seed, utterances, others, seconds)
    turns.sort(key=lambda turn: turn.name)
    rng = voices.generator(seed, "raters")
    voices.write_text(folder / "Evalution.txt", [line for turn in turns for line in _block(turn, rng)])
    for turn in turns:
        (folder / turn.path).parent.mkdir(parents=True, exist_ok=True)

    def sound(turn: _Turn) -> None:
        samples = voices.perform(turn.line, RATE, voice, voices.generator(seed, "sound", turn.name))
        write(folder / turn.path, samples, RATE)

    voices.at_once(sound, turns)


def _turns(
    speaker: Speaker, session: int, seed: int, utterances: int, others: int, seconds: list[float]
) -> list[_Turn]:
    """All turns of one speaker: every class as often, and O and X in turn."""
    rng = voices.generator(seed, "turns", speaker.name)
    labels = [label for label in "AHSN" for _ in range(utterances)]
    labels += [("O", NO_AGREEMENT)[(session + place) % 2] for place in range(others)]
    counted: Counter[str] = Counter()
    turns = []
    for label in labels:
        meant = label if label in "AHSN" and rng.random() >= UNINTENDED else str(rng.choice(list("AHSN")))
        sentence = f"S{rng.integers(1, 21):02d}{meant}"
        condition = str(rng.choice(list(_CONDITIONS), p=_CONDITION_ODDS))
        start = f"{sentence}-{speaker.name}-{condition}-{rng.choice(_PAIRS)}"
        counted[start] += 1
        heard = (label,) if label != NO_AGREEMENT else tuple(rng.choice(list("AHSN"), size=3, replace=False).tolist())
        name = f"{start}{counted[start]:02d}"
        emotions = [LABELS[kind][0] for kind in heard]
        utterance = voices.line(speaker, emotions, seconds, voices.generator(seed, "turn", name))
        turns.append(_Turn(name, session, label, heard, utterance))
    return turns


def _block(turn: _Turn, rng: np.random.Generator) -> list[str]:
    """A turn's lines in the label file: the consensus, its raters, a blank one."""
    raters = int(rng.integers(5, 8))
    kinds = [turn.heard[place % len(turn.heard)] for place in range(raters)]
    if turn.label != NO_AGREEMENT:
        strays = rng.choice(raters, size=int(rng.integers(0, raters // 2)), replace=False)
        for place in strays:
            kinds[place] = str(rng.choice(list(LABELS)))
    valence, activation, dominance = np.mean([LABELS[kind][2] for kind in turn.heard], axis=0)
    # Activation is stored the other way round.
    centre = np.array([6 - activation, valence, dominance, 3.5])
    given = np.clip(np.round(centre + rng.normal(0, 0.7, size=(raters, 4))), 1, 5)
    means = [f"{value:.1f}" for value in given.mean(axis=0)]
    if rng.random() < NOT_GIVEN:
        means[int(rng.integers(4))] = "NaN"
    consensus = f"UTD-IMPROV-{turn.name}.avi; {turn.label}; A:{means[0]}; V:{means[1]}; D:{means[2]} ; N:{means[3]};"
    lines = []
    for kind, (a, v, d, n) in zip(kinds, given, strict=True):
        rater, category = f"WORKER{rng.integers(1, 400):08d}", LABELS[kind][1]
        lines.append(f"{rater}; {category}; {category}; A:{a:.6f}; V:{v:.6f}; D:{d:.6f}; N:{n:.6f};")
    return [consensus, *lines, ""]
