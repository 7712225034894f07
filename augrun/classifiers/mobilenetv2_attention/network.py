"""The network of Sukhavasi and Adapa (arXiv:1911.07041), and the augmentation of its training clips.

(B, 1, bands, frames)
  → slices            (B·S, 1, bands, slice_frames)
  → batch norm, 1×1 convolutions 1 → 10 → 3
  → MobileNetV2       (B·S, 1280, bands/32, slice_frames/32)
  → 3×3 and 1×1 convolutions 1280 → 512 → 256, global maximum
  = one vector a slice (B, S, 256)
  → attention head, plain head: probabilities (B, classes) each
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2
from torchvision.ops import Conv2dNormActivation

from augrun.classifiers.mobilenetv2_attention.settings import PAPER_BLOCKS, smallest
from augrun.core.errors import AugrunError

VECTOR = 256  # numbers that describe a slice


class Network(nn.Module):
    """Both heads over MobileNetV2.

    Args:
        bands: of the input.
        frames: of the input, a multiple of `slice_frames`.
        slice_frames: frames in a slice.
        classes: how many.
        multilabel: sigmoid for several classes a clip, softmax for one.
        blocks: MobileNetV2's table: expansion, channels, repeats and stride of each stage.
        width: multiplies the channels before the slice vectors.
    """

    def __init__(
        self,
        bands: int,
        frames: int,
        slice_frames: int,
        classes: int,
        multilabel: bool,
        blocks: Sequence[Sequence[int]] = PAPER_BLOCKS,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        if bands < smallest(blocks):
            raise AugrunError(
                f"{bands} bands are too few for mobilenetv2_attention, which takes {smallest(blocks)} or more. "
                "Use a representation with more bands."
            )
        self.slices, self.slice_frames, self.multilabel = frames // slice_frames, slice_frames, multilabel
        self.normalise = nn.BatchNorm2d(1)
        # 1×1 convolutions, as linear layers over channels last: the same numbers, twice as fast on the CPU.
        self.colour = nn.Sequential(nn.Linear(1, 10), nn.ReLU(), nn.Linear(10, 3), nn.ReLU())
        self.mobilenet, last = _mobilenet(blocks, width)
        hidden = _channels(512, width)
        self.describe = nn.Sequential(nn.Conv2d(last, hidden, 3), nn.ReLU(), nn.Conv2d(hidden, VECTOR, 1), nn.ReLU())
        for layer in self.describe:
            if isinstance(layer, nn.Conv2d):  # no norm follows: keep the variance through the ReLUs
                nn.init.kaiming_normal_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        self.attention = AttentionHead(self.slices, classes)
        self.plain = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(VECTOR, VECTOR), nn.Dropout(0.2), nn.Linear(VECTOR, classes)
        )

    def start_from(self, frequencies: torch.Tensor) -> None:
        """Sets the heads' biases so that training starts from the classes' frequencies, not from one half.

        Else the first steps go into pushing all outputs down, and saturate the attention head's tanh on the way.

        Args:
            frequencies: share of the training clips that carry each class, shape (classes,).
        """
        p = frequencies.clamp(1e-3, 1 - 1e-3)
        with torch.no_grad():
            for bias in (self.attention.classify[-1].bias, self.plain[-1].bias):
                assert isinstance(bias, torch.Tensor)
                bias.copy_(torch.logit(p) if self.multilabel else p.log())

    def forward(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities of the attention head and of the plain head, float32, shape (B, classes) each."""
        vectors = self.vectors(clips)
        attention = self._probabilities(self.attention(vectors))
        plain = self._probabilities(self.plain(vectors)).mean(1)
        return attention, plain

    def hidden(self, clips: torch.Tensor) -> torch.Tensor:
        """What the last layers of both heads are given, shape (B, 512): the attention head's half first.

        The plain head has one vector a slice; theirs is the mean over slices, whose logits are the mean logits.
        """
        vectors = self.vectors(clips)
        return torch.cat([self.attention.hidden(vectors), self.plain[:-1](vectors).mean(1)], 1)

    def vectors(self, clips: torch.Tensor) -> torch.Tensor:
        """One vector a slice, shape (B, S, 256)."""
        batch, _, bands, _ = clips.shape
        slices = clips.view(batch, bands, self.slices, self.slice_frames).transpose(1, 2)
        slices = slices.reshape(batch * self.slices, 1, bands, self.slice_frames)
        coloured = self.colour(self.normalise(slices).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        maps = self.describe(self.mobilenet(coloured))
        return maps.amax((2, 3)).view(batch, self.slices, VECTOR)

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.float()
        return logits.sigmoid() if self.multilabel else logits.softmax(-1)


class AttentionHead(nn.Module):
    """BERT's encoder in small over the slices of a clip: (B, S, 256) → logits (B, classes)."""

    positions: torch.Tensor

    def __init__(self, slices: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("positions", _sinusoids(slices), persistent=False)
        self.layers = nn.Sequential(EncoderLayer(), EncoderLayer())
        self.pool = nn.Linear(VECTOR, VECTOR)
        self.classify = nn.Sequential(nn.Dropout(0.2), nn.Linear(VECTOR, classes))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.classify(self.hidden(vectors))

    def hidden(self, vectors: torch.Tensor) -> torch.Tensor:
        """What the last layer is given, shape (B, 256)."""
        encoded = self.layers(vectors + self.positions)
        return self.pool(encoded[:, 0]).tanh()  # the first slice stands for all


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with dropout, residual and layer norm after it (Devlin et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(VECTOR, num_heads=4, dropout=0.1, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(VECTOR, 1024), nn.GELU(), nn.Linear(1024, VECTOR))
        self.norms = nn.ModuleList([nn.LayerNorm(VECTOR, eps=1e-12), nn.LayerNorm(VECTOR, eps=1e-12)])
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        attended = self.attend(x, x, x, need_weights=False)[0]
        x = self.norms[0](x + self.dropout(attended))
        return self.norms[1](x + self.dropout(self.feed(x)))


def _mobilenet(blocks: Sequence[Sequence[int]], width: float) -> tuple[nn.Sequential, int]:
    """MobileNetV2's features, and how many channels come out.

    torchvision leaves the last layer at 1280 channels however small the width; here it shrinks alike.
    """
    features = mobilenet_v2(width_mult=width, inverted_residual_setting=[list(row) for row in blocks]).features
    last = _channels(1280, width)
    into = features[-1][0].in_channels
    features[-1] = Conv2dNormActivation(into, last, kernel_size=1, activation_layer=nn.ReLU6)
    nn.init.kaiming_normal_(features[-1][0].weight, mode="fan_out")  # as torchvision initialises it
    return features, last


def _channels(count: int, width: float) -> int:
    return max(8, int(count * width + 4) // 8 * 8)


def _sinusoids(length: int) -> torch.Tensor:
    """Sinusoidal positions (Vaswani et al. 2017), shape (length, 256); the first all zero, as the authors have it."""
    rates = 10000.0 ** (-torch.arange(0, VECTOR, 2, dtype=torch.float64) / VECTOR)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    table = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
    table[0] = 0.0
    return table.float()


def imagenet_weights(path: Path | str | None) -> dict[str, torch.Tensor]:
    """ImageNet weights of MobileNetV2's features, from a file or from torchvision's hub (cached there).

    Raises:
        AugrunError: they cannot be had; names the ways out.
    """
    mend = "Use classifier.pretrained=false, or classifier.weights=FILE with torchvision's mobilenet_v2 weights."
    try:
        if path is None:
            state = MobileNet_V2_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
        else:
            state = torch.load(Path(path).expanduser(), map_location="cpu", weights_only=True)
        prefix = "features."
        weights = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        mobilenet_v2().features.load_state_dict(weights)
    except (OSError, RuntimeError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        where = path or MobileNet_V2_Weights.IMAGENET1K_V1.url
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AugrunError(
            f"the ImageNet weights of MobileNetV2 cannot be had from {where} ({said}).\n{mend}"
        ) from error
    return weights


def spec_augment(clips: torch.Tensor, probability: float, masks: int, bands: float, frames: float) -> torch.Tensor:
    """Masks in frequency and time filled with the clip's minimum (Park et al. 2019, as the authors' code draws them).

    Each clip is masked with `probability`; then 1 to `masks` masks of each kind, each up to the given share wide.

    Args:
        clips: shape (B, 1, bands, frames); not changed.
        probability: chance of masking, for each clip.
        masks: at most this many masks of each kind.
        bands: largest share of the bands that one mask covers.
        frames: largest share of the frames that one mask covers.
    """
    batch, _, height, length = clips.shape
    chosen = torch.rand(batch) < probability
    count = torch.randint(1, masks + 1, (batch,))
    covered = torch.zeros(batch, 1, height, length, dtype=torch.bool)
    for number in range(masks):
        active = (chosen & (number < count))[:, None, None, None]
        covered |= active & _stripes(batch, height, bands)[:, None, :, None]
        covered |= active & _stripes(batch, length, frames)[:, None, None, :]
    return torch.where(covered.to(clips.device), clips.amin((1, 2, 3), keepdim=True), clips)


def _stripes(batch: int, size: int, share: float) -> torch.Tensor:
    """One stripe of random width up to `share` and random place a clip, shape (B, size)."""
    widths = (torch.rand(batch) * share * size).floor()
    starts = (torch.rand(batch) * (size - widths)).floor()
    places = torch.arange(size)
    return (places >= starts[:, None]) & (places < (starts + widths)[:, None])


def mixup(inputs: torch.Tensor, targets: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    """λ·(x, y) + (1 − λ)·(x', y') with another clip of the batch, λ ~ Beta(alpha, alpha) a clip (Zhang et al. 2018).

    Args:
        inputs: shape (B, …).
        targets: shape (B, classes).
        alpha: 0 returns both as they are.
    """
    if alpha == 0:
        return inputs, targets
    batch = len(inputs)
    share = torch.distributions.Beta(alpha, alpha).sample((batch,)).to(inputs.device)
    partner = torch.randperm(batch).to(inputs.device)
    mixed = [
        torch.lerp(values[partner], values, share.view(-1, *[1] * (values.dim() - 1))) for values in (inputs, targets)
    ]
    return mixed[0], mixed[1]
