"""The ddsp generator on sounds whose truth is known, on sounds without a pitch, and under each of its settings."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from scipy import signal as filters

from augrun.core import audio
from augrun.core.job import Hardware, Job
from augrun.corpora.corpus import COLUMNS, Corpus, LabelSet
from augrun.generators.ddsp import DDSP, MODEL
from augrun.generators.ddsp.analysis import Arrays, batch_of
from augrun.generators.ddsp.model import DDSPAutoencoder, white_noise
from augrun.generators.requests import REQUEST_COLUMNS, GenerationInputs

pytestmark = pytest.mark.usefixtures("one_thread")

RATE = 16000
CPU = Hardware(accelerator="cpu", progress=False)

#: Windows of a second and a network of a few thousand parameters.
TINY = DDSP(
    sample_s=1.024, prime_s=1.024, frame_rate=62.5, harmonics=12, noise_bands=17, z_dims=4, z_units=8, units=16,
    channels=16, layers=1, fft_sizes=(512, 128), steps=2, steps_per_epoch=2, batch_size=2, learning_rate=1e-2,
    validation_windows=2,
)  # fmt: skip
SAMPLES = round(RATE * TINY.sample_s)


# Sounds without a single clear pitch.


def tone(hertz: float, seconds: float, level: float = 0.2) -> np.ndarray:
    time_s = np.arange(round(RATE * seconds)) / RATE
    return level * sum(np.sin(2 * np.pi * hertz * k * time_s) / k for k in (1, 2, 3))


def hiss(seconds: float, level: float = 0.05, seed: int = 0) -> np.ndarray:
    return level * np.random.default_rng(seed).normal(size=round(RATE * seconds))


def glued(*parts: np.ndarray) -> np.ndarray:
    sound = np.concatenate(parts)[:SAMPLES]
    return np.pad(sound, (0, SAMPLES - len(sound))).astype(np.float32)


#: No pitch, several, or one that comes and goes.
DIFFICULT: dict[str, np.ndarray] = {
    "chord": glued(sum(tone(hertz, 1.024, 0.1) for hertz in (220.0, 277.2, 329.6))),
    "noise": glued(hiss(1.024)),
    "silence": glued(np.zeros(SAMPLES)),
    "constant": glued(np.full(SAMPLES, 0.3)),
    "click": glued(np.zeros(8000), np.ones(1), np.zeros(8000)),
    "clipped": glued(np.sign(tone(90.0, 1.024))),
    "gaps of hiss": glued(tone(440.0, 0.352), hiss(0.32), tone(220.0, 0.352)),
    "gaps of silence": glued(np.zeros(4000), tone(300.0, 0.3), np.zeros(4000), tone(500.0, 0.2)),
    "faint": glued(tone(200.0, 1.024, 1e-5)),
}
CONFIDENCES = (0.0, 0.5, 1.0)


def corpus_of(sounds: dict[str, np.ndarray], folder: Path) -> Corpus:
    """The sounds as files and as a corpus of one class."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, sound in sounds.items():
        path, seconds = folder / f"{name}.wav", len(sound) / RATE
        audio.write(path, sound, RATE)
        values = {"clip_id": name, "path": str(path), "start_s": 0.0, "end_s": seconds, "duration_s": seconds}
        values |= {"labels": (0,), "utterance": name, "origin": "recorded", "digest": name}
        rows.append([values.get(column, "") for column in COLUMNS])
    return Corpus("sounds", pd.DataFrame(rows, columns=list(COLUMNS)), LabelSet(("any",)))


def job_in(folder: Path, seed: int = 0) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    return Job(folder, seed=seed, hardware=CPU)


def generate(generator: DDSP, corpus: Corpus, fitted: Path, folder: Path) -> dict[str, np.ndarray]:
    """What the generator makes of the start of each clip."""
    rows = [
        (clip.clip_id, 0, (0,), generator.sample_s, clip.clip_id, clip.path, 0.0, generator.prime_s, place)
        for place, clip in enumerate(corpus.clips.itertuples())
    ]
    requests = pd.DataFrame(rows, columns=list(REQUEST_COLUMNS))
    generator.generate(GenerationInputs(requests, ("any",), fitted, job_in(folder)))
    return {name: soundfile.read(folder / f"{name}.wav", dtype="float32")[0] for name in requests["sample_id"]}


def seeded(generator: DDSP, seed: int = 0) -> DDSPAutoencoder:
    torch.manual_seed(seed)
    return generator.autoencoder()


def check_finite(generator: DDSP, arrays: Arrays) -> None:
    """Analysis, loss, gradient, an optimiser's step and the loss after it, all finite."""
    for name, array in arrays.items():
        assert np.isfinite(array).all(), name
    assert arrays["f0_hz"].min() > 0.9 * generator.f0_min
    assert arrays["f0_hz"].max() < 1.1 * generator.f0_max
    assert 0 <= arrays["confidence"].min() <= arrays["confidence"].max() <= 1
    module = seeded(generator)
    optimizer = module.configure_optimizers()["optimizer"]
    batch, noise = batch_of([arrays]), white_noise((1, len(arrays["audio"])), 0)
    for _ in range(2):
        optimizer.zero_grad()
        loss = module.loss(batch, noise)
        loss.backward()
        assert torch.isfinite(loss)
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        optimizer.step()
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())


@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize("name", DIFFICULT)
def test_numbers_stay_finite_without_a_clear_pitch(name: str, confidence: float) -> None:
    generator = dataclasses.replace(TINY, f0_confidence=confidence)
    check_finite(generator, generator.analysis().analyse(DIFFICULT[name]))


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_sounds_without_a_clear_pitch_go_all_the_way(confidence: float, tmp_path: Path) -> None:
    """Through the component's own fit and generate, all in one corpus."""
    generator = dataclasses.replace(TINY, f0_confidence=confidence, steps=6, steps_per_epoch=3)
    corpus = corpus_of(DIFFICULT, tmp_path / "corpus")
    fit = job_in(tmp_path / "fit")
    generator.fit(corpus, corpus, fit)
    history = json.loads((fit.folder / "history.json").read_text())
    assert len(history) == 2
    assert all(math.isfinite(value) for epoch in history for value in epoch.values())
    weights = torch.load(fit.folder / MODEL, weights_only=True)
    assert all(torch.isfinite(value).all() for value in weights.values())
    made = generate(generator, corpus, fit.folder, tmp_path / "made")
    assert set(made) == set(DIFFICULT)
    for name, sound in made.items():
        assert sound.shape == (SAMPLES,), name
        assert np.isfinite(sound).all(), name
        assert sound.std() > 1e-5, name  # the network is hardly trained: it makes something of everything


def test_unvoiced_frames_are_bridged_in_octaves() -> None:
    """440 Hz, a third of a second of hiss, 220 Hz: with a threshold a line in octaves, without it what YIN found."""
    sound, places = DIFFICULT["gaps of hiss"], np.arange(64) * 256 / RATE
    found = {c: dataclasses.replace(TINY, f0_confidence=c).analysis().analyse(sound) for c in (0.0, 0.8, 1.0)}
    sure = found[0.8]["confidence"] >= 0.8
    hiss_alone = (places > 0.352 + 0.032) & (places < 0.672 - 0.032)  # the frames of 64 ms that hear nothing else
    assert hiss_alone.sum() == 15
    assert not sure[hiss_alone].any()
    bridged, kept = np.log2(found[0.8]["f0_hz"] / 440), np.log2(found[0.0]["f0_hz"] / 440)
    before, after = np.flatnonzero(sure & (places < 0.5))[-1], np.flatnonzero(sure & (places > 0.5))[0]
    assert 1 - abs(bridged[before] - bridged[after]) == pytest.approx(0, abs=0.02)
    line = np.interp(np.arange(before, after + 1), (before, after), (bridged[before], bridged[after]))
    assert bridged[before : after + 1] == pytest.approx(line, abs=1e-4)
    assert np.array_equal(bridged[sure], kept[sure])  # confident frames are as they were
    assert np.abs(np.diff(kept[hiss_alone])).max() > 0.5  # YIN's guesses leap
    assert np.abs(np.diff(bridged[hiss_alone])).max() < 0.06
    assert np.array_equal(found[1.0]["confidence"], found[0.0]["confidence"])  # it says what was found, bridged or not


def test_leading_and_trailing_silence_holds_the_nearest_pitch() -> None:
    sound = glued(np.zeros(4096), tone(300.0, 0.512), np.zeros(4096))
    found = dataclasses.replace(TINY, f0_confidence=0.5).analysis().analyse(sound)
    assert np.abs(1200 * np.log2(found["f0_hz"] / 300)).max() < 60
    assert found["confidence"][[0, -1]].max() == 0.0
    assert np.unique(found["f0_hz"][:14]).size == 1


def test_no_confident_frame_at_all_keeps_what_was_found() -> None:
    for name in ("noise", "silence", "chord"):
        kept, all_unsure = (
            dataclasses.replace(TINY, f0_confidence=c).analysis().analyse(DIFFICULT[name]) for c in (0.0, 1.0)
        )
        assert all_unsure["confidence"].max() < 1.0, name
        assert np.array_equal(kept["f0_hz"], all_unsure["f0_hz"]), name


def test_silence_is_reconstructed_near_silence(tmp_path: Path) -> None:
    """Tones between gaps teach that loudness is followed; the untrained network hums through both."""
    generator = dataclasses.replace(TINY, steps=150, steps_per_epoch=75, batch_size=4)
    pitches = (150.0, 220.0, 300.0, 440.0)
    gaps = {
        f"{hertz:g} {lead:g}": glued(np.zeros(round(lead * RATE)), tone(hertz, 0.4), np.zeros(SAMPLES))
        for hertz in pitches
        for lead in (0.1, 0.3, 0.5)
    }
    corpus = corpus_of(gaps, tmp_path / "corpus")
    fit, untrained = job_in(tmp_path / "fit"), job_in(tmp_path / "untrained")
    torch.save(seeded(generator).state_dict(), untrained.folder / MODEL)
    generator.fit(corpus, corpus, fit)
    unseen = {"silence": DIFFICULT["silence"], "tone": glued(np.zeros(6400), tone(260.0, 0.4), np.zeros(SAMPLES))}
    primes = corpus_of(unseen, tmp_path / "primes")
    made, hum = (generate(generator, primes, j.folder, tmp_path / f"by {j.folder.name}") for j in (fit, untrained))
    assert _decibels(made["silence"]) < -60 < -30 < _decibels(hum["silence"])
    sounding, gap = made["tone"][7400:11800], made["tone"][:5400]
    assert _decibels(sounding) == pytest.approx(_decibels(unseen["tone"][7400:11800]), abs=3)
    assert _decibels(gap) < -60


def _decibels(sound: np.ndarray) -> float:
    """Level below full scale."""
    return float(10 * np.log10(np.square(sound, dtype=np.float64).mean() + 1e-12))


@pytest.mark.parametrize("name", ["orchestra", "carnatic", "piano"])
def test_polyphonic_recordings(name: str, shared_data: Path, tmp_path: Path) -> None:
    """Finite throughout, whatever the confidence asked for, and a short training already helps."""
    path = shared_data / "music" / "audio" / f"{name}.flac"
    sound = audio.read(path, RATE)
    generator = dataclasses.replace(
        TINY, sample_s=2.048, prime_s=2.048, noise_bands=33, harmonics=40, steps=24, steps_per_epoch=12
    )
    length = round(RATE * generator.sample_s)
    for confidence in CONFIDENCES:
        asked = dataclasses.replace(generator, f0_confidence=confidence)
        for start in range(0, len(sound) - length, 2 * length):
            check_finite(asked, asked.analysis().analyse(sound[start : start + length]))
    generator = dataclasses.replace(generator, f0_confidence=0.5)
    corpus = corpus_of({name: sound[: 3 * length]}, tmp_path / "corpus")
    fit = job_in(tmp_path / "fit")
    generator.fit(corpus, corpus, fit)
    history = json.loads((fit.folder / "history.json").read_text())
    made = generate(generator, corpus, fit.folder, tmp_path / "made")[name]
    assert made.shape == (length,)
    assert np.isfinite(made).all()
    assert len(history) == 2 and history[1]["validation/loss"] < history[0]["validation/loss"]


# Settings.


def clip(sound: np.ndarray, generator: DDSP) -> dict[str, torch.Tensor]:
    return batch_of([generator.analysis().analyse(sound)])


def two_steps(generator: DDSP, folder: Path) -> tuple[DDSPAutoencoder, np.ndarray]:
    """The network after two training steps through `fit`, and what `generate` makes with it of a tone."""
    corpus = corpus_of({"tone": glued(tone(220.0, 1.024)), "hiss": glued(hiss(1.024))}, folder / "corpus")
    fit = job_in(folder / "fit")
    generator.fit(corpus, corpus, fit)
    module = generator.autoencoder()
    weights = torch.load(fit.folder / MODEL, weights_only=True)
    module.load_state_dict(weights, strict=True)
    made = generate(generator, corpus, fit.folder, folder / "made")["tone"]
    assert made.shape == (SAMPLES,) and np.isfinite(made).all()
    return module, made


def spectrum(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hz, and power."""
    return np.fft.rfftfreq(len(sound), 1 / RATE), np.abs(np.fft.rfft(sound * np.blackman(len(sound)))) ** 2


@pytest.mark.parametrize("harmonics", [1, 60, 100])
def test_harmonics_end_where_the_setting_says(harmonics: int, tmp_path: Path) -> None:
    """Of a tone at 70 Hz, the k-th harmonic sounds at 70·k Hz and the next one does not."""
    generator = dataclasses.replace(TINY, harmonics=harmonics)
    trained, _ = two_steps(generator, tmp_path)
    batch = clip(glued(tone(70.0, 1.024)), generator)
    batch["f0_hz"] = torch.full_like(batch["f0_hz"], 70.0)
    for module in (seeded(generator), trained):
        amplitudes, _ = module.controls(batch)
        assert amplitudes.shape == (1, 64, harmonics)
        assert module.decoder.out.out_features == 1 + harmonics + TINY.noise_bands
        with torch.inference_mode():
            sound = module(batch, torch.zeros(1, SAMPLES))[0].numpy()
        hertz, power = spectrum(sound)
        last, following = (power[np.abs(hertz - 70 * k) < 20].max() for k in (harmonics, harmonics + 1))
        assert last > 0.1 * power.max()
        assert following < 1e-3 * last  # what is left there is the last one's trembling from frame to frame


@pytest.mark.parametrize(("bands", "taps"), [(3, 4), (65, 128)])
def test_noise_bands_set_the_filters_length(bands: int, taps: int, tmp_path: Path) -> None:
    """A click in place of the noise comes out as the filter: 2·(bands − 1) taps, of which a Hann window zeroes one."""
    generator = dataclasses.replace(TINY, noise_bands=bands)
    trained, made = two_steps(generator, tmp_path)
    assert made.std() > 0
    batch = clip(glued(hiss(1.024)), generator)
    for module in (seeded(generator), trained):
        _, magnitudes = module.controls(batch)
        assert magnitudes.shape == (1, 64, bands)
        assert module.decoder.out.out_features == 1 + TINY.harmonics + bands
        torch.nn.init.normal_(module.decoder.out.weight[-bands:].data, std=2.0)  # a rugged filter uses all its taps
        click = torch.zeros(1, SAMPLES)
        click[0, SAMPLES // 2 + 100] = 1.0
        with torch.inference_mode():
            filtered = (module(batch, click) - module(batch, torch.zeros(1, SAMPLES)))[0].abs()
        heard = (filtered > 1e-4 * filtered.max()).nonzero()
        assert taps - 4 <= int(heard.max() - heard.min()) + 1 <= taps - 1


@pytest.mark.parametrize("dims", [0, 16])
def test_z_is_heard_where_it_has_dimensions(dims: int, tmp_path: Path) -> None:
    """Other MFCCs, all else the same: another sound with z, the same one without."""
    generator = dataclasses.replace(TINY, z_dims=dims)
    trained, _ = two_steps(generator, tmp_path)
    batch = clip(DIFFICULT["gaps of hiss"], generator)
    other = batch | {"mfcc": batch["mfcc"].flip(1)}
    encoder = [name for name, _ in trained.named_parameters() if name.startswith("encoder")]
    assert len(encoder) == (8 if dims else 0)
    noise = white_noise((1, SAMPLES), 0)
    with torch.inference_mode():
        if dims:
            assert trained.encoder is not None
            assert trained.encoder(batch["mfcc"]).shape == (1, 32, dims)
        difference = float((trained(batch, noise) - trained(other, noise)).abs().max())
    assert difference > 1e-3 if dims else difference == 0.0


@pytest.mark.parametrize("taps", [400, 4000, 40_000])
def test_reverb_leaves_a_tail_of_its_length(taps: int, tmp_path: Path) -> None:
    """A trained reverb's taps, made audible in the stored model, are heard in what `generate` makes; off, none are."""
    generator = dataclasses.replace(TINY, reverb=True, reverb_taps=taps)
    trained, _ = two_steps(generator, tmp_path)
    start = seeded(generator).reverb
    assert trained.reverb is not None and trained.reverb.shape == (taps,)
    assert start is not None
    learned, before = (float(reverb.detach().abs().max()) for reverb in (trained.reverb, start))
    assert learned > 10 * before
    response = np.random.default_rng(0).normal(size=taps) * np.exp(-np.arange(taps) / (taps / 3))
    response[0] = 0.0
    response *= 0.3 / np.sqrt(np.square(response).sum())
    corpus = corpus_of({"tone": glued(tone(220.0, 0.3))}, tmp_path / "prime")
    made = {}
    for name, values in {"wet": response, "dry": np.zeros(taps)}.items():
        trained.reverb.data = torch.from_numpy(values.astype(np.float32))
        torch.save(trained.state_dict(), job_in(tmp_path / name).folder / MODEL)
        made[name] = generate(generator, corpus, tmp_path / name, tmp_path / f"by {name}")["tone"]
    assert np.abs(made["wet"]).max() < 0.99  # not clipped
    expected = made["dry"] + filters.fftconvolve(made["dry"], response)[:SAMPLES]
    assert made["wet"] == pytest.approx(expected, abs=2e-4)
    assert np.abs(made["wet"] - made["dry"]).max() > 0.05


def test_without_reverb_there_is_none(tmp_path: Path) -> None:
    """`reverb_taps` says nothing then: the same weights, and the sound stops with its last sample."""
    one, other = (dataclasses.replace(TINY, reverb=False, reverb_taps=taps) for taps in (400, 4000))
    weights = seeded(one).state_dict()
    assert "reverb" not in weights
    assert weights.keys() == seeded(other).state_dict().keys()
    click, silence = torch.zeros(1, SAMPLES), torch.zeros(1, SAMPLES)
    click[0, 8000] = 1.0
    batch = clip(DIFFICULT["noise"], one)
    with torch.inference_mode():
        heard = (seeded(one)(batch, click) - seeded(one)(batch, silence))[0].nonzero()
    assert int(heard.max()) <= 8000 + 2 * TINY.noise_bands
