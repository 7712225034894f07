"""Sample quality: closed forms, a kept package and brute force, copies and strangers, sums over folds and trials."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from prdc import compute_prdc
from scipy.linalg import sqrtm

from augrun.core.errors import AugrunError
from augrun.evaluation import embeddings, quality


def cloud(count: int, seed: int, shift: float = 0.0, dims: int = 8) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(count, dims)) + shift).astype(np.float32)


# The Fréchet distance.


def exactly(count: int, mean: list[float], variances: list[float]) -> np.ndarray:
    """Clips whose mean is this, and whose covariance is this diagonal, to the last digit."""
    x = np.random.default_rng(0).normal(size=(count, len(mean)))
    x = np.linalg.qr(x - x.mean(axis=0))[0] * math.sqrt(count - 1)  # no mean, and the identity as covariance
    return x * np.sqrt(variances) + mean


def test_two_gaussians_as_the_closed_form_has_it() -> None:
    """Of diagonal covariances: the squared distance of the means and of the deviations."""
    a, b = exactly(50, [0.0, 1.0, 2.0], [1.0, 4.0, 9.0]), exactly(70, [1.0, 1.0, 0.0], [4.0, 4.0, 1.0])
    assert quality.frechet(a, b) == pytest.approx((1 + 0 + 4) + (1 + 0 + 4))
    assert quality.frechet(a, a) == pytest.approx(0.0, abs=1e-9)


def test_full_covariances_as_a_matrix_s_root_has_it() -> None:
    mix = np.random.default_rng(3).normal(size=(2, 8, 8))
    a, b = cloud(200, 1) @ mix[0], cloud(300, 2, shift=0.5) @ mix[1]
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    apart = np.square(a.mean(0) - b.mean(0)).sum()
    assert quality.frechet(a, b) == pytest.approx(apart + np.trace(covariances[0] + covariances[1] - 2 * root))


def test_few_clips_in_many_dimensions() -> None:
    """Two clips each: both covariances have rank one, u·uᵀ and v·vᵀ, whose root's trace is |u·v|."""
    a, b = cloud(2, 1, dims=500).astype(float), cloud(2, 2, dims=500).astype(float)
    u, v = ((x[0] - x[1]) / math.sqrt(2) for x in (a, b))
    expected = np.square(a.mean(0) - b.mean(0)).sum() + u @ u + v @ v - 2 * abs(u @ v)
    assert quality.frechet(a, b) == pytest.approx(expected)
    assert quality.frechet(cloud(5, 1, dims=500), cloud(9, 1, dims=500)) > 0
    assert math.isnan(quality.frechet(a[:1], b)) and math.isnan(quality.frechet(a, b[:0]))


# Precision, recall, density, coverage.


@pytest.mark.parametrize(("real", "fake", "k"), [(40, 60, 5), (60, 40, 3), (9, 30, 1)])
def test_as_the_authors_package_has_it(real: int, fake: int, k: int) -> None:
    a, b = cloud(real, 1, dims=3), cloud(fake, 2, shift=0.7, dims=3)
    expected = compute_prdc(a.astype(float), b.astype(float), nearest_k=k)
    found = quality.prdc(a, b, k)
    assert found == pytest.approx({**expected, "k": k})
    assert 0 < found["precision"] < 1 and 0 < found["coverage"] < 1


def test_many_clips_are_compared_piece_by_piece() -> None:
    from sklearn import config_context

    a, b = cloud(700, 1, dims=3), cloud(900, 2, shift=0.7, dims=3)
    whole = quality.prdc(a, b)
    with config_context(working_memory=1):  # MiB, of which the distances want five
        assert quality.prdc(a, b) == whole


def test_fewer_clips_than_neighbours() -> None:
    assert quality.prdc(cloud(4, 1), cloud(30, 2))["k"] == 3
    assert quality.prdc(cloud(30, 1), cloud(2, 2))["k"] == 1
    alone = quality.prdc(cloud(30, 1), cloud(1, 2))
    assert alone.pop("k") == 0 and all(math.isnan(value) for value in alone.values())


# All of it.


def parts(count: int = 120) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Train and test clips of two classes and a third without any; a tenth of them are of both."""
    targets = np.eye(3)[np.arange(count) % 2]
    targets[::10, :2] = 1
    return (cloud(count, 1), targets), (cloud(count, 2), targets)


def test_copies_are_told() -> None:
    train, test = parts()
    found = quality.measure(train, test, train[0][::2], np.zeros(60, dtype=int))["classes"][0]
    assert (found["copied"], found["nearest"]) == (1.0, pytest.approx(0.0, abs=1e-6))
    assert found["precision"] == 1.0 and found["nearest_ratio"] == pytest.approx(0.0, abs=1e-6)
    (all_of_it,) = quality.measure((train[0], np.ones((120, 1))), test, train[0], np.zeros(120, dtype=int))["classes"]
    assert all_of_it["coverage"] == all_of_it["recall"] == 1.0
    assert all_of_it["frechet"] == pytest.approx(0.0, abs=1e-6)


def test_honest_samples_are_as_test_clips_and_strangers_are_not() -> None:
    train, test = parts(600)
    made_for = np.arange(400) % 2
    honest = quality.measure(train, test, cloud(400, 3), made_for)["classes"]
    for found in honest[:2]:
        assert found["nearest_ratio"] == pytest.approx(1.0, abs=0.1) and found["nearest_ratio_recorded"] == 1.0
        assert found["copied"] < 0.06 and found["copied_recorded"] < 0.03
        assert found["precision"] == pytest.approx(found["precision_recorded"], abs=0.1)
        assert found["frechet"] == pytest.approx(found["frechet_recorded"], abs=0.5)
    strange = quality.measure(train, test, cloud(400, 3, shift=20.0), made_for)["classes"][0]
    assert strange["precision"] == strange["density"] == strange["coverage"] == strange["copied"] == 0.0
    assert strange["frechet"] == pytest.approx(8 * 400, rel=0.05) and strange["nearest_ratio"] > 10


def test_a_clip_counts_for_each_of_its_classes_and_what_is_not_there_is_null() -> None:
    train, test = parts()
    found = quality.measure(train, test, cloud(7, 3), np.zeros(7, dtype=int))
    assert (found["k"], found["dimensions"]) == (5, 8)
    first, second, third = found["classes"]
    assert (first["samples"], first["train_clips"], first["test_clips"], first["k"]) == (7, 60, 60, 5)
    assert (second["samples"], second["train_clips"], second["k"], second["k_recorded"]) == (0, 72, 0, 5)
    assert second["frechet"] is second["copied"] is second["nearest_ratio"] is None
    assert second["frechet_recorded"] > 0
    assert third["train_clips"] == 0 and third["coverage_recorded"] is None
    json.dumps(found, allow_nan=False)


def test_an_embedding_that_tells_nothing_apart_has_no_ratio() -> None:
    same = np.ones((20, 4), dtype=np.float32)
    (found,) = quality.measure((same, np.ones((20, 1))), (same, np.ones((20, 1))), same, np.zeros(20, dtype=int))[
        "classes"
    ]
    assert found["nearest_ratio"] is None and found["frechet"] == 0.0 and found["copied"] is None


def cell(frechet: list[float | None], samples: list[int], recorded: float = 1.0) -> dict:
    of_class = dict.fromkeys(quality.MEASURES, 0.5) | {f"{name}_recorded": recorded for name in quality.MEASURES}
    counts = {"train_clips": 30, "test_clips": 10, "k": 5, "k_recorded": 5}
    classes = [
        {**of_class, **counts, "frechet": value, "samples": n} for value, n in zip(frechet, samples, strict=True)
    ]
    return {"k": 5, "dimensions": 16, "classes": classes}


def test_folds_are_averaged_first_and_classes_without_samples_left_out() -> None:
    cells = [
        ("a", 0, cell([1.0, 3.0, None], [4, 8, 0])),
        ("b", 0, cell([3.0, None, None], [6, 0, 0])),
        ("a", 1, cell([5.0, 5.0, None], [4, 4, 0])),
        ("b", 1, cell([5.0, 5.0, None], [4, 4, 0])),
    ]
    account = quality.account(cells, ["x", "y", "z"])
    assert account["frechet_trials"] == [[2.0, 3.0, None], [5.0, 5.0, None]]
    assert account["per_class"]["x"]["frechet"] == 3.5 and account["per_class"]["z"]["frechet"] is None
    assert account["per_class"]["x"]["samples"] == 4.5
    assert account["summary"]["frechet"]["mean"] == pytest.approx(((2.0 + 3.0) / 2 + 5.0) / 2)
    assert account["summary"]["frechet"]["n"] == 2
    assert account["summary"]["frechet_recorded"]["mean"] == 1.0
    assert account["notes"] == [
        "Few clips make a Fréchet distance larger and coverage smaller: samples and test clips compare where they are "
        "as many. Clips a class: about 30 train, 10 test, 4 generated; 16 dimensions."
    ]
    small = cell([1.0], [3])
    small["classes"][0]["k"] = 2
    assert quality.account([("a", 0, small)], ["x"])["notes"][1:] == [
        "Fewer than 6 clips or samples, and so fewer than 5 neighbours, in x."
    ]


# Embeddings.


def test_a_clip_is_the_mean_of_its_segments(tmp_path) -> None:
    rows = np.array([0, 0, 1, 2, 2])
    clips = embeddings.of_clips(np.arange(10, dtype=np.float32).reshape(5, 2), rows, 3, "train")
    assert clips.tolist() == [[1, 2], [4, 5], [7, 8]] and clips.dtype == np.float32
    assert embeddings.of_clips(np.zeros((0, 2), np.float32), np.zeros(0, int), 0, "test").shape == (0, 2)
    embeddings.write(tmp_path / "e.npz", {"train": clips, "test": clips[:1]})
    kept = embeddings.read(tmp_path / "e.npz")
    assert np.array_equal(kept["train"], clips) and len(kept["test"]) == 1


def test_activations_that_are_not_finite_are_refused() -> None:
    broken = np.zeros((5, 2), np.float32)
    broken[3, 1] = np.inf
    with pytest.raises(
        AugrunError, match=r"ddsp: the baseline's classifier gives 1 of 5 examples activations .*classifier.rate"
    ):
        embeddings.of_clips(broken, np.arange(5), 5, "ddsp")
    with pytest.raises(ValueError, match="every clip needs an example"):
        embeddings.of_clips(broken[:3], np.array([0, 0, 2]), 3, "ddsp")
