"""The autoencoder: alone and together, killed and resumed, what its code keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from augrun.core.config import compose
from augrun.core.config.component import build
from augrun.core.errors import AugrunError
from augrun.core.job import Hardware, Job
from augrun.core.training.stacked import Draws
from augrun.features.cache import Features
from augrun.features.examples import Examples
from augrun.features.mixup import Mixup
from augrun.reducers.autoencoder import Autoencoder
from augrun.reducers.autoencoder import training as autoencoder_training
from augrun.reducers.autoencoder.training import Training

CPU = Hardware(accelerator="cpu", progress=False)
TINY = Autoencoder(dimensions=3, hidden=[32, 24, 16], batch_size=16, epochs=40, rate=5e-3)
BANDS = 20
MIXED = Mixup(ratio=0.5)

pytestmark = pytest.mark.usefixtures("one_thread")


def examples(count: int, seed: int) -> Examples:
    """Of three dimensions, bent, and noise."""
    rng, turn = np.random.default_rng(seed), np.random.default_rng(9).normal(size=(3, BANDS))
    rows = np.tanh(rng.normal(size=(count, 3)) @ turn) + 0.1 * rng.normal(size=(count, BANDS))
    features = Features.from_rows(rows.astype(np.float32), np.ones(count, dtype=np.int64))
    return Examples(features, np.eye(2, dtype=np.float32)[np.arange(count) % 2], False)


def job(folder: Path, seed: int = 0) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    return Job(folder, seed, CPU)


def codes(part: Examples, fitted: Path, settings: Autoencoder = TINY) -> np.ndarray:
    return settings.transform(part.features, fitted, Job(fitted, hardware=CPU)).rows()


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("autoencoder")
    TINY.fit(examples(200, 0), job(folder, 3), Mixup())
    return folder


def layers(vectors: np.ndarray, weights: dict[str, torch.Tensor]) -> np.ndarray:
    """ReLU between the layers and nothing behind the last, by hand."""
    for number in range(4):
        vectors = vectors @ weights[f"{number}.weight"][0].numpy() + weights[f"{number}.bias"][0].numpy()
        vectors = np.maximum(vectors, 0.0) if number < 3 else vectors
    return vectors


def test_the_code_is_the_encoders_and_new_vectors_come_back_from_it(fitted: Path) -> None:
    model = torch.load(fitted / "model.pt", weights_only=True)
    assert model["widths"] == [BANDS, 32, 24, 16, 3]
    test = examples(100, 1)
    made = codes(test, fitted)
    assert made.shape == (100, 3) and made.dtype == np.float32
    mean = model["centre"].numpy()
    np.testing.assert_allclose(mean, examples(200, 0).features.rows().mean(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(made, layers(test.features.rows() - mean, model["encoder"]), atol=1e-4)
    back = layers(made, model["decoder"]) + mean
    rows = test.features.rows()
    assert np.square(back - rows).mean() < 0.5 * np.square(mean - rows).mean()
    history = json.loads((fitted / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == list(range(1, 41))
    assert history[-1]["train/reconstruction"] < 0.5 * history[0]["train/reconstruction"]


@pytest.mark.parametrize("mixup", [Mixup(), MIXED])
def test_together_is_as_alone(tmp_path: Path, mixup: Mixup) -> None:
    """Sizes, and so steps and ends, differ; two share their train part and not their mixtures."""
    short = replace(TINY, epochs=6)
    first, second = examples(60, 0), examples(41, 1)
    train, seeds = [first, second, first], [4, 5, 6]
    short.fit_together(train, [job(tmp_path / f"together{k}", seed) for k, seed in enumerate(seeds)], mixup)
    for k, (part, seed) in enumerate(zip(train, seeds, strict=True)):
        short.fit(part, job(tmp_path / f"alone{k}", seed), mixup)
        one, other = (codes(part, tmp_path / f"{kind}{k}", short) for kind in ("together", "alone"))
        np.testing.assert_allclose(one, other, atol=1e-4)
        assert {path.name for path in (tmp_path / f"together{k}").iterdir()} == {"model.pt", "history.json"}
    assert np.abs(codes(first, tmp_path / "together0") - codes(first, tmp_path / "together2")).max() > 0.01


def test_it_learns_from_mixtures_too() -> None:
    train = examples(40, 0)
    training = Training(TINY, [MIXED.of(train, 4)], [4])
    rows = MIXED.of(train, 4).features.rows()
    np.testing.assert_array_equal(training.vectors.numpy(), rows - rows.mean(axis=0))
    assert training.batches.sizes == (60,)


def test_mixtures_are_drawn_with_the_jobs_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, seen = examples(40, 0), []

    class Watched(Training):
        def __init__(self, settings, parts, seeds) -> None:
            seen.extend(part.features.rows() for part in parts)
            super().__init__(settings, parts, seeds)

    monkeypatch.setattr(autoencoder_training, "Training", Watched)
    replace(TINY, epochs=1).fit(train, job(tmp_path, 8), MIXED)
    np.testing.assert_array_equal(seen[0], MIXED.of(train, 8).features.rows())


def test_each_starts_from_its_own_seed() -> None:
    train = examples(40, 0)
    both, alone = Training(TINY, [train, train], [4, 5]), Training(TINY, [train], [5])
    for (name, value), (_, its) in zip(both.named_parameters(), alone.named_parameters(), strict=True):
        assert torch.equal(value[1], its[0]) and not torch.equal(value[0], value[1]), name


def test_what_fills_a_batch_up_does_not_count() -> None:
    there = torch.tensor([[1.0] * 10 + [0.0] * 6])
    ended = []
    for rest in (0, 30):
        training = Training(TINY, [examples(40, 0)], [0])
        places = torch.tensor([[*range(10), *[rest] * 6]])
        sums = training.one(places, there, Draws([0]), [0])["reconstruction"]
        ended.append([sums, *(value.detach().clone() for value in training.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*ended, strict=True))


def test_a_killed_training_goes_on_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, long = examples(60, 0), replace(TINY, epochs=45)
    long.fit(train, job(tmp_path / "whole"), MIXED)
    training_step, calls = Training.training_step, []

    def until(self: Training, batch: torch.Tensor, index: int) -> None:
        calls.append(int(self.taken))
        if len(calls) == 4:
            raise KeyError("killed")
        training_step(self, batch, index)

    monkeypatch.setattr(Training, "training_step", until)
    with pytest.raises(KeyError):
        long.fit(train, job(tmp_path / "killed"), MIXED)
    assert not (tmp_path / "killed" / "model.pt").exists()
    long.fit(train, job(tmp_path / "killed"), MIXED)
    assert calls == [0, 50, 100, 150, 150, 200, 250]  # the fourth piece again, and what is left
    one, other = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("whole", "killed"))
    for part in ("encoder", "decoder"):
        assert all(torch.equal(value, other[part][name]) for name, value in one[part].items())


def test_one_vector_alone_is_as_among_others_and_blocks_join(fitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = examples(23, 1)
    many = codes(test, fitted)
    alone = TINY.transform(test.features[7:8], fitted, Job(fitted, hardware=CPU)).rows()
    np.testing.assert_allclose(alone[0], many[7], atol=1e-4)
    monkeypatch.setattr(autoencoder_training, "ENCODED_AT_ONCE", 4)
    np.testing.assert_allclose(codes(test, fitted), many, atol=1e-4)
    none = TINY.transform(test.features[:0], fitted, Job(fitted, hardware=CPU))
    assert len(none) == 0 and none.rows().shape == (0, 3)


def test_what_is_fitted_stays(fitted: Path) -> None:
    before = (fitted / "model.pt").read_bytes()
    TINY.fit(examples(50, 7), job(fitted), Mixup())
    assert (fitted / "model.pt").read_bytes() == before


def test_an_empty_train_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AugrunError, match="autoencoder has no vectors to learn from"):
        TINY.fit(examples(0, 0), job(tmp_path), Mixup())


def test_the_yaml_has_three_hidden_layers_and_25_dimensions() -> None:
    words = ["dataset=feel", "representation=is10", "classifier=svm", "reducer=autoencoder"]
    built = [build(compose.compose([*words, f"scale={scale}"])["reducer"]) for scale in ("paper", "demo")]
    assert [one.dimensions for one in built] == [25, 25] and [len(one.hidden) for one in built] == [3, 3]
    assert replace(built[0], hidden=TINY.hidden) == replace(Autoencoder(), hidden=TINY.hidden)
