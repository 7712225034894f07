"""Conditions side by side: the tables and figures of a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core.files import write_text
from augrun.evaluation.results import CONFUSION, LABEL_VALIDITY, QUALITY
from augrun.reports import evidence, grid, produced, quality, report, spectra, validity
from augrun.reports.definition import Definition, cell_name
from augrun.reports.evidence import Settings
from augrun.reports.report_parts import Shown
from augrun.reports.table_files import write_table
from augrun.reports.tables import DATA, Table, common

#: What a comparison prints.
CONSOLE = "console.txt"

#: Drawings of a comparison that its page shows as they are; the rest of it the page draws itself.
DRAWN = ("generated_spectrograms", "generated_confusion", "quality")

#: More conditions than these make bars too thin to read.
MOST_BARS = 8


def write(
    folder: Path,
    name: str,
    rows: Sequence[tuple[str, Path]],
    definition: Definition | None = None,
    settings: Settings | None = None,
    missing: Mapping[str, str] | None = None,
    stem: str = "comparison",
    within: str = "tables",
    page: bool = True,
) -> None:
    """Writes the tables and figures of a comparison, and the page that shows all of it.

    `tables/comparison.{md,csv,tex,json,txt,html}` and `tables/differences.*`; of what was generated
    `tables/produced.*`, `tables/label_validity.*`, `tables/quality.*`, and per dataset the figures
    `per_class_<dataset>.png`, `generated_confusion_<dataset>.png`, `label_validity_<dataset>.png` and
    `quality_<dataset>.png`; of a grid `confusion_<row>.png`. `report.html` has it all and plays
    the samples, `console.txt` holds what is printed.

    Args:
        folder: where.
        name: of the table.
        rows: a name and a condition's folder each.
        definition: the published table that they are rows of; None takes what suits their classes.
        settings: how differences are judged, and the level of intervals.
        missing: the conditions that are not there yet, and how far each is.
        stem: the table's files are called so.
        within: the folder in `folder` that tables go to; empty for itself.
        page: whether there is a `report.html`.
    """
    settings = settings or Settings()
    results = [(row, json.loads((place / "results.json").read_text(encoding="utf-8"))) for row, place in rows]
    tables = folder / within
    table = evidence.weigh(
        _table(name, results, definition, settings.confidence), _sources(results, definition, dict(rows)), settings
    )
    table = replace(table, footnotes=(*table.footnotes, *_commits(rows)))
    if missing:
        table = _with_missing(table, missing, definition)
    write_table(table, tables, stem)
    printed = [tables / f"{stem}.txt"]
    further = []
    differences = evidence.differences(table, f"{name}: differences", settings)
    if differences is not None:
        write_table(differences, tables, "differences")
    made = [(row, entry["condition"], entry["generated"]) for row, entry in results if entry["generated"]["clips"]]
    if made:
        further.append(_produced(name, made, definition))
        write_table(further[-1], tables, "produced")
        printed.append(tables / "produced.txt")
    judged, measured = (_accounts(rows, file) for file in (LABEL_VALIDITY, QUALITY))
    if judged:
        validity.write(judged, tables)
        write_text(folder / LABEL_VALIDITY, json.dumps(judged, indent=1, ensure_ascii=False))
        printed.append(tables / "label_validity.txt")
    if measured:
        further.append(quality.table(name, results, measured))
        quality.write(further[-1], tables)
        write_text(folder / QUALITY, json.dumps(measured, indent=1, ensure_ascii=False))
        printed.append(tables / "quality.txt")
    write_text(folder / CONSOLE, "\n".join(path.read_text(encoding="utf-8") for path in printed))
    if definition is not None and definition.kind == "grid":
        _confusions(folder / "figures", definition, dict(rows), dict(results))
    datasets: dict[tuple[str, tuple[str, ...]], list[tuple[str, dict[str, Any], Any]]] = {}
    for (row, entry), (_, place) in zip(results, rows, strict=True):
        key = (entry["condition"]["dataset"], tuple(entry["classes"]))
        datasets.setdefault(key, []).append((row, entry, _per_class(place)))
    for (dataset, _), alike in datasets.items():
        # One row's samples have these figures in its own folder; a page shows them all the same.
        drawn = judged if page or sum(row in judged for row, _, _ in alike) > 1 else {}
        _draw_dataset(folder / "figures", dataset, alike, dict(rows), drawn, measured)
    if page:
        conditions = [Shown(row, place) for row, place in rows]
        drawings = sorted(path for stem in DRAWN for path in (folder / "figures").glob(f"{stem}*.png"))
        told = (name, table, differences, further, conditions, drawings, settings.confidence, settings.workers)
        report.Page(*told).write(folder / report.FILE)


def _commits(rows: Sequence[tuple[str, Path]]) -> list[str]:
    """A footnote that says which code made the rows, as far as they tell."""
    made: dict[str, list[str]] = {}
    for row, place in rows:
        path = place / "record.json"
        commit = json.loads(path.read_text(encoding="utf-8")).get("commit") if path.is_file() else None
        if commit:
            made.setdefault(str(commit), []).append(row)
    if len(made) == 1:
        return [f"Made by augrun, {_short(next(iter(made)))}."]
    return [f"Made by augrun, {_short(commit)}: {', '.join(of)}." for commit, of in made.items()]


def _short(commit: str) -> str:
    """A commit as people write it; a version stays."""
    head, dash, dirty = commit.partition("-")
    return f"commit {head[:12]}{' with changes on top' if dash and dirty else ''}" if len(head) == 40 else commit


def _with_missing(table: Table, missing: Mapping[str, str], definition: Definition | None) -> Table:
    """The table with a line for each row that is not there, and a footnote on how far it is."""
    grid_rows = [] if definition is None or definition.kind != "grid" else [row.name for row in definition.rows]
    there = [row.name for row in table.rows]
    absent = tuple(row for row in (grid_rows or missing) if row not in there)
    notes = (f"Missing: {row}: {how_far}." for row, how_far in missing.items())
    return replace(table, missing=absent, footnotes=(*table.footnotes, *notes))


def _draw_dataset(
    folder: Path,
    dataset: str,
    rows: Sequence[tuple[str, dict[str, Any], Any]],
    places: dict[str, Path],
    judged: Mapping[str, dict[str, Any]],
    measured: Mapping[str, dict[str, Any]],
) -> None:
    """The figures of the conditions of one dataset, where they are not too many to be read."""
    if 1 < len(rows) <= MOST_BARS and all(per_class for _, _, per_class in rows):
        draw(folder / f"per_class_{dataset}.png", rows)
    note = DATA[rows[0][1]["condition"]["data"]]
    judged_here, measured_here = ({row: of[row] for row, _, _ in rows if row in of} for of in (judged, measured))
    if judged_here and len(judged_here) <= MOST_BARS:
        validity.draw(judged_here, folder, f"_{dataset}", note)
    if measured_here and len(measured_here) <= MOST_BARS:
        quality.draw(measured_here, folder / f"quality_{dataset}.png", note)
    _show(folder / f"generated_spectrograms_{dataset}.png", rows, places)


def _per_class(place: Path) -> dict[str, Any]:
    """The main metric of each class; empty where it is not at hand, as of runs that were recorded without it."""
    path = place / "per_class.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _sources(
    results: Sequence[tuple[str, dict[str, Any]]], definition: Definition | None, places: Mapping[str, Path]
) -> dict[str, dict[str, list[Path]]]:
    """The conditions that each row and column is measured on."""
    if definition is None or definition.kind != "grid":
        columns = {metric for _, entry in results for metric in entry["summary"]}
        return {row: {column: [places[row]] for column in columns} for row, _ in results}
    found: dict[str, dict[str, list[Path]]] = {}
    for row in definition.rows:
        cells = {column: cell_name(row.name, column) for column in definition.cells}
        found[row.name] = {column: [places[cell]] for column, cell in cells.items() if cell in places}
        if definition.average and len(found[row.name]) == len(cells):
            found[row.name][definition.average] = [places[cell] for cell in cells.values()]
    return found


def _confusions(
    folder: Path, definition: Definition, places: Mapping[str, Path], results: Mapping[str, dict[str, Any]]
) -> None:
    """A picture for each row of a grid: its columns' confusion matrices side by side."""
    from augrun.reports import figures

    for number, row in enumerate(definition.rows):
        cells = {column: cell_name(row.name, column) for column in definition.cells}
        there = {column: places[cell] / CONFUSION for column, cell in cells.items() if cell in places}
        panels = {column: np.array(json.loads(path.read_text())) for column, path in there.items() if path.is_file()}
        if panels:
            found = [results[cell] for cell in cells.values() if cell in results]
            path = folder / f"confusion_{number + 1}.png"
            note = f"{row.name}. {DATA[common(result['condition']['data'] for result in found)]}"
            figures.confusions(panels, found[0]["classes"], path, note)


def _show(path: Path, rows: Sequence[tuple[str, dict[str, Any], Any]], places: dict[str, Path]) -> None:
    """Recorded spectrograms beside those of each generator that makes some, where there are several."""
    there = {row: places[row] / spectra.FILE for row, _, _ in rows if (places[row] / spectra.FILE).is_file()}
    if 1 < len(there) <= MOST_BARS:
        pictures = {row: np.load(file) for row, file in there.items()}
        first = next(iter(pictures.values()))
        columns = {"recorded": first["recorded"]} | {row: file["generated"] for row, file in pictures.items()}
        spectra.draw(columns, first["classes"].tolist(), path, DATA[rows[0][1]["condition"]["data"]])


def _accounts(rows: Sequence[tuple[str, Path]], file: str) -> dict[str, dict[str, Any]]:
    """What the baseline's classifiers say of each row's samples, where there are some: the content of a file."""
    places = {row: place / file for row, place in rows}
    return {row: json.loads(path.read_text(encoding="utf-8")) for row, path in places.items() if path.is_file()}


def _produced(
    name: str, made: Sequence[tuple[str, dict[str, Any], dict[str, Any]]], definition: Definition | None
) -> Table:
    """What the generators made, beside what the paper says of theirs."""
    title = f"{name}: what was generated"
    if definition is None:
        return produced.table(title, made)
    published = {row.name: row.produced for row in definition.rows}
    notes = definition.footnotes if any(published.values()) else ()
    return produced.table(title, made, published, notes)


def _table(
    name: str, results: Sequence[tuple[str, dict[str, Any]]], definition: Definition | None, confidence: float
) -> Table:
    if definition is None:
        return Table.of(name, results)
    if definition.kind == "grid":
        return grid.table(definition, dict(results), confidence)
    names = [row for row, _ in results]
    published = {row.name: dict(row.published) for row in definition.rows if row.name in names}
    return Table.of(
        name,
        results,
        columns=definition.columns,
        reference=definition.reference if definition.reference in names else None,
        sought=definition.reference is not None,
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
