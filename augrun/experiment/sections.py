"""What the sections of a resolved configuration say about a condition, read without importing any component."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from augrun.core.config.component import describe
from augrun.features.mixup import Mixup
from augrun.features.normalise import Normalise
from augrun.features.segments import Segments


def component_constant(config: Mapping[str, Any], group: str, name: str) -> Any:
    """Return a class-level constant of the component of a group; None where it has none of that name."""
    return describe(config[group]["_target_"]).constants.get(name)


def segments_of_clips(config: Mapping[str, Any]) -> Segments:
    """Return how clips are cut into segments and how these vote."""
    return Segments(**config["segments"])


def representation_section(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the representation's section; where segments ask for a number of frames, with the hop that gives it."""
    section = dict(config["representation"])
    hop = segments_of_clips(config).hop_for(section["sample_rate"]) if "sample_rate" in section else None
    return section if hop is None else {**section, "hop": hop}


def max_frames(config: Mapping[str, Any]) -> int | None:
    """Return how many frames of a clip's features are stored; None for all, as segments are cut from the whole clip."""
    return None if segments_of_clips(config).seconds is not None else config["dataset"].get("input_frames")


def vector_scale(config: Mapping[str, Any]) -> Normalise | None:
    """Return how vectors are scaled for the classifier; None for spectrograms."""
    if component_constant(config, "representation", "domain") != "functionals":
        return None
    return Normalise(**config["normalise"])


def mixup_of_recordings(config: Mapping[str, Any]) -> Mixup:
    """Return how recorded vectors are mixed for the training set."""
    return Mixup(**config["mixup"])
