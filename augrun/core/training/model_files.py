"""The two files that a trained network leaves: its model, and the curves of its training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from augrun.core.files import atomic_path

MODEL, HISTORY = "model.pt", "history.json"


def leave(folder: Path, model: dict[str, Any], history: Sequence[Mapping[str, Any]]) -> None:
    """Writes both, the model last and atomically: it says that all is there.

    Args:
        folder: where they go.
        model: tensors, numbers and strings, as `torch.save` takes them.
        history: the curves, an entry an epoch.
    """
    import torch

    (folder / HISTORY).write_text(json.dumps(history, indent=1))
    with atomic_path(folder / MODEL) as fresh, open(fresh, "wb") as file:
        torch.save(model, file)


def load(folder: Path) -> dict[str, Any]:
    """The model that `leave` wrote, on the CPU."""
    import torch

    return dict(torch.load(folder / MODEL, map_location="cpu", weights_only=True))
