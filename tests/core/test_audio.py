"""Decoding, cutting and writing of sound files, whole and broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from augrun.core import audio
from augrun.core.errors import AugrunError

RATE = 22_050


@pytest.fixture
def chirp() -> np.ndarray:
    """Four seconds that differ everywhere."""
    time = np.arange(4 * RATE) / RATE
    return (0.5 * np.sin(2 * np.pi * (200 * time + 150 * time**2))).astype(np.float32)


def cut(path: Path, share: float) -> Path:
    """Leaves the first `share` of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


@pytest.mark.parametrize(("suffix", "tolerance"), [("wav", 3.1e-5), ("flac", 3.1e-5), ("ogg", 0.1), ("mp3", 0.1)])
def test_what_is_written_is_read_again(tmp_path: Path, chirp: np.ndarray, suffix: str, tolerance: float) -> None:
    path = tmp_path / f"a.{suffix}"
    audio.write(path, chirp, RATE)
    assert audio.probe(path) == audio.AudioInfo(4.0, RATE, 1, 4 * RATE)
    samples = audio.read(path)
    assert samples.shape == chirp.shape
    assert samples.dtype == np.float32
    inner = slice(500, -500)
    assert np.abs(samples - chirp)[inner].max() < tolerance


def test_stereo_8_bit_wav_is_mixed_to_mono(tmp_path: Path, chirp: np.ndarray) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([chirp, 0.5 * chirp], axis=1), RATE, subtype="PCM_U8")
    assert audio.probe(path).channels == 2
    assert np.abs(audio.read(path) - 0.75 * chirp).max() < 2 / 128
    both = audio.read(path, mono=False)
    assert both.shape == (2, 4 * RATE)
    assert np.abs(both[1] - 0.5 * chirp).max() < 2 / 128


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_window_equals_the_same_part_of_the_whole(tmp_path: Path, chirp: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    audio.write(path, chirp, RATE)
    whole = audio.read(path)
    for start in (0.0, 0.5, 1.5, 2.25):
        part = audio.read(path, start_s=start, seconds=1.0)
        first = round(start * RATE)
        assert np.abs(part - whole[first : first + RATE]).max() < 1e-5


@pytest.mark.parametrize("target", [8_000, 12_000, 16_000, 44_100])
def test_a_resampled_window_has_no_edges(tmp_path: Path, chirp: np.ndarray, target: int) -> None:
    path = tmp_path / "a.wav"
    audio.write(path, chirp, RATE)
    whole = audio.read(path, target)
    assert len(whole) == 4 * target
    for start in (0, 1, 3):
        part = audio.read(path, target, start_s=start, seconds=1.0)
        assert part.shape == (target,)
        assert np.abs(part - whole[start * target : (start + 1) * target]).max() < 1e-6


def test_resampling_keeps_a_tone_and_removes_what_does_not_fit(tmp_path: Path) -> None:
    time = np.arange(2 * 44_100) / 44_100
    tones = sum(0.4 * np.sin(2 * np.pi * hertz * time) for hertz in (1000, 8800))
    audio.write(tmp_path / "a.wav", tones, 44_100)
    spectrum = np.abs(np.fft.rfft(audio.read(tmp_path / "a.wav", 16_000, start_s=0.5, seconds=1.0))) / 8_000
    assert spectrum[1000] == pytest.approx(0.4, rel=0.01)
    assert np.delete(spectrum, np.arange(990, 1011)).max() < 0.004


def test_a_window_beyond_the_end_is_shorter_and_one_outside_is_refused(tmp_path: Path, chirp: np.ndarray) -> None:
    path = tmp_path / "a.wav"
    audio.write(path, chirp, RATE)
    assert len(audio.read(path, start_s=3.5, seconds=2.0)) == RATE // 2
    with pytest.raises(AugrunError, match=r"a\.wav: a window from 4 s on lies outside its 4\.000 s"):
        audio.read(path, start_s=4.0)
    with pytest.raises(AugrunError, match="holds no sample"):
        audio.read(path, seconds=0.0)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_cut_file_is_found_by_its_ends_and_when_read(
    tmp_path: Path, chirp: np.ndarray, suffix: str, share: float
) -> None:
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).normal(0, 0.05, len(chirp)).astype(np.float32)
    audio.write(path, chirp + noise, RATE)
    cut(path, share)
    for look in (audio.probe, audio.read):
        with pytest.raises(AugrunError, match=rf"a\.{suffix}: (cut off|damaged or cut off)"):
            look(path)


def test_a_cut_mp3_whose_name_hides_its_kind_is_found_when_decoded(tmp_path: Path, chirp: np.ndarray) -> None:
    """Without the comparison with its stated length, half of it would be returned without a word."""
    audio.write(tmp_path / "a.mp3", chirp, RATE)
    path = cut((tmp_path / "a.mp3").rename(tmp_path / "a.mpeg"), 0.5)
    with pytest.raises(AugrunError, match=r"a\.mpeg: cut off at [12]\.\d\d s, its header promises 4\.00 s"):
        audio.read(path)


def test_a_wav_written_to_a_pipe_is_read(tmp_path: Path, chirp: np.ndarray) -> None:
    """Such a file states the largest possible size."""
    path = tmp_path / "a.wav"
    audio.write(path, chirp, RATE)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = content[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert audio.probe(path).seconds == 4.0
    assert len(audio.read(path)) == len(chirp)


def test_an_mp3_behind_a_picture_is_probed(tmp_path: Path, chirp: np.ndarray) -> None:
    """The stated size counts from the first frame, not from the file's start."""
    path = tmp_path / "a.mp3"
    audio.write(path, chirp, RATE)
    content = path.read_bytes()
    picture = b"ID3\x04\x00\x00\x00\x00\x40\x00" + bytes(0x40 * 128)
    path.write_bytes(picture + content)
    assert audio.probe(path).frames == 4 * RATE
    path.write_bytes(picture + content[: len(content) // 2])
    with pytest.raises(AugrunError, match="cut off"):
        audio.probe(path)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_empty_files_and_other_content_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"")
    with pytest.raises(AugrunError, match=rf"a\.{suffix}: the file is empty$"):
        audio.read(path)
    path.write_text("this is no sound " * 20)
    with pytest.raises(AugrunError, match=rf"a\.{suffix}: is no sound file that can be decoded \(.+\)$"):
        audio.probe(path)


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), RATE)
    with pytest.raises(AugrunError, match=r"a\.wav: holds no audio \(zero length\)"):
        audio.probe(tmp_path / "a.wav")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(AugrunError, match=r"gone\.wav: cannot be read \(No such file or directory\)"):
        audio.read(tmp_path / "gone.wav")
    with pytest.raises(AugrunError, match="is no file"):
        audio.read(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused_on_both_ways(tmp_path: Path, chirp: np.ndarray, value: float) -> None:
    chirp[RATE] = value
    soundfile.write(tmp_path / "a.wav", chirp, RATE, subtype="FLOAT")
    with pytest.raises(AugrunError, match=r"a\.wav: holds NaN or infinite samples"):
        audio.read(tmp_path / "a.wav")
    assert len(audio.read(tmp_path / "a.wav", start_s=2.0)) == 2 * RATE
    with pytest.raises(AugrunError, match=r"b\.wav: not written"):
        audio.write(tmp_path / "b.wav", chirp, RATE)
    assert not (tmp_path / "b.wav").exists()


def test_writing_is_whole_or_not_at_all(tmp_path: Path, chirp: np.ndarray) -> None:
    audio.write(tmp_path / "a.wav", chirp, RATE)
    before = (tmp_path / "a.wav").read_bytes()
    with pytest.raises(AugrunError, match=r"a\.wav: cannot be written"):
        audio.write(tmp_path / "a.wav", chirp, -1)
    with pytest.raises(AugrunError, match="cannot be written"):
        audio.write(tmp_path / "gone" / "a.wav", chirp, RATE)
    assert (tmp_path / "a.wav").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_values_beyond_full_scale_are_clipped_not_wrapped(tmp_path: Path) -> None:
    audio.write(tmp_path / "a.wav", np.array([2.0, -2.0, 0.25]), RATE)
    assert audio.read(tmp_path / "a.wav") == pytest.approx([1.0, -1.0, 0.25], abs=1e-4)


def test_reading_at_the_files_own_rate_needs_no_torch(tmp_path: Path, chirp: np.ndarray) -> None:
    audio.write(tmp_path / "a.flac", chirp, RATE)
    code = "import sys; from augrun.core import audio; audio.read(sys.argv[1]); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, str(tmp_path / "a.flac")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


def test_real_recordings_probe_as_their_table_says(shared_data: Path) -> None:
    rows = [line.split(",") for line in (shared_data / "music/meta.csv").read_text().splitlines()[1:]]
    assert len(rows) == 18
    for name, rate, seconds in rows:
        info = audio.probe(shared_data / "music/audio" / name)
        assert (info.sample_rate, round(info.seconds, 3)) == (int(rate), pytest.approx(float(seconds), abs=0.002))
    for path in sorted((shared_data / "esc10/audio").glob("*.ogg")):
        assert len(audio.read(path)) == audio.probe(path).frames


def test_windows_of_an_mp3_leave_the_console_clean(
    tmp_path: Path, chirp: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    """The decoder complains of frames that lie before and behind the window, which nobody hears."""
    audio.write(tmp_path / "a.mp3", chirp, RATE)
    for start in (0.0, 1.0, 2.0):
        audio.read(tmp_path / "a.mp3", start_s=start, seconds=0.5)
    assert capfd.readouterr().err == ""
    with audio._HUSH:
        os.write(2, b"[src/libmpg123/layer3.c] error\nfrom another thread\n")
    assert capfd.readouterr().err == "from another thread\n"


def test_a_sphere_file_that_is_cut_off_is_found_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "talk.sph"
    soundfile.write(path, np.zeros(16000, np.int16), 16000, format="NIST", subtype="PCM_16")
    assert audio.probe(path).seconds == 1.0
    path.write_bytes(path.read_bytes()[:-10000])
    with pytest.raises(AugrunError, match=r"talk\.sph: cut off, 23,024 of at least 33,024 bytes are there"):
        audio.probe(path)
