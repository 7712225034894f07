"""Check a resolved configuration without importing what it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from augrun.core.config.component import Description, describe
from augrun.core.config.schema import (
    COMMON_KEYS,
    COMPONENTS,
    GROUPS,
    ROLES,
    SECTIONS,
    TABLE,
    may_use,
    nearest,
    reduces,
    uses,
)
from augrun.core.config.type_check import mismatch
from augrun.core.errors import RequestError


def check(config: Mapping[str, Any]) -> None:
    """Checks a resolved configuration as a whole.

    Raises:
        RequestError: with one line for each mistake.
    """
    problems: list[str] = []
    top = describe("augrun.core.config.schema.Settings")
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
