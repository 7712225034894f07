"""Conditions side by side: one table, rendered for people, papers and programs.

Every rendering says on which data its figures were measured: a stand-in must never pass for the real corpus.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from augrun.core.data_kinds import DATA_KINDS, MIXED

MULTILABEL = tuple(
    f"{metric}_{average}" for average in ("macro", "micro") for metric in ("f1_argmax", "f1_val", "pr_auc", "roc_auc")
)
SINGLE_LABEL = ("uar", "war", "f1_macro", "pr_auc_macro", "roc_auc_macro")

#: What every rendering says of each kind of data.
DATA = {
    **{name: kind.table for name, kind in DATA_KINDS.items()},
    MIXED: "Data: the rows were measured on different data; see the column `data` of the CSV.",
}
NOTHING = "–"

#: Means that are nearer than this are one: recalls of classes of one size, averaged, are not the accuracy to the bit.
EQUAL = 1e-9

#: What is said of rows whose trials share a generator.
ONCE = (
    "the generator was trained once a fold for all trials, so that ± and intervals over trials do not hold the noise "
    "of its training (trials.reseed_generator=true trains it anew)."
)

#: What a cell holds: of bare figures some are words, such as `Primed`.
Figure = float | int | str | None


@dataclass(frozen=True)
class Row:
    """One condition.

    Attributes:
        name: the row's name.
        condition: its choices, as in `results.json`.
        measured: for each column `mean`, `std`, `n`, `ci_low`, `ci_high` and `p`, null where there is none. Where
            figures are bare, `mean` may be a word.
        published: for each column the published value, null where there is none.
        fingerprint: of the condition.
        baseline: the fingerprint of the same condition without a generator.
    """

    name: str
    condition: Mapping[str, Any]
    measured: Mapping[str, Mapping[str, Any]]
    published: Mapping[str, Figure]
    fingerprint: str = ""
    baseline: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of conditions, columns of metrics.

    Attributes:
        name: e.g. `sweep` or `godwin2021_table3a`.
        rows: the conditions, in order.
        columns: the metrics, in order.
        reference: the name of the row that differences are counted from; None where there is none.
        highlight: `best` marks the highest mean of each column and dataset, `above_reference` what beats the reference.
        footnotes: what a reader must know.
        digits: decimals of figures that are no whole numbers.
        margin: with `above_reference`, by how much a figure must beat its reference, as a share of that.
        missing: rows that are not there yet; footnotes tell of them, and the CSV has a line without figures for each.
        metric: what all columns are, where they are no metrics themselves.
    """

    name: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    reference: str | None
    highlight: Literal["best", "above_reference", "none"] = "best"
    footnotes: tuple[str, ...] = ()
    digits: int = 3
    margin: float = 0.0
    missing: tuple[str, ...] = ()
    metric: str | None = None

    @staticmethod
    def of(
        name: str,
        results: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        columns: Sequence[str] | None = None,
        reference: str | None = None,
        sought: bool = True,
        highlight: Literal["best", "above_reference", "none"] = "best",
        published: Mapping[str, Mapping[str, float | None]] | None = None,
        footnotes: Sequence[str] = (),
        margin: float = 0.0,
    ) -> Table:
        """A table of stored results.

        Args:
            name: the table's name.
            results: each row's name and the content of its `results.json`.
            columns: metrics; by default those that suit the classes (single- or multi-label) and were measured.
            reference: a row's name; by default the first row without a generator.
            sought: whether there is that default.
            highlight: which figures stand out.
            published: published values by row and column.
            footnotes: further lines; with published values, how their data differ from the data measured on.
            margin: see `Table`.

        Raises:
            ValueError: there are no rows, a name is there twice, no row is called `reference`, or published values
                come without a footnote.
        """
        names = [row for row, _ in results]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"table {name}: rows must be there, and have names of their own: {names}")
        if reference is not None and reference not in names:
            raise ValueError(f"table {name}: no row is called {reference!r}, only {names}")
        if published and not footnotes:
            raise ValueError(f"table {name}: published values want a footnote that says how the data differ")
        if reference is None and sought:
            plain = [row for row, result in results if result["condition"].get("generator") == "none"]
            reference = plain[0] if plain else None
        columns = tuple(columns) if columns else _columns(results)
        rows = tuple(
            Row(
                row,
                dict(result["condition"]),
                {c: _measured(result, c) for c in columns},
                {c: ((published or {}).get(row) or {}).get(c) for c in columns},
                str(result.get("fingerprint", "")),
                str(result.get("baseline", "")),
            )
            for row, result in results
        )
        footnotes = (*provenance(rows, results), *footnotes)
        return Table(name, rows, columns, reference, highlight, footnotes, margin=margin)

    @property
    def data(self) -> str:
        """`standin`, `published`, `other`, or `mixed` where rows differ."""
        return common(row.condition.get("data", "other") for row in self.rows)

    @property
    def scale(self) -> str:
        """`demo`, `paper`, or `mixed` where rows differ."""
        return common(row.condition.get("scale", "demo") for row in self.rows)

    @property
    def plain(self) -> bool:
        """Whether figures are bare: counted or added up, not means over trials with a spread and a number."""
        return all(values["n"] is None for row in self.rows for values in row.measured.values())

    @property
    def has_words(self) -> bool:
        """Whether some cells are words. Such a table has no reference row, no differences and no highlight."""
        return any(isinstance(values["mean"], str) for row in self.rows for values in row.measured.values())

    def shown(self, value: Figure) -> str:
        """A figure as this table shows it; whole numbers and words as such."""
        if isinstance(value, str):
            return value
        return f"{value:,}" if self.plain and isinstance(value, int) else number(value, self.digits)

    def reference_of(self, row: Row) -> Row | None:
        """The row that `row` is compared with: without a generator, but else alike; None where there is none.

        The table's reference serves where dataset, protocol and scale agree, so that differences within one corpus
        are counted, never those between two. A table with words has none: words have no differences.
        """
        if self.has_words:
            return None
        if row.baseline:  # known exactly: conditions may differ in settings that their names do not tell
            return next((o for o in self.rows if o.fingerprint == row.baseline and o is not row), None)
        first = next((other for other in self.rows if other.name == self.reference), None)
        alike = ("dataset", "protocol", "scale", "data", "classifier", "representation")
        plain = [other for other in self.rows if other.condition.get("generator") == "none"]
        for candidate, keys in [(other, alike) for other in plain] + ([(first, alike[:4])] if first else []):
            if all(candidate.condition.get(key) == row.condition.get(key) for key in keys):
                return None if candidate is row else candidate
        return None

    def difference(self, row: Row, column: str) -> float | None:
        """The difference of the row's mean from that of its reference row."""
        reference = self.reference_of(row)
        if reference is None:
            return None
        weighed = (row.measured[column].get("difference") or {}).get("difference")
        if weighed is not None:  # of the trials that both have
            return float(weighed)
        mine, its = row.measured[column]["mean"], reference.measured[column]["mean"]
        return None if mine is None or its is None else mine - its

    def stands_out(self, row: Row, column: str) -> bool:
        """Whether the highlight rule marks this figure."""
        mean = row.measured[column]["mean"]
        if mean is None or self.highlight == "none" or self.has_words:
            return False
        if self.highlight == "above_reference":
            gain, reference = self.difference(row, column), self.reference_of(row)
            if gain is None or reference is None:
                return False
            return gain > EQUAL and gain >= self.margin * abs(reference.measured[column]["mean"] or 0.0)
        alike = [other for other in self.rows if all(_same(other, row, key) for key in ("dataset", "data", "scale"))]
        means = [other.measured[column]["mean"] for other in alike]
        present = [value for value in means if value is not None]
        return len(present) > 1 and mean >= max(present) - EQUAL

    def json(self) -> dict[str, Any]:
        """The table as plain data."""
        return {
            "name": self.name,
            "reference": self.reference,
            "data": self.data,
            "scale": self.scale,
            "rows": [
                {
                    "row": row.name,
                    "condition": dict(row.condition),
                    "published": dict(row.published),
                    "measured": {column: dict(values) for column, values in row.measured.items()},
                }
                for row in self.rows
            ],
            "footnotes": list(self.footnotes),
        }

    def csv(self) -> str:
        """One line a row; for each metric mean, std, n, interval, difference from the reference, p and published.

        `difference …` is of the difference as `augrun.evaluation.significance` has it, `difference p` before and `p`
        after the correction over rows.

        Of bare figures only `mean` and `published`.
        """
        of_difference = ("ci_low", "ci_high", "p", "detectable", "fixed_low", "fixed_high", "fixed_p")
        parts = ["mean", "std", "n", "ci_low", "ci_high", "difference", *(f"difference {key}" for key in of_difference)]
        parts += ["p", "published"]
        parts = ["mean", "published"] if self.plain else parts
        choices = list(dict.fromkeys(key for row in self.rows for key in row.condition))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", *choices, *(f"{column} {part}" for column in self.columns for part in parts)])
        for row in self.rows:
            line: list[Any] = [row.name, *(row.condition.get(key, "") for key in choices)]
            for column in self.columns:
                values = dict(row.measured[column])
                known = values.get("difference") or {}
                values |= {f"difference {key}": known.get(key) for key in of_difference}
                values |= {"difference": self.difference(row, column), "published": row.published[column]}
                line += ["" if values[part] is None else values[part] for part in parts]
            writer.writerow(line)
        width = 1 + len(choices) + len(self.columns) * len(parts)
        writer.writerows([name, *[""] * (width - 1)] for name in self.missing)
        return text.getvalue()


def _same(one: Row, other: Row, key: str) -> bool:
    return bool(one.condition.get(key) == other.condition.get(key))


def number(value: float | None, digits: int = 3) -> str:
    """A figure as tables show it."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def signed(value: float | None) -> str:
    """A difference, with its sign."""
    return "" if value is None else f"{value:+.3f}".replace("-", "−")


def shown_p(p: float | None) -> str:
    """A p as tables show it; never 0."""
    return NOTHING if p is None else "<.001" if p < 0.001 else number(p)


def _columns(results: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[str, ...]:
    """The metrics that suit the classes and that some row has."""
    wanted: list[str] = []
    for _, result in results:
        single = not result["multilabel"] if "multilabel" in result else "uar" in result["summary"]
        wanted += [column for column in (SINGLE_LABEL if single else MULTILABEL) if column in result["summary"]]
    return tuple(dict.fromkeys(wanted))


def _measured(result: Mapping[str, Any], column: str) -> dict[str, Any]:
    summary = result["summary"].get(column) or {}
    values = {key: summary.get(key) for key in ("mean", "std", "n", "ci_low", "ci_high")}
    return {key: None if value != value else value for key, value in values.items()} | {"p": None}  # nan is no number


def common(values: Iterable[Any]) -> str:
    """What all of them are, or `mixed`."""
    different = set(values)
    return different.pop() if len(different) == 1 else "mixed"


def provenance(rows: Sequence[Row], results: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """The footnotes that every table carries: the data, the scale, the trials."""
    data = common(row.condition.get("data", "other") for row in rows)
    lines = [DATA[data]]
    if data == "mixed" and any(result["condition"].get("data") == "standin" for _, result in results):
        lines.append("Some rows were measured on a rendered STAND-IN, not on the real corpus.")
    scale = common(row.condition.get("scale", "demo") for row in rows)
    sizes = {"demo": "reduced sizes for demonstration", "paper": "the published sizes"}
    lines.append(f"Scale: {scale}{f' ({sizes[scale]})' if scale in sizes else ''}.")
    trials = _counted("trial", [len({entry["trial"] for entry in result["trials"]}) for _, result in results])
    folds = _counted("fold", [len({entry["fold"] for entry in result["trials"]}) for _, result in results])
    mean_of = "" if folds == "1 fold" else f"; a trial's figure is the mean over {folds}"
    if trials == "1 trial":
        lines.append(f"1 trial, hence no spread over trials and no interval{mean_of}.")
    else:
        lines.append(f"Mean ± standard deviation over {trials}, with Student's interval over them{mean_of}.")
        alike = [row for row, result in results if _repeats(result["trials"])]
        if alike:
            lines.append(f"Nothing is drawn in {', '.join(alike)}: all trials are one, and its ± 0 says nothing.")
        lines += told((row, ONCE) for row, result in results if result.get("trained_once"))
    generated = [(row, result.get("generated") or {}) for row, result in results]
    return lines + told((row, note) for row, made in generated for note in made.get("notes", ()))


def _repeats(trials: Sequence[Mapping[str, Any]]) -> bool:
    """Whether several trials measured the very same."""
    of: dict[Any, list[Any]] = {}
    for entry in trials:
        of.setdefault(entry["fold"], []).append(entry["metrics"])
    return all(len(found) > 1 and all(one == found[0] for one in found) for found in of.values())


def told(notes: Iterable[tuple[str, str]]) -> list[str]:
    """Footnotes of (row, note): what is said of several rows is said once."""
    rows: dict[str, list[str]] = {}
    for row, note in notes:
        rows.setdefault(note, []).append(row)
    return [
        f"{('; ' if any(', ' in name for name in names) else ', ').join(names)}: {note}" for note, names in rows.items()
    ]


def _counted(what: str, counts: Sequence[int]) -> str:
    different = sorted(set(counts))
    return f"{' or '.join(map(str, different))} {what}{'' if different == [1] else 's'}"


#: How a table can be printed; all of them are written.
FORMATS = ("txt", "md", "csv", "tex", "json", "html")
