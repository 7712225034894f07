"""YIN against the paper's equations written out, tones of known pitch and librosa."""

from __future__ import annotations

import os
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile as sf

from augrun.core.errors import RequestError
from augrun.generators.ddsp import yin as module
from augrun.generators.ddsp.yin import check_range, yin

RATE = 16000
PHRASES = ("cello-phrase", "sax-phrase", "sax-phrase-short", "singing-female")
PHRASES += ("flute-A4", "oboe-A4", "trumpet-A4", "violin-B3", "soprano-E4")


def written_out(frame: np.ndarray, shortest: int, longest: int) -> float:
    """Period of one frame, samples: equations 6 and 8, sections II.D and II.E, one lag after the other."""
    frame = np.concatenate([frame, np.zeros(longest)])
    size = len(frame) - longest
    difference = [((frame[:size] - frame[lag : lag + size]) ** 2).sum() for lag in range(1, longest + 1)]
    means = [sum(difference[:lag]) / lag for lag in range(1, longest + 1)]
    share = {
        lag: difference[lag - 1] / means[lag - 1] if means[lag - 1] else 0.0 for lag in range(shortest, longest + 1)
    }
    dips = [
        lag
        for lag in share
        if share[lag] < 0.1
        and (lag == shortest or share[lag] < share[lag - 1])
        and (lag == longest or (share[lag] <= share[lag + 1] if lag > shortest else share[lag] < share[lag + 1]))
    ]
    lag = dips[0] if dips else min(share, key=lambda lag: share[lag])
    if not shortest < lag < longest:
        return lag
    before, at, after = share[lag - 1], share[lag], share[lag + 1]
    slope, bend = (after - before) / 2, after + before - 2 * at
    return lag - slope / bend if abs(slope) < abs(bend) else lag


def sounds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    times = np.arange(4000) / RATE
    tone = sum(np.sin(2 * np.pi * 173.3 * k * times) / k for k in range(1, 9))
    return {
        "noise": rng.standard_normal(4000),
        "silence": np.zeros(4000),
        "tone": tone,
        "tone in noise, beside zero": tone + 0.3 * rng.standard_normal(4000) + 2,
        "glide": np.sin(2 * np.pi * (90 * times + 900 * times**2)),
        "as high as allowed": np.sin(2 * np.pi * 1990 * times),
    }


@pytest.mark.parametrize("name", sounds())
def test_as_the_paper_s_equations_written_out(name: str) -> None:
    sound, window, hop = sounds()[name], 512, 250
    found = yin(sound, RATE, hop, 60, 2000, window)
    padded = np.pad(sound, window // 2)
    expected = [RATE / written_out(padded[hop * t : hop * t + window], 8, 267) for t in range(len(sound) // hop + 1)]
    assert found.shape == (17,)
    np.testing.assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize(
    ("hertz", "cents"), [(55.0, 1), (110.0, 1), (220.5, 1), (440.0, 3), (987.77, 10), (1760.0, 15)]
)
def test_tones_are_found_as_closely_as_their_periods_are_sampled(hertz: float, cents: float) -> None:
    times = np.arange(RATE, dtype=np.float32) / RATE
    tone = sum(np.sin(2 * np.pi * hertz * k * times) / k for k in range(1, 1 + int(7000 / hertz))).astype(np.float32)
    found = yin(tone, RATE, 64, 50, 2000, 1024)[16:-16]
    assert np.abs(1200 * np.log2(found / hertz)).max() < cents


def test_dips_and_vertices_are_librosa_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one and the same difference function: its last bits, and lag 1 (the module says what), tell nothing."""

    def ours(frames: np.ndarray, shortest: int, longest: int) -> np.ndarray:
        return module._normalised_difference(frames.T, longest)[:, shortest - 1 :].T

    monkeypatch.setattr("librosa.core.pitch._cumulative_mean_normalized_difference", ours)
    for sound in sounds().values():
        expected = librosa.yin(sound, fmin=70, fmax=2000, sr=RATE, frame_length=512, hop_length=64)
        np.testing.assert_allclose(yin(sound, RATE, 64, 70, 2000, 512), expected, rtol=1e-9)


def recording(folder: Path, name: str, seconds: int) -> np.ndarray:
    sound, rate = sf.read(folder / f"music/audio/{name}.flac", dtype="float32", always_2d=True)
    return librosa.resample(sound[: seconds * rate, 0], orig_sr=rate, target_sr=RATE)


def test_processes_that_compile_librosa_at_once_have_a_folder_each() -> None:
    """Else one may load half a function of another's and crash (three processes, one folder: 3 times in 15)."""
    import numba

    assert Path(numba.config.CACHE_DIR).name == os.environ.get("PYTEST_XDIST_WORKER", "alone")


@pytest.mark.parametrize("name", ["flute-A4", "singing-female", "cello-phrase"])
def test_recordings_as_librosa(shared_data: Path, name: str) -> None:
    sound = recording(shared_data, name, 4)
    found = yin(sound, RATE, 64, 50, 2000, 1024)
    expected = librosa.yin(sound, fmin=50, fmax=2000, sr=RATE, frame_length=1024, hop_length=64)
    off = np.abs(1200 * np.log2(found / expected))
    assert (off < 1).mean() > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("name", PHRASES)
def test_recordings_as_pyin(shared_data: Path, name: str) -> None:
    """A path through candidates is what pYIN finds beside; where it hears a voice the two agree."""
    sound = recording(shared_data, name, 8)
    found = yin(sound, RATE, 64, 50, 2000, 1024)
    expected, voiced, _ = librosa.pyin(sound, fmin=50, fmax=2000, sr=RATE, frame_length=1024, hop_length=64)
    assert voiced.mean() > 0.7
    assert (np.abs(1200 * np.log2(found / expected))[voiced] < 50).mean() > 0.98


@pytest.mark.parametrize("samples", [0, 1, 300])
def test_sounds_shorter_than_a_window(samples: int) -> None:
    found = yin(np.ones(samples, np.float32), RATE, 64, 50, 2000, 1024)
    assert found.shape == (samples // 64 + 1,) and np.isfinite(found).all()


@pytest.mark.parametrize(
    ("low", "high", "rate", "said"),
    [
        (500, 400, 16000, r"^generator\.f0_min=500 and generator\.f0_max=400 must rise and stay below half the sample"),
        (50, 8000, 16000, r"half the sample rate, 8000 Hz$"),
        (50, 2000, 96000, r"^generator\.f0_min=50: no period of it fits .* at 96000 Hz; give 94 or more$"),
    ],
)
def test_a_range_out_of_reach_is_refused(low: float, high: float, rate: int, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        check_range(low, high, rate)
