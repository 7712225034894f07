"""The synthesiser of the speech stand-ins: what is asked for is heard, and the speaker's request is kept exactly."""

from __future__ import annotations

import importlib
import os
import shutil
import stat
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import find_peaks
from scipy.stats import kruskal
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from augrun.cli import verbs
from augrun.core.errors import AugrunError, RequestError
from augrun.corpora.marker import read_marker
from augrun.corpora.reader import Reader
from augrun.corpora.standin import espeak, phones, render, speech, voices
from augrun.corpora.standin.speech import Manner, Voice
from augrun.features.logmel import LogMel

RATE = 16_000
MAN, WOMAN = Voice(110.0, 1.0, 0.0, -30.0, 1.0), Voice(200.0, 1.16, 0.0, -30.0, 1.0)
SENTENCE = ("she left the letter on the table",)


# What the tests of all speech stand-ins share.


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def reader_of(dataset: str) -> type[Reader]:
    """The reader of a corpus; the test is skipped where there is none."""
    module = pytest.importorskip(f"augrun.corpora.{dataset}")
    found = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Reader)]
    return next(value for value in found if value.__module__ == module.__name__)


def loudness_and_length(sounds: Sequence[np.ndarray], rate: int) -> np.ndarray:
    """Level in dB and duration in seconds, shape (sounds, 2)."""
    return np.array([[10 * np.log10(np.mean(sound**2)), len(sound) / rate] for sound in sounds])


def sound_of_voice(sounds: Sequence[np.ndarray], rate: int) -> np.ndarray:
    """Mean and deviation of each log-mel band, and of the fundamental frequency in octaves, shape (sounds, 130)."""
    import librosa

    mel = LogMel(sample_rate=rate, window=rate // 32, hop=rate // 64, n_fft=2048, bands=64, f_max=8000, floor_db=-90)
    rows = []
    for sound in sounds:
        bands = mel.transform(sound)
        pitch = np.log2(librosa.yin(sound, fmin=60, fmax=600, sr=rate, frame_length=rate // 15, hop_length=rate // 40))
        rows.append([*bands.mean(axis=0), *bands.std(axis=0), np.median(pitch), pitch.std()])
    return np.array(rows)


def recall_across_speakers(features: np.ndarray, labels: Sequence[str], speakers: Sequence[str]) -> dict[str, float]:
    """Unweighted average recall of a linear model and of a forest on speakers that they have not heard."""
    models = {
        "linear": make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)),
        "forest": RandomForestClassifier(100, min_samples_leaf=3, random_state=0),
    }
    folds = GroupKFold(5)
    guesses = {
        name: cross_val_predict(model, features, labels, groups=speakers, cv=folds) for name, model in models.items()
    }
    return {name: float(recall_score(labels, guess, average="macro")) for name, guess in guesses.items()}


def check_what_tells_the_classes(
    sounds: Sequence[np.ndarray], rate: int, labels: Sequence[str], speakers: Sequence[str]
) -> None:
    """Four classes: loudness and duration say nothing of them, the voice much and not all."""
    assert len(set(labels)) == 4
    plain = recall_across_speakers(loudness_and_length(sounds, rate), labels, speakers)
    assert min(plain.values()) > 0.15 and max(plain.values()) < 0.35
    heard = recall_across_speakers(sound_of_voice(sounds, rate), labels, speakers)
    assert 0.45 < heard["linear"] < 0.8
    assert 0.40 < heard["forest"] < 0.8


# The sound.


@settings(max_examples=25, deadline=None)
@given(
    seconds=st.floats(0.3, 4),
    level_db=st.floats(-40, -20),
    rate=st.sampled_from([8000, 16_000, 44_100]),
    style=st.lists(st.floats(-2.2, 2.2), min_size=9, max_size=9),
    voice=st.sampled_from([MAN, WOMAN]),
    sentences=st.lists(st.sampled_from(phones.SENTENCES), min_size=1, max_size=3),
)
def test_any_manner_gives_just_that_length_and_level(
    seconds: float, level_db: float, rate: int, style: list[float], voice: Voice, sentences: list[str]
) -> None:
    manner = voices._manner(np.array(style))
    sound = speech.speak(tuple(sentences), seconds, voice, manner, level_db, rate, np.random.default_rng(0))
    assert sound.shape == (round(seconds * rate),)
    assert sound.dtype == np.float32
    assert np.abs(sound).max() <= 1
    assert 10 * np.log10(np.mean(sound.astype(float) ** 2)) == pytest.approx(level_db, abs=0.6)


def test_the_same_seed_says_the_same() -> None:
    first, again, other = (
        speech.speak(SENTENCE, 1.0, MAN, Manner(), -25, RATE, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).max() > 0.01


@pytest.mark.parametrize("voice", [MAN, WOMAN])
@pytest.mark.parametrize("vowel", ["IY", "EH", "AE", "AA", "UW", "ER"])
def test_vowels_have_the_formants_of_the_literature(vowel: str, voice: Voice) -> None:
    (segment,) = phones.segments(f"{vowel}1")
    assert segment.formants is not None
    grid = speech._grid(RATE)
    response = speech._tract(np.array(segment.formants)[:, None], np.zeros(1), voice.tract, 1.0, 0.0, grid)[0]
    decibels = 20 * np.log10(np.abs(response))
    peaks = find_peaks(decibels)[0] * RATE / grid.size
    for formant in segment.formants:
        assert np.abs(peaks - voice.tract * formant).min() < 60
    assert decibels[0] == pytest.approx(0, abs=3)


def test_consonants_sound_where_they_are_made() -> None:
    def share(word: str, low: float, high: float) -> float:
        sound = speech.speak((word,), 0.5, MAN, Manner(), -25, RATE, np.random.default_rng(0))
        power = np.abs(np.fft.rfft(sound)) ** 2
        hertz = np.fft.rfftfreq(len(sound), 1 / RATE)
        return float(power[(hertz > low) & (hertz < high)].sum() / power.sum())

    assert share("yes", 4500, 7000) > 5 * share("no", 4500, 7000)
    assert share("she", 2000, 4500) > 5 * share("we", 2000, 4500)


def heard(voice: Voice = MAN, **traits: float) -> dict[str, float]:
    """Measures of a sentence said eight times; the level is the same."""
    import librosa

    values: dict[str, list[float]] = {}
    for seed in range(8):
        sound = speech.speak(SENTENCE, 1.8, voice, Manner(**traits), -25, RATE, np.random.default_rng(seed))
        pitch = librosa.yin(sound, fmin=60, fmax=500, sr=RATE, frame_length=1024, hop_length=160)
        loud = librosa.feature.rms(y=sound, frame_length=1024, hop_length=160)[0] > 0.4 * np.sqrt(np.mean(sound**2))
        tones, places = 12 * np.log2(pitch[loud]), np.flatnonzero(loud)
        power = np.abs(np.fft.rfft(sound)) ** 2
        hertz = np.fft.rfftfreq(len(sound), 1 / RATE)
        flatness = librosa.feature.spectral_flatness(y=sound, n_fft=1024, hop_length=160)[0]
        band = (hertz > 1000) & (hertz < 3500)
        measured = {
            "hertz": float(np.median(pitch[loud])),
            "span": float(np.percentile(tones, 90) - np.percentile(tones, 10)),
            "slope": float(np.polyfit(places, tones, 1)[0] * len(pitch)),
            "tilt": 10 * float(np.log10(power[band].sum() / power[(hertz > 80) & (hertz < 700)].sum())),
            "noise": 10 * float(np.log10(np.median(flatness[loud]))),
            "centroid": float((power * hertz)[band].sum() / power[band].sum()),
        }
        for name, value in measured.items():
            values.setdefault(name, []).append(value)
    return {name: float(np.median(value)) for name, value in values.items()}


def test_each_trait_moves_what_it_should() -> None:
    usual = heard()
    assert usual["hertz"] == pytest.approx(110, rel=0.12)
    assert heard(WOMAN)["hertz"] == pytest.approx(200, rel=0.12)
    assert heard(pitch=5.0)["hertz"] == pytest.approx(usual["hertz"] * 2 ** (5 / 12), rel=0.05)
    assert heard(span=2.0)["span"] > heard(span=0.4)["span"] + 2
    assert heard(slope=5.0)["slope"] > heard(slope=-5.0)["slope"] + 5
    assert heard(tension=1.0)["tilt"] > heard(tension=-1.0)["tilt"] + 4
    assert heard(breath_db=15.0)["noise"] > heard(breath_db=-6.0)["noise"] + 4
    assert heard(jitter=0.03)["noise"] > heard(jitter=0.0)["noise"] + 1
    assert heard(smile=1.1)["centroid"] > heard(smile=0.9)["centroid"] + 60


def test_pauses_and_tempo_change_how_long_it_takes() -> None:
    two = ("i know", "go away")
    assert speech.usual_seconds(two, MAN, Manner(pauses=2.0)) == pytest.approx(
        speech.usual_seconds(two, MAN, Manner()) + phones.SILENCE.seconds
    )
    said = speech.usual_seconds(SENTENCE, MAN, Manner()) - 2 * speech.MARGIN
    assert speech.usual_seconds(SENTENCE, MAN, Manner(tempo=2.0)) == pytest.approx(2 * speech.MARGIN + said / 2)


def test_every_sentence_can_be_said() -> None:
    assert len(set(phones.SENTENCES)) == len(phones.SENTENCES) > 30
    for sentence in phones.SENTENCES:
        assert sum(segment.vowel for segment in phones.spoken(sentence)) >= 1
    known = {word for sentence in phones.SENTENCES for word in sentence.split()}
    assert known <= set(phones.LEXICON)
    with pytest.raises(KeyError, match="xylophone"):
        phones.spoken("the xylophone")


# Who speaks, and how.


@cache
def lines() -> dict[str, list[voices.Line]]:
    speakers = voices.cast([(f"{number}{sex}", sex == "F") for number in range(10) for sex in "FM"], seed=5)
    return {
        emotion: [
            voices.line(speaker, [emotion], (0.6, 8.0), voices.generator(5, speaker.name, emotion, str(turn)))
            for speaker in speakers
            for turn in range(10)
        ]
        for emotion in ("angry", "happy", "neutral", "sad")
    }


def test_level_and_duration_are_drawn_alike_in_every_class() -> None:
    drawn = list(lines().values())
    assert kruskal(*([line.level_db for line in group] for group in drawn)).pvalue > 0.01
    assert kruskal(*([line.seconds for line in group] for group in drawn)).pvalue > 0.01
    seconds = [line.seconds for group in drawn for line in group]
    assert min(seconds) < 0.8 and max(seconds) > 6
    assert np.median(seconds) == pytest.approx(np.sqrt(0.6 * 8), rel=0.1)


def test_slow_speech_says_less_and_nothing_is_stretched_much() -> None:
    def syllables(line: voices.Line) -> float:
        return sum(segment.vowel for text in line.sentences for segment in phones.spoken(text)) / line.seconds

    rates = {emotion: np.mean([syllables(line) for line in group]) for emotion, group in lines().items()}
    assert rates["sad"] < rates["neutral"] - 0.3 < rates["angry"] - 0.3
    for group in lines().values():
        stretch = [speech.usual_seconds(x.sentences, x.speaker.voice, x.manner) / x.seconds for x in group]
        assert np.median(stretch) == pytest.approx(1, abs=0.03)
        assert np.percentile(stretch, 95) < 1.1


def test_sentences_are_shared_by_classes_and_speakers() -> None:
    by_class = {emotion: {text for line in group for text in line.sentences} for emotion, group in lines().items()}
    assert len(set.intersection(*by_class.values())) > 25
    speakers: dict[str, set[str]] = {}
    for group in lines().values():
        for line in group:
            speakers.setdefault(line.speaker.name, set()).update(line.sentences)
    shared = Counter(text for texts in speakers.values() for text in texts)
    assert sum(count >= 10 for count in shared.values()) > 20


def test_emotions_lie_as_reported_and_overlap() -> None:
    mean = {
        emotion: {name: np.mean([getattr(x.manner, name) for x in group]) for name in Manner.__dataclass_fields__}
        for emotion, group in lines().items()
    }
    for trait in ("pitch", "span", "tempo", "tension"):
        assert mean["angry"][trait] > mean["neutral"][trait] > mean["sad"][trait]
        assert mean["happy"][trait] > mean["neutral"][trait]
    assert mean["sad"]["breath_db"] > mean["neutral"]["breath_db"] > mean["angry"]["breath_db"]
    assert mean["sad"]["pauses"] > mean["neutral"]["pauses"] > mean["angry"]["pauses"]
    for trait in ("pitch", "tempo", "tension"):
        sad, neutral = (np.array([getattr(x.manner, trait) for x in lines()[name]]) for name in ("sad", "neutral"))
        # A pair drawn at random is often the other way round.
        assert 0.05 < (sad[:, None] > neutral).mean() < 0.45


def test_a_speaker_depends_on_name_and_seed_alone() -> None:
    alone = voices.cast([("1F", True)], seed=0)[0]
    among = voices.cast([("1M", False), ("1F", True)], seed=0)[1]
    assert (alone.voice, alone.expression) == (among.voice, among.expression)
    assert alone.voice != voices.cast([("1F", True)], seed=1)[0].voice
    crowd = voices.cast([(f"{number}{sex}", sex == "F") for number in range(20) for sex in "FM"], seed=0)
    women, men = ([x.voice for x in crowd if x.female is female] for female in (True, False))
    assert np.median([x.hertz for x in women]) > 1.5 * np.median([x.hertz for x in men])
    assert min(x.tract for x in women) > max(x.tract for x in men) - 0.05


# What can be asked for.


@pytest.mark.parametrize("dataset", ["iemocap", "msp_improv", "tedlium", "feel"])
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"voice": "mine"}, "standin {}: voice='mine' is none of own, espeak"),
        ({"seconds": [3, 1]}, "standin {}: seconds=[3, 1] is no range [shortest, longest] in "),
        ({"seconds": 3}, "standin {}: seconds=3 is no range [shortest, longest] in "),
        ({"COUNT": 0}, "standin {}: COUNT=0 is no number from 1 on"),
        ({"COUNT": 1.5}, "standin {}: COUNT=1.5 is no number from 1 on"),
        ({"nonsense": 1}, "standin {}: nonsense is no size of it; there is "),
    ],
)
def test_requests_that_make_no_sense_are_answered(
    tmp_path: Path, dataset: str, sizes: dict[str, object], message: str
) -> None:
    count = next(iter(importlib.import_module(f"augrun.corpora.standin.{dataset}").SIZES))
    asked: dict[str, Any] = {count if name == "COUNT" else name: size for name, size in sizes.items()}
    with pytest.raises(RequestError) as caught:
        render(dataset, tmp_path / "a", **asked)
    assert str(caught.value).startswith(message.format(dataset).replace("COUNT", count))
    assert os.listdir(tmp_path) == []


def test_the_command_takes_sizes_and_voice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a"
    wanted = ["--size", "train=1", "--size", "dev=1", "--size", "test=1", "--size", "seconds=[4,5]", "--seed", "3"]
    assert verbs.standin(["tedlium", str(folder), *wanted, "--voice", "own"]) == 0
    marker = read_marker(folder)
    assert marker is not None
    assert {name: marker[name] for name in ("train", "seconds", "voice", "seed")} == {
        "train": 1,
        "seconds": [4.0, 5.0],
        "voice": "own",
        "seed": 3,
    }
    assert "a rendered stand-in for tedlium, no real recordings (seed 3)" in capsys.readouterr().out
    with pytest.raises(RequestError, match=r"^--size train: is no NAME=VALUE, e\.g\. --size seconds=\[1,3\]$"):
        verbs.standin(["tedlium", str(tmp_path / "b"), "--size", "train"])
    with pytest.raises(RequestError, match="standin jamendo: voice is no size of it"):
        verbs.standin(["jamendo", str(tmp_path / "b"), "--voice", "own"])


def test_espeak_is_not_replaced_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestError) as caught:
        verbs.standin(["iemocap", str(tmp_path / "a"), "--voice", "espeak"])
    assert str(caught.value) == (
        "voice=espeak: espeak-ng is not installed; install it (on Debian: apt install espeak-ng), or take voice=own"
    )
    assert os.listdir(tmp_path) == []


def fake_espeak(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    program = folder / "espeak-ng"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def say(seconds: float = 1.0, **traits: float) -> np.ndarray:
    return espeak.say(("i know", "go away"), seconds, WOMAN, True, Manner(**traits), -25.0, RATE)


def test_espeaks_sound_is_trimmed_fitted_and_levelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that gives half a second of tone within silence, in a WAV without a length as pipes have it."""
    tone = np.round(8000 * np.sin(np.arange(11_025) * 0.1)).astype("<i2").tobytes()
    header = b"RIFF\x24\xf0\xff\x7fWAVEfmt " + (16).to_bytes(4, "little") + b"\x01\x00\x01\x00"
    header += (22_050).to_bytes(4, "little") + (44_100).to_bytes(4, "little") + b"\x02\x00\x10\x00data\x00\xf0\xff\x7f"
    (tmp_path / "out.wav").write_bytes(header + bytes(8000) + tone + bytes(8000))
    fake_espeak(tmp_path, monkeypatch, f'echo "$@" >> {tmp_path}/calls; cat {tmp_path}/out.wav')
    sound = say(pitch=2.0, tempo=1.2, span=1.5)
    assert len(sound) == RATE
    assert 10 * np.log10(np.mean(sound**2)) == pytest.approx(-25, abs=0.1)
    loud = np.flatnonzero(np.abs(sound) > 0.01) / RATE
    assert loud[0] == pytest.approx(speech.MARGIN, abs=0.01)
    assert loud[-1] == pytest.approx(speech.MARGIN + 0.5, abs=0.03)
    first, second = (tmp_path / "calls").read_text().splitlines()
    assert first.startswith("-v en+f") and '<prosody range="150%">i know<break' in first
    assert "-s 210 " in first
    assert f"-s {int(210 * 0.5 / 0.88)} " in second  # it was too short, and is asked to speak more slowly


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo no voice >&2; exit 3", r"voice=espeak: espeak-ng failed \(no voice\); try voice=own"),
        ("echo hello", "voice=espeak: espeak-ng gave no WAV; try voice=own"),
    ],
)
def test_an_espeak_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    fake_espeak(tmp_path, monkeypatch, body)
    with pytest.raises(AugrunError, match=message):
        say()


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_the_real_espeak_speaks() -> None:
    low, high = say(1.2, pitch=-4.0), say(1.2, pitch=6.0)
    assert len(low) == len(high) == round(1.2 * RATE)
    assert np.abs(low - high).max() > 0.05
    assert low.tobytes() == say(1.2, pitch=-4.0).tobytes()
