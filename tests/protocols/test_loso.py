"""Leave one session out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augrun.core.errors import AugrunError
from augrun.corpora.corpus import Corpus
from augrun.protocols.loso import LeaveOneSessionOut
from tests.protocols.drawn import contents, corpus_of, ids, parts, shuffled, spoken


@settings(max_examples=40, deadline=None)
@given(
    corpus=spoken(),
    validation=st.sampled_from(["none", "speaker", "fraction"]),
    fraction=st.floats(0.05, 0.6),
    seed=st.integers(0, 99),
)
def test_it_keeps_its_promises(corpus: Corpus, validation: str, fraction: float, seed: int) -> None:
    protocol = LeaveOneSessionOut(validation=validation, fraction=fraction)
    folds = protocol.folds(corpus, seed)
    sessions = sorted(ids(corpus, "session"), key=int)
    assert [fold.name for fold in folds] == [f"session{session}" for session in sessions]
    for fold, session in zip(folds, sessions, strict=True):
        assert ids(fold.test, "session") == {session}
        assert set.union(*(ids(part) for part in parts(fold))) == ids(corpus)
        assert sum(len(part) for part in parts(fold)) == len(corpus)
        utterances = [ids(part, "utterance") for part in parts(fold)]
        assert sum(map(len, utterances)) == len(set.union(*utterances))
        fitted = ids(fold.train, "speaker") | ids(fold.validation, "speaker")
        assert not fitted & ids(fold.test, "speaker")
        assert bool(len(fold.validation)) == (validation != "none")
        if validation == "speaker":
            held_out = ids(fold.validation, "speaker")
            assert len(held_out) == max(1, round(fraction * len(fitted)))
            assert not held_out & ids(fold.train, "speaker")
    assert contents(protocol.folds(shuffled(corpus), seed)) == contents(folds)


@settings(max_examples=15, deadline=None)
@given(corpus=spoken(), validation=st.sampled_from(["speaker", "fraction"]), seed=st.integers(0, 99))
def test_what_is_drawn_does_not_depend_on_the_test_part(corpus: Corpus, validation: str, seed: int) -> None:
    """Other labels on the test session change neither the train nor the validation part."""
    protocol = LeaveOneSessionOut(validation=validation)
    rng = np.random.default_rng(seed)
    for number, fold in enumerate(protocol.folds(corpus, seed)):
        tested = (corpus.clips["session"] == str(number + 1)).to_numpy()
        classes = len(corpus.label_set)
        other = dict(zip(corpus.clips["utterance"], rng.permutation(np.arange(len(corpus)) % classes), strict=True))
        labels = [
            (int(other[utterance]),) if inside else label
            for label, utterance, inside in zip(corpus.clips["labels"], corpus.clips["utterance"], tested, strict=True)
        ]
        poisoned = Corpus(corpus.name, corpus.clips.assign(labels=labels), corpus.label_set)
        again = protocol.part(poisoned, seed, None)[number]
        assert ids(again.train) == ids(fold.train)
        assert ids(again.validation) == ids(fold.validation)


def test_a_limit_takes_the_first_sessions_in_their_order() -> None:
    sessions = [str(row % 12 + 1) for row in range(72)]
    corpus = corpus_of([(row // 36,) for row in range(72)], classes=2, sessions=sessions)
    folds = LeaveOneSessionOut(limit=11).folds(corpus, 0)
    assert [fold.name for fold in folds] == [f"session{number}" for number in range(1, 12)]
    assert contents(LeaveOneSessionOut().folds(corpus, 0))[:11] == contents(folds)


@pytest.mark.parametrize(
    ("settings_", "speakers", "sessions", "message"),
    [
        ({}, None, ["1", "2", ""] * 4, "4 of 12 clips of drawn name no session; choose protocol=speaker_folds or"),
        ({}, None, ["1"] * 12, r"drawn has one session only \(1\); choose another protocol"),
        (
            {},
            ["ann", "bob", "ann", "cyd"] * 3,
            ["1", "1", "2", "2"] * 3,
            r"1 speakers of drawn speak in several sessions \(ann\), so they would be heard in training and test",
        ),
        ({"validation": "speaker"}, None, ["1", "2"] * 6, "drawn: 6 clips name no speaker; choose protocol.validation"),
        (
            {"validation": "speaker"},
            ["ann", "bob"] * 6,
            ["1", "2"] * 6,
            "drawn: the training sessions have one speaker; choose protocol.validation=fraction or none",
        ),
    ],
)
def test_what_cannot_be_parted_is_refused(
    settings_: dict, speakers: list[str] | None, sessions: list[str], message: str
) -> None:
    corpus = corpus_of([(row // 4,) for row in range(12)], speakers, sessions=sessions)
    with pytest.raises(AugrunError, match=message):
        LeaveOneSessionOut(**settings_).folds(corpus, 0)


def test_speakers_of_several_sessions_can_be_accepted() -> None:
    corpus = corpus_of([(row // 8,) for row in range(24)], ["ann"] * 24, sessions=["1", "2"] * 12)
    assert len(LeaveOneSessionOut(shared_speakers=True).folds(corpus, 0)) == 2


def test_an_utterance_in_two_sessions_is_refused() -> None:
    utterances = [f"u{row // 2}" for row in range(24)]
    corpus = corpus_of([(row // 8,) for row in range(24)], utterances=utterances, sessions=["1", "2"] * 12)
    with pytest.raises(AugrunError, match=r"session1 of drawn: \d+ utterances have clips in two parts \(u0, "):
        LeaveOneSessionOut(validation="none").folds(corpus, 0)


def test_folds_have_names_of_their_own_that_files_can_have() -> None:
    corpus = corpus_of([(row % 3,) for row in range(24)], sessions=["2019/03", "a b"] * 12)
    assert [fold.name for fold in LeaveOneSessionOut().folds(corpus, 0)] == ["sessiona_b", "session2019_03"]
    twice = corpus_of([(row // 8,) for row in range(24)], sessions=["1", "session1"] * 12)
    with pytest.raises(AugrunError, match="drawn: two folds have one name"):
        LeaveOneSessionOut().folds(twice, 0)


def test_pieces_of_one_recording_stay_together_where_nobody_speaks() -> None:
    corpus = corpus_of([(row // 20,) for row in range(60)], sessions=[str(row // 4 % 5) for row in range(60)])
    cut = Corpus(corpus.name, corpus.clips.assign(cluster=[f"r{row // 4}" for row in range(60)]), corpus.label_set)
    for fold in LeaveOneSessionOut(validation="fraction", fraction=0.4).folds(cut, 0):
        assert not ids(fold.train, "cluster") & ids(fold.validation, "cluster")
        assert len(fold.validation)
