"""What the fingerprints of a condition's stages are made of, beside clips and other stages.

Each function returns the plain data that one step depends on: settings, versions, and digests of the code that the
stage's own module does not reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from augrun.core.config import schema
from augrun.core.config.component import describe
from augrun.core.job import Hardware
from augrun.core.store.code_digest import code_digest
from augrun.corpora.corpus import Corpus
from augrun.experiment.sections import (
    component_constant,
    max_frames,
    mixup_of_recordings,
    representation_section,
    segments_of_clips,
    vector_scale,
)


def features_key(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the features of a clip depend on, beside the clip."""
    section = representation_section(config)
    component = describe(section["_target_"])
    return {
        **schema.settings_of(section),
        "max_frames": max_frames(config),
        "code": code_digest(component.module),
        "version": component.constants.get("version", 1),
    }


def representation_key(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a classifier's unscaled input depends on, beside the clip: its features, and how they are cut."""
    segments = segments_of_clips(config)
    if segments.seconds is None:
        return features_key(config)
    cut = {key: getattr(segments, key) for key in ("seconds", "hop", "rest", "frames", "fit")}
    return {**features_key(config), "segments": {**cut, "code": code_digest("augrun.features.segments")}}


def normalisation_key(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what scaling adds to a classifier's input; nothing for spectrograms."""
    scale = vector_scale(config)
    if scale is None:
        return {}
    return {"normalise": {**asdict(scale), "code": code_digest("augrun.features.normalise")}}


def mixup_key(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what mixup adds to a training set; nothing where no vectors are mixed."""
    mixup = mixup_of_recordings(config)
    if not mixup.ratio:
        return {}
    return {"mixup": {**asdict(mixup), "code": code_digest("augrun.features.mixup")}}


def policy_key(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what requests depend on beside the generator: the policy, its code, and the code that reads samples."""
    section = config["policy"]
    settings = schema.settings_of(section)
    settings.pop("composition", None)  # what is done with the samples afterwards makes no other samples
    component = describe(section["_target_"])
    code = [code_digest(component.module), code_digest("augrun.generators.samples")]
    return {**settings, "code": code, "version": component.constants.get("version", 1)}


def generator_input_key(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a generator of features depends on beside the clips: how they become features."""
    if component_constant(config, "generator", "domain") == "waveform":
        return {}
    return {"representation": representation_key(config)}


def trained_component_key(config: Mapping[str, Any], group: str, hardware: Hardware) -> dict[str, Any]:
    """Return a trained component's settings, and what of the hardware changes results; devices do not."""
    return {**schema.settings_of(config[group]), **hardware.changes}


def classifier_input_key(config: Mapping[str, Any], target: Corpus | None) -> dict[str, Any]:
    """Return what a trained classifier's input depends on beside the clips.

    Args:
        config: the resolved configuration.
        target: the other corpus that clips are tested on, which may have a scale of its own; None without one.
    """
    normalisation = normalisation_key(config)
    other = {"other": target.digest} if normalisation and target is not None else {}
    return {"representation": representation_key(config), **normalisation, **other}


def prediction_key(config: Mapping[str, Any], target: Corpus | None) -> dict[str, Any]:
    """Return what scores depend on beside the classifier and the clips."""
    vote, code = segments_of_clips(config).vote, code_digest("augrun.evaluation.decisions")
    return {**classifier_input_key(config, target), "vote": vote, "by": code}


def embedding_key(config: Mapping[str, Any], target: Corpus | None) -> dict[str, Any]:
    """Return what embeddings depend on beside the classifier and the clips."""
    return {**classifier_input_key(config, target), "by": code_digest("augrun.evaluation.embeddings")}
