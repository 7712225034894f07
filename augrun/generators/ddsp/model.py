"""The DDSP autoencoder: `ae.gin` and `solo_instrument.gin` of the package `ddsp` 3.7.0 as a LightningModule.

Engel et al., "DDSP: Differentiable Digital Signal Processing", ICLR 2020, section 4 and appendix B. Shapes: B examples,
F frames of fundamental and loudness, T frames of MFCCs, N samples, K harmonics, M noise bands.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from augrun.core.training.batching import Share
from augrun.generators.ddsp.analysis import MFCCS, RANGE_DB
from augrun.generators.ddsp.recurrent import Gru
from augrun.generators.ddsp.synthesis import (
    filter_noise,
    harmonic_amplitudes,
    harmonic_sound,
    noise_magnitudes,
    reverberate,
    spectral_loss,
    upsample_linear,
)


class DDSPAutoencoder(pl.LightningModule):
    """Encodes a sound to fundamental, loudness and timbre z, and synthesises it anew from them.

    A batch is a dict of `audio` (B, N), `f0_hz` (B, F), `loudness_db` (B, F) and `mfcc` (B, T, 30).

    Args:
        sample_rate: Hz.
        harmonics: K.
        noise_bands: M.
        z_dims: dimensions of z; 0 leaves the encoder out, as `solo_instrument.gin` does.
        z_units: units of the encoder's GRU.
        units: units of the decoder's GRU.
        channels: width of the decoder's dense layers.
        layers: dense layers in each stack.
        reverb_taps: taps of a trainable reverb; 0 leaves it out, as `ae.gin` does.
        fft_sizes: of the loss.
        magnitude_weight: of the loss's magnitudes.
        log_weight: of the loss's log magnitudes.
        learning_rate: Adam's.
        decay: factor on the learning rate every `decay_steps` steps, applied smoothly.
        decay_steps: see `decay`.
    """

    def __init__(
        self,
        *,
        sample_rate: int = 16000,
        harmonics: int = 100,
        noise_bands: int = 65,
        z_dims: int = 16,
        z_units: int = 512,
        units: int = 512,
        channels: int = 512,
        layers: int = 3,
        reverb_taps: int = 0,
        fft_sizes: tuple[int, ...] = (2048, 1024, 512, 256, 128, 64),
        magnitude_weight: float = 1.0,
        log_weight: float = 1.0,
        learning_rate: float = 3e-4,
        decay: float = 0.98,
        decay_steps: int = 10_000,
    ) -> None:
        super().__init__()
        self.share, self.in_step = Share(), True
        self.sample_rate = sample_rate
        self.encoder = Encoder(z_units, z_dims) if z_dims else None
        self.decoder = Decoder(z_dims, units, channels, layers, harmonics, noise_bands)
        self.reverb = nn.Parameter(torch.randn(reverb_taps) * 1e-6) if reverb_taps else None
        self.fft_sizes, self.magnitude_weight, self.log_weight = tuple(fft_sizes), magnitude_weight, log_weight
        self.learning_rate, self.decay, self.decay_steps = learning_rate, decay, decay_steps

    def forward(self, batch: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        """The sound made anew, (B, N), from a batch and white noise in [-1, 1), (B, N)."""
        amplitudes, magnitudes = self.controls(batch)
        f0_hz = batch["f0_hz"][..., None]
        with torch.autocast(noise.device.type, enabled=False):
            sound = harmonic_sound(amplitudes, f0_hz, noise.shape[-1], self.sample_rate)
            sound = sound + filter_noise(noise, magnitudes)
            return sound if self.reverb is None else reverberate(sound, self.reverb.float())

    def controls(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What steers the synthesis: amplitudes of the harmonics (B, F, K) and of the noise bands (B, F, M)."""
        f0_hz, loudness_db = batch["f0_hz"][..., None], batch["loudness_db"][..., None]
        inputs = [loudness_db / RANGE_DB + 1.0, midi(f0_hz) / 127.0]
        if self.encoder is not None:
            inputs.append(upsample_linear(self.encoder(batch["mfcc"]), f0_hz.shape[1]))
        amplitude, distribution, bands = (output.float() for output in self.decoder(inputs))
        with torch.autocast(f0_hz.device.type, enabled=False):
            return harmonic_amplitudes(amplitude, distribution, f0_hz, self.sample_rate), noise_magnitudes(bands)

    def loss(self, batch: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        """Multi-scale spectral loss of the sound made anew from a batch and white noise."""
        sound = self(batch, noise)
        with torch.autocast(noise.device.type, enabled=False):
            return spectral_loss(batch["audio"], sound, self.fft_sizes, self.magnitude_weight, self.log_weight)

    def training_step(self, batch: Mapping[str, Tensor], _: int) -> Tensor:
        """Fresh noise for every step."""
        audio = batch["audio"]
        draw = partial(torch.rand, dtype=audio.dtype, device=audio.device)
        noise = self.share.of(lambda count: draw(count, *audio.shape[1:]), len(audio))
        loss = self.loss(batch, noise * 2 - 1)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(audio))
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], index: int) -> None:
        """The same noise every time, so that epochs compare."""
        audio = batch["audio"]
        loss = self.loss(batch, white_noise(audio.shape, index).to(audio))
        self.log("validation/loss", loss, batch_size=len(audio))

    def configure_optimizers(self) -> Any:
        """Adam, its rate falling a little at every step."""
        optimizer = torch.optim.Adam(self.parameters(), self.learning_rate, eps=1e-7)  # Keras's eps
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, self.decay ** (1 / self.decay_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Encoder(nn.Module):
    """MFCCs to z: instance norm, GRU, dense (the package's MfccTimeDistributedRnnEncoder)."""

    def __init__(self, units: int, dims: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm1d(MFCCS, eps=1e-5, affine=True)
        self.recurrent = Gru(MFCCS, units)
        self.out = dense(units, dims)

    def forward(self, mfcc: Tensor) -> Tensor:
        """Args: mfcc (B, T, 30). Returns: (B, T, dims)."""
        return cast(Tensor, self.out(self.recurrent(self.norm(mfcc.transpose(1, 2)).transpose(1, 2))))


class Decoder(nn.Module):
    """Loudness, pitch and z to the synthesiser's inputs (the package's RnnFcDecoder)."""

    def __init__(self, z_dims: int, units: int, channels: int, layers: int, harmonics: int, noise_bands: int) -> None:
        super().__init__()
        widths = [1, 1, z_dims] if z_dims else [1, 1]
        self.stacks = nn.ModuleList(stack(width, channels, layers) for width in widths)
        joined = len(widths) * channels
        self.recurrent = Gru(joined, units)
        self.last = stack(joined + units, channels, layers)
        self.splits = (1, harmonics, noise_bands)
        self.out = dense(channels, sum(self.splits))

    def forward(self, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        """Args: one (B, F, ·) tensor an input. Returns: amplitude, harmonic distribution, noise bands, all raw."""
        joined = torch.cat([layer(x) for layer, x in zip(self.stacks, inputs, strict=True)], dim=-1)
        hidden = self.last(torch.cat([joined, self.recurrent(joined)], dim=-1))
        return tuple(self.out(hidden).split(self.splits, dim=-1))


def stack(inputs: int, channels: int, layers: int) -> nn.Sequential:
    """Layers of dense, layer norm, leaky ReLU, with Keras's constants (the package's FcStack)."""
    parts: list[nn.Module] = []
    for layer in range(layers):
        parts += [dense(inputs if layer == 0 else channels, channels)]
        parts += [nn.LayerNorm(channels, eps=1e-3), nn.LeakyReLU(0.2)]
    return nn.Sequential(*parts)


def dense(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer that starts as Keras's does."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def midi(f0_hz: Tensor) -> Tensor:
    """Frequency as a MIDI note, 0 for 0 Hz."""
    notes = 12 * torch.log2(f0_hz.clamp(min=1e-5) / 440.0) + 69
    return torch.where(f0_hz <= 0, torch.zeros_like(notes), notes)


def white_noise(shape: tuple[int, ...] | torch.Size, seed: int) -> Tensor:
    """Uniform noise in [-1, 1) on the CPU, the same for the same seed."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
