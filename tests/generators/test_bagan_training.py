"""The trainings of a balancing GAN, update by update."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from augrun.generators.bagan import BAGAN, training
from augrun.generators.bagan.base import BalancingGAN
from augrun.generators.bagan.data import Recorded
from augrun.generators.bagan.latents import ClassLatents
from augrun.generators.bagan.original import BAGANOriginal
from augrun.generators.bagan.training import Adversaries

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES, SHAPE = 3, (32, 32)
TINY = BAGAN(
    latent=6, dense=8, seed_width=4, generator_widths=(4,) * 8, discriminator_widths=(4,) * 8, batch_size=7,
    autoencoder_rate=1e-3, gan_rate=1e-2,
)  # fmt: skip
ORIGINAL = BAGANOriginal(
    latent=6, dense=8, seed_width=4, generator_widths=(4,) * 4, discriminator_widths=(4,) * 8, kernel=3, batch_size=7,
    autoencoder_rate=1e-3, gan_rate=1e-2,
)  # fmt: skip


def latents_of(classes: int = CLASSES, size: int = 6) -> ClassLatents:
    """Class c around c in every dimension, with correlated noise."""
    means = np.tile(np.arange(classes, dtype=float)[:, None], (1, size))
    factors = np.stack([np.eye(size) * 0.1 + 0.05 * label for label in range(classes)])
    return ClassLatents(means, factors, np.zeros(classes))


def recorded_of(classes: int = CLASSES) -> Recorded:
    means = np.stack([np.full(SHAPE, 0.2 * label - 0.2, np.float32) for label in range(classes)])
    return Recorded(means, np.full(classes, 10.0), 0.0)


def adversaries(generator: BalancingGAN = TINY) -> Adversaries:
    torch.manual_seed(0)
    return generator.adversaries(SHAPE, latents_of(), recorded_of(), "toy")


def batch_of(count: int = 7) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(3)
    images = torch.rand(count, 1, *SHAPE, generator=random) * 2 - 1
    return {"image": images, "label": torch.arange(count) % CLASSES}


def update(module: Adversaries, batch: dict[str, Tensor], optimizers: Any = None) -> None:
    judging, making = optimizers or module.configure_optimizers()
    module.update(batch, judging, making, Tensor.backward)


def watched(module: Adversaries, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the discriminator sees, what it is told, what the generator makes, in order."""
    seen = SimpleNamespace(judged=[], truths=[], made=[], drawn=[])
    module.discriminator.register_forward_pre_hook(lambda _, given: seen.judged.append(given[0].detach().clone()))
    module.generator.register_forward_hook(lambda *a: seen.made.append(a[2].detach().clone()))
    module.generator.register_forward_pre_hook(lambda _, given: seen.drawn.append(given[0].detach().clone()))
    plain = functional.cross_entropy

    def spy(logits: Tensor, truth: Tensor) -> Tensor:
        seen.truths.append(truth.clone())
        return plain(logits, truth)

    monkeypatch.setattr(training.functional, "cross_entropy", spy)
    return seen


def test_separate_batches_are_real_then_fake_then_the_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chatziagapi et al. 2019, section 2.3."""
    module, batch = adversaries(), batch_of()
    seen = watched(module, monkeypatch)
    update(module, batch)
    real, fake, judged = seen.judged
    assert torch.equal(real, batch["image"])
    assert torch.equal(fake, seen.made[0]) and torch.equal(judged, seen.made[1])
    assert len(fake) == len(judged) == 7
    assert torch.equal(seen.truths[0], batch["label"])
    assert seen.truths[1].tolist() == [CLASSES] * 7
    assert set(seen.truths[2].tolist()) <= set(range(CLASSES))
    nearest = (seen.drawn[1].mean(dim=1) + 0.5).floor().long().clamp(0, CLASSES - 1)
    assert (nearest == seen.truths[2]).float().mean() > 0.8  # it is judged by the classes it was drawn for


def test_mixed_batches_have_as_many_fakes_as_of_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mariani et al.'s code: ceil(B / C) fakes, and as many latents for the generator as the discriminator saw."""
    module, batch = adversaries(ORIGINAL), batch_of()
    seen = watched(module, monkeypatch)
    update(module, batch)
    mixed, judged = seen.judged
    assert torch.equal(mixed[:7], batch["image"]) and torch.equal(mixed[7:], seen.made[0])
    assert len(mixed) == len(judged) == 7 + 3
    assert seen.truths[0].tolist() == [*batch["label"].tolist(), 3, 3, 3]
    assert len(seen.truths) == 2


def test_labels_are_uniform_and_latents_are_their_classes() -> None:
    module = adversaries()
    torch.manual_seed(1)
    labels = module.uniform(30_000)
    counts = torch.bincount(labels, minlength=CLASSES)
    assert (counts - 10_000).abs().max() < 300  # under four standard deviations
    drawn = module.draw(labels).numpy()
    known = latents_of()
    for label in range(CLASSES):
        own = drawn[labels.numpy() == label]
        assert np.abs(own.mean(axis=0) - known.means[label]).max() < 0.02
        covariance = known.factors[label] @ known.factors[label].T
        assert np.abs(np.cov(own.T) - covariance).max() < 0.1 * covariance.max()


@pytest.mark.parametrize("generator", [TINY, ORIGINAL])
def test_each_optimizer_moves_its_own_network(generator: BalancingGAN) -> None:
    module = adversaries(generator)
    judging, making = module.configure_optimizers()
    steps: list[str] = []

    def watch(optimizer: torch.optim.Optimizer, name: str) -> None:
        plain = optimizer.step

        def step() -> None:
            before = {key: value.clone() for key, value in module.named_parameters()}
            plain()
            moved = {
                key.split(".")[0] for key, value in module.named_parameters() if not torch.equal(before[key], value)
            }
            assert moved == {name}
            steps.append(name)

        optimizer.step = step  # type: ignore[method-assign]

    watch(judging, "discriminator")
    watch(making, "generator")
    update(module, batch_of(), (judging, making))
    assert steps == ["discriminator"] * (1 if generator is ORIGINAL else 2) + ["generator"]
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_learning_rates_are_those_of_the_steps() -> None:
    """Section 2.3: 5e-5 for the autoencoder, 1e-6 for the GAN; Mariani et al. keep 5e-5."""
    for generator, rates in ((BAGAN(), (5e-5, 1e-6)), (BAGANOriginal(), (5e-5, 5e-5))):
        small = (4,) * 8
        widths = {"discriminator_widths": small, "generator_widths": small[: generator.layers], "seed_width": 4}
        tiny = type(generator)(dense=4, latent=6, **widths)  # type: ignore[arg-type]
        first = tiny.autoencoder(SHAPE).configure_optimizers()
        assert (first.defaults["lr"], first.defaults["betas"]) == (rates[0], (0.5, 0.999))
        for optimizer in tiny.adversaries(SHAPE, latents_of(), recorded_of()).configure_optimizers():
            assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (rates[1], (0.5, 0.999))


@pytest.mark.parametrize("generator", [TINY, ORIGINAL])
def test_weights_are_handed_over(generator: BalancingGAN) -> None:
    """Decoder to generator, encoder to discriminator but for the last layer, which has one output a class and fake."""
    torch.manual_seed(5)
    autoencoder, module = generator.autoencoder(SHAPE), adversaries(generator)
    autoencoder.loss(batch_of())  # moves the running statistics
    before = module.discriminator.head.weight.clone()
    module.start_from(autoencoder)
    made, trunk = module.generator.state_dict(), module.discriminator.trunk.state_dict()
    for name, value in autoencoder.decoder.state_dict().items():
        assert torch.equal(made[name], value), name
    for name, value in autoencoder.encoder.trunk.state_dict().items():
        assert torch.equal(trunk[name], value), name
    assert autoencoder.encoder.head.out_features == 6
    assert module.discriminator.head.out_features == CLASSES + 1
    assert torch.equal(module.discriminator.head.weight, before)


def test_gradient_reaches_every_parameter() -> None:
    for generator in (TINY, ORIGINAL):
        module = adversaries(generator)
        reached: set[str] = set()

        def backward(loss: Tensor, module: Adversaries = module, reached: set[str] = reached) -> None:
            loss.backward()
            reached |= {k for k, v in module.named_parameters() if v.grad is not None and v.grad.abs().max() > 0}

        for _ in range(3):  # dropout and ReLUs may hide one once
            module.update(batch_of(), *module.configure_optimizers(), backward)
        assert reached == {name for name, _ in module.named_parameters()}


class Fixed(nn.Module):
    """A generator whose output, or a discriminator whose verdict, is what a test says."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer, self.weight = answer, nn.Parameter(torch.zeros(1))

    def forward(self, given: Tensor) -> Tensor:
        return self.answer(given) + 0 * (self.weight + given.mean())  # a gradient of zero


def images(values: Any) -> Any:
    """Whole images of the value that each latent is given."""
    return lambda latents: values(latents)[:, None, None, None].expand(-1, 1, *SHAPE)


def logits(verdict: Any) -> Any:
    return lambda seen: 20.0 * functional.one_hot(verdict(seen), CLASSES + 1).float()


LATENT_MEAN = images(lambda latents: 0.2 * latents.mean(dim=1) - 0.2)
HALF = logits(lambda seen: torch.arange(len(seen)) % (CLASSES + 1))


@pytest.mark.parametrize(
    ("made", "verdict", "text"),
    [
        (LATENT_MEAN, HALF, None),
        (LATENT_MEAN, logits(lambda seen: torch.full((len(seen),), 1)), "the discriminator is blind"),
        (images(lambda latents: (latents.mean(dim=1) + 0.5).floor() * 0.2 - 0.2), HALF, "the modes have collapsed"),
        (images(lambda latents: latents.mean(dim=1).sign() * 0.995), HALF, "extreme values: 100.0%"),
        (images(lambda latents: 0.2 - 0.2 * latents.mean(dim=1)), HALF, "the classes are mixed up: of only 33%"),
    ],
)
def test_collapses_are_warned_of_once(
    made: Any, verdict: Any, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    module = adversaries()
    module.recorded = Recorded(recorded_of().means, np.full(CLASSES, 1.0), 0.0)
    module.generator, module.discriminator = Fixed(made), Fixed(verdict)  # type: ignore[assignment]
    logged: dict[str, float] = {}
    module.log = lambda name, value, **_: logged.update({name: value})  # type: ignore[method-assign,assignment]
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            module.on_train_epoch_start()
            for _ in range(3):
                update(module, batch_of())
            module.on_train_epoch_end()
    said = [record.getMessage() for record in caplog.records]
    if text is None:
        assert said == []
    else:
        assert sum(text in line for line in said) == 1, said
        assert said[0].startswith("toy: after epoch 1 ")
    shares = {"real_accuracy", "fake_accuracy", "fooled", "one_verdict", "nearest_own", "classes_nearest_own"}
    others = {"discriminator_loss", "generator_loss", "extreme_share", "diversity"}
    assert set(logged) == {f"train/{name}" for name in shares | others}
    assert all(0 <= logged[f"train/{name}"] <= 1 for name in shares)


def test_curves_are_the_epochs_means() -> None:
    module = adversaries()
    # Everything is class 1: of 7 recorded segments 2 are, fakes are never caught.
    module.discriminator = Fixed(logits(lambda seen: torch.full((len(seen),), 1)))  # type: ignore[assignment]
    logged: dict[str, float] = {}
    module.log = lambda name, value, **_: logged.update({name: value})  # type: ignore[method-assign,assignment]
    module.on_train_epoch_start()
    for _ in range(4):
        update(module, batch_of())
    module.on_train_epoch_end()
    assert logged["train/real_accuracy"] == pytest.approx(2 / 7)
    assert logged["train/fake_accuracy"] == 0
    assert logged["train/one_verdict"] == 1
    assert 0 < logged["train/fooled"] < 0.8
    wrong = 1 - logged["train/fooled"]
    assert logged["train/generator_loss"] == pytest.approx(20 * wrong, rel=1e-4)
    assert logged["train/discriminator_loss"] == pytest.approx((20 * 5 / 7 + 20) / 2, rel=1e-4)


def test_health_is_measured_without_leaving_a_trace() -> None:
    """No gradient, no draw from the global generators, the same latents each time, and the network trains on."""
    module = adversaries()
    module.generator.train()
    torch.manual_seed(9)
    state = torch.get_rng_state()
    statistics = {name: value.clone() for name, value in module.generator.named_buffers()}
    first, second = module.samples(4), module.samples(4)
    assert first.shape == (CLASSES, 4, *SHAPE)
    assert np.array_equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert module.generator.training
    assert all(torch.equal(value, statistics[name]) for name, value in module.generator.named_buffers())


@pytest.mark.parametrize("generator", [TINY, ORIGINAL])
def test_timing_examples_can_be_updated(generator: BalancingGAN) -> None:
    module, batch = generator.timing_example("autoencoder", classes=3, shape=SHAPE)
    assert module.loss(batch).item() > 0
    module, batch = generator.timing_example("gan", classes=3, shape=SHAPE)
    assert batch["image"].shape == (7, 1, *SHAPE)
    update(module, batch)  # type: ignore[arg-type]
    assert module.counted[0] == 1
