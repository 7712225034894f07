"""Noise as a control."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from augrun.core.job import Job
from augrun.generators.noise import Noise
from augrun.generators.requests import GenerationInputs, build_unprimed_requests


@pytest.mark.parametrize("rate", [16000, 44100])
def test_it_has_its_colour_and_its_level_and_no_peak_is_cut(rate: int) -> None:
    for colour, slope in (("white", 0.0), ("pink", -1.0)):
        sound = Noise(colour=colour, rms_db=-15.0, sample_rate=rate).sound(8.0, 3)
        assert (sound.dtype, sound.shape) == (np.float32, (8 * rate,))
        assert 20 * np.log10(np.sqrt(np.mean(sound**2))) == pytest.approx(-15.0, abs=0.01)
        assert np.abs(sound).max() < 1.0
        power = np.abs(np.fft.rfft(sound)) ** 2
        hertz = np.fft.rfftfreq(len(sound), 1 / rate)
        octaves = [40.0 * 2**k for k in range(7)]
        levels = [np.log2(power[(hertz >= low) & (hertz < 2 * low)].mean()) for low in octaves]
        assert np.polyfit(range(7), levels, 1)[0] == pytest.approx(slope, abs=0.1)


def test_each_sample_is_of_its_seed_alone_and_files_that_are_there_stay(tmp_path) -> None:
    requests = build_unprimed_requests([0, 1, 1], 0.5, 0)
    job = Job(tmp_path)
    Noise(sample_rate=16000).generate(GenerationInputs(requests, ("a", "b"), None, job))
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(set(first.values())) == len(requests) == 3
    assert all(soundfile.info(path).frames == 8000 for path in tmp_path.iterdir())
    kept, gone, _ = (tmp_path / f"{name}.wav" for name in requests["sample_id"])
    kept.write_bytes(b"kept")
    gone.unlink()
    Noise(sample_rate=16000).generate(GenerationInputs(requests.assign(label=0), ("a", "b"), None, job))
    assert kept.read_bytes() == b"kept" and gone.read_bytes() == first[gone.name]
