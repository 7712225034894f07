"""Google's own ddsp as a generator. What needs its environment is skipped where that is not."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Hardware, Job
from augrun.core.store.code_digest import code_modules
from augrun.corpora.corpus import COLUMNS, Corpus, LabelSet
from augrun.generators.ddsp import magenta
from augrun.generators.ddsp.magenta import DDSPMagenta
from augrun.generators.requests import REQUEST_COLUMNS, GenerationInputs

ROOT = Path(__file__).parent.parent.parent
RATE = 16000

#: Half-second windows and a network of a few thousand parameters.
TINY = DDSPMagenta(
    sample_s=0.512, prime_s=0.512, frame_rate=125, harmonics=12, noise_bands=17, z_dims=4, z_units=8, units=16,
    channels=16, layers=1, steps=60, steps_per_save=10, batch_size=2, learning_rate=1e-2, windows_per_clip=2,
    bindings=["SpectralLoss.fft_sizes = (512, 128)"],
)  # fmt: skip


@pytest.fixture(scope="module")
def environment() -> Path:
    """Where Google's ddsp is."""
    folder = Path(os.environ.get("AUGRUN_DDSP_ENV", ROOT / ".venv-ddsp"))
    if not (folder / "bin" / "python").exists():
        pytest.skip(f"{folder} is not there; `make env-ddsp` makes it, AUGRUN_DDSP_ENV names another place")
    return folder


def corpus_of(folder: Path, clips: int = 4) -> Corpus:
    """Steady tones, an octave apart in all."""
    folder.mkdir(exist_ok=True)
    rows = []
    for clip in range(clips):
        time_s = np.arange(round(1.3 * RATE)) / RATE
        f0 = 250 * 2 ** (clip / 4)
        path = folder / f"{clip}.wav"
        soundfile.write(path, sum(np.sin(2 * np.pi * f0 * k * time_s) / k for k in (1, 2, 3)) * 0.25, RATE)
        values = {"clip_id": f"c{clip}", "path": str(path), "start_s": 0.1, "end_s": 1.2, "duration_s": 1.1}
        values |= {"labels": (0,), "origin": "recorded", "digest": f"{clip}"}
        rows.append([values.get(column, "") for column in COLUMNS])
    return Corpus("tones", pd.DataFrame(rows, columns=list(COLUMNS)), LabelSet(("tone",)))


def requests_for(corpus: Corpus, count: int) -> pd.DataFrame:
    rows = [
        (f"000-{place:05d}", 0, (0,), 0.512, "c", corpus.clips["path"].iat[place % len(corpus)], 0.1, 0.512, place)
        for place in range(count)
    ]
    return pd.DataFrame(rows, columns=list(REQUEST_COLUMNS))


def job_in(folder: Path) -> Job:
    folder.mkdir(exist_ok=True)
    return Job(folder, seed=3, hardware=Hardware(accelerator="cpu", progress=False))


@pytest.mark.slow
def test_the_package_trains_and_reconstructs(environment: Path, tmp_path: Path) -> None:
    """Trained, killed after a checkpoint and taken up again to the same weights; samples have their primes' pitch."""
    corpus = corpus_of(tmp_path / "corpus")
    whole, broken = job_in(tmp_path / "whole"), job_in(tmp_path / "broken")
    TINY.fit(corpus, corpus, whole)
    assert sorted(path.name for path in whole.folder.iterdir()) == ["history.jsonl", "weights.npz"]
    history = [json.loads(line) for line in (whole.folder / "history.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in history] == [10, 20, 30, 40, 50, 60]
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]

    def kill() -> None:
        while not (broken.folder / "training" / "checkpoints" / "checkpoint").exists():
            time.sleep(0.01)
        os.killpg(json.loads((broken.folder / "training" / "process.json").read_text())["pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(AugrunError, match=r"ddsp_magenta: training: the program was ended by signal 9 \(SIGKILL\)"):
        TINY.fit(corpus, corpus, broken)
    killer.join()
    assert not (broken.folder / "weights.npz").exists()
    TINY.fit(corpus, corpus, broken)
    for name in ("weights.npz", "history.jsonl"):
        assert (broken.folder / name).read_bytes() == (whole.folder / name).read_bytes()

    requests = requests_for(corpus, 4)
    TINY.generate(GenerationInputs(requests, ("tone",), whole.folder, job_in(tmp_path / "all")))
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == [f"000-0000{place}.wav" for place in range(4)]
    for place in range(4):
        sound, rate = soundfile.read(tmp_path / "all" / f"000-{place:05d}.wav")
        assert (rate, sound.shape) == (RATE, (8192,))
        strongest = np.argmax(np.abs(np.fft.rfft(sound * np.hanning(len(sound))))) * RATE / len(sound)
        f0 = 250 * 2 ** (place / 4)
        assert min(abs(strongest - f0 * k) for k in (1, 2, 3)) < 12
    # A sample depends on its own request alone, and what is there is left alone.
    some = job_in(tmp_path / "some")
    kept = some.folder / "000-00001.wav"
    kept.write_bytes((tmp_path / "all" / kept.name).read_bytes())
    written = kept.stat().st_mtime_ns
    TINY.generate(GenerationInputs(requests.iloc[[3, 1]], ("tone",), whole.folder, some))
    assert kept.stat().st_mtime_ns == written
    assert (some.folder / "000-00003.wav").read_bytes() == (tmp_path / "all" / "000-00003.wav").read_bytes()


@pytest.mark.slow
def test_the_settings_of_the_paper_make_the_network_of_the_package(environment: Path, tmp_path: Path) -> None:
    """One step at the size of ae.gin; the count of parameters is that of the package's own file."""
    corpus = corpus_of(tmp_path / "corpus", clips=1)
    job = job_in(tmp_path / "fit")
    dataclasses.replace(DDSPMagenta(), steps=1, batch_size=1).fit(corpus, corpus, job)
    with np.load(job.folder / "weights.npz") as weights:
        parameters = sum(weights[name].size for name in weights.files)
    assert parameters == 7_251_186  # of ddsp 3.7.0's ae.gin as it is


def test_no_environment_is_refused_with_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUGRUN_DDSP_ENV", str(tmp_path / "none"))
    with pytest.raises(RequestError) as caught:
        DDSPMagenta().check()
    assert str(caught.value) == (
        "generator=ddsp_magenta runs Google's ddsp 3.7.0 in an environment of its own: "
        f"{tmp_path}/none/bin/python is not there.\n"
        "`make env-ddsp` makes it (2.3 GB, Python 3.11); AUGRUN_DDSP_ENV names one that lies elsewhere"
    )
    (tmp_path / "none" / "bin").mkdir(parents=True)
    (tmp_path / "none" / "bin" / "python").touch()
    with pytest.raises(RequestError, match=r"none is an environment without ddsp 3\.7\.0\.\n`make env-ddsp` makes it"):
        DDSPMagenta().check()
    (tmp_path / "none" / "lib" / "python3.11" / "site-packages" / "ddsp-3.7.0.dist-info").mkdir(parents=True)
    DDSPMagenta().check()
    assert magenta.python() == tmp_path / "none" / "bin" / "python"


def test_no_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AugrunError, match=r"holds no trained ddsp model \(weights\.npz\)"):
        TINY.generate(
            GenerationInputs(requests_for(corpus_of(tmp_path / "c"), 1), ("tone",), tmp_path, job_in(tmp_path / "out"))
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frame_rate": 300}, "generator.frame_rate=300 must divide generator.sample_rate=16000"),
        ({"sample_s": 4.001}, "give whole frames in generator.sample_s=4.001"),
        ({"prime_s": 5.0}, "generator.prime_s=5 is longer than generator.sample_s=4"),
        ({"f0_max": 9000.0}, "stay below half the sample rate, 8000 Hz"),
    ],
)
def test_settings_that_do_not_fit(settings: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        DDSPMagenta(**settings)


def test_gin_gets_the_sizes_and_then_the_bindings_of_the_settings() -> None:
    lines = TINY.gin()
    assert "RnnFcDecoder.ch = 16" in lines
    assert "Harmonic.n_samples = 8192" in lines
    splits = "(('amps', 1), ('harmonic_distribution', 12), ('noise_magnitudes', 17))"
    assert f"RnnFcDecoder.output_splits = {splits}" in lines
    assert lines[-1] == "SpectralLoss.fft_sizes = (512, 128)"


def test_the_program_counts_as_code_and_knows_nothing_of_augrun() -> None:
    assert "augrun.generators.programs.magenta" in code_modules("augrun.generators.ddsp.magenta")
    for program in (ROOT / "augrun" / "generators" / "programs").glob("*.py"):
        assert not re.search(r"^\s*(import|from) augrun", program.read_text(), re.MULTILINE), program


def test_yaml_has_every_setting_and_the_packages_sizes() -> None:
    content = yaml.safe_load((ROOT / "conf" / "generator" / "ddsp_magenta.yaml").read_text())
    assert content.pop("_target_") == "augrun.generators.ddsp.magenta.DDSPMagenta"
    assert content.pop("name") == "ddsp_magenta"
    defaults = dataclasses.asdict(DDSPMagenta())
    assert list(content) == list(defaults)
    for name, value in content.items():
        if isinstance(value, str) and value.startswith("${by_scale:"):
            value = yaml.safe_load(value.removeprefix("${by_scale:").split(",")[0])
        assert name == "prime_s" or value == defaults[name], name
