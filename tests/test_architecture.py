"""The layout of the package, and the rules of who may import whom that `lint-imports` does not know."""

from __future__ import annotations

import ast
import graphlib
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "augrun"
FOLDERS = {
    *("cli", "sweeps", "experiment", "reports", "policies", "reducers", "evaluation"),
    *("generators", "classifiers", "protocols", "features", "corpora", "tracking", "core"),
}
#: Modules of components that several of them share.
SHARED = {
    "generators": {"base", "requests", "samples", "prime_windows", "exchange", "programs"},
    "classifiers": {"base"},
    "reducers": {"base", "principal_axes"},
    "policies": {"base"},
}


def modules() -> dict[str, Path]:
    """Return the package's modules by dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imports(tree: ast.Module, known: dict[str, Path]) -> set[str]:
    """Return the package's modules that a module names in any import, also in functions and under TYPE_CHECKING."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            base = node.module or ""
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names}
    return found & known.keys()


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of a circle; empty where there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_the_package_holds_fourteen_folders_and_three_files() -> None:
    found = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert found == FOLDERS | {"__init__.py", "__main__.py", "py.typed"}


def test_no_imports_form_a_circle() -> None:
    known = modules()
    graph = {name: imports(ast.parse(path.read_text(encoding="utf-8")), known) - {name} for name, path in known.items()}
    assert sum(map(len, graph.values())) > 500  # the graph is not empty by mistake
    assert circle(graph) == []


def test_a_circle_through_a_function_or_for_types_is_found() -> None:
    known = {"augrun.a": Path(), "augrun.b": Path()}
    lazily = imports(ast.parse("def f():\n    from augrun import b"), known)
    typed = imports(ast.parse("if TYPE_CHECKING:\n    from augrun.a import A"), known)
    assert circle({"augrun.a": lazily, "augrun.b": typed})


def test_every_component_is_in_its_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    independent = {name for one in contracts if one["type"] == "independence" for name in one["modules"]}
    for folder, shared in SHARED.items():
        found = {path.stem for path in (PACKAGE / folder).iterdir() if path.suffix in ("", ".py")}
        components = found - shared - {"__init__", "__pycache__"}
        assert {f"augrun.{folder}.{name}" for name in components} == {
            name for name in independent if name.startswith(f"augrun.{folder}.")
        }
    knowing = next(one for one in contracts if one["name"] == "Only tracking knows MLflow")
    assert set(knowing["source_modules"]) == {f"augrun.{folder}" for folder in FOLDERS - {"tracking"}}


def test_tests_mirror_the_package() -> None:
    """Each folder of tests is one of the package's; what tests the whole lies at the top."""
    folders = {str(path.parent.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    tested = {str(path.parent.relative_to(ROOT / "tests")) for path in (ROOT / "tests").rglob("test_*.py")}
    assert tested <= folders | {"scripts", "."}
    top = {folder for folder in folders if folder.count("/") == 0}
    assert top <= tested


def test_configuration_groups_mirror_folders() -> None:
    groups = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}
    named = {"dataset": "corpora", "representation": "features", "trainer": "core/training"}
    plural = {"classifier": "classifiers", "generator": "generators", "policy": "policies"}
    plural |= {"protocol": "protocols", "reducer": "reducers", "tracking": "tracking", "experiment": "experiment"}
    assert groups - {"hydra"} == named.keys() | plural.keys()
    assert all((PACKAGE / folder).is_dir() for folder in [*named.values(), *plural.values()])
