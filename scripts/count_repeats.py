"""Finds runs of consecutive statements that a package says more than once.

    python scripts/count_repeats.py [FOLDER] [--least 6] [--max N]

A run lies in one statement list: the body of a module, class, function, branch or loop. Runs are `same` where their
syntax trees are equal, and `alike` where they are equal but for names, strings and numbers. Imports and docstrings do
not count. A longer run that repeats is printed once, without the shorter ones within it at the same places.
"""

from __future__ import annotations

import argparse
import ast
import copy
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

LEAST = 6


class Place(NamedTuple):
    """Where a run begins and ends, by file and lines."""

    path: str
    first: int
    last: int


class Run(NamedTuple):
    """A run of statements: its kind (`same` or `alike`), its length in statements, and its places."""

    kind: str
    length: int
    places: tuple[Place, ...]


class Body(NamedTuple):
    """A statement list of a file."""

    path: str
    statements: list[ast.stmt]


class _Shape(ast.NodeTransformer):
    """Replaces names, strings and numbers by placeholders."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for field in ("id", "attr", "name"):
            if isinstance(getattr(node, field, None), str):
                setattr(node, field, "_")
        if isinstance(node, ast.arg):
            node.arg = "_"
        if isinstance(node, ast.Constant) and type(node.value) in (str, int, float, complex):
            node.value, node.kind = "_", None
        return node


def read_bodies(folder: Path) -> list[Body]:
    """Return all statement lists of the Python files below a folder, without imports and docstrings."""
    bodies = []
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            for field in ("body", "orelse", "finalbody"):
                statements = getattr(node, field, None)
                if isinstance(statements, list):
                    statements[:] = [statement for statement in statements if not _is_passed_over(statement)]
                    bodies.append(Body(str(path), statements))
    return bodies


def _is_passed_over(statement: ast.stmt) -> bool:
    text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Import | ast.ImportFrom) or (text and isinstance(statement.value.value, str))


def find_runs(bodies: list[Body], least: int = LEAST) -> list[Run]:
    """Return the repeated runs of at least `least` statements: the `same`, then the `alike`, longest first."""
    same = _runs("same", bodies, ast.dump, least)
    return same + _runs("alike", bodies, _shape, least)


def _shape(statement: ast.stmt) -> str:
    return ast.dump(_Shape().visit(copy.deepcopy(statement)))


def _runs(kind: str, bodies: list[Body], key: Callable[[ast.stmt], str], least: int) -> list[Run]:
    keys = [[key(statement) for statement in body.statements] for body in bodies]
    windows: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for number, row in enumerate(keys):
        for start in range(len(row) - least + 1):
            windows[tuple(row[start : start + least])].append((number, start))
    found: dict[tuple[str, ...], set[tuple[int, int]]] = defaultdict(set)
    for places in windows.values():
        for one, other in combinations(places, 2):
            length = _length(keys, one, other)
            if length >= least:
                number, start = one
                found[tuple(keys[number][start : start + length])] |= {one, other}
    runs = [
        Run(kind, len(content), tuple(_place(bodies[n], start, len(content)) for n, start in sorted(places)))
        for content, places in found.items()
    ]
    return sorted(runs, key=lambda run: (-run.length, run.places))


def _length(keys: list[list[str]], one: tuple[int, int], other: tuple[int, int]) -> int:
    """Length of the repeat that begins at two places; 0 where it begins earlier. It never overlaps itself."""
    (a, i), (b, j) = one, other
    if i and j and keys[a][i - 1] == keys[b][j - 1]:
        return 0
    limit = min(len(keys[a]) - i, len(keys[b]) - j, *([j - i] if a == b else []))
    return next((k for k in range(limit) if keys[a][i + k] != keys[b][j + k]), limit)


def _place(body: Body, start: int, length: int) -> Place:
    first, last = body.statements[start], body.statements[start + length - 1]
    return Place(body.path, first.lineno, last.end_lineno or last.lineno)


def report(runs: list[Run], bodies: list[Body]) -> Iterator[str]:
    """Yield the lines to print: each run with its places, and the totals."""
    for run in runs:
        yield f"{run.kind}: {run.length} statements, {len(run.places)} times"
        yield from (f"    {place.path}:{place.first}-{place.last}" for place in run.places)
    counts = {kind: sum(run.kind == kind for run in runs) for kind in ("same", "alike")}
    statements = sum(len(body.statements) for body in bodies)
    yield f"total: {counts['same']} same, {counts['alike']} alike, in {statements} statements"


def main(arguments: list[str] | None = None) -> int:
    """Print the repeats; return 1 where there are more than `--max` alike runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("augrun"))
    parser.add_argument("--least", type=int, default=LEAST, help="statements of a run")
    parser.add_argument("--max", type=int, help="how many alike runs are allowed")
    options = parser.parse_args(arguments)
    bodies = read_bodies(options.folder)
    runs = find_runs(bodies, options.least)
    print("\n".join(report(runs, bodies)))
    return int(options.max is not None and sum(run.kind == "alike" for run in runs) > options.max)


if __name__ == "__main__":
    sys.exit(main())
