"""Work in parts: each done once however many jobs come, and the same whoever did it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augrun.core.errors import AugrunError
from augrun.core.store import sharded_stages
from augrun.core.store.garbage_collection import collect
from augrun.core.store.stages import PARTIAL, Stage, Store
from augrun.features.cache import Features, build, join, one_by_one
from tests.features.test_cache import BANDS, matrix, names

ROOT = Path(__file__).resolve().parents[3]
CLIPS, COUNT = 60, 6


def stage_in(root: Path) -> Stage:
    return Store(root).stage("features", settings={"bands": BANDS}, inputs={}, code="augrun.core.errors")


def places(part: int) -> list[int]:
    return list(range(part * CLIPS // COUNT, (part + 1) * CLIPS // COUNT))


def undisturbed(folder: Path) -> Features:
    return build(folder, names(CLIPS), BANDS, one_by_one(matrix), key="k")


JOB = """
import os, sys, time
from pathlib import Path
from augrun.core.store import sharded_stages
from augrun.features.cache import build, join, one_by_one
from tests.features.test_cache import BANDS, matrix, names
from tests.core.store.test_sharded_stages import COUNT, places, stage_in

root, calls = Path(sys.argv[1]), Path(sys.argv[2])

def compute(folder, part):
    with open(calls, "a") as log:
        log.write(f"{part} {os.getpid()}\\n")
    def slow(clip):
        time.sleep(0.02)
        return matrix(places(part)[clip])
    build(folder, names(len(places(part))), BANDS, one_by_one(slow), key=str(part))

print("ready", flush=True)
sys.stdin.readline()
stage = stage_in(root)
sharded_stages.get(stage, COUNT, compute, join, "tones: features")
print(len(stage.store.computed), flush=True)
"""


def started(root: Path, calls: Path, count: int) -> list[subprocess.Popen[str]]:
    """Processes that all want the stage, let go at once."""
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    jobs = [subprocess.Popen([sys.executable, "-c", JOB, str(root), str(calls)], **pipe) for _ in range(count)]
    for job in jobs:
        assert job.stdout is not None and job.stdout.readline() == "ready\n"
    for job in jobs:
        assert job.stdin is not None
        job.stdin.write("\n")
        job.stdin.flush()
    return jobs


def same(one: Features, other: Features) -> bool:
    return one.frames.tolist() == other.frames.tolist() and one.rows().tobytes() == other.rows().tobytes()


def test_three_jobs_share_the_parts_and_each_is_done_once(tmp_path: Path) -> None:
    calls = tmp_path / "calls.txt"
    jobs = started(tmp_path / "store", calls, 3)
    put_together = [int(job.communicate(timeout=600)[0]) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0]
    assert sorted(put_together) == [0, 0, 1]  # one of them ended the stage
    done = [line.split() for line in calls.read_text().splitlines()]
    assert sorted(int(part) for part, _ in done) == list(range(COUNT))
    assert len({process for _, process in done}) >= 2
    stage = stage_in(tmp_path / "store")
    assert same(Features.open(stage.folder), undisturbed(tmp_path / "alone"))
    # Ten clips of 0.02 s a part: what all jobs did is told, not what the last one did.
    assert stage.manifest["summary"] == {"parts": COUNT}
    assert stage.manifest["cost"]["own_seconds"] > COUNT * 10 * 0.02


def test_what_a_killed_job_leaves_is_taken_over(tmp_path: Path) -> None:
    calls = tmp_path / "calls.txt"
    killed, other = started(tmp_path / "store", calls, 2)
    deadline = time.monotonic() + 300
    while not calls.exists() or str(killed.pid) not in calls.read_text():
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    other.communicate(timeout=600)
    assert other.returncode == 0
    done = [line.split() for line in calls.read_text().splitlines()]
    lost = {part for part, process in done if process == str(killed.pid)}
    again = [part for part, process in done if process == str(other.pid)]
    assert sorted({int(part) for part, _ in done}) == list(range(COUNT))
    assert len(again) == len(set(again)) and len(lost & set(again)) <= 1  # the one that it was at
    assert same(Features.open(stage_in(tmp_path / "store").folder), undisturbed(tmp_path / "alone"))


def test_a_part_that_fails_is_told_and_the_others_are_kept(tmp_path: Path) -> None:
    stage, done = stage_in(tmp_path), []

    def compute(folder: Path, part: int, broken: tuple[int, ...] = (1, 4)) -> None:
        if part in broken:
            raise AugrunError(f"part {part} is damaged")
        done.append(part)
        build(folder, names(2), BANDS, one_by_one(lambda clip: matrix(part)), key="k")

    with pytest.raises(AugrunError, match=r"^part 1 is damaged\npart 4 is damaged$"):
        sharded_stages.get(stage, 6, compute, join)
    assert done == [0, 2, 3, 5] and not stage.done
    sharded_stages.get(stage, 6, lambda folder, part: compute(folder, part, ()), join)
    assert done == [0, 2, 3, 5, 1, 4]
    assert [array[0, 0] for array in Features.open(stage.folder)] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    sharded_stages.get(stage, 6, compute, join)  # done: nothing is asked for


def test_a_part_whose_lock_was_taken_over_is_left_to_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUGRUN_LOCKS", "folder")
    stage = stage_in(tmp_path)

    def slow(folder: Path, part: int) -> None:
        if part == 1:
            (owner,) = (tmp_path / "locks" / f"features-{stage.fingerprint}.1.lock.held").iterdir()
            owner.unlink()

    with pytest.raises(AugrunError, match="another job has taken this lock over"):
        sharded_stages.get(stage, 3, slow, lambda folder, parts: None, "tones: features")
    done = sorted(path.parent.name for path in tmp_path.glob(f"features/*{PARTIAL}/**/{sharded_stages.DONE}"))
    assert done == ["0000"]


def test_one_part_is_a_stage_as_any_other(tmp_path: Path) -> None:
    def compute(folder: Path, part: int) -> None:
        build(folder, names(CLIPS), BANDS, one_by_one(matrix), key="k")

    stage = stage_in(tmp_path)
    sharded_stages.get(stage, 1, compute, join, "tones: features")
    assert {path.name for path in stage.folder.iterdir()} == {
        *("features.f32", "index.npy", "features.json", "stage.json")
    }


def test_parts_at_work_are_not_collected(tmp_path: Path) -> None:
    stage = stage_in(tmp_path)
    partial = stage.folder.with_name(stage.fingerprint + PARTIAL)
    (partial / sharded_stages.PARTS / "0003").mkdir(parents=True)
    lock = stage.store.claim(stage, 3)
    assert lock is not None and stage.store.claim(stage, 3) is None
    assert collect(stage.store) == []
    lock.release()
    assert [entry.folder for entry in collect(stage.store)] == [partial]


@given(st.lists(st.floats(0.01, 900) | st.just(float("nan")), min_size=0, max_size=200), st.floats(20, 4000))
def test_parts_are_contiguous_whole_and_about_equally_long(seconds: list[float], most: float) -> None:
    before, sharded_stages.PART_S = sharded_stages.PART_S, most
    try:
        parts = sharded_stages.parted(seconds)
    finally:
        sharded_stages.PART_S = before
    assert np.concatenate(parts).tolist() == list(range(len(seconds)))
    assert len(parts) == 1 or all(len(part) for part in parts)
    lengths = np.nan_to_num(np.array(seconds), nan=sharded_stages.UNKNOWN_S)
    if len(seconds):
        largest = max(lengths[part].sum() for part in parts)
        assert largest <= max(most, lengths.mean()) + lengths.max() + 1e-6


def test_a_small_corpus_is_one_part_and_a_large_one_many() -> None:
    assert len(sharded_stages.parted(np.full(1700, 4.0))) == 1
    assert len(sharded_stages.parted(np.full(10_039, 4.5))) == 7
    assert len(sharded_stages.parted(np.full(18_000, 240.0))) == sharded_stages.MOST


def test_features_of_a_condition_in_parts_are_those_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.experiment.test_leakage import condition, write  # which brings torch, that the jobs above do without

    corpus = write(tmp_path / "corpus", 0)
    one, parts = (condition(corpus, tmp_path / name) for name in ("one", "parts"))
    whole, _ = one.inputs.recorded_features
    monkeypatch.setattr(sharded_stages, "PART_S", one.plan.corpus.seconds / 4)
    in_parts, _ = parts.inputs.recorded_features
    assert same(whole, in_parts)
    entries = [next(iter(each.plan.store.entries())) for each in (one, parts)]
    assert entries[0].fingerprint == entries[1].fingerprint
    assert sorted(path.name for path in (entries[1].folder / sharded_stages.PARTS).iterdir()) == [
        "0000",
        "0001",
        "0002",
        "0003",
    ]


def test_joined_features_that_lack_a_clip_are_damaged(tmp_path: Path) -> None:
    for part in ("a", "b"):
        build(tmp_path / part, names(3), BANDS, one_by_one(matrix), key="k")
    assert len(join(tmp_path, ["a", "b"])) == len(Features.open(tmp_path)) == 6
    marker = json.loads((tmp_path / "features.json").read_text())
    (tmp_path / "features.json").write_text(json.dumps(marker | {"clips": 7}))
    with pytest.raises(AugrunError, match=r"is damaged \(6 clips of 3 bands, not 7 of 3\); remove the folder"):
        Features.open(tmp_path)
