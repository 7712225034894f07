"""The definition of a published table, as the section `table` of conf/experiment/NAME.yaml has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from augrun.core.config.schema import nearest
from augrun.core.errors import AugrunError, RequestError
from augrun.reports.produced import COLUMNS as PRODUCED

#: What fills a table's columns: `durations` the hours and clips of each row's corpus, `samples` what each row's
#: generator made, `features` how near the vectors that it made are to recorded ones, `results` the metrics of each
#: row's condition, which a sweep over the rows runs, `grid` one metric of a condition for each row and column.
KINDS = ("durations", "samples", "features", "results", "grid")

#: Kinds whose rows are conditions that a sweep runs; the others are made by `augrun table`.
SWEPT = ("results", "grid")


@dataclass(frozen=True)
class RowDefinition:
    """One row.

    Attributes:
        name: as the paper calls it.
        overrides: what makes the row's condition, on top of the experiment and under the command line's own.
        published: the published values by column; a column that is left out has none.
        produced: what is published of the row's samples, by column of `augrun.reports.produced`.
        cells: of a grid, what makes the condition of a column beside that column's own overrides.
    """

    name: str
    overrides: tuple[str, ...]
    published: Mapping[str, Any]
    produced: Mapping[str, Any] = field(default_factory=dict)
    cells: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Definition:
    """A published table.

    Attributes:
        name: of the table and of its experiment, e.g. `godwin2021_table1`.
        kind: what fills the columns, one of `KINDS`.
        columns: in order.
        rows: in order.
        reference: the row that differences are counted from; None where there is none.
        highlight: which figures stand out, see `augrun.reports.tables.Table`.
        margin: see there.
        cells: of a grid, the overrides of each column's conditions.
        metric: of a grid.
        average: of a grid, the name of a last column with the mean over the others; None for none.
        footnotes: how the data measured on differ from those published; shown beside published values.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    rows: tuple[RowDefinition, ...]
    reference: str | None = None
    highlight: Literal["best", "above_reference", "none"] = "none"
    footnotes: tuple[str, ...] = ()
    margin: float = 0.0
    cells: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    metric: str | None = None
    average: str | None = None

    @property
    def jobs(self) -> list[tuple[str, tuple[str, ...]]]:
        """The name and the overrides of every condition."""
        if self.kind != "grid":
            return [(row.name, row.overrides) for row in self.rows]
        return [
            (cell_name(row.name, column), (*row.overrides, *overrides, *row.cells.get(column, ())))
            for row in self.rows
            for column, overrides in self.cells.items()
        ]

    def only(self, names: Sequence[str] | None) -> Definition:
        """The table with some of its rows, in its own order; None keeps all.

        Raises:
            RequestError: it has no such row.
        """
        if names is None:
            return self
        known = [row.name for row in self.rows]
        for name in names:
            if name not in known:
                raise RequestError(f"sweep.rows: {self.name} has no row {name!r}{nearest(name, known)}")
        kept = tuple(row for row in self.rows if row.name in names)
        return replace(self, rows=kept, reference=self.reference if self.reference in names else None)

    @staticmethod
    def of(name: str, section: Any) -> Definition:
        """Checks and takes over a section.

        Raises:
            AugrunError: it does not define a table; names the key.
        """
        where = f"conf/experiment/{name}.yaml: table"
        if not isinstance(section, Mapping):
            raise AugrunError(f"{where} is missing; it holds kind, columns and rows")
        also = ("reference", "highlight", "margin", "footnotes")
        grid = ("metric", "average") if section.get("kind") == "grid" else ()
        _require(where, section, ("kind", "columns", "rows", *grid[:1]), (*also, *grid[1:]))
        if section["kind"] not in KINDS:
            raise AugrunError(f"{where}.kind: {section['kind']!r} is none of {', '.join(KINDS)}")
        if grid and not isinstance(section["columns"], Mapping):
            raise AugrunError(
                f"{where}.columns: a grid's columns hold overrides, e.g. {{Angry: [protocol.minority=angry]}}"
            )
        if section["kind"] == "features":
            from augrun.reports.feature_means import COLUMNS

            for column in section["columns"]:
                if column not in COLUMNS:
                    raise AugrunError(
                        f"{where}.columns: no column is called {column!r}{nearest(column, list(COLUMNS))}"
                    )
        cells = {name: tuple(map(str, words)) for name, words in section["columns"].items()} if grid else {}
        columns = (*section["columns"], *([section["average"]] if section.get("average") else []))
        rows = tuple(_row(f"{where}.rows[{at}]", row, columns, cells) for at, row in enumerate(section["rows"]))
        names = [row.name for row in rows]
        if not rows or len(set(names)) < len(names):
            raise AugrunError(f"{where}.rows: rows must be there, and have names of their own ({', '.join(names)})")
        reference = section.get("reference")
        if reference is not None and reference not in names:
            raise AugrunError(f"{where}.reference: no row is called {reference!r}{nearest(str(reference), names)}")
        footnotes = tuple(section.get("footnotes") or ())
        if any(row.published for row in rows) and not footnotes:
            raise AugrunError(f"{where}.footnotes: published values want one that says how the data differ")
        highlight: Any = section.get("highlight") or "none"
        margin = float(section.get("margin") or 0.0)
        more: dict[str, Any] = {key: section.get(key) for key in ("metric", "average")} | {"cells": cells}
        return Definition(name, section["kind"], columns, rows, reference, highlight, footnotes, margin, **more)


def cell_name(row: str, column: str) -> str:
    """What a grid calls the condition of a row and column."""
    return f"{row} / {column}"


def _row(where: str, row: Any, columns: tuple[str, ...], cells: Mapping[str, Any]) -> RowDefinition:
    if not isinstance(row, Mapping):
        raise AugrunError(f"{where} is no mapping; it holds name, overrides and published")
    _require(where, row, ("name", "overrides"), ("published", "produced", *(("cells",) if cells else ())))
    values = {key: dict(row.get(key) or {}) for key in ("published", "produced")}
    own = {column: tuple(map(str, words)) for column, words in (row.get("cells") or {}).items()}
    for key, legal in (("published", columns), ("produced", PRODUCED), ("cells", tuple(cells))):
        for column in own if key == "cells" else values[key]:
            if column not in legal:
                raise AugrunError(f"{where}.{key}: no column is called {column!r}{nearest(str(column), list(legal))}")
    return RowDefinition(str(row["name"]), tuple(map(str, row["overrides"])), cells=own, **values)


def _require(where: str, section: Mapping[str, Any], wanted: tuple[str, ...], also: tuple[str, ...]) -> None:
    for key in wanted:
        if key not in section:
            raise AugrunError(f"{where}.{key} is missing")
    for key in section:
        if key not in (*wanted, *also):
            raise AugrunError(f"{where}.{key}: no such key{nearest(str(key), [*wanted, *also])}")
