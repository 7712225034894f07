"""The miniature of MSP-IMPROV: layout, grammar of its label file, and what its classes can be told by."""

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

NAME = r"S(\d\d)([AHSN])-([FM]\d\d)-([PRST])-([FM][FM])(\d\d)"
MEAN = r"(\d\.\d|NaN)"
TURN = re.compile(rf"UTD-IMPROV-({NAME})\.avi; ([AHSNOX]); A:{MEAN}; V:{MEAN}; D:{MEAN} ; N:{MEAN};")
RATER = re.compile(r"WORKER\d{8}; (\w+); \w+; A:[1-5]\.0{6}; V:[1-5]\.0{6}; D:[1-5]\.0{6}; N:[1-5]\.0{6};")
CATEGORIES = {"A": "Angry", "H": "Happy", "S": "Sad", "N": "Neutral", "O": "Other"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render("msp_improv", tmp_path_factory.mktemp("msp_improv") / "corpus", seed=0, seconds=[0.6, 2.2])


@pytest.fixture(scope="module")
def blocks(root: Path) -> list[tuple[re.Match[str], list[re.Match[str] | None]]]:
    """Each turn's consensus line and its raters'."""
    text = (root / "Evalution.txt").read_text()
    assert text.endswith(";\n\n")
    pairs = []
    for block in text.strip("\n").split("\n\n"):
        first, *raters = block.split("\n")
        turn = TURN.fullmatch(first)
        assert turn, first
        pairs.append((turn, [RATER.fullmatch(line) for line in raters]))
    return pairs


def wav(root: Path, turn: re.Match[str]) -> Path:
    session, sentence, condition = int(turn[4][1:]), turn[1][:4], turn[5]
    return root / f"Audio/session{session}/{sentence}/{condition}/MSP-IMPROV-{turn[1]}.wav"


def test_every_line_has_its_sound_and_every_sound_its_line(root: Path, blocks: list) -> None:
    wanted = {wav(root, turn) for turn, _ in blocks}
    assert set(root.glob("Audio/session[1-6]/*/*/*.wav")) == wanted == set(root.rglob("*.wav"))
    assert len(wanted) == len(blocks) == 12 * (4 * 6 + 2)
    for path in wanted:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.format, info.subtype) == (44_100, 1, "WAV", "PCM_16")
        assert 0.599 <= info.duration <= 2.201


def test_every_speaker_has_every_class_and_other_labels(blocks: list) -> None:
    counts = Counter((turn[4], turn[8]) for turn, _ in blocks)
    for speaker in (f"{sex}{session:02d}" for session in range(1, 7) for sex in "FM"):
        assert {label: counts[speaker, label] for label in "AHSNOX"} == {
            "A": 6, "H": 6, "S": 6, "N": 6, "O": 1, "X": 1
        }  # fmt: skip


def test_names_do_not_give_the_label_or_the_speaker(blocks: list) -> None:
    known = [turn for turn, _ in blocks if turn[8] in "AHSN"]
    unintended = sum(turn[3] != turn[8] for turn in known) / len(known)
    assert 0.1 < unintended < 0.3
    assert len({turn[6] for turn in known if turn[4] == "F01"}) >= 3
    assert {turn[5] for turn in known} == set("PRST")
    assert 1 <= min(int(turn[2]) for turn in known) < max(int(turn[2]) for turn in known) <= 20


def test_raters_agree_where_there_is_a_label_and_some_values_are_missing(blocks: list) -> None:
    for turn, raters in blocks:
        assert None not in raters
        assert 5 <= len(raters) <= 7
        votes = Counter(rater[1] for rater in raters).most_common()
        if turn[8] == "X":
            assert votes[0][1] <= len(raters) / 2
        else:
            assert votes[0][0] == CATEGORIES[turn[8]] and votes[0][1] > len(raters) / 2
    values = [turn[place] for turn, _ in blocks for place in (9, 10, 11, 12)]
    assert 3 < values.count("NaN") < 40
    activation = {label: [float(t[9]) for t, _ in blocks if t[8] == label and t[9] != "NaN"] for label in "AS"}
    # It is stored the other way round.
    assert sum(activation["A"]) / len(activation["A"]) < sum(activation["S"]) / len(activation["S"]) - 0.7


def test_loudness_and_duration_say_nothing_and_the_voice_does(root: Path, blocks: list) -> None:
    known = [turn for turn, _ in blocks if turn[8] in "AHSN"]
    sounds = [audio.read(wav(root, turn)) for turn in known]
    check_what_tells_the_classes(sounds, 44_100, [turn[8] for turn in known], [turn[4] for turn in known])


def test_one_seed_gives_one_corpus(tmp_path: Path) -> None:
    sizes = {"utterances": 1, "others": 1, "seconds": [0.6, 0.8]}
    first = contents(render("msp_improv", tmp_path / "a", seed=2, **sizes))
    assert contents(render("msp_improv", tmp_path / "b", seed=2, **sizes)) == first
    other = contents(render("msp_improv", tmp_path / "c", seed=3, **sizes))
    assert other["Evalution.txt"] != first["Evalution.txt"]


def test_its_reader_reads_it(root: Path) -> None:
    corpus = reader_of("msp_improv")().read(root, Index())
    counts = corpus.counts()
    assert corpus.data == "standin"
    assert counts["clips"] == 288
    assert [count for name, count in counts.items() if name.startswith("class ")] == [72] * 4
    assert [count for name, count in counts.items() if name.startswith("session ")] == [48] * 6
    assert [count for name, count in counts.items() if name.startswith("speaker ")] == [24] * 12
