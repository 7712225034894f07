"""`augrun table NAME`: a published table of corpora or of samples, measured on whatever corpora are at hand.

The table is defined in conf/experiment/NAME.yaml. Each row is composed from that experiment, the row's own overrides
and those of the command line, in this order, so that the command line wins. Tables whose rows a sweep runs are rendered
by `augrun.sweeps.sweep_tables`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from augrun.core.config import schema, validation
from augrun.core.config.component import build
from augrun.core.config.compose import compose
from augrun.core.errors import AugrunError, RequestError
from augrun.core.store import stages
from augrun.corpora.corpus import Corpus
from augrun.experiment import checks, samples_only
from augrun.experiment.role_corpora import RoleCorpora
from augrun.reports import durations
from augrun.reports.definition import SWEPT, Definition, RowDefinition
from augrun.reports.table_files import write_table
from augrun.reports.tables import FORMATS
from augrun.sweeps import controls, history, sweep_tables


def make(
    name: str,
    overrides: Sequence[str],
    form: str,
    out: Path | None,
    config_dir: Path | None = None,
    tracking: str | None = None,
) -> None:
    """Measures a table, writes it in every form, and prints it in one; renders that of a sweep from what is stored.

    Args:
        name: of the table, or of a sweep that was started (`augrun.sweeps.history.load`).
        overrides: the command line's own; `dataset=A,B` replaces the rows by one for each of these corpora, but of
            a sweep multiplies them.
        form: one of `FORMATS`.
        out: where to write; None takes `tables/NAME` under the output root.
        config_dir: a folder with further choices.
        tracking: of a sweep, the MLflow server to ask for what the store lacks.

    Raises:
        AugrunError: there is no such table, or a corpus cannot be had.
    """
    if name not in tables(config_dir):
        _started(name, overrides, form, out, config_dir, tracking)
        return
    definition, usual = define(name, overrides, config_dir)
    if definition.kind in SWEPT:
        root = usual.parents[1]
        rest: dict[str, Any] = {"form": form, "folder": out or usual, "tracking": tracking}
        sweep_tables.make(sweep_tables.published(definition, overrides, config_dir, root, **rest))
        return
    if tracking is not None:
        raise RequestError(f"{name}: it is measured on corpora, not on runs; leave --tracking out")
    if definition.kind == "features":
        rows, values = _on_one(definition, overrides, config_dir)
    else:
        rows, values = rows_of(definition, overrides)
    folder, pictures, problems = out or usual, [], []
    if definition.kind == "durations":
        pictures = durations.write(definition, [_measured(row, name, values, config_dir) for row in rows], folder)
    elif definition.kind == "features":
        pictures = _features(definition, rows, values, config_dir, folder)
    else:
        problems = _samples(definition, rows, values, config_dir, folder)
    print((folder / f"{name}.{form}").read_text(encoding="utf-8"), end="")
    files = ", ".join([f"{name}.{{{','.join(FORMATS)}}}", *pictures])
    print(f"written to {folder}: {files}", file=sys.stderr)
    if problems:
        raise AugrunError("\n".join([f"{len(problems)} of {len(rows)} rows could not be made:", *problems]))


def define(name: str, overrides: Sequence[str], config_dir: Path | None = None) -> tuple[Definition, Path]:
    """The table's definition, and the folder that it is written to by default.

    Raises:
        AugrunError: the experiment defines none.
    """
    config, folder = _where([f"experiment={name}", *overrides], name, config_dir)
    definition, picked = Definition.of(name, config.get("table")), config["sweep"]["rows"]
    if definition.kind not in SWEPT or not config[controls.KEY]:
        return definition.only(picked), folder
    own = [word for word in overrides if not word.startswith(("output.", "sweep.", "experiment="))]

    def chosen(words: Sequence[str]) -> str | None:
        return controls.generator_of(compose([f"experiment={name}", *words, *own], config_dir))

    return controls.beside(definition, picked, chosen), folder


def tables(config_dir: Path | None) -> list[str]:
    """The names of all experiments."""
    from augrun.core.config.paths import conf_dir
    from augrun.core.config.suggestions import choices

    return sorted({name for conf in (conf_dir(), config_dir) if conf for name in choices(conf, "experiment")})


def _where(words: Sequence[str], name: str, config_dir: Path | None) -> tuple[dict[str, Any], Path]:
    """The configuration as far as it says where to write, and the folder that a table is written to by default."""
    own = [word for word in words if word.startswith(("experiment=", "output.", "sweep.", f"{controls.KEY}="))]
    config = compose(own, config_dir)
    return config, Path(config["output"]["root"]).expanduser().resolve() / "tables" / history.file_stem(name)


def _started(
    name: str, overrides: Sequence[str], form: str, out: Path | None, config_dir: Path | None, tracking: str | None
) -> None:
    """Renders a sweep that was started here, or prints what one left in MLflow.

    Raises:
        RequestError: there is no table and no sweep of that name.
    """
    _, folder = _where(overrides, name, config_dir)
    root = folder.parents[1]
    record = history.load(root, name)
    if record is not None:
        rest: dict[str, Any] = {"form": form, "folder": out or folder, "root": root, "tracking": tracking}
        further = config_dir or (Path(record.config_dir) if record.config_dir else None)
        definition = define(record.name, record.words, further)[0] if record.published else None
        sweep_tables.make(sweep_tables.recorded(record, name, definition, overrides, further, **rest))
        return
    started = f"no sweep of that name was started in {root}"
    if tracking is not None:
        from augrun.tracking.download import Source

        if sweep_tables.print_recorded(Source(tracking, root), name, form, started):
            return
    near = schema.nearest(name, [*tables(config_dir), *history.names(root, name)])
    raise RequestError(f"{name}: no such table{near} (augrun list experiment), and {started}")


def rows_of(definition: Definition, overrides: Sequence[str]) -> tuple[list[RowDefinition], list[str]]:
    """The rows to measure, and the overrides that all of them take.

    A corpus that is named stands for itself: the table's rows on it; where it has none, its rows on another corpus,
    without published values.
    """
    named = [word.removeprefix("dataset=") for word in overrides if word.startswith("dataset=")]
    rest = [word for word in overrides if not word.startswith("dataset=")]
    if not named:
        return list(definition.rows), rest
    rows = []
    for dataset in named[-1].split(","):
        known = [row for row in definition.rows if f"dataset={dataset}" in row.overrides]
        rows += known or _rows_on(dataset, definition)
    return rows, rest


def _on_one(
    definition: Definition, overrides: Sequence[str], config_dir: Path | None
) -> tuple[list[RowDefinition], list[str]]:
    """The table's rows on the corpus that is named; published values stand beside the table's own corpus alone.

    Raises:
        RequestError: several are named.
    """
    named = [word.removeprefix("dataset=") for word in overrides if word.startswith("dataset=")]
    if named and "," in named[-1]:
        raise RequestError(f"{definition.name}: one corpus at a time; {named[-1]} are several")
    own = compose([f"experiment={definition.name}"], config_dir)["dataset"]["name"]
    keep = not named or named[-1] == own
    return [row if keep else replace(row, published={}) for row in definition.rows], list(overrides)


def _rows_on(dataset: str, definition: Definition) -> list[RowDefinition]:
    """The table's rows, but for their corpora, on a corpus that it does not have; of hours there is one."""
    if definition.kind == "durations":
        return [RowDefinition(dataset, (f"dataset={dataset}",), {})]
    others = [tuple(word for word in row.overrides if not word.startswith("dataset=")) for row in definition.rows]
    rows = []
    for other in dict.fromkeys(others):
        name = ", ".join([*(word.split("=", 1)[1] for word in other), dataset])
        rows.append(RowDefinition(name, (*other, f"dataset={dataset}"), {}))
    return rows


def _samples(
    definition: Definition,
    rows: Sequence[RowDefinition],
    overrides: Sequence[str],
    config_dir: Path | None,
    folder: Path,
) -> list[str]:
    """Writes what each row's generator makes.

    Returns:
        Why rows could not be made here, a line each; they are left out.

    Raises:
        AugrunError: no row can be made.
    """
    from augrun.reports import produced

    made, problems = [], []
    for row in rows:
        config = compose([f"experiment={definition.name}", *row.overrides, *overrides], config_dir)
        config.pop(schema.TABLE, None)
        try:
            checks.check_config(config)
            made.append((row.name, *samples_only.generate_only(config)))
        except AugrunError as error:
            problems.append(f"{row.name}: {error}")
    if not made:
        raise AugrunError("\n".join([f"{definition.name}: no row could be made", *problems]))
    missing = [f"Not made here: {problem.splitlines()[0]}" for problem in problems]
    published = {row.name: row.published for row in rows}
    notes = [*missing, *(definition.footnotes if any(published.values()) else ())]
    table = produced.table(definition.name, made, published, notes, definition.columns)
    write_table(table, folder, definition.name)
    return problems


def _features(
    definition: Definition,
    rows: Sequence[RowDefinition],
    overrides: Sequence[str],
    config_dir: Path | None,
    folder: Path,
) -> list[str]:
    """Writes how near each row's vectors are to recorded ones, and the figure; returns its name."""
    from augrun.reports import feature_means
    from augrun.reports.tables import DATA

    found = []
    groups: dict[str, feature_means.Means] = {}
    functionals: list[str] = []
    for row in rows:
        config = compose([f"experiment={definition.name}", *row.overrides, *overrides], config_dir)
        config.pop(schema.TABLE, None)
        checks.check_config(config)
        names, functionals, near = samples_only.compare_vectors(config)
        found.append((row.name, names, near, row.published))
        groups |= {"target": near[0].target} | ({"source": near[0].source} if near[0].source else {})
        groups[f"synthetic, {row.name}"] = near[0].synthetic
    table = feature_means.table(definition.name, found, definition.columns, definition.footnotes)
    write_table(table, folder, definition.name)
    picture = f"{definition.name}.png"
    feature_means.draw(groups, functionals, folder / picture, f"{DATA[table.data]} Scale: {table.scale}. First fold.")
    return [picture]


def _measured(row: RowDefinition, name: str, overrides: Sequence[str], config_dir: Path | None) -> durations.Measured:
    config = compose([f"experiment={name}", *row.overrides, *overrides], config_dir)
    config.pop("table", None)
    validation.check(config)
    corpus, from_metadata = read(config)
    return durations.Measured(row.name, corpus, config["scale"], from_metadata, row.published)


def read(config: dict[str, Any]) -> tuple[Corpus, bool]:
    """The dataset, and whether its metadata told all; the audio is looked at only where they do not tell durations."""
    corpora = RoleCorpora(config, stages.open_store(config), build(config["trainer"]))
    corpus: Corpus = build(config["dataset"]).read(corpora.root(), None)
    if corpus.clips["duration_s"].notna().all():
        return corpus, True
    return corpora.corpus(), False
