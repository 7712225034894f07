"""The ddsp generator: fitting, resuming, reconstructing."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml

from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Hardware, Job
from augrun.corpora.corpus import COLUMNS, Corpus, LabelSet
from augrun.generators.ddsp import DDSP, analysis
from augrun.generators.ddsp.analysis import batch_of, windows_of
from augrun.generators.ddsp.model import DDSPAutoencoder, white_noise
from augrun.generators.requests import REQUEST_COLUMNS, GenerationInputs

ROOT = Path(__file__).parent.parent.parent
RATE = 16000

#: Half-second windows and a network of a few thousand parameters.
TINY = DDSP(
    sample_s=0.512, prime_s=0.512, frame_rate=62.5, harmonics=12, noise_bands=17, z_dims=4, z_units=8, units=16,
    channels=16, layers=1, fft_sizes=(512, 128), steps=30, steps_per_epoch=10, batch_size=4, learning_rate=1e-2,
    validation_windows=4,
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def corpus_of(folder: Path, seconds: float = 1.2, clips: int = 4, rate: int = RATE) -> Corpus:
    """Decaying tones at different pitches, one a file, the clip lying 0.1 s within it."""
    folder.mkdir(exist_ok=True)
    rows = []
    for clip in range(clips):
        time = np.arange(round((seconds + 0.2) * rate)) / rate
        f0 = 200 * 2 ** (clip / 4)
        sound = sum(np.sin(2 * np.pi * f0 * k * time) / k for k in (1, 2, 3)) * 0.2 * np.exp(-time)
        path = folder / f"{clip}.wav"
        soundfile.write(path, sound, rate)
        values = {"clip_id": f"{folder.name}-{clip}", "path": str(path), "start_s": 0.1, "end_s": 0.1 + seconds}
        values |= {"duration_s": seconds, "labels": (0,), "origin": "recorded", "digest": f"{clip}"}
        rows.append([values.get(column, "") for column in COLUMNS])
    return Corpus("tones", pd.DataFrame(rows, columns=list(COLUMNS)), LabelSet(("tone",)))


def job_in(folder: Path, seed: int = 0) -> Job:
    folder.mkdir(exist_ok=True)
    return Job(folder, seed=seed, hardware=Hardware(accelerator="cpu", progress=False))


def requests_for(corpus: Corpus, count: int, seconds: float = 0.512) -> pd.DataFrame:
    rows = [
        (f"000-{place:05d}", 0, (0,), seconds, "c", corpus.clips["path"].iat[place % len(corpus)], 0.1, seconds, place)
        for place in range(count)
    ]
    return pd.DataFrame(rows, columns=list(REQUEST_COLUMNS))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus]:
    """A trained model's folder, and the corpus it was trained on."""
    folder = tmp_path_factory.mktemp("ddsp")
    corpus = corpus_of(folder / "corpus")
    torch.set_num_threads(1)
    TINY.fit(corpus, corpus, job_in(folder / "fit"))
    return folder / "fit", corpus


def test_fit_lowers_the_loss_and_leaves_the_model_alone(fitted: tuple[Path, Corpus]) -> None:
    folder, _ = fitted
    assert sorted(path.name for path in folder.iterdir()) == ["history.json", "model.ckpt", "settings.json"]
    history = json.loads((folder / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert history[-1]["validation/loss"] < 0.75 * history[0]["train/loss"]
    assert json.loads((folder / "settings.json").read_text())["steps"] == 30


def test_reconstructions_resemble_their_primes(fitted: tuple[Path, Corpus], tmp_path: Path) -> None:
    """Closer in pitch and level to their own prime than silence or another prime is."""
    folder, corpus = fitted
    TINY.generate(GenerationInputs(requests_for(corpus, 4), ("tone",), folder, job_in(tmp_path / "out")))
    for place in range(4):
        sound, rate = soundfile.read(tmp_path / "out" / f"000-{place:05d}.wav")
        assert (rate, sound.shape) == (RATE, (8192,))
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
        f0 = 200 * 2 ** (place / 4)
        strongest = np.argmax(spectrum) * RATE / len(sound)
        assert min(abs(strongest - f0 * k) for k in (1, 2, 3)) < 8


def test_finished_fit_returns_at_once(
    fitted: tuple[Path, Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, corpus = fitted
    monkeypatch.setattr(DDSP, "_train", lambda *_: pytest.fail("trained again"))
    before = (folder / "model.ckpt").stat().st_mtime_ns
    TINY.fit(corpus, corpus, job_in(folder))
    assert (folder / "model.ckpt").stat().st_mtime_ns == before


def test_interrupted_fit_continues_to_the_same_weights(
    fitted: tuple[Path, Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, corpus = fitted
    undisturbed = torch.load(folder / "model.ckpt", weights_only=True)
    job = job_in(tmp_path / "fit")
    step = DDSPAutoencoder.training_step
    calls = []

    def stumble(self: DDSPAutoencoder, batch: Any, index: int) -> torch.Tensor:
        calls.append(index)
        if len(calls) == 17:  # in the second epoch
            raise KeyboardInterrupt
        return step(self, batch, index)

    analysed = []
    analyse = analysis.Analysis.analyse
    monkeypatch.setattr(analysis.Analysis, "analyse", lambda *a: analysed.append(1) or analyse(*a))
    monkeypatch.setattr(DDSPAutoencoder, "training_step", stumble)
    with pytest.raises(KeyboardInterrupt):
        TINY.fit(corpus, corpus, job)
    assert not (job.folder / "model.ckpt").exists()
    assert len(analysed) == 4 * 3 + 4  # every clip has three windows, one is validated on
    TINY.fit(corpus, corpus, job)
    assert len(calls) == 17 + 20  # the second epoch from its start, and the third
    assert len(analysed) == 4 * 3 + 4  # nothing is analysed twice
    resumed = torch.load(job.folder / "model.ckpt", weights_only=True)
    assert resumed.keys() == undisturbed.keys()
    for name, value in undisturbed.items():
        assert torch.equal(value, resumed[name]), name


def test_seed_decides_the_weights(fitted: tuple[Path, Corpus], tmp_path: Path) -> None:
    _, corpus = fitted
    short = dataclasses.replace(TINY, steps=10)
    first, again, other = (job_in(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    for job in (first, again, other):
        short.fit(corpus, corpus, job)
    one, same, different = (torch.load(job.folder / "model.ckpt", weights_only=True) for job in (first, again, other))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["decoder.out.weight"], different["decoder.out.weight"])


def test_generated_files_depend_on_their_request_alone(fitted: tuple[Path, Corpus], tmp_path: Path) -> None:
    folder, corpus = fitted
    requests = requests_for(corpus, 20)  # more than a batch
    TINY.generate(GenerationInputs(requests, ("tone",), folder, job_in(tmp_path / "all")))
    TINY.generate(GenerationInputs(requests.iloc[[18, 3]], ("tone",), folder, job_in(tmp_path / "few", seed=5)))
    assert len(list((tmp_path / "all").iterdir())) == 20
    for sample_id in requests["sample_id"].iloc[[18, 3]]:
        one, other = (soundfile.read(tmp_path / way / f"{sample_id}.wav", dtype="int16")[0] for way in ("all", "few"))
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1
    same_prime = [soundfile.read(tmp_path / "all" / f"000-{place:05d}.wav")[0] for place in (0, 4)]
    assert not np.array_equal(*same_prime)  # the seed decides the noise


def test_generation_continues_and_keeps_what_is_there(fitted: tuple[Path, Corpus], tmp_path: Path) -> None:
    folder, corpus = fitted
    requests = requests_for(corpus, 20)
    whole, broken = job_in(tmp_path / "whole"), job_in(tmp_path / "broken")
    for job in (whole, broken):
        TINY.generate(GenerationInputs(requests, ("tone",), folder, job))
    kept = broken.folder / "000-00001.wav"
    written = kept.stat().st_mtime_ns
    for place in (2, 7):
        (broken.folder / f"000-{place:05d}.wav").unlink()
    TINY.generate(GenerationInputs(requests, ("tone",), folder, broken))
    for path in whole.folder.iterdir():
        assert (broken.folder / path.name).read_bytes() == path.read_bytes()
    assert kept.stat().st_mtime_ns == written  # complete files are left alone


def test_a_short_prime_gives_a_sample_as_short(fitted: tuple[Path, Corpus], tmp_path: Path) -> None:
    folder, corpus = fitted
    TINY.generate(GenerationInputs(requests_for(corpus, 1, seconds=0.3), ("tone",), folder, job_in(tmp_path / "out")))
    assert soundfile.info(tmp_path / "out" / "000-00000.wav").frames == 4800


def test_windows_stay_within_their_clip_and_are_resampled(tmp_path: Path) -> None:
    """A file that is loud outside its clip, at another rate, and stereo."""
    path = tmp_path / "a.wav"
    sound = np.full((44100 * 3, 2), 0.9)
    sound[44100 : 2 * 44100, 0] = sound[44100 : 2 * 44100, 1] = 0.1
    soundfile.write(path, sound, 44100)
    corpus = corpus_of(tmp_path / "corpus", clips=1)
    table = corpus.clips.assign(path=str(path), start_s=1.0, end_s=2.0, duration_s=1.0)
    corpus = Corpus("a", table, corpus.label_set)
    windows = windows_of(corpus, TINY.analysis(), tmp_path / "w", Hardware(), per_clip=None, title=None)
    assert len(windows) == 2  # 0 to 0.512 s and 0.488 to 1 s
    for window in windows:  # type: ignore[attr-defined]
        assert np.abs(window["audio"][100:-100] - 0.1).max() < 1e-3
    limited = windows_of(corpus, TINY.analysis(), tmp_path / "v", Hardware(), per_clip=1, title=None)
    assert len(limited) == 1


@pytest.mark.parametrize("changes", [{}, {"z_dims": 0, "reverb": True, "reverb_taps": 500}])
def test_gradient_reaches_every_parameter(fitted: tuple[Path, Corpus], tmp_path: Path, changes: dict) -> None:
    _, corpus = fitted
    generator = dataclasses.replace(TINY, **changes)
    torch.manual_seed(0)
    module = generator.autoencoder()
    windows = windows_of(corpus, generator.analysis(), tmp_path, Hardware(), per_clip=1, title=None)
    batch = batch_of([windows[0], windows[1]])
    module.loss(batch, white_noise(batch["audio"].shape, 0)).backward()
    names = {name for name, _ in module.named_parameters()}
    assert ("reverb" in names) == bool(changes)
    assert any(name.startswith("encoder") for name in names) != bool(changes)
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_half_precision_trains(fitted: tuple[Path, Corpus], tmp_path: Path) -> None:
    """Networks in bfloat16, synthesis and loss in float32: nearly the same loss."""
    _, corpus = fitted
    torch.manual_seed(0)
    module = TINY.autoencoder()
    windows = windows_of(corpus, TINY.analysis(), tmp_path, Hardware(), per_clip=1, title=None)
    batch = batch_of([windows[0], windows[1]])
    noise = white_noise(batch["audio"].shape, 0)
    with torch.autocast("cpu", torch.bfloat16):
        half = module.loss(batch, noise)
    half.backward()
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(module.loss(batch, noise).item(), rel=0.02)
    assert all(torch.isfinite(parameter.grad).all() for parameter in module.parameters())


def test_learning_rate_falls_smoothly() -> None:
    module = dataclasses.replace(TINY, learning_rate=0.5, decay=0.25, decay_steps=2).autoencoder()
    made = module.configure_optimizers()
    assert made["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(5):
        rates.append(made["optimizer"].param_groups[0]["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert rates == pytest.approx([0.5, 0.25, 0.125, 0.0625, 0.03125])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frame_rate": 300.0}, "generator.frame_rate=300 must divide generator.sample_rate=16000"),
        ({"sample_s": 4.001}, "give whole frames in generator.sample_s=4.001"),
        ({"prime_s": 5.0}, "generator.prime_s=5 is longer than generator.sample_s=4"),
        ({"f0_max": 9000.0}, "stay below half the sample rate, 8000 Hz"),
        ({"fft_sizes": []}, "generator.fft_sizes"),
    ],
)
def test_settings_that_do_not_fit(settings: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        DDSP(**settings)


def test_spectrograms_are_refused(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "corpus", clips=2)
    mels = Corpus("mels", corpus.clips.assign(path="/data/48/948.npy"), corpus.label_set)
    with pytest.raises(AugrunError, match=r"2 of 2 clips are spectrograms, the first is /data/48/948\.npy"):
        TINY.fit(mels, mels, job_in(tmp_path / "fit"))


def test_no_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AugrunError, match="holds no trained ddsp model"):
        TINY.generate(
            GenerationInputs(requests_for(corpus_of(tmp_path / "c"), 1), ("tone",), tmp_path, job_in(tmp_path / "out"))
        )


def test_an_unreadable_prime_leaves_no_file(fitted: tuple[Path, Corpus], tmp_path: Path) -> None:
    folder, corpus = fitted
    requests = requests_for(corpus, 2).assign(prime_path=str(tmp_path / "gone.wav"))
    job = job_in(tmp_path / "out")
    with pytest.raises(AugrunError, match=r"gone\.wav"):
        TINY.generate(GenerationInputs(requests, ("tone",), folder, job))
    assert not list(job.folder.iterdir())


def test_yaml_has_every_setting_and_the_reference_sizes() -> None:
    content = yaml.safe_load((ROOT / "conf" / "generator" / "ddsp.yaml").read_text())
    assert content.pop("_target_") == "augrun.generators.ddsp.DDSP"
    assert content.pop("name") == "ddsp"
    defaults = DDSP()
    assert list(content) == [field.name for field in dataclasses.fields(DDSP)]
    for name, value in content.items():
        if isinstance(value, str) and value.startswith("${by_scale:"):
            value = yaml.safe_load(value.removeprefix("${by_scale:").split(",")[0])
        if value != "${.sample_s}":
            expected = getattr(defaults, name)
            value = float(value) if isinstance(expected, float) else value
            assert value == (list(expected) if isinstance(expected, tuple) else expected), name


def test_phrases_are_reconstructed(shared_data: Path, tmp_path: Path) -> None:
    """A small model on one real phrase: the loss falls to under half of the untrained model's."""
    generator = DDSP(
        frame_rate=62.5, harmonics=60, z_units=32, units=32, channels=32, layers=2, steps=40, steps_per_epoch=20,
        batch_size=2, learning_rate=5e-3, validation_windows=1,
    )  # fmt: skip
    tones = corpus_of(tmp_path / "c", clips=1)
    path = shared_data / "music" / "audio" / "sax-phrase-short.flac"
    corpus = Corpus("a", tones.clips.assign(path=str(path), start_s=0.0, duration_s=3.1), tones.label_set)
    job = job_in(tmp_path / "fit")
    generator.fit(corpus, corpus, job)
    trained, untrained = generator.autoencoder(), generator.autoencoder()
    trained.load_state_dict(torch.load(job.folder / "model.ckpt", weights_only=True))
    windows = windows_of(corpus, generator.analysis(), tmp_path / "w", Hardware(), per_clip=None, title=None)
    batch = batch_of([windows[0]])
    with torch.no_grad():
        after, before = (float(m.loss(batch, white_noise((1, 64000), 0))) for m in (trained, untrained))
    assert after < 0.5 * before


def test_golden_numbers_are_the_live_packages(tmp_path: Path) -> None:
    """Runs scripts/ddsp_golden.py where Magenta's environment is there, and compares."""
    python = Path(os.environ.get("AUGRUN_DDSP_ENV", ROOT / ".venv-ddsp")) / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is not there; scripts/setup_ddsp_env.sh makes it, AUGRUN_DDSP_ENV names another place")
    fresh = tmp_path / "fresh.npz"
    subprocess.run([str(python), str(ROOT / "scripts" / "ddsp_golden.py"), str(fresh)], check=True, capture_output=True)
    with np.load(fresh) as live, np.load(ROOT / "tests" / "golden" / "ddsp.npz") as golden:
        assert set(live.files) == set(golden.files)
        for name in golden.files:
            if golden[name].dtype.kind == "f" and "/weight/" not in name:
                scale = np.abs(golden[name]).max() + 1e-9
                assert np.abs(live[name] - golden[name]).max() < 1e-3 * scale, name
