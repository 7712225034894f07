"""The benchmarks' table: what a row says, and that one benchmark's failure is no other's."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def benching(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("benching")


@pytest.fixture
def bench(benching: ModuleType) -> ModuleType:
    return importlib.import_module("bench")


def test_ratios_are_medians_of_the_turns_own(benching: ModuleType) -> None:
    ours, other = [1.0, 2.0, 4.0], [3.0, 4.0, 40.0]  # seconds; the median of the ratios is not that of the medians
    faster = benching.row("x", ours, other, "a loop")
    assert (faster.ours, faster.reference, faster.ratio) == (2.0, 4.0, 3.0)
    assert (faster.low, faster.high, faster.n) == (2.0, 10.0, 3)
    cost = benching.row("x", ours, other, "a loop", how=benching.COST)
    assert (cost.ratio, cost.low, cost.high) == pytest.approx((1 / 3, 0.1, 0.5))
    rates = benching.row("x", [8.0], [2.0], "a loop", rates=True)
    assert rates.ratio == 4.0 and benching.row("x", [8.0], [2.0], "a", rates=True, how=benching.COST).ratio == 0.25
    alone = benching.row("x", ours)
    assert (alone.ours, alone.ratio, alone.low, alone.high) == (2.0, None, 1.0, 4.0)


def test_targets_are_of_the_ratio_or_of_the_figure(benching: ModuleType) -> None:
    cost = {"how": benching.COST, "target": 1.1}
    assert benching.row("x", [1.05], [1.0], "a", **cost).met is True
    assert benching.row("x", [1.15], [1.0], "a", **cost).met is False
    assert benching.row("x", [0.4], target=0.5).met is True and benching.row("x", [0.4]).met is None
    assert benching.row("x", [5.0], [1.0], "a", rates=True, target=5.0, at_most=False).met is True
    assert benching.row("x", [4.0], [1.0], "a", rates=True, target=5.0, at_most=False).met is False


def test_the_table_says_spread_target_and_what_is_missing(benching: ModuleType) -> None:
    row = benching.row("a step", [11.0, 12.0, 13.0], [10.0] * 3, "a loop", unit="ms", how=benching.COST, target=1.1)
    lines = benching.table([row, benching.Row("DDSP synthesis", note="Magenta's ddsp is not installed")]).splitlines()
    assert lines[2] == (
        "| a step | 12.0 ms | a loop | 10.0 ms | 1.20 (1.10 to 1.30) of its time | 3 | ≤ 1.1, **missed** |"
    )
    assert lines[3] == "| DDSP synthesis | not measured | Magenta's ddsp is not installed | | | | |"


def test_all_take_turns_and_the_first_warms_up(benching: ModuleType) -> None:
    order: list[str] = []

    def work(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = benching.turns({"a": lambda: work("a"), "b": lambda: work("b")}, 3)
    assert "".join(order) == "abbaabba"
    assert found == {"a": [4.0, 5.0, 8.0], "b": [3.0, 6.0, 7.0]}


def test_one_that_fails_leaves_a_row_and_the_others_run(
    bench: ModuleType, benching: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[3]); import benching\n"
        "if sys.argv[4] == 'breaks': sys.exit('no such device')\n"
        "benching.leave([benching.row('a thing', [0.2], target=0.5)], Path(sys.argv[-1]))\n"
        "sys.exit(int(sys.argv[4] == 'misses'))\n"
    )
    (tmp_path / "one.py").write_text(script)
    place = str(tmp_path / "one.py")
    made = [
        bench.Benchmark(name, f"title of {name}", place, ("x", "y", str(ROOT / "scripts"), name))
        for name in ("breaks", "works", "misses")
    ]
    monkeypatch.setattr(bench, "ALL", tuple(made))
    monkeypatch.setattr(sys, "argv", ["bench.py", "--out", str(tmp_path / "out"), "--readme", str(tmp_path / "R.md")])
    (tmp_path / "R.md").write_text("above\n\n<!-- bench -->\nold\n<!-- /bench -->\n\nbelow\n")
    assert bench.main() == 1
    found = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert [one["failed"] for one in found["benchmarks"]] == [True, False, False]
    text = (tmp_path / "out" / "bench.md").read_text()
    assert "title of breaks | not measured | failed: ended with 1: no such device" in text
    assert "≤ 0.5, met" in text and found["machine"]["python"] in text
    readme = (tmp_path / "R.md").read_text()
    assert readme.startswith("above\n\n<!-- bench -->\n\nMeasured on") and readme.endswith("<!-- /bench -->\n\nbelow\n")
    assert "old" not in readme and text in readme


def test_a_file_without_the_two_comments_is_refused(bench: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "R.md").write_text("<!-- /bench -->\n<!-- bench -->\n")
    with pytest.raises(SystemExit, match=r"R\.md: needs <!-- bench --> and <!-- /bench --> once each"):
        bench.insert(tmp_path / "R.md", "text")


def test_every_benchmark_is_there_and_takes_what_it_is_given(bench: ModuleType) -> None:
    scripts = {path.name for path in (ROOT / "scripts").glob("bench_*.py")}
    assert {one.script for one in bench.ALL} == scripts
    for one in bench.ALL:
        text = (ROOT / "scripts" / one.script).read_text()
        assert all(word in text for word in one.words if word.startswith("--")), one.name


def test_the_readme_has_a_place_for_the_table(bench: ModuleType) -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count(bench.OPENING) == text.count(bench.CLOSING) == 1
