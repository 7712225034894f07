"""One sample a recorded clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from augrun.core.errors import AugrunError
from augrun.generators.requests import REQUEST_COLUMNS, PrimeRequirements
from augrun.policies.per_recording import PerRecording
from tests.policies.test_balance import corpus

RECONSTRUCTED = PrimeRequirements(primed=True, prime_s=None, sample_s=None, reconstructs=True)
UNPRIMED = PrimeRequirements(primed=False, prime_s=None, sample_s=2.0)


def test_every_clip_primes_one_of_its_class() -> None:
    train = corpus([4, 1, 3])
    plan = PerRecording().plan(train, RECONSTRUCTED, 0)
    assert tuple(plan.requests.columns) == REQUEST_COLUMNS
    assert plan.requests["prime_clip"].tolist() == train.clips["clip_id"].tolist()
    assert plan.requests["label"].tolist() == train.first_labels().tolist()
    assert plan.requests["labels"].tolist() == [(label,) for label in plan.requests["label"]]
    assert plan.requests["seconds"].tolist() == train.clips["duration_s"].tolist()
    assert plan.requests["prime_start_s"].tolist() == train.clips["start_s"].tolist()
    assert plan.requests["sample_id"].is_unique and plan.requests["seed"].is_unique
    assert plan.seconds_per_class == pytest.approx(train.seconds / 3)
    again, other = (PerRecording().plan(train, RECONSTRUCTED, seed).requests["seed"] for seed in (0, 1))
    assert again.equals(plan.requests["seed"]) and not other.equals(again)


def test_without_primes_as_many_and_units_count() -> None:
    train = corpus([2, 3])
    requests = PerRecording().plan(train, UNPRIMED, 0).requests
    assert requests["label"].value_counts().to_dict() == {0: 2, 1: 3}
    assert set(requests["prime_clip"]) == {""} and set(requests["seconds"]) == {2.0}
    units = np.where(train.first_labels() == 0, 1, 2)
    counted = PerRecording().plan(train, UNPRIMED, 0, units).requests["label"]
    assert counted.value_counts().to_dict() == {0: 2, 1: 6}
    with pytest.raises(AugrunError, match="wants whole clips as primes"):
        PerRecording().plan(train, RECONSTRUCTED, 0, units)


def test_a_source_corpus_becomes_every_class() -> None:
    train, source = corpus([4, 1, 3]), corpus([5])
    needs = PrimeRequirements(primed=True, prime_s=None, sample_s=None, reconstructs=True, source=source)
    plan = PerRecording().plan(train, needs, 0)
    assert plan.requests["label"].tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert plan.requests["prime_clip"].tolist() == source.clips["clip_id"].tolist() * 3
    assert plan.requests["seconds"].tolist() == source.clips["duration_s"].tolist() * 3
    assert plan.requests["sample_id"].is_unique
    assert plan.seconds_per_class == pytest.approx(source.seconds)


def test_a_pool_primes_each_of_its_clips_once(caplog: pytest.LogCaptureFixture) -> None:
    train, pool = corpus([4, 2, 3]), corpus([2, 5, 3])
    needs = replace(RECONSTRUCTED, pool=pool)
    with caplog.at_level("WARNING"):
        plan = PerRecording().plan(train, needs, 0)
    assert plan.requests["label"].tolist() == [0] * 2 + [1] * 2 + [2] * 3
    assert plan.requests["prime_clip"].is_unique and set(plan.requests["prime_clip"]) <= set(pool.clips["clip_id"])
    owners = dict(zip(pool.clips["clip_id"], pool.first_labels(), strict=True))
    assert [owners[clip] for clip in plan.requests["prime_clip"]] == plan.requests["label"].tolist()
    assert plan.requests["seconds"].tolist() == plan.requests["prime_s"].tolist()
    seconds = train.clips["duration_s"][train.first_labels() == 0].sum()
    assert plan.shortfalls == {"angry": pytest.approx(seconds - plan.requests["seconds"][:2].sum())}
    assert plan.seconds_per_class == pytest.approx(train.seconds / 3)
    assert "fewer clips than the train part of angry: 7 samples, not 9" in caplog.text
