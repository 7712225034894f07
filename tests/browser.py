"""A headless Chromium for the tests that look at pages as a reader does."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

#: Screenshots of what tests see; left out of the repository.
OUTPUT = Path(__file__).resolve().parent / "output"


def executable() -> str | None:
    """A browser of this machine's; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that is closed in the end; the test is skipped, and says so, where it cannot be had."""
    driver = pytest.importorskip("playwright.sync_api", reason="Python's playwright is not installed here")
    # No sandbox: root has none, and only pages of our own are opened. Nor a small /dev/shm, as containers have it.
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
    with driver.sync_playwright() as play:
        found = executable()
        if found is None and not Path(play.chromium.executable_path).is_file():
            pytest.skip("there is no Chromium here, neither on PATH nor playwright's own")
        browser = play.chromium.launch(executable_path=found, args=arguments)
        try:
            yield browser
        finally:
            browser.close()
