"""What the package imports is what its installation brings, none of it by way of what only its tests want."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
#: Programs that run in an environment of their own.
ELSEWHERE = ROOT / "augrun" / "generators" / "programs"
#: Imported where they are asked for, by an extra; cmaes is named by Optuna's message where it is missing.
OPTIONAL = {
    "functionals": {"opensmile"},
    "jukebox": {"transformers", "huggingface_hub"},
    "launchers": {"ray", "submitit"},
    "server": {"psycopg2"},
    "tuning": {"optuna", "cmaes"},
}


def imported() -> dict[str, list[str]]:
    """Third-party modules, and the files that import them."""
    found: dict[str, list[str]] = {}
    for path in sorted([*(ROOT / "augrun").rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")]):
        if ELSEWHERE in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"augrun", ""}:
                found.setdefault(name, []).append(str(path.relative_to(ROOT)))
    return found


def brought(declared: list[str]) -> set[str]:
    """All that comes with these requirements, directly or not."""
    waiting, found = [Requirement(line) for line in declared], set()
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in found or (one.marker is not None and not one.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            waiting += [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:  # of another system
            continue
    return found


def test_what_is_imported_is_installed_with_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core, owners = brought(project["dependencies"]), packages_distributions()
    assert "librosa" not in core and len(core) > 60
    optional = {name: extra for extra, names in OPTIONAL.items() for name in names}
    modules = imported()
    assert {"soxr", "torch", "optuna"} <= modules.keys()
    for name, files in modules.items():
        if name == "hydra_plugins":
            continue
        of_it = {canonicalize_name(owner) for owner in owners.get(name, [])}
        if name in optional:
            extra = project["optional-dependencies"][optional[name]]
            assert not of_it or of_it & brought(extra), f"{name} is not brought by the extra {optional[name]}"
        else:
            assert of_it & core, f"{name} of {files[0]} is not brought by the dependencies"
