"""Hours and clips per part and per class of a corpus: the papers' tables and figures of their data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core.files import write_text
from augrun.corpora.corpus import Corpus
from augrun.reports import figures
from augrun.reports.definition import Definition
from augrun.reports.table_files import write_table
from augrun.reports.tables import DATA, Row, Table

#: The columns' words for a corpus's parts; None is all of it.
PARTS: dict[str, str | None] = {"Train": "train", "Val": "validation", "Test": "test", "Sum": None}

#: What a column's name ends with where it counts clips.
CLIPS = " clips"

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Measured:
    """One row's corpus.

    Attributes:
        row: the row's name.
        corpus: its clips.
        scale: `demo` or `paper`; no figure here depends on it.
        from_metadata: whether durations are those that the corpus's own tables state, and no audio was looked at.
        published: published values by column.
    """

    row: str
    corpus: Corpus
    scale: str
    from_metadata: bool
    published: Mapping[str, float]


def value(corpus: Corpus, column: str) -> float | int | None:
    """The figure in a column of `PARTS`: hours, or clips; None where the corpus has no such part.

    Raises:
        KeyError: there is no such column.
    """
    part = PARTS[column.removesuffix(CLIPS)]
    rows = np.ones(len(corpus), bool) if part is None else corpus.clips["split"].to_numpy() == part
    if part is not None and not rows.any():
        return None
    if column.endswith(CLIPS):
        return int(rows.sum())
    hours = float(corpus.clips["duration_s"].to_numpy(float)[rows].sum()) / SECONDS_PER_HOUR
    return None if math.isnan(hours) else hours


def table(definition: Definition, measured: Sequence[Measured]) -> Table:
    """Hours and clips, with the published values beside them."""
    rows = []
    for one in measured:
        corpus = one.corpus
        condition = {"dataset": corpus.name, "scale": one.scale, "data": corpus.data}
        nothing = dict.fromkeys(("std", "n", "ci_low", "ci_high", "p"))
        figures_of = {column: {"mean": value(corpus, column), **nothing} for column in definition.columns}
        rows.append(Row(one.row, condition, figures_of, {c: one.published.get(c) for c in definition.columns}))
    kinds = {one.corpus.data for one in measured}
    data = kinds.pop() if len(kinds) == 1 else "mixed"
    notes = [DATA[data], "Hours per part, and clips; a part that the corpus does not come with is left empty."]
    notes += [_from_metadata(measured)] if any(one.from_metadata for one in measured) else []
    notes += [note for one in measured for note in _notes(one, data)]
    notes += definition.footnotes if any(one.published for one in measured) else ()
    columns, highlight = definition.columns, definition.highlight
    digits = 1 if max(one.corpus.seconds for one in measured) >= 10 * SECONDS_PER_HOUR else 2
    return Table(definition.name, tuple(rows), columns, definition.reference, highlight, tuple(notes), digits)


def _from_metadata(measured: Sequence[Measured]) -> str:
    """Whose durations are stated, not looked up."""
    stated = [one.row for one in measured if one.from_metadata]
    if len(stated) == len(measured):
        return "Durations are those that the metadata state; no audio was looked at."
    return f"Durations of {', '.join(stated)} are those that the metadata state; their audio was not looked at."


def _notes(one: Measured, data: str) -> list[str]:
    """What a reader must know of one row."""
    corpus = one.corpus
    notes = [f"{one.row}: {DATA[corpus.data].removeprefix('Data: ')}"] if data == "mixed" else []
    unparted = int((corpus.clips["split"] == "").sum())
    if unparted:
        some = "the corpus has its clips in no parts" if unparted == len(corpus) else f"clips in no part: {unparted:,}"
        notes.append(f"{one.row}: {some}. They count in the sum alone.")
    return notes + [f"{one.row}: {note}." for note in corpus.notes]


def per_class(corpus: Corpus) -> dict[str, Any]:
    """Hours and clips of each class in each part, as plain data; a clip of several classes counts in each."""
    given = corpus.clips["split"].to_numpy(str)
    parts = {part: given == part for part in (*filter(None, PARTS.values()), "") if (given == part).any()}
    of_part = {part or "all": corpus.select(rows) for part, rows in parts.items()}
    if len(of_part) > 1 and "all" in of_part:
        of_part["no part"] = of_part.pop("all")
    return {
        "schema": 1,
        "dataset": corpus.name,
        "data": corpus.data,
        "multilabel": corpus.label_set.multilabel,
        "classes": list(corpus.label_set.names),
        "hours": {part: _finite(clips.seconds_per_class() / SECONDS_PER_HOUR) for part, clips in of_part.items()},
        "clips": {part: clips.targets().sum(axis=0).astype(int).tolist() for part, clips in of_part.items()},
    }


def _finite(hours: np.ndarray) -> list[float | None]:
    return [float(hour) if math.isfinite(hour) else None for hour in hours]


def write(definition: Definition, measured: Sequence[Measured], folder: Path) -> list[str]:
    """Writes the table in every form, and for each corpus `per_class_<dataset>.png` and `.json`.

    Args:
        definition: of the table.
        measured: its rows.
        folder: where to.

    Returns:
        The figures' names.
    """
    write_table(table(definition, measured), folder, definition.name)
    names = []
    for one in measured:
        content = per_class(one.corpus)
        stem = f"per_class_{one.corpus.name}"
        write_text(folder / f"{stem}.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        hours = {part: np.array(values, dtype=float) for part, values in content["hours"].items()}
        several = " A clip of several classes counts in each." if content["multilabel"] else ""
        note = DATA[one.corpus.data] + several
        names.append(f"{stem}.png")
        figures.durations(hours, content["classes"], folder / names[-1], f"Hours per class: {one.corpus.name}", note)
    return names
