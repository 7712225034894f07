"""The checkpoint of random weights that scripts/tiny_jukebox.py writes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_SCRIPT = Path(__file__).parents[2] / "scripts" / "tiny_jukebox.py"


def build(folder: Path, seed: int = 0) -> Path:
    """Writes it to `folder`, laid out as a published one; needs the package transformers."""
    spec = importlib.util.spec_from_file_location("tiny_jukebox_script", _SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.build(folder, seed)
