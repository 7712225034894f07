"""Functionals against openSMILE called by hand."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from augrun.core import audio
from augrun.core.errors import AugrunError
from augrun.core.job import Hardware
from augrun.corpora.corpus import COLUMNS, Corpus, LabelSet
from augrun.features.cache import Features
from augrun.features.functionals import SIZES, Functionals

opensmile = pytest.importorskip("opensmile", reason="openSMILE is not installed: pip install 'augrun[functionals]'")

RATE = 16000
QUIET = Hardware(workers=2, progress=False)


def voiced(seconds: float, hertz: float, rate: int = RATE) -> np.ndarray:
    """Harmonics and some noise, which have a pitch to be measured."""
    times = np.arange(round(seconds * rate)) / rate
    harmonics = sum(np.sin(2 * np.pi * k * hertz * times) / k for k in range(1, int(3500 / hertz)))
    return (0.2 * harmonics + 0.002 * np.random.default_rng(round(hertz)).normal(size=len(times))).astype(np.float32)


def corpus(folder: Path, sounds: dict[str, tuple[np.ndarray, int]], ends: dict[str, float] | None = None) -> Corpus:
    rows = []
    for name, (samples, rate) in sounds.items():
        soundfile.write(folder / f"{name}.wav", samples, rate)
        end = (ends or {}).get(name, len(samples) / rate)
        values = {"clip_id": name, "path": str(folder / f"{name}.wav"), "start_s": 0.0, "end_s": end, "duration_s": end}
        rows.append(
            dict.fromkeys(COLUMNS, "")
            | values
            | {"labels": (0,), "split": "train", "utterance": name, "origin": "recorded", "digest": name}
        )
    return Corpus("c", pd.DataFrame(rows, columns=list(COLUMNS)), LabelSet(("a",)))


@pytest.fixture(scope="module")
def sounds() -> dict[str, tuple[np.ndarray, int]]:
    return {f"v{hertz}": (voiced(0.8 + hertz / 400, hertz), RATE) for hertz in (90, 120, 160, 210, 250, 300)}


def by_hand(path: Path, **options: float) -> np.ndarray:
    smile = opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals, sampling_rate=RATE)
    return smile.process_file(str(path), **options).to_numpy(np.float32)


def test_they_are_those_of_opensmile(tmp_path: Path, sounds: dict[str, tuple[np.ndarray, int]]) -> None:
    made = Functionals().extract(corpus(tmp_path, sounds), tmp_path / "features", QUIET)
    assert made.bands == 1582 and made.frames.tolist() == [1] * 6
    for name, vector in zip(sounds, made, strict=True):
        np.testing.assert_allclose(vector, by_hand(tmp_path / f"{name}.wav"), rtol=1e-5, atol=1e-5)
    pitch = Functionals().names().index("F0final_sma_amean")
    # A voice that is twice as high has twice the fundamental.
    assert made[5][0, pitch] / made[1][0, pitch] == pytest.approx(300 / 120, rel=0.05)


def test_a_stretch_of_a_file_is_that_stretch_alone(tmp_path: Path, sounds: dict[str, tuple[np.ndarray, int]]) -> None:
    part = corpus(tmp_path, {"v120": sounds["v120"]}, ends={"v120": 0.6})
    (vector,) = Functionals().extract(part, tmp_path / "features", QUIET)
    soundfile.write(tmp_path / "alone.wav", audio.read(tmp_path / "v120.wav", RATE, 0.0, 0.6), RATE)
    np.testing.assert_allclose(vector, by_hand(tmp_path / "alone.wav"), rtol=1e-4, atol=1e-4)


def test_the_bytes_depend_neither_on_workers_nor_on_the_rest(
    tmp_path: Path, sounds: dict[str, tuple[np.ndarray, int]]
) -> None:
    whole = corpus(tmp_path, sounds)
    two = np.stack(list(Functionals().extract(whole, tmp_path / "two", QUIET)))
    one = np.stack(list(Functionals().extract(whole.select([4, 1]), tmp_path / "one", Hardware(workers=1))))
    np.testing.assert_array_equal(one, two[[4, 1]])
    assert np.array_equal(np.stack(list(Features.open(tmp_path / "two"))), two)


def test_another_rate_is_brought_to_the_set_s(tmp_path: Path) -> None:
    high = {"cd": (voiced(1.0, 150, 44100), 44100)}
    (vector,) = Functionals().extract(corpus(tmp_path, high), tmp_path / "features", QUIET)
    pitch = Functionals().names().index("F0final_sma_amean")
    assert vector[0, pitch] == pytest.approx(150, rel=0.03)


def test_too_short_clips_are_all_named_and_the_others_kept(
    tmp_path: Path, sounds: dict[str, tuple[np.ndarray, int]]
) -> None:
    short = voiced(Functionals.shortest_s, 150)
    mixed = {"shortest": (short, RATE), "tick": (short[:-1], RATE), "none": (short[:100], RATE), **sounds}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(AugrunError) as error:
            Functionals().extract(corpus(tmp_path, mixed), tmp_path / "features", QUIET)
    said = str(error.value)
    assert "tick: 1582 of 1582 functionals of 0.070 s are not finite" in said and "none: 1582 of" in said
    assert "2 of 9" in said and "shortest:" not in said


@pytest.mark.parametrize("name", list(SIZES))
def test_every_set_has_its_size(name: str) -> None:
    functionals = Functionals(set=name)
    assert functionals.transform(voiced(0.5, 140)).shape == (1, functionals.bands)
    assert len(functionals.names()) == functionals.bands
