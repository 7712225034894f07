"""`augrun table NAME`: a published table, measured on whatever corpora are at hand.

The table is defined in conf/experiment/NAME.yaml. Each row is composed from that experiment, the row's own overrides
and those of the command line, in this order, so that the command line wins.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from augrun import experiment, schema
from augrun.composing import compose
from augrun.corpora.corpus import Corpus
from augrun.errors import RequestError
from augrun.recordings import Recordings, build
from augrun.reports import durations
from augrun.reports.definition import Definition, RowDefinition

#: How a table can be printed; all of them are written.
FORMATS = ("txt", "md", "csv", "tex", "json")


def make(name: str, overrides: Sequence[str], form: str, out: Path | None, config_dir: Path | None = None) -> None:
    """Measures a table, writes it in every form, and prints it in one.

    Args:
        name: of the table.
        overrides: the command line's own; `dataset=A,B` replaces the rows by one for each of these corpora.
        form: one of `FORMATS`.
        out: where to write; None takes `tables/NAME` under the output root.
        config_dir: a folder with further choices.

    Raises:
        AugrunError: there is no such table, or a corpus cannot be had.
    """
    definition, usual = define(name, overrides, config_dir)
    if definition.kind != "durations":
        raise RequestError(f"{name}: its rows are runs; augrun -m experiment={name} runs them and prints the table")
    rows, values = rows_of(definition, overrides)
    measured = [_measured(row, name, values, config_dir) for row in rows]
    folder = out or usual
    pictures = durations.write(definition, measured, folder)
    print((folder / f"{name}.{form}").read_text(encoding="utf-8"), end="")
    print(f"written to {folder}: {name}.{{{','.join(FORMATS)}}}, {', '.join(pictures)}", file=sys.stderr)


def define(name: str, overrides: Sequence[str], config_dir: Path | None = None) -> tuple[Definition, Path]:
    """The table's definition, and the folder that it is written to by default.

    Raises:
        RequestError: there is no such table.
    """
    from augrun.advice import choices
    from augrun.cli import conf_dir

    names = sorted({name for conf in (conf_dir(), config_dir) if conf for name in choices(conf, "experiment")})
    if name not in names:
        raise RequestError(f"{name}: no such table{schema.nearest(name, names)} (augrun list experiment)")
    config = compose([f"experiment={name}", *(word for word in overrides if word.startswith("output."))], config_dir)
    folder = Path(config["output"]["root"]).expanduser().resolve() / "tables" / name
    return Definition.of(name, config.get("table")), folder


def rows_of(definition: Definition, overrides: Sequence[str]) -> tuple[list[RowDefinition], list[str]]:
    """The rows to measure, and the overrides that all of them take.

    A corpus that is named stands for itself: the table's rows on it, or a row of its own without published values.
    """
    named = [word.removeprefix("dataset=") for word in overrides if word.startswith("dataset=")]
    rest = [word for word in overrides if not word.startswith("dataset=")]
    if not named:
        return list(definition.rows), rest
    rows = []
    for dataset in named[-1].split(","):
        known = [row for row in definition.rows if f"dataset={dataset}" in row.overrides]
        rows += known or [RowDefinition(dataset, (f"dataset={dataset}",), {})]
    return rows, rest


def _measured(row: RowDefinition, name: str, overrides: Sequence[str], config_dir: Path | None) -> durations.Measured:
    config = compose([f"experiment={name}", *row.overrides, *overrides], config_dir)
    config.pop("table", None)
    schema.check(config)
    corpus, from_metadata = read(config)
    return durations.Measured(row.name, corpus, config["scale"], from_metadata, row.published)


def read(config: dict[str, Any]) -> tuple[Corpus, bool]:
    """The dataset, and whether its metadata told all; the audio is looked at only where they do not tell durations."""
    recordings = Recordings(config, experiment.open_store(config), build(config["trainer"]))
    corpus: Corpus = build(config["dataset"]).read(recordings.root(), None)
    if corpus.clips["duration_s"].notna().all():
        return corpus, True
    return recordings.corpus(), False
