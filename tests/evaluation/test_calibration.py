"""The calibration of the test of significance, as its script prints it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "calibrate_significance.py"


def run(tmp_path: Path, *arguments: str) -> tuple[list[dict], str, int]:
    """The rows of the script, what it printed, and its exit code."""
    out = tmp_path / "rows.json"
    command = [sys.executable, str(SCRIPT), "--json", str(out), "--workers", "1", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert out.is_file(), done.stderr
    return json.loads(out.read_text()), done.stdout, done.returncode


@pytest.mark.slow
def test_the_test_keeps_its_level_and_the_interval_its_promise(tmp_path: Path) -> None:
    rows, printed, code = run(
        tmp_path, "--trials", "3", "--noise", "0", "2", "--experiments", "600", "--multilabel", "0"
    )
    assert len(rows) == 2
    for row in rows:
        assert all(0.03 <= rejected <= 0.08 for rejected in row["rejected"]), row
        assert all(0.92 <= covered <= 0.98 for covered in row["covered"]), row
        assert min(row["effect"]) > 0.005 and min(row["found"]) > 0.1  # the planted effect is one, and is found
    assert code == 0 and "OUT OF RANGE" not in printed


@pytest.mark.slow
def test_two_trials_have_an_interval_that_holds_and_no_p(tmp_path: Path) -> None:
    (row,), printed, _ = run(tmp_path, "--trials", "2", "--noise", "1", "--experiments", "300", "--multilabel", "0")
    assert row["rejected"] is None and row["why"] == "two trials cannot decide" and "none given" in printed
    assert all(0.92 <= covered <= 0.98 for covered in row["covered"]), row


def test_too_few_clusters_have_neither(tmp_path: Path) -> None:
    rows, printed, code = run(
        *(tmp_path, "--trials", "3", "--noise", "1", "--experiments", "5", "--clusters", "6", "--multilabel", "0")
    )
    assert (
        rows[0]["rejected"] is rows[0]["covered"] is None and rows[0]["why"] == "6 clusters of test clips are too few"
    )
    assert "none given" in printed and code == 0
