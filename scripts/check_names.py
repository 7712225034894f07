"""Check the names that the package defines: no bare participles, no riddles, no class name twice.

    python scripts/check_names.py [FOLDER]

A public name says in the field's standard word what a thing is or does: nouns for data, verbs for functions. The word
lists and the exceptions, each with its reason, are in `scripts/names.toml`. Prints a line for each name that breaks a
rule, and exits with 1 if there is one.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
RULES = Path(__file__).with_name("names.toml")


class Name(NamedTuple):
    """A name that a module defines, and where.

    Attributes:
        place: `path:line`.
        owner: the classes around it, dotted; empty at a module's top level.
        name: the name.
        is_class: whether it is a class.
    """

    place: str
    owner: str
    name: str
    is_class: bool

    @property
    def dotted(self) -> str:
        """The name with the classes around it, such as `Stage.done`."""
        return f"{self.owner}.{self.name}" if self.owner else self.name


def defined_names(tree: ast.Module, path: str) -> Iterator[Name]:
    """Yield the names that a module and its classes define; not those inside functions."""
    waiting: list[tuple[list[ast.stmt], str]] = [(tree.body, "")]
    while waiting:
        body, owner = waiting.pop()
        for node in body:
            place = f"{path}:{node.lineno}"
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield Name(place, owner, node.name, False)
            elif isinstance(node, ast.ClassDef):
                yield Name(place, owner, node.name, True)
                waiting.append((node.body, f"{owner}.{node.name}".lstrip(".")))
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    found = target.elts if isinstance(target, ast.Tuple) else [target]
                    yield from (Name(place, owner, one.id, False) for one in found if isinstance(one, ast.Name))
            elif isinstance(node, ast.If | ast.Try | ast.With):
                waiting.append((node.body, owner))


def is_participle(word: str, rules: dict[str, list[str]]) -> bool:
    """Return whether a word is a bare participle: a regular one by its ending, an irregular one by the list."""
    return word in rules["participles"] or bool(
        re.fullmatch("[a-z]{2,}ed", word) and word not in rules["not_participles"]
    )


def complaints(folder: Path, rules: dict) -> list[str]:
    """Return a line for each name below `folder` that breaks a rule.

    Args:
        folder: a package.
        rules: the content of `names.toml`: word lists, and `allowed` and `twice`, which map names to reasons.
    """
    found: list[str] = []
    classes: dict[str, list[str]] = defaultdict(list)
    used: set[str] = set()
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for name in defined_names(ast.parse(text), str(path.relative_to(folder.parent))):
            if name.is_class:
                classes[name.name].append(name.place)
            if any(part.startswith("_") for part in name.dotted.split(".")):
                continue
            bad = name.name in rules["words"] or is_participle(name.name, rules)
            if bad and not {name.name, name.dotted} & rules["allowed"].keys():
                found.append(f"{name.place}: {name.dotted}: a bare participle or a riddle; say what it is or does")
            used |= {name.name, name.dotted}
    for name, places in sorted(classes.items()):
        if len(places) > 1 and name not in rules["twice"]:
            found.append(f"{', '.join(places)}: class {name} is defined {len(places)} times")
    gone = [name for name in rules["allowed"] if name not in used]
    gone += [name for name in rules["twice"] if len(classes.get(name, ())) < 2]
    return found + [f"{RULES.name}: {name} needs no exception any more" for name in gone]


def main() -> int:
    """Print what breaks a rule; return the exit code."""
    folder = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "augrun"
    found = complaints(folder, tomllib.loads(RULES.read_text(encoding="utf-8")))
    print("\n".join([*found, f"{len(found)} names break a rule"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
