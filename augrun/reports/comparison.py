"""Conditions side by side: the tables and figures of a comparison."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augrun.reports.tables import DATA, Table

#: More conditions than these make bars too thin to read.
MOST_BARS = 8


def write(folder: Path, name: str, rows: Sequence[tuple[str, Path]]) -> None:
    """Writes `tables/comparison.{md,csv,tex,json,txt}` and, per dataset, `figures/per_class_<dataset>.png`.

    Args:
        folder: where.
        name: of the table.
        rows: a name and a condition's folder each.
    """
    results = [(row, json.loads((place / "results.json").read_text(encoding="utf-8"))) for row, place in rows]
    Table.of(name, results).write(folder / "tables")
    datasets = dict.fromkeys((entry["condition"]["dataset"], tuple(entry["classes"])) for _, entry in results)
    for dataset, classes in datasets:
        alike = [
            (row, entry, json.loads((place / "per_class.json").read_text(encoding="utf-8")))
            for (row, entry), (_, place) in zip(results, rows, strict=True)
            if (entry["condition"]["dataset"], tuple(entry["classes"])) == (dataset, classes)
        ]
        if 1 < len(alike) <= MOST_BARS:
            draw(folder / "figures" / f"per_class_{dataset}.png", alike)


def draw(path: Path, rows: Sequence[tuple[str, dict[str, Any], dict[str, Any]]]) -> None:
    """The main metric of each class, one bar a condition."""
    from augrun.reports import figures

    first = rows[0][2]
    figures.per_class(
        {row: np.array(values["trials"], dtype=float) for row, _, values in rows},
        rows[0][1]["classes"],
        path,
        first["metric"],
        support=np.array(first["support"]),
        note=DATA[rows[0][1]["condition"]["data"]],
    )
