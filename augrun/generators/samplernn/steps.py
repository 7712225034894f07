"""SampleRNN unrolled to single steps for a fixed number of sounds: what sampling runs a million times.

The embedding and the first convolution are folded into one table a position, so that a product of Q · S by D becomes a
sum of S rows; each tier's upsampling runs once a frame; what is computed lies in place; on a GPU a whole frame of the
topmost tier, some thousand kernels, is one CUDA graph. At paper size the arithmetic left is 6.8 MFLOP a sample.

Shapes as in `model`: B sounds (rows), C context samples, D units, K classes, Q levels, S samples in a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from augrun.generators.samplernn.model import FrameTier, SampleRNN

Product = Callable[[Tensor], Tensor]

_FEW = 16  # rows, below which the products on a processor take packed weights
_WORTH_PACKING = 1 << 16  # numbers in a weight


@dataclass(frozen=True)
class Form:
    """How numbers lie, and in which type products take them. Everything is (rows, columns) to whoever computes.

    On a processor in float32, columns lie whole: a matrix product then runs along the rows of the batch and takes the
    weights as they are. With AVX-512 and 16 or 32 rows a core, that is up to half as fast again as packed weights.
    Elsewhere rows lie whole.

    Attributes:
        device: where.
        rows: B, the most of any stepper.
        kind: of weights and of what lies between layers. State, gates and the last layer are float32 always.
    """

    device: torch.device
    rows: int
    kind: torch.dtype = torch.float32

    @property
    def columns(self) -> bool:
        """Whether columns lie whole."""
        return self.device.type == "cpu" and self.kind == torch.float32 and self.rows >= _FEW

    @property
    def packed(self) -> bool:
        """Whether weights are packed for the processor's matrix kernels; `torch.nn.functional.linear` would do that in
        every call."""
        return self.device.type == "cpu" and not self.columns and packs(self.kind)

    def zeros(self, rows: int, columns: int, kind: torch.dtype | None = None) -> Tensor:
        """A place for results."""
        shape = (columns, rows) if self.columns else (rows, columns)
        made = torch.zeros(shape, dtype=kind or self.kind, device=self.device)
        return made.t() if self.columns else made


def packs(kind: torch.dtype) -> bool:
    """Whether this processor and this torch have products with packed weights of a type."""
    kernels = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or not hasattr(kernels, "_linear_pointwise"):
        return False
    return kind == torch.float32 or bool(kernels._is_mkldnn_bf16_supported())


class Layer:
    """`x weight' + bias`, the weights laid out once for any number of steppers."""

    def __init__(self, weight: Tensor, bias: Tensor, form: Form) -> None:
        self.form, self.packed = form, form.packed and weight.numel() >= _WORTH_PACKING
        self.weight, self.bias = weight.detach().to(form.kind).contiguous(), bias.detach().to(form.kind)
        if self.packed:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, form.rows)

    def product(self, rows: int, relu: bool = False) -> Product:
        """What computes it for so many rows. A result is overwritten by the next."""
        weight, bias = self.weight, self.bias
        if self.packed:
            linear, after = torch.ops.mkldnn._linear_pointwise, "relu" if relu else "none"
            return lambda x: cast(Tensor, linear(x, weight, bias, after, [], ""))
        turned, out = weight.t(), self.form.zeros(rows, len(bias))
        if relu:  # within the product where a library can
            return lambda x: torch._addmm_activation(bias, x, turned, out=out)
        return lambda x: torch.addmm(bias, x, turned, out=out)


class Weights:
    """The network's weights as the steppers take them: normalised, folded, laid out and cast once."""

    def __init__(self, module: SampleRNN, form: Form) -> None:
        perceptron = module.perceptron
        self.module, self.form = module, form
        self.table = perceptron.table().detach().to(form.kind).contiguous()
        self.hidden = Layer(perceptron.hidden.weight, perceptron.hidden.bias, form)
        # The last layer's rows lie whole, as the distribution runs along them; so do its weights.
        self.out, self.out_bias = perceptron.out.weight.detach().t().contiguous(), perceptron.out.bias.detach()
        self.tiers = [TierWeights(cast(FrameTier, tier), form) for tier in module.tiers]


class TierWeights:
    """Those of a tier."""

    def __init__(self, tier: FrameTier, form: Form) -> None:
        self.ratio, self.label, self.start = tier.ratio, tier.label, tier.start.detach()
        self.expand = Layer(tier.expand.weight, tier.expand.bias, form)
        self.upsample = Layer(tier.upsample.weight, tier.upsample.bias, form)
        recurrent = tier.recurrent
        self.layers = [
            [
                Layer(getattr(recurrent, f"weight_{way}_l{layer}"), getattr(recurrent, f"bias_{way}_l{layer}"), form)
                for way in ("ih", "hh")
            ]
            for layer in range(recurrent.num_layers)
        ]


class Stepper:
    """The network for a fixed number of sounds.

    Args:
        weights: may be shared.
        rows: B.
        temperature: divides the logits.
        top_k: draw among the so many likeliest levels; None takes all.
        graphs: record a frame as a CUDA graph.
    """

    def __init__(
        self, weights: Weights, rows: int, temperature: float = 1.0, top_k: int | None = None, graphs: bool = False
    ) -> None:
        module, form = weights.module, weights.form
        self.temperature, self.top_k = temperature, top_k
        self.context, self.sizes = module.context, module.frame_sizes
        self.silence, self.scale = module.silence, 4.0 / module.levels
        self.tiers = [_Tier(tier, rows, form) for tier in weights.tiers]
        device, size = form.device, self.sizes[0]
        self.table, self.positions = weights.table, torch.arange(size, device=device) * module.levels
        self.hidden, self.out, self.out_bias = weights.hidden.product(rows, relu=True), weights.out, weights.out_bias
        self.x, self.scores = form.zeros(rows, module.dim), torch.zeros(rows, module.levels, device=device)
        self.places = torch.zeros(rows, size, dtype=torch.long, device=device)
        self.looked_up, self.bags = self.places.flatten(), torch.arange(0, rows * size, size, device=device)
        # The samples' columns lie whole, as one is written at a time. A view costs as much as a small operation: they
        # are made once.
        self.recent = torch.full((2 * self.context, rows), self.silence, device=device).t()
        self.windows = [self.recent[:, max(0, at - size) : at] for at in range(2 * self.context)]
        self.drawn = [self.recent[:, at : at + 1] for at in range(2 * self.context)]
        self.uniforms = torch.zeros(self.context, rows, device=device).t()
        self.numbers = [self.uniforms[:, at : at + 1] for at in range(self.context)]
        self.graphs = [record(way) for way in (self._sampled, self._heard)] if graphs else None

    def begin(self, classes: Tensor) -> None:
        """Sets the classes (B, K)."""
        for tier in self.tiers:
            tier.begin(classes)

    def restart(self, rows: Tensor) -> None:
        """Puts some rows, whole numbers (R,), back to the learned state after silence."""
        self.recent[rows] = self.silence
        for tier in self.tiers:
            tier.restart(rows)

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
        for step, condition in enumerate(self.tiers[level].spread(hidden)):
            if level:
                self._tier(level - 1, at + step * below, condition, each)
            elif each is not None:
                each(at + step, condition)

    def _sample(self, at: int, condition: Tensor) -> None:
        draw(self.logits(at, condition), self.numbers[at - self.context], self.temperature, self.top_k, self.drawn[at])

    def logits(self, at: int, condition: Tensor) -> Tensor:
        """(B, Q) of the sample at `at` of `recent`, from those before it and the tiers' (B, D)."""
        torch.add(self.windows[at], self.positions, out=self.places)
        first = torch.embedding_bag(self.table, self.looked_up, self.bags, False, 0)[0]  # 0: their sum
        torch.add(first, condition, out=self.x).relu_()
        return torch.addmm(self.out_bias, self.hidden(self.x).float(), self.out, out=self.scores)


class _Tier:
    """One tier's step: GRU layers with their state in place, upsampling."""

    def __init__(self, weights: TierWeights, rows: int, form: Form) -> None:
        self.label, self.start, dim = weights.label, weights.start, weights.start.shape[1]
        self.kind = form.kind
        self.expand, self.upsample = weights.expand.product(rows), weights.upsample.product(rows)
        self.layers = [[way.product(rows) for way in ways] for ways in weights.layers]
        self.steps = [slice(step * dim, (step + 1) * dim) for step in range(weights.ratio)]
        self.state = [form.zeros(rows, dim, torch.float32) for _ in self.layers]
        self.told = self.state if self.kind == torch.float32 else [form.zeros(rows, dim) for _ in self.layers]
        self.of_class = form.zeros(rows, dim)
        self.gates = form.zeros(rows, 2 * dim, torch.float32)
        self.candidate = form.zeros(rows, dim, torch.float32)
        self.split = (slice(0, 2 * dim), slice(2 * dim, 3 * dim))
        self.reset, self.update = self.gates[:, :dim], self.gates[:, dim:]

    def begin(self, classes: Tensor) -> None:
        """Sets what the classes (B, K) add to every frame."""
        if self.label is not None:
            self.of_class.copy_(self.label(classes))

    def restart(self, rows: Tensor) -> None:
        """Puts some rows back to the learned state."""
        for layer, states in enumerate(zip(self.state, self.told, strict=True)):
            for state in states:
                state[rows] = self.start[layer].to(state.dtype)

    def recur(self, frame: Tensor, above: Tensor | None) -> Tensor:
        """(B, S) samples and (B, D) from above to (B, D)."""
        x = self.expand(frame.to(self.kind)).add_(self.of_class)
        if above is not None:
            x.add_(above)
        both, last = self.split
        for (inward, recurrent), state, told in zip(self.layers, self.state, self.told, strict=True):
            given, kept = inward(x), recurrent(told)
            self.gates.copy_(given[:, both]).add_(kept[:, both]).sigmoid_()
            torch.addcmul(given[:, last], self.reset, kept[:, last], out=self.candidate).tanh_()
            torch.lerp(self.candidate, state, self.update, out=state)
            x = told if told is state else told.copy_(state)
        return x

    def spread(self, hidden: Tensor) -> list[Tensor]:
        """(B, D) to what each step of the tier below is told, (B, D) each."""
        spread = self.upsample(hidden)
        return [spread[:, step] for step in self.steps]


def draw(
    logits: Tensor,
    uniforms: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """One level a row: the first at which the cumulative distribution passes the row's number.

    Args:
        logits: (B, Q).
        uniforms: (B, 1) in [0, 1).
        temperature: divides the logits.
        top_k: keep the so many likeliest levels, and any as likely as the last of them.
        out: where to put them.

    Returns:
        (B, 1) whole numbers.
    """
    if temperature != 1.0:
        logits = logits / temperature
    if top_k is not None and top_k < logits.shape[1]:
        least = logits.topk(top_k, 1).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    rising = logits.softmax(1).cumsum(1)
    found = torch.searchsorted(rising, uniforms * rising[:, -1:], right=True, out=out)
    return found.clamp_(max=logits.shape[1] - 1)


def record(frame: Callable[[], None]) -> Any:
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
