"""Sampling from a trained SampleRNN, one sample at a time, for many sounds at once.

What makes it fast: all sounds go in one batch; the embedding and the first convolution are folded into one table a
position, so that a product of Q · S by D becomes a sum of S rows; each tier's upsampling runs once a frame; matrices
are packed once for the processor's matrix kernels, and state lies in place; on a GPU a whole frame of the topmost
tier, some thousand kernels, is one CUDA graph. At paper size the arithmetic left is 6.8 MFLOP a sample.

Levels are drawn by inverting the cumulative distribution at a number from the sound's own generator. So a sound
depends on its prime, class and seed alone, up to rounding: where a number falls within rounding of a level's edge,
other companions in the batch may tip it, and the sounds part from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from augrun.generators.samplernn_model import FrameTier, SampleRNN

_DRAWN_FRAMES = 16  # of the topmost tier, for which numbers are drawn at once
_SMALL = 1 << 14  # numbers in a state, below which a second thread costs more than it gives


class Sampler:
    """Continues primes.

    Args:
        module: the network; it is put on `device`.
        temperature: divides the logits.
        top_k: draw among the so many likeliest levels; None takes all.
        device: where to compute, in float32.
        graphs: record a frame as a CUDA graph (GPUs only).
    """

    def __init__(
        self,
        module: SampleRNN,
        temperature: float = 1.0,
        top_k: int | None = None,
        device: torch.device | str = "cpu",
        graphs: bool = True,
    ) -> None:
        self.module = module.eval().float().to(device)
        self.temperature, self.top_k, self.device = temperature, top_k, torch.device(device)
        self.graphs = graphs and self.device.type == "cuda"
        self._steps: dict[int, _Stepper] = {}

    @torch.inference_mode()
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
        rows, context = len(primes), self.module.context
        frames = -(-samples // context)
        with _threads_for(rows * self.module.dim):
            step = self._stepper(rows)
            self._warm(step, primes, classes, advance)
            made = torch.empty(rows, frames * context, dtype=torch.int16, device=self.device)
            for frame, uniforms in enumerate(self._uniforms(seeds, frames)):
                made[:, frame * context : (frame + 1) * context] = step.sample(uniforms)
                advance(context)
        return made[:, :samples].cpu().numpy()

    def _stepper(self, rows: int) -> _Stepper:
        if rows not in self._steps:
            self._steps = {rows: _Stepper(self.module, rows, self.temperature, self.top_k, self.graphs)}
        return self._steps[rows]

    def _uniforms(self, seeds: Sequence[int], frames: int) -> Iterator[Tensor]:
        """(B, C) numbers in [0, 1) a frame, each row from a generator of its own."""
        context = self.module.context
        generators = [np.random.default_rng(seed) for seed in seeds]
        for first in range(0, frames, _DRAWN_FRAMES):
            drawn = np.stack([g.random(_DRAWN_FRAMES * context, np.float32) for g in generators])
            block = torch.from_numpy(drawn).to(self.device).unflatten(1, (_DRAWN_FRAMES, context))
            yield from block.unbind(1)[: frames - first]

    def _warm(
        self, step: _Stepper, primes: Sequence[np.ndarray], classes: np.ndarray, advance: Callable[[int], Any]
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


class _Stepper:
    """The network unrolled to single steps, for a fixed number of rows."""

    def __init__(self, module: SampleRNN, rows: int, temperature: float, top_k: int | None, graphs: bool) -> None:
        self.temperature, self.top_k, self.levels = temperature, top_k, module.levels
        self.context, self.sizes = module.context, module.frame_sizes
        self.silence, self.scale = module.silence, 4.0 / module.levels
        self.tiers = [_Tier(cast(FrameTier, tier), rows) for tier in module.tiers]
        perceptron, size = module.perceptron, self.sizes[0]
        self.table = perceptron.table().detach().contiguous()
        device = self.table.device
        self.positions = torch.arange(size, device=device) * self.levels
        self.hidden = _product(perceptron.hidden.weight, perceptron.hidden.bias, rows, relu=True)
        self.out = _product(perceptron.out.weight, perceptron.out.bias, rows)
        self.recent = torch.full((rows, 2 * self.context), self.silence, device=device)
        self.uniforms = torch.zeros(rows, self.context, device=device)
        self.places = torch.zeros(rows, size, dtype=torch.long, device=device)
        self.graphs = [self._record(way) for way in (self._sampled, self._heard)] if graphs else None

    def begin(self, classes: Tensor) -> None:
        """Sets the classes (B, K)."""
        for tier in self.tiers:
            tier.begin(classes)

    def restart(self, rows: Tensor) -> None:
        """Puts some rows, whole numbers (R,), back to the learned state after silence."""
        self.recent[rows] = self.silence
        for tier in self.tiers:
            tier.state[:, rows] = tier.start[:, None]

    def hear(self, codes: Tensor) -> None:
        """Takes the next C samples of every row, (B, C), as given."""
        self.recent[:, self.context :] = codes
        if self.graphs is None:
            self._heard()
        else:
            self.graphs[1].replay()

    def sample(self, uniforms: Tensor) -> Tensor:
        """The next C samples of every row, (B, C), from as many numbers in [0, 1)."""
        self.uniforms.copy_(uniforms)
        if self.graphs is None:
            self._sampled()
        else:
            self.graphs[0].replay()
        return self.recent[:, : self.context]

    def _sampled(self) -> None:
        self._tier(len(self.tiers) - 1, self.context, None, self._sample)
        self.recent[:, : self.context].copy_(self.recent[:, self.context :])

    def _heard(self) -> None:
        self._tier(len(self.tiers) - 1, self.context, None, None)
        self.recent[:, : self.context].copy_(self.recent[:, self.context :])

    def _tier(self, level: int, at: int, above: Tensor | None, each: Callable[[int, Tensor], None] | None) -> None:
        """One frame of a tier, and all that hangs on it, from sample `at` of `recent` on; `each` makes a sample."""
        size, below = self.sizes[level], self.sizes[level - 1] if level else 1
        frame = self.recent[:, at - size : at].float().sub_(self.silence).mul_(self.scale)
        hidden = self.tiers[level].recur(frame, above)
        if level == 0 and each is None:
            return
        for step, condition in enumerate(self.tiers[level].spread(hidden).unbind(1)):
            if level:
                self._tier(level - 1, at + step * below, condition, each)
            elif each is not None:
                each(at + step, condition)

    def _sample(self, at: int, condition: Tensor) -> None:
        torch.add(self.recent[:, at - self.sizes[0] : at], self.positions, out=self.places)
        x = functional.embedding_bag(self.places, self.table, mode="sum")
        logits = self.out(self.hidden(x.add_(condition).relu_()))
        uniforms = self.uniforms[:, at - self.context, None]
        self.recent[:, at] = draw(logits, uniforms, self.temperature, self.top_k)

    def _record(self, frame: Callable[[], None]) -> Any:
        """A frame as a CUDA graph. What it leaves in the buffers, `restart` puts away."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):  # libraries set themselves up at the first calls, which no graph may record
                frame()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            frame()
        return graph


class _Tier:
    """One tier's step: GRU layers with their state in place, upsampling."""

    def __init__(self, tier: FrameTier, rows: int) -> None:
        self.ratio, recurrent = tier.ratio, tier.recurrent
        self.label = tier.label
        self.expand = _product(tier.expand.weight, tier.expand.bias, rows)
        self.upsample = _product(tier.upsample.weight, tier.upsample.bias, rows)
        self.layers = [
            [
                _product(getattr(recurrent, f"weight_{way}_l{layer}"), getattr(recurrent, f"bias_{way}_l{layer}"), rows)
                for way in ("ih", "hh")
            ]
            for layer in range(recurrent.num_layers)
        ]
        dim = recurrent.hidden_size
        self.start = tier.start.detach()
        self.state = self.start[:, None].repeat(1, rows, 1)
        self.of_class = torch.zeros(rows, dim, device=tier.start.device)

    def begin(self, classes: Tensor) -> None:
        """Sets what the classes (B, K) add to every frame."""
        if self.label is not None:
            self.of_class.copy_(self.label(classes))

    def recur(self, frame: Tensor, above: Tensor | None) -> Tensor:
        """(B, S) samples and (B, D) from above to (B, D)."""
        x = self.expand(frame).add_(self.of_class)
        if above is not None:
            x.add_(above)
        for (inward, recurrent), state in zip(self.layers, self.state.unbind(0), strict=True):
            given, kept = inward(x).chunk(3, 1), recurrent(state).chunk(3, 1)
            reset, update = given[0].add_(kept[0]).sigmoid_(), given[1].add_(kept[1]).sigmoid_()
            candidate = given[2].addcmul_(reset, kept[2]).tanh_()
            torch.lerp(candidate, state, update, out=state)
            x = state
        return x

    def spread(self, hidden: Tensor) -> Tensor:
        """(B, D) to (B, ratio, D)."""
        return cast(Tensor, self.upsample(hidden).unflatten(1, (self.ratio, -1)))


def draw(logits: Tensor, uniforms: Tensor, temperature: float = 1.0, top_k: int | None = None) -> Tensor:
    """One level a row: the first at which the cumulative distribution passes the row's number.

    Args:
        logits: (B, Q).
        uniforms: (B, 1) in [0, 1).
        temperature: divides the logits.
        top_k: keep the so many likeliest levels, and any as likely as the last of them.

    Returns:
        (B,) whole numbers.
    """
    if temperature != 1.0:
        logits = logits / temperature
    if top_k is not None and top_k < logits.shape[1]:
        least = logits.topk(top_k, 1).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    rising = logits.softmax(1).cumsum(1)
    return (rising <= uniforms * rising[:, -1:]).sum(1).clamp_(max=logits.shape[1] - 1)


def _product(weight: Tensor, bias: Tensor, rows: int, relu: bool = False) -> Callable[[Tensor], Tensor]:
    """`x weight' + bias` for x of so many rows; on a processor the weights are packed once where torch can.

    At 64 rows, packing anew in every call, as `torch.nn.functional.linear` does, costs two fifths to two thirds of the
    speed. Products that are too small to gain keep to it.
    """
    weight, bias = weight.detach().contiguous(), bias.detach()
    packs = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
    if weight.device.type == "cpu" and packs is not None and weight.numel() >= 1 << 16:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
        after = "relu" if relu else "none"
        return lambda x: packs(x, packed, bias, after, [], "")
    if relu:
        return lambda x: functional.linear(x, weight, bias).relu_()
    return lambda x: functional.linear(x, weight, bias)


@contextmanager
def _threads_for(size: int) -> Iterator[None]:
    """Keeps small networks on one thread: where other work competes for the cores, each step waits for the second."""
    threads = torch.get_num_threads()
    if size >= _SMALL or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def rows_by_memory(module: SampleRNN, samples: int, device: torch.device | str) -> int:
    """How many sounds of so many samples fit into half of the device's memory; on a processor at most 128.

    More gain nothing there, and a killed generation would lose more.
    """
    dim = module.dim
    conditions = sum(cast(FrameTier, tier).ratio for tier in module.tiers)
    per_row = 4 * dim * (2 * conditions + 32 * len(module.tiers)) + 8 * samples
    if torch.device(device).type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        return max(1, memory // 2 // per_row)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(min(128, max(1, memory // 2 // per_row)))
