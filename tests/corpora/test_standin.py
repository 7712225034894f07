"""The rendered miniature of Jamendo: layout, determinism, and what its classes can be told by."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import stft
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from augrun.core import audio
from augrun.core.errors import AugrunError, RequestError
from augrun.corpora.corpus import Corpus
from augrun.corpora.index import Index
from augrun.corpora.jamendo import JamendoMood
from augrun.corpora.marker import MARKER, read_marker
from augrun.corpora.standin import jamendo, music, render

SIZES = {"train": 28, "validation": 14, "test": 14, "seconds": [1.5, 2.5]}

NINE = {"happy", "positive", "uplifting", "calm", "relaxing", "dark", "dramatic", "sad", "melancholic"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render("jamendo", tmp_path_factory.mktemp("standin") / "jamendo", seed=3, **SIZES)


@pytest.fixture(scope="module")
def corpus(root: Path) -> Corpus:
    return JamendoMood().read(root, Index())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_it_reads_like_the_real_corpus(corpus: Corpus) -> None:
    assert corpus.data == "standin"
    assert corpus.clips["split"].value_counts().to_dict() == {"train": 28, "validation": 14, "test": 14}
    assert set(corpus.label_set.names) >= NINE
    assert len(corpus.label_set) == 14
    assert corpus.notes == ()
    sizes = corpus.targets().sum(axis=1)
    assert set(sizes) == {1, 2, 3}


def test_every_tag_is_in_every_part_and_no_artist_in_two(corpus: Corpus) -> None:
    artists: list[set[str]] = []
    for part in ("train", "validation", "test"):
        clips = corpus.select((corpus.clips["split"] == part).to_numpy())
        assert clips.targets().sum(axis=0).min() >= (2 if part == "train" else 1)
        artists.append(set(clips.clips["cluster"]))
    assert sum(len(names) for names in artists) == len(set.union(*artists)) < len(corpus)


def test_the_tables_have_the_real_ones_grammar(root: Path) -> None:
    for part in ("train", "validation", "test"):
        with (root / f"data/splits/split-0/autotagging_moodtheme-{part}.tsv").open(newline="") as file:
            header, *rows = csv.reader(file, delimiter="\t")
        assert header == ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]
        for track, _, _, path, duration, *tags in rows:
            number = int(track.removeprefix("track_"))
            assert track == f"track_{number:07d}"
            assert path == f"{number % 100:02d}/{number}.mp3"
            info = audio.probe(root / path)
            assert (info.sample_rate, info.channels) == (22_050, 1)
            assert info.seconds == pytest.approx(float(duration), abs=0.001)
            assert tags == sorted(tags)
            assert all(tag.startswith("mood/theme---") for tag in tags)


def test_one_request_gives_the_same_bytes_and_another_seed_others(root: Path, tmp_path: Path) -> None:
    sizes = {"train": 3, "validation": 2, "test": 2, "seconds": [1.0, 1.5]}
    first = contents(render("jamendo", tmp_path / "a", seed=3, **sizes))
    assert contents(render("jamendo", tmp_path / "b", seed=3, **sizes)) == first
    other = contents(render("jamendo", tmp_path / "c", seed=4, **sizes))
    assert not {name for name in first if name.endswith(".mp3")} & set(other)


def test_a_finished_rendering_is_kept_and_another_request_replaces_it(tmp_path: Path) -> None:
    sizes = {"train": 2, "validation": 1, "test": 1, "seconds": [1.0, 1.0]}
    folder = tmp_path / "a"
    folder.mkdir()
    render("jamendo", folder, **sizes)
    stamp = (folder / MARKER).stat().st_mtime_ns
    render("jamendo", folder, **sizes)
    assert (folder / MARKER).stat().st_mtime_ns == stamp
    render("jamendo", folder, **{**sizes, "test": 2})
    marker = read_marker(folder)
    assert marker is not None
    assert (marker["dataset"], marker["seed"], marker["test"]) == ("jamendo", 0, 2)
    assert len(list(folder.glob("*/*.mp3"))) == 5
    assert os.listdir(tmp_path) == ["a"]


def test_a_persons_folder_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="holds something that is no stand-in, and is left as it is"):
        render("jamendo", tmp_path)
    with pytest.raises(RequestError, match="holds something that is no stand-in"):
        render("jamendo", tmp_path / "notes.txt")
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_a_rendering_that_breaks_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jamendo, "write", broken)
    with pytest.raises(AugrunError, match=r"a: the stand-in cannot be written \(No space left on device\)"):
        render("jamendo", tmp_path / "a", train=2, validation=1, test=1, seconds=[1, 1])
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(AugrunError, match="the stand-in cannot be written"):
        render("jamendo", tmp_path / "file" / "a")


@pytest.mark.parametrize(
    ("dataset", "sizes", "message"),
    [
        ("jamando", {}, "standin: there is no stand-in for 'jamando'; there is jamendo"),
        ("jamendo", {"tain": 3}, "standin jamendo: tain is no size of it; there is train, validation, test, seconds"),
        ("jamendo", {"train": 0}, "standin jamendo: train=0 is no number of tracks"),
        ("jamendo", {"seconds": [9, 3]}, r"standin jamendo: seconds=\[9, 3\] is no range"),
        ("jamendo", {"seconds": 3}, "standin jamendo: seconds=3 is no range"),
    ],
)
def test_requests_that_make_no_sense_are_answered(
    tmp_path: Path, dataset: str, sizes: dict[str, object], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        render(dataset, tmp_path / "a", **sizes)
    assert os.listdir(tmp_path) == []


def test_style_is_heard_and_level_is_as_asked() -> None:
    """Each trait moves what it should, all else being equal and the level the same."""

    def heard(**traits: float) -> dict[str, float]:
        values = dict.fromkeys(music.Style.__dataclass_fields__, 0.0) | traits
        sounds = [music.play(music.Style(**values), 4.0, -20.0, np.random.default_rng(seed)) for seed in range(12)]
        powers = np.stack([np.abs(stft(sound, music.RATE, nperseg=1024)[2]) ** 2 for sound in sounds])
        log = np.log10(powers + 1e-9)
        hertz = np.linspace(0, music.RATE / 2, powers.shape[1])
        return {
            "level": float(np.mean([10 * np.log10(np.mean(sound**2)) for sound in sounds])),
            "centroid": float((powers.mean((0, 2)) * hertz).sum() / powers.mean((0, 2)).sum()),
            "change": float(np.maximum(np.diff(log, axis=2), 0).mean()),
            "growth": float(log[..., -60:].mean() - log[..., :60].mean()),
            "contrast": float(10 * np.log10(powers[:, hertz > 4000, :-12].sum(axis=1) + 1e-12).std(axis=1).mean()),
            "treble": float(log[:, hertz > 6000].mean()),
        }

    for traits in ({"tempo": 1.0}, {"drums": -1.0}, {"swell": 1.0}):
        assert heard(**traits)["level"] == pytest.approx(-20, abs=0.5)
    assert heard(register=1.0)["centroid"] > 1.2 * heard(register=-1.0)["centroid"]
    assert heard(timbre=1.0)["treble"] > heard(timbre=-1.0)["treble"] + 0.2
    assert heard(tempo=1.0)["change"] > 1.2 * heard(tempo=-1.0)["change"]
    assert heard(swell=1.0)["growth"] > heard(swell=-1.0)["growth"] + 0.5
    assert heard(space=1.0)["contrast"] < heard(space=-1.0)["contrast"] - 1.5
    assert heard(drums=1.0)["change"] > 1.1 * heard(drums=-1.0)["change"]


def test_classes_are_told_by_the_music_and_not_by_loudness_or_duration() -> None:
    tracks = jamendo._plan(0, {"train": 112, "validation": 1, "test": 56}, [5.0, 7.0])
    spectra, plain = [], []
    for track in tracks:
        sound = music.play(track.style, track.seconds, track.level_db, np.random.default_rng((0, track.number)))
        power = np.abs(stft(sound, music.RATE, nperseg=512)[2]) ** 2
        bands = np.log10(np.add.reduceat(power, np.unique(np.geomspace(1, 250, 40).astype(int)), axis=0) + 1e-8)
        spectra.append(np.concatenate([bands.mean(1), bands.std(1), np.abs(np.diff(bands, axis=1)).mean(1)]))
        plain.append([10 * np.log10(np.mean(sound**2)), len(sound)])
    targets = np.array([[tag in track.tags for tag in jamendo.TAGS] for track in tracks])
    train, test = (np.array([track.part == part for track in tracks]) for part in ("train", "test"))

    def macro_auc(features: np.ndarray) -> float:
        scores = []
        for tag in range(len(jamendo.TAGS)):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
            model.fit(features[train], targets[train, tag])
            scores.append(roc_auc_score(targets[test, tag], model.decision_function(features[test])))
        return float(np.mean(scores))

    assert 0.7 < macro_auc(np.array(spectra)) < 0.9
    assert abs(macro_auc(np.array(plain)) - 0.5) < 0.1
