"""The memory-mapped cache: what goes in comes out, however often the building is killed."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augrun.core.errors import AugrunError
from augrun.features import writing
from augrun.features.cache import Features, build, one_by_one

BANDS = 3


def matrix(clip: int) -> np.ndarray:
    """(clip % 5 + 1) rows that say which clip and row they are."""
    rows = np.arange(clip % 5 + 1, dtype=np.float32)
    return np.stack([np.full_like(rows, clip), rows, -rows], axis=1)


def names(count: int) -> list[str]:
    return [f"clip-{clip}" for clip in range(count)]


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_what_is_built_is_read_back(tmp_path: Path) -> None:
    built = build(tmp_path / "f", names(20), BANDS, one_by_one(matrix), key="k", workers=3)
    opened = Features.open(tmp_path / "f")
    assert len(built) == len(opened) == 20
    assert opened.frames.tolist() == [clip % 5 + 1 for clip in range(20)]
    for clip in range(20):
        np.testing.assert_array_equal(opened[clip], matrix(clip))
    assert opened[-1][0, 0] == 19
    assert sorted(path.name for path in (tmp_path / "f").iterdir()) == ["features.f32", "features.json", "index.npy"]
    with pytest.raises(IndexError):
        opened[20]


def test_bytes_do_not_depend_on_workers(tmp_path: Path) -> None:
    def late(clip: int) -> np.ndarray:
        time.sleep(0.002 * (7 - clip % 8))  # later clips finish first
        return matrix(clip)

    build(tmp_path / "one", names(24), BANDS, one_by_one(matrix), key="k", workers=1)
    build(tmp_path / "four", names(24), BANDS, one_by_one(late), key="k", workers=4)
    assert digest(tmp_path / "one") == digest(tmp_path / "four")


@given(
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    data=st.data(),
)
def test_select_and_concatenate_are_those_of_lists(counts: list[int], data: st.DataObject) -> None:
    arrays = [np.full((count, 2), place, np.float32) for place, count in enumerate(counts)]
    features = Features.from_arrays(arrays)
    rows = data.draw(st.lists(st.integers(0, len(arrays) - 1), max_size=8))
    other = data.draw(st.lists(st.integers(0, len(arrays) - 1), max_size=8))
    both = Features.concatenate([features.select(rows), features.select(other)])
    assert both.frames.tolist() == [counts[row] for row in rows + other]
    for got, row in zip(both, rows + other, strict=True):
        np.testing.assert_array_equal(got, arrays[row])
    mask = np.array([count > 2 for count in counts])
    assert [array[0, 0] for array in features.select(mask)] == np.flatnonzero(mask).tolist()
    assert [array[0, 0] for array in features[1:]] == list(range(1, len(arrays)))


def test_features_cannot_be_changed(tmp_path: Path) -> None:
    for features in (
        Features.from_arrays([np.ones((2, 2))]),
        build(tmp_path, names(2), BANDS, one_by_one(matrix), key="k"),
    ):
        with pytest.raises(ValueError, match="read-only"):
            features[0][0, 0] = 5
        with pytest.raises(ValueError, match="read-only"):
            features.frames[0] = 5


def test_widths_must_agree() -> None:
    narrow, wide = Features.from_arrays([np.ones((1, 2))]), Features.from_arrays([np.ones((1, 3))])
    with pytest.raises(ValueError, match=r"\[2, 3\] bands"):
        Features.concatenate([narrow, wide])
    assert Features.concatenate([narrow, wide.select([])]).bands == 2


def test_a_pickle_holds_the_path_not_the_data(tmp_path: Path) -> None:
    features = build(
        tmp_path / "f", names(500), 100, one_by_one(lambda clip: np.full((10, 100), clip, np.float32)), key="k"
    )
    assert features[3][0, 0] == 3
    pickled = pickle.dumps(features.select(range(400)))
    assert len(pickled) < 20_000 < features.frames.sum() * 400
    np.testing.assert_array_equal(pickle.loads(pickled)[399], features[399])
    in_memory = pickle.loads(pickle.dumps(Features.from_arrays([np.ones((2, 2))])))
    assert in_memory[0].sum() == 4


def test_failed_clips_are_reported_together_and_the_others_kept(tmp_path: Path) -> None:
    calls: list[int] = []
    broken = True

    def compute(clip: int) -> np.ndarray:
        calls.append(clip)
        if broken and clip % 2:
            raise AugrunError(f"/music/{clip}.mp3: cut off")
        return matrix(clip)

    with pytest.raises(AugrunError) as caught:
        build(tmp_path / "f", names(10), BANDS, one_by_one(compute), key="k", workers=2)
    text = str(caught.value)
    assert text.startswith("5 of 10 clips cannot be read: ")
    assert "clip-1: /music/1.mp3: cut off; " in text
    assert "/music/5.mp3" in text
    assert "/music/7.mp3" not in text
    assert "and 2 more" in text
    assert "Mend these files" in text
    assert len(text.splitlines()) == 2
    with pytest.raises(AugrunError, match="no finished features"):
        Features.open(tmp_path / "f")

    broken = False
    calls.clear()
    features = build(tmp_path / "f", names(10), BANDS, one_by_one(compute), key="k", workers=2)
    assert sorted(calls) == [1, 3, 5, 7, 9]
    for clip in range(10):
        np.testing.assert_array_equal(features[clip], matrix(clip))


def test_a_bug_is_not_mistaken_for_a_bad_clip(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        build(tmp_path / "a", names(5), BANDS, one_by_one(lambda clip: matrix(clip // 0)), key="k", workers=2)
    with pytest.raises(ValueError, match=r"clip-0: features of shape \(2, 7\)"):
        build(tmp_path / "b", names(5), BANDS, one_by_one(lambda clip: np.zeros((2, 7))), key="k")


def test_finished_work_is_not_done_twice_and_another_key_starts_over(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute(clip: int) -> np.ndarray:
        calls.append(clip)
        return matrix(clip)

    build(tmp_path, names(6), BANDS, one_by_one(compute), key="k")
    before = digest(tmp_path)
    build(tmp_path, names(6), BANDS, one_by_one(compute), key="k")
    assert calls == list(range(6))
    assert digest(tmp_path) == before
    build(tmp_path, names(6), BANDS, one_by_one(compute), key="another")
    assert calls == 2 * list(range(6))


@pytest.mark.parametrize("damage", ["journal", "data"])
def test_a_torn_end_is_computed_again(tmp_path: Path, damage: str) -> None:
    build(tmp_path / "whole", names(12), BANDS, one_by_one(matrix), key="k")

    def stop(clip: int) -> np.ndarray:
        if clip == 8:
            raise KeyboardInterrupt
        return matrix(clip)

    torn = tmp_path / "torn"
    with pytest.raises(KeyboardInterrupt):
        build(torn, names(12), BANDS, one_by_one(stop), key="k")
    if damage == "journal":  # half an entry, and data without an entry
        with open(torn / "journal.i64", "ab") as file:
            file.write(b"\x07\0\0")
        with open(torn / "features.f32", "ab") as file:
            file.write(b"\xff" * 21)
    else:  # the journal outlived the last data
        os.truncate(torn / "features.f32", (torn / "features.f32").stat().st_size - 5)
    calls: list[int] = []

    def compute(clip: int) -> np.ndarray:
        calls.append(clip)
        return matrix(clip)

    build(torn, names(12), BANDS, one_by_one(compute), key="k")
    assert calls == list(range(8 if damage == "journal" else 7, 12))
    assert digest(torn) == digest(tmp_path / "whole")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    build(tmp_path, names(6), BANDS, one_by_one(matrix), key="k")
    with open(tmp_path / "features.f32", "ab") as file:
        file.write(b"\0")
    with pytest.raises(AugrunError, match=r"features\.f32 is damaged .*remove the folder"):
        Features.open(tmp_path)


def test_only_a_few_clips_are_ahead_of_the_writer(tmp_path: Path) -> None:
    """Memory stays flat: no clip is computed long before those in front of it are written."""
    begun, lock, worst = 0, threading.Lock(), 0

    def compute(clip: int) -> np.ndarray:
        nonlocal begun, worst
        with lock:
            begun += 1
            journal = tmp_path / "journal.i64"
            worst = max(worst, begun - journal.stat().st_size // 16)
        if clip % 10 == 0:
            time.sleep(0.01)
        return matrix(clip)

    build(tmp_path, names(200), BANDS, one_by_one(compute), key="k", workers=2)
    assert begun == 200
    assert worst <= 8


KILLED = """
import sys, time
from pathlib import Path
from augrun.features.cache import build, one_by_one
from tests.features.test_cache import BANDS, matrix, names

def slow(clip):
    with open(sys.argv[2], "a") as log:
        log.write(f"{clip}\\n")
    time.sleep(0.01)
    return matrix(clip)

build(Path(sys.argv[1]), names(300), BANDS, one_by_one(slow), key="k", workers=2)
"""


def test_sigkill_in_the_middle_loses_no_finished_clip(tmp_path: Path) -> None:
    folder, log = tmp_path / "f", tmp_path / "calls.txt"
    command = [sys.executable, "-c", KILLED, str(folder), str(log)]
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(command, cwd=root)
    journal = folder / "journal.i64"
    deadline = time.monotonic() + 300
    while not journal.exists() or journal.stat().st_size < 50 * 16:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = journal.stat().st_size // 16
    assert 50 <= finished < 300
    log.unlink()
    subprocess.run(command, cwd=root, check=True)
    assert sorted(map(int, log.read_text().split())) == list(range(finished, 300))
    build(tmp_path / "undisturbed", names(300), BANDS, one_by_one(matrix), key="k")
    assert digest(folder) == digest(tmp_path / "undisturbed")


def test_opening_needs_no_torch(tmp_path: Path) -> None:
    build(tmp_path, names(2), BANDS, one_by_one(matrix), key="k")
    code = (
        "import sys; from augrun.features.cache import Features; "
        f"assert Features.open({str(tmp_path)!r})[1].shape == (2, {BANDS}); "
        "assert not {'torch', 'pandas', 'rich', 'soundfile'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])


def test_a_disk_that_was_full_for_a_moment_ends_the_extraction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file server tells once, when a file is synchronised, that what was written is lost."""
    real, calls = os.fsync, iter([OSError(errno.EDQUOT, "Disk quota exceeded")])

    def fsync(file: int) -> None:
        for error in calls:
            raise error
        real(file)

    monkeypatch.setattr(writing, "_SYNC_EVERY", 5)
    monkeypatch.setattr(writing.os, "fsync", fsync)

    def slow(clip: int) -> np.ndarray:
        time.sleep(0.01)
        return matrix(clip)

    with pytest.raises(OSError, match="Disk quota exceeded"):
        build(tmp_path / "f", names(40), BANDS, one_by_one(slow), key="k")
    assert not (tmp_path / "f" / writing.MARKER).exists()
