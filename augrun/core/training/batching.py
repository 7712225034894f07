"""Which examples are in a batch, and which of them a process computes.

Several devices, and the pieces that one device takes one after the other to save memory, share a batch: an optimiser's
step sees the examples that it would see alone, each once. Parts of unequal size weigh as many examples as they have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Job
from augrun.core.seeding import derive_seed


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


@dataclass(frozen=True)
class Share:
    """What of a batch is computed here at once.

    Attributes:
        start: the first of its examples, counted in the batch.
        stop: one past the last.
        total: examples of the batch; 0 stands for whatever there is, all of it here.
        parts: in how many parts the batch is computed.
        fills: whether the share is empty, and an example stands in that must not count.
    """

    start: int = 0
    stop: int = 0
    total: int = 0
    parts: int = 1
    fills: bool = False

    @property
    def weight(self) -> float:
        """What its mean counts for in the mean over all parts; 1 where all are of one size."""
        if self.fills:
            return 0.0
        return self.parts * (self.stop - self.start) / self.total if self.total else 1.0

    def of(self, draw: Callable[[int], Tensor], count: int) -> Tensor:
        """Random numbers for the examples here, those that they would get were the batch computed in one piece.

        Args:
            draw: makes them for so many examples, along the first dimension.
            count: examples that are here.
        """
        return draw(self.total)[self.start : self.stop] if self.total else draw(count)


def pieces_of(count: int, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Tensors of one length cut along their first dimension into so many pieces, or into as many as there are rows."""
    size = -(-len(tensors[0]) // count)
    return list(zip(*(tensor.split(size) for tensor in tensors), strict=True))


class Parted(Sampler[list[int]]):
    """Batches of an order of examples, of which this rank takes its own part, in so many pieces.

    Args:
        sampler: the order; Lightning sets its epoch.
        size: examples of a full batch.
        drop_last: leave a smaller last batch out.
        rank: this process's number among the ranks.
        ranks: processes that share each batch.
        pieces: that each takes its part in.
    """

    def __init__(self, sampler: EpochSampler, size: int, drop_last: bool, rank: int, ranks: int, pieces: int) -> None:
        self.sampler, self.size, self.rank, self.ranks, self.pieces = sampler, size, rank, ranks, pieces
        full, rest = divmod(len(sampler), size)
        self.sizes = [size] * full + ([rest] if rest and not drop_last else [])

    def __len__(self) -> int:
        return len(self.sizes) * self.pieces

    def share(self, place: int) -> Share:
        """Which part of its batch the so-manieth piece is."""
        total, parts = self.sizes[place // self.pieces], self.ranks * self.pieces
        part = self.rank * self.pieces + place % self.pieces
        start, stop = part * total // parts, (part + 1) * total // parts
        return Share(start, stop, total, parts) if stop > start else Share(0, 1, total, parts, fills=True)

    def __iter__(self) -> Iterator[list[int]]:
        order = iter(self.sampler)
        for number, size in enumerate(self.sizes):
            batch = [next(order) for _ in range(size)]
            for piece in range(self.pieces):
                share = self.share(number * self.pieces + piece)
                yield batch[share.start : share.stop]


class Loaders:
    """Loaders that draw from generators of their own, never from the global ones.

    Args:
        job: its seed and hardware.
        on_cpu: whether the arithmetic is done by the processor.
        collate: makes a batch of a list of examples; None takes torch's own.
        rank: this process's number.
        ranks: processes that share the work.
    """

    def __init__(
        self, job: Job, on_cpu: bool, collate: Callable[[list[Any]], Any] | None, rank: int = 0, ranks: int = 1
    ) -> None:
        self.job, self.rank, self.ranks = job, rank, ranks
        # Worker processes on the CPU would take the cores from the arithmetic.
        self.shared: dict[str, Any] = {"collate_fn": collate, "pin_memory": not on_cpu}
        self.shared["num_workers"] = 0 if on_cpu else job.hardware.workers

    def train(
        self, data: Dataset, batch_size: int, samples: int | None, drop_last: bool, epoch: int, pieces: int
    ) -> DataLoader:
        """Batches of the training set, in the order of the epoch.

        Raises:
            AugrunError: the set is empty.
            RequestError: a batch has fewer examples than it is to be parted into.
        """
        length = len(data)  # type: ignore[arg-type]
        if not length:
            raise AugrunError(f"{self.job.title or 'training'}: the training set is empty.")
        samples = samples or length
        if batch_size < self.ranks * pieces:
            raise RequestError(
                f"{self.job.title or 'training'}: a batch of {batch_size} cannot be parted among "
                f"trainer.devices={self.ranks} in trainer.accumulate={pieces} each; use fewer of them"
            )
        drop_last = drop_last and samples >= batch_size
        sampler = EpochSampler(length, samples, self.job.seed, epoch)
        parted = Parted(sampler, batch_size, drop_last, self.rank, self.ranks, pieces)
        return DataLoader(data, batch_sampler=parted, generator=self._generator("train"), **self.shared)

    def validation(self, data: Dataset | None, batch_size: int) -> DataLoader | None:
        """Each example once, parted among the ranks; all on every rank where there are fewer examples than ranks."""
        if data is None or not len(data):  # type: ignore[arg-type]
            return None
        length = len(data)  # type: ignore[arg-type]
        if 1 < self.ranks <= length:
            data = Subset(data, range(self.rank * length // self.ranks, (self.rank + 1) * length // self.ranks))
        return DataLoader(data, batch_size=batch_size, generator=self._generator("validation"), **self.shared)

    def _generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.job.seed, "loader", name))
