"""Folders that the environment or the installation names."""

from __future__ import annotations

import os
from pathlib import Path


def output_root() -> Path:
    """The output root of this environment."""
    return Path(os.environ.get("AUGRUN_OUTPUT") or "outputs").resolve()


def store_root() -> Path:
    """The store of this environment."""
    return Path(os.environ.get("AUGRUN_STORE") or output_root() / "store").resolve()


def conf_dir() -> Path:
    """The configuration's folder: inside an installed wheel, or at the repository's root."""
    package = Path(__file__).resolve().parents[2]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
