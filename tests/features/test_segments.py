"""Segments: where they lie, that none is lost, and how they vote."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augrun.core.errors import RequestError
from augrun.features.cache import Features
from augrun.features.logmel import LogMel
from augrun.features.segments import Segments, vote

FRAME = 0.025  # 3 s are 120 hops, 121 frames


def clips(*frames: int) -> Features:
    """Clips whose frames are numbered."""
    return Features.from_arrays([np.arange(count, dtype=np.float32)[:, None] for count in frames])


def spans(features: Features) -> list[tuple[int, int]]:
    """First and last frame number of each segment."""
    return [(int(matrix[0, 0]), int(matrix[-1, 0])) for matrix in features]


@pytest.mark.parametrize(
    ("settings", "frames", "expected"),
    [
        ({}, 24, [(0, 23)]),  # 0.58 s: one segment, short
        ({}, 121, [(0, 120)]),
        ({}, 122, [(0, 120), (1, 121)]),
        ({}, 241, [(0, 120), (120, 240)]),
        ({}, 300, [(0, 120), (120, 240), (179, 299)]),
        ({"rest": "short"}, 300, [(0, 120), (120, 240), (240, 299)]),
        ({"rest": "short"}, 241, [(0, 120), (120, 240)]),
        ({"rest": "drop"}, 300, [(0, 120), (120, 240)]),
        ({"rest": "drop"}, 24, [(0, 23)]),
        ({"hop": 1.5, "rest": "drop"}, 300, [(0, 120), (60, 180), (120, 240)]),
    ],
)
def test_where_segments_lie(settings: dict, frames: int, expected: list[tuple[int, int]]) -> None:
    cut, rows = Segments(seconds=3.0, **settings).cut(clips(7, frames), FRAME)
    assert spans(cut) == [(0, 6), *expected]
    assert rows.tolist() == [0] + [1] * len(expected)


@given(
    frames=st.lists(st.integers(1, 900), min_size=1, max_size=12),
    seconds=st.floats(0.05, 8.0),
    hop=st.none() | st.floats(0.05, 8.0),
    rest=st.sampled_from(["shift", "short", "drop"]),
)
def test_every_clip_has_a_segment_within_it(frames: list[int], seconds: float, hop: float | None, rest: str) -> None:
    cut, rows = Segments(seconds, hop, rest).cut(clips(*frames), FRAME)
    length = round(seconds / FRAME) + 1
    assert sorted(set(rows.tolist())) == list(range(len(frames)))
    assert (np.diff(rows) >= 0).all()
    heard: dict[int, set[int]] = {clip: set() for clip in range(len(frames))}
    for row, matrix in zip(rows, cut, strict=True):
        assert np.array_equal(matrix[:, 0], np.arange(matrix[0, 0], matrix[0, 0] + len(matrix)))
        assert matrix[-1, 0] < frames[row]
        assert len(matrix) <= length
        assert len(matrix) == length or rest == "short" or frames[row] < length
        heard[int(row)] |= set(matrix[:, 0].astype(int).tolist())
    if rest == "shift" and (hop is None or hop <= seconds):
        assert all(heard[clip] == set(range(count)) for clip, count in enumerate(frames))


def test_a_segment_is_what_the_sound_cut_out_would_give() -> None:
    """But for its first and last frames, which look at the sound around it."""
    logmel = LogMel(sample_rate=16000, window=800, hop=400, n_fft=1024, bands=40, f_max=8000.0, resampling="sinc")
    sound = np.random.default_rng(0).normal(size=16000 * 8).astype(np.float32) * 0.1
    whole = Features.from_arrays([logmel.transform(sound)])
    cut, _ = Segments(3.0).cut(whole, logmel.seconds_per_frame)
    assert cut.frames.tolist() == [121, 121, 121]
    alone = logmel.transform(sound[48000:96000])
    assert np.abs(cut[1][1:-1] - alone[1:-1]).max() < 1e-4
    assert np.abs(cut[1][0] - alone[0]).max() > 0.1


def test_segments_share_the_memory_of_their_clips() -> None:
    features = clips(500)
    cut, _ = Segments(3.0, 0.1).cut(features, FRAME)
    assert all(np.shares_memory(features[0], matrix) for matrix in cut)


def test_without_a_length_clips_stay_whole() -> None:
    features = clips(10, 500)
    cut, rows = Segments().cut(features, None)
    assert cut is features
    assert rows.tolist() == [0, 1]


def test_less_than_a_frame_is_refused() -> None:
    with pytest.raises(RequestError, match=r"^segments\.seconds=3 and segments\.hop=0\.001 are too short for frames"):
        Segments(3.0, 0.001).cut(clips(10), FRAME)


def test_the_majority_decides() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.4, 0.6, 0.0], [0.0, 0.2, 0.8]], np.float32)
    decided = vote(scores, np.array([0, 0, 0, 1]), 2, "majority")
    assert decided.argmax(axis=1).tolist() == [1, 2]
    assert vote(scores, np.array([0, 0, 0, 1]), 2, "mean").argmax(axis=1).tolist() == [0, 2]
    assert decided.sum(axis=1) == pytest.approx(1.0)


def test_ties_go_to_the_larger_mean_probability() -> None:
    scores = np.array([[0.55, 0.45, 0.0], [0.1, 0.9, 0.0], [0.2, 0.0, 0.8], [0.9, 0.0, 0.1]], np.float32)
    assert vote(scores, np.array([0, 0, 1, 1]), 2, "majority").argmax(axis=1).tolist() == [1, 0]


@pytest.mark.parametrize("first", [0, 1])
def test_a_majority_wins_where_the_means_are_equal(first: int) -> None:
    scores = np.array([[0.9, 0.1], [0.3, 0.7], [0.3, 0.7]], np.float32)
    decided = vote(scores if first else scores[:, ::-1], np.zeros(3, int), 1, "majority")
    assert decided.argmax() == first
    assert decided == pytest.approx(np.full((1, 2), 0.5), abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 5))
def test_a_majority_is_never_outvoted(seed: int, most: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    owners = rng.permutation(np.repeat(np.arange(8), rng.integers(1, most + 1, size=8)))
    scores = rng.dirichlet(np.full(classes, 0.3), size=len(owners)).astype(np.float32)
    decided = vote(scores, owners, 8, "majority")
    for utterance in range(8):
        votes = np.bincount(scores[owners == utterance].argmax(axis=1), minlength=classes)
        means = scores[owners == utterance].mean(axis=0)
        best = max(range(classes), key=lambda label: (votes[label], means[label]))
        assert decided[utterance, best] == decided[utterance].max()


def test_single_parts_keep_their_probabilities_in_the_utterances_order() -> None:
    scores = np.array([[0.3, 0.7], [0.6, 0.4], [0.5, 0.5]], np.float32)
    assert np.array_equal(vote(scores, np.array([2, 0, 1]), 3, "majority"), scores[[1, 2, 0]])


def test_parts_of_several_classes_are_averaged() -> None:
    scores = np.array([[0.9, 0.8], [0.7, 0.0]], np.float32)
    assert vote(scores, np.array([0, 0]), 1, "majority", multilabel=True) == pytest.approx(np.array([[0.8, 0.4]]))


def test_an_utterance_without_a_part_is_a_fault() -> None:
    with pytest.raises(ValueError, match="every utterance needs a part"):
        vote(np.ones((2, 2), np.float32), np.array([0, 2]), 3, "mean")


def test_probabilities_beside_a_vote_stay_probabilities() -> None:
    """One utterance with two parts must not change what the others' scores mean."""
    scores = np.array([[0.6, 0.4], [0.3, 0.7], [0.2, 0.8]], np.float32)
    assert np.array_equal(vote(scores, np.array([0, 1, 1]), 2, "majority")[0], scores[0])
