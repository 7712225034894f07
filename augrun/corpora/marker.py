"""The file by which a rendered stand-in is known, so that nobody takes it for the real corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: The name of that file, in the root of every rendered folder.
MARKER = ".augrun-standin.json"


def is_standin(root: Path) -> bool:
    """Whether `root` was rendered."""
    return (root / MARKER).is_file()


def read_marker(root: Path) -> dict[str, Any] | None:
    """What a stand-in was rendered from (dataset, version, seed, sizes); None for any other folder."""
    try:
        request = json.loads((root / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return request if isinstance(request, dict) else None


def write_marker(root: Path, request: dict[str, Any]) -> None:
    """Marks `root` as rendered from `request`."""
    (root / MARKER).write_text(json.dumps(request, sort_keys=True) + "\n", encoding="utf-8")
