"""One class made rare in the train part, under any protocol."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augrun.core.errors import AugrunError, RequestError
from augrun.corpora.corpus import Corpus
from augrun.protocols.base import Protocol
from augrun.protocols.holdout import Holdout
from augrun.protocols.loso import LeaveOneSessionOut
from augrun.protocols.speaker_folds import SpeakerFolds
from tests.protocols.drawn import contents, corpus_of, ids, shuffled, spoken

KINDS: list[tuple[type[Protocol], dict]] = [(LeaveOneSessionOut, {}), (Holdout, {}), (SpeakerFolds, {"count": 3})]


@settings(max_examples=40, deadline=None)
@given(
    corpus=spoken(),
    kind=st.sampled_from(KINDS),
    shares=st.tuples(st.floats(0.0, 0.99), st.floats(0.0, 0.99)),
    seed=st.integers(0, 99),
)
def test_only_the_minority_of_the_train_part_becomes_rare(
    corpus: Corpus, kind: tuple[type[Protocol], dict], shares: tuple[float, float], seed: int
) -> None:
    protocol, options = kind
    whole = protocol(**options).folds(corpus, seed)
    less, more = (protocol(minority="b", remove=share, **options).folds(corpus, seed) for share in sorted(shares))
    for before, some, many in zip(whole, less, more, strict=True):
        for after, share in ((some, min(shares)), (many, max(shares))):
            assert ids(after.validation) == ids(before.validation)
            assert ids(after.test) == ids(before.test)
            assert ids(after.train) <= ids(before.train)
            utterances = before.train.clips.assign(label=before.train.first_labels()).drop_duplicates("utterance")
            had = int((utterances["label"] == 1).sum())
            gone = ids(before.train, "utterance") - ids(after.train, "utterance")
            assert len(gone) == min(round(share * had), had - 1)
            assert set(utterances.set_index("utterance").loc[sorted(gone), "label"]) <= {1}
        assert ids(many.train) <= ids(some.train)
    again = protocol(minority="b", remove=max(shares), **options).folds(shuffled(corpus), seed)
    assert contents(again) == contents(more)


def test_eighty_percent_of_a_hundred() -> None:
    corpus = corpus_of([(row % 2,) for row in range(400)], classes=2, sessions=[str(row // 200) for row in range(400)])
    (fold, _) = LeaveOneSessionOut(validation="none", minority="b", remove=0.8).folds(corpus, 0)
    assert fold.train.targets().sum(axis=0).tolist() == [100, 20]
    assert fold.test.targets().sum(axis=0).tolist() == [100, 100]


def test_an_unknown_class_or_none_is_refused() -> None:
    corpus = corpus_of([(row % 3,) for row in range(60)])
    with pytest.raises(AugrunError, match=r"^protocol\.minority=glad: no class of drawn; it has a, b, c$"):
        Holdout(minority="glad", remove=0.5).folds(corpus, 0)
    with pytest.raises(RequestError, match=r"^protocol\.remove=0\.8 of which class\? give protocol\.minority=CLASS$"):
        Holdout(remove=0.8)
    with pytest.raises(
        RequestError, match=r"^protocol\.minority=b loses nothing; give protocol\.remove=SHARE, as 0\.8$"
    ):
        Holdout(minority="b")
