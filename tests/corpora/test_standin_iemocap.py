"""The miniature of IEMOCAP: layout, grammar of its label files, and what its classes can be told by."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from augrun.core import audio
from augrun.corpora.index import Index
from augrun.corpora.standin import render
from tests.corpora.test_standin_speech import check_what_tells_the_classes, contents, reader_of

TURN = re.compile(
    r"\[(\d+\.\d{4}) - (\d+\.\d{4})\]\t(Ses0([1-5])[FM]_(?:impro\d\d[ab]?|script\d\d_\d[b]?)_([FM])\d{3})\t"
    r"(xxx|fru|neu|ang|sad|exc|hap|sur|fea|oth|dis)\t\[(\d\.\d{4}), (\d\.\d{4}), (\d\.\d{4})\]"
)
CATEGORY = re.compile(r"C-(E[234]|[FM]1):\t(\w+);\t\(\)")
VALUES = re.compile(r"A-(E[34]|[FM]1):\tval [1-5]; act [1-5]; dom  [1-5];\t\(\)")
CLASSES = {"ang": "angry", "hap": "happy", "exc": "happy", "neu": "neutral", "sad": "sad"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render("iemocap", tmp_path_factory.mktemp("iemocap") / "corpus", seed=1, seconds=[0.6, 4.0])


@pytest.fixture(scope="module")
def turns(root: Path) -> list[re.Match[str]]:
    """The consensus lines."""
    texts = [path.read_text() for path in sorted(root.glob("Session*/dialog/EmoEvaluation/Ses*.txt"))]
    assert all(text.startswith("% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n") for text in texts)
    lines = [line for text in texts for line in text.splitlines() if line.startswith("[")]
    found = [TURN.fullmatch(line) for line in lines]
    assert None not in found
    return [match for match in found if match]


def wav(root: Path, turn: str) -> Path:
    return root / f"Session{turn[4]}/sentences/wav/{turn.rsplit('_', 1)[0]}/{turn}.wav"


def test_every_line_has_its_sound_and_every_sound_its_line(root: Path, turns: list[re.Match[str]]) -> None:
    sounds = {path.stem for path in root.glob("Session*/sentences/wav/*/Ses*.wav")}
    assert sounds == {turn[3] for turn in turns}
    assert len(turns) == len(sounds) == 10 * (4 * 6 + 4)
    for turn in turns:
        info = soundfile.info(wav(root, turn[3]))
        assert (info.samplerate, info.channels, info.format, info.subtype) == (16_000, 1, "WAV", "PCM_16")
        assert info.duration == pytest.approx(float(turn[2]) - float(turn[1]), abs=2e-4)
        assert 0.6 <= info.duration <= 4.0


def test_every_speaker_has_every_class_and_some_other_labels(turns: list[re.Match[str]]) -> None:
    counts = Counter((turn[4] + turn[5], turn[6]) for turn in turns)
    for speaker in (f"{session}{sex}" for session in range(1, 6) for sex in "FM"):
        own = {label: count for (name, label), count in counts.items() if name == speaker}
        assert (own["ang"], own["neu"], own["sad"], own["hap"], own["exc"]) == (6, 6, 6, 2, 4)
        assert (own["xxx"], own["fru"]) == (1, 1)
        assert len(own) == 9
    assert {label for _, label in counts} == {*CLASSES, "xxx", "fru", "sur", "fea", "oth", "dis"}


def test_dialogs_have_odd_names_and_both_speakers(turns: list[re.Match[str]]) -> None:
    dialogs: dict[str, set[str]] = {}
    for turn in turns:
        dialogs.setdefault(turn[3].rsplit("_", 1)[0], set()).add(turn[5])
    assert {"Ses03M_impro05a", "Ses05M_script01_1b", "Ses01F_impro01"} <= set(dialogs)
    assert len(dialogs) == 20
    assert all(sexes == {"F", "M"} for sexes in dialogs.values())


def test_blocks_hold_three_raters_and_the_speakers_own_view(root: Path) -> None:
    text = (root / "Session3/dialog/EmoEvaluation/Ses03M_impro05a.txt").read_text()
    header, *blocks = text.strip("\n").split("\n\n")
    assert header.startswith("%")
    for block in blocks:
        first, *raters = block.split("\n")
        turn = TURN.fullmatch(first)
        assert turn
        categories = [CATEGORY.fullmatch(line) for line in raters[:4]]
        assert [match and match[1] for match in categories] == ["E2", "E3", "E4", f"{turn[5]}1"]
        assert [bool(VALUES.fullmatch(line)) for line in raters[4:]] == [True] * 3
        assert all(1 <= float(turn[place]) <= 5 for place in (7, 8, 9))
        most = Counter(match[2] for match in categories[:3] if match).most_common(1)[0][1]
        assert most == 1 if turn[6] == "xxx" else most >= 2


def test_there_is_what_a_careless_reader_trips_over(root: Path) -> None:
    below = root / "Session1/dialog/EmoEvaluation"
    assert sorted(path.name for path in below.iterdir() if path.is_dir()) == [
        "Attribute",
        "Categorical",
        "Self-evaluation",
    ]
    single = (below / "Categorical/Ses01F_impro01_e2_cat.txt").read_text().splitlines()
    assert re.fullmatch(r"Ses01F_impro01_[FM]\d{3} :\w+; \(\)", single[0])
    attribute = (below / "Attribute/Ses01F_impro01_e3_atr.txt").read_text().splitlines()
    assert re.fullmatch(r"Ses01F_impro01_[FM]\d{3} :act [1-5]; :val [1-5]; :dom  [1-5]; \(\)", attribute[0])
    own = (below / "Self-evaluation/Ses01F_impro01_f1_cat.txt").read_text().splitlines()
    assert all(line.startswith("Ses01F_impro01_F") for line in own)
    with pytest.raises(UnicodeDecodeError):
        (below / "._Ses01F_impro01.txt").read_text(encoding="utf-8")
    assert len(list((root / "Session1/sentences/wav").glob("*/._*.wav"))) == 1
    spoken = (root / "Session1/dialog/transcriptions/Ses01F_impro01.txt").read_text().splitlines()
    assert re.fullmatch(r"Ses01F_impro01_[FM]\d{3} \[\d{3}\.\d{4}-\d{3}\.\d{4}\]: [A-Z][a-z ]*\.", spoken[0])


def test_loudness_and_duration_say_nothing_and_the_voice_does(root: Path, turns: list[re.Match[str]]) -> None:
    known = [turn for turn in turns if turn[6] in CLASSES]
    sounds = [audio.read(wav(root, turn[3])) for turn in known]
    labels = [CLASSES[turn[6]] for turn in known]
    check_what_tells_the_classes(sounds, 16_000, labels, [turn[4] + turn[5] for turn in known])


def test_one_seed_gives_one_corpus(tmp_path: Path) -> None:
    sizes = {"utterances": 1, "others": 1, "seconds": [0.6, 0.8]}
    first = contents(render("iemocap", tmp_path / "a", seed=2, **sizes))
    assert contents(render("iemocap", tmp_path / "b", seed=2, **sizes)) == first
    other = contents(render("iemocap", tmp_path / "c", seed=3, **sizes))
    sounds = {name for name in first.keys() & other.keys() if name.endswith(".wav") and "/._" not in name}
    assert len(sounds) == 50
    assert not {name for name in sounds if other[name] == first[name]}


def test_its_reader_reads_it(root: Path) -> None:
    corpus = reader_of("iemocap")().read(root, Index())
    counts = corpus.counts()
    assert corpus.data == "standin"
    assert counts["clips"] == 240
    assert [count for name, count in counts.items() if name.startswith("class ")] == [60] * 4
    assert [count for name, count in counts.items() if name.startswith("session ")] == [48] * 5
    assert [count for name, count in counts.items() if name.startswith("speaker ")] == [24] * 10
