"""What is run beside every generator with `controls=true`: rows of a sweep, or of a published table.

oracle      what as many further recordings would give, the mark for perfect samples
copy        what mere repetition gives
noise       what material without labels gives
shuffled    whether labels matter

A control's row is a generator's row with another generator: what only that generator had settings or corpora for is
left out, everything else stays, so that the two compare. All rows of such a sweep keep one reserve out of training.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from augrun.core.config.component import describe
from augrun.core.errors import RequestError
from augrun.reports.definition import Definition, RowDefinition

log = logging.getLogger(__name__)

#: The generators, in the order of their rows.
CONTROLS = ("oracle", "copy", "noise", "shuffled")

#: The key that asks for them.
KEY = "controls"

#: Roles of corpora that a generator alone uses (`augrun.core.config.schema.ROLES`).
ROLES = ("source", "noise", "music")

FOOTNOTE = (
    "Rows called (control) are not the paper's. For them a share of each train part is kept out of every row's "
    "training (protocol.reserve), so that rows compare with each other and less with what is published."
)

#: The name of the generator that a row's overrides make; None where they make no samples, or no configuration.
Chosen = Callable[[Sequence[str]], str | None]


def require_one_value(product: Sequence[Sequence[str]]) -> None:
    """Refuses rows with a reserve beside rows without.

    Raises:
        RequestError: the rows' overrides differ in `controls`.
    """
    if len({word for row in product for word in row if _key(word) == KEY}) > 1:
        raise RequestError(f"{KEY}: rows with a reserve and without do not compare; give one value for all of them")


def added(product: Sequence[Sequence[str]], chosen: Chosen) -> list[list[str]]:
    """A sweep's rows, and after them a row of each control for every combination of what else they choose.

    Args:
        product: the overrides of each row.
        chosen: what generator they make.

    Returns:
        Rows of the product first; a control that is among them is not added.
    """
    rows = [list(row) for row in product]
    generated = [(name, without_generator(row)) for row in rows if (name := chosen(row)) is not None]
    known = {(name, frozenset(others)) for name, others in generated}
    for _, others in generated:
        for control in CONTROLS:
            if (control, frozenset(others)) not in known:
                known.add((control, frozenset(others)))
                rows.append([*others, f"generator={control}"])
    return rows


def without_generator(overrides: Sequence[str]) -> list[str]:
    """The overrides that are not of the generator, nor of a corpus that only a generator uses."""
    return [word for word in overrides if not _of_generator(word)]


def _of_generator(word: str) -> bool:
    key = _key(word)
    group, _, role = key.partition("@")
    return key.split(".")[0] in ("generator", *ROLES) or (group == "dataset" and role in ROLES)


def _key(word: str) -> str:
    return word.split("=", 1)[0].lstrip("+~")


def row_name(control: str) -> str:
    """What a table calls a control's row."""
    return f"{control} (control)"


def tabled(table: Definition, chosen: Chosen) -> Definition:
    """A published table with a row for each control, like its first row that has a generator.

    Args:
        table: whose kind is `results` or `grid`.
        chosen: what generator a row's overrides make.

    Returns:
        The table, with the rows last and no published values in them; the table itself where it has no generator.
    """
    for model in table.rows:
        generators = {column: chosen(words) for column, words in _conditions(table, model).items()}
        if any(generators.values()):
            rows = (*table.rows, *(_control(model, generators, control) for control in CONTROLS))
            return replace(table, rows=rows, footnotes=(*table.footnotes, FOOTNOTE))
    return table


def beside(table: Definition, names: Sequence[str] | None, chosen: Chosen) -> Definition:
    """The table with the rows that are asked for, and with a row for each control where some row has a generator.

    Args:
        table: whose kind is `results` or `grid`.
        names: of the rows; None takes all.
        chosen: what generator a row's overrides make.
    """
    with_controls = tabled(table, chosen)
    if with_controls is table:
        log.warning("controls=true: no row of %s has a generator, so there is no control to set beside", table.name)
    return with_controls.only(picked(with_controls, names))


def generator_of(config: Mapping[str, Any]) -> str | None:
    """The name of a condition's generator; None where it has none that makes samples."""
    section = config.get("generator") or {}
    makes = section.get("_target_") and describe(section["_target_"]).constants.get("domain") is not None
    return str(section.get("name")) if makes else None


def picked(table: Definition, names: Sequence[str] | None) -> list[str] | None:
    """The rows to run of those that are asked for: with all controls, unless some of these are named themselves."""
    if names is None:
        return None
    rows = [name for name in map(row_name, CONTROLS) if any(row.name == name for row in table.rows)]
    return [*names] if set(rows) & set(names) else [*names, *rows]


def _conditions(table: Definition, row: RowDefinition) -> dict[str, tuple[str, ...]]:
    """The overrides of a row's condition, or of those of its columns by name."""
    if table.kind != "grid":
        return {"": row.overrides}
    return {column: (*row.overrides, *words, *row.cells.get(column, ())) for column, words in table.cells.items()}


def _control(model: RowDefinition, generators: Mapping[str, str | None], control: str) -> RowDefinition:
    """The row of a control.

    Args:
        model: the row that it is like.
        generators: of each of its conditions, by column of a grid (else by ""); one without a generator stays without.
        control: its generator.
    """
    others, choice = tuple(without_generator(model.overrides)), f"generator={control}"
    if "" in generators:
        return RowDefinition(row_name(control), (*others, choice), {})
    cells = {
        column: (*without_generator(model.cells.get(column, ())), choice if generator else "generator=none")
        for column, generator in generators.items()
    }
    return RowDefinition(row_name(control), others, {}, cells=cells)
