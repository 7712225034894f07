"""Folds on real speakers, on corpora drawn at random, and what cannot be parted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augrun.core.errors import AugrunError
from augrun.corpora.corpus import Corpus
from augrun.corpora.feel import Feel
from augrun.corpora.index import Index
from augrun.corpora.jamendo import JamendoMood
from augrun.protocols.holdout import Holdout
from augrun.protocols.official import Official
from augrun.protocols.speaker_folds import SpeakerFolds
from tests.protocols.drawn import PARTS, contents, corpus_of, ids, parts, shuffled, spoken


@settings(max_examples=40, deadline=None)
@given(corpus=spoken(), count=st.integers(2, 7), share=st.floats(0.05, 0.6), seed=st.integers(0, 99))
def test_speaker_folds_keep_their_promises(corpus: Corpus, count: int, share: float, seed: int) -> None:
    protocol = SpeakerFolds(count=count, validation=share)
    folds = protocol.folds(corpus, seed)
    assert [fold.name for fold in folds] == [f"fold{number + 1}" for number in range(count)]
    tested: list[str] = []
    for fold in folds:
        speakers = [ids(part, "speaker") for part in parts(fold)]
        assert sum(map(len, speakers)) == len(set.union(*speakers)) == corpus.clips["speaker"].nunique()
        assert sum(len(part) for part in parts(fold)) == len(corpus)
        assert set.union(*(ids(part) for part in parts(fold))) == ids(corpus)
        assert all((part.targets().sum(axis=0) > 0).all() for part in parts(fold))
        assert fold.reserve is None
        tested += sorted(speakers[2])
    assert sorted(tested) == sorted(ids(corpus, "speaker"))
    assert contents(protocol.folds(shuffled(corpus), seed)) == contents(folds)


@settings(max_examples=40, deadline=None)
@given(corpus=spoken(), share=st.floats(0.1, 0.5), seed=st.integers(0, 99))
def test_holdout_keeps_its_promises(corpus: Corpus, share: float, seed: int) -> None:
    protocol = Holdout(validation=share, test=0.25)
    (fold,) = protocol.folds(corpus, seed)
    utterances = [ids(part, "utterance") for part in parts(fold)]
    assert sum(map(len, utterances)) == len(set.union(*utterances)) == corpus.clips["utterance"].nunique()
    assert sum(len(part) for part in parts(fold)) == len(corpus)
    counts = [part.clips.drop_duplicates("utterance")["labels"].value_counts() for part in parts(fold)]
    for label in sum(counts[1:], counts[0]).index:
        train, validation, test = (float(count.get(label, 0)) for count in counts)
        assert abs(test - 0.25 * (train + validation + test)) <= 1
        assert abs(validation - share * (train + validation)) <= 1
    assert contents(protocol.folds(shuffled(corpus), seed)) == contents([fold])


def test_seeds_matter(tmp_path: Path) -> None:
    corpus = corpus_of([(row % 3,) for row in range(120)], [f"s{row // 10}" for row in range(120)])
    for protocol in (SpeakerFolds(), Holdout()):
        assert contents(protocol.folds(corpus, 0)) != contents(protocol.folds(corpus, 1))


def test_real_actors_are_dealt_evenly(shared_data: Path) -> None:
    corpus = Feel().read(shared_data / "ravdess-feel", Index())
    folds = SpeakerFolds(count=4).folds(corpus, 0)
    assert [[part.clips["speaker"].nunique() for part in parts(fold)] for fold in folds] == [[7, 2, 3]] * 4
    for fold in folds:
        assert fold.test.targets().sum(axis=0).tolist() == [24, 24, 12, 24]
    limited = SpeakerFolds(count=4, limit=2).folds(corpus, 0)
    assert contents(limited) == contents(folds[:2])


def test_uneven_speakers_are_dealt_by_their_classes() -> None:
    """Six speakers of class a only, six of class b only: each fold tests one of each."""
    labels = [(int(row >= 60),) for row in range(120)]
    corpus = corpus_of(labels, [f"s{row // 10:02d}" for row in range(120)], classes=2)
    for fold in SpeakerFolds(count=6, validation=0.2).folds(corpus, 5):
        for part, size in zip(parts(fold), (4, 1, 1), strict=True):
            assert part.targets().sum(axis=0).tolist() == [10 * size, 10 * size]


def test_given_parts_are_taken_as_they_are(shared_data: Path) -> None:
    corpus = JamendoMood().read(shared_data / "jamendo", None)
    (fold,) = Official().folds(corpus, 0)
    assert [len(part) for part in parts(fold)] == [9949, 3802, 4231]
    assert contents(Official().folds(corpus, 7)) == contents([fold])
    for part, name in zip(parts(fold), PARTS, strict=True):
        assert set(part.clips["split"]) == {name}


def test_holdout_keeps_a_given_test_part() -> None:
    splits = ["test" if row % 4 == 0 else "" for row in range(60)]
    corpus = corpus_of([(row % 3,) for row in range(60)], splits=splits)
    (fold,) = Holdout().folds(corpus, 0)
    assert ids(fold.test) == {f"clip{row:04d}" for row in range(0, 60, 4)}
    assert (len(fold.train), len(fold.validation)) == (36, 9)


def test_holdout_of_several_labels_keeps_the_rare_ones() -> None:
    """Drawn by its rarest class, class c with four clips is in every part."""
    labels = [(0, 2) if row in (3, 30, 60, 90) else (0, 1) if row % 2 else (1,) for row in range(100)]
    for seed in range(10):
        (fold,) = Holdout().folds(corpus_of(labels), seed)
        assert [int(part.targets()[:, 2].sum()) for part in parts(fold)] == [2, 1, 1]


def test_official_without_a_split_names_the_protocols_that_do() -> None:
    corpus = corpus_of([(0,), (1,), (2,)])
    with pytest.raises(AugrunError) as caught:
        Official().folds(corpus, 0)
    assert str(caught.value) == (
        "protocol=official: drawn has no given split; choose protocol=holdout, or protocol=speaker_folds "
        "where speakers are named"
    )
    half = corpus_of([(0,), (1,)], splits=["train", "test"])
    with pytest.raises(AugrunError, match="drawn has no given validation part; choose"):
        Official().folds(half, 0)


@pytest.mark.parametrize(
    ("speakers", "message"),
    [
        (["", "ann", "bob"] * 4, "4 of 12 clips of drawn name no speaker; choose protocol=holdout"),
        (
            ["ann", "bob", "cyd"] * 4,
            r"5 folds and a validation speaker need 6 speakers, drawn has 3; set protocol\.count=2 or choose",
        ),
        (["ann", "bob"] * 6, "need 6 speakers, drawn has 2; choose protocol=holdout"),
    ],
)
def test_speakers_that_do_not_suffice_are_refused(speakers: list[str], message: str) -> None:
    with pytest.raises(AugrunError, match=message):
        SpeakerFolds().folds(corpus_of([(row % 3,) for row in range(12)], speakers), 0)


def test_a_class_that_a_part_lacks_is_named() -> None:
    splits = [PARTS[row % 3] for row in range(12)]
    labels = [(2,) if split == "train" else (row % 2,) for row, split in enumerate(splits)]
    with pytest.raises(AugrunError) as caught:
        Official().folds(corpus_of(labels, splits=splits), 0)
    assert str(caught.value) == (
        "official of drawn: the train part (4 clips) has no clip of a, b\n"
        "give it more clips, leave these classes out of the dataset, or choose another protocol"
    )
    with pytest.raises(AugrunError, match=r"holdout of drawn: the validation part \(\d+ clips\) has no clip of c"):
        Holdout().folds(corpus_of([(0,)] * 9 + [(1,)] * 9 + [(2,)]), 0)


def test_speaker_folds_do_not_throw_a_given_split_away() -> None:
    speakers = [f"s{row % 8}" for row in range(48)]
    corpus = corpus_of([(row // 16,) for row in range(48)], speakers, splits=["train"] * 48)
    with pytest.raises(AugrunError, match=r"comes with parts of its own \(train\); choose protocol=official"):
        SpeakerFolds(count=3).folds(corpus, 0)
    assert len(SpeakerFolds(count=3, ignore_split=True).folds(corpus, 0)) == 3
