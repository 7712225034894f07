"""What generators really made: kind, length, prime and rate of their samples, and how much of it.

The columns of Table II of Godwin et al. 2021, and the amounts of their section IV-A.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from augrun.reports.tables import DATA, Figure, Row, Table, told

TYPE, LENGTH, PRIME, RATE = "Sample type", "Sample length (s)", "Prime length (s)", "Sample rate (kHz)"
PER_CLASS, SECONDS, HOURS, SHARE = "Samples a class", "Seconds a class", "Hours", "% of train part"

#: The table's columns; those of Table II come first.
COLUMNS = (TYPE, LENGTH, PRIME, RATE, PER_CLASS, SECONDS, HOURS, SHARE)

#: As the paper writes them.
TYPES = {"primed": "Primed", "reconstructed": "Recons", "unprimed": "Unprimed"}
NOT_APPLICABLE = "n/a"


def figures_of(made: Mapping[str, Any]) -> dict[str, Figure]:
    """A condition's figures by column.

    Args:
        made: `generated` of a `results.json` (`augrun.evaluation.results.generated_account`).
    """
    prime = made["prime_s"]["mean"] if made["prime_s"] and made["type"] == "primed" else NOT_APPLICABLE
    rates = made["sample_rates"]
    counts = [count for count in made["clips_per_class"].values() if count]  # balancing leaves the largest class out
    seconds = [made["seconds_per_class"][name] for name, count in made["clips_per_class"].items() if count]
    return {
        TYPE: TYPES[made["type"]],
        LENGTH: _whole(made["sample_s"]["mean"]) if made["sample_s"] else None,
        PRIME: prime if isinstance(prime, str) else _whole(prime),
        RATE: _whole(rates[0] / 1000) if len(rates) == 1 else _and(rates),
        PER_CLASS: _whole(sum(counts) / max(1, len(counts))),
        SECONDS: _whole(sum(seconds) / max(1, len(counts))),
        HOURS: made["seconds"] / 3600,
        SHARE: 100 * made["share_of_train"],
    }


def _and(rates: Sequence[int]) -> str:
    return " and ".join(f"{rate / 1000:g}" for rate in rates) or NOT_APPLICABLE


def _whole(value: float) -> float | int:
    """Whole numbers as such, which tables show without decimals."""
    return int(value) if float(value).is_integer() else value


def table(
    name: str,
    rows: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]],
    published: Mapping[str, Mapping[str, Any]] | None = None,
    footnotes: Sequence[str] = (),
    columns: Sequence[str] = COLUMNS,
) -> Table:
    """The table.

    Args:
        name: of it.
        rows: each row's name, its condition (`dataset`, `generator`, `scale`, `data`, …) and its `generated`.
        published: published values by row and column.
        footnotes: how the data differ from those published.
        columns: of `COLUMNS`.
    """
    nothing = dict.fromkeys(("std", "n", "ci_low", "ci_high", "p"))
    made = []
    for row, condition, generated in rows:
        found = figures_of(generated)
        measured = {column: {"mean": found[column], **nothing} for column in columns}
        made.append(
            Row(row, dict(condition), measured, {c: ((published or {}).get(row) or {}).get(c) for c in columns})
        )
    kinds = {condition.get("data", "other") for _, condition, _ in rows}
    scales = {condition.get("scale") for _, condition, _ in rows}
    notes = [DATA[kinds.pop() if len(kinds) == 1 else "mixed"]]
    notes += ["Scale: demo: samples and primes are shorter than the published ones."] if "demo" in scales else []
    notes += told((row, note) for row, _, generated in rows for note in _notes(generated))
    digits = 1 if max(generated["seconds"] for _, _, generated in rows) >= 36000 else 3
    return Table(name, tuple(made), tuple(columns), None, "none", (*notes, *footnotes), digits)


def _notes(made: Mapping[str, Any]) -> list[str]:
    """What the means hide: lengths that differ, windows used again, classes that were short of primes."""
    notes = list(made["notes"])
    spread = made["sample_s"]
    if spread and spread["max"] - spread["min"] > 0.01:
        notes.append(f"samples are {spread['min']:.2f} to {spread['max']:.2f} s long.")
    if made["reused"]:
        notes.append(f"{made['reused']:g} samples were primed by a window that primed another of their class.")
    if made["shortfalls"]:
        missing = sum(made["shortfalls"].values())
        notes.append(f"{len(made['shortfalls'])} classes ran out of windows; {missing:.0f} s are missing.")
    return notes
