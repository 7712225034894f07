"""The parts of a sweep's page that are made of what one or several conditions left."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from augrun.reports.html_templates import render
from augrun.reports.page import data_uri
from augrun.reports.tables import NOTHING, number, signed

#: Confusion matrices with more classes than these are pictures without figures.
MOST_FIGURES = 12


@dataclass(frozen=True)
class Shown:
    """One condition of the page.

    Attributes:
        name: its row.
        folder: what it left.
    """

    name: str
    folder: Path
    _kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def read(self, name: str) -> Any:
        """A JSON file of the folder; None where there is none."""
        if name not in self._kept:
            path = self.folder / name
            self._kept[name] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        return self._kept[name]

    @property
    def results(self) -> dict[str, Any]:
        found: dict[str, Any] = self.read("results.json")
        return found

    @property
    def group(self) -> tuple[str, tuple[str, ...]]:
        """Conditions that are shown side by side: of one dataset, with the same classes."""
        return str(self.results["condition"]["dataset"]), tuple(self.results["classes"])


def reference(one: Shown, others: Sequence[Shown]) -> Shown | None:
    """What a condition is compared with, its baseline; None where that is not there."""
    found = [other for other in others if other.results["fingerprint"] == one.results.get("baseline")]
    return None if not found or found[0] is one else found[0]


def gains(dataset: str, classes: Sequence[str], reference: Shown, others: Sequence[Shown]) -> str:
    """A table of the level of each class without a generator, and of what each condition adds to it."""
    of = reference.read("per_class.json")
    levels = _class_means(of)
    gains = [_class_means(one.read("per_class.json")) - levels for one in others]
    most = max((float(np.abs(gain[np.isfinite(gain)]).max(initial=0.0)) for gain in gains), default=0.0)
    rows = []
    for place, label in enumerate(classes):
        known = [_heat(f"{of['support'][place]:,}"), _heat(number(_plain(levels[place])))]
        rows.append({"name": label, "cells": [*known, *(_heat_cell(gain[place], most) for gain in gains)]})
    names = ["clips", reference.name, *(one.name for one in others)]
    caption = f"{dataset}: {of['metric']} of each class, and what it gains"
    return render("heat_table.html.j2", label=caption, caption=caption, headings=names, rows=rows)


def _class_means(entry: Mapping[str, Any]) -> np.ndarray:
    """Means over trials, shape (classes,)."""
    values = np.array(entry["trials"], dtype=float)
    defined = np.isfinite(values)
    total, count = np.where(defined, values, 0.0).sum(0), defined.sum(0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _heat(text: str, colour: str = "", share: int = 0) -> dict[str, Any]:
    """Return a cell; with a colour, `share` percent of it are behind the text."""
    return {"text": text, "colour": colour, "share": share}


def _heat_cell(value: float, most: float) -> dict[str, Any]:
    """Return the cell of a gain, the stronger coloured the larger it is."""
    if not np.isfinite(value):
        return _heat(NOTHING)
    share = 0 if most == 0 else round(55 * abs(value) / most)
    return _heat(signed(float(value)), "var(--c1)" if value >= 0 else "var(--c2)", share)


def confusion(name: str, counts: np.ndarray, classes: Sequence[str]) -> str:
    """A confusion matrix as a table, or as a picture where it has many classes."""
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    if len(classes) > MOST_FIGURES:
        from augrun.reports.embedding import picture

        drawn = data_uri(picture(shares * 60.0 - 60.0), "image/png")
        return render("confusion_picture.html.j2", name=name, address=drawn)
    rows = [
        {"name": label, "cells": [_heat(f"{share:.2f}", "var(--c1)", round(70 * share)) for share in row]}
        for label, row in zip(classes, shares, strict=True)
    ]
    return render("heat_table.html.j2", label=f"Confusions of {name}", caption=name, headings=classes, rows=rows)


def curves(folder: Path) -> dict[str, tuple[list[float], list[float]]]:
    """For each curve its epochs and its means over the classifiers of all folds and trials."""
    found: dict[str, dict[float, list[float]]] = {}
    for path in sorted(folder.glob("fold-*.json")):
        for entry in json.loads(path.read_text(encoding="utf-8")):
            for name, value in entry.items():
                if name != "epoch" and isinstance(value, int | float) and np.isfinite(value):
                    found.setdefault(name, {}).setdefault(float(entry["epoch"]), []).append(float(value))
    return {
        name: (sorted(points), [float(np.mean(points[epoch])) for epoch in sorted(points)])
        for name, points in found.items()
    }


def seconds(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.1f} s" if value < 90 else f"{value / 60:.1f} min" if value < 5400 else f"{value / 3600:.1f} h"


def gigabytes(value: float | None) -> str:
    return NOTHING if value is None else f"{value / 1e9:.2f} GB"
