"""The encoder of the GAN on mixtures as a reducer: which mixtures, which code, alone and together."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from augrun.core.config import compose
from augrun.core.config.component import build
from augrun.core.errors import AugrunError
from augrun.core.job import Hardware, Job
from augrun.core.training import stacked_fit
from augrun.features.cache import Features
from augrun.features.examples import Examples
from augrun.features.mixup import Mixup
from augrun.features.span import Span
from augrun.generators.mixup_gan import MixupGAN
from augrun.generators.mixup_gan.training import Training
from augrun.reducers.mixup_gan import MixupGANEncoder

CPU = Hardware(accelerator="cpu", progress=False)
TINY = MixupGANEncoder(
    dimensions=3,
    hidden=[48, 24],
    critic=[32, 32],
    slope=0.3,
    dropout=0.1,
    batch_size=16,
    pretraining=30,
    epochs=10,
    autoencoder_rate=3e-3,
    rate=1e-4,
)
BANDS = 12
MIXED = Mixup(ratio=0.7, alpha=0.6)

pytestmark = pytest.mark.usefixtures("one_thread")


def examples(count: int, seed: int) -> Examples:
    """Two Gaussians a class."""
    centres = np.random.default_rng(5).normal(scale=2.0, size=(3, 2, BANDS))
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 3)
    rows = centres[labels, rng.integers(2, size=count)] + 0.3 * rng.normal(size=(count, BANDS))
    features = Features.from_rows(rows.astype(np.float32), np.ones(count, dtype=np.int64))
    return Examples(features, np.eye(3, dtype=np.float32)[labels], False)


def job(folder: Path, seed: int = 0) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    return Job(folder, seed, CPU)


def codes(part: Examples, fitted: Path, settings: MixupGANEncoder = TINY) -> np.ndarray:
    return settings.transform(part.features, fitted, Job(fitted, hardware=CPU)).rows()


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    TINY.fit(examples(150, 0), job(folder, 3), MIXED)
    return folder


@pytest.mark.parametrize("mixup", [Mixup(ratio=0.0), MIXED, Mixup(ratio=2.0, alpha=1.0)])
def test_it_learns_from_the_mixtures_of_the_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixup: Mixup
) -> None:
    train, trained = [examples(41, 0), examples(30, 1)], []
    jobs = [job(tmp_path / str(seed), seed) for seed in (7, 8)]
    ended = stacked_fit.train

    def watched(module: Training, at: Job) -> dict[str, torch.Tensor]:
        trained.append(module)
        return ended(module, at)

    monkeypatch.setattr(stacked_fit, "train", watched)
    replace(TINY, pretraining=1, epochs=1).fit_together(train, jobs, mixup)
    (training,) = trained
    for number, (part, at) in enumerate(zip(train, jobs, strict=True)):
        expected = Span.of(part.features).apply(mixup.of(part, at.seed).features.rows())
        size = training.batches.sizes[number]
        left, right = (table[number, :size] for table in (training.left, training.right))
        share = training.share[number, :size, None]
        mixed = torch.lerp(training.vectors[right], training.vectors[left], share).cpu().numpy()
        assert size == len(expected) == len(part) + round(mixup.ratio * len(part))
        np.testing.assert_allclose(mixed, expected, atol=1e-5)


def test_all_settings_reach_the_gan() -> None:
    gan = TINY.gan(MIXED)
    named = {name: value for name, value in vars(TINY).items() if name != "dimensions"}
    assert {name: getattr(gan, name) for name in named} == named
    assert (gan.code, gan.ratio, gan.alpha) == (3, 0.7, 0.6)
    assert {field.name for field in fields(MixupGAN)} - {"prime_s", "sample_s"} == {*named, "code", "ratio", "alpha"}
    changed = {name for name in named if getattr(TINY, name) != getattr(MixupGANEncoder(), name)}
    assert changed == set(named)  # else a setting that is forgotten would not be seen


def test_the_code_is_the_encoders_of_normalised_vectors_without_dropout(fitted: Path) -> None:
    test, model = examples(60, 1), torch.load(fitted / "model.pt", weights_only=True)
    vectors = Span.of(examples(150, 0).features).apply(test.features.rows())
    for number in range(3):
        weight, bias = (model["encoder"][f"{number}.{name}"][0].numpy() for name in ("weight", "bias"))
        vectors = vectors @ weight + bias
        vectors = np.where(vectors < 0, 0.3 * vectors, vectors) if number < 2 else vectors
    made = codes(test, fitted)
    assert made.shape == (60, 3) and made.dtype == np.float32
    np.testing.assert_allclose(made, vectors, atol=1e-4)
    np.testing.assert_array_equal(made, codes(test, fitted))


def test_classes_stay_apart_in_the_code(fitted: Path) -> None:
    train, test = examples(150, 0), examples(90, 2)
    nearest = KNeighborsClassifier(5).fit(codes(train, fitted), train.targets.argmax(axis=1))
    assert nearest.score(codes(test, fitted), test.targets.argmax(axis=1)) > 0.9


def test_together_is_as_alone(tmp_path: Path) -> None:
    short = replace(TINY, pretraining=3, epochs=4)
    first, second = examples(60, 0), examples(41, 1)
    train, seeds = [first, second, first], [4, 5, 6]
    short.fit_together(train, [job(tmp_path / f"together{k}", seed) for k, seed in enumerate(seeds)], MIXED)
    for k, (part, seed) in enumerate(zip(train, seeds, strict=True)):
        short.fit(part, job(tmp_path / f"alone{k}", seed), MIXED)
        one, other = (codes(part, tmp_path / f"{kind}{k}", short) for kind in ("together", "alone"))
        np.testing.assert_allclose(one, other, atol=1e-4)
        histories = [
            json.loads((tmp_path / f"{kind}{k}" / "history.json").read_text()) for kind in ("together", "alone")
        ]
        for entry, its in zip(*histories, strict=True):
            assert entry == pytest.approx(its, rel=1e-3, abs=1e-5)
        assert {path.name for path in (tmp_path / f"together{k}").iterdir()} == {"model.pt", "history.json"}
    assert np.abs(codes(first, tmp_path / "together0") - codes(first, tmp_path / "together2")).max() > 0.01


def test_a_killed_training_goes_on_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, long = examples(40, 0), replace(TINY, pretraining=25, epochs=25)
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
    assert calls == [0, 50, 100, 150, 150, 200]  # the fourth piece again, and what is left
    one, other = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("whole", "killed"))
    assert all(torch.equal(value, other["encoder"][name]) for name, value in one["encoder"].items())


def test_one_vector_alone_is_as_among_others(fitted: Path) -> None:
    test = examples(23, 1)
    alone = TINY.transform(test.features[7:8], fitted, Job(fitted, hardware=CPU)).rows()
    np.testing.assert_allclose(alone[0], codes(test, fitted)[7], atol=1e-4)
    none = TINY.transform(test.features[:0], fitted, Job(fitted, hardware=CPU))
    assert len(none) == 0 and none.rows().shape == (0, 3)


def test_what_is_fitted_stays(fitted: Path) -> None:
    before = (fitted / "model.pt").read_bytes()
    TINY.fit(examples(50, 7), job(fitted), MIXED)
    assert (fitted / "model.pt").read_bytes() == before


def test_too_few_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AugrunError, match="learns from two clips at least, and the train part has 1"):
        TINY.fit(examples(1, 0), job(tmp_path), Mixup())


def test_the_yaml_has_the_networks_of_the_generators() -> None:
    words = ["dataset=feel", "representation=is10", "classifier=svm", "reducer=mixup_gan", "generator=mixup_gan"]
    for scale in ("paper", "demo"):
        config = compose.compose([*words, "policy=real_synthetic", f"scale={scale}"])
        generator, reducer = build(config["generator"]), build(config["reducer"])
        settings = reducer.gan(Mixup(1.0, 1.0))
        assert all(
            getattr(settings, name) == value
            for name, value in vars(replace(generator, code=25)).items()
            if name not in ("prime_s", "sample_s")
        )
