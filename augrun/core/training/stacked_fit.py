"""How stacked networks are trained: Lightning's Trainer around pieces of many steps, each replica for its passes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytorch_lightning as pl
import torch

from augrun.core.job import Job
from augrun.core.training.fit import fit, read_weights
from augrun.core.training.stacked import CHUNK, Batches, Chunks, Draws


class Stacked(pl.LightningModule):
    """R networks (or sets of them), the steps that each still has to take, and its curves.

    A subclass makes its networks, keeps its data as buffers, and says in `one` what a step is.

    Args:
        sizes: examples of each replica.
        batch_size: of a full batch.
        epochs: passes of each over its examples.
        seeds: of each.
        curves: what `one` returns of each step.
    """

    taken: torch.Tensor

    def __init__(
        self, sizes: Sequence[int], batch_size: int, epochs: int, seeds: Sequence[int], curves: Sequence[str]
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.batches, self.epochs, self.seeds, self.curves = Batches(sizes, batch_size, seeds), epochs, seeds, curves
        self.steps = epochs * max(self.batches.steps)  # of the longest
        for curve in curves:
            self.register_buffer(f"sum_{curve}", torch.zeros(len(sizes), epochs))
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))
        self.draws: Draws | None = None

    def begin(self, first: int, count: int) -> None:
        """Called before the steps of each piece, from `first` on."""

    def one(
        self, places: torch.Tensor, there: torch.Tensor, draws: Draws, turns: Sequence[int | None]
    ) -> Mapping[str, torch.Tensor]:
        """One step of all replicas.

        Args:
            places: the examples of each batch, among the replica's own, int64, shape (R, B).
            there: 1 for those that are there, 0 for what fills a smaller batch up, shape (R, B).
            draws: random numbers.
            turns: the pass that each replica is in, from 0 on; None for one that has done all of its own.

        Returns:
            By curve: the sum over each replica's examples, shape (R,).
        """
        raise NotImplementedError

    def training_step(self, batch: torch.Tensor, index: int) -> None:
        first = int(self.taken)
        count = min(CHUNK, self.steps - first)
        if count <= 0:  # the last of Lightning's epochs may have more pieces than there are steps left
            return
        if self.draws is None or self.draws.device != self.device:
            self.draws = Draws(self.seeds, self.device)
        self.draws.begin("steps", first)
        self.begin(first, count)
        turns = np.arange(first, first + count)[:, None] // np.array(self.batches.steps)
        active = turns < self.epochs
        places, there = (part.to(self.device) for part in self.batches.draw(first, count))
        kept = torch.from_numpy(active).to(self.device)
        at = torch.from_numpy(np.minimum(turns, self.epochs - 1)).to(self.device)[:, :, None]
        for step in range(count):
            own = [int(turn) if going else None for turn, going in zip(turns[step], active[step], strict=True)]
            sums = self.one(places[step], there[step], self.draws, own)
            with torch.no_grad():
                for curve, values in sums.items():
                    getattr(self, f"sum_{curve}").scatter_add_(1, at[step], (values * kept[step])[:, None])
        self.taken += count

    def on_train_epoch_end(self) -> None:
        """Logs the mean over the replicas of each one's last whole pass."""
        done = [min(int(self.taken) // steps, self.epochs) for steps in self.batches.steps]
        for curve in self.curves:
            sums = getattr(self, f"sum_{curve}")
            last = [
                float(sums[number, turn - 1]) / size
                for number, (turn, size) in enumerate(zip(done, self.batches.sizes, strict=True))
                if turn
            ]
            if last:
                self.log(f"train/{curve}", float(np.mean(last)))

    def configure_optimizers(self) -> None:
        """None: `augrun.core.training.stacked.Adam` is stepped by hand."""


def train(module: Stacked, job: Job) -> dict[str, torch.Tensor]:
    """Trains all replicas to their ends.

    Args:
        module: the replicas.
        job: where the checkpoints lie, and on what; called again after a kill it goes on from the last of them.

    Returns:
        The module's state at the end, on the CPU.
    """
    chunks = Chunks(module.steps)
    alone = replace(job, hardware=job.hardware.alone)
    result = fit(module, chunks, None, alone, epochs=chunks.epochs, batch_size=1)
    return read_weights(result.best)


def history(module: Stacked, state: Mapping[str, torch.Tensor], number: int) -> list[dict[str, float]]:
    """One replica's curves, an entry a pass: `epoch`, from 1 on, and `train/<curve>`, the mean over its examples."""
    size = module.batches.sizes[number]
    curves = {curve: (state[f"sum_{curve}"][number] / size).tolist() for curve in module.curves}
    return [
        {"epoch": turn + 1, **{f"train/{curve}": values[turn] for curve, values in curves.items()}}
        for turn in range(module.epochs)
    ]


def joined(parts: Sequence[np.ndarray]) -> torch.Tensor:
    """Rows of all parts, one after the other, float32."""
    return filled(sum(map(len, parts)), parts)


def filled(count: int, parts: Iterable[np.ndarray]) -> torch.Tensor:
    """The same of parts that are made as they are asked for, so that none lies in memory twice.

    Args:
        count: rows of all parts.
        parts: float32, shape (rows, bands).
    """
    rows: np.ndarray | None = None
    at = 0
    for part in parts:
        rows = np.empty((count, *part.shape[1:]), dtype=np.float32) if rows is None else rows
        rows[at : at + len(part)] = part
        at += len(part)
    assert rows is not None and at == count
    return torch.from_numpy(rows)


def distinct(parts: Sequence[object]) -> tuple[list[int], list[int]]:
    """The places of the first of each object, and for every one its place among those: what is shared is kept once."""
    known: dict[int, int] = {}
    firsts: list[int] = []
    for place, part in enumerate(parts):
        if id(part) not in known:
            known[id(part)] = len(firsts)
            firsts.append(place)
    return firsts, [known[id(part)] for part in parts]
