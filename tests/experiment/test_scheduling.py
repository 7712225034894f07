"""In which order a job takes folds and trials that other jobs want too, and that nothing is trained twice."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from augrun.core.job import Job
from augrun.core.store import joint_stages
from augrun.core.store.stages import JOURNAL, Stage, Store
from augrun.experiment import scheduling


@dataclass(frozen=True)
class ToyFoldTrial:
    """As much of a fold trial as scheduling looks at."""

    title: str
    generator: Stage | None
    classifier: Stage


def stage(store: Store, kind: str, number: int) -> Stage:
    return store.stage(kind, settings={"number": number}, inputs={}, code="augrun.core.errors")


def fold_trials_of(root: Path, count: int, generates: bool = True) -> list[ToyFoldTrial]:
    store = Store(root)
    return [
        ToyFoldTrial(f"fold {n}", stage(store, "generator", n) if generates else None, stage(store, "classifier", n))
        for n in range(count)
    ]


def steps(done: list[str], seconds: float = 0.0) -> list[scheduling.Step]:
    def work(kind: str, fold_trial: Any) -> None:
        def compute(folder: Path) -> None:
            done.append(f"{kind} {fold_trial.title}")
            time.sleep(seconds)

        getattr(fold_trial, kind).get(compute)

    return [(kind, lambda fold_trial, kind=kind: work(kind, fold_trial)) for kind in ("generator", "classifier")]


def computations(root: Path) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in (root / JOURNAL).read_text().splitlines()]
    return [(line["kind"], line["fingerprint"]) for line in lines]


def test_undisturbed_fold_trials_are_done_one_after_the_other(tmp_path: Path) -> None:
    done: list[str] = []
    scheduling.run_pending_steps(fold_trials_of(tmp_path, 2), steps(done))
    assert done == ["generator fold 0", "classifier fold 0", "generator fold 1", "classifier fold 1"]
    scheduling.run_pending_steps(fold_trials_of(tmp_path, 2), steps(done))
    assert len(done) == 4 == len(computations(tmp_path))


def test_what_another_job_holds_comes_last(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []
    fold_trials = fold_trials_of(tmp_path, 3)
    held = threading.Event()

    def hold() -> None:
        lock = fold_trials_of(tmp_path, 3)[0].classifier.claim()  # the first one's second step
        held.set()
        deadline = time.monotonic() + 300
        while "waiting" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lock is not None
        lock.release()  # a lock is its thread's own

    threading.Thread(target=hold).start()
    held.wait()
    assert fold_trials[0].classifier.held and not fold_trials[1].classifier.held
    assert not scheduling.all_locked_by_others(fold_trials, ["generator", "classifier"])
    with caplog.at_level("INFO", logger="augrun"):
        scheduling.run_pending_steps(fold_trials, steps(done))
    assert done == [
        "generator fold 0",
        *("generator fold 1", "classifier fold 1", "generator fold 2", "classifier fold 2"),
        "classifier fold 0",
    ]
    assert caplog.text.count("other jobs are at all that is left (fold 0, …), waiting") == 1


def test_a_job_that_would_wait_can_go_on_elsewhere(tmp_path: Path) -> None:
    """As one does that waits for its baseline."""
    done: list[str] = []
    baseline, own = fold_trials_of(tmp_path / "a", 1, generates=False), fold_trials_of(tmp_path / "b", 2)
    lock = fold_trials_of(tmp_path / "a", 1, generates=False)[0].classifier.claim()
    assert lock is not None
    asked = iter([True, True, False])
    scheduling.run_pending_steps(own, steps(done), while_=lambda: next(asked))
    assert done == ["generator fold 0", "classifier fold 0"]
    assert scheduling.all_locked_by_others(baseline, ["classifier"])
    scheduling.run_pending_steps(baseline, steps(done), while_=lambda: True)  # held: nothing is waited for
    assert len(done) == 2
    lock.release()
    assert not scheduling.all_locked_by_others(baseline, ["classifier"])


def trained(
    stages: list[Stage],
    sets: list[list[str]],
    begun: threading.Event | None = None,
    until: threading.Event | None = None,
) -> None:
    """Trains those that are free together; tells that it has begun, and ends when `until` is set."""

    def fit(jobs: list[Job], places: list[int]) -> None:
        sets.append([stages[place].fingerprint for place in places])
        if begun is not None and until is not None:
            begun.set()
            assert until.wait(300)
        for job in jobs:
            (job.folder / "model").write_text(job.title)

    def job(folder: Path, of: Stage) -> Job:
        return Job(folder, title=of.fingerprint)

    joint_stages.train(stages, job, fit, lambda places: f"training {len(places)} at once")


def test_jobs_that_want_overlapping_networks_train_none_twice(tmp_path: Path) -> None:
    """A second comes while the first trains, a third while both do; what each leaves to the others is done."""
    stages = [stage(Store(tmp_path), "classifier", number) for number in range(7)]
    sets: list[list[str]] = []

    third_left_all = threading.Event()

    def go(own: list[Stage], begun: threading.Event) -> None:
        trained(own, sets, begun, third_left_all)
        if len(own) == 7:
            third_left_all.set()
        for one in own:
            one.get(lambda folder: (folder / "model").write_text("alone") and None)

    threads = []
    for own in (stages[:4], stages[2:6], stages[:7]):
        begun = threading.Event()
        threads.append(threading.Thread(target=go, args=(own, begun)))
        threads[-1].start()
        assert len(own) == 7 or begun.wait(300)  # the next one comes while this one is training
    for thread in threads:
        thread.join()
    trained_once = [fingerprint for group in sets for fingerprint in group]
    assert len(trained_once) == len(set(trained_once))
    assert sorted(map(len, sets)) == [2, 4]  # the third left all to the others, and the one that remained to itself
    found = [entry for entry in computations(tmp_path) if entry[0] == "classifier"]
    assert sorted(found) == sorted(("classifier", one.fingerprint) for one in stages)
    assert [(one.folder / "model").read_text() for one in stages] == [one.fingerprint for one in stages[:6]] + ["alone"]
    assert not list((tmp_path / joint_stages.KIND).iterdir())


def test_a_failure_gives_the_networks_back(tmp_path: Path) -> None:
    stages = [stage(Store(tmp_path), "classifier", number) for number in range(3)]

    def breaks(jobs: list[Job], places: list[int]) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        joint_stages.train(stages, lambda folder, of: Job(folder), breaks, lambda places: "")
    assert not any(one.held for one in stages)
    sets: list[list[str]] = []
    trained(stages, sets)
    assert all(one.done for one in stages) and len(sets) == 1
    assert stages[0].claim() is None  # done
