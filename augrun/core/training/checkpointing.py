"""What a training writes down and says while it goes on: curves, checkpoints, an epoch's line."""

from __future__ import annotations

import math
import os
import random
import shutil
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch.utils.data import Dataset

from augrun.core.errors import AugrunError
from augrun.core.files import atomic_path, write_json
from augrun.core.job import Job
from augrun.core.seeding import derive_seed
from augrun.core.training.batching import Parted, Share
from augrun.core.training.progress import Report

LAST, BEST, HISTORY = "last.ckpt", "best.ckpt", "history.json"


def reseed(seed: int, *key: object) -> int:
    """Seeds torch's (every device), numpy's and Python's global generators from `seed` and `key`; returns the seed."""
    mixed = derive_seed(seed, *key)
    torch.manual_seed(mixed)
    np.random.seed(mixed % 2**32)
    random.seed(mixed)
    return mixed


class Record(Checkpoint):
    """Reseeds each epoch; afterwards appends to the history, saves, and reports. Runs last of all callbacks."""

    def __init__(
        self,
        job: Job,
        epochs: int,
        monitor: str | None,
        mode: str,
        train: Dataset,
        resume: dict[str, Any] | None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.job, self.monitor, self.sign, self.train = job, monitor, -1.0 if mode == "max" else 1.0, train
        self.rank, self.ranks = rank, ranks
        self.share, self.weight, self.in_step = Share(), 1.0, False
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
        reseed(self.job.seed, "epoch", epoch, *(("rank", self.rank) if self.rank and not self.in_step else ()))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.in_step = bool(getattr(pl_module, "in_step", False))
        self._begin()
        self.report.begin(len(self.history) + 1, trainer.num_training_batches)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        parted = getattr(trainer.train_dataloader, "batch_sampler", None)
        assert isinstance(parted, Parted)
        self.share = parted.share(batch_idx)
        self.weight = parted.ranks if getattr(pl_module, "of_all", False) else self.share.weight
        if isinstance(getattr(pl_module, "share", None), Share):
            pl_module.share = self.share  # type: ignore[assignment]

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: torch.Tensor) -> None:
        # Lightning takes the mean over pieces, and torch that over ranks; unequal shares weigh what they hold.
        if (weight := self.weight) != 1.0:
            loss.register_hook(lambda gradient: gradient * weight)

    def log(self, module: pl.LightningModule, name: str, value: Any, **how: Any) -> None:
        """The module's `log` where batches are parted: epochs' means are over all ranks, and over what counts."""
        if "batch_size" in how:
            # Lightning takes the mean of the ranks' numbers of examples, in whole numbers.
            how["batch_size"] *= 0 if self.share.fills else self.ranks
        type(module).log(module, name, value, **how, sync_dist=True)

    def on_train_batch_end(self, *_: Any) -> None:
        self.share = Share()
        self.report.advance()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        values = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        entry: dict[str, Any] = {"epoch": len(self.history) + 1} | values
        self._check(entry)
        self.history.append(entry)
        better = self._better(entry)
        if better:
            self.best_epoch = entry["epoch"]
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
        if self.rank:
            trainer.save_checkpoint(folder / LAST)  # all ranks have to call it, the first one writes
            return
        with atomic_path(folder / LAST) as fresh:
            trainer.save_checkpoint(fresh)
            if better:
                with atomic_path(folder / BEST) as link:
                    try:
                        os.link(fresh, link)
                    except OSError:  # a file system without hard links
                        shutil.copyfile(fresh, link)
        write_json(folder / HISTORY, self.history)


class DurableIO(TorchCheckpointIO):
    """Checkpoints that are on the disk when the call returns."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with open(path, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
