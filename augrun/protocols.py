"""How a corpus is parted into folds of train, validation and test.

Every protocol is deterministic in its seed and does not depend on the order of the corpus's rows. Clips of
one utterance never part; clips of one speaker do not where the protocol promises so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from augrun.corpora.corpus import Corpus
from augrun.errors import AugrunError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Fold:
    """One way of parting a corpus.

    Attributes:
        name: what to call it in results.
        train: what generators and classifiers are fitted on.
        validation: what they are selected on.
        test: what they are judged on.
        reserve: recorded clips kept out of all three, where a control asks for them.
    """

    name: str
    train: Corpus
    validation: Corpus
    test: Corpus
    reserve: Corpus | None = None


class Protocol:
    """Base of all protocols; a frozen dataclass whose fields are its settings."""

    def folds(self, corpus: Corpus, seed: int) -> list[Fold]:
        """The folds.

        Raises:
            AugrunError: the corpus cannot be parted so, or a class would be missing in a part.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Official(Protocol):
    """The split that the corpus comes with."""

    def folds(self, corpus: Corpus, seed: int) -> list[Fold]:
        """One fold; `seed` has no part in it."""
        given = corpus.clips["split"].to_numpy()
        absent = [part for part in PARTS if not (given == part).any()]
        if absent:
            said = "has no given split" if len(absent) == len(PARTS) else f"has no given {' and no '.join(absent)} part"
            raise AugrunError(
                f"protocol=official: {corpus.name} {said}; choose protocol=holdout, or protocol=speaker_folds "
                "where speakers are named"
            )
        return [_fold("official", corpus, [given == part for part in PARTS])]


@dataclass(frozen=True)
class SpeakerFolds(Protocol):
    """Cross-validation over speakers: no speaker is in two parts of a fold.

    Attributes:
        count: folds; each speaker is tested in one of them.
        validation: share of a fold's other speakers that are its validation part; at least one speaker.
        limit: how many of the folds to run; None runs all.
        ignore_split: part a corpus anew that comes with parts of its own; else it is refused.
    """

    count: Annotated[int, "[2, inf)"] = 5
    validation: Annotated[float, "(0, 1)"] = 0.2
    limit: Annotated[int, "[1, inf)"] | None = None
    ignore_split: bool = False

    def folds(self, corpus: Corpus, seed: int) -> list[Fold]:
        """The first `limit` of `count` folds, their classes as alike as the speakers allow."""
        given = sorted(set(corpus.clips["split"]) - {""})
        if given and not self.ignore_split:
            raise AugrunError(
                f"protocol=speaker_folds: {corpus.name} comes with parts of its own ({', '.join(given)}); choose "
                "protocol=official (holdout, where only test is given), or protocol.ignore_split=true to part it anew"
            )
        speakers = corpus.clips["speaker"].to_numpy()
        nameless = int((speakers == "").sum())
        if nameless:
            raise AugrunError(
                f"protocol=speaker_folds: {nameless:,} of {len(corpus):,} clips of {corpus.name} name no speaker; "
                "choose protocol=holdout"
            )
        names, owner = np.unique(speakers, return_inverse=True)
        if len(names) < self.count + 1:
            fewer = f"set protocol.count={len(names) - 1} or " if len(names) > 2 else ""
            raise AugrunError(
                f"protocol=speaker_folds: {self.count} folds and a validation speaker need {self.count + 1} speakers, "
                f"{corpus.name} has {len(names)}; {fewer}choose protocol=holdout"
            )
        counts = _class_counts(corpus, owner, len(names))
        rng = _generator(seed, "speaker_folds")
        tested = _balanced_groups(counts, self.count, rng)
        folds = []
        for number in range(min(self.count, self.limit or self.count)):
            rest = np.flatnonzero(tested != number)
            chosen = rest[_representative(counts[rest], max(1, round(self.validation * len(rest))), rng)]
            in_validation = np.isin(owner, chosen)
            in_test = tested[owner] == number
            parts = [~in_validation & ~in_test, in_validation, in_test]
            folds.append(_fold(f"fold{number + 1}", corpus, parts))
        return folds


@dataclass(frozen=True)
class Holdout(Protocol):
    """A shuffled split with the classes' proportions kept; a given test part stays the test part.

    Attributes:
        validation: share of the clips outside the test part (Chatziagapi et al. 2019, section 3.2: 80 % to 20 %).
        test: share of all clips, drawn where the corpus has no given test part.
    """

    validation: Annotated[float, "(0, 1)"] = 0.2
    test: Annotated[float, "(0, 1)"] = 0.2

    def folds(self, corpus: Corpus, seed: int) -> list[Fold]:
        """One fold."""
        rng = _generator(seed, "holdout")
        names, owner = np.unique(corpus.clips["utterance"].to_numpy(str), return_inverse=True)
        strata = _strata(corpus, owner, len(names))
        given = np.zeros(len(names), dtype=bool)
        given[owner[(corpus.clips["split"] == "test").to_numpy()]] = True
        test = given if given.any() else _drawn(strata, np.ones(len(names), dtype=bool), self.test, rng)
        validation = _drawn(strata, ~test, self.validation, rng)
        parts = [(~test & ~validation)[owner], validation[owner], test[owner]]
        return [_fold("holdout", corpus, parts)]


def _fold(name: str, corpus: Corpus, parts: Sequence[np.ndarray]) -> Fold:
    """A fold from one mask a part, each of whose classes must be there.

    Raises:
        AugrunError: a part lacks a class.
    """
    train, validation, test = (corpus.select(mask) for mask in parts)
    for part, clips in zip(PARTS, (train, validation, test), strict=True):
        empty = np.flatnonzero(clips.targets().sum(axis=0) == 0)
        lacking = [corpus.label_set.names[label] for label in empty]
        if lacking:
            raise AugrunError(
                f"{name} of {corpus.name}: the {part} part ({len(clips):,} clips) has no clip of {', '.join(lacking)}\n"
                "give it more clips, leave these classes out of the dataset, or choose another protocol"
            )
    return Fold(name, train, validation, test)


def _generator(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers for one purpose, so that protocols with one seed do not draw alike."""
    digest = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def _class_counts(corpus: Corpus, owner: np.ndarray, owners: int) -> np.ndarray:
    """Clips of each class that each owner (speaker, utterance) has, shape (owners, classes)."""
    counts = np.zeros((owners, len(corpus.label_set)))
    np.add.at(counts, owner, corpus.targets())
    return counts


def _balanced_groups(counts: np.ndarray, groups: int, rng: np.random.Generator) -> np.ndarray:
    """Deals owners into groups of like class counts, shape (owners,).

    Greedy, the owners with most clips first: each goes where the classes' shares then differ least between
    groups; no group stays empty.
    """
    shares = counts / np.maximum(counts.sum(axis=0), 1.0)
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts.sum(axis=1)[order], kind="stable")]
    totals = np.zeros((groups, counts.shape[1]))
    members = np.zeros(groups, dtype=int)
    group_of = np.empty(len(counts), dtype=int)
    for place, owner in enumerate(order):
        empty = np.flatnonzero(members == 0)
        candidates = empty if len(order) - place <= len(empty) else np.arange(groups)
        # Adding s to a group of total t raises the sum of squares by 2·t·s + s².
        cost = 2 * (totals[candidates] @ shares[owner])
        best = candidates[np.lexsort((members[candidates], cost.round(12)))[0]]
        totals[best] += shares[owner]
        members[best] += 1
        group_of[owner] = best
    return group_of


def _representative(counts: np.ndarray, size: int, rng: np.random.Generator, draws: int = 256) -> np.ndarray:
    """Of some random choices of `size` owners, the one whose share of each class is most even.

    A choice that leaves a class without clips in itself or in the rest is taken only where all do.
    """
    size = min(size, len(counts) - 1)
    total = counts.sum(axis=0)
    best: tuple[float, float] | None = None
    for _ in range(draws):
        choice = rng.choice(len(counts), size=size, replace=False)
        taken = counts[choice].sum(axis=0)
        lacking = float(((taken == 0) | (taken == total)).sum())
        share = taken / np.maximum(total, 1.0)
        score = (lacking, float(((share - size / len(counts)) ** 2).sum()))
        if best is None or score < best:
            best, chosen = score, choice
    return np.sort(chosen)


def _strata(corpus: Corpus, owner: np.ndarray, owners: int) -> np.ndarray:
    """The rarest class of each utterance, by which it is drawn; -1 where it has none."""
    counts = _class_counts(corpus, owner, owners)
    frequency = np.where(counts > 0, counts.sum(axis=0), np.inf)
    return np.where(counts.any(axis=1), frequency.argmin(axis=1), -1)


def _drawn(strata: np.ndarray, eligible: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A mask of `share` of the eligible utterances of each stratum, at least one, and not all."""
    mask = np.zeros(len(strata), dtype=bool)
    for stratum in np.unique(strata[eligible]):
        members = rng.permutation(np.flatnonzero(eligible & (strata == stratum)))
        count = min(max(1, round(share * len(members))), len(members) - 1)
        mask[members[:count]] = True
    return mask
