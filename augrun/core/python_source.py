"""Python source found and parsed without importing it."""

from __future__ import annotations

import ast
import importlib.util
import threading
from functools import lru_cache
from pathlib import Path

#: CPython 3.11 fails where two threads parse at once.
_PARSING = threading.Lock()


@lru_cache(maxsize=None)
def source_of(module: str) -> Path | None:
    """The source file of `module`, found without importing it; None where it has none."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)  # of a dotted name it would import the parents, and torch with them
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        place = Path(folder, *rest)
        for path in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
            if path.is_file():
                return path
    return None


@lru_cache(maxsize=None)
def syntax_tree(module: str) -> ast.Module | None:
    path = source_of(module)
    return parse_source(path) if path else None


def parse_source(path: Path) -> ast.Module:
    text = path.read_text(encoding="utf-8")
    with _PARSING:
        return ast.parse(text)


def absolute_module(node: ast.ImportFrom, module: str) -> str:
    """The dotted path that `from … import` names, relative imports resolved."""
    if not node.level:
        return node.module or ""
    path = source_of(module)
    is_package = path is not None and path.name == "__init__.py"
    parts = module.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, node.module] if node.module else base)
