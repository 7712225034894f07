"""Times the networks for functionals: one at a time through the Trainer, one at a time in a bare loop, all together.

    python scripts/bench_feature_gans.py [--scale demo] [--device cpu] [--replicas 25] [--turns 5] [--steps 50]

`dnn`, `mixup_gan` and `cyclegan` are trained on vectors of noise, at the widths of their YAML. A step is one optimiser
step of each network that takes part in an iteration: what differs is who makes it. Alone they are plain PyTorch
(`torch.nn.Linear`, `torch.optim.Adam` as it comes), once as a LightningModule with a step of the Trainer each, fed by a
DataLoader, once in a loop over the same module. Together they are `augrun.core.training.stacked`, through
`augrun.core.training.fit.fit`.

Printed are iterations a second, those of all replicas together added up: medians of the turns, which are taken one
after the other in one process; the spread is that of the turns' ratios. Targets for all together over one at a time
through the Trainer: 5 at demo widths and 1.3 at the papers' on two CPU cores, 20 at the papers' on a GPU.

CycleGANs at the papers' widths want about 1.1 GB a replica while they are trained, moments included: `--replicas`.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

# Threads that wait sleep instead of spinning: beside other work on the same cores, spinning costs several times the
# arithmetic.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import benching
import numpy as np
import pytorch_lightning as pl
import torch
from benching import Row
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from augrun.classifiers import dnn
from augrun.classifiers.dnn import training as dnn_training
from augrun.core.config import resolvers
from augrun.core.job import Hardware, Job
from augrun.core.runtime.malloc import keep_memory
from augrun.core.training import stacked_fit
from augrun.core.training.fit import fit
from augrun.features.cache import Features
from augrun.features.examples import Examples
from augrun.generators import cyclegan, mixup_gan
from augrun.generators.cyclegan import training as cyclegan_training
from augrun.generators.mixup_gan import training as mixup_gan_training

ROOT = Path(__file__).resolve().parents[1]
BANDS, CLASSES = 1582, 4  # IS10, the four emotions
TARGETS = {("demo", "cpu"): 5.0, ("paper", "cpu"): 1.3, ("paper", "gpu"): 20.0}


@dataclass(frozen=True)
class Contest:
    """One kind of network.

    Attributes:
        name: of the component.
        alone: makes one plain module; its `step` takes the vectors, the labels and the source vectors of a batch.
        together: makes the stacked module of so many replicas.
        batch_size: vectors in a step.
        share: of `--steps`: those of some networks take longer than others'.
    """

    name: str
    alone: Callable[[], Alone]
    together: Callable[[int], stacked_fit.Stacked]
    batch_size: int
    share: float = 1.0


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("demo", "paper"), default="demo")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--replicas", type=int, default=25, help="five folds and five repeats")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="timed steps of a turn; Lightning sees as many as one")
    parser.add_argument("--only", nargs="+", choices=list(MAKERS), default=list(MAKERS))
    benching.options(parser)
    options = parser.parse_args()
    hardware = Hardware(accelerator=options.device, progress=False)
    logging.getLogger("augrun").setLevel(logging.ERROR)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    keep_memory()
    where = torch.cuda.get_device_name() if options.device == "gpu" else f"{torch.get_num_threads()} threads"
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{options.device}, {where}, torch {torch.__version__}, Lightning {pl.__version__}{load}")
    target = TARGETS.get((options.scale, options.device))
    print(f"{options.turns} turns, {options.replicas} replicas, scale {options.scale}; target ratio {target or 'none'}")
    rows = [row for name in options.only for row in measure(MAKERS[name](options.scale), hardware, options, target)]
    benching.leave(rows, options.json)


def measure(contest: Contest, hardware: Hardware, options: argparse.Namespace, target: float | None) -> Iterator[Row]:
    """Takes turns: all together beside one at a time, through the Trainer and in a bare loop."""
    steps = max(1, round(contest.share * options.steps))
    works = {
        "the Trainer": lambda: through_trainer(contest, hardware, steps),
        "a bare loop": lambda: bare(contest, hardware, steps),
        "together": lambda: together(contest, hardware, options.replicas, steps),
    }
    found = benching.turns(works, options.turns)
    what = f"{options.replicas} {contest.name} trained together, batch {contest.batch_size}, scale {options.scale}"
    bound = {"the Trainer": target, "a bare loop": None}
    for other, wanted in bound.items():
        against, kept = f"one at a time through {other}", {"target": wanted, "at_most": False}
        unit = "iterations a s"
        yield benching.row(what, found["together"], found[other], against, unit=unit, rates=True, **kept)


def through_trainer(contest: Contest, hardware: Hardware, steps: int) -> float:
    """Steps a second of one plain module with a step of the Trainer each."""
    module, warm = contest.alone(), max(3, steps // 10)
    clock = Clock(hardware, warm, warm + steps)
    module.on_train_batch_end = lambda *_: clock.stepped()  # type: ignore[method-assign]
    trainer = pl.Trainer(
        accelerator=hardware.accelerator,
        devices=1,
        max_steps=-1,
        max_epochs=1,
        limit_train_batches=warm + steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader(contest, warm + steps))
    return steps / clock.seconds


def bare(contest: Contest, hardware: Hardware, steps: int) -> float:
    """Steps a second of one plain module in a loop over batches that lie on the device."""
    device = torch.device("cuda" if hardware.accelerator == "gpu" else "cpu")
    module, warm = contest.alone().to(device), max(3, steps // 10)
    optimizers: Any = module.configure_optimizers()
    clock = Clock(hardware, warm, warm + steps)
    for batch in [[part.to(device) for part in batch] for batch in loader(contest, warm + steps)]:
        module.step(batch, optimizers)
        clock.stepped()
    return steps / clock.seconds


def together(contest: Contest, hardware: Hardware, replicas: int, steps: int) -> float:
    """Steps a second, those of all replicas added up: what as many would have to do one after the other."""
    module = contest.together(replicas)
    stacked_fit.CHUNK = steps  # fewer than augrun takes, so that a turn is not long
    clock = Clock(hardware, 1, 2)
    module.on_train_batch_end = lambda *_: clock.stepped()  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        fit(module, Pieces(2), None, Job(Path(folder), hardware=hardware), epochs=1, batch_size=1)
    return replicas * steps / clock.seconds


class Pieces(torch.utils.data.Dataset):
    """So many pieces of steps."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


class Clock:
    """Seconds between the end of a step that warms up and that of the last."""

    def __init__(self, hardware: Hardware, first: int, last: int) -> None:
        self.on_gpu, self.first, self.last = hardware.accelerator == "gpu", first, last
        self.done, self.began, self.seconds = 0, 0.0, 0.0

    def stepped(self) -> None:
        """A step is done; waits for the device at the two ends alone."""
        self.done += 1
        if self.done in (self.first, self.last):
            if self.on_gpu:
                torch.cuda.synchronize()
            now = time.perf_counter()
            self.began, self.seconds = now, now - self.began


def vectors(count: int, seed: int) -> np.ndarray:
    """Noise, shape (count, BANDS)."""
    return np.random.default_rng(seed).normal(size=(count, BANDS)).astype(np.float32)


def examples(count: int, seed: int = 0) -> Examples:
    """Vectors of noise, as many of each class."""
    features = Features.from_rows(vectors(count, seed), np.ones(count, dtype=np.int64))
    return Examples(features, np.eye(CLASSES, dtype=np.float32)[np.arange(count) % CLASSES], False, tuple("abcd"))


def loader(contest: Contest, steps: int) -> DataLoader:
    """Batches of vectors, their classes, and source vectors."""
    count = 16 * contest.batch_size
    parts = [vectors(count, 0), np.arange(count) % CLASSES, vectors(count, 1)]
    data = TensorDataset(*(torch.from_numpy(part) for part in parts))
    some = torch.utils.data.RandomSampler(data, num_samples=steps * contest.batch_size, replacement=True)
    return DataLoader(data, contest.batch_size, sampler=some)


def perceptron(widths: Sequence[int], slope: float, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers with leaky ReLU and dropout between them."""
    parts: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        parts += [nn.Linear(inputs, outputs), nn.LeakyReLU(slope), nn.Dropout(dropout)]
    return nn.Sequential(*parts[:-2])


def descend(loss: torch.Tensor, optimizer: Any) -> None:
    """One update."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


class Alone(pl.LightningModule):
    """A plain module: `step` does what an iteration is, with the optimisers of `configure_optimizers`."""

    def __init__(self, settings: Any) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.settings = settings

    def step(self, batch: Sequence[torch.Tensor], optimizers: Sequence[Any]) -> None:
        raise NotImplementedError

    def training_step(self, batch: Sequence[torch.Tensor], index: int) -> None:
        optimizers: Any = self.optimizers()
        self.step(batch, optimizers if isinstance(optimizers, list) else [optimizers])


class AloneDNN(Alone):
    """The classifier."""

    def __init__(self, settings: dnn.DNN) -> None:
        super().__init__(settings)
        self.network = perceptron([BANDS, *settings.hidden, CLASSES], settings.slope, settings.dropout)

    def step(self, batch: Sequence[torch.Tensor], optimizers: Sequence[Any]) -> None:
        descend(functional.cross_entropy(self.network(batch[0]), batch[1]), optimizers[0])

    def configure_optimizers(self) -> list[Any]:
        return [torch.optim.Adam(self.parameters(), self.settings.rate)]


class AloneMixupGAN(Alone):
    """Autoencoder, generator and discriminator, after pretraining."""

    def __init__(self, settings: mixup_gan.MixupGAN) -> None:
        super().__init__(settings)
        widths = [BANDS, *settings.hidden, settings.code]
        self.encoder = perceptron(widths, settings.slope, settings.dropout)
        self.generator = perceptron(widths[::-1], settings.slope, settings.dropout)
        self.discriminator = perceptron([BANDS, *settings.critic, 1], settings.slope)

    def step(self, batch: Sequence[torch.Tensor], optimizers: Sequence[Any]) -> None:
        inputs = batch[0]
        descend((self.generator(self.encoder(inputs)) - inputs).square().mean(), optimizers[0])
        with torch.no_grad():
            codes = self.encoder(inputs)
        made = self.generator(codes)
        descend(functional.softplus(-self.discriminator(made)).mean(), optimizers[1])
        with torch.no_grad():
            made = self.generator(codes)
        telling = functional.softplus(-self.discriminator(inputs)) + functional.softplus(self.discriminator(made))
        descend(telling.mean(), optimizers[2])

    def configure_optimizers(self) -> list[Any]:
        both = [*self.encoder.parameters(), *self.generator.parameters()]
        groups = (both, self.generator.parameters(), self.discriminator.parameters())
        rates = (self.settings.autoencoder_rate, self.settings.rate, self.settings.rate)
        return [torch.optim.Adam(group, rate) for group, rate in zip(groups, rates, strict=True)]


class AloneCycleGAN(Alone):
    """A CycleGAN for each class, and the classifier of all, after pretraining."""

    def __init__(self, settings: cyclegan.CycleGAN) -> None:
        super().__init__(settings)
        widths, critic = [BANDS, *settings.hidden, BANDS], [BANDS, *settings.critic, 1]

        def each(widths: Sequence[int], dropout: float = 0.0) -> nn.ModuleList:
            return nn.ModuleList(perceptron(widths, settings.slope, dropout) for _ in range(CLASSES))

        self.forth, self.back = each(widths), each(widths)
        self.of_target, self.of_source = (each(critic, settings.critic_dropout) for _ in range(2))
        told = [BANDS, *settings.classifier, CLASSES]
        self.classifier = perceptron(told, settings.slope, settings.classifier_dropout)

    def step(self, batch: Sequence[torch.Tensor], optimizers: Sequence[Any]) -> None:
        target, source, settings = batch[0], batch[2], self.settings

        def say(critic: nn.Module, rows: torch.Tensor, wanted: float) -> torch.Tensor:
            logits = critic(rows)
            return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, wanted))

        def tell(made: Sequence[torch.Tensor]) -> torch.Tensor:
            labels = torch.arange(CLASSES, device=source.device).repeat_interleave(len(source))
            return functional.cross_entropy(self.classifier(torch.cat(list(made))), labels)

        for _ in range(settings.generator_steps):
            loss = source.new_zeros(())
            made = [forth(source) for forth in self.forth]
            for k in range(CLASSES):
                turned = self.back[k](target)
                cycle = (self.back[k](made[k]) - source).square().mean() + (
                    self.forth[k](turned) - target
                ).square().mean()
                fooling = say(self.of_target[k], made[k], settings.real) + say(self.of_source[k], turned, settings.real)
                loss = loss + fooling + settings.cycle * cycle
            if settings.classification:
                loss = loss + settings.classification * CLASSES * tell(made)
            descend(loss, optimizers[0])
        with torch.no_grad():
            made, turned_all = [forth(source) for forth in self.forth], [back(target) for back in self.back]
        telling = source.new_zeros(())
        for k in range(CLASSES):
            telling = telling + say(self.of_target[k], target, settings.real) + say(self.of_target[k], made[k], 0.0)
            telling = telling + say(self.of_source[k], source, settings.real)
            telling = telling + say(self.of_source[k], turned_all[k], 0.0)
        descend(telling, optimizers[1])
        if settings.classification:
            descend(tell(made), optimizers[2])

    def configure_optimizers(self) -> list[Any]:
        groups = ([self.forth, self.back], [self.of_target, self.of_source], [self.classifier])
        return [torch.optim.Adam(nn.ModuleList(group).parameters(), self.settings.rate) for group in groups]


def settings_of(group: str, name: str, scale: str) -> dict[str, Any]:
    """A component's settings as its YAML has them at this scale."""
    resolvers.register()
    choice = OmegaConf.load(ROOT / "conf" / group / f"{name}.yaml")
    whole = OmegaConf.create({"scale": scale, group: choice})
    values: Any = OmegaConf.to_container(whole[group], resolve=True)
    return {key: value for key, value in values.items() if key not in ("_target_", "name", "defaults")}


def of_dnn(scale: str) -> Contest:
    """The classifier: five folds' training sets, a replica for each fold and repeat."""
    settings = dnn.DNN(**settings_of("classifier", "dnn", scale))
    folds = [examples(16 * settings.batch_size, fold) for fold in range(5)]

    def stacked(replicas: int) -> stacked_fit.Stacked:
        return dnn_training.Training(settings, [folds[k % 5] for k in range(replicas)], list(range(replicas)))

    return Contest("dnn", lambda: AloneDNN(settings), stacked, settings.batch_size)


def of_mixup_gan(scale: str) -> Contest:
    """Without pretraining: all three steps from the first on."""
    found = settings_of("generator", "mixup_gan", scale) | {"pretraining": 0}
    settings = mixup_gan.MixupGAN(**found)
    folds = [examples(16 * settings.batch_size, fold) for fold in range(5)]

    def stacked(replicas: int) -> stacked_fit.Stacked:
        return mixup_gan_training.Training(settings, [folds[k % 5] for k in range(replicas)], list(range(replicas)))

    return Contest("mixup_gan", lambda: AloneMixupGAN(settings), stacked, settings.batch_size)


def of_cyclegan(scale: str) -> Contest:
    """Without pretraining; a replica is its four emotions and their classifier."""
    found = settings_of("generator", "cyclegan", scale) | {"pretraining": 0}
    settings = cyclegan.CycleGAN(**found)
    folds = [examples(16 * settings.batch_size, fold) for fold in range(5)]
    source = examples(16 * settings.batch_size, 9)

    def stacked(replicas: int) -> stacked_fit.Stacked:
        parts = [folds[k % 5] for k in range(replicas)]
        return cyclegan_training.Training(settings, parts, source, list(range(replicas)))

    return Contest("cyclegan", lambda: AloneCycleGAN(settings), stacked, settings.batch_size, share=0.33)


MAKERS = {"dnn": of_dnn, "mixup_gan": of_mixup_gan, "cyclegan": of_cyclegan}


if __name__ == "__main__":
    main()
