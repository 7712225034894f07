"""Corpora drawn at random, and what to ask of their folds."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from augrun.corpora.corpus import Corpus, LabelSet
from augrun.corpora.reader import build
from augrun.protocols.base import Fold

PARTS = ("train", "validation", "test")


def corpus_of(
    labels: list[tuple[int, ...]],
    speakers: list[str] | None = None,
    utterances: list[str] | None = None,
    splits: list[str] | None = None,
    classes: int = 3,
    sessions: list[str] | None = None,
    name: str = "drawn",
    names: str = "abcdefgh",
) -> Corpus:
    """A corpus of one-second clips."""
    count = len(labels)
    ids = [f"clip{row:04d}" for row in range(count)]
    columns = {
        "clip_id": ids,
        "path": [f"/{name}/{clip}.wav" for clip in ids],
        "start_s": [0.0] * count,
        "end_s": [1.0] * count,
        "labels": labels,
        "speaker": speakers or [""] * count,
        "utterance": utterances or ids,
        "split": splits or [""] * count,
        "session": sessions or [""] * count,
        "digest": [f"{name}/{clip}" for clip in ids],
    }
    label_set = LabelSet(tuple(names[:classes]), multilabel=any(len(row) > 1 for row in labels))
    return build(name, columns, label_set, "other")


def shuffled(corpus: Corpus, seed: int = 1) -> Corpus:
    return corpus.select(np.random.default_rng(seed).permutation(len(corpus)))


def ids(part: Corpus, column: str = "clip_id") -> set[str]:
    return set(part.clips[column])


def parts(fold: Fold) -> tuple[Corpus, Corpus, Corpus]:
    return fold.train, fold.validation, fold.test


def contents(folds: list[Fold]) -> list[list[set[str]]]:
    return [[ids(part) for part in parts(fold)] for fold in folds]


@st.composite
def spoken(draw: st.DrawFn) -> Corpus:
    """Single-label corpora of 8 to 14 speakers, two a session, who each speak every class at least once."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes = draw(st.integers(2, 5))
    labels: list[tuple[int, ...]] = []
    speakers: list[str] = []
    utterances: list[str] = []
    sessions: list[str] = []
    for speaker in range(draw(st.integers(8, 14))):
        drawn = [*range(classes), *rng.integers(classes, size=rng.integers(0, 20))]
        for number, label in enumerate(drawn):
            pieces = int(rng.integers(1, 3))
            labels += [(int(label),)] * pieces
            speakers += [f"speaker{speaker}"] * pieces
            utterances += [f"speaker{speaker}-{number}"] * pieces
            sessions += [str(speaker // 2 + 1)] * pieces
    return corpus_of(labels, speakers, utterances, classes=classes, sessions=sessions)
