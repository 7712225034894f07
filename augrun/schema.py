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

from augrun.code import Description, describe
from augrun.errors import RequestError
from augrun.matching import mismatch

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
        controls: keep a reserve out of training, and add the controls to a sweep (`augrun.controls`).
        confidence: the level of every interval.
        profile: leave traces and an account of the stages beside the results (`augrun.profiling`).
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


def check(config: Mapping[str, Any]) -> None:
    """Checks a resolved configuration as a whole.

    Raises:
        RequestError: with one line for each mistake.
    """
    problems: list[str] = []
    top = describe(f"{__name__}.Settings")
    for key in config:
        if key not in top.parameters and key not in GROUPS and key not in ROLES and key != TABLE:
            problems.append(f"{key}: no such key{nearest(key, [*top.parameters, *GROUPS])}")
    _check_fields("", {k: v for k, v in config.items() if k in top.parameters and k not in SECTIONS}, top, problems)
    for name, target in SECTIONS.items():
        _check_fields(name, config.get(name) or {}, describe(target), problems)
    for group in [*COMPONENTS, *(role for role in ROLES if config.get(role))]:
        section = config.get(group)
        if not isinstance(section, Mapping) or "_target_" not in section:
            problems.append(f"{group}: its YAML names no class (`_target_: package.module.Class`)")
            continue
        _check_fields(group, section, describe(section["_target_"]), problems, COMMON_KEYS)
    if not problems:
        _check_domains(config, problems)
        _check_policy(config, problems)
        _check_roles(config, problems)
        _check_vectors(config, problems)
        _check_frames(config, problems)
    if problems:
        raise RequestError("\n".join(problems))


def check_section(path: str, section: Mapping[str, Any], target: str) -> None:
    """Checks settings that are no part of a condition against the fields of a class.

    Args:
        path: where they are, for messages.
        section: the settings.
        target: the class, as `_target_` has it.

    Raises:
        RequestError: with one line for each mistake.
    """
    problems: list[str] = []
    _check_fields(path, section, describe(target), problems)
    if problems:
        raise RequestError("\n".join(problems))


def _check_fields(
    path: str, section: Mapping[str, Any], known: Description, problems: list[str], also: tuple[str, ...] = ()
) -> None:
    for key, value in section.items():
        where = f"{path}.{key}" if path else key
        if key in also:
            continue
        if key not in known.parameters:
            problems.append(f"{where}: no such key{nearest(key, list(known.parameters))}")
            continue
        expected = mismatch(value, known.parameters[key].annotation)
        if expected:
            problems.append(f"{where}: {value!r} is not {expected}")
    for key, parameter in known.parameters.items():
        if parameter.default is ... and key not in section and path:
            problems.append(f"{path}.{key}: missing; give {path}.{key}=… ({parameter.annotation})")


def _check_domains(config: Mapping[str, Any], problems: list[str]) -> None:
    """A generator's samples must be able to become what the classifier takes."""
    groups = ("generator", "classifier", "representation")
    made, taken, between = (describe(config[group]["_target_"]).constants.get("domain") for group in groups)
    if made is not None and made not in ("waveform", taken):
        problems.append(
            f"generator={config['generator'].get('name')} makes {made}, classifier={config['classifier'].get('name')} "
            f"takes {taken}: choose a classifier that takes {made}, or a generator that makes waveform or {taken}"
        )
    if taken not in ("waveform", between):
        problems.append(
            f"classifier={config['classifier'].get('name')} takes {taken}, "
            f"representation={config['representation'].get('name')} gives {between}: "
            f"choose a representation that gives {taken}"
        )


def _check_policy(config: Mapping[str, Any], problems: list[str]) -> None:
    """A policy that plans no samples goes with no generator, and what draws from a reserve wants one."""
    generator, policy = (describe(config[group]["_target_"]).constants for group in ("generator", "policy"))
    if generator.get("domain") is not None and policy.get("generates") is False:
        problems.append(
            f"policy={config['policy'].get('name')} plans no samples for generator={config['generator'].get('name')}; "
            "choose generator=none, or a policy that does"
        )
    if generator.get("draws_from") == "reserve" and not config["protocol"].get("reserve"):
        problems.append(
            f"generator={config['generator'].get('name')} draws from recorded clips that are kept out of training, and "
            "protocol.reserve keeps none; give controls=true, or protocol.reserve=0.2"
        )


def _check_roles(config: Mapping[str, Any], problems: list[str]) -> None:
    """Each corpus in a role needs a component that uses it, and the other way round; classes need labels."""
    components = ("protocol", "generator")
    wanted = {role: component for component in components for role in uses(config[component])}
    welcome = {role for component in components for role in may_use(config[component])}
    for role in ROLES:
        if config.get(role) and role not in wanted and role not in welcome:
            chosen = " and ".join(f"{group}={config[group].get('name')}" for group in ("generator", "protocol"))
            problems.append(f"{role}: {ROLES[role]}, but {chosen} want none; leave out dataset@{role}")
        elif role in wanted and not config.get(role):
            component = wanted[role]
            problems.append(
                f"{component}={config[component].get('name')} needs another corpus; give dataset@{role}=NAME"
            )
    for role in ("dataset", "target"):
        section = config.get(role)
        if section and describe(section["_target_"]).constants.get("labelled") is False:
            problems.append(
                f"{role}: {section.get('name')} has no classes; it serves as dataset@source={section.get('name')}"
            )


def _check_vectors(config: Mapping[str, Any], problems: list[str]) -> None:
    """Vectors can be mixed and reduced, spectrograms cannot."""
    representation = config["representation"]
    if describe(representation["_target_"]).constants.get("domain") == "functionals":
        return
    said = f"works on vectors, and representation={representation.get('name')} gives none; choose representation=is10"
    if reduces(config):
        problems.append(f"reducer={config['reducer'].get('name')} {said}")
    if (config.get("mixup") or {}).get("ratio"):
        problems.append(f"mixup.ratio={config['mixup']['ratio']:g} {said}")


def reduces(config: Mapping[str, Any]) -> bool:
    """Whether the condition has a reducer that does something."""
    return describe(config["reducer"]["_target_"]).constants.get("reduces") is not False


def uses(section: Mapping[str, Any]) -> tuple[str, ...]:
    """The roles whose corpora a component wants beside the dataset."""
    return tuple(describe(section["_target_"]).constants.get("uses", ()))


def may_use(section: Mapping[str, Any]) -> tuple[str, ...]:
    """The roles whose corpora a component takes where they are given."""
    return tuple(describe(section["_target_"]).constants.get("may_use", ()))


def _check_frames(config: Mapping[str, Any], problems: list[str]) -> None:
    """What a classifier looks at must have been kept; segments need frames to be cut from."""
    segments = config.get("segments") or {}
    seconds = segments.get("seconds")
    wanted, kept = config["classifier"].get("frames"), config["dataset"].get("input_frames")
    if seconds is None and isinstance(wanted, int) and isinstance(kept, int) and wanted > kept:
        problems.append(
            f"classifier.frames={wanted} is more than the dataset.input_frames={kept} that are kept of a clip; "
            f"give dataset.input_frames={wanted}"
        )
    if seconds is None:
        problems += [
            f"segments.{key}={segments[key]} does nothing without segments.seconds"
            for key, usual in (("hop", None), ("rest", "shift"), ("frames", None), ("fit", "reflect"))
            if segments.get(key, usual) != usual
        ]
        return
    between = describe(config["representation"]["_target_"]).constants.get("domain")
    if between != "logmel":
        problems.append(f"segments.seconds: representation={config['representation'].get('name')} has no frames to cut")
        return
    rate, hop = (config["representation"].get(key) for key in ("sample_rate", "hop"))
    if not isinstance(rate, int) or not isinstance(hop, int):
        return
    given = round(seconds * rate / hop) + 1
    frames = segments.get("frames") or given
    if given > frames and segments.get("fit", "reflect") == "reflect":
        problems.append(
            f"segments.frames={frames} is fewer than the {given} that segments.seconds={seconds:g} has, and "
            "segments.fit=reflect would leave the rest unheard; give shorter segments, or segments.fit=stretch or hop"
        )
    if frames < 2 or round((segments.get("hop") or seconds) * rate / hop) < 1:
        problems.append(f"segments: {seconds:g} s are too short for frames every {hop / rate:g} s")
    if isinstance(wanted, int) and frames > wanted:
        problems.append(
            f"segments.seconds={seconds:g} has {frames} frames, of which classifier.frames={wanted} would be seen; "
            "give shorter segments, or more frames with dataset.input_frames="
        )


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
