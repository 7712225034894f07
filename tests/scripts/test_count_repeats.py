"""scripts/count_repeats.py: which runs of statements it finds."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SIX = "a = 1\nb = a + 2\nc = f(b)\nprint(c)\nd = [a, b]\nreturn d\n"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "count_repeats.py"
    spec = importlib.util.spec_from_file_location("count_repeats", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["count_repeats"] = module
    spec.loader.exec_module(module)
    return module


def function(name: str, body: str) -> str:
    return f"def {name}():\n" + "".join(f"    {line}\n" for line in body.splitlines())


def test_same_run_in_two_files(script, tmp_path, capsys):
    (tmp_path / "one.py").write_text(function("one", SIX))
    (tmp_path / "two.py").write_text("import os\n" + function("two", '"""Text."""\n' + SIX))
    assert script.main([str(tmp_path), "--max", "0"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "same: 6 statements, 2 times",
        f"    {tmp_path}/one.py:2-7",
        f"    {tmp_path}/two.py:4-9",
        "alike: 6 statements, 2 times",
        f"    {tmp_path}/one.py:2-7",
        f"    {tmp_path}/two.py:4-9",
        "total: 1 same, 1 alike, in 14 statements",
    ]
    assert script.main([str(tmp_path), "--max", "1"]) == 0


def test_other_names_and_numbers_within_one_file_are_alike(script, tmp_path):
    other = SIX.replace("a", "x").replace("1", "3").replace("prxnt", "print")
    (tmp_path / "one.py").write_text(function("one", SIX) + function("two", other))
    runs = script.find_runs(script.read_bodies(tmp_path))
    assert [(run.kind, run.length, len(run.places)) for run in runs] == [("alike", 6, 2)]


@pytest.mark.parametrize("body", [SIX.replace("a + 2", "a - 2"), SIX.replace("print(c)\n", "")])
def test_other_shapes_and_shorter_runs_are_none(script, tmp_path, body):
    (tmp_path / "one.py").write_text(function("one", SIX) + function("two", body))
    assert script.find_runs(script.read_bodies(tmp_path)) == []
