"""A published table whose every cell is a condition of its own: one metric, rows by columns, and their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from augrun.evaluation.results import summarise, trial_means
from augrun.reports.definition import Definition, cell_name
from augrun.reports.tables import Row, Table, common, provenance


def table(definition: Definition, results: Mapping[str, Mapping[str, Any]], confidence: float = 0.95) -> Table:
    """The table of what is there; a cell that is not is empty, and a mean over fewer columns than all is not shown.

    Args:
        definition: of the table; its kind is `grid`.
        results: the content of each condition's `results.json`, by `cell_name`.
        confidence: the level of intervals over trials.

    Raises:
        ValueError: a result is of no cell.
    """
    strangers = [name for name in results if name not in dict(definition.jobs)]
    if strangers:
        raise ValueError(f"{definition.name} has no cell {', '.join(strangers)}")
    rows, used = [], []
    for row in definition.rows:
        cells = {column: results.get(cell_name(row.name, column)) for column in definition.cells}
        there = [(cell_name(row.name, column), result) for column, result in cells.items() if result is not None]
        if not there:
            continue
        used += there
        measured = {
            column: _summary(_trials(result, definition.metric), confidence) for column, result in cells.items()
        }
        if definition.average:
            columns = [_trials(result, definition.metric) for result in cells.values()]
            measured[definition.average] = _summary(_mean(columns), confidence)
        condition = _common([result["condition"] for _, result in there]) | {"protocol": definition.name}
        rows.append(Row(row.name, condition, measured, {c: row.published.get(c) for c in definition.columns}))
    reference = definition.reference if definition.reference in [row.name for row in rows] else None
    notes = (*provenance(rows, used), f"Metric: {definition.metric}.", *definition.footnotes)
    return Table(
        definition.name,
        tuple(rows),
        definition.columns,
        reference,
        definition.highlight,
        notes,
        margin=definition.margin,
        metric=definition.metric,
    )


def _common(conditions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A row's condition: what its cells choose, several choices of a group joined; `none` only where all have none.

    Data and scale of several kinds are `mixed`, as in a table whose rows differ.
    """
    keys = dict.fromkeys(key for condition in conditions for key in condition)
    chosen = {key: list(dict.fromkeys(str(c[key]) for c in conditions if key in c)) for key in keys}
    joined = {key: ", ".join([word for word in words if word != "none"] or words) for key, words in chosen.items()}
    return joined | {key: common(chosen[key]) for key in ("data", "scale") if key in chosen}


def _trials(result: Mapping[str, Any] | None, metric: str | None) -> np.ndarray | None:
    """The metric of each trial, shape (trials,)."""
    return None if result is None or metric is None else trial_means(result["trials"], metric)


def _mean(columns: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Each trial's mean over the columns; None where one is missing or has other trials."""
    known = [column for column in columns if column is not None]
    if len(known) < len(columns) or len({len(column) for column in known}) != 1:
        return None
    return np.mean(known, axis=0)


def _summary(trials: np.ndarray | None, confidence: float) -> dict[str, Any]:
    """Mean, spread and interval over trials, as `results.json` has them."""
    if trials is None or not len(trials):
        return dict.fromkeys(("mean", "std", "n", "ci_low", "ci_high", "p"))
    entries = [{"fold": "", "trial": number, "metrics": {"x": float(value)}} for number, value in enumerate(trials)]
    found = summarise(entries, confidence)["x"]
    return {key: found[key] for key in ("mean", "std", "n", "ci_low", "ci_high")} | {"p": None}
