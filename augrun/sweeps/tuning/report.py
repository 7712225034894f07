"""What a study found: its trials by their validation score, and the test result of the chosen one alone.

tables/trials.*         the trials, as text, Markdown, CSV and JSON
figures/history.png     the score of each trial, and the best so far
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrun.core.files import write_text
from augrun.reports.tables import DATA
from augrun.sweeps.tuning.study import FINGERPRINT, STD, WHY

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from augrun.sweeps.tuning.study import Study
    from augrun.tracking.null_recorder import Off
    from augrun.tracking.recorder import Recorder

#: What is said below every table.
CAUTION = (
    "Chosen on the validation part. The test results of the other trials are no ground for another choice: that would "
    "be to tune on the test part."
)
NOTHING = "–"


@dataclass(frozen=True)
class Line:
    """One trial of a study.

    Attributes:
        number: of the trial.
        values: its settings.
        value: its score on the validation part; None where it failed.
        std: over the condition's trials.
        fingerprint: of the condition.
        why: it failed.
    """

    number: int
    values: Mapping[str, Any]
    value: float | None
    std: float | None
    fingerprint: str
    why: str

    @staticmethod
    def of(trial: FrozenTrial) -> Line:
        """The line of a trial that has ended."""
        notes = trial.user_attrs
        why = "" if trial.value is not None else notes.get(WHY, "")
        return Line(trial.number, trial.params, trial.value, notes.get(STD), notes.get(FINGERPRINT, ""), why)


def report(study: Study, metric: str, sampler: str, config: Mapping[str, Any], recorder: Recorder | Off) -> Path | None:
    """Tells what a study found: on the console, in the store, and in MLflow.

    Args:
        study: with its trials.
        metric: the one that was tuned.
        sampler: its name.
        config: the configuration of any trial.
        recorder: of the study.

    Returns:
        The folder with the tables; None where no trial has ended.
    """
    from augrun.core.store.stages import open_store

    lines = [Line.of(trial) for trial in study.ended]
    if not lines:
        return None
    store, best = open_store(config), study.best
    tested = None
    if best is not None:
        results = store.root / "condition" / best.user_attrs[FINGERPRINT] / "results.json"
        tested = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else None
    told = {
        "study": study.name,
        "metric": f"validation/{metric}",
        "sampler": sampler,
        "dataset": config["dataset"]["name"],
        "data": None if tested is None else tested["condition"].get("data"),
        "best": None if best is None else best.number,
        "test_of_best": None if tested is None else tested["summary"],
        "trials": [
            {
                "number": line.number,
                "values": dict(line.values),
                "value": line.value,
                "std": line.std,
                "state": "FAIL" if line.value is None else "COMPLETE",
                "condition": line.fingerprint,
                "why": line.why,
            }
            for line in lines
        ],
    }
    settings = {"name": f"tuning {study.name}", "table": told, "page": False}
    inputs = {f"{line.number}/trial": line.fingerprint for line in lines if line.fingerprint}
    stage = store.stage("comparison", settings=settings, inputs=inputs, code=__name__)

    def write(folder: Path) -> None:
        _write(folder, told, lines, metric)

    folder = stage.get(write)
    recorder.comparison(study.name, stage.fingerprint, folder)
    print((folder / "tables" / "trials.txt").read_text(encoding="utf-8"))
    print(recorder.closing_line())
    return folder


def _write(folder: Path, told: Mapping[str, Any], lines: Sequence[Line], metric: str) -> None:
    head, rows = _cells(lines, metric, told["best"])
    tables = folder / "tables"
    tables.mkdir(exist_ok=True)
    said = _said(told, lines, metric)
    write_text(tables / "trials.json", json.dumps(told, indent=1, ensure_ascii=False))
    write_text(tables / "trials.txt", "\n".join([*_aligned([head, *rows]), "", *said, ""]))
    marked = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    write_text(tables / "trials.md", "\n".join([*marked, "", *said, ""]))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    write_text(tables / "trials.csv", text.getvalue())
    _draw(folder / "figures" / "history.png", lines, f"validation/{metric}", told["study"])


def _cells(lines: Sequence[Line], metric: str, best: int | None) -> tuple[list[str], list[list[str]]]:
    """The head and the rows, those with the best scores first, failures last."""
    keys = list(dict.fromkeys(key for line in lines for key in line.values))
    head = ["", "trial", *keys, f"validation/{metric}", "std"]
    ordered = sorted(lines, key=lambda line: (line.value is None, -(line.value or 0.0), line.number))
    rows = []
    for line in ordered:
        values = [_value(line.values.get(key)) for key in keys]
        score = "FAIL" if line.value is None else f"{line.value:.4f}"
        std = NOTHING if line.std is None else f"{line.std:.4f}"
        rows.append(["*" if line.number == best else "", str(line.number), *values, score, std])
    return head, rows


def _value(value: Any) -> str:
    return NOTHING if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _said(told: Mapping[str, Any], lines: Sequence[Line], metric: str) -> list[str]:
    """What stands below the table."""
    failed = [line for line in lines if line.value is None]
    said = [
        f"Study {told['study']} on {told['dataset']}: {len(lines)} trials by {told['sampler']}, {len(failed)} failed."
    ]
    said += [f"Trial {line.number} failed: {line.why}" for line in failed]
    if told["best"] is None:
        return [*said, "No trial has a score, so that nothing is chosen."]
    tested = (told["test_of_best"] or {}).get(metric)
    result = "is no longer in the store"
    if tested and tested["mean"] is not None:
        result = f"{tested['mean']:.4f}" + ("" if tested["std"] is None else f" ± {tested['std']:.4f} over trials")
    kind = [DATA[told["data"]]] if told["data"] in DATA else []
    return [*said, f"* is the best on validation. Its test/{metric}: {result}.", CAUTION, *kind]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _draw(path: Path, lines: Sequence[Line], name: str, study: str) -> None:
    """The score of each trial, and the best so far."""
    from matplotlib.figure import Figure

    known = [(line.number, line.value) for line in lines if line.value is not None]
    if not known:
        return
    so_far: list[float] = []
    for _, value in known:
        so_far.append(max([value, *so_far[-1:]]))
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([number for number, _ in known], [value for _, value in known], "o", label="trial")
    axes.step([number for number, _ in known], so_far, where="post", label="best so far")
    axes.set(xlabel="trial", ylabel=name, title=study)
    axes.legend()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120)
