"""GANs with a prior on the plane: what is drawn, what a step moves, what comes out, alone and together, killed."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
from augrun.generators.requests import GenerationInputs
from augrun.generators.sahu_gan import PlaneGAN, SahuGAN
from augrun.generators.sahu_gan.conditional import SahuCGAN
from augrun.generators.sahu_gan.settings import Prior
from augrun.generators.sahu_gan.training import Training, given, mean

CPU = Hardware(accelerator="cpu", progress=False)
SETTINGS = {
    "hidden": [48, 24],
    "critic": [32, 32],
    "code_critic": [32, 32],
    "batch_size": 24,
    "pretraining": 40,
    "epochs": 15,
    "pretraining_rate": 3e-3,
}
TINY, VANILLA = SahuCGAN(**SETTINGS), SahuGAN(**SETTINGS)
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


def generated(gan: PlaneGAN, labels: Sequence[int], seeds: Sequence[int], fitted: Path, out: Path) -> np.ndarray:
    names = [f"{place:03d}" for place in range(len(labels))]
    requests = pd.DataFrame({"sample_id": names, "label": labels, "seed": seeds})
    gan.generate(GenerationInputs(requests, ("a", "b", "c"), fitted, job(out)))
    return Features.open(out / "features").rows()


def measured(gan: PlaneGAN, fitted: Path, folder: Path) -> tuple[np.ndarray, float, float]:
    """How far the class means are off, (3, bands), in ranges; the recall of an SVM of recordings, and of samples."""
    train, test = examples(180, 0), examples(150, 2)
    span, labels = Span.of(train.features), train.targets.argmax(1)
    recorded = span.apply(train.features.rows())
    synthetic = span.apply(generated(gan, labels, range(1000, 1180), fitted, folder / "out"))
    off = [np.abs(recorded[labels == label].mean(0) - synthetic[labels == label].mean(0)) for label in range(3)]

    def uar(rows: np.ndarray, name: str) -> float:
        parts = ((rows, train.targets), (span.apply(test.features.rows()), test.targets))
        known, held_out = (
            Examples(Features.from_rows(of, np.ones(len(of), np.int64)), told, False) for of, told in parts
        )
        machine = SVM(costs=[10.0], gammas=[1.0])
        machine.fit(known, held_out, job(folder / name))
        taken = machine.predict(held_out.features, folder / name, job(folder / "p")).argmax(1)
        return float(recall_score(test.targets.argmax(1), taken, average="macro"))

    return np.stack(off), uar(recorded, "real"), uar(synthetic, "synthetic")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sahu_cgan")
    TINY.fit(examples(180, 0), examples(9, 1), job(folder, 3))
    return folder


def test_the_prior_of_four_classes_is_that_of_the_paper() -> None:
    prior = Prior.of(4)
    np.testing.assert_allclose(prior.means, [[10, 0], [0, 10], [-10, 0], [0, -10]], atol=1e-12)
    covariances = prior.factors @ prior.factors.transpose(0, 2, 1)
    along_x, along_y = np.diag([10.0, 1.0]), np.diag([1.0, 10.0])
    np.testing.assert_allclose(covariances, [along_x, along_y, along_x, along_y], atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_prior_of_other_numbers_of_classes_is_the_same_turned(classes: int) -> None:
    prior = Prior.of(classes)
    angles = np.arctan2(prior.means[:, 1], prior.means[:, 0]) % (2 * np.pi)
    np.testing.assert_allclose(np.diff(np.sort(angles)), 2 * np.pi / classes)
    for center, factor in zip(prior.means, prior.factors, strict=True):
        assert np.linalg.norm(center) == pytest.approx(10)
        assert center @ factor @ factor.T @ center / 100 == pytest.approx(10)
        assert np.linalg.det(factor @ factor.T) == pytest.approx(10)


def test_what_is_drawn_has_the_means_and_covariances_of_the_prior() -> None:
    prior = Prior.of(3)
    alone = np.stack([[prior.draw(label, seed) for seed in range(4000)] for label in range(3)])
    training = Training(TINY, [examples(30, 0)], [0])
    labels = torch.arange(3).repeat_interleave(4000)[None]
    stacked = 10 * training.draw(labels, Draws([7]))[0].reshape(3, 4000, 2).numpy()
    for drawn in (alone, stacked):
        for label in range(3):
            np.testing.assert_allclose(drawn[label].mean(0), prior.means[label], atol=0.2)
            covariance = prior.factors[label] @ prior.factors[label].T
            np.testing.assert_allclose(np.cov(drawn[label].T), covariance, atol=0.6)


def test_class_means_are_recovered_and_samples_alone_teach_as_much(fitted: Path, tmp_path: Path) -> None:
    off, real, synthetic = measured(TINY, fitted, tmp_path)
    assert off.max() < 0.3 and off.mean() < 0.1  # of the functionals' ranges
    assert real > 0.95
    assert synthetic >= 0.9 * real


def test_neither_has_its_classes_from_a_gan_alone(tmp_path: Path) -> None:
    """As in Sahu et al. 2018, pretrained weights are needed: without, both miss what the test above asks for."""
    for gan in (replace(TINY, pretraining=0), replace(VANILLA, pretraining=0)):
        fitted = job(tmp_path / gan.called / "fit", 3).folder
        gan.fit(examples(180, 0), examples(9, 1), job(fitted, 3))
        off, real, synthetic = measured(gan, fitted, tmp_path / gan.called)
        assert off.max() > 0.3 and off.mean() > 0.1
        assert synthetic < 0.9 * real


def test_pretraining_ties_the_components_of_the_vanilla_gan_to_the_classes(tmp_path: Path) -> None:
    gan = replace(VANILLA, pretraining=30, epochs=5)
    gan.fit(examples(180, 0), examples(9, 1), job(tmp_path / "fit", 3))
    off, real, synthetic = measured(gan, tmp_path / "fit", tmp_path)
    assert off.max() < 0.3 and off.mean() < 0.1 and synthetic >= 0.9 * real
    assert len(gan.notes()) == 1
    assert (
        "its samples' labels say nothing; generator.pretraining=200 ties them" in replace(gan, pretraining=0).notes()[1]
    )


def test_a_sample_depends_on_its_label_and_seed_alone(fitted: Path, tmp_path: Path) -> None:
    span = Span.of(examples(180, 0).features)
    many = [(place % 3, 7000 + place) for place in range(300)]
    few = [many[299], many[5], (many[5][0], 1), ((many[5][0] + 1) % 3, many[5][1])]
    made, other = (
        span.apply(generated(TINY, *np.transpose(asked), fitted, tmp_path / str(len(asked)))) for asked in (many, few)
    )
    np.testing.assert_allclose(made[[299, 5]], other[:2], atol=1e-6)
    assert np.abs(other[2] - other[1]).max() > 1e-2 and np.abs(other[3] - other[1]).max() > 1e-2
    assert len(np.unique(made.round(5), axis=0)) == 300


@pytest.mark.parametrize("gan", [TINY, VANILLA], ids=lambda gan: gan.called)
def test_together_is_as_alone(gan: PlaneGAN, tmp_path: Path) -> None:
    """Parts of other sizes, so other passes: one is in pretraining while the other is not."""
    short = replace(gan, pretraining=3, epochs=4)
    first, second = examples(60, 0), examples(41, 1)
    train, seeds = [first, second, first], [4, 5, 6]
    short.fit_together(train, [job(tmp_path / f"together{k}", seed) for k, seed in enumerate(seeds)])
    for k, (part, seed) in enumerate(zip(train, seeds, strict=True)):
        short.fit(part, part, job(tmp_path / f"alone{k}", seed))
        span, labels = Span.of(part.features), part.targets.argmax(1)
        made = [
            generated(short, labels, range(len(part)), tmp_path / f"{kind}{k}", tmp_path / f"{kind}{k}-out")
            for kind in ("together", "alone")
        ]
        np.testing.assert_allclose(span.apply(made[0]), span.apply(made[1]), atol=1e-4)
        files = [tmp_path / f"{kind}{k}" / "history.json" for kind in ("together", "alone")]
        for one, other in zip(*(json.loads(file.read_text()) for file in files), strict=True):
            assert one == pytest.approx(other, rel=1e-3, abs=1e-5)
        assert {path.name for path in (tmp_path / f"together{k}").iterdir()} == {"model.pt", "history.json"}


def test_its_curves_tell_pretraining_from_the_rest(fitted: Path) -> None:
    history = json.loads((fitted / "history.json").read_text())
    assert len(history) == TINY.pretraining + TINY.epochs
    before, after = history[TINY.pretraining - 1], history[TINY.pretraining]
    assert set(before) == {"epoch", "train/reconstruction", "train/encoder", "train/code"}
    assert set(after) == {"epoch", "train/generator", "train/discriminator"}
    assert before["train/reconstruction"] < 0.5 * history[0]["train/reconstruction"]
    # What the discriminator of codes cannot tell apart costs 2 log 2, and the encoder log 2.
    assert before["train/code"] == pytest.approx(2 * np.log(2), rel=0.1)
    assert before["train/encoder"] == pytest.approx(np.log(2), rel=0.1)


def moved(training: Training, turns: Sequence[int | None]) -> set[str]:
    before = {name: value.clone() for name, value in training.named_parameters()}
    places = torch.arange(24).repeat(len(turns), 1)
    training.one(places, torch.ones(len(turns), 24), Draws(training.seeds), turns)
    return {name.split(".")[0] for name, value in training.named_parameters() if not torch.equal(value, before[name])}


MOVED = {
    "autoencoder": (0, {"encoder", "generator"}),
    "code_critic": (0, {"code_critic"}),
    "encoder": (0, {"encoder"}),
    "generator": (1, {"generator"}),
    "discriminator": (1, {"discriminator"}),
}


@pytest.mark.parametrize("gan", [TINY, VANILLA], ids=lambda gan: gan.called)
def test_each_step_moves_its_own_networks(gan: PlaneGAN, monkeypatch: pytest.MonkeyPatch) -> None:
    for alone, (turn, networks) in MOVED.items():
        training = Training(replace(gan, pretraining=1), [examples(40, 0)], [0])
        for name, adam in training.adams.items():
            if name != alone:
                monkeypatch.setattr(adam, "step", lambda loss, rates: None)
        assert moved(training, [turn]) == networks
        assert moved(training, [1 - turn]) == set()


def test_the_generator_steps_more_often_than_the_discriminator(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(replace(TINY, pretraining=1, generator_steps=3), [examples(40, 0)], [0])
    taken: list[tuple[str, list[float | None]]] = []
    for name, adam in training.adams.items():
        monkeypatch.setattr(adam, "step", lambda loss, rates, n=name: taken.append((n, list(rates))))
    moved(training, [1])
    assert taken == [("generator", [TINY.rate])] * 3 + [("discriminator", [TINY.critic_rate])]


def test_one_that_is_done_rests_and_the_others_go_on() -> None:
    training = Training(TINY, [examples(40, 0), examples(40, 1), examples(40, 2)], [0, 1, 2])
    before = {name: value.clone() for name, value in training.named_parameters()}
    assert moved(training, [None, 0, TINY.pretraining]) == {"encoder", "generator", "code_critic", "discriminator"}
    still = {
        "encoder": [True, False, True],
        "code_critic": [True, False, True],
        "generator": [True, False, False],
        "discriminator": [True, True, False],
    }
    for name, value in training.named_parameters():
        assert [torch.equal(*pair) for pair in zip(value, before[name], strict=True)] == still[name.split(".")[0]], name


def test_losses_are_those_of_a_conditional_gan() -> None:
    settings = replace(TINY, pretraining=0, critic_dropout=0.0, generator_steps=1, rate=1e-12)
    training = Training(settings, [examples(40, 0)], [0])
    vectors, labels = training.vectors[:12][None], training.labels[:12][None]
    there = torch.ones(1, 16)
    there[0, 12:] = 0
    draws = Draws([9])
    with torch.no_grad():
        whole = torch.cat([labels, training.labels[:1].expand(1, 4)], dim=1)
        one_hot = torch.eye(3)[whole]
        made = [training.generator(torch.cat([training.draw(whole, draws), one_hot], 2))[:, :12] for _ in range(2)]
        says = [
            training.discriminator(torch.cat([of, one_hot[:, :12]], 2))[:, :, 0].sigmoid() for of in (*made, vectors)
        ]
    places = torch.tensor([[*range(12), 0, 0, 0, 0]])
    sums = training.one(places, there, Draws([9]), [0])
    assert float(sums["generator"]) == pytest.approx(-float(says[0].log().sum()), rel=1e-4)
    telling = says[2].log() + (1 - says[1]).log()
    assert float(sums["discriminator"]) == pytest.approx(-float(telling.sum()), rel=1e-4)


def test_the_class_stands_beside_the_vector_and_what_fills_a_batch_up_does_not_count() -> None:
    vectors, labels = torch.tensor([[[5.0, 6.0], [7.0, 8.0]]]), torch.tensor([[2, 0]])
    assert given(vectors, labels, 3).tolist() == [[[5, 6, 0, 0, 1], [7, 8, 1, 0, 0]]]
    assert given(vectors, labels, 0) is vectors
    each, there = torch.tensor([[1.0, 2.0, 0.0], [4.0, 8.0, 6.0]]), torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    assert float(mean(each, there)) == pytest.approx(1.5 + 6.0)


def test_a_killed_training_goes_on_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, long = examples(60, 0), replace(TINY, pretraining=30, epochs=15)
    long.fit(train, train, job(tmp_path / "whole"))
    step, calls = Training.training_step, []

    def until(self: Training, batch: torch.Tensor, index: int) -> None:
        calls.append(int(self.taken))
        if len(calls) == 2:  # in pretraining
            raise KeyError("killed")
        step(self, batch, index)

    monkeypatch.setattr(Training, "training_step", until)
    with pytest.raises(KeyError):
        long.fit(train, train, job(tmp_path / "killed"))
    assert not (tmp_path / "killed" / "model.pt").exists()
    calls.clear()
    monkeypatch.setattr(Training, "training_step", lambda *given: (calls.append(int(given[0].taken)), step(*given))[1])
    long.fit(train, train, job(tmp_path / "killed"))
    assert calls[0] > 0  # not from the beginning
    for name in ("model.pt", "history.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()


@pytest.mark.parametrize("gan", [TINY, VANILLA], ids=lambda gan: gan.called)
def test_what_it_cannot_learn_is_refused(gan: PlaneGAN, fitted: Path, tmp_path: Path) -> None:
    good = examples(30, 0)
    several = replace(good, multilabel=True)
    asked = f"generator={gan.called} learns from clips of one class each, and these carry several; choose a dataset"
    with pytest.raises(AugrunError, match=asked):
        gan.fit(several, good, job(tmp_path))
    kept = np.flatnonzero(good.targets[:, 1] == 0)
    without = Examples(good.features.select(kept), good.targets[kept], False, good.names)
    with pytest.raises(AugrunError, match=f"generator={gan.called} learns .*, and the train part has none of b; leave"):
        gan.fit(without, good, job(tmp_path))
    requests = pd.DataFrame({"sample_id": ["0"], "label": [0], "seed": [0]})
    with pytest.raises(AugrunError, match=f"this {gan.called} was trained on 3 classes, asked for are a, b. Delete"):
        gan.generate(GenerationInputs(requests, ("a", "b"), fitted, job(tmp_path)))


@pytest.mark.parametrize("gan", [SahuCGAN(), SahuGAN()], ids=lambda gan: gan.called)
def test_the_yaml_and_the_class_have_the_same_sizes(gan: PlaneGAN) -> None:
    words = ["dataset=feel", "representation=is10", "classifier=dnn", "policy=real_synthetic"]
    config = compose.compose([*words, f"generator={gan.called}", "scale=paper"])
    built = build(config["generator"])
    lists = {name: list(getattr(built, name)) for name in ("hidden", "critic", "code_critic")}
    assert replace(built, **lists) == gan
    small = build(compose.compose([*words, f"generator={gan.called}", "scale=demo"])["generator"])
    assert list(small.hidden) == [64, 32] and small.batch_size == 16
