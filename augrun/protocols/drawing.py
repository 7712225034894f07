"""Drawing of parts: seeded, by whole utterances or speakers, with the classes' proportions kept."""

from __future__ import annotations

import hashlib

import numpy as np

from augrun.corpora.corpus import Corpus


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers for one purpose, so that protocols with one seed do not draw alike."""
    digest = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def class_counts(corpus: Corpus, owner: np.ndarray, owners: int) -> np.ndarray:
    """Clips of each class that each owner (speaker, utterance) has, shape (owners, classes)."""
    counts = np.zeros((owners, len(corpus.label_set)))
    np.add.at(counts, owner, corpus.targets())
    return counts


def balanced_groups(counts: np.ndarray, groups: int, rng: np.random.Generator) -> np.ndarray:
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


def representative(counts: np.ndarray, size: int, rng: np.random.Generator, draws: int = 256) -> np.ndarray:
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


def strata(corpus: Corpus, owner: np.ndarray, owners: int) -> np.ndarray:
    """The rarest class of each utterance, by which it is drawn; -1 where it has none."""
    counts = class_counts(corpus, owner, owners)
    frequency = np.where(counts > 0, counts.sum(axis=0), np.inf)
    return np.where(counts.any(axis=1), frequency.argmin(axis=1), -1)


def units(corpus: Corpus) -> np.ndarray:
    """What is drawn as a whole: the name of each clip's utterance, or of its cluster where nobody speaks."""
    clips = corpus.clips
    return np.where(clips["speaker"] == "", clips["cluster"], clips["utterance"]).astype(str)


def draw(corpus: Corpus, share: float, rng: np.random.Generator) -> np.ndarray:
    """A mask of the clips of `share` of the utterances of each class: at least one utterance, and not all.

    An utterance of several classes counts as one of the rarest among them. Where nobody speaks, whole clusters are
    drawn instead: an artist's tracks, or the pieces of one recording, tell too much of each other.
    """
    names, owner = np.unique(units(corpus), return_inverse=True)
    of_class = strata(corpus, owner, len(names))
    mask = np.zeros(len(names), dtype=bool)
    for stratum in np.unique(of_class):
        members = rng.permutation(np.flatnonzero(of_class == stratum))
        count = min(max(1, round(share * len(members))), len(members) - 1)
        mask[members[:count]] = True
    return mask[owner]


def draw_speakers(corpus: Corpus, share: float, rng: np.random.Generator) -> np.ndarray:
    """A mask of the clips of `share` of the speakers, at least one, whose share of each class is most even."""
    names, owner = np.unique(corpus.clips["speaker"].to_numpy(str), return_inverse=True)
    counts = class_counts(corpus, owner, len(names))
    chosen = representative(counts, max(1, round(share * len(names))), rng)
    return np.isin(owner, chosen)
