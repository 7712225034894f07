"""Log-mel spectrograms against Essentia, librosa and a float64 implementation written out here."""

from __future__ import annotations

import math
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from augrun.core import audio
from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Hardware
from augrun.corpora.corpus import Corpus, LabelSet
from augrun.features.cache import Features
from augrun.features.logmel import LogMel, linear_resample
from tests.features.make_essentia_golden import sound

CONF = Path(__file__).resolve().parents[2] / "conf" / "representation"
QUIET = Hardware(workers=2, progress=False)


def configured(name: str) -> LogMel:
    values = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    assert values.pop("_target_") == "augrun.features.logmel.LogMel"
    values.pop("name", None)
    return LogMel(**values)


JAMENDO, SER = configured("logmel_jamendo"), configured("logmel_ser")


def corpus(paths: list[Path], starts: list[float] | None = None, ends: list[float] | None = None) -> Corpus:
    count = len(paths)
    rows = {
        "clip_id": [f"c{row}" for row in range(count)],
        "path": [str(path) for path in paths],
        "start_s": starts or [0.0] * count,
        "end_s": ends or [math.nan] * count,
        "duration_s": [1.0] * count,
        "labels": [(0,)] * count,
    }
    rest = ("split", "speaker", "session", "utterance", "cluster", "origin", "primed_by", "digest")
    return Corpus("made-up", pd.DataFrame(rows | {name: [""] * count for name in rest}), LabelSet(("a",)))


def reference(mel: LogMel, samples: np.ndarray) -> np.ndarray:
    """Log-mel in float64, loop by loop, after Slaney's Auditory Toolbox; shares nothing with the code under test."""

    def to_mel(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)

    def to_hz(value: float) -> float:
        return value * 200 / 3 if value < 15 else 1000 * 6.4 ** ((value - 15) / 27)

    low, high = to_mel(mel.f_min), to_mel(mel.f_max)
    edges = [to_hz(low + (high - low) * k / (mel.bands + 1)) for k in range(mel.bands + 2)]
    filters = np.zeros((mel.bands, mel.n_fft // 2 + 1))
    for band in range(mel.bands):
        left, middle, right = edges[band : band + 3]
        for k in range(filters.shape[1]):
            hz = k * mel.sample_rate / mel.n_fft
            height = min((hz - left) / (middle - left), (right - hz) / (right - middle))
            filters[band, k] = max(0.0, height) * 2 / (right - left)  # area one
    span = mel.window - 1 if mel.symmetric else mel.window
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(mel.window) / span)
    rows = []
    for start in range(-(mel.window // 2), len(samples) - mel.window // 2 + mel.hop, mel.hop):
        frame = np.array([samples[n] if 0 <= n < len(samples) else 0.0 for n in range(start, start + mel.window)])
        power = np.abs(np.fft.rfft(frame * hann, mel.n_fft)) ** 2
        factor = {"db10": 10, "db20": 20}[mel.scale]
        rows.append(factor * np.log10(np.maximum(filters @ power, 10 ** (mel.floor_db / factor))))
    return np.array(rows)


@pytest.mark.parametrize("mel", [JAMENDO, SER], ids=["jamendo", "ser"])
def test_against_float64(mel: LogMel) -> None:
    samples = sound(mel.sample_rate, 1.0)
    expected, got = reference(mel, samples), mel.transform(samples)
    assert got.dtype == np.float32
    assert got.shape == expected.shape == (mel.frames_of(len(samples)), mel.bands)
    assert expected.max() - expected.min() > 90
    # The stated tolerance. Rounding in float32 is that of the loudest bin, hence tighter near the top.
    assert np.abs(got - expected).max() < 0.01
    assert np.abs(got - expected)[expected > expected.max() - 40].max() < 0.001


def test_against_essentia() -> None:
    """What MTG-Jamendo's script writes; its own float32 filters cost up to 0.03 dB (of 240)."""
    golden = np.load(Path(__file__).with_name("essentia_golden.npz"))
    got = JAMENDO.transform(sound(12000, 1.5))
    assert got.shape == golden["at_12000"].shape
    assert np.abs(got - golden["at_12000"]).max() < 0.05
    assert np.abs(got - golden["at_12000"]).mean() < 0.002
    assert got.min() == golden["at_12000"].min() == -200


def test_against_essentia_through_its_resampler(tmp_path: Path) -> None:
    """From 44.1 kHz stereo: the script's linear resampler; its last sample, one more by rounding, spoils two frames."""
    expected = np.load(Path(__file__).with_name("essentia_golden.npz"))["at_44100"]
    left = sound(44100, 1.0)
    soundfile.write(tmp_path / "x.wav", np.stack([1.5 * left, 0.5 * left], axis=1), 44100, subtype="FLOAT")
    got = JAMENDO.clip(tmp_path / "x.wav")
    assert got.shape == expected.shape
    assert np.abs(got - expected)[:-2].mean() < 0.03
    assert np.abs(got - expected)[:-2].max() < 2


def test_against_librosa() -> None:
    samples = sound(16000, 2.0)
    power = librosa.feature.melspectrogram(
        y=samples, sr=16000, n_fft=1024, win_length=800, hop_length=400, n_mels=128, pad_mode="constant"
    )
    expected = librosa.power_to_db(power, top_db=None).T
    got = SER.transform(samples)
    assert got.shape == expected.shape == (81, 128)
    assert np.abs(got - expected).max() < 0.01


def test_every_band_of_the_shipped_flavours_hears_something() -> None:
    noise = np.random.default_rng(0).standard_normal(48000).astype(np.float32)
    for mel in (JAMENDO, SER):
        assert mel.transform(noise)[5:-5].min() > mel.floor_db / 2


def test_a_tone_is_where_it_belongs() -> None:
    """A full-scale sine of 1 kHz: the peak of Slaney's mel 15, at the height that Parseval's sum gives."""
    at = np.arange(24000) / 12000
    got = JAMENDO.transform(np.sin(2 * np.pi * 1000 * at).astype(np.float32))[20]
    edge = 15 / ((15 + 27 * math.log(6) / math.log(6.4)) / 97)  # 1 kHz, counted in bands
    assert abs(got.argmax() - (edge - 1)) <= 1
    half = JAMENDO.transform(0.5 * np.sin(2 * np.pi * 1000 * at).astype(np.float32))[20]
    assert got.max() - half.max() == pytest.approx(20 * math.log10(4), abs=1e-3)  # db20 of the power: 12 dB, not 6


@settings(deadline=None, max_examples=40)
@given(samples=st.integers(1, 3000), keep=st.integers(1, 14))
def test_frames_and_their_samples(samples: int, keep: int) -> None:
    noise = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    whole = JAMENDO.transform(noise)
    assert len(whole) == JAMENDO.frames_of(samples) == math.ceil(samples / 256) + 1
    part = JAMENDO.transform(noise[: JAMENDO.samples_for(keep)])[:keep]
    np.testing.assert_array_equal(part, whole[:keep])


def test_long_sounds_are_transformed_in_blocks_without_seams() -> None:
    samples = sound(12000, 1.0)
    long = np.tile(samples, 120)
    got = JAMENDO.transform(long)
    assert len(got) > 4096
    middle = 4096 * 256
    around = JAMENDO.transform(long[middle - 2560 : middle + 2560])
    np.testing.assert_allclose(got[4090:4102], around[4:16], atol=0.05)


@pytest.mark.parametrize("resampling", ["linear", "sinc"])
@pytest.mark.parametrize("rate", [12000, 44100])
def test_only_what_is_needed_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int, resampling: str
) -> None:
    mel = LogMel(resampling=resampling)  # type: ignore[arg-type]
    soundfile.write(tmp_path / "long.flac", np.tile(sound(rate, 1.0), 8), rate)
    whole = mel.clip(tmp_path / "long.flac")
    read: list[int] = []
    decode = soundfile.SoundFile.read

    def counted(self: soundfile.SoundFile, frames: int = -1, **options: object) -> np.ndarray:
        samples = decode(self, frames, **options)
        read.append(len(samples))
        return samples

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    part = mel.clip(tmp_path / "long.flac", max_frames=20)
    np.testing.assert_allclose(part, whole[:20], atol=0.1)
    loud = whole[:20] > whole.max() - 100
    np.testing.assert_allclose(part[loud], whole[:20][loud], atol=1e-3)
    assert 0 < sum(read) < 0.5 * rate


def test_a_clip_within_a_file(tmp_path: Path) -> None:
    samples = np.tile(sound(16000, 1.0), 4)
    soundfile.write(tmp_path / "x.wav", samples, 16000, subtype="FLOAT")
    got = SER.clip(tmp_path / "x.wav", start_s=1.25, end_s=2.75)
    np.testing.assert_array_equal(got, SER.transform(samples[20000:44000]))
    short = SER.clip(tmp_path / "x.wav", start_s=3.999)
    assert short.shape == (2, 128)
    assert np.isfinite(short).all()


def test_linear_resampling_is_late_by_one_sample() -> None:
    ramp = np.arange(441, dtype=np.float32)
    got = linear_resample(ramp, 44100, 12000)
    assert len(got) == 120
    np.testing.assert_allclose(got[1:], np.arange(1, 120) * 3.675 - 1, atol=1e-4)
    assert got[0] == 0
    np.testing.assert_array_equal(linear_resample(ramp, 8000, 8000), ramp)


def test_official_spectrograms_are_taken_as_they_are(tmp_path: Path) -> None:
    mel = np.random.default_rng(0).uniform(-200, 40, (96, 500)).astype(np.float32)
    np.save(tmp_path / "1.npy", np.asfortranarray(mel))
    np.testing.assert_array_equal(JAMENDO.clip(tmp_path / "1.npy"), mel.T)
    np.testing.assert_array_equal(JAMENDO.clip(tmp_path / "1.npy", end_s=1e3, max_frames=100), mel.T[:100])
    second = JAMENDO.seconds_per_frame
    got = JAMENDO.clip(tmp_path / "1.npy", start_s=10 * second, end_s=20 * second)
    np.testing.assert_array_equal(got, mel.T[10:21])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((500, 96), np.float32), r"x\.npy: holds float32 of shape \(500, 96\), not .* of shape \(96"),
        (np.zeros((96, 0), np.float32), r"shape \(96, 0\)"),
        (np.zeros((96, 9), np.int16), "holds int16"),
        (np.full((96, 9), np.nan, np.float32), "NaN or infinite"),
        (b"", "no spectrogram can be read"),
        (b"not numpy", "no spectrogram can be read"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (96, 99), }", "can be read"),
    ],
)
def test_bad_spectrograms_are_named(tmp_path: Path, content: np.ndarray | bytes, message: str) -> None:
    path = tmp_path / "x.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(AugrunError, match=message) as caught:
        JAMENDO.clip(path)
    assert str(path) in str(caught.value)


def test_extraction_of_a_corpus(tmp_path: Path) -> None:
    paths = []
    for row in range(6):
        paths.append(tmp_path / f"{row}.wav")
        soundfile.write(paths[-1], sound(12000, 0.3 + 0.2 * row), 12000, subtype="FLOAT")
    np.save(tmp_path / "6.npy", np.full((96, 70), -3.5, np.float32))
    clips = corpus([*paths, tmp_path / "6.npy"])
    features = JAMENDO.extract(clips, tmp_path / "f", QUIET, max_frames=40)
    assert features.frames.tolist() == [16, 25, 34, 40, 40, 40, 40]
    for row, path in enumerate(paths):
        np.testing.assert_array_equal(features[row], JAMENDO.clip(path, max_frames=40))
    assert (Features.open(tmp_path / "f")[6] == -3.5).all()


def test_extraction_names_every_bad_file_and_goes_on_when_it_is_mended(tmp_path: Path) -> None:
    good, empty, cut = tmp_path / "good.wav", tmp_path / "empty.wav", tmp_path / "cut.flac"
    soundfile.write(good, sound(12000, 0.5), 12000)
    empty.touch()
    soundfile.write(cut, np.random.default_rng(0).uniform(-1, 1, 24000), 12000)
    cut.write_bytes(cut.read_bytes()[:20000])
    clips = corpus([good, empty, cut, tmp_path / "gone.wav"])
    with pytest.raises(AugrunError, match=r"3 of 4 clips cannot be read") as caught:
        JAMENDO.extract(clips, tmp_path / "f", QUIET)
    for path in (empty, cut, tmp_path / "gone.wav"):
        assert str(path) in str(caught.value)
    for path in (empty, cut, tmp_path / "gone.wav"):
        soundfile.write(path, sound(12000, 0.5), 12000)
    assert len(JAMENDO.extract(clips, tmp_path / "f", QUIET)) == 4


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"representation\.window=600 is longer than representation\.n_fft=512"):
        LogMel(window=600)
    with pytest.raises(RequestError, match=r"f_max=7000 must rise and stay within half the sample rate, 6000 Hz"):
        LogMel(f_max=7000.0)


def test_real_recordings_against_librosa(shared_data: Path) -> None:
    """With noise floors, clicks and digital silence, the tolerance of 0.01 dB holds down to 60 dB below the loudest."""
    folders = (shared_data / "music" / "audio", shared_data / "esc10" / "audio")
    for path in [path for folder in folders for path in sorted(folder.iterdir())[:3]]:
        samples = audio.read(path, 16000, seconds=5)
        got = SER.transform(samples)
        power = librosa.feature.melspectrogram(
            y=samples, sr=16000, n_fft=1024, win_length=800, hop_length=400, n_mels=128, pad_mode="constant"
        )
        expected = librosa.power_to_db(power, top_db=None).T
        loud = expected > expected.max() - 60
        assert np.abs(got[: len(expected)] - expected)[loud].max() < 0.01, path.name
        assert np.abs(got[: len(expected)] - expected).max() < 1.0, path.name


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 40000), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_a_clip_has_the_same_bits_whatever_is_transformed_with_it(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    sounds = [rng.normal(scale=0.2, size=length).astype(np.float32) for length in lengths]
    for mel in (SER, JAMENDO):
        for together, alone in zip(mel.transform_all(sounds), sounds, strict=True):
            np.testing.assert_array_equal(together, mel.transform(alone))


@pytest.mark.parametrize(("rate", "target"), [(44100, 12000), (22050, 12000), (48000, 12000), (8000, 12000)])
def test_linear_resampling_takes_the_neighbours(rate: int, target: int) -> None:
    sound = np.random.default_rng(0).normal(size=10_001).astype(np.float32)
    at = np.maximum(np.arange(math.ceil(len(sound) * target / rate)) * (rate / target) - 1.0, 0.0)
    expected = np.interp(at, np.arange(len(sound)), sound)
    np.testing.assert_allclose(linear_resample(sound, rate, target), expected, atol=2e-6)


def test_channels_are_averaged_before_they_are_resampled() -> None:
    channels = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
    for count in (1, 2, 3):
        expected = linear_resample(channels[:, :count].mean(axis=1), 44100, 12000)
        np.testing.assert_allclose(linear_resample(channels[:, :count], 44100, 12000), expected, atol=1e-6)
