"""The quality of generated samples for people: a table beside recorded test clips, and bars by class.

The numbers are those of `augrun.evaluation.quality`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core.files import write_text
from augrun.reports import figures, renderings
from augrun.reports.table_files import write_table
from augrun.reports.tables import Row, Table, provenance

#: What tables and figures call the recorded test clips, measured alike.
RECORDED = "recorded (test clips)"

#: The table's columns, and the measure in each.
COLUMNS = {
    "Label validity": "validity",
    "Fréchet distance": "frechet",
    "Precision": "precision",
    "Recall": "recall",
    "Density": "density",
    "Coverage": "coverage",
    "Nearest distance ratio": "nearest_ratio",
    "Copied": "copied",
}

MEANING = (
    "All of it class by class, in what the last layer of the baseline's classifier is given, against the recordings "
    "that it was trained on. Precision: the share of samples that lie among recordings; recall: of recordings among "
    "samples. Density: how many recordings a sample lies near; coverage: the share of recordings with a sample near. "
    "Nearest distance ratio: how far the nearest recording is, over the same of test clips; copied: the share of "
    "samples that are nearer to one than all but 1 % of test clips are: copies of whole clips, while excerpts are not "
    "found. Fréchet distance: the median over classes."
)


def table(
    name: str, results: Sequence[tuple[str, Mapping[str, Any]]], accounts: Mapping[str, Mapping[str, Any]]
) -> Table:
    """Conditions with samples, and for each dataset the recorded test clips as what could be reached.

    Args:
        name: of the table.
        results: each row's name and the content of its `results.json`.
        accounts: by row, what `augrun.evaluation.quality.account` returned; rows without one are left out.
    """
    there = [(row, entry) for row, entry in results if row in accounts]
    rows = [_row(row, entry["condition"], entry, accounts[row], "") for row, entry in there]
    rows += _yardsticks(there, accounts)
    notes: dict[str, list[str]] = {}
    for row, _ in there:
        for note in accounts[row]["notes"]:
            notes.setdefault(note, []).append(row)
    told = [f"{', '.join(named)}: {note}" for note, named in notes.items()]
    bare = [(row, {**entry, "generated": {}}) for row, entry in there]  # their own notes stand beneath other tables
    footnotes = (*provenance(rows, bare), MEANING, *told)
    return Table(f"{name}: sample quality", tuple(rows), tuple(COLUMNS), None, "none", footnotes)


def _yardsticks(
    there: Sequence[tuple[str, Mapping[str, Any]]], accounts: Mapping[str, Mapping[str, Any]]
) -> Iterator[Row]:
    """A row of recorded test clips for each dataset; several where baselines, or the classes with samples, differ."""
    of: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for row, entry in there:
        of.setdefault(entry["condition"]["dataset"], []).append((row, entry))
    for dataset, alike in of.items():
        different: dict[str, tuple[str, Mapping[str, Any]]] = {}
        for row, entry in alike:
            summary = accounts[row]["summary"]
            key = repr([summary[f"{measure}_recorded"] for measure in list(COLUMNS.values())[1:]])
            different.setdefault(key, (row, entry))
        for row, entry in different.values():
            told = [dataset] if len(of) > 1 else []
            told += [f"beside {row}"] if len(different) > 1 else []
            condition = {**entry["condition"], "generator": "recorded", "policy": "none"}
            yield _row(": ".join([RECORDED, *told]), condition, entry, accounts[row], "_recorded")


def _row(
    name: str, condition: Mapping[str, Any], entry: Mapping[str, Any], account: Mapping[str, Any], suffix: str
) -> Row:
    """One row: samples, or with the suffix `_recorded` test clips."""
    validity = (entry.get("label_validity") or {}).get("recorded" if suffix else "validity")
    found = {"validity": validity, **{m: account["summary"][f"{m}{suffix}"] for m in list(COLUMNS.values())[1:]}}
    keys = ("mean", "std", "n", "ci_low", "ci_high")
    measured = {
        column: {**{key: (found[of] or {}).get(key) for key in keys}, "p": None} for column, of in COLUMNS.items()
    }
    return Row(name, dict(condition), measured, dict.fromkeys(COLUMNS))


def write(made: Table, folder: Path, stem: str = "quality") -> None:
    """Writes `stem.md`, `.csv`, `.tex`, `.json` and `.txt` into `folder`; the last with a line a row, means alone."""
    write_table(made, folder, stem)
    means = dict.fromkeys(("std", "n", "ci_low", "ci_high"))
    rows = [replace(row, measured={c: {**values, **means} for c, values in row.measured.items()}) for row in made.rows]
    write_text(folder / f"{stem}.txt", renderings.text(replace(made, rows=tuple(rows))))


def draw(accounts: Mapping[str, Mapping[str, Any]], path: Path, note: str = "") -> None:
    """The Fréchet distance of each class, one bar a condition, beside that of recorded test clips.

    Args:
        accounts: by condition, what `augrun.evaluation.quality.account` returned; of the same classes.
        path: where the PNG goes.
        note: in the corner.
    """
    first = next(iter(accounts.values()))
    recorded = {name: account["frechet_recorded_trials"] for name, account in accounts.items()}
    if all(values == first["frechet_recorded_trials"] for values in recorded.values()):
        bars = {RECORDED: first["frechet_recorded_trials"]}
    else:  # baselines differ, as where each column of a table has an imbalance of its own
        bars = {f"{RECORDED}: {name}": values for name, values in recorded.items()}
    bars |= {name: account["frechet_trials"] for name, account in accounts.items()}
    values = {name: np.array(trials, dtype=float) for name, trials in bars.items()}  # null becomes nan
    metric = "Fréchet distance from recorded train clips (less is nearer)"
    figures.per_class(values, first["classes"], path, metric, note=note, most=math.inf)
