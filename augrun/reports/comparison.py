"""Conditions side by side: the tables and figures of a comparison."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augrun.reports.definition import Definition
from augrun.reports.tables import DATA, Table

#: More conditions than these make bars too thin to read.
MOST_BARS = 8


def write(folder: Path, name: str, rows: Sequence[tuple[str, Path]], definition: Definition | None = None) -> None:
    """Writes `tables/comparison.{md,csv,tex,json,txt}` and, per dataset, `figures/per_class_<dataset>.png`.

    Args:
        folder: where.
        name: of the table.
        rows: a name and a condition's folder each.
        definition: the published table that they are rows of; None takes what suits their classes.
    """
    results = [(row, json.loads((place / "results.json").read_text(encoding="utf-8"))) for row, place in rows]
    _table(name, results, definition).write(folder / "tables")
    datasets = dict.fromkeys((entry["condition"]["dataset"], tuple(entry["classes"])) for _, entry in results)
    for dataset, classes in datasets:
        alike = [
            (row, entry, json.loads((place / "per_class.json").read_text(encoding="utf-8")))
            for (row, entry), (_, place) in zip(results, rows, strict=True)
            if (entry["condition"]["dataset"], tuple(entry["classes"])) == (dataset, classes)
        ]
        if 1 < len(alike) <= MOST_BARS:
            draw(folder / "figures" / f"per_class_{dataset}.png", alike)


def _table(name: str, results: Sequence[tuple[str, dict[str, Any]]], definition: Definition | None) -> Table:
    if definition is None:
        return Table.of(name, results)
    names = [row for row, _ in results]
    published = {row.name: dict(row.published) for row in definition.rows if row.name in names}
    return Table.of(
        name,
        results,
        columns=definition.columns,
        reference=definition.reference if definition.reference in names else None,
        highlight=definition.highlight,
        published=published if any(published.values()) else None,
        footnotes=definition.footnotes,
        margin=definition.margin,
    )


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
