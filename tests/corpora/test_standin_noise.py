"""The rendered miniatures of ESC-50 and FMA: layout, determinism, and what their classes can be told by."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.signal import stft
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from augrun.core import audio
from augrun.core.errors import RequestError
from augrun.corpora.corpus import Corpus
from augrun.corpora.esc50 import CLASSES, ESC10, Esc50
from augrun.corpora.fma import SMALL_GENRES, Fma
from augrun.corpora.index import Index
from augrun.corpora.standin import esc50, fma, render, sounds
from augrun.protocols.loso import LeaveOneSessionOut
from augrun.protocols.official import Official

#: Small ones: two seconds and three; as many clips as by default, so that classifiers have something to learn from.
SMALL = {"esc50": {"seconds": 2.0}, "fma": {"seconds": [3.0, 4.0]}}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("standin")
    return {name: render(name, folder / name, seed=3, **sizes) for name, sizes in SMALL.items()}


@pytest.fixture(scope="module")
def corpora(roots: dict[str, Path]) -> dict[str, Corpus]:
    return {"esc50": Esc50().read(roots["esc50"], Index()), "fma": Fma().read(roots["fma"], Index())}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_esc50_reads_like_the_real_one(corpora: dict[str, Corpus]) -> None:
    corpus = corpora["esc50"]
    assert corpus.data == "standin"
    assert len(corpus.label_set) == 10
    assert [CLASSES.index(name) for name in corpus.label_set.names] == sorted(map(CLASSES.index, esc50.SCENES))
    counts = corpus.counts()
    assert counts["clips"] == 151
    assert [counts[f"session {fold}"] for fold in range(1, 6)] == [31, 30, 30, 30, 30]
    assert {counts[f"class {name}"] for name in corpus.label_set.names} == {15, 16}
    assert len(corpus.notes) == 2
    assert corpus.notes[0].startswith("moved to the fold of their recording's other clips: 1 clips of 1 recordings (")
    assert corpus.notes[1].startswith("skipped 1 clips that stay below -60 dB (5-")
    assert corpus.clips.groupby(["session", "cluster"]).size().max() == 3
    assert len(LeaveOneSessionOut().folds(corpus, seed=0)) == 5


def test_the_esc50_table_has_the_real_ones_grammar(roots: dict[str, Path]) -> None:
    with (roots["esc50"] / "meta/esc50.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    assert rows == sorted(rows)
    for name, fold, target, category, ten, recording, take in rows:
        assert name == f"{fold}-{recording}-{take}-{target}.wav"
        assert CLASSES[int(target)] == category
        assert ten == str(category in ESC10)
        info = audio.probe(roots["esc50"] / "audio" / name)
        assert (info.sample_rate, info.channels, info.seconds) == (44_100, 1, 2.0)
    assert sorted(os.listdir(roots["esc50"] / "audio")) == [row[0] for row in rows]
    folds = pd.DataFrame(rows).groupby(5)[1].nunique()
    assert (folds > 1).sum() == 1
    takes = pd.DataFrame(rows).groupby(5).size()
    assert takes.value_counts().to_dict() == {2: 49, 1: 51, 3: 1}


def test_esc10_and_fewer_classes_can_be_had_of_it(roots: dict[str, Path], tmp_path: Path) -> None:
    ten = Esc50(esc10=True).read(roots["esc50"], Index())
    assert set(ten.label_set.names) == set(ESC10) & set(esc50.SCENES)
    assert len(ten.label_set) == 5
    few = Esc50().read(render("esc50", tmp_path / "few", categories=3, recordings=1, seconds=1.0), Index())
    assert few.label_set.names == ("rain", "door_wood_knock", "church_bells")
    assert len(few) == 3 * 5 * 2 + 1


def test_fma_reads_like_the_real_one(corpora: dict[str, Corpus]) -> None:
    corpus = corpora["fma"]
    assert corpus.data == "standin"
    assert corpus.label_set.names == SMALL_GENRES
    counts = corpus.counts()
    assert [counts[name] for name in ("clips", "split train", "split validation", "split test")] == [128, 80, 24, 24]
    assert {counts[f"class {name}"] for name in SMALL_GENRES} == {16}
    assert len(corpus.notes) == 2
    short, silent = sorted(corpus.notes)  # they come in the order of the tracks
    assert short.startswith("skipped 1 clips shorter than 3 s (")
    assert silent.startswith("skipped 1 clips that stay below -60 dB (")
    artists = [set(clips["cluster"]) for _, clips in corpus.clips.groupby("split")]
    assert sum(map(len, artists)) == len(set.union(*artists)) < len(corpus)
    (fold,) = Official().folds(corpus, seed=0)
    assert fold.test.targets().sum(axis=0).tolist() == [3.0] * 8


def test_the_fma_table_is_what_pandas_reads_of_the_real_one(roots: dict[str, Path]) -> None:
    table = pd.read_csv(roots["fma"] / "fma_metadata/tracks.csv", index_col=0, header=[0, 1])
    assert table.index.name == "track_id"
    assert table.index.is_monotonic_increasing
    assert table.shape == (128 + 2 + fma.ELSEWHERE, 52)
    assert table["set"].columns.tolist() == ["split", "subset"]
    assert {group: len(table[group].columns) for group in ("album", "artist", "track")} == {
        "album": 13,
        "artist": 17,
        "track": 20,
    }
    assert table["set", "subset"].value_counts().to_dict() == {"small": 130, "medium": 3, "large": 3}
    assert table["track", "genre_top"].isna().sum() == 1
    assert table["artist", "bio"].str.contains("\n").all()
    small = table.index[table["set", "subset"] == "small"]
    there = sorted(str(path.relative_to(roots["fma"])) for path in (roots["fma"] / "fma_small").rglob("*.mp3"))
    assert there == [f"fma_small/{track // 1000:03d}/{track:06d}.mp3" for track in small]


@pytest.mark.parametrize(
    ("name", "sizes", "sounds_of"),
    [
        ("esc50", {"categories": 2, "recordings": 1, "seconds": 1.0}, ".wav"),
        ("fma", {"train": 3, "validation": 2, "test": 2, "seconds": [3.0, 3.5]}, ".mp3"),
    ],
)
def test_one_request_gives_the_same_bytes_and_another_seed_others(
    tmp_path: Path, name: str, sizes: dict[str, object], sounds_of: str
) -> None:
    first = contents(render(name, tmp_path / "a", seed=3, **sizes))
    assert contents(render(name, tmp_path / "b", seed=3, **sizes)) == first
    other = contents(render(name, tmp_path / "c", seed=4, **sizes))
    assert not {path for path in first if path.endswith(sounds_of)} & set(other)


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("esc50", {"categories": 1}, "standin esc50: categories=1 is no whole number in 2 to 10"),
        ("esc50", {"categories": 11}, "standin esc50: categories=11 is no whole number in 2 to 10"),
        ("esc50", {"recordings": 0}, "standin esc50: recordings=0 is no whole number in 1 to 100"),
        ("esc50", {"seconds": "long"}, "standin esc50: seconds='long' is no number in 1 to 60"),
        ("esc50", {"clips": 3}, "standin esc50: clips is no size of it; there is categories, recordings, seconds"),
        ("fma", {"train": 1}, "standin fma: train=1 is no number of tracks from 2 on"),
        ("fma", {"seconds": [1, 3]}, r"standin fma: seconds=\[1, 3\] is no range \[shortest, longest\] in 3 to 30"),
        ("fma", {"seconds": 3}, "standin fma: seconds=3 is no range"),
    ],
)
def test_requests_that_make_no_sense_are_answered(
    tmp_path: Path, name: str, sizes: dict[str, object], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        render(name, tmp_path / "a", **sizes)
    assert os.listdir(tmp_path) == []


def accuracy(model: ClassifierMixin, features: np.ndarray, corpus: Corpus) -> float:
    """Of a classifier on recordings (artists) that it was not trained on."""
    parts = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    groups = corpus.clips["cluster"].to_numpy()
    return float(cross_val_score(model, features, corpus.first_labels(), groups=groups, cv=parts).mean())


@pytest.mark.parametrize("name", ["esc50", "fma"])
def test_classes_are_told_by_the_sound_and_not_by_loudness_or_duration(corpora: dict[str, Corpus], name: str) -> None:
    spectra, plain = [], []
    for path in corpora[name].clips["path"]:
        sound = audio.read(path)
        power = np.abs(stft(sound, nperseg=512)[2]) ** 2
        bands = np.log10(np.add.reduceat(power, np.unique(np.geomspace(1, 250, 40).astype(int)), axis=0) + 1e-10)
        shape = bands.mean(1) - bands.mean()  # without its level
        spectra.append(np.concatenate([shape, bands.std(1), np.abs(np.diff(bands, axis=1)).mean(1)]))
        plain.append([10 * np.log10(np.mean(sound**2)), len(sound)])
    chance = 1 / len(corpora[name].label_set)
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    forest = RandomForestClassifier(100, min_samples_leaf=3, random_state=0)
    assert 0.4 < accuracy(linear, np.array(spectra), corpora[name]) < 0.85
    for model in (linear, forest):
        assert abs(accuracy(model, np.array(plain), corpora[name]) - chance) < 0.1


def test_takes_of_one_recording_are_more_alike_than_recordings_of_one_class(corpora: dict[str, Corpus]) -> None:
    """Else folds that part takes would be as good as folds that do not."""
    corpus = corpora["esc50"]
    shapes = []
    for path in corpus.clips["path"]:
        power = np.abs(stft(audio.read(path), nperseg=512)[2]) ** 2
        bands = np.log10(np.add.reduceat(power, np.unique(np.geomspace(1, 250, 30).astype(int)), axis=0) + 1e-10)
        shapes.append(bands.mean(1) - bands.mean())
    gaps = np.linalg.norm(np.array(shapes)[:, None] - np.array(shapes)[None], axis=-1)
    recording, label = corpus.clips["cluster"].to_numpy(), corpus.first_labels()
    same = (recording[:, None] == recording[None]) & ~np.eye(len(corpus), dtype=bool)
    kin = (label[:, None] == label[None]) & (recording[:, None] != recording[None])
    others = label[:, None] != label[None]
    assert gaps[same].mean() < 0.5 * gaps[kin].mean()
    assert gaps[kin].mean() < 0.9 * gaps[others].mean()


def heard(**traits: float) -> dict[str, float]:
    """What can be measured of a scene, all traits but `traits` in the middle."""
    values = dict.fromkeys(sounds.Scene.__dataclass_fields__, 0.0) | traits
    scene = sounds.Scene(**values)
    takes = [sounds.play(scene, 2.0, -28.0, place, np.random.default_rng(place)) for place in range(12)]
    powers = np.stack([np.abs(stft(take, sounds.RATE, nperseg=1024)[2]) ** 2 for take in takes])
    hertz = np.linspace(0, sounds.RATE / 2, powers.shape[1])
    spectra = powers.mean(axis=2)
    loudness = 10 * np.log10(powers.sum(axis=1) + 1e-12)
    return {
        "level": float(np.mean([10 * np.log10(np.mean(take**2)) for take in takes])),
        "centroid": float(np.median((spectra * np.log2(hertz + 1)).sum(axis=1) / spectra.sum(axis=1))),
        "flatness": float(np.mean(np.log(spectra[:, 2:300] + 1e-12).mean(1) - np.log(spectra[:, 2:300].mean(1)))),
        "crest": float(np.mean([20 * np.log10(np.abs(take).max()) + 28 for take in takes])),
        "swing": float(np.mean(loudness.std(axis=1))),
        "change": float(np.abs(np.diff(loudness, axis=1)).mean()),
    }


def test_scenes_are_heard_and_the_level_is_as_asked() -> None:
    """Each trait moves what it should."""
    for traits in ({}, {"noise": 1.0}, {"tone": 1.0}, {"depth": 1.0}):
        assert heard(**traits)["level"] == pytest.approx(-28, abs=0.3)
    rush = {"noise": 1.0, "impacts": -1.0, "tone": -1.0}
    strikes = {"noise": -1.0, "impacts": 1.0, "tone": -1.0}
    hum = {"noise": -1.0, "impacts": -1.0, "tone": 1.0}
    assert heard(**rush)["flatness"] > heard(**hum)["flatness"] + 1
    assert heard(**strikes)["crest"] > heard(**rush)["crest"] + 3
    assert heard(**rush, colour=1.0)["centroid"] > heard(**rush, colour=-1.0)["centroid"] + 1
    assert heard(**rush, depth=1.0)["swing"] > 1.5 * heard(**rush, depth=-1.0)["swing"]
    assert heard(**rush, flutter=1.0)["change"] > 1.5 * heard(**rush, flutter=-1.0)["change"]
    assert heard(**hum, pitch=0.8)["centroid"] > heard(**hum, pitch=-0.8)["centroid"] + 1
    assert heard(**hum, glide=1.0)["flatness"] > heard(**hum, glide=-1.0)["flatness"] + 0.3
    assert heard(**strikes, density=-1.0)["crest"] > heard(**strikes, density=1.0)["crest"] + 3
    assert heard(**strikes, ring=-1.0)["crest"] > heard(**strikes, ring=1.0)["crest"] + 3
    assert heard(**strikes, pitch=0.8)["centroid"] > heard(**strikes, pitch=-0.8)["centroid"] + 1
