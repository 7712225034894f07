"""Reading Python source without running it: the digest of a component's code, and its settings.

Both keep a start light: what a component accepts, and whether its stored result is still good, is known
without importing torch.
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
from augrun.core.python_source import _absolute, _parsed, source_of


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
