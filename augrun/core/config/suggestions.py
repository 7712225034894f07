"""Turning Hydra's complaints about a request into one or two lines that name the nearest legal words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from augrun.core.config.schema import GROUPS, ROLES, nearest
from augrun.core.errors import RequestError


def explain(error: Exception, arguments: list[str], conf: Path) -> str:
    """What is wrong with the command line, where, and what would be right."""
    text = str(error)
    if match := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, choice = match.groups()
        return f"{group}={choice}: no such choice{nearest(choice, choices(conf, group))}"
    if match := re.search(r"Could not override '(?:\+)?([a-z_]+)@([^']+)'", text):
        return f"{match[1]}@{match[2]}: no such role{nearest(match[2], list(ROLES))}"
    if match := re.search(r"Could not override '([^']+)'.\s*\n?.*No match in the defaults list", text, re.S):
        return f"{match[1]}: no such group or key{nearest(match[1], [*GROUPS, *top_level(conf)])}"
    if match := re.search(r"Could not (?:override|delete) '([^']+)'", text):
        return f"{match[1]}: no such key{near_key(match[1], arguments, conf)}"
    if match := re.search(r"Could not append to config\..*?'([^']+)'", text, re.S):
        return f"{match[1]}: is there already; write {match[1]}=… without the plus"
    cause = error.__cause__
    first = text.strip().splitlines()
    detail = f" ({str(cause).strip().splitlines()[0]})" if cause and str(cause).strip() else ""
    return (first[0] if first else type(error).__name__) + detail


def refuse_null(arguments: Iterable[str]) -> None:
    """Hydra has another word for no choice, and ends in a traceback at `null`.

    Raises:
        RequestError: a group is to be null.
    """
    for word in arguments:
        key, _, value = word.lstrip("+").partition("=")
        if value == "null" and key.split("@")[0] in GROUPS:
            group, _, role = key.partition("@")
            right = f"write '~{key}' to leave it out" if role else f"choose one, as `augrun list {group}` has them"
            raise RequestError(f"{word}: {right}")


def choices(conf: Path, group: str) -> list[str]:
    """The choices of a group."""
    own = ["basic"] if group == "hydra/launcher" else []  # Hydra's
    return sorted([*own, *(path.stem for path in (conf / group).glob("*.yaml"))])


def top_level(conf: Path) -> list[str]:
    """The keys of the configuration's top level."""
    return [m[1] for m in re.finditer(r"^([a-z_]+):", (conf / "config.yaml").read_text(), re.M) if m[1] != "defaults"]


def near_key(key: str, arguments: list[str], conf: Path) -> str:
    """The legal keys nearest to a misspelt one, in the configuration that the rest of the request makes."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import DictConfig, OmegaConf

    chosen = [word for word in arguments if "," not in word]
    groups = [word for word in chosen if word.split("=")[0].lstrip("+").split("@")[0] in GROUPS]
    groups += [word for word in chosen if word.startswith("hydra/")]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf), version_base="1.3"):
            config: Any = compose("config", overrides=groups, return_hydra_config=key.startswith("hydra."))
    except Exception:  # the choices are wrong as well; say at least what is certain
        return ""
    *parents, last = key.split(".")
    node: Any = config
    for index, name in enumerate(parents):
        if not isinstance(node, DictConfig) or name not in node:
            legal = [str(k) for k in node] if isinstance(node, DictConfig) else []
            return f" ({'.'.join(parents[: index + 1])} is unknown)" + nearest(name, legal)
        node = OmegaConf.to_container(node, resolve=False).get(name)  # type: ignore[union-attr]
        node = OmegaConf.create(node) if isinstance(node, dict) else node
    legal = [str(k) for k in node if k != "_target_"] if isinstance(node, DictConfig) else []
    prefix = ".".join(parents)
    return nearest(last, legal) + (f" (keys of {prefix})" if prefix else "")
