"""The equal-duration policy: budgets, windows, classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augrun.core.errors import AugrunError
from augrun.corpora.corpus import COLUMNS, Corpus, LabelSet
from augrun.generators.requests import PrimeRequirements
from augrun.policies.equal_duration import EqualDuration


def corpus(durations, labels, classes=2, multilabel=True) -> Corpus:
    rows = [
        {
            "clip_id": f"clip{i}",
            "path": f"/corpus/{i}.wav",
            "start_s": 0.0,
            "end_s": seconds,
            "duration_s": seconds,
            "labels": tuple(of),
            "split": "train",
            "speaker": "",
            "session": "",
            "utterance": f"clip{i}",
            "cluster": f"clip{i}",
            "origin": "recorded",
            "primed_by": "",
            "digest": str(i),
        }
        for i, (seconds, of) in enumerate(zip(durations, labels, strict=True))
    ]
    names = tuple(f"class{k}" for k in range(classes))
    return Corpus("toy", pd.DataFrame(rows, columns=list(COLUMNS)), LabelSet(names, multilabel))


DDSP = PrimeRequirements(primed=True, prime_s=4.0, sample_s=4.0, reconstructs=True)
SAMPLERNN = PrimeRequirements(primed=True, prime_s=4.0, sample_s=10.0)


def test_total_is_a_fraction_of_the_train_part_and_equal_per_class():
    train = corpus([100.0] * 40, [[i % 4] for i in range(40)], classes=4)
    plan = EqualDuration(fraction=0.05).plan(train, SAMPLERNN, seed=0)
    assert plan.seconds_per_class == pytest.approx(0.05 * 4000 / 4)
    seconds = plan.requests.groupby("label")["seconds"].sum()
    assert seconds.tolist() == [50.0] * 4
    assert len(plan.requests) == 20
    assert plan.shortfalls == {}


def test_total_hours_replace_the_fraction():
    train = corpus([400.0] * 20, [[i % 2] for i in range(20)])
    plan = EqualDuration(total_hours=0.1).plan(train, SAMPLERNN, seed=0)
    assert plan.requests["seconds"].sum() == 360.0


def test_the_paper_s_own_count_of_samplernn_samples():
    # 5 % of split-0's 611 h in ten-second samples over 56 classes: 196 each (facts of the authors' scripts).
    train = corpus([611 * 3600 / 560] * 560, [[i % 56] for i in range(560)], classes=56)
    counts = EqualDuration().plan(train, SAMPLERNN, seed=0).requests["label"].value_counts()
    assert set(counts) == {196}


def test_primes_go_over_clips_first_then_further_windows_which_do_not_overlap():
    train = corpus([17.0] * 5 + [6.0], [[0]] * 5 + [[1]])
    plan = EqualDuration(fraction=1.0).plan(train, DDSP, seed=3)
    first = plan.requests[plan.requests["label"] == 0]
    # 91 s in all, 45.5 s a class: 11 windows over five clips of four windows each
    assert len(first) == 11
    assert set(first["prime_clip"][:5]) == {f"clip{i}" for i in range(5)}
    assert set(first["prime_clip"][5:10]) == {f"clip{i}" for i in range(5)}
    for _, windows in first.groupby("prime_clip"):
        starts = np.sort(windows["prime_start_s"])
        assert (np.diff(starts) >= 4.0 - 1e-6).all()
        assert starts[0] >= 0
        assert starts[-1] + 4.0 <= 17.0 + 1e-6


def test_out_of_windows_is_a_warning_with_counts_and_reuse_is_asked_for(caplog):
    train = corpus([8.0, 8.0, 100.0, 100.0], [[0], [0], [1], [1]])
    with caplog.at_level("WARNING"):
        plan = EqualDuration(fraction=0.5).plan(train, DDSP, seed=0)
    assert len(plan.requests[plan.requests["label"] == 0]) == 4
    assert plan.shortfalls == {"class0": pytest.approx(54.0 - 16.0)}
    assert "1 of the classes have too few recorded windows for 54 s each; missing: class0 38 s" in caplog.text
    assert "policy.allow_reuse=true" in caplog.text

    again = EqualDuration(fraction=0.5, allow_reuse=True).plan(train, DDSP, seed=0)
    reused = again.requests[again.requests["label"] == 0]
    assert reused["seconds"].sum() == pytest.approx(54.0, abs=2.0)
    assert again.shortfalls == {}


def test_a_clip_shorter_than_the_prime_primes_with_all_it_has():
    train = corpus([3.0, 2.0, 3.5, 2.5], [[0], [0], [1], [1]])
    plan = EqualDuration(fraction=1.0).plan(train, DDSP, seed=0)
    assert sorted(plan.requests["prime_s"]) == [2.0, 2.5, 3.0, 3.5]
    assert (plan.requests["seconds"] == plan.requests["prime_s"]).all()


def test_a_pool_primes_and_the_train_part_counts(caplog):
    train, pool = corpus([10.0] * 20, [[i % 2] for i in range(20)]), corpus([4.0] * 6, [[0], [1], [1], [1], [1], [1]])
    pool.clips["clip_id"] = [f"kept{i}" for i in range(6)]
    needs = PrimeRequirements(primed=True, prime_s=4.0, sample_s=4.0, reconstructs=True, pool=pool)
    with caplog.at_level("WARNING"):
        plan = EqualDuration(fraction=0.2).plan(train, needs, seed=0)
    assert plan.seconds_per_class == pytest.approx(0.2 * 200 / 2)
    assert plan.requests.groupby("label")["seconds"].sum().tolist() == [4.0, 20.0]
    assert set(plan.requests["prime_clip"]) == {f"kept{i}" for i in range(6)}
    assert plan.shortfalls == {"class0": pytest.approx(16.0)}
    assert "1 of the classes have too few reserve windows for 20 s each; missing: class0 16 s" in caplog.text
    lacking = PrimeRequirements(primed=True, prime_s=4.0, sample_s=4.0, pool=pool.select([0]))
    with pytest.raises(AugrunError, match="no reserve clip carries the class 'class1'"):
        EqualDuration().plan(train, lacking, seed=0)


def test_without_primes_no_window_is_used_up():
    train = corpus([8.0] * 4, [[0], [0], [0], [1]])
    plan = EqualDuration(fraction=1.0).plan(train, PrimeRequirements(primed=False, prime_s=None, sample_s=4.0), seed=0)
    assert plan.requests["label"].tolist() == [0] * 4 + [1] * 4 and plan.shortfalls == {}
    assert set(plan.requests["prime_clip"]) == set(plan.requests["prime_path"]) == {""}
    assert set(plan.requests["prime_s"]) == {0.0} and plan.requests["seed"].is_unique


def test_inherit_drawn_or_all():
    train = corpus([50.0] * 4, [[0, 1], [1, 0], [0], [1]])
    drawn = EqualDuration(fraction=0.5).plan(train, DDSP, seed=0).requests
    assert all(row.labels == (row.label,) for row in drawn.itertuples())
    everything = EqualDuration(fraction=0.5, inherit="all").plan(train, DDSP, seed=0).requests
    of = dict(zip(train.clips["clip_id"], train.clips["labels"], strict=True))
    assert all(sorted(row.labels) == sorted(of[row.prime_clip]) for row in everything.itertuples())
    assert all(row.labels[0] == row.label for row in everything.itertuples()), "what it is for comes first"
    assert any(len(labels) == 2 for labels in everything["labels"])


def test_a_class_without_a_clip_is_an_error():
    with pytest.raises(AugrunError, match="no train clip carries the class 'class1'"):
        EqualDuration().plan(corpus([10.0], [[0]]), DDSP, seed=0)


def test_seeds_draw_differently_and_repeat():
    train = corpus([40.0] * 30, [[i % 2] for i in range(30)])
    one, two, other = (EqualDuration().plan(train, DDSP, seed=s).requests for s in (1, 1, 2))
    pd.testing.assert_frame_equal(one, two)
    assert not one["prime_clip"].equals(other["prime_clip"])


def test_composition():
    recorded = corpus([10.0] * 4, [[0], [1], [0], [1]])
    made = Corpus("gen", recorded.clips.assign(clip_id=["a", "b", "c", "d"]), recorded.label_set)
    assert len(EqualDuration().compose(recorded, made)) == 8
    assert EqualDuration(composition="synthetic").compose(recorded, made) is made
    assert EqualDuration(composition="recorded").compose(recorded, made) is recorded
    assert EqualDuration().compose(recorded, None) is recorded


@settings(max_examples=60, deadline=None)
@given(
    durations=st.lists(st.floats(0.5, 60.0), min_size=3, max_size=12),
    prime=st.floats(0.5, 8.0),
    fraction=st.floats(0.01, 1.0),
    seed=st.integers(0, 1000),
)
def test_windows_stay_inside_clips_and_are_used_once_a_class(durations, prime, fraction, seed):
    durations = [round(d, 3) for d in durations]
    train = corpus(durations, [[i % 3] if i % 4 else [0, 1, 2] for i in range(len(durations))], classes=3)
    needs = PrimeRequirements(primed=True, prime_s=prime, sample_s=prime, reconstructs=True)
    plan = EqualDuration(fraction=fraction).plan(train, needs, seed)
    lengths = dict(zip(train.clips["clip_id"], train.clips["duration_s"], strict=True))
    for (_, clip), rows in plan.requests.groupby(["label", "prime_clip"]):
        ordered = rows.sort_values("prime_start_s")
        ends = (ordered["prime_start_s"] + ordered["prime_s"]).to_numpy()
        assert (ordered["prime_start_s"] >= 0).all()
        assert ends[-1] <= lengths[clip] + 1e-3
        assert (ordered["prime_start_s"].to_numpy()[1:] >= ends[:-1] - 1e-3).all()
    made = plan.requests.groupby("label")["seconds"].sum()
    for label, total in made.items():
        several = len(plan.requests[plan.requests.label == label]) > 1
        if train.label_set.names[int(label)] not in plan.shortfalls and several:
            assert abs(total - plan.seconds_per_class) <= prime / 2 + 1e-6
