"""Stages whose work is done at once: networks of folds and trials trained as one (`augrun.core.training.stacked`).

Each stage is its own all the same: it has the fingerprint and holds the files that it would have alone, so that nothing
depends on with whom it was trained.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from augrun.core.job import Job
from augrun.core.store.locks import Lock
from augrun.core.store.stages import Stage

KIND = "together"


def train(
    stages: Sequence[Stage],
    job: Callable[[Path, Stage], Job],
    fit: Callable[[list[Job], list[int]], None],
    title: Callable[[list[int]], str],
) -> None:
    """Does the work of those stages at once that no other job is at, and puts each part into its own.

    All their locks are held meanwhile: jobs that want some of the same networks, together with others or alone, find
    these taken and train no network twice. What another job holds is left to it, and a single stage that remains to
    whoever trains it alone.

    A call that was killed is continued by the next one with the same stages, from the last checkpoint.

    Args:
        stages: what is to be done.
        job: makes the job of a stage in a folder.
        fit: does the work of all jobs, leaving in each one's folder what the stage is to hold; it is told which of
            the stages they are, by their places.
        title: what to call this on the console, by the same places.
    """
    with ExitStack() as held:
        claimed: dict[int, Lock] = {}
        for place, stage in enumerate(stages):
            lock = stage.claim()
            if lock is not None:
                held.callback(lock.release)
                claimed[place] = lock
        free = list(claimed)
        if len(free) > 1:
            of_free = [(stages[place], lock) for place, lock in claimed.items()]
            _train(of_free, job, lambda jobs: fit(jobs, free), title(free))


def _train(
    claimed: Sequence[tuple[Stage, Lock]],
    job: Callable[[Path, Stage], Job],
    fit: Callable[[list[Job]], None],
    title: str,
) -> None:
    """The same for stages whose locks are held."""
    stages = [stage for stage, _ in claimed]
    inputs = {str(place): stage.fingerprint for place, stage in enumerate(stages)}
    whole = stages[0].store.stage(KIND, settings={}, inputs=inputs, code=__name__)

    def all_of_them(folder: Path) -> None:
        places = [folder / str(place) for place in range(len(stages))]
        for place in places:
            place.mkdir(exist_ok=True)
        fit([job(place, stage) for place, stage in zip(places, stages, strict=True)])

    folder = whole.get(all_of_them, title)
    cost = whole.manifest["cost"]
    share = cost["own_seconds"] / len(stages)
    for place, (stage, lock) in enumerate(claimed):

        def take(into: Path, of: Path = folder / str(place)) -> dict[str, Any]:
            shutil.copytree(of, into, dirs_exist_ok=True)
            return {"trained_together": len(stages), "share_of_seconds": share, "cost": cost}

        stage.get(take, claimed=lock)
    shutil.rmtree(folder, ignore_errors=True)
