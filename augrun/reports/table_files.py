"""The files of a table: one for each format in which it can be read."""

from __future__ import annotations

import json
from pathlib import Path

from augrun.core.files import write_text
from augrun.reports import html_table, renderings
from augrun.reports.tables import Table


def write_table(table: Table, folder: Path, stem: str = "comparison") -> None:
    """Write `stem.md`, `.csv`, `.tex`, `.json`, `.txt` and `.html` into a folder, which is created where needed."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{stem}.md", renderings.markdown(table))
    write_text(folder / f"{stem}.csv", table.csv())
    write_text(folder / f"{stem}.tex", renderings.latex(table))
    write_text(folder / f"{stem}.txt", renderings.text(table))
    write_text(folder / f"{stem}.html", html_table.page(table))
    write_text(folder / f"{stem}.json", json.dumps(table.json(), indent=1, ensure_ascii=False) + "\n")
