"""Held against numbers of the package `ddsp` 3.7.0 (scripts/ddsp_golden.py wrote them)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from augrun.generators.ddsp import analysis, synthesis
from augrun.generators.ddsp.model import DDSPAutoencoder

GOLDEN = Path(__file__).parent.parent / "golden" / "ddsp.npz"
RATE = 16000


class Case:
    """The arrays of one case as tensors."""

    def __init__(self, name: str) -> None:
        with np.load(GOLDEN) as file:
            start = f"{name}/"
            self.arrays = {key[len(start) :]: torch.from_numpy(file[key]) for key in file if key.startswith(start)}

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[name]

    def named(self, start: str) -> dict[str, Tensor]:
        return {key[len(start) :]: value for key, value in self.arrays.items() if key.startswith(start)}


def worst(ours: Tensor, theirs: Tensor) -> float:
    """Largest relative error of any element; elements below 1e-6 of the largest count as that."""
    assert ours.shape == theirs.shape
    scale = theirs.abs().clamp(min=float(theirs.abs().max()) * 1e-6)
    return float(((ours - theirs).abs() / scale).max())


def overall(ours: Tensor, theirs: Tensor) -> float:
    """Largest error over the largest magnitude: for sounds, which cross zero."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


def spectra(sound: Tensor) -> Tensor:
    return synthesis.magnitude(sound, 512, 128)


def test_written_by_the_package_named() -> None:
    with np.load(GOLDEN) as file:
        assert str(file["version"]) == "3.7.0"
    assert GOLDEN.stat().st_size < 600_000


def test_exp_sigmoid() -> None:
    case = Case("envelopes")
    assert worst(synthesis.exp_sigmoid(case["in_x"]), case["exp_sigmoid"]) < 1e-5


def test_harmonic_controls() -> None:
    case = Case("envelopes")
    ours = synthesis.harmonic_amplitudes(case["in_amplitude"], case["in_distribution"], case["in_f0"], RATE)
    theirs = case["amplitude"] * case["distribution"]
    assert worst(ours, theirs) < 1e-4
    assert torch.equal(ours == 0, theirs == 0)
    above = case["in_f0"] * torch.arange(1, 101) >= RATE / 2
    assert 0 < int(above.sum()) < above.numel()
    assert torch.all(ours[above] == 0)


def test_noise_controls() -> None:
    case = Case("envelopes")
    assert worst(synthesis.noise_magnitudes(case["in_noise"]), case["noise"]) < 1e-4


@pytest.mark.parametrize("name", ["window", "linear"])
def test_upsampling(name: str) -> None:
    case = Case("upsampling")
    ours = getattr(synthesis, f"upsample_{name}")(case["in_x"], 640)
    assert overall(ours, case[name]) < 1e-5


def test_linear_resampling_of_uneven_ratios() -> None:
    case = Case("upsampling")
    assert overall(synthesis.upsample_linear(case["in_x"], 333), case["uneven"]) < 1e-4
    assert overall(synthesis.upsample_linear(case["in_long"], 1000), case["frames"]) < 1e-4


def test_harmonic_sound_against_float64() -> None:
    """All of Σ a_k[n]·sin(2π/sr·Σ k·f0) in numpy's float64, sample by sample."""
    case = Case("harmonic")
    frequency, amplitudes = case["in_f0"].double(), case["in_amplitudes"].double()
    samples = RATE // 2
    f0 = synthesis.upsample_linear(frequency, samples).numpy()
    harmonics = np.arange(1, amplitudes.shape[-1] + 1)
    envelopes = synthesis.upsample_window(amplitudes, samples).numpy() * (f0 * harmonics < RATE / 2)
    exact = (envelopes * np.sin(2 * np.pi / RATE * np.cumsum(f0 * harmonics, axis=1))).sum(-1)
    ours = synthesis.harmonic_sound(case["in_amplitudes"], case["in_f0"], samples, RATE)
    assert overall(ours.double(), torch.from_numpy(exact)) < 1e-4
    # The package's accurate mode agrees with it too, its default mode drifts.
    assert overall(case["angular"].double(), torch.from_numpy(exact)) < 5e-3


def test_harmonic_sound_by_magnitude_spectra() -> None:
    case = Case("harmonic")
    ours = synthesis.harmonic_sound(case["in_amplitudes"], case["in_f0"], RATE // 2, RATE)
    assert overall(ours, case["angular"]) < 5e-3
    assert overall(spectra(ours), spectra(case["angular"])) < 2e-3
    assert overall(spectra(ours), spectra(case["sound"])) < 2e-2


@pytest.mark.parametrize("name", ["fast", "slow"])
def test_filtered_noise(name: str) -> None:
    case = Case("noise")
    assert overall(synthesis.filter_noise(case["in_white"], case[f"in_{name}"]), case[name]) < 1e-5


def test_reverb() -> None:
    case = Case("reverb")
    assert overall(synthesis.reverberate(case["in_sound"], case["in_response"]), case["wet"]) < 1e-5


def test_loudness() -> None:
    case = Case("loudness")
    ours = analysis.loudness(case["in_sound"], RATE, 64)
    assert worst(ours, case["decibels"]) < 1e-4
    assert float(ours.min()) == -80.0
    assert worst(synthesis.upsample_linear(ours[..., None], 125)[..., 0], case["frames"]) < 1e-4


def test_mfcc() -> None:
    case = Case("timbre")
    assert overall(analysis.mfcc(case["in_sound"], RATE, 1024, 512), case["mfcc"]) < 1e-4


@pytest.mark.parametrize(("name", "weights"), [("magnitude", (1, 0)), ("logarithm", (0, 1)), ("both", (1, 1))])
def test_spectral_loss(name: str, weights: tuple[float, float]) -> None:
    case = Case("loss")
    ours = synthesis.spectral_loss(
        case["in_target"], case["in_sound"], magnitude_weight=weights[0], log_weight=weights[1]
    )
    assert worst(ours, case[name]) < 1e-4


def test_gradient_of_the_loss() -> None:
    case = Case("loss")
    sound = case["in_sound"].clone().requires_grad_()
    synthesis.spectral_loss(case["in_target"], sound).backward()
    assert overall(sound.grad, case["gradient"]) < 1e-4


@pytest.fixture(params=["ae", "solo"])
def small(request: pytest.FixtureRequest) -> tuple[Case, DDSPAutoencoder]:
    """A small network with the package's weights: with z and without a reverb, and the other way round."""
    case = Case(request.param)
    with_z = request.param == "ae"
    module = DDSPAutoencoder(
        harmonics=20, noise_bands=17, z_dims=4 if with_z else 0, z_units=8, units=12, channels=10,
        reverb_taps=0 if with_z else 300,
    )  # fmt: skip
    module.load_state_dict(case.named("weight/"), strict=True)
    return case, module


def batch_of(case: Case) -> dict[str, Tensor]:
    loudness = analysis.loudness(case["in_audio"], RATE, 64)
    return {
        "audio": case["in_audio"],
        "f0_hz": case["in_f0"],
        "loudness_db": synthesis.upsample_linear(loudness[..., None], 75)[..., 0],
        "mfcc": analysis.mfcc(case["in_audio"], RATE, 1024, 512),
    }


def test_whole_autoencoder(small: tuple[Case, DDSPAutoencoder]) -> None:
    case, module = small
    batch = batch_of(case)
    assert overall(batch["mfcc"], case["mfcc"]) < 1e-4
    assert worst(batch["loudness_db"], case["loudness"]) < 1e-4
    with torch.no_grad():
        sound = module(batch, case["in_noise"])
        loss = module.loss(batch, case["in_noise"])
    assert overall(sound, case["sound"]) < 1e-3  # phases of high harmonics; 1.6e-3 without the noise
    assert worst(loss, case["loss"]) < 2e-4


def test_gradient_of_every_parameter(small: tuple[Case, DDSPAutoencoder]) -> None:
    case, module = small
    module.log_weight = 0.0  # its gradient divides by magnitudes near zero; test_gradient_of_the_loss has it
    module.loss(batch_of(case), case["in_noise"]).backward()
    theirs = case.named("gradient/")
    assert set(theirs) == {name for name, _ in module.named_parameters()}
    for name, parameter in module.named_parameters():
        assert overall(parameter.grad, theirs[name]) < 5e-3, name
