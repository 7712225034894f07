"""Sounds and pictures within pages: whole where there is room, all alike, and never larger than that."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from augrun.reports import embedding, levels
from augrun.reports.embedding import GRADES, Grade, Wanted
from tests.reports.sounds import loudest_hz, noise, tone


@pytest.mark.parametrize(
    ("rate", "most", "expected"),
    [
        (8000, 48000, 16000),
        (11025, 48000, 16000),
        (16000, 48000, 16000),
        (44100, 48000, 44100),
        (96000, 48000, 48000),
        (44100, 24000, 24000),
        (22050, 24000, 22050),
    ],
)
def test_any_rate_becomes_one_that_every_browser_plays(tmp_path: Path, rate: int, most: int, expected: int) -> None:
    assert embedding.mp3_rate(rate, most) == expected
    (sound,), _ = embedding.embed([Wanted(tone(tmp_path / "a.wav", 440, 0.73, rate))], 1e9, [Grade(most, 0.4)])
    samples, found = soundfile.read(io.BytesIO(sound.content))
    assert found == expected
    assert len(samples) == pytest.approx(0.73 * expected, abs=1)
    assert (sound.seconds, sound.cut) == (pytest.approx(0.73, abs=1e-4), False)
    assert loudest_hz(samples, found) == pytest.approx(440, abs=2)


def test_the_shortest_sounds_survive(tmp_path: Path) -> None:
    (sound,), _ = embedding.embed([Wanted(tone(tmp_path / "a.wav", 440, 10 / 16000))], 1e9)
    assert len(soundfile.read(io.BytesIO(sound.content))[0]) == 10


def test_a_budget_is_kept_by_all_sounds_alike(tmp_path: Path) -> None:
    wanted = [Wanted(tone(tmp_path / "a.wav", 440, 6.0, 44100), 1.0), Wanted(noise(tmp_path / "b.wav", 6.0))]
    grades = []
    for budget in (1e9, 90_000, 45_000, 35_000, 30_000, 20_000):
        sounds, grade = embedding.embed(wanted, budget)
        assert sum(len(sound.content) for sound in sounds) <= budget
        rates = [soundfile.info(io.BytesIO(sound.content)).samplerate for sound in sounds]
        assert rates == [min(44100, grade.rate)] * 2
        lasting = [min(6.0, grade.longest_s + 1), min(6.0, grade.longest_s)]
        assert [sound.seconds for sound in sounds] == pytest.approx(lasting)
        grades.append(grade)
    assert grades == [*GRADES[:5], GRADES[-1]]


def test_a_budget_too_small_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sounds, grade = embedding.embed([Wanted(noise(tmp_path / "a.wav", 6.0))], 10)
    assert (sounds[0].seconds, grade) == (4.0, GRADES[-1])
    assert caplog.messages == ["sounds for one page: 0.0 MB, more than the 0.0 MB it has room for"]


def test_the_size_of_many_sounds_is_foretold_from_a_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding hundreds of sounds several times over would take minutes."""
    encoded = []
    real = embedding._encode
    monkeypatch.setattr(embedding, "_encode", lambda one, grade: encoded.append(grade) or real(one, grade))
    wanted = [Wanted(noise(tmp_path / "a.wav", 1.0)), Wanted(tone(tmp_path / "b.wav", 440, 1.0, 44100))] * 30
    sounds, grade = embedding.embed(wanted, 60 * 4600)
    assert len(sounds) == 60
    assert grade == GRADES[2]
    counts = [encoded.count(one) for one in GRADES]
    assert 0 < counts[0] == counts[1] <= 15
    assert counts[2] == counts[0] + 60
    assert sum(counts[3:]) == 0


def test_long_sounds_keep_their_shape_in_few_columns() -> None:
    matrix = np.full((1503, levels.BANDS), -70.0)
    matrix[750:, 5] = -14.0
    drawn = np.array(Image.open(io.BytesIO(embedding.picture(matrix))))
    assert drawn.shape == (levels.BANDS, embedding.COLUMNS)
    row = drawn[levels.BANDS - 1 - 5]
    assert (row[:238] == 0).all() and (row[241:] == 12).all(), "a mean, and no sum"
    assert (np.delete(drawn, levels.BANDS - 1 - 5, axis=0) == 0).all()


def test_any_number_of_threads_gives_the_same_sounds_in_the_same_order(tmp_path: Path) -> None:
    wanted = [Wanted(noise(tmp_path / f"{at}.wav", 0.2 + 0.05 * at)) for at in range(16)]
    alone, grade = embedding.embed(wanted, 60e3)
    several, its = embedding.embed(wanted, 60e3, workers=4)
    assert several == alone
    assert (its, len({sound.content for sound in alone})) == (grade, 16)
    assert grade != GRADES[0], "none was left out for its size, so that nothing was foretold"
