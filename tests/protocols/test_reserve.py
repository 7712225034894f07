"""The reserve: recorded clips that every fold keeps out of its parts."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augrun.core.errors import AugrunError
from augrun.corpora.corpus import Corpus
from augrun.protocols.base import Fold, Protocol, check
from augrun.protocols.cross_corpus import CrossCorpus
from augrun.protocols.drawing import draw, generator
from augrun.protocols.holdout import Holdout
from augrun.protocols.loso import LeaveOneSessionOut
from augrun.protocols.official import Official
from augrun.protocols.speaker_folds import SpeakerFolds
from tests.protocols.drawn import PARTS, contents, corpus_of, ids, parts, shuffled, spoken


def plain(name: str = "drawn") -> Corpus:
    """Ten speakers in five sessions, 24 utterances each of two clips and three classes."""
    utterances = [f"u{row // 2:03d}" for row in range(480)]
    labels = [(row // 2 % 3,) for row in range(480)]
    speakers = [f"s{row // 48}" for row in range(480)]
    return corpus_of(labels, speakers, utterances, sessions=[str(row // 96) for row in range(480)], name=name)


PROTOCOLS: list[tuple[Protocol, str]] = [
    (LeaveOneSessionOut(), "b52315323416"),
    (LeaveOneSessionOut(minority="a", remove=0.5, validation="speaker"), "a1098f8dba65"),
    (Holdout(), "0ec8493259ea"),
    (SpeakerFolds(count=4), "e1590c0c3cbf"),
    (CrossCorpus(), "0ea61c30e3ce"),
]


@pytest.mark.parametrize(("protocol", "known"), PROTOCOLS, ids=lambda value: getattr(type(value), "__name__", ""))
def test_without_one_folds_are_what_they_were_before_there_was_one(protocol: Protocol, known: str) -> None:
    target = {"target": plain("other")} if isinstance(protocol, CrossCorpus) else {}
    folds = protocol.folds(plain(), 3, **target)
    assert all(fold.reserve is None for fold in folds)
    digests = "".join(part.digest for fold in folds for part in parts(fold))
    assert hashlib.sha256(digests.encode()).hexdigest()[:12] == known


@settings(max_examples=12, deadline=None)
@given(corpus=spoken(), share=st.floats(0.05, 0.9), seed=st.integers(0, 99))
def test_it_is_of_the_train_part_in_whole_utterances_and_leaves_every_class(
    corpus: Corpus, share: float, seed: int
) -> None:
    protocol = SpeakerFolds(count=3, limit=2, reserve=share)
    folds = protocol.folds(corpus, seed)
    for fold, before in zip(folds, SpeakerFolds(count=3, limit=2).folds(corpus, seed), strict=True):
        assert fold.reserve is not None
        assert (fold.validation.digest, fold.test.digest) == (before.validation.digest, before.test.digest)
        assert ids(fold.train) | ids(fold.reserve) == ids(before.train)
        assert not ids(fold.train, "utterance") & ids(fold.reserve, "utterance")
        assert (fold.train.targets().sum(axis=0) > 0).all()
        whole, out = (part.clips.drop_duplicates("utterance")["labels"] for part in (before.train, fold.reserve))
        counts = out.value_counts()
        for label, count in whole.value_counts().items():
            kept = counts.get(label, 0)
            assert abs(kept - share * count) <= 1 or kept == count - 1
    again = protocol.folds(shuffled(corpus), seed)
    assert contents(again) == contents(folds)
    assert [ids(fold.reserve or corpus) for fold in again] == [ids(fold.reserve or corpus) for fold in folds]


def test_imbalance_takes_from_what_is_left() -> None:
    whole = LeaveOneSessionOut(limit=2, reserve=0.25)
    rare = LeaveOneSessionOut(limit=2, reserve=0.25, minority="b", remove=0.5)
    for fold, other in zip(whole.folds(plain(), 0), rare.folds(plain(), 0), strict=True):
        assert fold.reserve is not None and other.reserve is not None
        assert fold.reserve.digest == other.reserve.digest
        left, before = other.train.targets().sum(axis=0), fold.train.targets().sum(axis=0)
        assert left.tolist() == [before[0], before[1] / 2, before[2]]


def test_a_class_that_goes_with_rarer_ones_alone_is_not_lost() -> None:
    """Class a is always with a rarer one, by which its clips are drawn: where all are, one must come back."""
    labels: list[tuple[int, ...]] = [row for rare in (1, 2, 3, 4) for row in ((0, rare), (rare,), (rare,))]
    judged: list[tuple[int, ...]] = [(label,) for label in range(5)]
    splits = ["train"] * len(labels) + ["validation"] * 5 + ["test"] * 5
    corpus = corpus_of(labels + judged * 2, splits=splits, classes=5)
    lost = 0
    for seed in range(20):
        (fold,) = Official(reserve=0.7).folds(corpus, seed)
        (before,) = Official().folds(corpus, seed)
        lost += int(draw(before.train, 0.7, generator(seed, "reserve official"))[::3].all())
        assert (fold.train.targets().sum(axis=0) > 0).all()
    assert lost


def test_it_must_be_apart() -> None:
    corpus = plain()
    rows = np.arange(len(corpus))
    train, validation, test = (corpus.select(rows // 2 % 12 // 4 == part) for part in range(len(PARTS)))
    check(Fold("one", train, validation, test, corpus.select([])))
    with pytest.raises(AugrunError, match="1 utterances have clips in two parts"):
        check(Fold("one", train, validation, test, train.select([0])))
