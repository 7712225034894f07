"""Min–max there and back."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler

from augrun.features.cache import Features
from augrun.features.span import Span


def test_it_is_scikit_learn_s_and_goes_back() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(50, 4)) * [1e-3, 1.0, 1e6, 0.0] + [0.0, 5.0, 1e7, 3.0]).astype(np.float32)
    span = Span.of(Features.from_rows(rows, np.ones(50, dtype=np.int64)))
    made = span.apply(rows)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, MinMaxScaler().fit_transform(rows.astype(np.float64)), atol=1e-6)
    assert made[:, :3].min() == 0.0 and made[:, :3].max() == pytest.approx(1.0)
    np.testing.assert_allclose(span.undo(made), rows, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(span.undo(np.full((1, 4), 0.5, np.float32))[0, 3], 3.0)  # what does not vary stays
    beyond = span.apply(rows[:1] + 10 * (span.high - span.low))
    assert (beyond[0, :3] > 9.9).all()  # and nothing is cut off
