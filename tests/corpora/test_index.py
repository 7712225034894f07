"""The index looks at a file once, and again only when it has changed."""

from __future__ import annotations

import math
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile

from augrun.core import audio
from augrun.core.errors import AugrunError
from augrun.core.store.folder_lock import FolderLock
from augrun.corpora import index as module
from augrun.corpora.index import EDGE, FileFacts, Index


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are looked at, as they are."""
    seen: list[str] = []
    look = module._look

    def counted(path: str, size: int, mtime_ns: int) -> module._Row:
        seen.append(os.path.basename(path))
        return look(path, size, mtime_ns)

    monkeypatch.setattr(module, "_look", counted)
    return seen


def test_facts_of_good_missing_and_broken_files(tmp_path: Path, beep: np.ndarray) -> None:
    audio.write(tmp_path / "good.flac", beep, 8000)
    (tmp_path / "empty.wav").touch()
    content = (tmp_path / "good.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) // 2])
    good, gone, empty, cut = Index().lookup(tmp_path, ["good.flac", "gone.wav", "empty.wav", "cut.flac"])
    assert (good.found, good.seconds, good.sample_rate, good.error) == (True, 1.0, 8000, None)
    assert len(good.digest) == 64
    assert gone == FileFacts(False, "", gone.seconds, 0, "missing")
    assert (empty.found, empty.error) == (True, "the file is empty")
    assert cut.error == "cut off, its header promises 1.00 s but the end does not decode"


def test_a_file_is_looked_at_again_only_when_it_changed(tmp_path: Path, beep: np.ndarray, looks: list[str]) -> None:
    names = ["a.wav", "b.wav", "a.wav"]
    for name in names:
        audio.write(tmp_path / name, beep, 8000)
    first = Index(tmp_path / "cache").lookup(tmp_path, names)
    assert sorted(looks) == ["a.wav", "b.wav"]
    assert Index(tmp_path / "cache").lookup(tmp_path, names) == first
    assert len(looks) == 2
    audio.write(tmp_path / "b.wav", beep[:4000], 8000)
    changed = Index(tmp_path / "cache").lookup(tmp_path, names)
    assert looks[2:] == ["b.wav"]
    assert changed[0] == first[0]
    assert changed[1].seconds == 0.5
    assert changed[1].digest != first[1].digest


def test_the_digest_follows_the_place_in_the_corpus_and_both_ends(tmp_path: Path) -> None:
    content = bytearray(np.random.default_rng(0).bytes(4 * EDGE))
    digests = set()
    for number, at in enumerate((None, 0, len(content) - 1)):
        if at is not None:
            content[at] ^= 1
        folder = tmp_path / str(number)
        folder.mkdir()
        np.save(folder / "a.npy", np.frombuffer(bytes(content), dtype=np.uint8)[None])
        os.link(folder / "a.npy", folder / "b.npy")
        digests |= {facts.digest for facts in Index().lookup(folder, ["a.npy", "b.npy"])}
    assert len(digests) == 6
    moved = (tmp_path / "0").rename(tmp_path / "elsewhere")
    assert {facts.digest for facts in Index().lookup(moved, ["a.npy", "b.npy"])} < digests


def test_feature_arrays_are_checked_by_their_header_and_size(tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", np.zeros((96, 500), dtype=np.float32))
    np.save(tmp_path / "flat.npy", np.zeros(96))
    content = (tmp_path / "good.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(content[:-100])
    (tmp_path / "empty.npy").touch()
    good, flat, cut, empty = Index().lookup(tmp_path, ["good.npy", "flat.npy", "cut.npy", "empty.npy"])
    assert good.error is None
    assert math.isnan(good.seconds)
    assert flat.error == "holds an array of shape (96,) where (bands, frames) is expected"
    for facts in (cut, empty):
        assert facts.error is not None
        assert facts.error.startswith("is no NumPy array, or cut off")


def test_a_damaged_cache_is_begun_anew(tmp_path: Path, beep: np.ndarray, looks: list[str]) -> None:
    audio.write(tmp_path / "a.wav", beep, 8000)
    first = Index(tmp_path / "cache").lookup(tmp_path, ["a.wav"])
    (database,) = (tmp_path / "cache").iterdir()
    database.write_bytes(b"no database at all" * 100)
    assert Index(tmp_path / "cache").lookup(tmp_path, ["a.wav"]) == first
    assert looks == ["a.wav", "a.wav"]
    assert Index(tmp_path / "cache").lookup(tmp_path, ["a.wav"]) == first
    assert len(looks) == 2


def test_what_was_looked_at_before_a_kill_is_kept(
    tmp_path: Path, beep: np.ndarray, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number}.wav" for number in range(12)]
    for name in names:
        audio.write(tmp_path / name, beep[:80], 8000)
    monkeypatch.setattr(module, "CHUNK", 4)
    rows = Index(tmp_path / "cache")._probe_all([(n, str(tmp_path / n), 0, 0) for n in names])
    for _ in range(5):
        next(rows)
    rows.close()  # type: ignore[attr-defined]
    assert len(looks) == 8
    with_sizes = Index(tmp_path / "cache")._load(str(tmp_path))
    assert len(with_sizes) == 8


def test_a_place_that_cannot_hold_the_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AugrunError, match="the file index cannot be kept here"):
        Index(tmp_path / "file" / "cache")


def test_a_long_look_says_how_far_it_is(
    tmp_path: Path, beep: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    names = [f"{number}.wav" for number in range(9)]
    for name in names:
        audio.write(tmp_path / name, beep[:80], 8000)
    Index(progress=True).lookup(tmp_path, names)
    assert capsys.readouterr().err == "looking at files: 9 of 9\n"
    Index(progress=False).lookup(tmp_path, names)
    assert capsys.readouterr().err == ""


@pytest.fixture
def listened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose level is measured, as they are."""
    heard: list[str] = []
    listen = module._listen

    def counted(path: str, size: int, mtime_ns: int) -> module._Level:
        heard.append(os.path.basename(path))
        return listen(path, size, mtime_ns)

    monkeypatch.setattr(module, "_listen", counted)
    return heard


def test_levels_are_measured_where_asked_and_once(tmp_path: Path, beep: np.ndarray, listened: list[str]) -> None:
    audio.write(tmp_path / "loud.wav", beep, 8000)
    audio.write(tmp_path / "soft.flac", np.stack([0 * beep, -0.1 * beep]), 8000)
    audio.write(tmp_path / "silent.wav", 0 * beep, 8000)
    names = ["loud.wav", "soft.flac", "silent.wav", "loud.wav"]
    plain = Index(tmp_path / "cache").lookup(tmp_path, names)
    assert [math.isnan(facts.peak_db) for facts in plain] == [True] * 4
    assert listened == []
    facts = Index(tmp_path / "cache").lookup(tmp_path, names, levels=True)
    expected = 20 * math.log10(0.3)
    assert [known.peak_db for known in facts[:2]] == pytest.approx([expected, expected - 20], abs=0.01)
    assert facts[2].peak_db == -math.inf
    assert facts[3] == facts[0]
    assert [known._replace(peak_db=math.nan) for known in facts] == plain
    assert sorted(listened) == ["loud.wav", "silent.wav", "soft.flac"]
    assert Index(tmp_path / "cache").lookup(tmp_path, names, levels=True) == facts
    assert len(listened) == 3
    audio.write(tmp_path / "silent.wav", beep[:4000], 8000)
    again = Index(tmp_path / "cache").lookup(tmp_path, names, levels=True)
    assert listened[3:] == ["silent.wav"]
    assert again[2].peak_db == pytest.approx(expected, abs=0.01)


def test_levels_are_remembered_without_a_database_too(tmp_path: Path, beep: np.ndarray, listened: list[str]) -> None:
    audio.write(tmp_path / "a.wav", beep, 8000)
    index = Index()
    first = index.lookup(tmp_path, ["a.wav"], levels=True)
    assert index.lookup(tmp_path, ["a.wav"], levels=True) == first
    assert listened == ["a.wav"]


def test_levels_leave_alone_what_is_missing_or_no_sound(tmp_path: Path, listened: list[str]) -> None:
    np.save(tmp_path / "mel.npy", np.zeros((96, 50), dtype=np.float32))
    (tmp_path / "empty.wav").touch()
    facts = Index().lookup(tmp_path, ["mel.npy", "empty.wav", "gone.wav"], levels=True)
    assert [known.error for known in facts] == [None, "the file is empty", "missing"]
    assert all(math.isnan(known.peak_db) for known in facts)
    assert listened == []


def test_a_sound_that_does_not_decode_to_its_end_is_an_error_where_levels_are_asked(
    tmp_path: Path, listened: list[str]
) -> None:
    content = np.array([0.1, np.nan, 0.2] * 100, dtype=np.float32)
    soundfile.write(tmp_path / "nan.wav", content, 8000, subtype="FLOAT")
    (plain,) = Index(tmp_path / "cache").lookup(tmp_path, ["nan.wav"])
    assert plain.error is None
    for _ in range(2):  # not remembered: the fault may have passed
        (facts,) = Index(tmp_path / "cache").lookup(tmp_path, ["nan.wav"], levels=True)
        assert facts.error == "holds NaN or infinite samples"
    assert listened == ["nan.wav", "nan.wav"]


@pytest.mark.parametrize("suffix", [".wav", ".mp3"])
@pytest.mark.parametrize("at", [0, 5_000, 12_500, 15_900])
def test_a_peak_is_found_in_whatever_block_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, at: int
) -> None:
    monkeypatch.setattr(module, "BLOCK", 4_000)
    sound = (0.01 * np.sin(np.arange(16_000) / 5)).astype(np.float32)
    sound[at : at + 100] *= 50
    audio.write(tmp_path / f"a{suffix}", sound, 16_000)
    (facts,) = Index().lookup(tmp_path, [f"a{suffix}"], levels=True)
    assert facts.error is None
    assert facts.peak_db == pytest.approx(20 * math.log10(0.5), abs=0.1 if suffix == ".wav" else 1.5)


def test_long_files_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    read = audio.read

    def counted(path: str, **window: object) -> np.ndarray:
        samples = read(path, **window)  # type: ignore[arg-type]
        sizes.append(samples.shape[-1])
        return samples

    monkeypatch.setattr(audio, "read", counted)
    monkeypatch.setattr(module, "BLOCK", 1_000)
    for count in (400, 1_000, 1_400, 1_600, 5_000, 5_499):
        audio.write(tmp_path / f"{count}.wav", np.full(count, 0.5, dtype=np.float32), 8000)
        sizes.clear()
        (facts,) = Index().lookup(tmp_path, [f"{count}.wav"], levels=True)
        assert facts.peak_db == pytest.approx(20 * math.log10(0.5), abs=0.01)
        assert sum(sizes) == count
        assert max(sizes) < 1_500


def test_a_database_from_before_levels_serves_on(tmp_path: Path, beep: np.ndarray, looks: list[str]) -> None:
    audio.write(tmp_path / "a.wav", beep, 8000)
    Index(tmp_path / "cache").lookup(tmp_path, ["a.wav"])
    (database,) = (tmp_path / "cache").iterdir()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DROP TABLE levels")
    (facts,) = Index(tmp_path / "cache").lookup(tmp_path, ["a.wav"], levels=True)
    assert facts.peak_db == pytest.approx(20 * math.log10(0.3), abs=0.01)
    assert looks == ["a.wav"]


@pytest.mark.parametrize(
    ("seconds", "peak_db", "expected"),
    [
        (5.0, -3.0, None),
        (0.9, -3.0, "clips shorter than 1 s"),
        (0.9, -80.0, "clips shorter than 1 s"),
        (5.0, -60.0, None),
        (5.0, -60.1, "clips that stay below -60 dB"),
        (5.0, -math.inf, "clips that stay below -60 dB"),
        (math.nan, math.nan, None),
    ],
)
def test_short_and_silent_clips_are_told_by_length_and_peak(
    seconds: float, peak_db: float, expected: str | None
) -> None:
    assert FileFacts(True, "", seconds, 8000, None, peak_db).shortcoming(1.0, -60.0) == expected


def test_where_flock_does_not_reach_the_database_has_a_lock_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUGRUN_LOCKS", "folder")
    (tmp_path / "note.txt").write_text("no sound")
    index = Index(tmp_path / "store" / "index")
    held = FolderLock(tmp_path / "store" / "index" / "index.lock")
    asking = threading.Thread(target=lambda: index.lookup(tmp_path, ["note.txt"]))
    with held:
        asking.start()
        asking.join(0.5)
        assert asking.is_alive()
    asking.join(300)
    assert not asking.is_alive()
