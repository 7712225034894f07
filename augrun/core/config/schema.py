"""The typed shape of the configuration, and messages that name the key and the legal values.

A component's settings are the fields of its class, read from its source without importing it, so that a
check costs milliseconds and a new component needs no second description of itself.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from augrun.core.config.component import describe
from augrun.core.errors import RequestError

#: The configuration groups and what each is for, in the order of the data's way.
GROUPS = {
    "dataset": "the corpus: where the recorded clips and their classes come from",
    "protocol": "how the corpus is parted into folds of train, validation and test",
    "representation": "what classifiers see: features extracted from the waveform",
    "reducer": "how vectors become shorter before a classifier sees them",
    "generator": "the system that makes class-conditional samples",
    "policy": "how much is generated per class, and what the training set is made of",
    "classifier": "the system whose gain judges the samples",
    "trainer": "the devices to compute on",
    "tracking": "the MLflow server or folder that trials and tables go to",
    "experiment": "ready-made combinations, among them the published tables",
}

#: Groups whose YAML names a class; the settings of the others are plain values.
COMPONENTS = (
    *("dataset", "protocol", "representation", "reducer", "generator", "policy", "classifier", "trainer", "tracking"),
)

#: Where an experiment that is a published table defines its rows and columns (`augrun.reports.definition`).
TABLE = "table"

#: What else a condition may use of the group `dataset`: `dataset@target=msp_improv`.
ROLES = {
    "target": "the other corpus of protocol=cross_corpus",
    "source": "unlabelled recordings that the generator turns into its samples",
    "noise": "background sounds that the generator adds",
    "music": "background music that the generator adds, beside noise",
}

#: Keys that a component's YAML may hold beside the fields of its class.
COMMON_KEYS = ("_target_", "name")


@dataclass(frozen=True)
class Trials:
    """How often a condition is repeated.

    Attributes:
        count: trials; each has its own seed for the classifier and for the draw of primes.
        reseed_generator: train the generator anew for each trial as well.
    """

    count: Annotated[int, "[1, inf)"] = 2
    reseed_generator: bool = False


@dataclass(frozen=True)
class Significance:
    """How differences from the reference are judged; what includes the noise of training needs no setting.

    Attributes:
        resamples: draws of the bootstrap and of the permutation for `these trained models only`; 0 leaves them out.
    """

    resamples: Annotated[int, "[0, inf)"] = 2_000


@dataclass(frozen=True)
class Data:
    """Where real corpora are.

    Attributes:
        root: the folder with the real corpora, one folder each; `AUGRUN_DATA` by default.
    """

    root: str | None = None


@dataclass(frozen=True)
class Output:
    """Where everything is written.

    Attributes:
        root: the output root; `AUGRUN_OUTPUT` by default.
        store: the folder of all stages; `AUGRUN_STORE` by default, else `store` under the root.
    """

    root: str = "outputs"
    store: str | None = None


@dataclass(frozen=True)
class Sweep:
    """What a multirun does beside its jobs.

    Attributes:
        skip_invalid: leave out rows that cannot work instead of refusing the whole sweep.
        name: the name of the run that holds the comparison.
        rows: of a published table, run only these rows; null runs all.
        spread: what of each row becomes jobs of their own, before the row itself records what they did.
        part: set by `spread` for such a job: its fold and trial, counted from 0; null in place of one is all of them.
    """

    skip_invalid: bool = False
    name: str = "sweep"
    rows: list[str] | None = None
    spread: Literal["trials", "folds", "cells"] | None = None
    part: list[int | None] | None = None


@dataclass(frozen=True)
class Settings:
    """Everything at the configuration's top level.

    Attributes:
        scale: `paper` for the published sizes, `demo` for small ones.
        seed: from which every trial's seed follows.
        baseline: also train on the recorded clips alone, and compare.
        controls: keep a reserve out of training, and add the controls to a sweep (`augrun.sweeps.controls`).
        confidence: the level of every interval.
        profile: leave traces and an account of the stages beside the results (`augrun.experiment.profiling`).
    """

    scale: Literal["paper", "demo"]
    seed: Annotated[int, "[0, inf)"] = 0
    baseline: bool = True
    controls: bool = False
    confidence: Annotated[float, "(0, 1)"] = 0.95
    profile: bool = False
    significance: Significance = field(default_factory=Significance)
    trials: Trials = field(default_factory=Trials)
    data: Data = field(default_factory=Data)
    output: Output = field(default_factory=Output)
    sweep: Sweep = field(default_factory=Sweep)
    segments: dict[str, Any] = field(default_factory=dict)
    normalise: dict[str, Any] = field(default_factory=dict)
    mixup: dict[str, Any] = field(default_factory=dict)


#: Sections of plain values at the top level, and the class whose fields they have.
SECTIONS = {
    "significance": f"{__name__}.Significance",
    "trials": f"{__name__}.Trials",
    "data": f"{__name__}.Data",
    "output": f"{__name__}.Output",
    "sweep": f"{__name__}.Sweep",
    "segments": "augrun.features.segments.Segments",
    "normalise": "augrun.features.normalise.Normalise",
    "mixup": "augrun.features.mixup.Mixup",
}


def reduces(config: Mapping[str, Any]) -> bool:
    """Whether the condition has a reducer that does something."""
    return describe(config["reducer"]["_target_"]).constants.get("reduces") is not False


def uses(section: Mapping[str, Any]) -> tuple[str, ...]:
    """The roles whose corpora a component wants beside the dataset."""
    return tuple(describe(section["_target_"]).constants.get("uses", ()))


def may_use(section: Mapping[str, Any]) -> tuple[str, ...]:
    """The roles whose corpora a component takes where they are given."""
    return tuple(describe(section["_target_"]).constants.get("may_use", ()))


def nearest(word: str, legal: list[str]) -> str:
    """`; did you mean …?` or the whole list of legal words."""
    close = difflib.get_close_matches(word, legal, n=3, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; legal are {', '.join(sorted(legal))}" if legal else ""


def settings_of(section: Mapping[str, Any]) -> dict[str, Any]:
    """A component's settings for its fingerprint: defaults filled in, names of files replaced by their content.

    A field whose annotation is `Path` names a file that the result depends on: its digest stands for it.
    """
    known = describe(section["_target_"])
    settings: dict[str, Any] = {"_target_": section["_target_"]}
    for key, parameter in known.parameters.items():
        value = section.get(key, parameter.default)
        if value is not None and "Path" in parameter.annotation.replace("|", " ").split():
            value = _file_digest(Path(value))
        settings[key] = value
    return settings


def _file_digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}; this file is named in the configuration") from error
