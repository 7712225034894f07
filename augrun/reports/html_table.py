"""A table as HTML: a part of a page, and a page of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from augrun.reports.html_templates import render
from augrun.reports.page import document
from augrun.reports.renderings import headings, interval, is_published, legend, spread
from augrun.reports.tables import NOTHING, Row, Table, shown_p, signed

STYLE = """
.wide { overflow-x: auto; margin: 0.75rem 0; }
.wide:focus-visible { outline-offset: -2px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9375rem; }
caption { text-align: left; font-weight: 600; padding-bottom: 0.4rem; }
th, td { padding: 0.3rem 0.7rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { border-bottom: 2px solid var(--faint); vertical-align: bottom; overflow-wrap: normal; }
tbody th, thead th:first-child { text-align: left; font-weight: 600; }
tbody th { min-width: 8rem; max-width: 18rem; overflow-wrap: break-word; }
tbody th { position: sticky; left: 0; background: var(--paper); }
td small { display: block; color: var(--faint); white-space: nowrap; }
td { white-space: nowrap; }
td strong { border-bottom: 2px solid var(--link); }
ul.notes { color: var(--faint); font-size: 0.875rem; padding-left: 1.1rem; max-width: 90ch; }
"""


def page(table: Table) -> str:
    """A page with the table alone; what is known of the data stands out above it."""
    return document(table.name, fragment(table, caption=False), " ".join(table.footnotes[:1]), STYLE)


def fragment(table: Table, caption: bool = True, notes: bool = True) -> str:
    """The table as a part of a page that has `STYLE`.

    Args:
        table: what to show.
        caption: whether its name stands above it.
        notes: whether its footnotes, but for the first, stand below it.
    """
    rows = []
    for row in table.rows:
        cells = []
        for column in table.columns:
            if is_published(table, column):
                cells.append(_plain(table.shown(row.published[column])))
            cells.append(_cell(table, row, column))
        rows.append({"name": row.name, "cells": cells})
    body = render("table.html.j2", name=table.name, caption=caption, headings=headings(table, "html"), rows=rows)
    return body + (listed([legend(table, "html"), *table.footnotes[1:]]) if notes else "")


def _plain(text: str) -> dict[str, Any]:
    """Return a cell of one line."""
    return {"mean": text, "best": False, "spread": "", "small": []}


def _cell(table: Table, row: Row, column: str) -> dict[str, Any]:
    """Return the parts of a cell: mean ± std; below it the interval, the difference from the reference row, its p."""
    values = row.measured[column]
    if values["mean"] is None:
        return _plain(NOTHING)
    small = [interval(row, column)] if values["ci_low"] is not None else []
    difference = signed(table.difference(row, column))
    p = f", p {shown_p(values['p'])}" if values.get("p") is not None else ""
    small += [f"{difference}{p}"] if difference else []
    return {
        "mean": table.shown(values["mean"]),
        "best": table.stands_out(row, column),
        "spread": spread(table, values["std"]),
        "small": small,
    }


def listed(lines: Sequence[str]) -> str:
    """Footnotes; empty ones are left out."""
    return render("notes.html.j2", lines=[line for line in lines if line])
