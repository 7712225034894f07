"""Sampling from a trained SampleRNN, one sample at a time, for many sounds at once.

What makes it fast: all sounds go in one batch, through the unrolled steps of `steps`. On a processor the
batch is split among threads which do all of its steps alone, as a step is too short to be worth splitting: threads
that share each product meet ten thousand times a second. On a GPU, frames are CUDA graphs, and the numbers to draw with
are made while it computes.

Levels are drawn by inverting the cumulative distribution at a number from the sound's own generator. So a sound
depends on its prime, class and seed alone, up to rounding: where a number falls within rounding of a level's edge,
other companions in the batch may tip it, and the sounds part from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from threading import Event
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from augrun.core.runtime import progress_hooks
from augrun.generators.samplernn.model import FrameTier, SampleRNN
from augrun.generators.samplernn.steps import Form, Stepper, Weights

_DRAWN_FRAMES = 16  # of the topmost tier, for which numbers are drawn at once
_SMALL = 1 << 14  # numbers in a state, below which a second thread costs more than it gives
_PART = 16  # rows, the fewest that are worth threads of their own
_MOST_PARTS = 4  # their Python code runs one at a time
_ON_PROCESSOR, _ON_GPU = 128, 1440  # rows at most; see `rows_by_memory`


class Sampler:
    """Continues primes.

    Args:
        module: the network; it is put on `device`.
        temperature: divides the logits.
        top_k: draw among the so many likeliest levels; None takes all.
        device: where to compute.
        graphs: record a frame as a CUDA graph (GPUs only).
        precision: `bfloat16` for the weights and what lies between layers; the recurrent state, its gates, the last
            layer and the distribution are float32 anyway. `float32` is that, whatever torch has been told to allow.
    """

    def __init__(
        self,
        module: SampleRNN,
        temperature: float = 1.0,
        top_k: int | None = None,
        device: torch.device | str = "cpu",
        graphs: bool = True,
        precision: str = "float32",
    ) -> None:
        self.module = module.eval().float().to(device)
        self.temperature, self.top_k, self.device = temperature, top_k, torch.device(device)
        self.graphs = graphs and self.device.type == "cuda"
        self.kind = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
        self._steps: dict[tuple[int, ...], list[Stepper]] = {}

    def __call__(
        self,
        primes: Sequence[np.ndarray],
        classes: np.ndarray,
        seeds: Sequence[int],
        samples: int,
        advance: Callable[[int], Any] = lambda _: None,
    ) -> np.ndarray:
        """Samples what follows each prime.

        Args:
            primes: codes of each prime, of any length; an empty one starts from the learned state.
            classes: (B, K) float32.
            seeds: one a prime.
            samples: how many to make of each.
            advance: told, now and then, how many samples of each were made or heard.

        Returns:
            Codes (B, samples), int16.
        """
        parts, threads = split(len(primes), self.module.dim, self.device)
        longest = max(range(len(primes)), key=lambda row: len(primes[row]))
        stop = Event()

        def make(rows: slice, step: Stepper) -> np.ndarray:
            tells = rows.start <= longest < rows.stop  # one part speaks for all: they make as much, and it hears most

            def goes_on(count: int) -> None:
                if stop.is_set():
                    raise InterruptedError
                progress_hooks.stepped("pass")
                if tells:
                    advance(count)

            return self._part(step, primes[rows], classes[rows], seeds[rows], samples, goes_on)

        on_gpu = torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()
        with _exactly(), _threads(threads), on_gpu:
            steppers = self._steppers([rows.stop - rows.start for rows in parts])
            if len(parts) == 1:
                return make(parts[0], steppers[0])
            with ThreadPoolExecutor(len(parts), "samplernn", torch.set_num_threads, (threads,)) as pool:
                made = [pool.submit(make, *each) for each in zip(parts, steppers, strict=True)]
                try:
                    for part in wait(made, return_when=FIRST_EXCEPTION).done:
                        part.result()
                finally:
                    stop.set()  # where one fails, or a person interrupts, none goes on to the end of the batch
            return np.concatenate([part.result() for part in made])

    @torch.inference_mode()
    def _steppers(self, rows: Sequence[int]) -> list[Stepper]:
        """For parts of so many rows, kept as long as these stay the same."""
        key = tuple(rows)
        if key not in self._steps:
            self._steps.clear()  # first: a GPU need not hold both
            weights = Weights(self.module, Form(self.device, max(rows), self.kind))
            made = [Stepper(weights, count, self.temperature, self.top_k, self.graphs) for count in rows]
            self._steps[key] = made
        return self._steps[key]

    @torch.inference_mode()
    def _part(
        self,
        step: Stepper,
        primes: Sequence[np.ndarray],
        classes: np.ndarray,
        seeds: Sequence[int],
        samples: int,
        advance: Callable[[int], Any],
    ) -> np.ndarray:
        rows, context = len(primes), self.module.context
        frames = -(-samples // context)
        self._warm(step, primes, classes, advance)
        made = torch.empty(rows, frames * context, dtype=torch.int16, device=self.device)
        for frame, uniforms in enumerate(self._uniforms(seeds, frames)):
            made[:, frame * context : (frame + 1) * context] = step.sample(uniforms)
            advance(context)
        return made[:, :samples].cpu().numpy()

    def _uniforms(self, seeds: Sequence[int], frames: int) -> Iterator[Tensor]:
        """(B, C) numbers in [0, 1) a frame, each row from a generator of its own.

        On a GPU they are drawn while it works at the block before, which it has been given whole.
        """
        context, ahead = self.module.context, None
        generators = [np.random.default_rng(seed) for seed in seeds]
        for first in range(0, frames, _DRAWN_FRAMES):
            drawn = np.stack([g.random(_DRAWN_FRAMES * context, np.float32) for g in generators])
            block = torch.from_numpy(drawn)
            if self.device.type == "cuda":
                block = block.pin_memory().to(self.device, non_blocking=True)
                if ahead is not None:
                    ahead.synchronize()  # no more than two blocks wait, so that progress and memory stay near
                ahead = torch.cuda.Event()
                ahead.record()
            yield from block.unflatten(1, (_DRAWN_FRAMES, context)).unbind(1)[: frames - first]

    def _warm(
        self, step: Stepper, primes: Sequence[np.ndarray], classes: np.ndarray, advance: Callable[[int], Any]
    ) -> None:
        """Runs every tier over the primes, which end together. A prime is preceded by silence up to whole frames."""
        context = self.module.context
        frames = np.array([-(-len(prime) // context) for prime in primes])
        longest = int(frames.max())
        codes = np.full((len(primes), longest * context), self.module.silence, np.int16)
        for row, prime in enumerate(primes):
            codes[row, codes.shape[1] - len(prime) :] = prime
        heard = torch.from_numpy(codes).to(self.device)
        step.begin(torch.from_numpy(np.ascontiguousarray(classes, np.float32)).to(self.device))
        for frame in range(longest + 1):
            beginning = np.flatnonzero(frames == longest - frame)
            if len(beginning):
                step.restart(torch.from_numpy(beginning).to(self.device))
            if frame < longest:
                step.hear(heard[:, frame * context : (frame + 1) * context])
                advance(context)


def split(rows: int, dim: int, device: torch.device) -> tuple[list[slice], int]:
    """The parts of a batch that have a thread of their own, as even as can be, and how many threads each has within.

    Small networks keep to one thread: where other work competes for the cores, each step waits for the second.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        return [slice(0, rows)], threads
    if rows * dim < _SMALL:
        return [slice(0, rows)], 1
    count = max(1, min(threads, rows // _PART, rows * dim // _SMALL, _MOST_PARTS))
    edges = [rows * part // count for part in range(count + 1)]
    return [slice(*pair) for pair in pairwise(edges)], threads // count


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads within."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _exactly() -> Iterator[None]:
    """Products of float32 are products of float32, and sums of bfloat16's are float32, whatever is allowed outside."""
    on_gpu, on_processor = torch.backends.cuda.matmul, cast(Any, torch.backends.mkldnn).matmul
    places: list[tuple[Any, str, Any]] = [
        (on_gpu, "fp32_precision", "ieee"),
        (on_processor, "fp32_precision", "ieee"),
        (on_gpu, "allow_bf16_reduced_precision_reduction", False),
    ]
    before = [getattr(place, name) for place, name, _ in places]
    try:
        for place, name, value in places:
            setattr(place, name, value)
        yield
    finally:
        for (place, name, _), value in zip(places, before, strict=True):
            setattr(place, name, value)


def rows_by_memory(module: SampleRNN, samples: int, device: torch.device | str) -> int:
    """How many sounds of so many samples fit into half of the device's memory; on a processor at most 128.

    More gain nothing there, and a killed generation would lose more. On a GPU at most 1,440, which makes two batches of
    the published 2,880.
    """
    dim = module.dim
    conditions = sum(cast(FrameTier, tier).ratio for tier in module.tiers)
    per_row = 4 * dim * (2 * conditions + 32 * len(module.tiers)) + 8 * samples
    if torch.device(device).type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        return int(min(_ON_GPU, max(1, memory // 2 // per_row)))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(min(_ON_PROCESSOR, max(1, memory // 2 // per_row)))
