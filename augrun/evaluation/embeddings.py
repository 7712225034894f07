"""Clips in a classifier's embedding: what its last linear layer is given.

embeddings.npz holds the recorded clips of a fold, in the parts' order, float32, shape (clips, dimensions):

    train   those that the classifier was trained on
    test    those that it has never heard

They stay float32: rounded to half of that, a copy of a recording would lie beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from augrun.core.errors import AugrunError
from augrun.core.files import atomic_path

FILE = "embeddings.npz"


def of_clips(embedded: np.ndarray, rows: np.ndarray, count: int, name: str) -> np.ndarray:
    """Clips' embeddings: where a clip was cut, the mean over its segments.

    Args:
        embedded: of what the classifier saw, shape (seen, dimensions).
        rows: the clip that each is from, shape (seen,).
        count: of the clips.
        name: what they are, for a refusal.

    Returns:
        shape (count, dimensions), float32.

    Raises:
        AugrunError: values are not finite.
    """
    broken = int((~np.isfinite(embedded)).any(axis=1).sum())
    if broken:
        raise AugrunError(
            f"{name}: the baseline's classifier gives {broken} of {len(embedded)} examples activations that are NaN or "
            "infinite, so its training went astray; lower classifier.rate, or look at its learning curves"
        )
    total = np.zeros((count, embedded.shape[1]))
    np.add.at(total, rows, embedded.astype(np.float64))
    parts = np.bincount(rows, minlength=count)
    if len(parts) > count or not parts.all():
        raise ValueError("every clip needs an example, and every example a clip")
    return (total / parts[:, None]).astype(np.float32)


def write(path: Path, clips: Mapping[str, np.ndarray]) -> None:
    """Writes the file whole or not at all; packed, as half of what comes out of a ReLU is zero."""
    with atomic_path(path) as fresh, open(fresh, "wb") as file:
        np.savez_compressed(file, **clips)  # type: ignore[arg-type]


def read(path: Path) -> dict[str, np.ndarray]:
    """The embeddings by part."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}
