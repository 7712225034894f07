"""The three words that the YAML files add to OmegaConf's own."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf


def by_scale(paper: Any, demo: Any, *, _root_: DictConfig) -> Any:
    """`${by_scale:PAPER,DEMO}`: the value for the scale at hand."""
    value = paper if _root_.scale == "paper" else demo
    # `--resolve` writes values back into the configuration, which takes no plain list.
    return OmegaConf.create(value) if isinstance(value, list | dict) else value


def default_scale(*, _root_: DictConfig) -> str:
    """`paper` where a real corpus is named, `demo` where the stand-in will be used."""
    dataset = _root_.get("dataset") or {}
    return "paper" if _root_.data.root or dataset.get("root") else "demo"


def by_controls(on: Any, off: Any, *, _root_: DictConfig) -> Any:
    """`${by_controls:ON,OFF}`: the value with `controls=true`, and without."""
    return on if _root_.get("controls") else off


def register() -> None:
    """Makes the resolvers known to OmegaConf; may be called again."""
    OmegaConf.register_new_resolver("by_scale", by_scale, replace=True)
    OmegaConf.register_new_resolver("by_controls", by_controls, replace=True)
    OmegaConf.register_new_resolver("default_scale", default_scale, replace=True)
