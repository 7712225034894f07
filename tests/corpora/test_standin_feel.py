"""The miniature in FEEL-25k's manner: its manifests, votes and sound files, and what its classes can be told by."""

from __future__ import annotations

import csv
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import soundfile

from augrun.core import audio
from augrun.core.errors import RequestError
from augrun.corpora.feel import Feel, verdict
from augrun.corpora.index import Index
from augrun.corpora.standin import render
from tests.corpora.test_standin_speech import check_what_tells_the_classes, contents

HEADER = ["path", *(f"rater_{place}" for place in range(1, 8)), "start", "end", "speaker", "session"]
CLASSES = ("angry", "happy", "neutral", "sad")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render("feel", tmp_path_factory.mktemp("feel") / "corpus", seed=1, seconds=[0.8, 4.0])


@pytest.fixture(scope="module")
def manifests(root: Path) -> dict[str, list[dict[str, str]]]:
    found = {}
    for name in ("manifest.csv", "test.csv"):
        with (root / name).open(newline="") as file:
            reader = csv.DictReader(file)
            assert reader.fieldnames == HEADER
            found[name] = list(reader)
    return found


def votes(row: dict[str, str]) -> list[str]:
    return [row[column] for column in HEADER if column.startswith("rater") and row[column]]


def test_rows_are_as_many_as_asked_for(manifests: dict[str, list[dict[str, str]]]) -> None:
    for name, sessions in (("manifest.csv", range(1, 5)), ("test.csv", range(5, 7))):
        counts = Counter((row["session"], row["speaker"], verdict(votes(row), 0.5)) for row in manifests[name])
        expected: dict[tuple[str, str, str], int] = {}
        for session in sessions:
            for sex in "fm":
                speaker = f"s{session:02d}{sex}"
                expected |= {(str(session), speaker, label): 6 for label in CLASSES}
                expected[str(session), speaker, "ambiguous"] = 4
        assert counts == expected


def test_three_to_seven_raters_vote_and_the_verdict_holds_for_any_threshold(
    manifests: dict[str, list[dict[str, str]]],
) -> None:
    rows = [row for rows in manifests.values() for row in rows]
    assert {len(votes(row)) for row in rows} == {3, 4, 5, 6, 7}
    assert {verdict(votes(row), 0.0) for row in rows} == {*CLASSES, "ambiguous"}
    assert all(verdict(votes(row), 0.0) == verdict(votes(row), 0.6) for row in rows)
    disputed = [row for row in rows if len(set(votes(row))) > 1]
    assert len(disputed) > len(rows) / 3
    assert {column for row in rows for column in HEADER[1:8] if row[column]} == set(HEADER[1:8])


def test_sound_files_hold_several_utterances_and_the_bounds_matter(
    root: Path, manifests: dict[str, list[dict[str, str]]]
) -> None:
    files: dict[str, list[tuple[float, float]]] = {}
    speakers: dict[str, set[str]] = {}
    for rows in manifests.values():
        for row in rows:
            files.setdefault(row["path"], []).append((float(row["start"]), float(row["end"])))
            speakers.setdefault(row["path"], set()).add(row["speaker"])
    assert set(files) == {str(path.relative_to(root)) for path in root.rglob("*.wav")}
    assert {len(spans) for spans in files.values()} == {5, 3}
    for path, spans in files.items():
        info = soundfile.info(root / path)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert spans[0][0] >= 0.2 and spans[-1][1] + 0.19 <= info.duration
        assert all(end + 0.19 <= start for (_, end), (start, _) in pairwise(spans))
        assert all(0.799 <= end - start <= 4.001 for start, end in spans)
        assert len(speakers[path]) == 1
    path, spans = next(iter(files.items()))
    between = audio.read(root / path, start_s=spans[0][1] + 0.01, seconds=spans[1][0] - spans[0][1] - 0.02)
    within = audio.read(root / path, start_s=spans[0][0], seconds=spans[0][1] - spans[0][0])
    assert (within**2).mean() > 1000 * (between**2).mean()


def test_loudness_and_duration_say_nothing_and_the_voice_does(
    root: Path, manifests: dict[str, list[dict[str, str]]]
) -> None:
    rows = [row for rows in manifests.values() for row in rows if verdict(votes(row), 0.5) != "ambiguous"]
    sounds = [
        audio.read(root / row["path"], start_s=float(row["start"]), seconds=float(row["end"]) - float(row["start"]))
        for row in rows
    ]
    labels = [verdict(votes(row), 0.5) for row in rows]
    check_what_tells_the_classes(sounds, 16_000, labels, [row["speaker"] for row in rows])


def test_one_seed_gives_one_corpus(tmp_path: Path) -> None:
    sizes = {"sessions": 1, "test_sessions": 1, "utterances": 1, "ambiguous": 1, "seconds": [0.8, 1.0]}
    first = contents(render("feel", tmp_path / "a", seed=2, **sizes))
    assert contents(render("feel", tmp_path / "b", seed=2, **sizes)) == first
    other = contents(render("feel", tmp_path / "c", seed=3, **sizes))
    assert other.keys() == first.keys() and other["manifest.csv"] != first["manifest.csv"]


def test_classes_can_be_as_rare_as_asked_for(tmp_path: Path) -> None:
    asked = {"sad": 1, "neutral": 5, "happy": 2, "angry": 3}
    sizes = {"sessions": 1, "test_sessions": 1, "utterances": asked, "ambiguous": 1, "seconds": [0.8, 1.0]}
    corpus = Feel(test_manifest="test.csv").read(render("feel", tmp_path / "corpus", seed=2, **sizes), Index())
    counts = corpus.counts()
    assert {name: counts[f"class {name}"] for name in asked} == {name: 4 * count for name, count in asked.items()}


@pytest.mark.parametrize(
    ("utterances", "message"),
    [
        ({"sad": 1, "neutral": 5}, "utterances={'sad': 1, 'neutral': 5} needs a number for each of angry, happy, "),
        ({"sad": 0, "neutral": 5, "happy": 2, "angry": 3}, "utterances.sad=0 is no number from 1 on"),
        (0, "utterances=0 is no number from 1 on"),
    ],
)
def test_a_wrong_number_of_utterances_is_refused(tmp_path: Path, utterances: Any, message: str) -> None:
    with pytest.raises(RequestError, match=re.escape(f"standin feel: {message}")):
        render("feel", tmp_path / "corpus", utterances=utterances)


def test_its_reader_reads_it(root: Path) -> None:
    corpus = Feel(test_manifest="test.csv").read(root, Index())
    counts = corpus.counts()
    assert corpus.data == "standin"
    assert counts["clips"] == 12 * 28
    assert corpus.label_set.names == (*CLASSES, "ambiguous")
    assert [counts[f"class {name}"] for name in CLASSES] == [72] * 4
    assert counts["class ambiguous"] == 48
    assert counts["split test"] == 4 * 28
    assert corpus.notes == ()
    test = corpus.clips["split"] == "test"
    assert not set(corpus.clips["speaker"][test]) & set(corpus.clips["speaker"][~test])
