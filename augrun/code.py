"""Reading Python source without running it: the digest of a component's code, and its settings.

Both keep a start light: what a component accepts, and whether its stored result is still good, is known
without importing torch.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from augrun.core.files import write_text
from augrun.errors import RequestError

#: CPython 3.11 fails where two threads parse at once.
_PARSING = threading.Lock()


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


class _Kept:
    """What is known of sources, by path, kept in a file of the user's until the source changes."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Any]] | None = None
        self.fresh: dict[str, list[Any]] = {}

    @property
    def file(self) -> Path:
        """Each version of Python has its own syntax tree, each of this module its own digest."""
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "augrun"
        own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
        return folder / f"code-{sys.version_info.major}.{sys.version_info.minor}-{own}.json"

    def of(self, path: Path) -> tuple[str, tuple[str, ...]] | None:
        """Digest and imports of a source; None where they are not known, or not of what it is now."""
        if self.entries is None:
            self.entries = {}
            with suppress(OSError, ValueError, RuntimeError):
                self.entries = dict(json.loads(self.file.read_text(encoding="utf-8")))
        entry = self.entries.get(str(path))
        if entry is None or entry[0] != _stamp(path):
            return None
        return entry[1], tuple(entry[2])

    def keep(self, path: Path, facts: tuple[str, tuple[str, ...]]) -> None:
        """Takes note; not of a source that was written a moment ago, as the next change may have the same time."""
        stamp = _stamp(path)
        if time.time() - stamp[0] / 1e9 > 2.0:
            self.fresh[str(path)] = [stamp, *facts]

    def write(self) -> None:
        """Adds what is new to the file; where it cannot be written, each process finds out for itself."""
        if not self.fresh:
            return
        self.entries = {**(self.entries or {}), **self.fresh}
        self.fresh = {}
        with suppress(OSError, RuntimeError):
            file = self.file
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(self.entries), sync=False)


def _stamp(path: Path) -> list[int]:
    """When a file was written, and its size."""
    found = path.stat()
    return [found.st_mtime_ns, found.st_size]


_kept = _Kept()


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
def _tree(module: str) -> ast.Module | None:
    path = source_of(module)
    return _parsed(path) if path else None


def _parsed(path: Path) -> ast.Module:
    text = path.read_text(encoding="utf-8")
    with _PARSING:
        return ast.parse(text)


def _absolute(node: ast.ImportFrom, module: str) -> str:
    """The dotted path that `from … import` names, relative imports resolved."""
    if not node.level:
        return node.module or ""
    path = source_of(module)
    is_package = path is not None and path.name == "__init__.py"
    parts = module.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, node.module] if node.module else base)


def _imports(tree: ast.Module, module: str) -> set[str]:
    """Every module that `module` imports anywhere, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module)
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


@lru_cache(maxsize=None)
def _facts(module: str) -> tuple[str, tuple[str, ...]] | None:
    """A module's own digest and what it imports; None where it has no source.

    To read all of a component's sources takes seconds, so that both are kept from one process to the next.
    """
    path = source_of(module)
    if path is None:
        return None
    known = _kept.of(path)
    if known is None:
        tree = _parsed(path)
        imports = sorted(_imports(tree, module))
        known = _digest(tree), tuple(imports)
        _kept.keep(path, known)
    return known


def _digest(tree: ast.Module) -> str:
    """Of a syntax tree, which loses its docstrings."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0].value if isinstance(body[0], ast.Expr) else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                body[0] = ast.Pass()
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def code_modules(module: str) -> tuple[str, ...]:
    """`module` and all modules that it imports, directly or not, from its own package or from augrun."""
    packages = {module.split(".")[0], "augrun"}
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or name.split(".")[0] not in packages:
            continue
        facts = _facts(name)
        if facts is None:
            continue
        seen.add(name)
        waiting.extend(facts[1])
    return tuple(sorted(seen))


@lru_cache(maxsize=None)
def code_digest(module: str) -> str:
    """Digest of the syntax trees of `code_modules(module)`, comments and docstrings left out."""
    total = hashlib.sha256()
    for name in code_modules(module):
        facts = _facts(name)
        assert facts is not None
        total.update(f"{name} {facts[0]}\n".encode())
    _kept.write()
    return total.hexdigest()


@lru_cache(maxsize=None)
def describe(target: str) -> Description:
    """Reads the settings and constants of the dataclass `target` from its source.

    Raises:
        RequestError: there is no such module or class.
    """
    module, _, name = target.rpartition(".")
    tree = _tree(module) if module else None
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
                    base = _absolute(node, module)
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
