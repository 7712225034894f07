"""Recorded and generated log-mel spectrograms of every class side by side (Chatziagapi et al. 2019, Figs. 2 and 3).

For generators that make spectrograms, not sounds. `spectra.npz` holds the pictures' numbers: `classes`, `recorded` and
`generated`, float32, shape (classes, examples, frames, bands), in the representation's unit; NaN where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np

from augrun.core.files import atomic_path
from augrun.reports.figures import canvas

FILE = "spectra.npz"

#: Examples of each class, recorded and generated.
EXAMPLES = 2


def pick(features: Sequence[np.ndarray], labels: np.ndarray, classes: int) -> np.ndarray:
    """The first examples of every class, shape (classes, EXAMPLES, frames, bands); NaN where there are fewer."""
    shape = features[0].shape if len(features) else (1, 1)
    picked = np.full((classes, EXAMPLES, *shape), np.nan, np.float32)
    for label in range(classes):
        for place, row in enumerate(np.flatnonzero(labels == label)[:EXAMPLES]):
            picked[label, place] = features[int(row)]
    return picked


def write(folder: Path, classes: Sequence[str], recorded: np.ndarray, generated: np.ndarray) -> None:
    """Writes `spectra.npz`."""
    with atomic_path(folder / FILE) as fresh, open(fresh, "wb") as file:
        np.savez_compressed(file, classes=np.array(classes), recorded=recorded, generated=generated)


def draw(columns: Mapping[str, np.ndarray], classes: Sequence[str], path: Path, note: str = "") -> None:
    """One row a class, one column an example; all on one scale, whose ends are those of the first column's source.

    Args:
        columns: title to spectrograms, shape (classes, examples, frames, bands).
        classes: their names.
        path: where the PNG goes.
        note: in the corner.
    """
    first = next(iter(columns.values()))
    low, high = float(np.nanmin(first)), float(np.nanmax(first))
    panels = [(title, of[:, place]) for title, of in columns.items() for place in range(of.shape[1])]
    with canvas(path, (1.3 + 1.75 * len(panels), 0.7 + 1.6 * len(classes)), note) as drawn:
        grid = np.atleast_2d(drawn.subplots(len(classes), len(panels), sharex=True, sharey=True, squeeze=False))
        image = None
        for column, (title, matrices) in enumerate(panels):
            for row, matrix in enumerate(matrices):
                axes = grid[row, column]
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if np.isfinite(matrix).any():
                    image = axes.imshow(matrix.T, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high)
                else:
                    axes.text(0.5, 0.5, "none", ha="center", va="center", transform=axes.transAxes)
                if row == 0:
                    axes.set_title(fill(title, 22), fontsize=9)
                if column == 0:
                    axes.set_ylabel(classes[row])
        if image is not None:
            bar = drawn.colorbar(image, ax=grid, shrink=0.6, aspect=30, pad=0.01)
            bar.set_label("dB")
            bar.outline.set_visible(False)
