"""A study of Optuna's, kept in the output folder, so that a command that is given again goes on.

    studies/NAME.log       what Optuna keeps: a journal that is only ever added to

Trials that have ended are kept. One that was running when its job was killed is run again with the same values.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from augrun.core.errors import RequestError
from augrun.core.files import file_name
from augrun.core.store import locks
from augrun.sweeps.tuning.search_space import BESIDE, Space

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna import Trial
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

FOLDER = "studies"
SAMPLERS = ("tpe", "random", "grid", "qmc", "cmaes")

#: What is noted of a trial: that it was cut off and is run again; its condition, deviation over trials, or failure.
CUT_OFF, FINGERPRINT, STD, WHY = "cut_off", "fingerprint", "std", "why"


class Study:
    """A study that is open. See `opened`."""

    def __init__(self, name: str, study: OptunaStudy, space: Space, grid: bool) -> None:
        self.name, self.study, self.space, self.grid = name, study, space, grid

    @property
    def ended(self) -> list[FrozenTrial]:
        """Trials that count: they have a value, or failed; by number."""
        from optuna.trial import TrialState

        over = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
        return [trial for trial in over if not trial.user_attrs.get(CUT_OFF)]

    @property
    def best(self) -> FrozenTrial | None:
        """The trial with the largest value, the first of several; None where none has one."""
        known = [trial for trial in self.ended if trial.value is not None]
        return max(known, key=lambda trial: (trial.value, -trial.number), default=None)

    def take_up(self) -> None:
        """Puts trials that were cut off to be run again, with the same values."""
        from optuna.trial import Trial, TrialState

        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            Trial(self.study, trial._trial_id).set_user_attr(CUT_OFF, True)
            self.study.tell(trial.number, state=TrialState.FAIL)
            if trial.params:
                self.study.enqueue_trial(trial.params)
                log.info("%s: trial %d was cut off, its values are tried again", self.name, trial.number)
        if self.grid:
            there = self.study.get_trials(deepcopy=False)
            known = [trial.params or trial.system_attrs.get("fixed_params") for trial in there]
            for point in self.space.grid():
                if point not in known:
                    self.study.enqueue_trial(point)

    def ask(self, at_most: int) -> list[Trial]:
        """The next trials, at once; fewer where a grid has no more."""
        from optuna.trial import TrialState

        if self.grid:
            at_most = min(at_most, len(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))))
        return [self.study.ask(dict(self.space.searched)) for _ in range(at_most)]

    def tell(self, trial: Trial, value: float | None, notes: Mapping[str, Any]) -> None:
        """A trial has ended, with a value or without one."""
        from optuna.trial import TrialState

        for key, note in notes.items():
            trial.set_user_attr(key, note)
        self.study.tell(trial, value, state=TrialState.COMPLETE if value is not None else TrialState.FAIL)


@contextmanager
def opened(
    root: Path, name: str, space: Space, about: Mapping[str, Any], sampler: str, seed: int, jobs: int
) -> Iterator[Study]:
    """Opens a study, or begins it.

    Args:
        root: the output root.
        name: of the study.
        space: what is searched.
        about: what else values depend on (`about_of`).
        sampler: one of `SAMPLERS`.
        seed: of the sampler.
        jobs: how many trials are asked for at once.

    Raises:
        RequestError: another process is at it, it was begun with another space, metric, corpus or setting, or the
            sampler lacks a package.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place = root / FOLDER / f"{file_name(name)}.log"
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = locks.lock(place.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RequestError(
            f"study {name} is at work in another process; give hydra.sweeper.study=ANOTHER, or hydra.sweeper.jobs=N "
            "there for several trials at once"
        ) from None
    try:
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(place))),
            study_name=name,
            direction="maximize",
            load_if_exists=True,
        )
        _require_same(study, space, about)
        study.sampler = _sampler(sampler, seed + len(study.get_trials(deepcopy=False)), jobs)
        one = Study(name, study, space, sampler == "grid")
        one.take_up()
        yield one
    finally:
        lock.release()


def _require_same(study: OptunaStudy, space: Space, about: Mapping[str, Any]) -> None:
    """A study's trials can be compared, and are of one space: its sampler and its best one go by all of them."""
    told = {f"another range of {key}": repr(distribution) for key, distribution in space.searched.items()}
    told |= {f"another {what}": value for what, value in about.items()}
    there = study.user_attrs.get("begun_with")
    if there is None:
        study.set_user_attr("begun_with", told)
    elif there != told:
        differing = [what for what in sorted({*there, *told}) if there.get(what) != told.get(what)]
        raise RequestError(
            f"hydra.sweeper.study={study.study_name}: it was begun with {', '.join(differing)}; give the same, or "
            "another name"
        )


def _sampler(name: str, seed: int, jobs: int) -> BaseSampler:
    """Optuna's sampler; its seed moves on with the trials that are there, else a resumed study would draw the same."""
    from optuna import samplers

    if name == "tpe":
        return samplers.TPESampler(seed=seed, constant_liar=jobs > 1)
    if name == "qmc":
        return samplers.QMCSampler(seed=seed, warn_independent_sampling=False)
    if name == "cmaes":
        try:
            import cmaes  # noqa: F401
        except ImportError:
            raise RequestError("hydra.sweeper.sampler=cmaes: pip install cmaes, or choose tpe") from None
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return samplers.RandomSampler(seed=seed)  # the points of a grid are told, not drawn


def about_of(space: Space, metric: str, corpora: Mapping[str, str]) -> dict[str, Any]:
    """What the values of a study's trials depend on beside what is searched.

    Args:
        space: what is searched, and what is fixed; what says only where and how to run is left out.
        metric: that they are values of.
        corpora: by role, their digests.
    """
    fixed = sorted(
        word for word in space.fixed if word.lstrip("+~").split("@")[0].split("=")[0].split(".")[0] not in BESIDE
    )
    return {"metric": metric, "choice of what is fixed": fixed, "corpus": dict(corpora)}


def name_of(space: Space, about: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """A study's name: that of the same request on the same corpora is the same."""
    told = {key: repr(distribution) for key, distribution in space.searched.items()}
    digest = hashlib.sha256(json.dumps([told, about], sort_keys=True).encode()).hexdigest()[:8]
    parts = [str(config[group].get("name")) for group in ("dataset", "generator", "classifier") if group not in told]
    return "-".join([*parts, digest])
