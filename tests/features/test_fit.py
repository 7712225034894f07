"""Segments of one number of frames."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augrun.features.cache import Features, build, one_by_one
from augrun.features.fit import Fit
from augrun.features.segments import Segments


def ramp(frames: int, bands: int = 3) -> np.ndarray:
    return (np.arange(frames)[:, None] + np.zeros(bands)).astype(np.float32)


def test_reflection_goes_back_and_forth() -> None:
    fitted = Fit(4, "reflect")(ramp(4), 9)
    assert fitted[:, 0].tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert Fit(4)(ramp(1), 5)[:, 0].tolist() == [0] * 5


def test_stretching_keeps_the_ends() -> None:
    fitted = Fit(5, "stretch")(ramp(5), 9)
    assert fitted[:, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]
    assert fitted.dtype == np.float32
    # A shorter utterance is mirrored to a whole segment first: nothing is slowed down more than the others.
    assert Fit(5, "stretch")(ramp(3), 9)[:, 0].tolist() == [0, 0.5, 1, 1.5, 2, 1.5, 1, 0.5, 0]


@settings(max_examples=50, deadline=None)
@given(
    stored=st.integers(1, 40),
    whole=st.integers(2, 30),
    frames=st.integers(2, 40),
    how=st.sampled_from(["reflect", "stretch"]),
)
def test_any_segment_gets_its_frames_and_nothing_new(stored: int, whole: int, frames: int, how: str) -> None:
    fitted = Fit(whole, how)(ramp(stored), frames)  # type: ignore[arg-type]
    assert fitted.shape == (frames, 3)
    assert fitted.min() >= 0 and fitted.max() <= stored - 1
    assert fitted[0, 0] == 0


def test_features_are_fitted_when_they_are_read(tmp_path: Path) -> None:
    matrices = [ramp(20) + 100 * clip for clip in range(3)]
    features = build(tmp_path, ["a", "b", "c"], 3, one_by_one(lambda clip: matrices[clip]), key="k")
    segments = Segments(seconds=0.7, frames=12)
    cut, rows = segments.cut(features, 0.1)  # 8 frames, every 7
    assert rows.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert cut.frames.tolist() == [12] * 9
    assert cut[4][:, 0].tolist() == [107, 108, 109, 110, 111, 112, 113, 114, 113, 112, 111, 110]
    made = Features.from_arrays([np.full((12, 3), 7.0)])
    both = Features.concatenate([cut.select([0, 8]), made])
    assert both.frames.tolist() == [12, 12, 12]
    assert both[2][:, 0].tolist() == [7.0] * 12
    assert both[1][:8, 0].tolist() == list(range(212, 220))
    again = pickle.loads(pickle.dumps(both))
    assert all(np.array_equal(one, other) for one, other in zip(again, both, strict=True))
    with pytest.raises(ValueError, match="cut no further"):
        cut.cut(np.array([0]), np.array([0]), np.array([4]))
    stretched, _ = Segments(seconds=0.7, frames=12, fit="stretch").cut(features, 0.1)
    with pytest.raises(ValueError, match="fitted in different ways"):
        Features.concatenate([cut, stretched])


def test_the_hop_that_gives_three_seconds_their_128_frames() -> None:
    hop = Segments(seconds=3.0, frames=128, fit="hop").hop_for(16000)
    assert hop == 378
    assert round(3.0 / (hop / 16000)) + 1 == 128
    assert Segments(seconds=3.0, frames=128).hop_for(16000) is None
