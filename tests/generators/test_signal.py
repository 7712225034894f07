"""Transformed utterances as samples: what is drawn, what is written, noise that is none, kills."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import os
import signal as signals
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from augrun.core import audio
from augrun.core.config import compose, schema, type_check
from augrun.core.config.component import describe
from augrun.core.errors import AugrunError, RequestError
from augrun.core.files import TEMPORARY
from augrun.core.job import Hardware, Job
from augrun.core.store.code_digest import code_modules
from augrun.corpora.corpus import COLUMNS, Corpus, LabelSet
from augrun.generators.requests import REQUEST_COLUMNS, GenerationInputs
from augrun.generators.signal import ACCOUNT, JOURNAL, PARAMETERS, Signal, StretchAndPitch
from augrun.generators.signal.noise import Background

ROOT = Path(__file__).parent.parent.parent
RATE = 16000
FOUR = list(PARAMETERS)


def speech(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Gliding harmonics that come and go."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate)) / rate
    angle = 2 * np.pi * np.cumsum(rng.uniform(110, 220) * (1 + 0.1 * np.sin(3 * time_s))) / rate
    sound = sum(np.sin(k * angle) / k for k in range(1, 12)) * (1 + np.sin(2 * np.pi * 2.3 * time_s)) / 2
    return (0.1 * sound).astype(np.float32)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three utterances: 16 kHz; 22.05 kHz stereo; 8 kHz."""
    folder = tmp_path_factory.mktemp("recordings")
    paths = []
    for number, (seconds, rate, channels) in enumerate([(1.5, RATE, 1), (0.9, 22050, 2), (2.2, 8000, 1)]):
        paths.append(folder / f"utterance {number}.wav")
        soundfile.write(paths[-1], np.stack([speech(seconds, number, rate)] * channels, 1), rate, subtype="FLOAT")
    return paths


def noise_corpus(sounds: dict[str, Path | tuple[np.ndarray, int]], folder: Path) -> Corpus:
    """Files, or samples and rates to write, as the clips of a corpus."""
    folder.mkdir(exist_ok=True, parents=True)
    rows = []
    for name, sound in sounds.items():
        path = sound if isinstance(sound, Path) else folder / f"{name}.wav"
        if not isinstance(sound, Path):
            soundfile.write(path, *sound)
        try:
            seconds = soundfile.info(path).duration
        except soundfile.LibsndfileError:
            seconds = 5.0
        values = {"clip_id": name, "path": str(path), "start_s": 0.0, "end_s": seconds, "duration_s": seconds}
        rows.append({**dict.fromkeys(COLUMNS, ""), **values, "labels": (0,), "digest": name})
    return Corpus("sounds", pd.DataFrame(rows, columns=list(COLUMNS)), LabelSet(("any",)))


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Four clips: two longer than any utterance, one at another rate, one that has to be looped."""
    rng = np.random.default_rng(0)
    sounds: dict[str, Any] = {
        f"hiss {k}": ((0.1 * rng.normal(size=round(seconds * rate))).astype(np.float32), rate)
        for k, (seconds, rate) in enumerate([(5.0, RATE), (4.0, RATE), (5.0, 44100), (0.7, RATE)])
    }
    return noise_corpus(sounds, tmp_path_factory.mktemp("noise"))


def requests_for(paths: list[Path], count: int, first_seed: int = 0) -> pd.DataFrame:
    rows = []
    for place in range(count):
        path = paths[place % len(paths)]
        seconds = soundfile.info(path).duration
        rows.append((f"000-{place:05d}", 0, (0,), seconds, path.stem, str(path), 0.0, seconds, first_seed + place))
    return pd.DataFrame(rows, columns=list(REQUEST_COLUMNS))


def job_in(folder: Path, workers: int = 2) -> Job:
    folder.mkdir(exist_ok=True, parents=True)
    return Job(folder, seed=7, hardware=Hardware(accelerator="cpu", workers=workers, progress=False))


def made_in(generator: Any, requests: pd.DataFrame, folder: Path, workers: int = 2, **others: Corpus) -> Path:
    job = job_in(folder, workers)
    generator.generate(GenerationInputs(requests, ("any",), None, job, **others))
    return folder


def account(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / ACCOUNT).read_text(encoding="utf-8").splitlines()]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def snr_db(clean: np.ndarray, mixed: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(clean)) / np.mean(np.square(mixed.astype(np.float64) - clean))))


def test_each_sample_is_its_utterance_by_the_one_transform_that_its_line_names(
    recordings: list[Path], noise: Corpus, tmp_path: Path
) -> None:
    requests = requests_for(recordings, 48)
    folder = made_in(Signal(), requests, tmp_path / "made", noise=noise)
    lines = account(folder)
    assert [line["sample_id"] for line in lines] == list(requests["sample_id"])
    assert {line["transform"] for line in lines} == set(FOUR)
    assert sorted(content(folder)) == sorted([f"{name}.wav" for name in requests["sample_id"]] + [ACCOUNT])
    for request, line in zip(requests.itertuples(), lines, strict=True):
        clean, rate = soundfile.read(request.prime_path, always_2d=True)
        clean = clean.mean(axis=1)
        made, made_rate = soundfile.read(folder / f"{request.sample_id}.wav", always_2d=True)
        assert made_rate == rate and made.shape[1] == 1
        made = made[:, 0] * 10 ** (-line["gain_db"] / 20)
        wanted = len(clean)
        if line["transform"] == "time_stretch":
            assert 0.81 <= line["stretch_rate"] <= 1.23
            wanted = round(len(clean) / line["stretch_rate"])
        elif line["transform"] == "pitch_shift":
            assert -2 <= line["semitones"] <= 2
        else:
            asked = line["gaussian_snr_db" if line["transform"] == "gaussian_noise" else "background_snr_db"]
            assert 0 <= asked <= 19.1
            assert snr_db(clean, made) == pytest.approx(asked, abs=0.05)
        assert len(made) == wanted
        assert ("noise_clip" in line) == (line["transform"] == "background_noise")


def test_transforms_are_drawn_uniformly_and_parameters_over_all_of_their_range(tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, speech(0.08), RATE)
    count = 1200
    generator = Signal(transforms=["time_stretch", "pitch_shift", "gaussian_noise"])
    lines = account(made_in(generator, requests_for([path], count), tmp_path / "made"))
    drawn = Counter(line["transform"] for line in lines)
    # Chi-square, two degrees of freedom: 13.8 is exceeded once in a thousand times; the seeds are fixed.
    assert sum((drawn[name] - count / 3) ** 2 / (count / 3) for name in generator.transforms) < 13.8
    assert sum(drawn.values()) == count
    for name, (low, high) in {"stretch_rate": (0.81, 1.23), "semitones": (-2, 2), "gaussian_snr_db": (0, 19.1)}.items():
        share = (np.sort([line[name] for line in lines if name in line]) - low) / (high - low)
        # Kolmogorov and Smirnov: 1.95 / sqrt(n) is exceeded once in a thousand times.
        assert np.abs(share - (np.arange(len(share)) + 0.5) / len(share)).max() < 1.95 / np.sqrt(len(share))


def test_a_sample_depends_on_its_request_alone(recordings: list[Path], noise: Corpus, tmp_path: Path) -> None:
    requests = requests_for(recordings, 24)
    whole = content(made_in(Signal(), requests, tmp_path / "whole", workers=2, noise=noise))
    again = content(made_in(Signal(), requests, tmp_path / "again", workers=1, noise=noise))
    assert again == whole
    shuffled = requests.sample(frac=1, random_state=3)
    other = content(made_in(Signal(), shuffled, tmp_path / "shuffled", workers=5, noise=noise))
    assert {name: other[name] for name in other if name != ACCOUNT} == {n: whole[n] for n in whole if n != ACCOUNT}
    assert sorted(other[ACCOUNT].splitlines()) == sorted(whole[ACCOUNT].splitlines())
    alone = content(made_in(Signal(), requests.iloc[[17]], tmp_path / "alone", noise=noise))
    assert alone["000-00017.wav"] == whole["000-00017.wav"]
    assert alone[ACCOUNT].splitlines() == [whole[ACCOUNT].splitlines()[17]]


def test_another_seed_is_another_sample(recordings: list[Path], noise: Corpus, tmp_path: Path) -> None:
    requests = requests_for(recordings[:1] * 12, 12)
    for transform in FOUR:
        generator = Signal(transforms=[transform])
        lines = account(made_in(generator, requests, tmp_path / transform, noise=noise))
        assert len({line[PARAMETERS[transform]] for line in lines}) == 12
        sounds = content(tmp_path / transform)
        assert len(set(sounds.values())) == 13
    fixed = Signal(transforms=["gaussian_noise"], gaussian_snr_db=[10, 10])
    made_in(fixed, requests, tmp_path / "fixed", noise=noise)
    clean = soundfile.read(recordings[0], dtype="float32")[0]
    noises = [soundfile.read(path)[0] - clean for path in sorted((tmp_path / "fixed").glob("*.wav"))]
    assert np.abs(np.corrcoef(noises) - np.eye(12)).max() < 0.05


def test_noise_is_cut_from_all_over_the_corpus(recordings: list[Path], noise: Corpus, tmp_path: Path) -> None:
    generator = Signal(transforms=["background_noise"], background_snr_db=[0, 0])
    requests = requests_for(recordings[:1], 80)
    folder = made_in(generator, requests, tmp_path / "made", noise=noise)
    lines = account(folder)
    assert set(Counter(line["noise_clip"] for line in lines)) == set(noise.clips["clip_id"])
    assert min(Counter(line["noise_clip"] for line in lines).values()) > 8
    assert {line["noise_clip"] for line in lines if line["looped"]} == {"hiss 3"}
    starts = [line["noise_start_s"] for line in lines if line["noise_clip"] == "hiss 0"]
    assert 0 <= min(starts) < 0.8 and 2.7 < max(starts) <= 3.5
    clean = soundfile.read(recordings[0])[0]
    for line in lines:
        if line["noise_clip"] in ("hiss 0", "hiss 1"):  # as long and at the same rate: the very samples
            source = soundfile.read(noise.clips["path"][int(line["noise_clip"][-1])])[0]
            first = round(line["noise_start_s"] * RATE)
            added = soundfile.read(folder / f"{line['sample_id']}.wav")[0] * 10 ** (-line["gain_db"] / 20) - clean
            assert np.corrcoef(added, source[first : first + len(clean)])[0, 1] > 0.999


def test_what_would_clip_is_turned_down(noise: Corpus, tmp_path: Path) -> None:
    loud = tmp_path / "loud.wav"
    soundfile.write(loud, speech(1.0) / np.abs(speech(1.0)).max(), RATE, subtype="FLOAT")
    generator = Signal(transforms=["background_noise", "gaussian_noise"], background_snr_db=[0, 0])
    folder = made_in(generator, requests_for([loud], 6), tmp_path / "made", noise=noise)
    for line in account(folder):
        made = soundfile.read(folder / f"{line['sample_id']}.wav", dtype="int16")[0]
        assert line["gain_db"] < -0.5
        assert np.abs(made.astype(int)).max() == 32767
        assert (np.abs(made.astype(int)) == 32767).sum() == 1  # nothing was cut off


def test_a_setting_fixes_the_rate_and_the_window(recordings: list[Path], noise: Corpus, tmp_path: Path) -> None:
    requests = requests_for(recordings, 12)
    requests["prime_s"], requests["prime_start_s"] = 0.5, 0.25
    lines = account(made_in(Signal(sample_rate=RATE, prime_s=0.5), requests, tmp_path / "made", noise=noise))
    for line in lines:
        info = soundfile.info(tmp_path / "made" / f"{line['sample_id']}.wav")
        assert info.samplerate == RATE
        assert info.frames == round(8000 / line.get("stretch_rate", 1))


def test_an_utterance_shorter_than_a_window_is_transformed_and_counted(
    noise: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = []
    for samples in (1, 50, 1023, 1024):
        paths.append(tmp_path / f"{samples}.wav")
        soundfile.write(paths[-1], speech(1.0)[4000 : 4000 + samples], RATE)
    with caplog.at_level(logging.WARNING):
        folder = made_in(StretchAndPitch(), requests_for(paths, 8), tmp_path / "made")
    assert (
        "6 of 8 utterances are shorter than a window of the vocoder, and were transformed amid silence" in caplog.text
    )
    for line in account(folder):
        samples = (1, 50, 1023, 1024)[int(line["sample_id"][-1]) % 4]
        assert ("remark" in line) == (samples < 1024)
        assert soundfile.info(folder / f"{line['sample_id']}.wav").frames == max(
            1, round(samples / line.get("stretch_rate", 1))
        )


def test_a_silent_utterance_gets_no_noise_and_is_counted(
    noise: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(8000), RATE)
    with caplog.at_level(logging.WARNING):
        folder = made_in(Signal(), requests_for([silent], 16), tmp_path / "made", noise=noise)
    lines = account(folder)
    noisy = [line for line in lines if line["transform"].endswith("noise")]
    assert 0 < len(noisy) < 16
    assert all((line.get("remark") == "silent") == (line in noisy) for line in lines)
    assert f"{len(noisy)} of 16 utterances are silent: no noise has a ratio to them" in caplog.text
    for line in lines:
        made = soundfile.read(folder / f"{line['sample_id']}.wav")[0]
        assert not made.any()
        assert len(made) == round(8000 / line.get("stretch_rate", 1))


def bad_sounds(folder: Path) -> dict[str, Any]:
    """One clip of every kind that cannot be used."""
    folder.mkdir(exist_ok=True)
    cut_off = folder / "cut off.wav"
    soundfile.write(cut_off, np.ones(RATE), RATE)
    cut_off.write_bytes(cut_off.read_bytes()[:8000])
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("no sound at all, but text " * 9)
    soundfile.write(folder / "nothing.wav", np.zeros(0), RATE)
    soundfile.write(folder / "not a number.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    return {
        "missing": folder / "missing.wav",
        **{name: folder / f"{name}.wav" for name in ("empty", "text", "cut off", "nothing", "not a number")},
        "silent": (np.zeros(5 * RATE), RATE),
        "quiet": (np.full(5 * RATE, 0.0005), RATE),
        "short": (np.ones(700) / 2, RATE),
    }


REASONS = {
    "missing": "cannot be read (No such file or directory)",
    "empty": "the file is empty",
    "text": "is no sound file that can be decoded",
    "cut off": "cut off, 8,000 of at least",
    "nothing": "holds no audio (zero length)",
    "not a number": "holds NaN or infinite samples",
    "silent": "silent from",
    "quiet": "silent from",
    "short": "0.04 s, shorter than 0.5 s",
}


def test_music_is_drawn_as_often_as_noise_however_much_there_is_of_each(
    recordings: list[Path], noise: Corpus, tmp_path: Path
) -> None:
    hum = (0.1 * np.sin(2 * np.pi * 100 / RATE * np.arange(5 * RATE)), RATE)
    music = noise_corpus({"hum": hum}, tmp_path / "music")
    requests = requests_for(recordings, 60)
    generator = Signal(transforms=["background_noise"])
    lines = account(made_in(generator, requests, tmp_path / "both", noise=noise, music=music))
    assert {line["noise_clip"] for line in lines} == {"hum", *noise.clips["clip_id"]}
    assert 18 <= sum(line["noise_clip"] == "hum" for line in lines) <= 42  # of 60; outside with a chance of 1 in 600
    again = account(made_in(generator, requests.iloc[[7, 3]], tmp_path / "again", noise=noise, music=music))
    assert again == [lines[7], lines[3]]
    with pytest.raises(AugrunError, match=r"^music: sounds has no clips; give another dataset@music="):
        made_in(generator, requests, tmp_path / "none", noise=noise, music=music.select([]))


def test_clips_that_are_no_noise_are_passed_over_and_counted(
    recordings: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hiss = (0.1 * np.random.default_rng(0).normal(size=5 * RATE), RATE)
    noise = noise_corpus({**bad_sounds(tmp_path / "noise"), "good": hiss}, tmp_path / "noise")
    generator = Signal(transforms=["background_noise"])
    requests = requests_for(recordings, 12)
    with caplog.at_level(logging.WARNING):
        lines = account(made_in(generator, requests, tmp_path / "made", noise=noise))
    assert {line["noise_clip"] for line in lines} == {"good"}
    passed = {clip: reason for line in lines for clip, reason in line["passed_over"]}
    assert set(passed) == set(REASONS)
    for clip, reason in REASONS.items():
        assert passed[clip].startswith(reason)
        assert str(tmp_path) not in passed[clip]
    assert "9 clips of background sounds were drawn and passed over" in caplog.text
    # What was found out about clips for one sample must not change another one.
    alone = account(made_in(generator, requests.iloc[[9]], tmp_path / "alone", noise=noise))
    assert alone == [lines[9]]


@pytest.mark.parametrize("kind", list(REASONS))
def test_a_corpus_without_any_noise_is_refused(recordings: list[Path], tmp_path: Path, kind: str) -> None:
    bad = bad_sounds(tmp_path / "noise")[kind]
    noise = noise_corpus({f"{kind} {k}": bad for k in range(3)}, tmp_path / "noise")
    with pytest.raises(AugrunError) as error:
        made_in(Signal(transforms=["background_noise"]), requests_for(recordings, 2), tmp_path / "made", noise=noise)
    said = str(error.value)
    assert said.startswith("noise: none of the 3 clips tried of sounds can be used as background (it has 3), the first")
    assert REASONS[kind] in said
    assert said.endswith("Mend these files, or give another dataset@noise=, or its folder with noise.root=")
    assert len(said.splitlines()) == 2
    assert not list((tmp_path / "made").glob("*.wav"))


def test_a_corpus_without_clips_is_refused(recordings: list[Path], noise: Corpus, tmp_path: Path) -> None:
    with pytest.raises(AugrunError, match=r"^noise: sounds has no clips; give another dataset@noise="):
        made_in(
            Signal(transforms=["background_noise"]),
            requests_for(recordings, 1),
            tmp_path / "made",
            noise=noise.select([]),
        )


def test_silence_at_the_end_of_a_clip_is_never_cut(tmp_path: Path) -> None:
    sound = np.zeros(5 * RATE)
    sound[: RATE // 2] = 0.1 * np.random.default_rng(0).normal(size=RATE // 2)
    noise = noise_corpus({"padded": (sound, RATE)}, tmp_path / "noise")
    background = Background(noise, 0.5, -60.0)
    for seed in range(40):
        cut, source = background.cut(RATE, RATE, np.random.default_rng(seed))
        assert np.abs(cut).max() > 0.001
        assert source["noise_start_s"] <= 0.5


def test_only_the_clip_is_cut_and_not_the_rest_of_its_file(tmp_path: Path) -> None:
    sound = np.concatenate([np.full(2 * RATE, 0.1), np.full(2 * RATE, 0.2), np.full(2 * RATE, 0.3)])
    noise = noise_corpus({"middle": (sound, RATE)}, tmp_path / "noise")
    noise.clips.loc[0, ["start_s", "end_s"]] = 2.0, 4.0
    background = Background(noise, 0.5, -60.0)
    for samples in (8000, 32000, 50_000):
        for seed in range(20):
            cut, source = background.cut(samples, RATE, np.random.default_rng(seed))
            assert len(cut) == samples
            if samples <= 32000:
                np.testing.assert_allclose(cut, 0.2, atol=1e-4)
            else:  # within the crossfade, equal sounds add up to more
                assert cut.min() > 0.199 and cut.max() < 0.2 * 1.42
            assert 2.0 <= source["noise_start_s"] <= 4.0 - min(samples, 32000) / RATE * (samples <= 32000)


def test_a_recording_that_cannot_be_read_is_named(recordings: list[Path], tmp_path: Path) -> None:
    requests = requests_for(recordings, 5)
    requests.loc[3, "prime_path"] = str(tmp_path / "gone.wav")
    with pytest.raises(AugrunError, match=r"gone\.wav: cannot be read \(No such file or directory\)"):
        made_in(StretchAndPitch(), requests, tmp_path / "made")
    assert not (tmp_path / "made" / ACCOUNT).exists()


def test_what_is_there_is_kept_and_what_half_is_there_is_made_anew(
    recordings: list[Path], noise: Corpus, tmp_path: Path
) -> None:
    requests = requests_for(recordings, 12)
    whole = content(made_in(Signal(), requests, tmp_path / "whole", noise=noise))
    folder = tmp_path / "killed"
    made_in(Signal(), requests.iloc[:7], folder, noise=noise)
    lines = (folder / ACCOUNT).read_text().splitlines(keepends=True)
    (folder / ACCOUNT).unlink()
    (folder / JOURNAL).write_text("".join(lines[:6]) + lines[6][:20])  # the last line was cut off by the kill
    (folder / "000-00002.wav").unlink()  # its line was written, the sample was not yet
    (folder / "000-00003.wav").write_bytes(b"kept as it is")
    made_in(Signal(), requests, folder, noise=noise)
    assert content(folder) == {**whole, "000-00003.wav": b"kept as it is"}


def test_a_second_call_does_nothing(recordings: list[Path], noise: Corpus, tmp_path: Path) -> None:
    requests = requests_for(recordings, 4)
    folder = made_in(Signal(), requests, tmp_path / "made", noise=noise)
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.wav")}
    kept = (folder / ACCOUNT).read_bytes()
    made_in(Signal(), requests, folder, noise=noise)
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.wav")} == before
    assert (folder / ACCOUNT).read_bytes() == kept
    assert not (folder / JOURNAL).exists()


def test_a_killed_run_goes_on_to_the_same_samples(recordings: list[Path], noise: Corpus, tmp_path: Path) -> None:
    requests = requests_for(recordings, 400)
    whole = content(made_in(Signal(), requests, tmp_path / "whole", noise=noise))
    requests.to_pickle(tmp_path / "requests.pkl")
    noise.clips.to_pickle(tmp_path / "noise.pkl")
    program = f"""
import pandas as pd
from pathlib import Path
from augrun.corpora.corpus import Corpus, LabelSet
from augrun.generators.requests import GenerationInputs
from augrun.generators.signal import Signal
from augrun.core.job import Hardware, Job
noise = Corpus("sounds", pd.read_pickle({str(tmp_path / "noise.pkl")!r}), LabelSet(("any",)))
job = Job(Path({str(tmp_path / "killed")!r}), seed=7, hardware=Hardware(workers=2, progress=False))
requests = pd.read_pickle({str(tmp_path / "requests.pkl")!r})
Signal().generate(GenerationInputs(requests, ("any",), None, job, noise=noise))
"""
    (tmp_path / "killed").mkdir()
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    deadline = time.monotonic() + 300
    while len(list((tmp_path / "killed").glob("[!.]*.wav"))) < 40 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signals.SIGKILL)
    assert process.wait() == -signals.SIGKILL
    assert 40 <= len(list((tmp_path / "killed").glob("[!.]*.wav"))) < 400
    left = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("[!.]*.wav")}
    made_in(Signal(), requests, tmp_path / "killed", noise=noise)
    for path in (tmp_path / "killed").glob(TEMPORARY):  # a file that was being written
        path.unlink()
    assert content(tmp_path / "killed") == whole
    kept = sum((tmp_path / "killed" / name).stat().st_mtime_ns == at for name, at in left.items())
    assert kept >= len(left) - 2  # at most what either thread was at


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"transforms": []}, "generator.transforms is empty; name at least one"),
        ({"stretch_rate": [1.2, 0.8]}, "generator.stretch_rate: [1.2, 0.8] is no range; give [least, greatest]"),
        ({"semitones": [1.0]}, "generator.semitones: [1.0] is no range"),
        ({"background_snr_db": [0, 5, 9]}, "generator.background_snr_db: [0, 5, 9] is no range"),
        ({"gaussian_snr_db": []}, "generator.gaussian_snr_db: [] is no range"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError) as error:
        Signal(**settings)
    assert str(error.value).startswith(said)


def test_background_noise_needs_its_corpus(recordings: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="give dataset@noise=NAME"):
        made_in(Signal(), requests_for(recordings, 1), tmp_path / "made")


def configured(name: str) -> dict[str, Any]:
    """A condition with this generator, as a job has it."""
    return compose.compose(["dataset=feel", f"generator={name}"])


@pytest.mark.parametrize(
    ("name", "ticks", "uses"),
    [
        ("signal", FOUR, ("noise",)),
        ("signal_background", ["background_noise"], ("noise",)),
        ("signal_stretch_pitch", ["time_stretch", "pitch_shift"], ()),
    ],
)
def test_the_settings_are_those_of_the_rows_of_table_1(name: str, ticks: list[str], uses: tuple[str, ...]) -> None:
    whole = configured(name)
    section = whole["generator"]
    given = {role: whole[role]["name"] for role in schema.ROLES if whole.get(role)}
    assert given == ({"noise": "esc50", "music": "fma"} if uses else {})  # section 2.5
    assert section["name"] == name
    assert section["transforms"] == ticks
    assert schema.uses(section) == uses
    known = describe(section["_target_"])
    for key, value in section.items():
        if key not in schema.COMMON_KEYS:
            assert type_check.mismatch(value, known.parameters[key].annotation) is None, key
    fields = {key: value for key, value in section.items() if key not in schema.COMMON_KEYS}
    of = {"Signal": Signal, "StretchAndPitch": StretchAndPitch}[section["_target_"].rpartition(".")[2]]
    assert set(fields) == {field.name for field in dataclasses.fields(of)}
    built = of(**fields)
    assert built == of(transforms=ticks), "the YAML and the class have the same defaults"
    constants = {"domain": "waveform", "trained": False, "primed": True, "reconstructs": True}
    assert known.constants | constants == known.constants
    assert "augrun.generators.signal.transforms" in code_modules(known.module)
    assert "augrun.generators.signal.vocoder" in code_modules(known.module)


@pytest.mark.parametrize(
    ("name", "key", "value", "said"),
    [
        ("signal_stretch_pitch", "transforms", ["background_noise"], "time_stretch, pitch_shift"),
        ("signal", "transforms", ["reverb"], "gaussian_noise, background_noise"),
        ("signal", "stretch_rate", [0.0, 1.2], "in [0.25, 4]"),
        ("signal", "semitones", "loud", "a list"),
        ("signal", "min_noise_s", 0, "in (0, inf)"),
    ],
)
def test_the_check_before_a_start_names_what_is_legal(name: str, key: str, value: Any, said: str) -> None:
    known = describe(configured(name)["generator"]["_target_"])
    problem = type_check.mismatch(value, known.parameters[key].annotation)
    assert problem is not None and said in problem


def test_real_speech_amid_real_noise(shared_data: Path, tmp_path: Path) -> None:
    utterances = sorted((shared_data / "ravdess-feel" / "audio").rglob("*.flac"))[:6]
    sounds = sorted((shared_data / "esc10" / "audio").glob("*.ogg"))
    noise = noise_corpus({path.stem: path for path in sounds}, tmp_path / "noise")
    folder = made_in(Signal(), requests_for(utterances, 36), tmp_path / "made", noise=noise)
    lines = account(folder)
    assert {line["transform"] for line in lines} == set(FOUR)
    for line, path in zip(lines, utterances * 6, strict=True):
        clean, made = audio.read(path), audio.read(folder / f"{line['sample_id']}.wav")
        if line["transform"].endswith("noise"):
            asked = line[PARAMETERS[line["transform"]]]
            assert snr_db(clean, made * np.float32(10 ** (-line["gain_db"] / 20))) == pytest.approx(asked, abs=0.1)
        else:
            loudness_db = 10 * np.log10(np.mean(np.square(made)) / np.mean(np.square(clean)))
            assert abs(loudness_db - line["gain_db"]) < 1.0


def test_the_benchmark_names_each_transform_and_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], one_thread: None
) -> None:
    spec = importlib.util.spec_from_file_location("bench_augment", ROOT / "scripts" / "bench_augment.py")
    assert spec is not None and spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    monkeypatch.setattr(bench, "audiomentations", lambda kind, rate, **settings: lambda sound: time.sleep(0.02))
    monkeypatch.setattr(bench, "torch_audiomentations", lambda kind, rate, **settings: "not installed")
    monkeypatch.setattr(sys, "argv", ["bench_augment.py", "--seconds", "4.5", "--turns", "1"])
    bench.main()
    said = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in said.splitlines() if line[:1] == "|"]
    for transform in ("time stretch 0.81", "pitch shift -2.00", "gaussian noise", "background noise, 44100 Hz"):
        row = next(row for row in rows if row[0] == transform and row[2].startswith("audiomentations"))
        ours, theirs, ratio = (float(row[place].split()[0].replace(",", "")) for place in (1, 3, 4))
        assert ratio == pytest.approx(ours / theirs, rel=0.05) and row[4].endswith("times as fast")
    assert said.count("not installed") == 4
    assert "generator=signal from files to files, 1 threads" in said
