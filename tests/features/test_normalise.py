"""Scales against scikit-learn's, and what each is fitted on."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from augrun.features.cache import Features
from augrun.features.normalise import Normalise


def vectors(count: int, seed: int) -> np.ndarray:
    """Of very different magnitudes, some that hardly vary, one that does not."""
    rng = np.random.default_rng(seed)
    made = rng.normal(size=(count, 6)) * np.array([1e-6, 1.0, 1e4, 1e8, 1e3, 0.0]) + np.array(
        [0, 3, -1e5, 1e9, 1e6, 7.5]
    )
    return made.astype(np.float32)


def of(rows: np.ndarray) -> Features:
    return Features.from_rows(rows, np.ones(len(rows), dtype=np.int64))


@pytest.mark.parametrize(("scale", "reference"), [("z", StandardScaler), ("minmax", MinMaxScaler)])
@pytest.mark.parametrize("count", [7, 5000])
def test_scales_are_scikit_learn_s(scale: str, reference: type, count: int) -> None:
    train, other = vectors(count, 0), vectors(11, 1)
    fitted = Normalise(scale=scale).fit(of(train))
    known = reference().fit(train.astype(np.float64))
    for rows in (train, other):
        made = fitted(of(rows)).rows()
        assert made.dtype == np.float32
        np.testing.assert_allclose(made[:, :5], known.transform(rows.astype(np.float64))[:, :5], rtol=1e-5, atol=1e-5)
        assert (made[:, 5] == 0).all()  # it says nothing


def test_none_leaves_vectors_as_they_are() -> None:
    rows = vectors(9, 0)
    assert np.array_equal(Normalise(scale="none").fit(of(rows))(of(rows)).rows(), rows)


def test_what_is_selected_and_joined_is_scaled_in_its_order() -> None:
    first, second = vectors(5, 0), vectors(4, 1)
    joined = Features.concatenate([of(first).select([3, 1]), of(second)])
    expected = np.concatenate([first[[3, 1]], second])
    assert np.array_equal(joined.rows(), expected)
    scaled = Normalise().fit(joined)(joined)
    assert scaled.frames.tolist() == [1] * 6
    np.testing.assert_allclose(scaled[2], scaled.rows()[2:3])


def test_matrices_keep_their_frames() -> None:
    matrices = [np.arange(6, dtype=np.float32).reshape(3, 2), np.ones((2, 2), np.float32)]
    scaled = Normalise(scale="minmax").fit(Features.from_arrays(matrices))(Features.from_arrays(matrices))
    assert scaled.frames.tolist() == [3, 2]
    np.testing.assert_allclose(scaled[0], [[0, 0], [0.5, 0.5], [1, 1]])
