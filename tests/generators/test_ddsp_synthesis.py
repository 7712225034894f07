"""What the synthesiser's parts do to sounds; the parity tests hold their numbers against the reference."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from augrun.generators.ddsp import synthesis
from augrun.generators.ddsp.analysis import Analysis, bridge, fundamental, window_starts
from augrun.generators.ddsp.recurrent import Gru

RATE = 16000


def tone(f0_hz: float, shares: list[float], seconds: float = 1.0, frames: int = 50) -> Tensor:
    """A steady tone whose harmonics have these amplitudes."""
    amplitudes = torch.tensor(shares).expand(1, frames, -1)
    f0 = torch.full((1, frames, 1), f0_hz)
    return synthesis.harmonic_sound(amplitudes, f0, int(RATE * seconds), RATE)[0]


def peaks(sound: Tensor, above: float = 0.01) -> list[int]:
    """Frequencies in Hz (of a second of sound) whose amplitude is above a threshold."""
    amplitudes = torch.fft.rfft(sound * torch.hann_window(len(sound))).abs() * 4 / len(sound)
    middle = amplitudes[1:-1]
    found = (middle > above) & (middle > amplitudes[:-2]) & (middle > amplitudes[2:])
    return (found.nonzero().squeeze(1) + 1).tolist()


def test_440_hz_sounds_at_440_hz() -> None:
    sound = tone(440.0, [0.5, 0.0, 0.25])
    assert peaks(sound) == [440, 1320]
    amplitudes = torch.fft.rfft(sound * torch.hann_window(len(sound))).abs() * 4 / len(sound)
    assert float(amplitudes[440]) == pytest.approx(0.5, abs=0.01)
    assert float(amplitudes[1320]) == pytest.approx(0.25, abs=0.01)
    assert sound.dtype == torch.float32


def test_harmonics_above_the_band_are_removed_and_the_others_keep_the_total() -> None:
    raw = torch.zeros(1, 10, 100)
    amplitudes = synthesis.harmonic_amplitudes(torch.zeros(1, 10, 1), raw, torch.full((1, 10, 1), 1500.0), RATE)
    assert int((amplitudes[0, 0] > 0).sum()) == 5  # 1500 … 7500 Hz
    assert float(amplitudes[0, 0].sum()) == pytest.approx(2 * 0.5 ** np.log(10), rel=1e-4)


def test_a_glide_across_the_band_end_does_not_alias() -> None:
    frames, samples = 50, RATE
    f0 = torch.linspace(2000, 3000, frames)[None, :, None]
    raw = torch.full((1, frames, 4), 5.0)
    sound = synthesis.harmonic_sound(synthesis.harmonic_amplitudes(raw[..., :1], raw, f0, RATE), f0, samples, RATE)
    spectrogram = synthesis.magnitude(sound, 512, 128)[0] / 128
    hertz = torch.arange(257) * RATE / 512
    for frame in range(4, 120, 4):
        here = float(np.interp(frame * 128 + 256, np.arange(samples), np.linspace(2000, 3020, samples)))
        expected = torch.tensor([here * k for k in range(1, 5) if here * k < RATE / 2 + 200])
        far = (hertz[:, None] - expected).abs().amin(1) > 300
        assert float(spectrogram[frame][far].max()) < 0.05 * float(spectrogram[frame].max())


def test_long_tones_do_not_drift() -> None:
    """A minute at 1234.5 Hz: the last samples are where float64 has them."""
    samples = 60 * RATE
    sound = synthesis.harmonic_sound(torch.ones(1, 600, 1), torch.full((1, 600, 1), 1234.5), samples, RATE)[0]
    place = np.arange(samples - 100, samples) + 1
    assert np.abs(sound[-100:].numpy() - np.sin(2 * np.pi * 1234.5 * place / RATE)).max() < 1e-4


def test_blocks_do_not_change_the_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    f0 = 300 + 3000 * torch.rand(2, 20, 1, generator=generator)
    raw = torch.rand(2, 20, 31, generator=generator)
    amplitudes = synthesis.harmonic_amplitudes(raw[..., :1], raw[..., 1:], f0, RATE).requires_grad_()
    whole = synthesis.harmonic_sound(amplitudes, f0, 1280, RATE)
    (gradient,) = torch.autograd.grad(whole.square().sum(), amplitudes)
    monkeypatch.setitem(synthesis._SINES_AT_ONCE, "cpu", 3 * 64 * 30)
    pieces = synthesis.harmonic_sound(amplitudes, f0, 1280, RATE)
    (other,) = torch.autograd.grad(pieces.square().sum(), amplitudes)
    assert torch.allclose(whole, pieces, atol=1e-5)
    assert torch.allclose(gradient, other, atol=1e-4)


def test_gradients_against_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    f0 = 900 + 2000 * torch.rand(2, 5, 1, generator=generator, dtype=torch.float64)
    raw = torch.randn(2, 5, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    noise = torch.rand(2, 80, generator=generator, dtype=torch.float64)
    bands = torch.randn(2, 5, 9, generator=generator, dtype=torch.float64, requires_grad=True)

    def harmonics(x: Tensor) -> Tensor:
        return synthesis.harmonic_sound(synthesis.harmonic_amplitudes(x[..., :1], x[..., 1:], f0, RATE), f0, 40, RATE)

    assert torch.autograd.gradcheck(harmonics, raw, fast_mode=True)  # along random directions
    assert torch.autograd.gradcheck(
        lambda x: synthesis.filter_noise(noise, synthesis.noise_magnitudes(x)), bands, fast_mode=True
    )
    target, sound = torch.rand(2, 2, 100, generator=generator, dtype=torch.float64)
    for weights in ((1.0, 0.0), (0.0, 1.0), (0.7, 0.3)):
        assert torch.autograd.gradcheck(
            lambda x, w=weights: synthesis.spectral_loss(target, x, (32, 16), *w),
            sound.requires_grad_(),
            fast_mode=True,
        )


def test_noise_takes_the_filters_shape() -> None:
    """Bands 0 to 2 kHz loud, the rest silent."""
    noise = torch.rand(1, 4 * RATE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    magnitudes = torch.zeros(1, 1000, 65)
    magnitudes[..., :16] = 1.0
    spectrum = synthesis.magnitude(synthesis.filter_noise(noise, magnitudes), 1024, 256)[0].square().mean(0).sqrt()
    flat = synthesis.magnitude(noise, 1024, 256)[0].square().mean(0).sqrt()
    gain = spectrum / flat
    assert float(gain[5:100].mean()) == pytest.approx(1.0, abs=0.05)
    assert float(gain[160:].max()) < 0.02


def test_the_noise_filter_follows_its_frames() -> None:
    noise = torch.rand(1, 6400, generator=torch.Generator().manual_seed(0)) * 2 - 1
    magnitudes = torch.zeros(1, 100, 65)
    magnitudes[:, 50:] = 1.0
    sound = synthesis.filter_noise(noise, magnitudes)[0]
    assert float(sound[: 50 * 64 - 80].abs().max()) < 1e-6
    assert torch.allclose(sound[50 * 64 + 80 : -80].std(), noise.std(), rtol=0.1)


def test_reverb_repeats_the_sound_and_masks_the_first_tap() -> None:
    click = torch.zeros(1, 1000)
    click[0, 100] = 1.0
    response = torch.zeros(500)
    response[0], response[200] = 9.0, 0.5
    sound = synthesis.reverberate(click, response)[0]
    expected = torch.zeros(1000)
    expected[100], expected[300] = 1.0, 0.5
    assert torch.allclose(sound, expected, atol=1e-5)


def test_spectral_loss_is_zero_for_the_same_sound_and_grows_with_the_difference() -> None:
    sound = tone(300.0, [0.5, 0.2])[None]
    assert float(synthesis.spectral_loss(sound, sound)) == 0.0
    near, far = (float(synthesis.spectral_loss(sound, sound * gain)) for gain in (0.9, 0.3))
    assert 0 < near < far
    # Noise has no empty bins: its log magnitudes differ by ln 0.9 everywhere, at each of the six sizes.
    noise = torch.rand(1, RATE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logarithms = float(synthesis.spectral_loss(noise, noise * 0.9, magnitude_weight=0.0))
    assert logarithms == pytest.approx(-6 * np.log(0.9), rel=1e-3)


def test_constants_made_during_inference_serve_training() -> None:
    synthesis._hann.cache_clear()
    noise, bands = torch.rand(1, 640), torch.zeros(1, 10, 17, requires_grad=True)
    with torch.inference_mode():
        synthesis.filter_noise(noise, bands)
    sound = synthesis.filter_noise(noise, synthesis.noise_magnitudes(bands))
    synthesis.spectral_loss(torch.rand(1, 640), sound, sizes=(64,)).backward()
    assert bands.grad is not None


def test_upsampling_needs_whole_frames() -> None:
    with pytest.raises(ValueError, match="1000 samples do not divide into 3 frames"):
        synthesis.upsample_window(torch.zeros(1, 3, 1), 1000)


@settings(max_examples=25, deadline=None)
@given(frames=st.integers(2, 30), hop=st.integers(2, 40), seed=st.integers(0, 100))
def test_upsampling_keeps_frames_and_range(frames: int, hop: int, seed: int) -> None:
    x = torch.rand(2, frames, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for upsample in (synthesis.upsample_linear, synthesis.upsample_window):
        y = upsample(x, frames * hop)
        assert y.shape == (2, frames * hop, 3)
        assert torch.allclose(y[:, ::hop], x, atol=1e-6)
        assert float(y.min()) >= float(x.min()) - 1e-6
        assert float(y.max()) <= float(x.max()) + 1e-6


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 4), steps=st.integers(1, 12), inputs=st.integers(1, 5), units=st.integers(1, 6),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_gru_equals_torchs(batch: int, steps: int, inputs: int, units: int, seed: int) -> None:
    torch.manual_seed(seed)
    ours, theirs = Gru(inputs, units).double(), nn.GRU(inputs, units, batch_first=True).double()
    nn.init.normal_(ours.bias_ih_l0)
    nn.init.normal_(ours.bias_hh_l0)
    theirs.load_state_dict(ours.state_dict())
    x, weight = torch.randn(batch, steps, inputs).double(), torch.randn(batch, steps, units).double()
    results = []
    for layer in (ours, theirs):
        given_x = x.clone().requires_grad_()
        states = layer(given_x)
        states = states if isinstance(states, Tensor) else states[0]
        results.append([states, *torch.autograd.grad((states * weight).sum(), [given_x, *layer.parameters()])])
    for mine, reference in zip(*results, strict=True):
        assert torch.allclose(mine, reference, atol=1e-12)


@pytest.mark.parametrize("f0_hz", [65.0, 110.0, 440.0, 987.0, 1568.0])
@pytest.mark.parametrize("harmonics", [1, 8])
def test_fundamental_of_tones(f0_hz: float, harmonics: int) -> None:
    sound = tone(f0_hz, [0.3 / k for k in range(1, harmonics + 1) if k * f0_hz < RATE / 2]).numpy()
    found, confidence = fundamental(sound, RATE, 64, 50.0, 2000.0)
    assert found.shape == confidence.shape == (len(sound) // 64 + 1,)
    inside = slice(20, -20)
    assert np.abs(1200 * np.log2(found[inside] / f0_hz)).max() < 25  # cents
    assert confidence[inside].min() > 0.95


def test_confidence_tells_tones_from_noise_and_silence() -> None:
    noise = np.random.default_rng(0).normal(size=RATE).astype(np.float32)
    found, confidence = fundamental(noise, RATE, 64, 50.0, 2000.0)
    assert np.median(confidence) < 0.4
    assert ((found > 49) & (found < 2001)).all()
    found, confidence = fundamental(np.zeros(RATE, np.float32), RATE, 64, 50.0, 2000.0)
    assert np.isfinite(found).all()
    assert not confidence.any()


def test_bridge_draws_lines_in_octaves() -> None:
    f0 = np.array([9.0, 100.0, 1.0, 400.0, 7.0])
    sure = np.array([False, True, False, True, False])
    assert bridge(f0, sure) == pytest.approx([100, 100, 200, 400, 400])
    assert bridge(f0, np.zeros(5, bool)) is f0


def test_analysis_packs_and_unpacks() -> None:
    analysis = Analysis(RATE, 16001 // 2 * 2, 250, 1024, 512, 50.0, 2000.0, 0.0)
    sound = tone(220.0, [0.4, 0.1], 0.7).numpy()
    arrays = analysis.analyse(sound)
    assert {name: array.shape for name, array in arrays.items()} == analysis.shapes
    assert not arrays["audio"][len(sound) :].any()
    row = analysis.pack(arrays)
    assert row.shape == (analysis.width,)
    assert row.dtype == np.float32
    again = analysis.unpack(row)
    assert np.abs(again.pop("audio") - arrays["audio"]).max() < 2e-5  # 16 bits
    for name, array in again.items():
        assert np.array_equal(array, arrays[name]), name


@settings(max_examples=50, deadline=None)
@given(duration=st.floats(0.1, 100), start=st.floats(0, 50), limit=st.one_of(st.none(), st.integers(1, 8)))
def test_windows_lie_within_their_clip(duration: float, start: float, limit: int | None) -> None:
    starts = window_starts(start, duration, 4.0, limit)
    assert starts == sorted(set(starts))
    assert len(starts) <= (limit or 1000)
    assert starts[0] >= start
    assert starts[-1] <= max(start, start + duration - 4.0) + 1e-9
    if limit is None:  # everything is covered
        assert starts[0] == start
        assert all(later - earlier <= 4.0 + 1e-9 for earlier, later in pairwise(starts))
        assert starts[-1] + 4.0 >= start + duration - 0.05
