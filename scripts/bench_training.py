"""Time training steps through augrun.core.training.fit (Lightning) against a bare PyTorch loop over the same module.

    python scripts/bench_training.py [--scale demo] [--device cpu] [--turns 7] [--steps 20] [--only vgg19]

Both train the same module from the same parameters on the same batches in the same order, turn by turn in one process;
who begins changes from turn to turn. A step is what lies between the ends of two steps: the loader's batch, its way to
the device, forward, backward and the optimiser. The first steps of a turn warm up and do not count. What `fit` does
once an epoch (a checkpoint that survives a power cut) is no part of a step; its seconds are printed beside. At the end
both have the same parameters, or their largest difference is printed.

Medians of the turns count; the spread is that of the turns' ratios. The target is a ratio of at most 1.10.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from torch.utils.data import DataLoader, Dataset

from augrun.core.config import resolvers
from augrun.core.job import Hardware, Job
from augrun.core.runtime.malloc import keep_memory
from augrun.core.training.batching import EpochSampler
from augrun.core.training.fit import fit, reseed

ROOT = Path(__file__).resolve().parents[1]
TARGET = 1.10
WARM = 3  # steps of a turn that do not count


@dataclass(frozen=True)
class Contest:
    """A module to train, and what a step of it is without Lightning.

    Attributes:
        name: of the component.
        module: makes the module, with the same parameters each time.
        data: what it is trained on.
        batch_size: examples in a step.
        prepare: makes what `step` wants of the module, e.g. its optimiser.
        step: one step of the bare loop, given the module, what was prepared and a batch on the device.
    """

    name: str
    module: Callable[[], pl.LightningModule]
    data: Dataset
    batch_size: int
    prepare: Callable[[Any], Any]
    step: Callable[[Any, Any, Any], None]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("demo", "paper"), default="demo")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--turns", type=int, default=7, help="of each; at least five")
    parser.add_argument("--steps", type=int, default=20, help="timed steps of a turn")
    parser.add_argument("--only", nargs="+", choices=list(MAKERS), default=list(MAKERS))
    benching.options(parser)
    options = parser.parse_args()
    if options.turns < 5:
        parser.error("--turns: a median needs five or more")
    hardware = Hardware(accelerator=options.device, progress=False)
    logging.getLogger("augrun").setLevel(logging.ERROR)  # what a few steps make is no use, and need not be said
    keep_memory()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    where = torch.cuda.get_device_name() if options.device == "gpu" else f"{torch.get_num_threads()} threads"
    print(f"{options.device}, {where}, torch {torch.__version__}, Lightning {pl.__version__}{load}")
    print(f"{options.turns} turns of {options.steps} steps, scale {options.scale}; target ratio {TARGET:.2f}")
    contests = [contest for name in options.only for contest in MAKERS[name](options.scale)]
    rows = [measure(contest, hardware, options.turns, options.steps) for contest in contests]
    benching.leave(rows, options.json)


def measure(contest: Contest, hardware: Hardware, turns: int, steps: int) -> Row:
    """Takes turns."""
    pairs, epoch_ends = [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(turns + 1):
            job = Job(Path(folder) / str(turn), seed=turn, hardware=hardware)
            both: dict[str, tuple[float, float, pl.LightningModule]] = {}
            for way in (through_fit, bare) if turn % 2 else (bare, through_fit):
                both[way.__name__] = way(contest, job, WARM + steps)
            if not turn:
                difference = apart(both["through_fit"][2], both["bare"][2])
                continue  # the first turn warms up
            pairs.append((both["through_fit"][0] / steps, both["bare"][0] / steps))
            epoch_ends.append(both["through_fit"][1])
    ours, theirs = ([1e3 * seconds for seconds in each] for each in zip(*pairs, strict=True))
    what = f"a training step of {contest.name}, batch {contest.batch_size}, through Lightning"
    note = f"{difference}; an epoch's end {statistics.median(epoch_ends):.2f} s"
    return benching.row(
        what, ours, theirs, "a bare PyTorch loop", unit="ms", how=benching.COST, target=TARGET, note=note
    )


def through_fit(contest: Contest, job: Job, steps: int) -> tuple[float, float, pl.LightningModule]:
    """Seconds of the timed steps, seconds of the epoch's end, and the module; an epoch of `steps` through `fit`."""
    module = contest.module()
    clock = Clock(job.hardware)
    module.on_train_batch_end = lambda *_: clock.stepped(steps)  # type: ignore[method-assign]
    fit(
        module,
        contest.data,
        None,
        job,
        epochs=1,
        batch_size=contest.batch_size,
        samples_per_epoch=steps * contest.batch_size,
    )
    return clock.seconds, time.perf_counter() - clock.ended, module


def bare(contest: Contest, job: Job, steps: int) -> tuple[float, float, pl.LightningModule]:
    """Seconds of the timed steps, nothing, and the module; the loop that a person would write."""
    module = contest.module()
    device = torch.device("cuda" if job.hardware.accelerator == "gpu" else "cpu")
    on_cpu = device.type == "cpu"
    if getattr(module, "channels_last", False):
        module.to(memory_format=torch.channels_last)
    module.to(device).train()
    prepared = contest.prepare(module)
    loader = DataLoader(
        contest.data,
        batch_size=contest.batch_size,
        sampler=EpochSampler(len(contest.data), steps * contest.batch_size, job.seed),  # type: ignore[arg-type]
        num_workers=0 if on_cpu else job.hardware.workers,
        pin_memory=not on_cpu,
        generator=torch.Generator(),  # else the loader takes numbers from the dropout's generator
    )
    clock = Clock(job.hardware)
    reseed(job.seed, "epoch", 0)  # the same dropout
    for batch in loader:
        contest.step(module, prepared, moved(batch, device))
        clock.stepped(steps)
    return clock.seconds, 0.0, module.cpu()


def moved(batch: Any, device: torch.device) -> Any:
    """A batch's tensors on the device."""
    if isinstance(batch, dict):
        return {name: part.to(device, non_blocking=True) for name, part in batch.items()}
    return [part.to(device, non_blocking=True) for part in batch]


class Clock:
    """Seconds from the end of the last step that warms up to the end of the last one."""

    def __init__(self, hardware: Hardware) -> None:
        self.on_gpu, self.done, self.began, self.ended = hardware.accelerator == "gpu", 0, 0.0, 0.0

    def stepped(self, steps: int) -> None:
        """A step is done; waits for the device at the two ends alone."""
        self.done += 1
        if self.done in (WARM, steps):
            if self.on_gpu:
                torch.cuda.synchronize()
            self.began, self.ended = self.ended, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Of the timed steps."""
        return self.ended - self.began


def apart(one: pl.LightningModule, other: pl.LightningModule) -> str:
    """Whether two modules ended alike."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    most = max(float((a.double() - b.double()).abs().max()) for a, b in pairs)
    return "equal parameters" if most == 0 else f"parameters within {most:.1e}"


def settings(group: str, name: str, scale: str) -> dict[str, Any]:
    """A component's settings as its YAML has them at this scale."""
    resolvers.register()
    choice = OmegaConf.load(ROOT / "conf" / group / f"{name}.yaml")
    whole = OmegaConf.create({"scale": scale, group: choice})
    values: Any = OmegaConf.to_container(whole[group], resolve=True)
    return {key: value for key, value in values.items() if key not in ("_target_", "name")}


def noise(batch_size: int) -> Any:
    """Eight batches of decibel-like noise, 128 × 128, of four classes."""
    from augrun.features.cache import Features
    from augrun.features.examples import Examples

    rng = np.random.default_rng(0)
    segments = rng.normal(-40, 15, (8 * batch_size, 128, 128)).astype(np.float32)
    targets = np.eye(4, dtype=np.float32)[np.arange(len(segments)) % 4]
    return Examples(Features.from_arrays(list(segments)), targets, False)


def descent(loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One update."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def vgg19(scale: str) -> Iterator[Contest]:
    """The classifier."""
    from augrun.classifiers.vgg19 import VGG19
    from augrun.classifiers.vgg19.training import Segments, Training, network_of, shape_of

    chosen = VGG19(**settings("classifier", "vgg19", scale))
    examples = noise(chosen.batch_size)

    def module() -> pl.LightningModule:
        reseed(0, "network")
        return Training(network_of(chosen, shape_of(examples, examples)), False, chosen)

    def step(module: Training, optimizer: torch.optim.Optimizer, batch: Any) -> None:
        spectrograms, targets = batch
        descent(module.loss(module.network(spectrograms), targets), optimizer)

    yield Contest("vgg19", module, Segments(examples), chosen.batch_size, Training.configure_optimizers, step)


def bagan(scale: str) -> Iterator[Contest]:
    """The improved balancing GAN: its autoencoder, and its generator against its discriminator."""
    try:
        from augrun.generators.bagan import BAGAN
        from augrun.generators.bagan.data import Normalisation, Recorded, Spectrograms
        from augrun.generators.bagan.latents import ClassLatents
        from augrun.generators.bagan.training import Adversaries, Autoencoder
    except ImportError as error:
        print(f"bagan: left out ({error})")
        return

    chosen = BAGAN(**settings("generator", "bagan", scale))
    examples = noise(chosen.batch_size)
    data = Spectrograms(examples, Normalisation.of(examples))
    random = np.random.default_rng(0).normal(size=(len(examples), chosen.latent))
    latents, recorded = ClassLatents.of(random, data.labels, 4, chosen.covariance), Recorded.of(data, 4)

    def autoencoder() -> pl.LightningModule:
        reseed(0, "autoencoder")
        return chosen.autoencoder((128, 128))

    def adversaries() -> pl.LightningModule:
        reseed(0, "gan")
        return chosen.adversaries((128, 128), latents, recorded)

    def reconstruct(module: Autoencoder, optimizer: torch.optim.Optimizer, batch: Any) -> None:
        descent(module.loss(batch), optimizer)

    def fight(module: Adversaries, optimizers: list[torch.optim.Optimizer], batch: Any) -> None:
        judging, making = optimizers
        module.update(batch, judging, making, torch.Tensor.backward)

    size = chosen.batch_size
    yield Contest("bagan, autoencoder", autoencoder, data, size, Autoencoder.configure_optimizers, reconstruct)
    yield Contest("bagan, GAN", adversaries, data, size, Adversaries.configure_optimizers, fight)


MAKERS = {"vgg19": vgg19, "bagan": bagan}


if __name__ == "__main__":
    main()
