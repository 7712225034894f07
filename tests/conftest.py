"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Tests that run side by side, and the processes that they start, have a core each; torch reads this when it is loaded.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
# librosa's functions are compiled by numba when they are first used. Processes that fill one folder of them at once
# may load half a function and crash, so that each has its own; numba reads this when it is loaded.
os.environ["NUMBA_CACHE_DIR"] = str(ROOT / ".pytest_cache" / "numba" / os.environ.get("PYTEST_XDIST_WORKER", "alone"))

# How long an example takes depends on what else the machine does.
settings.register_profile("augrun", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("augrun")

#: What takes longest begins first, so that two processes end at about the same time.
LONG = [
    "test_published.py",
    "test_together.py",
    "test_experiment.py",
    "test_tuning.py",
    "test_bad_input.py",
    "test_leakage.py",
    "test_bagan.py",
    "test_cyclegan.py",
    "test_calibration.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that are named above first; the order of pytest's arguments does not last where one holds another."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The optional folder of real recordings and metadata beside the repository."""
    folder = (ROOT.parent / "shared" / "data").resolve()
    if not folder.is_dir():
        pytest.skip("the optional folder ../shared/data with real recordings is not here")
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Networks as small as those of the tests lose more by waiting for a second thread than they gain."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
