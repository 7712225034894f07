"""Emotion style transfer: what each step moves, what comes out, alone and together, killed and taken up."""

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
from augrun.features.span import Span
from augrun.generators.cyclegan import CycleGAN
from augrun.generators.cyclegan.training import Training
from augrun.generators.requests import GenerationInputs

CPU = Hardware(accelerator="cpu", progress=False)
TINY = CycleGAN(
    hidden=[48, 48],
    critic=[32, 32],
    classifier=[16],
    dropout=0.1,
    critic_dropout=0.1,
    classifier_dropout=0.1,
    batch_size=16,
    pretraining=40,
    epochs=120,
    rate=1e-3,
    decay_epochs=40,
)
BANDS, NAMES = 12, ("a", "b", "c")
CENTRES = np.random.default_rng(5).normal(scale=2.0, size=(3, 2, BANDS))

pytestmark = pytest.mark.usefixtures("one_thread")


def vectors(rows: np.ndarray) -> Features:
    """Of functionals as unlike in size as openSMILE's."""
    rows = rows * np.logspace(-3, 5, BANDS) + np.logspace(2, 6, BANDS)
    return Features.from_rows(rows.astype(np.float32), np.ones(len(rows), dtype=np.int64))


def examples(counts: tuple[int, int, int], seed: int) -> Examples:
    """Two Gaussians a class."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(3), counts))
    rows = CENTRES[labels, rng.integers(2, size=len(labels))] + 0.3 * rng.normal(size=(len(labels), BANDS))
    return Examples(vectors(rows), np.eye(3, dtype=np.float32)[labels], False, NAMES)


def speech(count: int, seed: int) -> Examples:
    """The source: one broad cloud beside them."""
    rows = 1.5 + np.random.default_rng(seed).normal(size=(count, BANDS))
    return Examples(vectors(rows), np.zeros((count, 0), np.float32), False)


def job(folder: Path, seed: int = 0) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    return Job(folder, seed, CPU)


def turned(gan: CycleGAN, source: Examples, fitted: Path, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """Every source vector as every class."""
    labels = np.repeat(np.arange(3), len(source))
    requests = pd.DataFrame({"sample_id": [f"{place:03d}" for place in range(len(labels))], "label": labels})
    primes = source.features.select(np.tile(np.arange(len(source)), 3))
    gan.generate(GenerationInputs(requests, NAMES, fitted, job(out), primes=primes))
    return Features.open(out / "features").rows(), labels


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cyclegan")
    TINY.fit(examples((60, 48, 72), 0), examples((3, 3, 3), 1), job(folder, 3), source=speech(90, 2))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("classification", "tolerance"), [(0.0, 0.1), (2.0, 0.2)])
def test_the_source_becomes_every_class_and_teaches_as_much_as_recordings(
    classification: float, tolerance: float, tmp_path: Path
) -> None:
    """As in Bao et al.'s Table 1, samples are nearer to their class than the source is, and nearest without λ_cls."""
    gan = replace(TINY, epochs=400, decay_epochs=30, rate=2e-3, classification=classification)
    train, test, source = examples((60, 48, 72), 0), examples((50, 50, 50), 4), speech(90, 2)
    gan.fit(train, train, job(tmp_path / "fit", 3), source=source)
    made, labels = turned(gan, source, tmp_path / "fit", tmp_path / "out")
    span, truth = Span.of(train.features), train.targets.argmax(1)
    recorded, synthetic, other = (span.apply(rows) for rows in (train.features.rows(), made, source.features.rows()))
    for label in range(3):
        mean = recorded[truth == label].mean(0)
        off = np.abs(synthetic[labels == label].mean(0) - mean)
        assert off.mean() < tolerance  # of the functionals' ranges
        assert off.mean() < 0.8 * np.abs(other.mean(0) - mean).mean()

    def uar(rows: np.ndarray, of: np.ndarray, name: str) -> float:
        def scaled(rows: np.ndarray, of: np.ndarray) -> Examples:
            ones = np.ones(len(rows), dtype=np.int64)
            return Examples(Features.from_rows(span.apply(rows), ones), np.eye(3, dtype=np.float32)[of], False)

        machine, held_out = SVM(costs=[10.0], gammas=[1.0]), scaled(test.features.rows(), test.targets.argmax(1))
        machine.fit(scaled(rows, of), held_out, job(tmp_path / name))
        taken = machine.predict(held_out.features, tmp_path / name, job(tmp_path / "p")).argmax(1)
        return float(recall_score(test.targets.argmax(1), taken, average="macro"))

    real = uar(train.features.rows(), truth, "real")
    assert real > 0.95
    assert uar(made, labels, "synthetic") >= 0.9 * real


def test_its_curves_tell_pretraining_from_the_rest(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {"model.pt", "history.json"}
    history = json.loads((trained / "history.json").read_text())
    assert len(history) == TINY.pretraining + TINY.epochs
    assert set(history[0]) == {"epoch", "train/cycle"}
    curves = ("cycle", "generator", "discriminator", "classifier")
    assert set(history[-1]) == {"epoch", *(f"train/{curve}" for curve in curves)}
    assert history[TINY.pretraining - 1]["train/cycle"] < 0.3 * history[0]["train/cycle"]
    assert history[-1]["train/classifier"] < 0.5 * np.log(3)


def test_together_is_as_alone(tmp_path: Path) -> None:
    """Classes of other sizes, so other passes: one of them is in pretraining while the other is not."""
    short = replace(TINY, pretraining=3, epochs=5, decay_epochs=2)
    first, second, source = examples((20, 33, 40), 0), examples((50, 41, 60), 1), speech(37, 2)
    train, seeds = [first, second, first], [4, 5, 6]
    jobs = [job(tmp_path / f"together{k}", seed) for k, seed in enumerate(seeds)]
    short.fit_together(train, jobs, source=source)
    for k, (part, seed) in enumerate(zip(train, seeds, strict=True)):
        short.fit(part, part, job(tmp_path / f"alone{k}", seed), source=source)
        span = Span.of(part.features)
        made = [
            span.apply(turned(short, source, tmp_path / f"{kind}{k}", tmp_path / f"{kind}{k}-out")[0])
            for kind in ("together", "alone")
        ]
        np.testing.assert_allclose(made[0], made[1], atol=1e-4)
        files = [tmp_path / f"{kind}{k}" / "history.json" for kind in ("together", "alone")]
        for one, other in zip(*(json.loads(file.read_text()) for file in files), strict=True):
            assert one == pytest.approx(other, rel=1e-3, abs=1e-5)


def moved(training: Training, turns: list[int | None]) -> set[str]:
    before = {name: value.clone() for name, value in training.named_parameters()}
    training.begin(0, 1)
    places = torch.zeros(len(turns), 16, dtype=torch.int64)
    training.one(places, torch.ones(len(turns), 16), Draws(training.seeds), turns)
    return {name.split(".")[0] for name, value in training.named_parameters() if not torch.equal(value, before[name])}


def test_each_phase_moves_its_own_networks() -> None:
    train, source = [examples((20, 20, 20), 0)], speech(30, 1)
    training = Training(replace(TINY, pretraining=1), train, source, [0])
    assert moved(training, [0]) == {"forth", "back"}
    assert moved(training, [1]) == {"forth", "back", "of_target", "of_source", "classifier"}
    assert moved(training, [None]) == set()
    without = Training(replace(TINY, pretraining=1, classification=0.0), train, source, [0])
    assert moved(without, [1]) == {"forth", "back", "of_target", "of_source"}


def test_the_discriminators_step_leaves_the_generators_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the authors' code."""
    training = Training(replace(TINY, pretraining=0), [examples((20, 20, 20), 0)], speech(30, 1), [0])
    monkeypatch.setattr(training.adams["generators"], "step", lambda loss, rates: None)
    assert moved(training, [0]) == {"of_target", "of_source", "classifier"}


def test_the_rate_decays_and_the_generators_step_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(TINY, pretraining=2, decay=0.8, decay_epochs=50)
    training = Training(settings, [examples((20, 20, 20), 0)], speech(30, 1), [0])
    assert [training._rate(turn) / TINY.rate for turn in (2, 51, 52, 101, 102)] == pytest.approx([1, 1, 0.8, 0.8, 0.64])
    taken: list[str] = []
    for name, adam in training.adams.items():
        step = adam.step
        monkeypatch.setattr(adam, "step", lambda loss, rates, n=name, s=step: (taken.append(n), s(loss, rates)))
    moved(training, [2])
    assert taken == ["generators", "generators", "critics", "classifier"]


def test_losses_are_those_of_the_equations() -> None:
    settings = replace(TINY, pretraining=0, critic_dropout=0.0, classifier_dropout=0.0, generator_steps=1)
    training = Training(settings, [examples((20, 20, 20), 0)], speech(30, 1), [0])
    training.begin(0, 1)
    (rows, kept), (other, kept_other) = ([part[0] for part in pair] for pair in training.piece)
    target, source = training.targets[training.first + rows], training.sources[other]
    assert kept.sum(1).tolist() == kept_other.sum(1).tolist() == [16, 16, 16]
    with torch.no_grad():
        forth, back = training.forth(source), training.back(target)
        cycle = (training.back(forth) - source).square().mean((1, 2)) + (training.forth(back) - target).square().mean(
            (1, 2)
        )
        says = training.of_target(forth)[:, :, 0].sigmoid(), training.of_source(back)[:, :, 0].sigmoid()
    fooling = sum(-(0.9 * say.log() + 0.1 * (1 - say).log()).mean(1) for say in says)
    sums = training.one(torch.zeros(1, 16, dtype=torch.int64), torch.ones(1, 16), Draws([0]), [0])
    assert float(sums["cycle"]) / 16 == pytest.approx(float(cycle.mean()), rel=1e-4)
    assert float(sums["generator"]) / 16 == pytest.approx(float(fooling.mean()), rel=1e-4)
    classified = float(sums["classifier"]) / 16
    assert classified == pytest.approx(np.log(3), abs=0.3)  # it has not learned a thing yet


def test_a_killed_training_goes_on_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, source, long = examples((40, 40, 40), 0), speech(60, 1), replace(TINY, pretraining=60, epochs=40)
    long.fit(train, train, job(tmp_path / "whole"), source=source)
    step, calls = Training.training_step, []

    def until(self: Training, batch: torch.Tensor, index: int) -> None:
        calls.append(int(self.taken))
        if len(calls) == 5:
            raise KeyError("killed")
        step(self, batch, index)

    monkeypatch.setattr(Training, "training_step", until)
    with pytest.raises(KeyError):
        long.fit(train, train, job(tmp_path / "killed"), source=source)
    monkeypatch.setattr(Training, "training_step", step)
    long.fit(train, train, job(tmp_path / "killed"), source=source)
    one, other = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("whole", "killed"))
    for mine, theirs in zip(one["forth"], other["forth"], strict=True):
        assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_what_it_cannot_learn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AugrunError, match="cyclegan: the train part has no clip of b"):
        TINY.fit(examples((5, 0, 5), 0), examples((1, 1, 1), 0), job(tmp_path), source=speech(9, 0))
    with pytest.raises(AugrunError, match="the source corpus has no clips"):
        TINY.fit(examples((5, 5, 5), 0), examples((1, 1, 1), 0), job(tmp_path), source=speech(0, 0))


def test_the_yaml_has_the_paper_s_sizes() -> None:
    words = ["dataset=feel", "representation=is10", "classifier=dnn", "generator=cyclegan", "policy=real_synthetic"]
    config = compose.compose([*words, "scale=paper"])
    built = build(config["generator"])
    assert config["source"]["name"] == "tedlium"
    lists = {name: list(getattr(built, name)) for name in ("hidden", "critic", "classifier")}
    assert replace(built, **lists) == CycleGAN()
