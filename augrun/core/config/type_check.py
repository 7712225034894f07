"""Whether plain values fit the annotations of a component's fields, read from its source without importing it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def mismatch(value: Any, annotation: str) -> str | None:
    """What was expected where `value` does not fit `annotation`; None where it fits."""
    return _mismatch(value, ast.parse(annotation, mode="eval").body)


def _mismatch(value: Any, node: ast.expr) -> str | None:
    if isinstance(node, ast.BinOp):
        left, right = _mismatch(value, node.left), _mismatch(value, node.right)
        return None if left is None or right is None else f"{left} or {right}"
    if isinstance(node, ast.Constant):
        fits = value is node.value or value == node.value
        return None if fits else "null" if node.value is None else repr(node.value)
    if isinstance(node, ast.Subscript):
        return _generic(value, node)
    name = ast.unparse(node)
    plain = {"int": int, "str": str, "bool": bool}
    if name == "float":
        return None if isinstance(value, int | float) and not isinstance(value, bool) else "a number"
    if name in plain:
        fits = isinstance(value, plain[name]) and (name == "bool" or not isinstance(value, bool))
        return None if fits else {"int": "a whole number", "str": "a text", "bool": "true or false"}[name]
    if name == "Path":
        return None if isinstance(value, str | Path) else "a path"
    if name in ("list", "tuple", "dict"):
        return None if isinstance(value, dict if name == "dict" else list | tuple) else f"a {name}"
    return None  # Any, and types that only the class itself can judge


def _generic(value: Any, node: ast.Subscript) -> str | None:
    name = ast.unparse(node.value).rpartition(".")[2]
    arguments = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        legal = [ast.literal_eval(argument) for argument in arguments]
        return None if value in legal else f"one of {', '.join(map(str, legal))}"
    if name == "Annotated":
        problem = _mismatch(value, arguments[0])
        if problem:
            return problem
        interval = ast.literal_eval(arguments[1])
        return None if value is None or within(value, interval) else f"in {interval}"
    if name in ("tuple", "list", "Sequence"):
        if not isinstance(value, list | tuple):
            return "a list"
        problems = [_mismatch(item, arguments[0]) for item in value]
        return next((f"a list of which each is {problem}" for problem in problems if problem), None)
    if name in ("dict", "Mapping"):
        return None if isinstance(value, Mapping) else "a mapping"
    return None


def within(value: float, interval: str) -> bool:
    """Whether `value` lies in an interval written like `(0, 1]` or `[1, inf)`."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = value > low or (interval[0] == "[" and value == low)
    below = value < high or (interval[-1] == "]" and value == high)
    return above and below
