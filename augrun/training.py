"""One way to train: Lightning's Trainer with checkpoints, exact resume, one line an epoch, and no noise.

A killed fit continues from its last whole epoch and ends with the parameters of an undisturbed one, bit for
bit. That takes three things together: the order of examples is a function of (seed, epoch), every epoch starts
by reseeding, and the loader draws from a generator of its own. What a module or dataset adds must keep to it:
draw randomness from torch's, numpy's or Python's global generators inside `training_step`, or let the dataset
have `set_epoch(epoch)` and derive its randomness from (epoch, index).
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException
from torch.utils.data import DataLoader, Dataset, Sampler

from augrun.allocator import keep_memory
from augrun.errors import AugrunError, RequestError
from augrun.job import Job
from augrun.training_report import Report, quiet

LAST, BEST, HISTORY, FINISHED = "last.ckpt", "best.ckpt", "history.json", "finished.json"


@dataclass(frozen=True)
class FitResult:
    """What a finished fit leaves.

    Attributes:
        best: checkpoint of the epoch with the best monitored value (of the last epoch without a monitor).
        last: checkpoint of the last epoch.
        history: one dict an epoch: `epoch` (counted from 1) and the epoch's value of everything logged.
        best_epoch: the epoch that `best` holds.
    """

    best: Path
    last: Path
    history: list[dict[str, Any]]
    best_epoch: int


def fit(
    module: pl.LightningModule,
    train: Dataset,
    validation: Dataset | None,
    job: Job,
    *,
    epochs: int,
    batch_size: int,
    monitor: str | None = None,
    mode: Literal["min", "max"] = "min",
    validation_batch_size: int | None = None,
    samples_per_epoch: int | None = None,
    gradient_clip: float | None = None,
    gradient_clip_algorithm: Literal["norm", "value"] = "norm",
    drop_last: bool = False,
    collate: Callable[[list[Any]], Any] | None = None,
) -> FitResult:
    """Trains `module` for `epochs` epochs, or for what is left of them, in `job.folder`.

    The folder holds `last.ckpt` (every epoch, written atomically), `best.ckpt`, `history.json`, and
    `finished.json` at the end. A call on a folder that holds a checkpoint continues from it exactly; a call on
    a finished one returns at once. Either way `module` ends up on the CPU with the parameters of `best`, and the
    global random generators in one and the same state.

    Args:
        module: logs its curves with `self.log`: `train/loss`, `validation/loss`, `validation/<metric>`. With
            `module.channels_last = True` its weights (and nothing else) are laid out channels last.
        train: examples in any order. `set_epoch(epoch)`, where it has one, is called before each epoch.
        validation: examples, seen in order after each epoch, or None.
        job: folder, seed and hardware.
        epochs: how many passes over the training set, at least 1.
        batch_size: examples in a training batch.
        monitor: name of the curve that selects `best`; None takes the last epoch.
        mode: whether the monitored curve is better when smaller (`min`) or larger (`max`).
        validation_batch_size: examples in a validation batch; as `batch_size` by default.
        samples_per_epoch: examples in an epoch; the training set's length by default. Epochs walk through one
            endless stream of permutations, so a smaller number still visits every example equally often.
        gradient_clip: clip gradients at this value (not for manually optimised modules: Lightning refuses).
        gradient_clip_algorithm: clip by total `norm` or each `value`.
        drop_last: leave out an epoch's last batch where it is smaller than `batch_size`.
        collate: makes a batch of a list of examples; torch's default otherwise.

    Raises:
        RequestError: the hardware asked for is not there or not supported.
        AugrunError: a loss or the monitored curve is not finite, or a checkpoint cannot be read.
        KeyboardInterrupt: the user pressed Ctrl-C.
        SystemExit: with code 143, when the process was asked to terminate (SIGTERM).
    """
    if epochs < 1:
        raise ValueError(f"fit needs at least one epoch, not {epochs}")
    job.folder.mkdir(parents=True, exist_ok=True)
    result = _finished(job.folder, epochs)
    if result is None:
        with quiet():
            resume = _read_checkpoint(job.folder / LAST)
            record = _Record(job, epochs, monitor, mode, train, resume)
            trainer = _trainer(job, epochs, record, gradient_clip, gradient_clip_algorithm)
            on_cpu = trainer.strategy.root_device.type == "cpu"
            if on_cpu:
                keep_memory()
            if getattr(module, "channels_last", False):
                module.to(memory_format=torch.channels_last)
            make = _Loaders(job, on_cpu, collate)
            train_loader = make.train(train, batch_size, samples_per_epoch, drop_last, len(record.history))
            validation_loader = make.validation(validation, validation_batch_size or batch_size)
            _run(trainer, module, train_loader, validation_loader, job.folder / LAST if resume else None)
        result = _finish(job.folder, epochs, record)
    module.load_state_dict(read_weights(result.best))
    reseed(job.seed, "finished", epochs)
    return result


def read_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The parameters in a checkpoint of `fit`, on the CPU, for `module.load_state_dict`."""
    content = _read_checkpoint(checkpoint)
    if content is None:
        raise AugrunError(f"checkpoint {checkpoint} is not there. Delete its folder and train again.")
    return content["state_dict"]


def reseed(seed: int, *key: object) -> int:
    """Seeds torch's (every device), numpy's and Python's global generators from `seed` and `key`; returns the seed."""
    mixed = derive_seed(seed, *key)
    torch.manual_seed(mixed)
    np.random.seed(mixed % 2**32)
    random.seed(mixed)
    return mixed


def derive_seed(seed: int, *key: object) -> int:
    """A seed below 2**63 that depends on all of `seed` and `key`, alike on every machine and run."""
    words = [zlib.crc32(repr(part).encode()) for part in key]
    entropy = np.random.SeedSequence([abs(seed), int(seed < 0), *words])
    return int(entropy.generate_state(1, np.uint64)[0]) >> 1


class EpochSampler(Sampler[int]):
    """Shuffled order as a function of (seed, epoch): slices of an endless stream of permutations."""

    def __init__(self, length: int, samples: int, seed: int, epoch: int = 0) -> None:
        self.length, self.samples, self.seed, self.epoch = length, samples, seed, epoch

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.samples

    def __iter__(self) -> Iterator[int]:
        start = self.epoch * self.samples
        stop = start + self.samples
        for turn in range(start // self.length, -(-stop // self.length)):
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", turn))
            order = torch.randperm(self.length, generator=generator).tolist()
            offset = turn * self.length
            yield from order[max(start - offset, 0) : stop - offset]


class _Record(Checkpoint):
    """Reseeds each epoch; afterwards appends to the history, saves, and reports. Runs last of all callbacks."""

    def __init__(
        self, job: Job, epochs: int, monitor: str | None, mode: str, train: Dataset, resume: dict[str, Any] | None
    ) -> None:
        self.job, self.monitor, self.sign, self.train = job, monitor, -1.0 if mode == "max" else 1.0, train
        self.history: list[dict[str, Any]] = []
        self.best_epoch = 0
        if resume:
            self.load_state_dict(resume["callbacks"][self.state_key])
        self.report = Report(job.title, epochs, shown=job.hardware.progress)
        self._begin()

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history, self.best_epoch = list(state_dict["history"]), state_dict["best_epoch"]

    def _begin(self) -> None:
        epoch = len(self.history)
        if hasattr(self.train, "set_epoch"):
            self.train.set_epoch(epoch)
        reseed(self.job.seed, "epoch", epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin()
        self.report.begin(len(self.history) + 1, trainer.num_training_batches)

    def on_train_batch_end(self, *_: Any) -> None:
        self.report.advance()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        values = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        entry: dict[str, Any] = {"epoch": len(self.history) + 1} | values
        self._check(entry)
        self.history.append(entry)
        better = self._better(entry)
        if better:
            self.best_epoch = entry["epoch"]
        if trainer.is_global_zero:
            self._save(trainer, better)
        self.report.end(entry)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.report.close()

    def _better(self, entry: dict[str, Any]) -> bool:
        if self.monitor is None or not self.best_epoch:
            return True
        return self.sign * entry[self.monitor] < self.sign * self.history[self.best_epoch - 1][self.monitor]

    def _check(self, entry: dict[str, Any]) -> None:
        if self.monitor is not None and self.monitor not in entry:
            raise ValueError(f"the module logs no {self.monitor!r}, only {sorted(entry)}")
        for name, value in entry.items():
            if not math.isfinite(value) and (name.endswith("loss") or name == self.monitor):
                raise AugrunError(
                    f"{self.job.title or 'training'}: {name} became {value} in epoch {entry['epoch']} "
                    f"({self.job.folder}).\nLower the learning rate, set trainer.precision=32-true, "
                    "and check the input for extreme values."
                )

    def _save(self, trainer: pl.Trainer, better: bool) -> None:
        """`best` before `last`: a kill in between repeats this epoch, and decides alike again."""
        folder = self.job.folder
        fresh = folder / f".{LAST}.new"
        trainer.save_checkpoint(fresh)
        if better:
            link = folder / f".{BEST}.new"
            link.unlink(missing_ok=True)
            try:
                os.link(fresh, link)
            except OSError:  # a file system without hard links
                shutil.copyfile(fresh, link)
            os.replace(link, folder / BEST)
        os.replace(fresh, folder / LAST)
        _write_json(folder / HISTORY, self.history)


class _DurableIO(TorchCheckpointIO):
    """Checkpoints that are on the disk when the call returns."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with open(path, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())


def _trainer(job: Job, epochs: int, record: _Record, clip: float | None, algorithm: str) -> pl.Trainer:
    hardware = job.hardware
    if hardware.devices != 1:
        raise RequestError(
            f"trainer.devices={hardware.devices}: training on several devices is not supported. Use trainer.devices=1."
        )
    try:
        return pl.Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            precision=hardware.precision,  # type: ignore[arg-type]
            max_epochs=epochs,
            gradient_clip_val=clip,
            gradient_clip_algorithm=algorithm if clip is not None else None,
            callbacks=[record],
            num_sanity_val_steps=0,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=job.folder,
            plugins=[_DurableIO()],
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise RequestError(
            f"trainer.accelerator={hardware.accelerator} trainer.precision={hardware.precision} "
            f"does not work here: {said}\nUse trainer=cpu or trainer=auto, and trainer.precision=32-true."
        ) from error


class _Loaders:
    """Loaders that draw from generators of their own, never from the global ones."""

    def __init__(self, job: Job, on_cpu: bool, collate: Callable[[list[Any]], Any] | None) -> None:
        self.job = job
        # Worker processes on the CPU would take the cores from the arithmetic.
        self.shared: dict[str, Any] = {"collate_fn": collate, "pin_memory": not on_cpu}
        self.shared["num_workers"] = 0 if on_cpu else job.hardware.workers

    def train(self, data: Dataset, batch_size: int, samples: int | None, drop_last: bool, epoch: int) -> DataLoader:
        length = len(data)  # type: ignore[arg-type]
        if not length:
            raise AugrunError(f"{self.job.title or 'training'}: the training set is empty.")
        samples = samples or length
        return DataLoader(
            data,
            batch_size=batch_size,
            sampler=EpochSampler(length, samples, self.job.seed, epoch),
            drop_last=drop_last and samples >= batch_size,
            generator=self._generator("train"),
            **self.shared,
        )

    def validation(self, data: Dataset | None, batch_size: int) -> DataLoader | None:
        if data is None or not len(data):  # type: ignore[arg-type]
            return None
        return DataLoader(data, batch_size=batch_size, generator=self._generator("validation"), **self.shared)

    def _generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.job.seed, "loader", name))


def _run(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    train: DataLoader,
    validation: DataLoader | None,
    resume: Path | None,
) -> None:
    """Lightning's fit, except that an interrupt stays one (Lightning exits with 1 or 0 instead)."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, train, validation, ckpt_path=resume, weights_only=True)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        if isinstance(error, SIGTERMException):
            raise SystemExit(128 + signal.SIGTERM) from None
        raise
    finally:
        module._trainer = None
        if signal.getsignal(signal.SIGINT) is not handler and handler is not None:
            signal.signal(signal.SIGINT, handler)


def _finished(folder: Path, epochs: int) -> FitResult | None:
    """The result that an earlier call left, if it trained this far."""
    try:
        marker = json.loads((folder / FINISHED).read_text())
        history = json.loads((folder / HISTORY).read_text())
    except FileNotFoundError:
        return None
    if marker["epochs"] != epochs:
        return None
    return FitResult(folder / BEST, folder / LAST, history, marker["best_epoch"])


def _finish(folder: Path, epochs: int, record: _Record) -> FitResult:
    _write_json(folder / HISTORY, record.history)
    _write_json(folder / FINISHED, {"epochs": epochs, "best_epoch": record.best_epoch})
    return FitResult(folder / BEST, folder / LAST, record.history, record.best_epoch)


def _write_json(path: Path, content: Any) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(json.dumps(content, indent=1))
    os.replace(fresh, path)


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler meets
        raise AugrunError(
            f"checkpoint {path} cannot be read ({type(error).__name__}). Delete its folder and train again."
        ) from error
