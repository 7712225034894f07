"""The label validity of generated samples for people: confusion matrices, bars by class, a table, a line each.

The numbers are those of `augrun.evaluation.validity`; Godwin et al. 2021 draw them as Figs. 2 and 3.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core.files import write_text
from augrun.reports import figures

#: What the figures call the recorded test clips, heard by the same classifier.
RECORDED = "recorded test clips"


def draw(accounts: Mapping[str, Mapping[str, Any]], folder: Path, suffix: str = "", note: str = "") -> list[Path]:
    """Writes the confusion matrices, and the validity of each class beside that of recordings.

    Args:
        accounts: by generator, what `augrun.evaluation.validity.account` returned; of the same classes.
        folder: where to.
        suffix: of the files' names.
        note: in the corner of each.

    Returns:
        The two files.
    """
    first = next(iter(accounts.values()))
    names = first["classes"]
    confusion, bars = (folder / f"{stem}{suffix}.png" for stem in ("generated_confusion", "label_validity"))
    panels = {f"{name}: samples": np.array(account["confusion"]) for name, account in accounts.items()}
    figures.confusions(panels, names, confusion, note=note, true="class it was made for")
    values = {RECORDED: _trials(first["recorded_trials"])}
    if any(account["recorded_trials"] != first["recorded_trials"] for account in accounts.values()):
        # Baselines differ, as where each column of a table has an imbalance of its own.
        values = {f"{RECORDED}: {name}": _trials(account["recorded_trials"]) for name, account in accounts.items()}
    values |= {name: _trials(account["validity_trials"]) for name, account in accounts.items()}
    figures.per_class(values, names, bars, "share taken for their own class", note=note)
    return [confusion, bars]


def _trials(values: list[list[float | None]]) -> np.ndarray:
    return np.array(values, dtype=float)  # null becomes nan


def write(accounts: Mapping[str, Mapping[str, Any]], folder: Path, stem: str = "label_validity") -> None:
    """Writes `stem.csv`, a line a class and generator, and `stem.md` and `.txt`, a line a generator."""
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["generator", "class", "samples", "validity", "recorded", "taken_for"])
    for name, account in accounts.items():
        for label, values in account["per_class"].items():
            figures_of = (values[key] for key in ("samples", "validity", "recorded", "taken_for"))
            writer.writerow([name, label, *("" if value is None else value for value in figures_of)])
    write_text(folder / f"{stem}.csv", text.getvalue())
    rows = [_row(name, account) for name, account in accounts.items()]
    grid = [HEADINGS, ["---"] * len(HEADINGS), *rows]
    md = "\n".join("| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in grid)
    write_text(folder / f"{stem}.md", f"{MEANING}\n\n{md}\n")
    widths = [max(len(row[k]) for row in [HEADINGS, *rows]) for k in range(len(HEADINGS))]
    lines = [
        "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in [HEADINGS, *rows]
    ]
    write_text(folder / f"{stem}.txt", "\n".join([MEANING, *(f"  {line}" for line in lines)]) + "\n")


MEANING = "Label validity: the share of samples that the baseline's classifier takes for the class they were made for."
HEADINGS = ["", "samples", "test clips", "most valid classes", "taken for most often"]


def _row(name: str, account: Mapping[str, Any]) -> list[str]:
    """A generator's macro validity, that of recordings, its best classes, and what its samples are taken for."""
    mine, recorded = (account["summary"][key] for key in ("validity", "recorded"))
    classes = account["per_class"].items()
    known = [(label, values) for label, values in classes if values["validity"] is not None]
    best = sorted(known, key=lambda pair: -pair[1]["validity"])[:2]
    favourite, share = max(((label, values["taken_for"]) for label, values in classes), key=lambda pair: pair[1])
    spread = "" if mine["std"] is None else f" ± {mine['std']:.3f}"
    return [
        name,
        "–" if mine["mean"] is None else f"{mine['mean']:.3f}{spread}",
        "–" if recorded["mean"] is None else f"{recorded['mean']:.3f}",
        ", ".join(f"{label} {values['validity']:.2f} of {values['samples']:,}" for label, values in best),
        f"{favourite} {share:.0%}",
    ]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
