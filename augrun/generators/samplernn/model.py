"""SampleRNN as a LightningModule: tiers of recurrent networks over frames of samples, a perceptron over samples.

Mehri et al. 2017, "SampleRNN: An Unconditional End-to-End Neural Audio Generation Model" (arXiv:1612.07837), section 2.
Initial values, frame sizes and input scale follow the PyTorch port github.com/deepsound-project/samplernn-pytorch.
Shapes: B sequences, T predicted samples, C context samples before them (the largest frame), D units, K classes,
Q levels; tier i sees frames of S_i samples, the smallest tier first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from augrun.core.training import distributed
from augrun.core.training.batching import Share, pieces_of

#: The recurrent state of every tier, smallest first, each (layers, B, D).
State = list[Tensor]


class SampleRNN(pl.LightningModule):
    """Predicts each sample's level from all samples before it, and from a class.

    A batch is a dict of `codes` (B, N), `length` (B,) and `classes` (B, K): whole windows of sound. A training step
    walks through the windows with truncated back-propagation through time: it updates the weights after every
    `truncation` samples and carries the recurrent state, without its gradient, into the next. Every window starts
    from the learned state, so nothing is carried between batches or epochs, and training resumes exactly.

    Args:
        classes: K; 0 for an unconditional network.
        frame_sizes: S_i, ascending, each a multiple of the one before.
        dim: D.
        layers: GRU layers in each tier.
        levels: Q.
        silence: the code of zero.
        truncation: samples between two updates, a multiple of the largest frame.
        learning_rate: Adam's.
        gradient_clip: largest magnitude of each value of the gradient (of the loss in bits).
    """

    def __init__(
        self,
        *,
        classes: int = 0,
        frame_sizes: Sequence[int] = (16, 64),
        dim: int = 1024,
        layers: int = 2,
        levels: int = 256,
        silence: int = 128,
        truncation: int = 1024,
        learning_rate: float = 1e-3,
        gradient_clip: float = 1.0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.share, self.of_all, self.accumulate = Share(), True, 1
        self.classes, self.frame_sizes, self.dim = classes, tuple(frame_sizes), dim
        self.levels, self.silence = levels, silence
        self.context, self.truncation = self.frame_sizes[-1], truncation
        self.learning_rate, self.gradient_clip = learning_rate, gradient_clip
        below = (1, *self.frame_sizes[:-1])
        self.tiers = nn.ModuleList(
            FrameTier(size, size // smaller, dim, layers, classes)
            for size, smaller in zip(self.frame_sizes, below, strict=True)
        )
        self.perceptron = SampleTier(self.frame_sizes[0], dim, levels)

    def forward(self, codes: Tensor, classes: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits of each sample, given those before it.

        Args:
            codes: (B, C + T), whole numbers: the context, then the samples to predict.
            classes: (B, K).
            state: of the tiers where the samples begin; None for the learned one.

        Returns:
            Logits (B, T, Q) and the state after the samples.
        """
        condition, state = self.condition(codes, classes, state)
        return self.perceptron(codes[:, self.context - self.frame_sizes[0] : -1], condition), state

    def condition(self, codes: Tensor, classes: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """What the tiers tell the perceptron, (B, T, D), and their state after it."""
        samples = codes.shape[1] - self.context
        scaled = self.scaled(codes)
        above: Tensor | None = None
        after: State = []
        for level in reversed(range(len(self.tiers))):
            tier, size = cast(FrameTier, self.tiers[level]), self.frame_sizes[level]
            begin = self.context - size
            frames = scaled[:, begin : begin + samples].unflatten(1, (-1, size))
            hidden, last = tier.recur(frames, above, classes, None if state is None else state[level])
            after.insert(0, last)
            above = tier.spread(hidden)
        assert above is not None
        return above, after

    def scaled(self, codes: Tensor) -> Tensor:
        """Codes as the tiers see them: silence is 0, the range about [-2, 2] (as in the authors' code)."""
        return (codes.to(self.dtype) - self.silence) * (4.0 / self.levels)

    def bits(self, logits: Tensor, codes: Tensor, heard: Tensor) -> Tensor:
        """Negative log likelihood in bits, summed over the samples that count.

        Args:
            logits: (B, T, Q).
            codes: (B, T).
            heard: (B, T), whether a sample is sound rather than filling.
        """
        losses = functional.cross_entropy(logits.float().flatten(0, 1), codes.flatten(), reduction="none")
        return (losses * heard.flatten()).sum() / math.log(2)

    def training_step(self, batch: Mapping[str, Tensor], _: int) -> None:
        """One walk through the windows, an update every `truncation` samples."""
        optimizer = cast(Any, self.optimizers())
        total = batch["codes"].new_zeros((), dtype=torch.float32)
        if self.share.fills:
            batch = {**batch, "length": torch.zeros_like(batch["length"])}
        longest = distributed.most(int(batch["length"].max()), self.device)  # all ranks take as many steps
        parts = [dict(zip(batch, part, strict=True)) for part in pieces_of(self.accumulate, *batch.values())]
        states: list[State | None] = [None] * len(parts)
        for pieces in zip(*(self._pieces(part, longest) for part in parts), strict=True):
            count = distributed.summed(sum(heard.sum() for _, heard in pieces))
            optimizer.zero_grad(set_to_none=True)
            for number, (codes, heard) in enumerate(pieces):
                logits, state = self(codes, parts[number]["classes"], states[number])
                states[number] = [tensor.detach() for tensor in state]
                bits = self.bits(logits, codes[:, self.context :], heard)
                self.manual_backward(bits / count)
                total += bits.detach()
            nn.utils.clip_grad_value_(self.parameters(), self.gradient_clip)
            optimizer.step()
        self._log("train/loss", total, batch)

    def validation_step(self, batch: Mapping[str, Tensor], _: int) -> None:
        """The same walk without updates."""
        total = batch["codes"].new_zeros((), dtype=torch.float32)
        state: State | None = None
        for codes, heard in self._pieces(batch, int(batch["length"].max())):
            logits, state = self(codes, batch["classes"], state)
            total += self.bits(logits, codes[:, self.context :], heard)
        self._log("validation/loss", total, batch)

    def _pieces(self, batch: Mapping[str, Tensor], longest: int) -> Any:
        """Yields (B, C + T) codes and (B, T) which of the T are sound, up to the end of the longest window."""
        codes = functional.pad(batch["codes"], (self.context, 0), value=self.silence)
        places = torch.arange(self.truncation, device=codes.device)
        for start in range(0, longest, self.truncation):
            piece = codes[:, start : start + self.context + self.truncation].long()
            yield piece, places + start < batch["length"][:, None]

    def _log(self, name: str, total: Tensor, batch: Mapping[str, Tensor]) -> None:
        count = batch["length"].sum().clamp(min=1)
        self.log(name, total / count, on_step=False, on_epoch=True, batch_size=int(count))

    def configure_optimizers(self) -> Any:
        """Adam with torch's own constants."""
        return torch.optim.Adam(self.parameters(), self.learning_rate)


class FrameTier(nn.Module):
    """A recurrent network over frames of samples, which tells the tier below what is going on.

    Linear layers are weight-normalised; the GRU is not, as fast implementations want its matrices whole.

    Args:
        size: S, samples in a frame.
        ratio: frames (or samples) of the tier below in one of this.
        dim: D.
        layers: of the GRU.
        classes: K.
    """

    def __init__(self, size: int, ratio: int, dim: int, layers: int, classes: int) -> None:
        super().__init__()
        self.ratio = ratio
        expand, spread = nn.Linear(size, dim), nn.Linear(dim, ratio * dim)
        nn.init.kaiming_uniform_(expand.weight)
        nn.init.uniform_(spread.weight, -math.sqrt(6 / dim), math.sqrt(6 / dim))
        nn.init.zeros_(expand.bias)
        nn.init.zeros_(spread.bias)
        self.expand, self.upsample = weight_norm(expand), weight_norm(spread)
        self.label = nn.Linear(classes, dim, bias=False) if classes else None
        if self.label is not None:
            nn.init.normal_(self.label.weight)  # as loud as the samples: a class is told apart from the start
        self.recurrent = nn.GRU(dim, dim, layers, batch_first=True)
        for layer in range(layers):
            for gate in range(3):
                rows = slice(gate * dim, (gate + 1) * dim)
                lecun_uniform_(getattr(self.recurrent, f"weight_ih_l{layer}").data[rows])
                recurrent = getattr(self.recurrent, f"weight_hh_l{layer}").data[rows]
                nn.init.orthogonal_(recurrent) if gate == 2 else lecun_uniform_(recurrent)
            nn.init.zeros_(getattr(self.recurrent, f"bias_ih_l{layer}"))
            nn.init.zeros_(getattr(self.recurrent, f"bias_hh_l{layer}"))
        self.start = nn.Parameter(torch.zeros(layers, dim))

    def recur(
        self, frames: Tensor, above: Tensor | None, classes: Tensor, state: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Args: frames (B, F, S), above (B, F, D), classes (B, K). Returns: (B, F, D) and (layers, B, D)."""
        x = self.expand(frames)
        if self.label is not None:
            x = x + self.label(classes)[:, None]
        if above is not None:
            x = x + above
        if state is None:
            state = self.start[:, None].expand(-1, len(frames), -1)
        hidden, state = self.recurrent(x, state.to(x.dtype).contiguous())
        return hidden, state

    def spread(self, hidden: Tensor) -> Tensor:
        """(B, F, D) to (B, F · ratio, D): each of the tier below's steps has weights of its own."""
        return cast(Tensor, self.upsample(hidden).unflatten(2, (self.ratio, -1)).flatten(1, 2))


class SampleTier(nn.Module):
    """A perceptron from the last S samples and the tier above to the next sample."""

    def __init__(self, size: int, dim: int, levels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(levels, levels)
        first, hidden, out = nn.Conv1d(levels, dim, size, bias=False), nn.Linear(dim, dim), nn.Linear(dim, levels)
        nn.init.kaiming_uniform_(first.weight)
        nn.init.kaiming_uniform_(hidden.weight)
        lecun_uniform_(out.weight)
        nn.init.zeros_(hidden.bias)
        nn.init.zeros_(out.bias)
        self.first, self.hidden, self.out = weight_norm(first), weight_norm(hidden), weight_norm(out)

    def forward(self, codes: Tensor, condition: Tensor) -> Tensor:
        """Args: codes (B, S - 1 + T), condition (B, T, D). Returns: logits (B, T, Q)."""
        # The table costs a product of Q by Q · S by D, whatever the batch. GPUs are slow at its gradient.
        first = self.convolved(codes) if codes.is_cuda else self.looked_up(codes)
        return self.rest(first, condition)

    def convolved(self, codes: Tensor) -> Tensor:
        """The first layer as it is written, (B, S - 1 + T) to (B, T, D): embedding, convolution."""
        return cast(Tensor, self.first(self.embedding(codes).transpose(1, 2)).transpose(1, 2))

    def looked_up(self, codes: Tensor) -> Tensor:
        """The same numbers as sums of rows of `table`."""
        size = self.first.kernel_size[0]
        places = codes.unfold(1, size, 1) + torch.arange(size, device=codes.device) * self.embedding.num_embeddings
        rows = functional.embedding_bag(places.flatten(0, 1), self.table().float(), mode="sum")
        return rows.unflatten(0, places.shape[:2])

    def table(self) -> Tensor:
        """(S · Q, D): row p · Q + q is what level q at position p adds to the first layer."""
        return torch.einsum("qe,dep->pqd", self.embedding.weight, self.first.weight).flatten(0, 1)

    def rest(self, first: Tensor, condition: Tensor) -> Tensor:
        """The layers above the first, (B, T, D) to logits (B, T, Q)."""
        x = functional.relu(first + condition)
        return cast(Tensor, self.out(functional.relu(self.hidden(x))))


@torch.no_grad()
def lecun_uniform_(weight: Tensor) -> None:
    """Uniform with variance 1 / inputs."""
    bound = math.sqrt(3 / weight.shape[1])
    weight.uniform_(-bound, bound)
