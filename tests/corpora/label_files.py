"""Label files of licensed corpora, made anew with the published counts and the grammar of the real names.

What is said, by whom and when is drawn at random; how many utterances each session, class and speaker has is not. Every
sound is a link to one short file.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from augrun.core import audio

RATE = 16_000
SECONDS = 0.6

#: For each session of IEMOCAP: angry, happy, neutral and sad utterances; those of the woman and of the man; all.
IEMOCAP_SESSIONS = {
    1: ((229, 278, 384, 194), (528, 557), 1819),
    2: ((137, 327, 362, 197), (481, 542), 1811),
    3: ((240, 286, 320, 305), (522, 629), 2136),
    4: ((327, 303, 258, 143), (528, 503), 2103),
    5: ((170, 442, 384, 245), (590, 651), 2170),
}
IEMOCAP_DIALOGS = {1: 28, 2: 30, 3: 32, 4: 30, 5: 31}
#: The labels that are none of the four classes; and how the happy utterances part.
IEMOCAP_OTHERS = {"xxx": 2507, "fru": 1849, "sur": 107, "fea": 40, "oth": 3, "dis": 2}
IEMOCAP_HAPPY = {"hap": 595, "exc": 1041}

#: 8,438 turns; how the last 640 part into O and X is a guess.
MSP_IMPROV_LABELS = {"A": 792, "H": 2644, "N": 3477, "S": 885, "O": 140, "X": 500}

_RATERS = (
    *(
        "C-E2:\tNeutral;\t()",
        "C-E3:\tNeutral; Anger;\t(a bit tense)",
        "C-E4:\tOther;\t(a r\xe9sum\xe9)",
        "C-F1:\tNeutral;\t()",
    ),
    *("A-E3:\tval 3; act 2; dom  2;\t()", "A-E4:\tval 2; act 3; dom  3;\t()", "A-F1:\tval 3; act 2; dom  1;\t()"),
)


def tiny_wav(folder: Path, rate: int = RATE) -> Path:
    """A sound of 0.6 s."""
    path = folder / "tiny.wav"
    audio.write(path, 0.1 * np.sin(np.arange(round(SECONDS * rate)) / 10), rate)
    return path


def link(path: Path, sound: Path) -> None:
    """Puts the sound at `path` without writing it once more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.link(sound, path)


def iemocap_dialogs(session: int) -> list[str]:
    """The names of a session's dialogs, whose numbers differ."""
    scripted = ["script01_1", "script01_2", "script01_3", "script02_1", "script02_2", "script03_1", "script03_2"]
    improvised = [f"impro{number:02d}" for number in range(1, 8 if session == 1 else 9)]
    dialogs = [f"Ses0{session}{letter}_{name}" for letter in "FM" for name in (*improvised, *scripted)]
    if session == 3:  # two of one actor's improvisations are in two pieces each
        whole = {"Ses03M_impro05", "Ses03M_impro08"}
        dialogs = [piece for name in dialogs for piece in ((f"{name}a", f"{name}b") if name in whole else (name,))]
    return dialogs + (["Ses05M_script01_1b"] if session == 5 else [])


def iemocap_utterances(seed: int = 0) -> list[tuple[str, str]]:
    """Name and label of 10,039 utterances."""
    rng = np.random.default_rng(seed)
    happy = rng.permutation(np.repeat(list(IEMOCAP_HAPPY), list(IEMOCAP_HAPPY.values()))).tolist()
    others = rng.permutation(np.repeat(list(IEMOCAP_OTHERS), list(IEMOCAP_OTHERS.values()))).tolist()
    utterances = []
    for session, (classes, voices, everything) in IEMOCAP_SESSIONS.items():
        labels = ["ang"] * classes[0] + ["neu"] * classes[2] + ["sad"] * classes[3]
        labels += [happy.pop() for _ in range(classes[1])]
        spoken = list(zip(labels, rng.permutation(["F"] * voices[0] + ["M"] * voices[1]).tolist(), strict=True))
        more = everything - len(spoken)
        spoken += [(others.pop(), letter) for letter in rng.choice(["F", "M"], more).tolist()]
        dialogs = iemocap_dialogs(session)
        said: dict[str, int] = defaultdict(int)
        for place, row in enumerate(rng.permutation(everything)):
            label, letter = spoken[row]
            start = f"{dialogs[place % len(dialogs)]}_{letter}"
            utterances.append((f"{start}{said[start]:03d}", label))
            said[start] += 1
    assert not happy
    assert not others
    return utterances


def write_iemocap(root: Path, utterances: Iterable[tuple[str, str]], sound: Path | None = None) -> Path:
    """Writes the five sessions' label files, and a sound for each utterance if there is one.

    Beside them lies what must not be read: single raters' views, and what a Mac leaves.
    """
    dialogs: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, label in utterances:
        dialogs[name[:-5]].append((name, label))
    for dialog, spoken in dialogs.items():
        session = root / f"Session{dialog[4]}"
        labels = session / "dialog/EmoEvaluation"
        labels.mkdir(parents=True, exist_ok=True)
        (labels / f"{dialog}.txt").write_text(iemocap_labels(spoken), encoding="latin-1")
        (labels / f"._{dialog}.txt").write_bytes(b"\x00\x05\x16\x07 Mac OS X")
        if sound is not None:
            for name, _ in spoken:
                link(session / f"sentences/wav/{dialog}/{name}.wav", sound)
            (session / f"sentences/wav/{dialog}/._{spoken[0][0]}.wav").write_bytes(b"\x00\x05\x16\x07 Mac OS X")
    for number in range(1, 6):
        views = root / f"Session{number}/dialog/EmoEvaluation/Categorical"
        views.mkdir(parents=True, exist_ok=True)
        (views / f"Ses0{number}F_impro01_e2.txt").write_text(f"Ses0{number}F_impro01_F000 :Neutral state; ()\n")
        (views / f"Ses0{number}F_impro01.txt").write_text(f"Ses0{number}F_impro01_F000 :Neutral state; ()\n")
    return root


def iemocap_labels(spoken: Sequence[tuple[str, str]]) -> str:
    """A dialog's label file: utterances of 1.95 s, one every two seconds."""
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    for place, (name, label) in enumerate(spoken):
        start = 6.2901 + 2 * place
        lines += [f"[{start:.4f} - {start + 1.95:.4f}]\t{name}\t{label}\t[2.5000, 2.5000, 2.5000]", *_RATERS, ""]
    return "\n".join(lines) + "\n"


def msp_improv_turns(seed: int = 0) -> list[tuple[str, str]]:
    """Name (`S01A-F01-P-FM01`) and label of 8,438 turns."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(list(MSP_IMPROV_LABELS), list(MSP_IMPROV_LABELS.values()))).tolist()
    speakers = [f"{letter}{number:02d}" for number in range(1, 7) for letter in "FM"]
    turns: list[tuple[str, str]] = []
    said: dict[str, int] = defaultdict(int)
    for place, label in enumerate(labels):
        sentence = f"S{rng.integers(1, 21):02d}{rng.choice(list('AHSN'))}"
        pair = rng.choice(["FM", "MF", "FF", "MM"])
        start = f"{sentence}-{speakers[place % 12]}-{rng.choice(list('PRST'))}-{pair}"
        said[start] += 1
        turns.append((f"{start}{said[start]:02d}", label))
    return turns


def write_msp_improv(
    root: Path,
    turns: Sequence[tuple[str, str]],
    sound: Path | None = None,
    label_file: str = "Evalution.txt",
    audio_folder: str = "Audio",
) -> Path:
    """Writes the label file, and a sound for each turn if there is one; some values are not given."""
    blocks = []
    for place, (name, label) in enumerate(turns):
        given = "NaN" if place % 17 == 0 else "2.8"
        blocks += [
            f"UTD-IMPROV-{name}.avi; {label}; A:{given}; V:3.2; D:3.0 ; N:4.0;",
            "WORKER00000014; Neutral; Neutral, ; A:3.000000; V:3.000000; D:3.000000; N:4.000000;",
            f"WORKER00000015; Other; Other (a r\xe9sum\xe9; or so), ; A:{given}; V:3.000000; D:NaN; N:4.000000;",
            "",
        ]
    root.mkdir(parents=True, exist_ok=True)
    (root / label_file).write_text("\n".join(blocks), encoding="latin-1")
    if sound is not None:
        for name, _ in turns:
            link(root / audio_folder / msp_improv_path(name), sound)
    return root


def msp_improv_path(name: str) -> str:
    """Where a turn's sound lies."""
    sentence, speaker, condition, _ = name.split("-")
    return f"session{int(speaker[1:])}/{sentence}/{condition}/MSP-IMPROV-{name}.wav"


def write_talk(root: Path, part: str, talk: str, lines: Iterable[str], samples: np.ndarray | None) -> None:
    """Writes a transcript of TED-LIUM and, if there is one, its sound as a SPHERE file."""
    for kind in ("stm", "sph"):
        (root / part / kind).mkdir(parents=True, exist_ok=True)
    (root / part / "stm" / f"{talk}.stm").write_text("".join(f"{line}\n" for line in lines))
    if samples is not None:
        soundfile.write(root / part / "sph" / f"{talk}.sph", samples, RATE, format="NIST", subtype="PCM_16")
