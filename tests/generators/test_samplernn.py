"""The samplernn generator: fitting, resuming, continuing primes."""

from __future__ import annotations

import dataclasses
import json
import math
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
from augrun.generators import samplernn as component
from augrun.generators.requests import REQUEST_COLUMNS, GenerationInputs
from augrun.generators.samplernn import SampleRNN, even
from augrun.generators.samplernn.data import Windows
from augrun.generators.samplernn.model import SampleRNN as Network

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).parent.parent.parent
RATE = 4000
#: No whole number of samples in a period, so that windows begin at all phases.
PITCHES = {"low": 253.0, "high": 411.0}

#: A network that learns a sine in seconds.
TINY = SampleRNN(
    sample_rate=RATE, sample_s=0.5, prime_s=0.125, levels=64, frame_sizes=(4, 16), dim=48, layers=1, window_s=0.016,
    truncation=64, validation_windows=40, epochs=4, batches_per_epoch=24, batch_windows=64, learning_rate=4e-3,
    temperature=0.5, top_k=8, batch_size=4,
)  # fmt: skip


def corpus_of(folder: Path, labels: list[tuple[int, ...]], seconds: float = 1.5) -> Corpus:
    """Sines of random phase at the pitch of their first class, one a file, the clip lying 0.1 s within it."""
    folder.mkdir(exist_ok=True)
    rows, random = [], np.random.default_rng(0)
    for clip, carried in enumerate(labels):
        moments = np.arange(round((seconds + 0.2) * RATE)) / RATE
        pitch = list(PITCHES.values())[carried[0] if carried else 0]
        path = folder / f"{clip}.wav"
        sound = 0.5 * np.sin(2 * np.pi * (pitch * moments + random.random()))
        soundfile.write(path, sound, RATE)
        values = {"clip_id": f"{folder.name}-{clip}", "path": str(path), "start_s": 0.1, "end_s": 0.1 + seconds}
        values |= {"duration_s": seconds, "labels": carried, "origin": "recorded", "digest": f"{clip}"}
        rows.append([values.get(column, "") for column in COLUMNS])
    return Corpus("sines", pd.DataFrame(rows, columns=list(COLUMNS)), LabelSet(tuple(PITCHES), multilabel=True))


def job_in(folder: Path, seed: int = 0, workers: int = 2) -> Job:
    folder.mkdir(exist_ok=True)
    return Job(folder, seed=seed, hardware=Hardware(accelerator="cpu", workers=workers, progress=False))


def requests_for(
    corpus: Corpus, labels: list[int], seconds: float = 0.5, prime_s: float = 0.125, start_s: float = 0.1
) -> pd.DataFrame:
    paths = corpus.clips["path"]
    rows = [
        (f"{label:03d}-{k:05d}", label, (label,), seconds, "c", paths.iat[k % len(corpus)], start_s, prime_s, 7 + k)
        for k, label in enumerate(labels)
    ]
    return pd.DataFrame(rows, columns=list(REQUEST_COLUMNS))


def pitch_of(sound: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 16 * RATE))
    return float(np.argmax(spectrum[16 * 50 :]) + 16 * 50) / 16


def sounds_in(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: soundfile.read(path)[0] for path in sorted(folder.glob("*.wav"))}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus]:
    """A network trained on two classes of different pitch, and the corpus it was trained on."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("samplernn")
    corpus = corpus_of(folder / "corpus", [(0,), (1,)] * 4)
    TINY.fit(corpus, corpus, job_in(folder / "fit"))
    return folder / "fit", corpus


def test_fit_lowers_the_bits_and_leaves_the_model_alone(fitted: tuple[Path, Corpus]) -> None:
    folder, _ = fitted
    assert sorted(path.name for path in folder.iterdir()) == ["history.json", "model.ckpt", "settings.json"]
    history = json.loads((folder / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4]
    assert history[-1]["validation/loss"] < 1.5  # of the log2(64) bits of knowing nothing
    assert json.loads((folder / "settings.json").read_text())["classes"] == ["low", "high"]


def test_a_prime_is_continued_at_its_pitch(fitted: tuple[Path, Corpus], tmp_path: Path) -> None:
    folder, corpus = fitted
    TINY.generate(
        GenerationInputs(requests_for(corpus, [0, 1, 0, 1]), tuple(PITCHES), folder, job_in(tmp_path / "out"))
    )
    for name, sound in sounds_in(tmp_path / "out").items():
        assert len(sound) == 2000
        new = sound[round(0.125 * RATE) :]
        assert pitch_of(new) == pytest.approx(list(PITCHES.values())[int(name[:3])], rel=0.04), name
        assert np.sqrt(np.mean(new**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.35)


@pytest.mark.parametrize("kind", ["silence", "between"])
def test_the_class_picks_the_pitch(fitted: tuple[Path, Corpus], tmp_path: Path, kind: str) -> None:
    """After a prime that tells nothing: silence, or a pitch half way between those of the classes."""
    folder, corpus = fitted
    between = math.sqrt(math.prod(PITCHES.values()))
    sound = 0.5 * np.sin(2 * np.pi * between * np.arange(RATE) / RATE)
    soundfile.write(tmp_path / "prime.wav", sound if kind == "between" else 0 * sound, RATE)
    requests = requests_for(corpus, [0, 1] * 4, prime_s=0.008)
    requests = requests.assign(prime_path=str(tmp_path / "prime.wav"), prime_start_s=0.0)
    TINY.generate(GenerationInputs(requests, tuple(PITCHES), folder, job_in(tmp_path / "out")))
    heard = {name: pitch_of(sound[500:]) for name, sound in sounds_in(tmp_path / "out").items()}
    right = sum(abs(pitch / list(PITCHES.values())[int(name[:3])] - 1) < 0.05 for name, pitch in heard.items())
    assert len(heard) == 8
    assert right >= 7, heard


def test_unconditional_network_continues_its_prime(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "corpus", [(0,)] * 4)
    alone = dataclasses.replace(TINY, conditional=False, epochs=3)
    alone.fit(corpus, corpus, job_in(tmp_path / "fit"))
    weights = torch.load(tmp_path / "fit" / "model.ckpt", weights_only=True)
    assert not any("label" in name for name in weights)
    for place in (0, 1):  # h0 is learned
        assert weights[f"tiers.{place}.start"].abs().max() > 1e-3
    alone.generate(
        GenerationInputs(requests_for(corpus, [0, 1]), tuple(PITCHES), tmp_path / "fit", job_in(tmp_path / "out"))
    )
    for sound in sounds_in(tmp_path / "out").values():
        assert pitch_of(sound[500:]) == pytest.approx(PITCHES["low"], rel=0.04)


def test_the_prime_is_kept_or_left_out(fitted: tuple[Path, Corpus], tmp_path: Path) -> None:
    folder, corpus = fitted
    requests = requests_for(corpus, [0, 1, 0])
    TINY.generate(GenerationInputs(requests, tuple(PITCHES), folder, job_in(tmp_path / "kept")))
    dataclasses.replace(TINY, keep_prime=False).generate(
        GenerationInputs(requests, tuple(PITCHES), folder, job_in(tmp_path / "new"))
    )
    quantiser = TINY.quantiser()
    kept, new = sounds_in(tmp_path / "kept"), sounds_in(tmp_path / "new")
    for place, name in enumerate(requests["sample_id"]):
        recorded = soundfile.read(corpus.clips["path"].iat[place])[0][400:900]
        assert np.abs(kept[name][:500] - quantiser.decode(quantiser.encode(recorded))).max() < 1e-4
        assert len(new[name]) == len(kept[name]) == 2000
        assert np.array_equal(new[name][:1500], kept[name][500:])  # the same continuation


def test_request_columns_are_honoured(fitted: tuple[Path, Corpus], tmp_path: Path) -> None:
    """Seconds, label, prime start and seed, all different within a batch; a prime shorter than asked for."""
    folder, corpus = fitted
    requests = requests_for(corpus, [0, 0, 0, 0]).assign(
        seconds=[0.5, 0.3, 0.4004, 0.05], prime_s=[0.125, 0.11, 0.1, 0.125], prime_start_s=[0.1, 0.3, 0.15, 0.2]
    )
    TINY.generate(GenerationInputs(requests, tuple(PITCHES), folder, job_in(tmp_path / "out")))
    sounds = sounds_in(tmp_path / "out")
    assert [len(sounds[name]) for name in requests["sample_id"]] == [2000, 1200, 1602, 200]
    same = requests_for(corpus, [0, 0, 1]).assign(prime_path=corpus.clips["path"].iat[0], seed=[1, 2, 1])
    TINY.generate(GenerationInputs(same, tuple(PITCHES), folder, job_in(tmp_path / "same")))
    first, reseeded, other_class = sounds_in(tmp_path / "same").values()
    assert np.array_equal(first[:500], reseeded[:500])
    assert not np.array_equal(first, reseeded)
    assert not np.array_equal(first, other_class)


def test_samples_do_not_depend_on_their_batch(fitted: tuple[Path, Corpus], tmp_path: Path) -> None:
    folder, corpus = fitted
    requests = requests_for(corpus, [0, 1] * 3)
    TINY.generate(GenerationInputs(requests, tuple(PITCHES), folder, job_in(tmp_path / "four")))
    single = dataclasses.replace(TINY, batch_size=1)
    single.generate(GenerationInputs(requests.iloc[::-1], tuple(PITCHES), folder, job_in(tmp_path / "one", seed=9)))
    for path in (tmp_path / "four").glob("*.wav"):
        assert path.read_bytes() == (tmp_path / "one" / path.name).read_bytes()
    assert json.loads((tmp_path / "one" / "batch.json").read_text()) == {"batch_size": 1}


def test_batches_are_as_few_as_allowed_and_even() -> None:
    assert [even(count, 1440) for count in (0, 1, 1440, 1441, 2880, 2881)] == [1, 1, 1440, 721, 1440, 961]


def test_bfloat16_makes_other_samples_of_the_same_pitch(fitted: tuple[Path, Corpus], tmp_path: Path) -> None:
    folder, corpus = fitted
    requests = requests_for(corpus, [0, 1] * 2)
    rough = dataclasses.replace(TINY, precision="bfloat16")
    TINY.generate(GenerationInputs(requests, tuple(PITCHES), folder, job_in(tmp_path / "exact")))
    rough.generate(GenerationInputs(requests, tuple(PITCHES), folder, job_in(tmp_path / "rough")))
    exact, made = sounds_in(tmp_path / "exact"), sounds_in(tmp_path / "rough")
    for name, sound in made.items():
        assert np.array_equal(sound[:500], exact[name][:500])  # the prime
        assert not np.array_equal(sound, exact[name])
        assert pitch_of(sound[500:]) == pytest.approx(list(PITCHES.values())[int(name[:3])], rel=0.04), name


def test_killed_generation_continues_to_the_same_files(
    fitted: tuple[Path, Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, corpus = fitted
    requests = requests_for(corpus, [0, 1] * 5)  # batches of 4, 4 and 2
    whole, broken = job_in(tmp_path / "whole"), job_in(tmp_path / "broken", workers=1)  # one file after the other
    TINY.generate(GenerationInputs(requests, tuple(PITCHES), folder, whole))
    write, written = component.audio.write, []

    def stumble(path: Path, *rest: Any) -> None:
        if len(written) == 5:  # in the second batch
            raise KeyboardInterrupt
        written.append(path)
        write(path, *rest)

    monkeypatch.setattr(component.audio, "write", stumble)
    with pytest.raises(KeyboardInterrupt):
        TINY.generate(GenerationInputs(requests, tuple(PITCHES), folder, broken))
    monkeypatch.setattr(component.audio, "write", write)
    assert len(list(broken.folder.glob("*.wav"))) == 5
    before = {path: path.stat().st_mtime_ns for path in written}
    groups = []
    made = SampleRNN._continue
    monkeypatch.setattr(SampleRNN, "_continue", lambda *a: groups.append(len(a[2])) or made(*a))
    # What an attempt began with decides, not what there is room for now.
    dataclasses.replace(TINY, batch_size=None).generate(GenerationInputs(requests, tuple(PITCHES), folder, broken))
    assert groups == [4, 2]
    assert {path: path.stat().st_mtime_ns for path in written} == before
    for path in whole.folder.iterdir():
        assert (broken.folder / path.name).read_bytes() == path.read_bytes(), path.name


def test_interrupted_fit_continues_to_the_same_weights(
    fitted: tuple[Path, Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, corpus = fitted
    undisturbed = torch.load(folder / "model.ckpt", weights_only=True)
    step, calls = Network.training_step, []

    def stumble(self: Network, batch: Any, index: int) -> None:
        calls.append(index)
        if len(calls) == 30:  # in the second epoch
            raise KeyboardInterrupt
        step(self, batch, index)

    monkeypatch.setattr(Network, "training_step", stumble)
    job = job_in(tmp_path / "fit")
    with pytest.raises(KeyboardInterrupt):
        TINY.fit(corpus, corpus, job)
    TINY.fit(corpus, corpus, job)
    assert len(calls) == 30 + 72
    resumed = torch.load(job.folder / "model.ckpt", weights_only=True)
    assert resumed.keys() == undisturbed.keys()
    for name, value in undisturbed.items():
        assert torch.equal(value, resumed[name]), name


def test_finished_fit_returns_at_once(fitted: tuple[Path, Corpus], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, corpus = fitted
    before = (folder / "model.ckpt").read_bytes()
    monkeypatch.setattr(SampleRNN, "_train", lambda *_: pytest.fail("trained again"))
    TINY.fit(corpus, corpus, job_in(folder))
    assert (folder / "model.ckpt").read_bytes() == before


def test_seed_decides_the_weights(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "corpus", [(0,), (1,)])
    short = dataclasses.replace(TINY, epochs=1, batches_per_epoch=1)
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        short.fit(corpus, corpus, job_in(tmp_path / name, seed))
        found.append(torch.load(tmp_path / name / "model.ckpt", weights_only=True))
    one, same, different = found
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["perceptron.out.bias"], different["perceptron.out.bias"])


def test_windows_lie_within_their_clip_and_are_resampled(tmp_path: Path) -> None:
    """A file that is loud outside its clip, at another rate, and stereo."""
    sound = np.full((3 * 44100, 2), 0.9)
    sound[44100 : 2 * 44100] = 0.1
    soundfile.write(tmp_path / "a.wav", sound, 44100)
    corpus = corpus_of(tmp_path / "corpus", [(0,)])
    table = corpus.clips.assign(path=str(tmp_path / "a.wav"), start_s=1.0, end_s=2.0, duration_s=1.0)
    corpus = Corpus("a", table, corpus.label_set)
    quantiser = TINY.quantiser()
    windows = Windows(corpus, quantiser, 16000, 12800, 2, None, 0)
    assert [start for _, start in windows.places] == [1.0, pytest.approx(1.2)]
    for window in (windows[0], windows[1]):
        assert window["codes"].dtype == np.int16
        assert window["length"] == 12800
        assert set(window["codes"][100:-100]) == {int(quantiser.encode(np.array(0.1)))}
    assert len(Windows(corpus, quantiser, 16000, 3200, 2, 2, 0)) == 2
    longer = Windows(corpus, quantiser, 16000, 32000, 2, None, 0)
    assert len(longer) == 1
    assert longer[0]["length"] == 16000
    assert set(longer[0]["codes"][16000:]) == {quantiser.silence}


def test_a_clip_of_several_classes_is_shown_with_one_drawn_anew_every_epoch(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "corpus", [(0, 1), (1,), ()])
    windows = Windows(corpus, TINY.quantiser(), RATE, 1024, 2, 1, seed=3)
    drawn = []
    for epoch in range(12):
        windows.set_epoch(epoch)
        rows = [windows[k]["classes"] for k in range(3)]
        assert rows[0].sum() == 1
        assert rows[1].tolist() == [0, 1]
        assert rows[2].tolist() == [0, 0]
        drawn.append(int(rows[0].argmax()))
    assert set(drawn) == {0, 1}
    windows.set_epoch(0)
    assert int(windows[0]["classes"].argmax()) == drawn[0]
    assert Windows(corpus, TINY.quantiser(), RATE, 1024, 0, 1, 3)[0]["classes"].shape == (0,)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"frame_sizes": (16, 24)}, "generator.frame_sizes=[16, 24] must rise from 2 on, each a multiple"),
        ({"frame_sizes": ()}, "generator.frame_sizes=[] must rise"),
        (
            {"truncation": 100},
            "generator.truncation=100 must be a multiple of the largest of generator.frame_",
        ),
        ({"window_s": 0.01}, "generator.window_s=0.01 is shorter than the 64 samples of generator.truncation"),
        ({"prime_s": 0.5}, "generator.prime_s=0.5 leaves nothing to make of generator.sample_s=0.5"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError) as caught:
        dataclasses.replace(TINY, **changes)
    assert says in str(caught.value)


def test_errors_name_the_folder_and_the_classes(fitted: tuple[Path, Corpus], tmp_path: Path) -> None:
    folder, corpus = fitted
    requests = requests_for(corpus, [0])
    with pytest.raises(AugrunError, match=r"holds no trained samplernn model \(model.ckpt\)"):
        TINY.generate(GenerationInputs(requests, tuple(PITCHES), tmp_path, job_in(tmp_path / "out")))
    with pytest.raises(AugrunError, match="trained on the classes low, high, asked for are low, middle, high"):
        TINY.generate(GenerationInputs(requests, ("low", "middle", "high"), folder, job_in(tmp_path / "out")))
    spectra = Corpus("s", corpus.clips.assign(path="/a/b.npy"), corpus.label_set)
    with pytest.raises(AugrunError, match=r"8 of 8 clips are spectrograms, the first is /a/b\.npy"):
        TINY.fit(spectra, corpus, job_in(tmp_path / "fit"))


def test_yaml_has_every_field_and_the_paper_s_values() -> None:
    text = (ROOT / "conf" / "generator" / "samplernn.yaml").read_text()
    assert text.startswith("# ")
    content = yaml.safe_load(text.replace("${by_scale:", '"paper ').replace("}", '"'))
    content.pop("_target_")
    assert content.pop("name") == "samplernn"
    defaults = {field.name: field.default for field in dataclasses.fields(SampleRNN)}
    assert list(content) and set(content) == set(defaults)
    for name, value in content.items():
        if isinstance(value, str) and value.startswith("paper "):
            value = yaml.safe_load(value.removeprefix("paper ").partition(",")[0])
        expected = list(defaults[name]) if isinstance(defaults[name], tuple) else defaults[name]
        assert value == expected, name
