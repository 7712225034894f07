"""Balancing: what every class ends with, for every policy of Chatziagapi et al. 2019."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augrun.core.errors import AugrunError
from augrun.corpora.corpus import COLUMNS, Corpus, LabelSet
from augrun.generators.requests import PrimeRequirements
from augrun.policies.balance import BalanceToMajority
from augrun.policies.undersample import Undersample

WAVE = PrimeRequirements(primed=True, prime_s=None, sample_s=None, reconstructs=True)
GAN = PrimeRequirements(primed=False, prime_s=None, sample_s=3.0)
NAMES = ("angry", "happy", "neutral", "sad")


def corpus(counts: list[int], multilabel: bool = False) -> Corpus:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    rows = []
    for number, label in enumerate(np.random.default_rng(0).permutation(labels).tolist()):
        row = {**dict.fromkeys(COLUMNS, ""), "clip_id": f"c{number}", "path": f"/{number}.wav", "start_s": 1.0}
        seconds = 2.0 + number % 3
        row |= {"end_s": 1.0 + seconds, "duration_s": seconds, "labels": (label,), "origin": "recorded"}
        rows.append(row | {"utterance": f"u{number}", "digest": str(number)})
    return Corpus("toy", pd.DataFrame(rows, columns=list(COLUMNS)), LabelSet(NAMES[: len(counts)], multilabel))


def generated(requests: pd.DataFrame, of: Corpus) -> Corpus:
    rows = []
    for request in requests.itertuples():
        row = {**dict.fromkeys(COLUMNS, ""), "clip_id": f"g/{request.sample_id}", "labels": request.labels}
        rows.append(row | {"origin": "signal", "duration_s": 1.0, "start_s": 0.0, "end_s": 1.0})
    return Corpus("signal", pd.DataFrame(rows, columns=list(COLUMNS)), of.label_set)


def by_class(of: Corpus) -> list[int]:
    return np.bincount(of.first_labels(), minlength=len(of.label_set)).tolist()


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(1, 12), min_size=2, max_size=4), seed=st.integers(0, 5))
def test_sa_adds_what_is_missing(counts: list[int], seed: int) -> None:
    train = corpus(counts)
    plan = BalanceToMajority().plan(train, WAVE, seed)
    assert plan.replaced == ()
    most = max(counts)
    asked = Counter(plan.requests["label"])
    assert [asked[label] for label in range(len(counts))] == [most - count for count in counts]
    policy = BalanceToMajority()
    assert by_class(policy.compose(train, generated(plan.requests, train))) == [most] * len(counts)
    for label, of_class in plan.requests.groupby("label"):
        own = train.clips["clip_id"][train.first_labels() == label]
        assert set(of_class["prime_clip"]) <= set(own)
        served = of_class["prime_clip"].value_counts().reindex(own, fill_value=0)
        assert served.max() - served.min() <= 1  # all have served before one serves again


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(1, 12), min_size=2, max_size=4), seed=st.integers(0, 5))
def test_sar_ends_with_as_many_transformed_clips_in_every_class(counts: list[int], seed: int) -> None:
    """N_max clips a class, N_max - N_min of them transformed."""
    train = corpus(counts)
    policy = BalanceToMajority(replace="all")
    plan = policy.plan(train, WAVE, seed)
    most, least = max(counts), min(counts)
    composed = policy.compose(train, generated(plan.requests, train), plan.replaced)
    assert by_class(composed) == [most] * len(counts)
    transformed = composed.select((composed.clips["origin"] == "signal").to_numpy())
    assert by_class(transformed) == [most - least] * len(counts)
    # Each replaced clip has given way to a sample of its own.
    for clip in plan.replaced:
        assert clip not in set(composed.clips["clip_id"])
        assert clip in set(plan.requests["prime_clip"])
    assert len(set(plan.replaced)) == len(plan.replaced) == sum(counts) - least * len(counts)


def test_sar_m_replaces_in_the_majority_alone() -> None:
    train = corpus([5, 8, 20, 7])
    policy = BalanceToMajority(replace="majority")
    plan = policy.plan(train, WAVE, 3)
    composed = policy.compose(train, generated(plan.requests, train), plan.replaced)
    transformed = composed.select((composed.clips["origin"] == "signal").to_numpy())
    assert by_class(composed) == [20] * 4
    assert by_class(transformed) == [15, 12, 15, 13]
    owners = train.clips.set_index("clip_id")["labels"]
    assert {owners[clip] for clip in plan.replaced} == {(2,)}


def test_whole_clips_prime_and_seeds_are_their_own() -> None:
    train = corpus([2, 9])
    plan = BalanceToMajority().plan(train, WAVE, 0)
    clips = train.clips.set_index("clip_id")
    for request in plan.requests.itertuples():
        of = clips.loc[request.prime_clip]
        assert (request.prime_path, request.prime_start_s, request.prime_s) == (of.path, 1.0, of.duration_s)
        assert request.seconds == of.duration_s
    assert plan.requests["seed"].is_unique
    assert plan.requests.equals(BalanceToMajority().plan(train, WAVE, 0).requests)
    assert not plan.requests.equals(BalanceToMajority().plan(train, WAVE, 1).requests)


def test_a_gan_balances_segments() -> None:
    """Counted are the examples that it learns from, not utterances; and it is given no primes."""
    train = corpus([2, 3, 4])
    units = np.where(train.first_labels() == 0, 5, 1)  # the class of two clips has ten segments
    plan = BalanceToMajority().plan(train, GAN, 0, units)
    assert Counter(plan.requests["label"]) == {1: 7, 2: 6}
    assert set(plan.requests["seconds"]) == {3.0}
    assert set(plan.requests["prime_clip"]) == {""}
    with pytest.raises(AugrunError, match=r"policy\.replace wants samples that are made from recorded clips"):
        BalanceToMajority(replace="all").plan(train, GAN, 0, units)


@pytest.mark.parametrize(("ratio", "most"), [(0.4, 10), (0.6, 6), (0.8, 5), (1.0, 4)])
def test_undersampling_keeps_at_most_n_min_over_r(ratio: float, most: int) -> None:
    counts = [4, 7, 30, 5]
    kept = Undersample(ratio=ratio).thin(corpus(counts), seed=1)
    assert by_class(kept) == [min(count, most) for count in counts]
    assert kept.clips["clip_id"].tolist() == [  # in their order
        clip for clip in corpus(counts).clips["clip_id"] if clip in set(kept.clips["clip_id"])
    ]
    assert not kept.clips.equals(Undersample(ratio=ratio).thin(corpus(counts), seed=2).clips)


def test_what_cannot_be_balanced_is_refused() -> None:
    with pytest.raises(AugrunError, match="its clips carry several classes"):
        BalanceToMajority().plan(corpus([2, 3], multilabel=True), WAVE, 0)
    lacking = corpus([3, 3, 1]).select(np.arange(7)[corpus([3, 3, 1]).first_labels() != 2])
    for attempt in (
        lambda: BalanceToMajority().plan(lacking, WAVE, 0),
        lambda: Undersample().thin(lacking, 0),
    ):
        with pytest.raises(AugrunError, match="toy: no train clip of neutral; nothing to bring up from"):
            attempt()


@pytest.mark.parametrize("replaced", ["none", "all"])
def test_a_pool_primes_all_that_is_added_or_replaced(replaced: str) -> None:
    train, pool = corpus([2, 5, 8]), corpus([2, 2, 3])
    pool.clips["clip_id"] = [f"kept{row}" for row in range(len(pool))]
    plan = BalanceToMajority(replace=replaced).plan(train, replace(WAVE, pool=pool), 0)  # type: ignore[arg-type]
    owners = dict(zip(pool.clips["clip_id"], pool.first_labels(), strict=True))
    assert [owners[clip] for clip in plan.requests["prime_clip"]] == plan.requests["label"].tolist()
    composed = BalanceToMajority().compose(train, generated(plan.requests, train), plan.replaced)
    assert by_class(composed) == [8, 8, 8]
    assert len(plan.replaced) == (0 if replaced == "none" else 3 + 6)
    with pytest.raises(AugrunError, match="no reserve clip of neutral"):
        BalanceToMajority().plan(train, replace(WAVE, pool=pool.select(pool.first_labels() < 2)), 0)
