"""The GAN on mixtures: what is mixed, what a step does, what comes out, alone and together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import recall_score

from augrun.classifiers.svm import SVM
from augrun.core.config import compose
from augrun.core.config.component import build
from augrun.core.errors import AugrunError
from augrun.core.job import Hardware, Job
from augrun.core.training.stacked import Draws
from augrun.features.cache import Features
from augrun.features.examples import Examples
from augrun.features.mixup import mixtures
from augrun.features.span import Span
from augrun.generators.mixup_gan import MixupGAN
from augrun.generators.mixup_gan.training import Training, mean
from augrun.generators.requests import GenerationInputs

CPU = Hardware(accelerator="cpu", progress=False)
TINY = MixupGAN(
    hidden=[48, 24],
    code=3,
    critic=[32, 32],
    dropout=0.1,
    batch_size=16,
    pretraining=60,
    epochs=20,
    autoencoder_rate=3e-3,
)
BANDS = 12

pytestmark = pytest.mark.usefixtures("one_thread")


def examples(count: int, seed: int) -> Examples:
    """Two Gaussians a class, of functionals as unlike in size as openSMILE's."""
    centres = np.random.default_rng(5).normal(scale=2.0, size=(3, 2, BANDS))
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 3)
    rows = centres[labels, rng.integers(2, size=count)] + 0.3 * rng.normal(size=(count, BANDS))
    rows = rows * np.logspace(-3, 5, BANDS) + np.logspace(2, 6, BANDS)
    features = Features.from_rows(rows.astype(np.float32), np.ones(count, dtype=np.int64))
    return Examples(features, np.eye(3, dtype=np.float32)[labels], False, ("a", "b", "c"))


def job(folder: Path, seed: int = 0) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    return Job(folder, seed, CPU)


def generated(gan: MixupGAN, of: Examples, fitted: Path, out: Path) -> Examples:
    labels = of.targets.argmax(1)
    requests = pd.DataFrame({"sample_id": [f"{place:03d}" for place in range(len(of))], "label": labels})
    gan.generate(GenerationInputs(requests, of.names, fitted, job(out), primes=of.features))
    return Examples(Features.open(out / "features"), of.targets, False, of.names)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixup")
    TINY.fit(examples(180, 0), examples(9, 1), job(folder, 3))
    return folder


def test_mixtures_are_of_two_different_vectors_beside_all_unmixed_ones() -> None:
    first, second, share = mixtures(50, 5000, 0.4, seed=1)
    assert first[:50].tolist() == second[:50].tolist() == list(range(50)) and (share[:50] == 1).all()
    assert (first[50:] != second[50:]).all() and (share[50:] < 1).all() and (share[50:] >= 0).all()
    assert first[50:].min() == second[50:].min() == 0 and first[50:].max() == second[50:].max() == 49
    # Beta(α, α) has the mean 1/2 and the variance 1 / (4 (2 α + 1)).
    assert share[50:].mean() == pytest.approx(0.5, abs=0.02)
    assert share[50:].var() == pytest.approx(1 / (4 * 1.8), rel=0.03)
    assert not np.array_equal(share, mixtures(50, 5000, 0.4, seed=2)[2])


def test_class_means_are_recovered_and_samples_alone_teach_as_much(fitted: Path, tmp_path: Path) -> None:
    train, test = examples(180, 0), examples(150, 2)
    made = generated(TINY, train, fitted, tmp_path / "out")
    span, labels = Span.of(train.features), train.targets.argmax(1)
    recorded, synthetic = (span.apply(part.features.rows()) for part in (train, made))
    for label in range(3):
        off = np.abs(recorded[labels == label].mean(0) - synthetic[labels == label].mean(0))
        assert off.max() < 0.1 and off.mean() < 0.04  # of the functionals' ranges

    def uar(of: Examples) -> float:
        scaled = [
            Examples(Features.from_rows(span.apply(p.features.rows()), p.features.frames), p.targets, False)
            for p in (of, test)
        ]
        machine = SVM(costs=[10.0], gammas=[1.0])
        machine.fit(scaled[0], scaled[1], job(tmp_path / f"svm{id(of)}"))
        scores = machine.predict(scaled[1].features, tmp_path / f"svm{id(of)}", job(tmp_path / "p"))
        return float(recall_score(test.targets.argmax(1), scores.argmax(1), average="macro"))

    real = uar(train)
    assert real > 0.95
    assert uar(made) >= 0.9 * real


def test_together_is_as_alone(tmp_path: Path) -> None:
    short = replace(TINY, pretraining=3, epochs=4)
    first, second = examples(60, 0), examples(41, 1)
    train, seeds = [first, second, first], [4, 5, 6]
    short.fit_together(train, [job(tmp_path / f"together{k}", seed) for k, seed in enumerate(seeds)])
    for k, (part, seed) in enumerate(zip(train, seeds, strict=True)):
        short.fit(part, part, job(tmp_path / f"alone{k}", seed))
        made = [
            generated(short, part, tmp_path / f"{kind}{k}", tmp_path / f"{kind}{k}-out").features.rows()
            for kind in ("together", "alone")
        ]
        span = Span.of(part.features)
        np.testing.assert_allclose(span.apply(made[0]), span.apply(made[1]), atol=1e-4)
        histories = [
            json.loads((tmp_path / f"{kind}{k}" / "history.json").read_text()) for kind in ("together", "alone")
        ]
        for one, other in zip(*histories, strict=True):
            assert one == pytest.approx(other, rel=1e-3, abs=1e-5)
        assert {path.name for path in (tmp_path / f"together{k}").iterdir()} == {"model.pt", "history.json"}


def test_each_step_moves_its_own_networks_and_mixtures_never_reach_the_discriminator() -> None:
    training = Training(replace(TINY, pretraining=1), [examples(40, 0)], [0])
    draws = Draws([0])
    pure, mixed = torch.arange(16)[None], torch.arange(40, 56)[None]
    there = torch.ones(1, 16)

    def moved(places: torch.Tensor, turn: int) -> set[str]:
        before = {name: value.clone() for name, value in training.named_parameters()}
        training.one(places, there, draws, [turn])
        return {
            name.split(".")[0] for name, value in training.named_parameters() if not torch.equal(value, before[name])
        }

    assert moved(pure, 0) == {"encoder", "generator"}  # pretraining
    assert moved(pure, 1) == {"encoder", "generator", "discriminator"}
    # A discriminator without momentum, and a batch of mixtures alone: there is nothing that it could move by.
    training = Training(replace(TINY, pretraining=0), [examples(40, 0)], [0])
    assert float(training.share.gather(1, mixed).max()) < 1
    assert moved(mixed, 0) == {"encoder", "generator"}
    assert moved(pure, 0) == {"encoder", "generator", "discriminator"}


def test_a_network_that_is_done_rests() -> None:
    training = Training(TINY, [examples(40, 0), examples(40, 1)], [0, 1])
    before = {name: value.clone() for name, value in training.named_parameters()}
    places = torch.arange(16).repeat(2, 1)
    training.one(places, torch.ones(2, 16), Draws([0, 1]), [None, TINY.pretraining])
    for name, value in training.named_parameters():
        assert torch.equal(value[0], before[name][0]) and not torch.equal(value[1], before[name][1]), name


def test_what_fills_a_batch_up_does_not_count() -> None:
    each = torch.tensor([[1.0, 2.0, 50.0], [4.0, 8.0, 6.0]])
    there = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    assert float(mean(each * there, there)) == pytest.approx(1.5 + 6.0)
    assert float(mean(each * 0, there * 0)) == 0.0


def test_a_killed_training_goes_on_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, long = examples(60, 0), replace(TINY, pretraining=100, epochs=60)
    long.fit(train, train, job(tmp_path / "whole"))
    step, calls = Training.training_step, []

    def until(self: Training, batch: torch.Tensor, index: int) -> None:
        calls.append(int(self.taken))
        if len(calls) == 12:
            raise KeyError("killed")
        step(self, batch, index)

    monkeypatch.setattr(Training, "training_step", until)
    with pytest.raises(KeyError):
        long.fit(train, train, job(tmp_path / "killed"))
    monkeypatch.setattr(Training, "training_step", step)
    long.fit(train, train, job(tmp_path / "killed"))
    one, other = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("whole", "killed"))
    for part in ("encoder", "generator"):
        assert all(torch.equal(value, other[part][name]) for name, value in one[part].items())


def test_too_few_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AugrunError, match="learns from two clips at least, and the train part has 1"):
        TINY.fit(examples(1, 0), examples(1, 0), job(tmp_path))


def test_the_yaml_and_the_class_have_the_same_sizes() -> None:
    words = ["dataset=feel", "representation=is10", "classifier=dnn", "generator=mixup_gan", "policy=real_synthetic"]
    built = build(compose.compose([*words, "scale=paper"])["generator"])
    assert (list(built.hidden), built.code, list(built.critic), built.dropout) == ([1000, 500], 2, [1000, 1000], 0.5)
