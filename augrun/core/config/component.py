"""Components: their settings read from source, and their objects built from a section of the configuration."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from augrun.core.errors import RequestError
from augrun.core.python_source import absolute_module, source_of, syntax_tree


@dataclass(frozen=True)
class Parameter:
    """One setting of a component: its annotation as source, and its default (`...` where it has none)."""

    annotation: str
    default: Any = ...


@dataclass(frozen=True)
class Description:
    """What a component's class says about itself.

    Attributes:
        target: dotted path of the class.
        module: dotted path of its module.
        parameters: its settings by name, in order, those of its base classes first.
        constants: class-level constants (`domain`, `trained`, …) by name.
    """

    target: str
    module: str
    parameters: dict[str, Parameter]
    constants: dict[str, Any]


@lru_cache(maxsize=None)
def describe(target: str) -> Description:
    """Reads the settings and constants of the dataclass `target` from its source.

    Raises:
        RequestError: there is no such module or class.
    """
    module, _, name = target.rpartition(".")
    tree = syntax_tree(module) if module else None
    if tree is None:
        raise RequestError(f"_target_: no Python module {module!r} for {target!r}; is its package installed?")
    node = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name), None)
    if node is None:
        raise RequestError(f"_target_: {source_of(module)} defines no class {name!r}")
    parameters: dict[str, Parameter] = {}
    constants: dict[str, Any] = {}
    for base in node.bases:
        base_target = _resolve(tree, module, ast.unparse(base))
        if base_target:
            inherited = describe(base_target)
            parameters.update(inherited.parameters)
            constants.update(inherited.constants)
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            annotation = ast.unparse(item.annotation)
            default = _literal(item.value) if item.value is not None else ...
            if annotation.startswith(("ClassVar", "typing.ClassVar")):
                constants[item.target.id] = default
            else:
                parameters[item.target.id] = Parameter(annotation, default)
    return Description(target, module, parameters, constants)


def _resolve(tree: ast.Module, module: str, name: str) -> str | None:
    """The dotted path of the base class `name` as `module` sees it; None for one outside known source."""
    if any(isinstance(n, ast.ClassDef) and n.name == name for n in tree.body):
        return f"{module}.{name}"
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    base = absolute_module(node, module)
                    return f"{base}.{alias.name}" if source_of(base) else None
    return None


def _literal(node: ast.expr) -> Any:
    """A default's value; its source where that is not a literal."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("field", "dataclasses.field"):
        for keyword in node.keywords:
            if keyword.arg == "default":
                return _literal(keyword.value)
            if keyword.arg == "default_factory":
                empty: dict[str, Any] = {"list": [], "dict": {}, "tuple": ()}
                made = keyword.value
                source = ast.unparse(made)
                return _literal(made.body) if isinstance(made, ast.Lambda) else empty.get(source, source)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def build(section: Mapping[str, Any]) -> Any:
    """The component that a section of the configuration describes."""
    module, _, name = section["_target_"].rpartition(".")
    fields = describe(section["_target_"]).parameters
    return getattr(importlib.import_module(module), name)(**{k: v for k, v in section.items() if k in fields})
