"""The digest of the code that makes a stage's result, read from source without importing it.

It covers what can change the result and nothing else: the stage's module and what that imports from the package, also
inside functions, without the machinery that runs, stores, records and shows (`MACHINERY`, `augrun.reports`). Whether a
stored result is still good is thus known without importing torch, and an edit of the machinery makes nothing stale.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from augrun.core.files import write_text
from augrun.core.python_source import absolute_module, parse_source, source_of

#: Packages whose code changes no result: it runs, finds, records and shows. The face of `augrun` sets up the process.
MACHINERY = ("augrun.cli", "augrun.sweeps", "augrun.tracking", "augrun.core.runtime", "augrun.core.store")

#: What results are shown by; code of the stages that hold results, and of no other.
REPORTS = "augrun.reports"


class SourceCache:
    """Digests and imports of sources, by path, in a file of the user's, each valid until its source changes."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Any]] | None = None
        self.fresh: dict[str, list[Any]] = {}

    @property
    def file(self) -> Path:
        """Each version of Python has its own syntax tree, each of this module its own digest."""
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "augrun"
        own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
        return folder / f"code-{sys.version_info.major}.{sys.version_info.minor}-{own}.json"

    def lookup(self, path: Path) -> tuple[str, tuple[str, ...]] | None:
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


_cache = SourceCache()


def _imports(tree: ast.Module, module: str) -> set[str]:
    """Every module that `module` imports anywhere, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute_module(node, module)
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


@lru_cache(maxsize=None)
def _digest_and_imports(module: str) -> tuple[str, tuple[str, ...]] | None:
    """A module's own digest and what it imports; None where it has no source.

    To read all of a component's sources takes seconds, so that both are kept from one process to the next.
    """
    path = source_of(module)
    if path is None:
        return None
    known = _cache.lookup(path)
    if known is None:
        tree = parse_source(path)
        imports = sorted(_imports(tree, module))
        known = _digest(tree), tuple(imports)
        _cache.keep(path, known)
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


def is_machinery(module: str, reports: bool) -> bool:
    """Return whether a module's code changes no result of a stage.

    Args:
        module: dotted path.
        reports: whether the stage's result holds reports, as those of conditions and comparisons do.
    """
    packages = MACHINERY if reports else (*MACHINERY, REPORTS)
    return module == "augrun" or any(module == package or module.startswith(f"{package}.") for package in packages)


@lru_cache(maxsize=None)
def code_modules(module: str, reports: bool = False) -> tuple[str, ...]:
    """Return `module` and all modules whose code its result depends on, sorted.

    Those are the modules that it imports, directly or not, from its own package or from augrun, without the machinery
    (`is_machinery`) and what is imported by way of that alone. `module` itself is among them wherever it lies.
    """
    packages = {module.split(".")[0], "augrun"}
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name.split(".")[0] not in packages or (name != module and is_machinery(name, reports)):
            continue
        known = _digest_and_imports(name)
        if known is None:
            continue
        found.add(name)
        waiting.extend(known[1])
    return tuple(sorted(found))


@lru_cache(maxsize=None)
def code_digest(module: str, reports: bool = False) -> str:
    """Return the digest of the syntax trees of `code_modules`, comments and docstrings left out."""
    total = hashlib.sha256()
    for name in code_modules(module, reports):
        known = _digest_and_imports(name)
        assert known is not None
        total.update(f"{name} {known[0]}\n".encode())
    _cache.write()
    return total.hexdigest()
