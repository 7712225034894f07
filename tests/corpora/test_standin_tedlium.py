"""The miniature of TED-LIUM: layout, SPHERE headers and the grammar of its transcripts."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from augrun.core import audio
from augrun.core.errors import AugrunError
from augrun.corpora.index import Index
from augrun.corpora.standin import phones, render
from augrun.corpora.standin.tedlium import IGNORED, SEGMENT_S
from tests.corpora.test_standin_speech import contents, reader_of

LINE = re.compile(r"(\S+) 1 (\S+) (\d+\.\d\d) (\d+\.\d\d) <(o,f0,female|o,f0,male|o,,unknown|F0_[FM])> (.+)")
SIZES = {"train": 4, "dev": 2, "test": 1, "seconds": [12.0, 20.0]}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render("tedlium", tmp_path_factory.mktemp("tedlium") / "corpus", seed=1, **SIZES)


def lines(path: Path) -> list[re.Match[str]]:
    found = [LINE.fullmatch(line) for line in path.read_text().splitlines()]
    assert None not in found
    return [match for match in found if match]


def test_every_talk_is_sphere_with_a_transcript(root: Path) -> None:
    for part, count in (("train", 4), ("dev", 2), ("test", 1)):
        talks = sorted((root / part / "sph").glob("*.sph"))
        assert [path.stem for path in talks] == sorted(path.stem for path in (root / part / "stm").glob("*.stm"))
        assert len(talks) == count
        for path in talks:
            info = soundfile.info(path)
            assert (info.format, info.subtype, info.samplerate, info.channels) == ("NIST", "PCM_16", 16_000, 1)
            assert 12 <= info.duration <= 20
            assert path.read_bytes().startswith(b"NIST_1A\n   1024\n")


def test_segments_cover_the_talk_and_gaps_are_to_be_ignored(root: Path) -> None:
    words, ignored = set(), 0
    for path in root.glob("*/stm/*.stm"):
        found = lines(path)
        assert float(found[0][3]) == 0
        assert all(one[4] == next_one[3] for one, next_one in pairwise(found))
        seconds = soundfile.info(path.parent.parent / "sph" / f"{path.stem}.sph").duration
        assert float(found[-1][4]) == pytest.approx(seconds, abs=0.06)
        for match in found:
            assert match[1] == path.stem
            if match[6] == IGNORED:
                assert (match[2], match[5]) == ("inter_segment_gap", "o,,unknown")
                ignored += 1
            else:
                assert match[2] == path.stem
                assert SEGMENT_S[0] - 0.02 <= float(match[4]) - float(match[3]) <= SEGMENT_S[1] + 0.02
                assert re.fullmatch("F0_[FM]" if "/dev/" in str(path) else "o,f0,(fe)?male", match[5])
                words |= set(match[6].split())
    assert ignored >= 14
    assert "<unk>" in words
    assert any(word.endswith("(2)") for word in words)
    assert {word.removesuffix("(2)") for word in words} - {"<unk>"} <= set(phones.LEXICON)


def test_speech_is_where_the_transcript_says(root: Path) -> None:
    for path in root.glob("train/stm/*.stm"):
        sound = root / "train/sph" / f"{path.stem}.sph"
        speech: list[float] = []
        gaps: list[float] = []
        for match in lines(path):
            start, seconds = float(match[3]), float(match[4]) - float(match[3])
            piece = audio.read(sound, start_s=start + 0.02, seconds=seconds - 0.04)
            (gaps if match[6] == IGNORED else speech).append(10 * np.log10(np.mean(piece**2)))
        assert min(speech) > max(gaps) + 25
        assert max(speech) - min(speech) < 2


def test_one_seed_gives_one_corpus(tmp_path: Path) -> None:
    sizes = {"train": 1, "dev": 1, "test": 1, "seconds": [4, 5]}
    first = contents(render("tedlium", tmp_path / "a", seed=2, **sizes))
    assert contents(render("tedlium", tmp_path / "b", seed=2, **sizes)) == first
    other = contents(render("tedlium", tmp_path / "c", seed=3, **sizes))
    assert not {name for name in other if name.endswith(".sph") and other[name] == first.get(name)}


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise soundfile.LibsndfileError(2, "No space left on device: ")

    monkeypatch.setattr(soundfile, "write", full)
    with pytest.raises(AugrunError, match=r"\.sph: cannot be written \(.*\); check the folder and the free disk$"):
        render("tedlium", tmp_path / "a", train=1, dev=1, test=1, seconds=[4, 4])
    assert list(tmp_path.iterdir()) == []


def test_its_reader_reads_it(root: Path) -> None:
    corpus = reader_of("tedlium")().read(root, Index())
    spoken = dict.fromkeys(("train", "dev", "test"), 0)
    for part in spoken:
        for path in (root / part / "stm").glob("*.stm"):
            spoken[part] += sum(match[6] != IGNORED for match in lines(path))
    assert corpus.data == "standin"
    assert len(corpus.label_set) == 0
    assert len(corpus) in (spoken["train"], sum(spoken.values()))
    assert all(labels == () for labels in corpus.clips["labels"])
    assert corpus.clips["duration_s"].min() > 1.9
