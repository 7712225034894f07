"""What work costs, and what of it is told of a condition."""

import subprocess
import sys
import time

import pytest

from augrun.core.runtime.resource_usage import account, measured


def test_what_is_done_within_is_not_counted_twice() -> None:
    with measured() as outer:
        time.sleep(0.02)
        with measured() as inner:
            time.sleep(0.05)
    assert inner.own_seconds == inner.seconds >= 0.05
    assert outer.seconds >= 0.07 and outer.own_seconds == pytest.approx(outer.seconds - inner.seconds)


MEMORY = """
import numpy as np
from augrun.core.runtime.resource_usage import measured
with measured() as outer:
    with measured() as large:
        block = np.ones(12_000_000)
        del block
    with measured() as small:
        block = np.ones(100)
print(large.peak_bytes, small.peak_bytes, outer.peak_bytes)
"""


def test_the_most_memory_is_that_of_the_piece() -> None:
    # In a process of its own: what this one has freed and kept would be no news.
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    large, small, outer = map(int, done.stdout.split())
    assert large > small + 80_000_000 and outer >= large


def test_a_failure_is_measured_and_raised() -> None:
    with pytest.raises(ValueError, match="gone"), measured() as cost:
        raise ValueError("gone")
    assert cost.seconds > 0


def test_account_adds_up_stages_and_shares() -> None:
    gpu = {"gpu": "H100", "gpu_peak_bytes": 7}
    manifests = [
        {"kind": "generator", "seconds": 9.0, "cost": {"own_seconds": 8.0, "peak_bytes": 5, **gpu}, "summary": {}},
        {"kind": "classifier", "seconds": 1.0, "cost": {"own_seconds": 1.0, "peak_bytes": 6}, "summary": {}},
        {
            "kind": "classifier",
            "seconds": 0.5,
            "cost": {"own_seconds": 0.5},
            "summary": {"share_of_seconds": 2.0, "cost": {"own_seconds": 4.0, "peak_bytes": 11}},
        },
    ]
    found = account(manifests)
    assert found["kinds"] == {
        "generator": {"stages": 1, "seconds": 8.0},
        "classifier": {"stages": 2, "seconds": 3.5},
    }
    assert found["seconds"] == 11.5 and found["gpu_hours"] == pytest.approx(8 / 3600)
    assert (found["gpu"], found["peak_bytes"], found["gpu_peak_bytes"]) == ("H100", 11, 7)
    assert account([]) == {
        "seconds": 0,
        "gpu_hours": 0.0,
        "gpu": None,
        "peak_bytes": None,
        "gpu_peak_bytes": None,
        "kinds": {},
    }
