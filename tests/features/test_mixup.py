"""Mixtures of vectors: equations 1 and 2 of Latif et al. 2020."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augrun.core.errors import AugrunError
from augrun.features.cache import Features
from augrun.features.examples import Examples
from augrun.features.mixup import Mixup, mixtures


def examples(count: int) -> Examples:
    rng = np.random.default_rng(0)
    features = Features.from_rows(rng.normal(size=(count, 4)).astype(np.float32), np.ones(count, dtype=np.int64))
    return Examples(features, np.eye(3, dtype=np.float32)[np.arange(count) % 3], False, ("a", "b", "c"))


@given(count=st.integers(2, 40), ratio=st.floats(0.0, 3.0), seed=st.integers(0, 99))
def test_recorded_vectors_stay_and_mixtures_lie_between_two(count: int, ratio: float, seed: int) -> None:
    recorded = examples(count)
    mixed = Mixup(ratio, alpha=0.4).of(recorded, seed)
    assert len(mixed) == count + round(ratio * count)
    rows, targets = mixed.features.rows(), mixed.targets
    assert np.array_equal(rows[:count], recorded.features.rows()) and np.array_equal(targets[:count], recorded.targets)
    first, second, share = (part[count:, None] for part in mixtures(count, round(ratio * count), 0.4, seed))
    for found, of in ((rows, recorded.features.rows()), (targets, recorded.targets)):
        expected = share * of[first[:, 0]] + (1 - share) * of[second[:, 0]]
        np.testing.assert_allclose(found[count:], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(targets.sum(1), 1.0, rtol=1e-6)
    assert rows.dtype == targets.dtype == np.float32 and mixed.names == ("a", "b", "c")


def test_without_a_ratio_nothing_is_touched() -> None:
    recorded = examples(5)
    assert Mixup().of(recorded, 0) is recorded


def test_one_vector_cannot_be_mixed() -> None:
    with pytest.raises(AugrunError, match=r"mixup\.ratio=2 wants two clips at least, and there are 1"):
        Mixup(2.0).of(examples(1), 0)
