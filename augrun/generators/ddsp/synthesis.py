"""Differentiable synthesis: a bank of harmonics, filtered noise, a reverb, and the loss that compares spectra.

The functions follow the package `ddsp` 3.7.0 (Engel et al., "DDSP: Differentiable Digital Signal Processing",
ICLR 2020; https://github.com/magenta/ddsp), whose numbers the tests hold them against. Shapes: B examples, F frames,
N samples, K harmonics, M noise bands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

#: Sines held at once while the harmonics are summed: 8 MiB stay within a processor's cache, a GPU wants more.
_SINES_AT_ONCE = {"cpu": 1 << 21, "cuda": 1 << 27}


def exp_sigmoid(x: Tensor) -> Tensor:
    """Maps a network's output to a positive amplitude: 2·σ(x)^ln 10 + 1e-7 (appendix B.5)."""
    return 2.0 * torch.exp(math.log(10.0) * functional.logsigmoid(x)) + 1e-7


def upsample_linear(x: Tensor, samples: int) -> Tensor:
    """Linear interpolation of (B, F, C) to (B, samples, C), frame f lying at f·samples/F; the last frame is held.

    Works in the dtype of `x`, and downwards too, as the package uses it for 1,001 frames to 1,000.
    """
    frames = x.shape[1]
    if frames == samples:
        return x
    place = torch.arange(samples, device=x.device, dtype=torch.float64) * (frames / samples)
    low = place.long().clamp_(max=frames - 1)
    share = (place - low).to(x.dtype)[:, None]
    left, right = x[:, low], x[:, (low + 1).clamp_(max=frames - 1)]
    return torch.lerp(left, right, share)


def upsample_window(x: Tensor, samples: int) -> Tensor:
    """Overlapping Hann windows, one a frame: (B, F, C) to (B, samples, C); smoother than linear (appendix B.5).

    Raises:
        ValueError: `samples` is no multiple of the frames.
    """
    hop = _hop(samples, x.shape[1])
    fade = _fade_in(hop, x.device, x.dtype)[:, None]
    left, right = x[:, :, None], _next_frame(x)[:, :, None]
    return torch.lerp(left, right, fade).flatten(1, 2)


def harmonic_amplitudes(amplitude: Tensor, distribution: Tensor, f0_hz: Tensor, sample_rate: int) -> Tensor:
    """Amplitudes of all harmonics from a decoder's outputs.

    Harmonics at or above half the sample rate are silenced and the others normalised to sum to one before they are
    scaled by the total amplitude (section 3.2).

    Args:
        amplitude: raw total amplitude, (B, F, 1).
        distribution: raw distribution over the harmonics, (B, F, K).
        f0_hz: fundamental, (B, F, 1).
        sample_rate: Hz.

    Returns:
        (B, F, K), zero above the band.
    """
    ratios = torch.arange(1, distribution.shape[-1] + 1, device=f0_hz.device, dtype=f0_hz.dtype)
    within = f0_hz * ratios < sample_rate / 2
    shares = exp_sigmoid(distribution) * within
    total = shares.sum(-1, keepdim=True)
    return exp_sigmoid(amplitude) * (shares / torch.where(total == 0, torch.full_like(total, 1e-7), total))


def harmonic_sound(amplitudes: Tensor, f0_hz: Tensor, samples: int, sample_rate: int) -> Tensor:
    """Sum of harmonic sinusoids, (B, samples); differentiable in `amplitudes` alone.

    The amplitudes are upsampled with overlapping Hann windows and the fundamental linearly; its phase is accumulated
    in float64 and wrapped, so that it does not drift.

    Args:
        amplitudes: (B, F, K); harmonics are silent while they lie at or above half the sample rate.
        f0_hz: fundamental, (B, F, 1).
        samples: length of the sound, a multiple of F.
        sample_rate: Hz.
    """
    _hop(samples, f0_hz.shape[1])
    with torch.no_grad():
        f0 = upsample_linear(f0_hz.double(), samples).squeeze(-1)
        cycles = torch.cumsum(f0 / sample_rate, dim=1)
        phase = (2 * math.pi * (cycles - cycles.floor())).to(amplitudes.dtype)
        relative = (f0 / (sample_rate / 2)).to(amplitudes.dtype)
    sound: Tensor = _Harmonics.apply(amplitudes, phase, relative)
    return sound


def noise_magnitudes(raw: Tensor) -> Tensor:
    """Band magnitudes of the noise filter from a decoder's output; the bias makes a fresh network start softly."""
    return exp_sigmoid(raw - 5.0)


def filter_noise(noise: Tensor, magnitudes: Tensor) -> Tensor:
    """Filters noise by a linear-phase filter that changes from frame to frame (appendix B.5).

    Args:
        noise: white noise in [-1, 1), (B, N); N is a multiple of F.
        magnitudes: the filter's gain at M frequencies evenly spaced from 0 to half the sample rate, (B, F, M).

    Returns:
        (B, N).
    """
    (batch, samples), frames = noise.shape, magnitudes.shape[1]
    hop = _hop(samples, frames)
    response = torch.fft.irfft(magnitudes)  # zero phase, (B, F, 2M - 2)
    taps = response.shape[-1]
    response = response.roll(taps // 2, -1) * _hann(taps, noise.device, noise.dtype)
    size = 1 << (hop + taps - 2).bit_length()
    spectrum = torch.fft.rfft(noise.view(batch, frames, hop), size) * torch.fft.rfft(response, size)
    sound = _overlap_add(torch.fft.irfft(spectrum, size)[..., : hop + taps - 1], hop)
    delay = (taps - 1) // 2 - 1  # the package's: one sample less than the filter's own
    return sound[:, delay : delay + samples]


def reverberate(sound: Tensor, response: Tensor) -> Tensor:
    """Adds the sound convolved with an impulse response (taps,) whose first tap, the dry sound, is masked; (B, N)."""
    samples = sound.shape[-1]
    wet = functional.pad(response[1:], (1, 0))
    size = samples + len(response) - 1
    size += size % 2
    return sound + torch.fft.irfft(torch.fft.rfft(sound, size) * torch.fft.rfft(wet, size), size)[..., :samples]


def magnitude(sound: Tensor, size: int, hop: int) -> Tensor:
    """Magnitude spectrogram (B, ceil(N / hop), size // 2 + 1): periodic Hann windows, zeros after the end."""
    return _spectrum(sound, size, hop).abs()


def _spectrum(sound: Tensor, size: int, hop: int) -> Tensor:
    frames = -(-sound.shape[-1] // hop)
    padded = functional.pad(sound, (0, (frames - 1) * hop + size - sound.shape[-1]))
    return torch.fft.rfft(padded.unfold(-1, size, hop) * _hann(size, sound.device, sound.dtype))


def spectral_loss(
    target: Tensor,
    sound: Tensor,
    sizes: Sequence[int] = (2048, 1024, 512, 256, 128, 64),
    magnitude_weight: float = 1.0,
    log_weight: float = 1.0,
) -> Tensor:
    """Multi-scale spectral loss (section 4.2): L1 of magnitudes and of log magnitudes, 75 % overlap, summed over sizes.

    Args:
        target: the recorded sound, (B, N).
        sound: the synthetic one, (B, N).
        sizes: FFT sizes.
        magnitude_weight: weight of the magnitudes.
        log_weight: weight of the log magnitudes.

    Returns:
        A scalar.
    """
    loss = sound.new_zeros(())
    for size in sizes:
        loss = loss + _SpectralDistance.apply(sound, target, size, magnitude_weight, log_weight)
    return loss


class _SpectralDistance(torch.autograd.Function):
    """One size's share of the spectral loss; differentiable in the sound alone.

    The gradient is made on the way, while the spectra are at hand, and only it is kept: (B, N) instead of several
    spectrograms. The logarithm of zero is that of 1e-5, with no gradient, as in the package.
    """

    @staticmethod
    def forward(
        ctx: Any, sound: Tensor, target: Tensor, size: int, magnitude_weight: float, log_weight: float
    ) -> Tensor:
        spectrum = _spectrum(torch.cat([target, sound]), size, size // 4)
        parts = torch.view_as_real(spectrum)
        magnitudes = parts[..., 0].square().addcmul_(parts[..., 1], parts[..., 1]).sqrt_()
        aim, value = magnitudes.chunk(2)
        log_aim, log_value = magnitudes.masked_fill(magnitudes == 0, 1e-5).log_().chunk(2)
        difference, log_difference = value - aim, log_value - log_aim
        if ctx.needs_input_grad[0]:
            inverse = (1 / value).masked_fill_(value == 0, 0)
            slope = (difference.sign() * magnitude_weight).addcmul_(log_difference.sign() * log_weight, inverse)
            slope.mul_(inverse).div_(value.numel())
            slope[..., 1:-1] *= 0.5  # an inverse real transform counts the frequencies between the ends twice
            pieces = torch.fft.irfft(spectrum[len(target) :] * slope, size, norm="forward")
            pieces *= _hann(size, sound.device, sound.dtype)
            ctx.save_for_backward(_overlap_add(pieces, size // 4)[:, : sound.shape[1]])
        total = magnitude_weight * difference.abs_().sum() + log_weight * log_difference.abs_().sum()
        return total / value.numel()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (by_sound,) = ctx.saved_tensors
        return gradient * by_sound, None, None, None, None


def _overlap_add(pieces: Tensor, hop: int) -> Tensor:
    """Sum of pieces (B, F, L), each `hop` samples after the one before: (B, at least (F - 1)·hop + L)."""
    batch, frames, length = pieces.shape
    blocks = -(-length // hop)
    pieces = functional.pad(pieces, (0, blocks * hop - length))
    sound = pieces.new_zeros(batch, frames + blocks - 1, hop)
    for block in range(blocks):
        sound[:, block : block + frames] += pieces[..., block * hop : (block + 1) * hop]
    return sound.flatten(1)


def _hop(samples: int, frames: int) -> int:
    if samples % frames:
        raise ValueError(f"{samples} samples do not divide into {frames} frames")
    return samples // frames


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # else the first caller's mode would stick to it
def _hann(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.hann_window(size, device=device, dtype=dtype)


def _fade_in(hop: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Rising half of a Hann window of 2·hop samples; the falling half is one minus it."""
    return _hann(2 * hop, device, dtype)[:hop]


def _next_frame(x: Tensor) -> Tensor:
    return torch.cat([x[:, 1:], x[:, -1:]], dim=1)


class _Harmonics(torch.autograd.Function):
    """Σ_k a_k[n]·sin(k·φ[n]) over the harmonics below half the sample rate, without holding N × K sines.

    Within a frame, every amplitude fades from the frame's value to the next frame's, so the sum is two products of
    a (samples × harmonics) block of sines with a vector each. Blocks are made, used and dropped; the backward pass
    makes them again.
    """

    @staticmethod
    def forward(ctx: Any, amplitudes: Tensor, phase: Tensor, relative: Tensor) -> Tensor:
        """Args: amplitudes (B, F, K); phase in radians and f0 over half the sample rate, both (B, N)."""
        bank = _Bank(phase, relative, amplitudes.shape)
        pairs = torch.stack([amplitudes, _next_frame(amplitudes)], -1).view(-1, bank.harmonics, 2)
        pairs = pairs * bank.ever[..., None]
        fade = _fade_in(bank.hop, amplitudes.device, amplitudes.dtype)
        sound = torch.empty_like(bank.phase)
        for rows, count, sines in bank.blocks():
            both = sines @ pairs[rows, :count]
            sound[rows] = torch.lerp(both[..., 0], both[..., 1], fade)
        ctx.save_for_backward(phase, relative)
        ctx.shape = amplitudes.shape
        return sound.view_as(phase)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        phase, relative = ctx.saved_tensors
        bank = _Bank(phase, relative, ctx.shape)
        fade = _fade_in(bank.hop, gradient.device, gradient.dtype)
        gradient = gradient.reshape(-1, bank.hop)
        both = torch.stack([gradient * (1 - fade), gradient * fade], -1)
        pairs = gradient.new_zeros(len(gradient), bank.harmonics, 2)
        for rows, count, sines in bank.blocks():
            pairs[rows, :count] = sines.transpose(1, 2) @ both[rows]
        here, following = (pairs * bank.ever[..., None]).view(*ctx.shape, 2).unbind(-1)
        here = here.clone()
        here[:, 1:] += following[:, :-1]
        here[:, -1] += following[:, -1]
        return here, None, None


class _Bank:
    """Sines of the harmonics below half the sample rate, made in blocks of frames.

    Args:
        phase: radians, (B, N).
        relative: fundamental over half the sample rate, (B, N).
        shape: B, F, K.
    """

    def __init__(self, phase: Tensor, relative: Tensor, shape: tuple[int, ...]) -> None:
        batch, frames, self.harmonics = shape
        self.hop = phase.shape[1] // frames
        self.phase, self.relative = phase.reshape(batch * frames, self.hop), relative.reshape(-1, self.hop)
        self.ratios = torch.arange(1, self.harmonics + 1, device=phase.device, dtype=phase.dtype)
        # How many harmonics stay below the band's end throughout a frame, and how many do for a part of it.
        self.always = self._below(self.relative.amax(1) * (1 + 1e-6))
        self.sometimes = self._below(self.relative.amin(1) * (1 - 1e-6))
        #: Whether a harmonic sounds in a frame at all, (B·F, K).
        self.ever = self.ratios <= self.sometimes[:, None]

    def _below(self, relative: Tensor) -> Tensor:
        """How many multiples of a frequency, given over the band's end, lie below that end: at most K."""
        return (torch.ceil(1 / relative.clamp(min=1e-6)) - 1).clamp(0, self.harmonics)

    def blocks(self) -> Iterator[tuple[slice, int, Tensor]]:
        """Yields a block's frames, how many harmonics any of them has, and sines (frames, hop, harmonics).

        Sines of harmonics that leave the band within a frame are zero from there on; those of harmonics that never
        sound in a frame are to be left out by `ever`.
        """
        total = len(self.phase)
        step = max(1, _SINES_AT_ONCE.get(self.phase.device.type, 1 << 21) // (self.hop * self.harmonics))
        for start in range(0, total, step):
            rows = slice(start, min(start + step, total))
            count = int(self.sometimes[rows].max())
            sines = (self.phase[rows, :, None] * self.ratios[:count]).sin_()
            crossing = (self.always[rows] < self.sometimes[rows]).nonzero().squeeze(1)
            if len(crossing):
                sines[crossing] *= self.relative[rows][crossing, :, None] * self.ratios[:count] < 1
            yield rows, count, sines
