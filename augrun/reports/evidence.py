"""What a table's rows differ by from their reference, and whether that is more than noise.

`augrun.evaluation.significance` has the estimators; here the predictions behind each row and column of a table meet
those of its reference, p is corrected over the rows, and the table is given all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from augrun.evaluation.predicted import Predicted
from augrun.evaluation.significance import (
    LEAST_TRIALS,
    ONE_GENERATOR,
    TOO_FEW_TRIALS,
    Difference,
    compare,
    holm,
)
from augrun.reports.tables import NOTHING, Row, Table, number, shown_p, signed, told

#: What is said of the models as they are, which tells nothing of a second run.
FIXED = "these trained models only"

#: Draws of bootstrap and permutation where nobody says otherwise.
RESAMPLES = 2_000


@dataclass(frozen=True)
class Settings:
    """How differences are judged.

    Attributes:
        confidence: the level of intervals.
        resamples: draws of bootstrap and permutation for `these trained models only`; 0 leaves them out.
        workers: threads for them.
    """

    confidence: float = 0.95
    resamples: int = RESAMPLES
    workers: int = 1


def weigh(table: Table, sources: Mapping[str, Mapping[str, Sequence[Path]]], settings: Settings) -> Table:
    """The table with each figure's difference from its reference, and what can be said for it.

    Args:
        table: conditions by row, metrics (or a grid's columns) by column.
        sources: for each row and column the folders of the conditions that it is measured on; several where the column
            is a mean over others.
        settings: how.

    Returns:
        The same table; `measured[column]` has `difference` (`augrun.evaluation.significance.Difference` as plain data,
        with `p_corrected`) and, as `p`, the corrected one. Footnotes say what was done, and why some rows have none.
    """
    metrics = {column: table.metric or column for column in table.columns}
    pairs = _Pairs(list(dict.fromkeys(metrics.values())), settings)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    lacking: list[tuple[str, str]] = []
    for row in table.rows:
        reference = table.reference_of(row)
        for column in table.columns if reference is not None else ():
            assert reference is not None
            both = [sources.get(one.name, {}).get(column, ()) for one in (row, reference)]
            if not all(both):
                continue
            try:
                judged = pairs.judged(*both)
            except ValueError as problem:
                lacking.append((row.name, f"no interval of the difference and no p: {problem}."))
                continue
            if metrics[column] in judged:
                found.setdefault(row.name, {})[column] = judged[metrics[column]].plain()
    return _with(table, found, told(dict.fromkeys(lacking)))


class _Pairs:
    """Conditions beside their references; what is read or weighed once is kept."""

    def __init__(self, names: list[str], settings: Settings) -> None:
        self.names, self.settings = names, settings
        self._read: dict[tuple[Path, ...], Predicted | None] = {}
        self._judged: dict[tuple[tuple[Path, ...], ...], dict[str, Difference]] = {}

    def judged(self, mine: Sequence[Path], its: Sequence[Path]) -> dict[str, Difference]:
        """The differences of two conditions (or of two means over conditions), by metric.

        Raises:
            ValueError: they cannot be compared clip by clip; says why.
        """
        key = (tuple(mine), tuple(its))
        if key not in self._judged:
            ours, theirs = (self._predicted(folders) for folders in key)
            if ours is None or theirs is None:
                raise ValueError("the scores of its test clips, or of its reference's, are not at hand")
            settings = self.settings
            self._judged[key] = compare(ours, theirs, settings.confidence, settings.resamples, workers=settings.workers)
        if not self._judged[key]:
            raise ValueError("it was not tested on the same clips as its reference, trial by trial")
        return self._judged[key]

    def _predicted(self, folders: tuple[Path, ...]) -> Predicted | None:
        """The predictions; None where they are not at hand, as of results that were fetched without them."""
        if folders not in self._read:
            try:
                parts = {str(place): Predicted.load(folder, self.names) for place, folder in enumerate(folders)}
                self._read[folders] = Predicted.joined(parts) if len(parts) > 1 else parts["0"]
            except (OSError, KeyError, ValueError, BadZipFile):
                self._read[folders] = None
        return self._read[folders]


def _with(table: Table, found: Mapping[str, Mapping[str, dict[str, Any]]], lacking: Sequence[str]) -> Table:
    """The table with these differences, p corrected column by column, and the footnotes."""
    corrected = {
        column: holm({row: columns[column]["p"] for row, columns in found.items() if column in columns})
        for column in table.columns
    }
    rows = []
    for row in table.rows:
        measured = {column: dict(values) for column, values in row.measured.items()}
        for column, difference in found.get(row.name, {}).items():
            p = corrected[column][row.name]
            measured[column] |= {"difference": {**difference, "p_corrected": p}, "p": p}
        rows.append(replace(row, measured=measured))
    return replace(table, rows=tuple(rows), footnotes=(*table.footnotes, *_footnotes(found), *lacking))


def _footnotes(found: Mapping[str, Mapping[str, dict[str, Any]]]) -> list[str]:
    """What p means here, and which rows have none."""
    all_ = [(row, values) for row, columns in found.items() for values in columns.values()]
    if not all_:
        return []
    notes = []
    with_p = [values for _, values in all_ if values["p"] is not None]
    if with_p:
        trials = _range(values["trials"] for values in with_p)
        units = [(v["folds"] or v["clusters"], "folds" if v["folds"] else "clusters") for v in with_p]
        clips = " or ".join(
            f"{_range(n for n, w in units if w == what)} {what}" for what in dict.fromkeys(w for _, w in units)
        )
        rows = sum(any(values["p"] is not None for values in columns.values()) for columns in found.values())
        over = f", corrected over {rows} rows (Holm)" if rows > 1 else ""
        notes.append(
            f"p: two-sided, of no difference from the reference{over}; the noise of training ({trials} trials) and the "
            f"choice of test clips ({clips}) are both in it. Intervals are of each row alone."
        )
    lacking = {True: "no interval of the difference and no p", False: "no p"}
    reasons = [(row, f"{lacking[v['ci_low'] is None]}: {v['why']}.") for row, v in all_ if v["why"]]
    notes += told(dict.fromkeys(reasons))
    if any(values["why"] in TOO_FEW_TRIALS.values() for _, values in all_):
        notes.append(
            f"trials.count={LEAST_TRIALS} or more gives p; of a trained generator with trials.reseed_generator=true."
        )
    if any(values["why"] == ONE_GENERATOR for _, values in all_):
        notes.append("trials.reseed_generator=true trains a generator for each trial, and gives p.")
    return notes


def _range(values: Any) -> str:
    known = sorted(set(values))
    return f"{known[0]}" if len(known) == 1 else f"{known[0]} to {known[-1]}"


def differences(table: Table, name: str, settings: Settings) -> Table | None:
    """Each row's and metric's difference in full, as a table of its own; None where there is none."""
    level = f"{100 * settings.confidence:g} % interval"
    columns = (
        "difference",
        level,
        "p uncorrected",
        "p corrected",
        "could have shown",
        f"{FIXED}: {level}",
        f"{FIXED}: p",
    )
    rows = []
    for column in table.columns:
        for row in table.rows:
            values = row.measured[column].get("difference")
            if values is not None:
                shown = dict(zip(columns, _shown(values), strict=True))
                measured = {key: {**dict.fromkeys(_KEYS), "mean": text} for key, text in shown.items()}
                rows.append(Row(f"{column}: {row.name}", dict(row.condition), measured, dict.fromkeys(columns)))
    if not rows:
        return None
    notes = (
        *table.footnotes,
        "Could have shown: the smallest true difference that so many clips and trials would have shown (p < "
        f"{1 - settings.confidence:.2g}, uncorrected) four times in five.",
        f"{FIXED.capitalize()}: the paired bootstrap and permutation over clusters of clips"
        + (f", {settings.resamples:,} draws" if settings.resamples else "")
        + "; the noise of training is not in them, and a second run may say otherwise.",
    )
    return Table(name, tuple(rows), columns, None, "none", notes)


_KEYS = ("mean", "std", "n", "ci_low", "ci_high", "p")


def _shown(values: Mapping[str, Any]) -> list[str]:
    return [
        signed(values["difference"]) or NOTHING,
        interval(values["ci_low"], values["ci_high"]),
        shown_p(values["p"]),
        shown_p(values["p_corrected"]),
        number(values["detectable"]),
        interval(values["fixed_low"], values["fixed_high"]),
        shown_p(values["fixed_p"]),
    ]


def interval(low: float | None, high: float | None) -> str:
    """An interval of a difference."""
    return NOTHING if low is None or high is None else f"[{signed(low)}, {signed(high)}]"
