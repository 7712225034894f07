"""The story: one condition, told in the data's direction.

    corpus → folds → generator.fit → generator.generate → policy.compose → classifier.fit → evaluate → record → report

Read `run` first. What each step does, and how it finds what is done already, is in `augrun.experiment.condition`.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrun.core.config import schema
from augrun.core.config.component import build
from augrun.core.config.compose import resolve
from augrun.core.data_kinds import DATA_KINDS
from augrun.core.errors import RequestError
from augrun.core.files import write_text
from augrun.core.runtime import gpu_slots, resource_usage
from augrun.core.store.stages import open_store
from augrun.experiment import parts, profiling, sample_evaluation, scheduling
from augrun.experiment.baseline import baseline_of
from augrun.experiment.checks import check
from augrun.experiment.condition import Condition
from augrun.tracking.recorder import open_recorder

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from augrun.reports.definition import Definition
    from augrun.reports.evidence import Settings
    from augrun.tracking.null_recorder import Off
    from augrun.tracking.recorder import Recorder

log = logging.getLogger(__name__)


def run(
    config: Mapping[str, Any], command: str | None = None, swept: bool = False, recorder: Recorder | Off | None = None
) -> Path:
    """Runs one condition, after the baseline that it is compared with.

    Args:
        config: a checked configuration (`resolve`, `check`).
        command: what asked for it, kept beside the results.
        swept: whether it is a row of a sweep, which has a page of its own at the end.
        recorder: where it is recorded; None opens the one that the configuration names.

    Returns:
        The folder with `results.json`, `config.yaml`, predictions, tables, figures and sounds.
    """
    condition = Condition(config, open_store(config))
    recorder = recorder or open_recorder(config)
    announce(condition)
    if not condition.stage.done:
        condition.check_components()  # before the baseline: what cannot work is refused before hours of work
        gpu_slots.need(condition.hardware)
    if condition.baseline is not None:
        ahead(condition, condition.baseline)
    reference = run_baseline(condition.baseline) if condition.baseline else None

    profiled = profiling.of(bool(config.get("profile")), condition.title, condition.stage.done)
    with (
        recorder.running(condition.stage.fingerprint, condition.title, condition.names, config) as parent,
        profiled as leave_profile,
    ):
        with condition.kept():
            if not condition.stage.done:
                work(condition, [*steps(condition), *asked(condition)])
            folder = record(condition, command)
        leave_profile(folder)
        parent.log_condition(folder)

    if reference is not None:
        row = condition.names["generator" if condition.generates else "policy"]
        compare(config, [("baseline", reference), (row, folder)], of=folder, page=not swept, recorder=recorder)
    elif recorder.problem:
        log.warning(recorder.closing_line())
    return folder


def run_baseline(baseline: Condition) -> Path:
    """Runs a baseline, once for all rows of a sweep that are compared with it: where this process has recorded it."""
    config = baseline.config
    key = (str(baseline.store.root), json.dumps([config["output"], config["tracking"]]), baseline.stage.fingerprint)
    if key in _baselines and baseline.stage.done:
        return _baselines[key]
    recorder = open_recorder(config)
    folder = run(config, recorder=recorder)
    if recorder.problem is None:  # else the next row tries again
        _baselines[key] = folder
    return folder


#: The results of baselines that this process has run and recorded.
_baselines: dict[tuple[str, str, str], Path] = {}


def steps(condition: Condition) -> list[scheduling.Step]:
    """What is done of each fold and trial, in this order; each is a stage, found where it is done already."""
    return [
        ("generator", condition.fitted),  # on the fold's train part
        ("samples", condition.generated),  # what it makes
        ("reducer", condition.fitted_reducer),  # what makes vectors shorter, where something does
        ("classifier", condition.classified),  # on what the policy composes of recordings and samples
        ("predictions", condition.scored),  # its scores on the fold's test part
    ]


def asked(condition: Condition) -> list[scheduling.Step]:
    """What is asked of the samples beside, of the classifier of the baseline's same fold and trial."""
    return [
        ("judged", partial(sample_evaluation.judged, condition)),  # what it takes the samples for
        ("quality", partial(sample_evaluation.measured, condition)),  # how near they are to recordings in its embedding
    ]


def ahead(condition: Condition, baseline: Condition) -> None:
    """While other jobs are at all that is left of the baseline: what does not need it."""

    def others_are_at_it() -> bool:
        kinds = [kind for kind, _ in steps(baseline)]
        return not baseline.stage.done and scheduling.busy(baseline.cells, kinds)

    for together in (condition.fitted_together, condition.reducers_together, condition.classified_together):
        if others_are_at_it():
            together()
    scheduling.take(condition.cells, steps(condition), while_=others_are_at_it)


def work(condition: Condition, todo: Sequence[scheduling.Step]) -> None:
    """Does these steps of every fold and trial: what can be trained as one first, then what no other job is at."""
    condition.fitted_together()
    condition.reducers_together()
    condition.classified_together()
    scheduling.take(condition.cells, todo)


def run_part(config: Mapping[str, Any]) -> Path:
    """Does the stages of some of a condition's folds and trials (`sweep.part`), and of the same of its baseline.

    Returns:
        The store. Results are recorded by whoever runs the whole condition, and finds all of this done.
    """
    condition = Condition(config, open_store(config))
    condition.cells = parts.picked(condition, config["sweep"]["part"])
    log.info("%s: %s", condition.title, ", ".join(cell.title for cell in condition.cells))
    condition.check_components()
    gpu_slots.need(condition.hardware)
    if condition.baseline is not None:
        baseline = condition.baseline
        baseline.cells = [baseline.cell(cell.fold, cell.trial) for cell in condition.cells]
        ahead(condition, baseline)
        work(baseline, steps(baseline))
    with condition.kept():
        work(condition, [*steps(condition), *asked(condition)])
    return condition.store.root


def record(condition: Condition, command: str | None = None) -> Path:
    """Metrics, summary, pictures and sounds of a condition whose every cell is scored.

    Args:
        condition: the condition.
        command: what made it.
    """

    def write(folder: Path) -> dict[str, Any]:
        from augrun.core.runtime.provenance import commit
        from augrun.experiment import environment, results_folder
        from augrun.experiment.figure_data import spectra, vectors

        baseline = Condition(baseline_of(condition.config), condition.store)
        about = {"title": condition.title, "commit": commit(), "baseline": baseline.stage.fingerprint}
        about |= {"command": command} if command else {}
        summary = results_folder.write_results(
            folder,
            about | environment.of(condition.recordings, condition.hardware),
            condition.names,
            condition.stage.fingerprint,
            condition.config,
            [condition.left(cell) for cell in condition.cells],
            condition.corpus,
            spectra(condition, condition.cells[0], folder / ".shown"),
            vectors(condition, condition.cells[0]),
        )
        write_text(folder / resource_usage.FILE, json.dumps(resource_usage.account(condition.costs()), indent=1))
        return summary

    return condition.stage.get(write, f"{condition.title}: results", uses=condition.used)


def compare(
    config: Mapping[str, Any],
    rows: Sequence[tuple[str, Path]],
    of: Path | None = None,
    table: Definition | None = None,
    page: bool = True,
    recorder: Recorder | Off | None = None,
) -> Path:
    """Sets conditions side by side: on the console, in the store, and in MLflow.

    Args:
        config: the configuration of any of them, for where to write.
        rows: a name and a condition's folder each; the first row without a generator is the reference.
        of: the condition whose run gets the comparison; None makes a run of its own, as a sweep does.
        table: the published table that the rows are of.
        page: whether to write a page that shows all of it; a row of a sweep leaves it to the sweep, and is not shown
            again when the sweep is repeated.
        recorder: of the run, which remembers what it could not send.
    """
    from augrun.reports import comparison

    store = open_store(config)
    inputs = {f"{number}/{name}": folder.name for number, (name, folder) in enumerate(rows)}
    name = table.name if table else config["sweep"]["name"] if of is None else "comparison"
    judged = settings_of(config)
    settings = {"name": name, "table": asdict(table) if table else None, "page": page}
    settings |= {key: getattr(judged, key) for key in ("confidence", "resamples")}
    stage = store.stage("comparison", settings=settings, inputs=inputs, code="augrun.reports.comparison")

    def write(folder: Path) -> None:
        comparison.write(folder, name, rows, table, judged, page=page)

    shown = page or not stage.done
    folder = stage.get(write, "comparing")
    recorder = recorder or open_recorder(config)
    if of is not None:
        recorder.add_comparison(of, folder)
    else:
        recorder.comparison(name, stage.fingerprint, folder)
    if shown:
        print((folder / comparison.CONSOLE).read_text(encoding="utf-8"))
        print(recorder.closing_line())
    elif recorder.problem:
        log.warning(recorder.closing_line())
    return folder


def settings_of(config: Mapping[str, Any]) -> Settings:
    """How differences from a reference are judged."""
    from augrun.reports.evidence import Settings

    workers = build(config["trainer"]).workers
    return Settings(config["confidence"], config["significance"]["resamples"], max(1, workers))


def announce(condition: Condition) -> None:
    """Says what runs on which data, so that nobody takes a stand-in for the real corpus."""
    log.info("%s, scale %s", condition.title, condition.names["scale"])
    for role in condition.recordings.roles:
        corpus = condition.recordings.corpus(role)
        what = "data" if role == "dataset" else role
        hours = corpus.seconds / 3600
        log.info(
            "  %s: %s, %d clips, %.1f h: %s", what, corpus.name, len(corpus), hours, DATA_KINDS[corpus.data].console
        )
        for note in corpus.notes:
            log.warning("  %s", note)
    if "reserve" in condition.names:
        log.info("  kept out of training: a share of %s of each train part", condition.names["reserve"])


def run_config(config: DictConfig) -> Path:
    """One Hydra job."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    plain, told = resolve(config), HydraConfig.get()
    swept = told.mode == RunMode.MULTIRUN
    check(plain, swept=swept)
    if plain["sweep"].get("spread") and not swept:
        raise RequestError(f"sweep.spread={plain['sweep']['spread']} makes jobs of one: augrun -m")
    if plain["sweep"].get("part") is not None:
        return run_part(plain)
    tabled = plain.pop(schema.TABLE, None) is not None
    folders = [source.path for source in told.runtime.config_sources if source.provider == "command-line"]
    words = [word for folder in folders for word in ("--config-dir", folder)]
    # A row of a published table is no run of its own: its experiment would be refused.
    return run(plain, None if tabled else shlex.join(["augrun", *words, *told.overrides.task]), swept)
