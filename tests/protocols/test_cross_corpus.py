"""Training on one corpus, testing on another."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augrun.core.errors import AugrunError
from augrun.corpora.corpus import Corpus
from augrun.protocols.cross_corpus import CrossCorpus
from tests.protocols.drawn import contents, corpus_of, ids, shuffled, spoken


def other(corpus: Corpus) -> Corpus:
    """The same ids in other files."""
    paths = corpus.clips["path"].str.replace("drawn", "other")
    clips = corpus.clips.assign(path=paths, digest="other/" + corpus.clips["digest"])
    return Corpus("other", clips, corpus.label_set)


@settings(max_examples=40, deadline=None)
@given(corpus=spoken(), share=st.floats(0.1, 0.6), seed=st.integers(0, 99))
def test_it_keeps_its_promises(corpus: Corpus, share: float, seed: int) -> None:
    target = other(corpus)
    (fold,) = CrossCorpus(development=share).folds(corpus, seed, target)
    assert ids(fold.train) == ids(corpus)
    assert ids(fold.validation) | ids(fold.test) == {f"other/{clip}" for clip in ids(target)}
    for column in ("clip_id", "utterance", "path"):
        assert not ids(fold.validation, column) & ids(fold.test, column)
    for column in ("clip_id", "utterance", "path", "speaker", "session", "cluster"):
        assert not ids(fold.train, column) & (ids(fold.validation, column) | ids(fold.test, column))
    for label in range(len(target.label_set)):
        counts = [
            part.clips[part.first_labels() == label]["utterance"].nunique() for part in (fold.validation, fold.test)
        ]
        assert abs(counts[0] - share * sum(counts)) <= 1
    again = CrossCorpus(development=share).folds(shuffled(corpus), seed, shuffled(target))
    assert contents(again) == contents([fold])


def test_classes_are_matched_by_name() -> None:
    """The target has the same classes in another order: indices follow the dataset's."""
    corpus = corpus_of([(row % 3,) for row in range(30)])
    target = corpus_of([(0,)] * 10 + [(1,)] * 20 + [(2,)] * 30, name="other", names="cab")
    (fold,) = CrossCorpus().folds(corpus, 0, target)
    assert fold.test.label_set.names == ("a", "b", "c")
    assert (fold.validation.targets().sum(axis=0) + fold.test.targets().sum(axis=0)).tolist() == [20, 30, 10]
    assert fold.validation.targets().sum(axis=0).tolist() == [6, 9, 3]


def test_classes_that_only_one_corpus_has() -> None:
    corpus = corpus_of([(row % 3,) for row in range(30)])
    target = corpus_of([(row % 3,) for row in range(60)], name="other", names="bcd")
    with pytest.raises(AugrunError) as caught:
        CrossCorpus().folds(corpus, 0, target)
    assert str(caught.value) == (
        "protocol=cross_corpus: the classes differ: drawn has a, b, c; other has b, c, d\n"
        "match them in the datasets' settings, or use what they share with protocol.classes=common"
    )
    (fold,) = CrossCorpus(classes="common").folds(corpus, 0, target)
    assert fold.train.label_set.names == fold.test.label_set.names == ("b", "c")
    assert fold.train.targets().sum(axis=0).tolist() == [10, 10]
    assert len(fold.validation) + len(fold.test) == 40


def test_what_cannot_be_is_refused() -> None:
    corpus = corpus_of([(row % 3,) for row in range(30)])
    with pytest.raises(AugrunError, match="needs a second corpus; give dataset@target=NAME"):
        CrossCorpus().folds(corpus, 0)
    with pytest.raises(AugrunError, match="30 clips of drawn are in drawn as well "):
        CrossCorpus().folds(corpus, 0, corpus)
    far = corpus_of([(row % 2,) for row in range(30)], classes=2, name="far", names="xy")
    with pytest.raises(AugrunError, match="fewer than two classes in common: drawn has a, b, c; far has x, y"):
        CrossCorpus(classes="common").folds(corpus, 0, far)


def test_the_same_recordings_elsewhere_and_ids_that_meet_are_refused() -> None:
    corpus = corpus_of([(row % 3,) for row in range(30)])
    copied = Corpus("copied", corpus.clips.assign(path="/copied" + corpus.clips["path"]), corpus.label_set)
    with pytest.raises(AugrunError, match=r"30 clips of copied are in drawn as well \(clip0000, clip0001"):
        CrossCorpus().folds(corpus, 0, copied)
    named = corpus.clips.assign(clip_id="other/" + corpus.clips["clip_id"])
    with pytest.raises(AugrunError, match=r"clip_id other/clip0000, .* could be of drawn or of other; call the target"):
        CrossCorpus().folds(Corpus("drawn", named, corpus.label_set), 0, other(corpus))
