"""A miniature of IEMOCAP (Busso et al. 2008): five sessions of a woman and a man, in the release's layout.

Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M000.wav     (16 kHz mono)
Session1/dialog/EmoEvaluation/Ses01F_impro01.txt                  (consensus and raters)
Session1/dialog/EmoEvaluation/{Categorical,Attribute,Self-evaluation}/...     (single raters)
Session1/dialog/transcriptions/Ses01F_impro01.txt
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core.audio import write
from augrun.corpora.standin import voices
from augrun.corpora.standin.voices import Line, Speaker

#: Bumped when the same request renders something else.
VERSION = f"{voices.VERSION}.1"

#: What can be asked for: utterances of each speaker and class (happy with excited), and of each speaker with other
#: labels; the range of durations in seconds; whose voices (own or espeak).
SIZES: dict[str, Any] = {"utterances": 6, "others": 4, "seconds": (0.6, 8.0), "voice": "own"}

RATE = 16_000
SESSIONS = 5

#: Labels of the release: the emotion that is heard, its name in raters' lines, and its valence, activation, dominance.
LABELS = {
    "ang": ("angry", "Anger", (1.9, 3.7, 3.9)),
    "hap": ("happy", "Happiness", (3.9, 3.2, 3.1)),
    "exc": ("excited", "Excited", (4.0, 3.7, 3.4)),
    "neu": ("neutral", "Neutral", (2.9, 2.7, 2.8)),
    "sad": ("sad", "Sadness", (2.2, 2.5, 2.6)),
    "fru": ("frustrated", "Frustration", (2.3, 3.1, 3.4)),
    "sur": ("surprised", "Surprise", (3.0, 3.4, 2.9)),
    "fea": ("fearful", "Fear", (2.2, 3.4, 2.5)),
    "dis": ("disgusted", "Disgust", (2.0, 2.9, 3.1)),
    "oth": ("other", "Other", (2.7, 2.9, 2.9)),
}

#: Where the raters agree on nothing.
NO_AGREEMENT = "xxx"

_RARE = ("sur", "fea", "oth", "dis")

#: What a Mac leaves beside the files it copies; the release has some.
_RESOURCE_FORK = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \x00\x02\x00\x00\x00\t\x00\x00\x002\x00\x00\x0e\xb0"


@dataclass(frozen=True)
class _Turn:
    """An utterance in its place; `heard` names the emotions in its sound."""

    name: str
    label: str
    heard: tuple[str, ...]
    start: float
    line: Line

    @property
    def span(self) -> tuple[float, float]:
        return self.start, self.start + self.line.seconds


def check(**sizes: Any) -> dict[str, Any]:
    """The sizes as plain values.

    Raises:
        RequestError: a size is not what it should be.
    """
    return voices.check("iemocap", ("utterances", "others"), sizes)


def render(folder: Path, seed: int, utterances: int, others: int, seconds: list[float], voice: str) -> None:
    """Writes the corpus into `folder`, which is empty."""
    turns: list[tuple[Path, _Turn]] = []
    for session in range(1, SESSIONS + 1):
        home = folder / f"Session{session}"
        for dialog, spoken in _session(session, seed, utterances, others, seconds).items():
            _write_dialog(home / "dialog", dialog, spoken, seed)
            place = home / "sentences/wav" / dialog
            place.mkdir(parents=True)
            turns += [(place / f"{turn.name}.wav", turn) for turn in spoken]
            if dialog.endswith("F_impro01"):
                (home / "dialog/EmoEvaluation" / f"._{dialog}.txt").write_bytes(_RESOURCE_FORK)
                (place / f"._{spoken[0].name}.wav").write_bytes(_RESOURCE_FORK)

    def sound(place: tuple[Path, _Turn]) -> None:
        path, turn = place
        write(path, voices.perform(turn.line, RATE, voice, voices.generator(seed, "sound", turn.name)), RATE)

    voices.at_once(sound, turns)


def _dialogs(session: int) -> list[str]:
    """Names of a session's dialogs; the letter says who wore the markers, both speak in each."""
    improvised = "impro05a" if session == 3 else "impro03"
    scripted = "script01_1b" if session == 5 else "script02_2"
    start = f"Ses{session:02d}"
    return [f"{start}F_impro01", f"{start}F_script01_1", f"{start}M_{improvised}", f"{start}M_{scripted}"]


def _session(session: int, seed: int, utterances: int, others: int, seconds: list[float]) -> dict[str, list[_Turn]]:
    """Each dialog's turns, in the order of time."""
    rng = voices.generator(seed, "session", str(session))
    dialogs: dict[str, list[_Turn]] = {name: [] for name in _dialogs(session)}
    pair = voices.cast([(f"{session}F", True), (f"{session}M", False)], seed)
    shared = {speaker.name: rng.permutation(_labels(speaker, utterances, others)).tolist() for speaker in pair}
    clocks = {name: float(rng.uniform(3, 9)) for name in dialogs}
    counted: dict[tuple[str, str], int] = {}
    for place in range(4 * utterances + others):
        dialog = list(dialogs)[place % len(dialogs)]
        for speaker in pair if rng.random() < 0.5 else pair[::-1]:
            number = counted.setdefault((dialog, speaker.name), 0)
            counted[dialog, speaker.name] += 1
            name = f"{dialog}_{speaker.name[-1]}{number:03d}"
            turn = _turn(name, shared[speaker.name][place], speaker, round(clocks[dialog], 4), seconds, seed)
            clocks[dialog] = max(0.0, turn.span[1] + rng.uniform(-0.3, 1.2))
            dialogs[dialog].append(turn)
    return dialogs


def _labels(speaker: Speaker, utterances: int, others: int) -> list[str]:
    """A speaker's labels: every class as often, a third of the happy ones `hap`, the rest `exc` (595 : 1,041 there)."""
    happy = ["hap" if place % 3 == 0 else "exc" for place in range(utterances)]
    first = int(speaker.name[:-1]) + 2 * (not speaker.female)
    rare = [_RARE[(first + place) % len(_RARE)] for place in range(len(_RARE))]
    pattern = [NO_AGREEMENT, "fru", rare[0], rare[1], NO_AGREEMENT, "fru", rare[2], rare[3]]
    more = [pattern[place % len(pattern)] for place in range(others)]
    return [label for label in ("ang", "neu", "sad") for _ in range(utterances)] + happy + more


def _turn(name: str, label: str, speaker: Speaker, start: float, seconds: list[float], seed: int) -> _Turn:
    rng = voices.generator(seed, "turn", name)
    line_rng, pick_rng = rng.spawn(2)
    if label == NO_AGREEMENT:
        heard = tuple(pick_rng.choice(["ang", "hap", "neu", "sad", "fru"], size=3, replace=False).tolist())
    else:
        heard = (label,)
    emotions = [LABELS[kind][0] for kind in heard]
    return _Turn(name, label, heard, start, voices.line(speaker, emotions, seconds, line_rng))


def _write_dialog(place: Path, dialog: str, turns: list[_Turn], seed: int) -> None:
    """The dialog's label files: the consensus with all raters, each rater alone, and the transcription."""
    rng = voices.generator(seed, "raters", dialog)
    ratings = {turn.name: _ratings(turn, rng) for turn in turns}
    evaluation = place / "EmoEvaluation"
    blocks = [line for turn in turns for line in _block(turn, ratings[turn.name])]
    voices.write_text(
        evaluation / f"{dialog}.txt", ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", "", *blocks]
    )
    for rater in ("E2", "E3", "E4"):
        lines = [f"{name} :{given.categories[rater]}; ()" for name, given in ratings.items()]
        voices.write_text(evaluation / "Categorical" / f"{dialog}_{rater.lower()}_cat.txt", lines)
    for rater in ("E3", "E4"):
        lines = [f"{name} {_attributes(given.values[rater], ':')}; ()" for name, given in ratings.items()]
        voices.write_text(evaluation / "Attribute" / f"{dialog}_{rater.lower()}_atr.txt", lines)
    for sex in "FM":
        lines = [f"{name} :{given.categories[f'{sex}1']}; ()" for name, given in ratings.items() if name[-4] == sex]
        voices.write_text(evaluation / "Self-evaluation" / f"{dialog}_{sex.lower()}1_cat.txt", lines)
    words = [
        f"{turn.name} [{turn.span[0]:08.4f}-{turn.span[1]:08.4f}]: {turn.line.text.capitalize()}." for turn in turns
    ]
    voices.write_text(place / "transcriptions" / f"{dialog}.txt", words)


@dataclass(frozen=True)
class _Ratings:
    """What each rater said: a category, and valence, activation and dominance from 1 to 5."""

    categories: dict[str, str]
    values: dict[str, tuple[int, int, int]]


def _ratings(turn: _Turn, rng: np.random.Generator) -> _Ratings:
    """Three raters (two of them at least agree on a label that is one) and the speaker's own view."""
    raters, own = ["E2", "E3", "E4"], f"{turn.line.speaker.name[-1]}1"
    kinds = [turn.heard[place % len(turn.heard)] for place in range(3)]
    if turn.label != NO_AGREEMENT and rng.random() < 0.4:
        kinds[int(rng.integers(3))] = str(rng.choice(list(LABELS)))
    categories = {rater: LABELS[kind][1] for rater, kind in zip(raters, kinds, strict=True)}
    categories[own] = LABELS[kinds[int(rng.integers(3))]][1]
    centre = np.mean([LABELS[kind][2] for kind in turn.heard], axis=0)
    values = {}
    for rater in ("E3", "E4", own):
        valence, activation, dominance = np.clip(np.round(centre + rng.normal(0, 0.6, 3)), 1, 5).astype(int).tolist()
        values[rater] = (valence, activation, dominance)
    return _Ratings(categories, values)


def _block(turn: _Turn, given: _Ratings) -> Iterator[str]:
    """A turn's lines in the consensus file."""
    mean = np.mean([given.values["E3"], given.values["E4"]], axis=0)
    start, end = turn.span
    values = ", ".join(f"{value:.4f}" for value in mean)
    yield f"[{start:.4f} - {end:.4f}]\t{turn.name}\t{turn.label}\t[{values}]"
    yield from (f"C-{rater}:\t{category};\t()" for rater, category in given.categories.items())
    yield from (f"A-{rater}:\t{_attributes(numbers)};\t()" for rater, numbers in given.values.items())
    yield ""


def _attributes(values: tuple[int, int, int], mark: str = "") -> str:
    valence, activation, dominance = values
    if mark:
        return f":act {activation}; :val {valence}; :dom  {dominance}"
    return f"val {valence}; act {activation}; dom  {dominance}"
