"""Conditions side by side: on the console, in the store, and in MLflow."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrun.core.config.component import build
from augrun.core.store.stages import open_store
from augrun.tracking.recorder import open_recorder

if TYPE_CHECKING:
    from augrun.reports.definition import Definition
    from augrun.reports.evidence import Settings
    from augrun.tracking.null_recorder import Off
    from augrun.tracking.recorder import Recorder

log = logging.getLogger(__name__)


def compare_conditions(
    config: Mapping[str, Any],
    rows: Sequence[tuple[str, Path]],
    of: Path | None = None,
    table: Definition | None = None,
    page: bool = True,
    recorder: Recorder | Off | None = None,
) -> Path:
    """Set conditions side by side: on the console, in the store, and in MLflow.

    Args:
        config: the configuration of any of them, for where to write.
        rows: a name and a condition's folder each; the first row without a generator is the reference.
        of: the condition whose run gets the comparison; None makes a run of its own, as a sweep does.
        table: the published table that the rows are of.
        page: whether to write a page that shows all of it; a row of a sweep leaves it to the sweep, and is not shown
            again when the sweep is repeated.
        recorder: of the run, which remembers what it could not send.

    Returns:
        The folder of the comparison.
    """
    from augrun.reports import comparison

    store = open_store(config)
    inputs = {f"{number}/{name}": folder.name for number, (name, folder) in enumerate(rows)}
    name = table.name if table else config["sweep"]["name"] if of is None else "comparison"
    significance = significance_settings(config)
    settings = {"name": name, "table": asdict(table) if table else None, "page": page}
    settings |= {key: getattr(significance, key) for key in ("confidence", "resamples")}
    stage = store.stage("comparison", settings=settings, inputs=inputs, code="augrun.reports.comparison")

    def write(folder: Path) -> None:
        comparison.write(folder, name, rows, table, significance, page=page)

    is_new = page or not stage.done
    folder = stage.get(write, "comparing")
    recorder = recorder or open_recorder(config)
    if of is not None:
        recorder.add_comparison(of, folder)
    else:
        recorder.comparison(name, stage.fingerprint, folder)
    if is_new:
        print((folder / comparison.CONSOLE).read_text(encoding="utf-8"))
        print(recorder.closing_line())
    elif recorder.problem:
        log.warning(recorder.closing_line())
    return folder


def significance_settings(config: Mapping[str, Any]) -> Settings:
    """Return how differences from a reference are tested."""
    from augrun.reports.evidence import Settings

    workers = build(config["trainer"]).workers
    return Settings(config["confidence"], config["significance"]["resamples"], max(1, workers))
