"""What a balancing GAN sees of its train part: normalisation, class statistics, latents, and health against them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.covariance import OAS, LedoitWolf

from augrun.core.errors import AugrunError
from augrun.features.cache import Features
from augrun.features.examples import Examples
from augrun.generators.bagan import health
from augrun.generators.bagan.data import Normalisation, Recorded, Spectrograms, check
from augrun.generators.bagan.latents import ClassLatents


def examples_of(labels: list[int], classes: int = 3, frames: int = 16, bands: int = 32, seed: int = 0) -> Examples:
    """Noise in dB, louder in later classes."""
    random = np.random.default_rng(seed)
    arrays = [random.normal(-60 + 10 * label, 8, (frames, bands)).astype(np.float32) for label in labels]
    return Examples(Features.from_arrays(arrays), np.eye(classes, dtype=np.float32)[labels], False)


def test_normalisation_is_min_max_of_all_train_values() -> None:
    train, test = examples_of([0, 1, 2, 2]), examples_of([0, 2], seed=5)
    normalisation = Normalisation.of(train)
    whole = np.stack(list(train.features))
    assert (normalisation.minimum, normalisation.maximum) == (whole.min(), whole.max())
    scaled = normalisation.apply(whole)
    assert scaled.dtype == np.float32
    assert (scaled.min(), scaled.max()) == (-1, 1)
    assert np.abs(normalisation.undo(scaled) - whole).max() < 1e-4
    data = Spectrograms(test, normalisation)  # with the train part's figures
    assert len(data) == 2 and data[1]["label"] == 2
    assert data[1]["image"].shape == (1, 16, 32)
    expected = (test.features[1] - whole.min()) / (whole.max() - whole.min()) * 2 - 1
    assert np.abs(data[1]["image"][0].numpy() - expected).max() < 1e-6


def test_silence_has_no_range() -> None:
    silent = Examples(Features.from_arrays([np.full((16, 16), -100.0)] * 2), np.eye(2, dtype=np.float32), False)
    with pytest.raises(AugrunError, match="all values of the 2 train segments are -100; are the recordings silent"):
        Normalisation.of(silent)


def test_recorded_statistics_are_those_of_all_pairs() -> None:
    train = examples_of([0, 0, 0, 1, 1, 2, 2, 2, 2])
    data = Spectrograms(train, Normalisation.of(train))
    recorded = Recorded.of(data, 3)
    images = np.stack([data[place]["image"].numpy()[0] for place in range(9)]).astype(np.float64)
    for label in range(3):
        own = images[data.labels == label]
        assert np.abs(recorded.means[label] - own.mean(axis=0)).max() < 1e-6
        squares = [np.sum((own[a] - own[b]) ** 2) for a in range(len(own)) for b in range(a)]
        assert recorded.distances[label] == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-6)
    assert recorded.extreme == pytest.approx((np.abs(images) > 0.99).mean())
    assert recorded.extreme > 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, 2, 2], r"at least 2; in the train part class 1 \(counted from 0\) has none"),
        ([0, 0, 1, 2], r"class 1 \(counted from 0\) has 1, class 2 \(counted from 0\) has 1"),
        ([], "the train part has no segments"),
    ],
)
def test_classes_that_are_too_small_are_named(labels: list[int], message: str) -> None:
    train = examples_of(labels) if labels else examples_of([0])
    if not labels:
        train = Examples(train.features.select([]), train.targets[:0], False)
    with pytest.raises(AugrunError, match=f"generator=bagan.*{message}"):
        check(train, examples_of([0]), "bagan")


def test_what_the_network_cannot_make_is_refused() -> None:
    good = examples_of([0, 0, 1, 1, 2, 2])
    assert check(good, examples_of([0]), "bagan") == (16, 32)
    several = Examples(good.features, np.ones_like(good.targets), True)
    with pytest.raises(AugrunError, match="models one class a segment"):
        check(several, good, "bagan")
    odd = examples_of([0, 0, 1, 1, 2, 2], frames=121, bands=32)
    with pytest.raises(AugrunError, match=r"here are 121 frames of 32 bands\.\nGive segments\.frames=128"):
        check(odd, odd, "bagan")
    with pytest.raises(AugrunError, match="here are 16 and 121 frames"):
        check(good, odd, "bagan")


@pytest.mark.parametrize(("estimator", "reference"), [("oas", OAS), ("ledoit_wolf", LedoitWolf)])
def test_latents_are_each_classes_mean_and_shrunk_covariance(estimator: str, reference: type) -> None:
    random = np.random.default_rng(0)
    latents = (random.normal(size=(90, 20)) * np.linspace(0.1, 3, 20)).astype(np.float32)
    labels = np.repeat([0, 1], [80, 10])
    latents[labels == 1] += 5
    known = ClassLatents.of(latents, labels, 2, estimator)  # type: ignore[arg-type]
    for label in range(2):
        own = latents[labels == label].astype(np.float64)
        fitted = reference().fit(own)
        assert np.abs(known.means[label] - own.mean(axis=0)).max() < 1e-12
        assert np.abs(known.factors[label] @ known.factors[label].T - fitted.covariance_).max() < 1e-10
        assert known.shrinkage[label] == pytest.approx(fitted.shrinkage_)
    assert known.shrinkage[1] > known.shrinkage[0]  # the smaller class is trusted less
    assert np.linalg.eigvalsh(known.factors[1]).min() > 0  # 10 segments, 20 dimensions, and yet not singular


def test_empirical_covariance_is_numpys_and_may_be_singular() -> None:
    latents = np.random.default_rng(0).normal(size=(6, 20))
    known = ClassLatents.of(latents, np.zeros(6, int), 1, "empirical")
    assert np.abs(known.factors[0] @ known.factors[0].T - np.cov(latents.T)).max() < 1e-10
    assert known.shrinkage[0] == 0
    drawn = np.stack([known.draw(0, seed) for seed in range(50)]) - latents.mean(axis=0)
    assert np.linalg.matrix_rank(drawn, tol=1e-3) == 5


def test_draws_follow_the_class_and_the_seed() -> None:
    random = np.random.default_rng(1)
    latents = random.normal(size=(200, 4)) @ random.normal(size=(4, 4)) + 3
    known = ClassLatents.of(np.concatenate([latents, latents - 9]), np.repeat([0, 1], 200), 2, "oas")
    drawn = np.stack([known.draw(1, seed) for seed in range(20_000)])
    assert np.abs(drawn.mean(axis=0) - known.means[1]).max() < 0.1
    covariance = known.factors[1] @ known.factors[1].T
    assert np.abs(np.cov(drawn.T) - covariance).max() < 0.05 * np.abs(covariance).max()
    assert np.array_equal(known.draw(0, 7), known.draw(0, 7))
    assert not np.array_equal(known.draw(0, 7), known.draw(0, 8))
    assert np.allclose(known.draw(0, 7) - known.draw(1, 7), 9, atol=1e-4)  # one noise, two means


def made_of(data: Spectrograms, classes: int = 3) -> np.ndarray:
    """The recorded segments of each class, (C, 4, F, M)."""
    images = np.stack([data[place]["image"].numpy()[0] for place in range(len(data))])
    return np.stack([images[data.labels == label][:4] for label in range(classes)])


def test_recordings_are_healthy() -> None:
    train = examples_of([0, 1, 2] * 4)
    data = Spectrograms(train, Normalisation.of(train))
    recorded = Recorded.of(data, 3)
    measured = health.measure(made_of(data), recorded)
    assert measured["extreme_share"] == pytest.approx(recorded.extreme)
    assert measured["diversity"] == pytest.approx(1, abs=1e-6)
    assert measured["nearest_own"] == measured["classes_nearest_own"] == 1
    swapped = health.measure(made_of(data)[[1, 0, 2]], recorded)
    assert swapped["nearest_own"] == swapped["classes_nearest_own"] == pytest.approx(1 / 3)


def test_nearest_class_is_by_distance_to_the_means() -> None:
    train = examples_of([0, 1, 2] * 4)
    data = Spectrograms(train, Normalisation.of(train))
    recorded = Recorded.of(data, 3)
    made = np.random.default_rng(0).normal(0, 0.2, (3, 5, 16, 32)).astype(np.float32)
    distances = np.square(made[:, :, None] - recorded.means).sum(axis=(3, 4))
    measured = health.measure(made, recorded)
    assert measured["nearest_own"] == np.mean(distances.argmin(axis=2) == np.arange(3)[:, None])
    assert measured["classes_nearest_own"] == np.mean(distances.mean(axis=1).argmin(axis=1) == np.arange(3))


GOOD = {
    "discriminator_loss": 1.2, "fooled": 0.3, "one_verdict": 0.4, "diversity": 0.6, "extreme_share": 0.012,
    "classes_nearest_own": 0.75,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"one_verdict": 0.99}, "discriminator", "blind .it has collapsed.: 99.0% of what it saw got one verdict"),
        ({"discriminator_loss": 0.01, "fooled": 0.0}, "discriminator", "has won: at a loss of 0.010 it takes 0.0%"),
        ({"diversity": 0.1}, "modes", "the modes have collapsed: .* as far from each other as 0.10 of"),
        ({"extreme_share": 0.0141}, "extremes", r"1.4% of the generated values .* of the recorded ones 0.4%"),
        ({"classes_nearest_own": 0.5}, "classes", "the classes are mixed up: of only 50% of them"),
    ],
)
def test_each_illness_has_its_complaint(changes: dict, kind: str, text: str) -> None:
    assert health.complaints(GOOD, 0.004) == {}
    found = health.complaints({f"train/{name}": value for name, value in (GOOD | changes).items()}, 0.004)
    assert list(found) == [kind]
    assert re.search(text, found[kind]), found[kind]
