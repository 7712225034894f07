"""What the benchmarks share: turns, medians with their spread, rows of the table, and what machine they ran on.

A comparison is measured side by side in one run: all take turns, who begins changes from turn to turn, and a ratio is
the median of the turns' ratios. The spread is the least and the largest of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TURNS = 5

#: How a ratio is to be read.
FASTER, COST = "times as fast", "of its time"


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        what: was measured.
        ours: augrun's figure, median of the turns; None where nothing was measured.
        unit: of both figures, e.g. `s`, `clips/s`.
        against: what it is set beside; empty where it stands alone.
        reference: that one's figure.
        ratio: of both, to be read as `how` says.
        how: `FASTER` or `COST`.
        low: the least of the turns' ratios (of the turns' own figures, where there is no ratio).
        high: the largest.
        n: turns.
        target: a number that the ratio (the figure, where there is none) is to keep; None where none is stated.
        at_most: whether it is an upper bound.
        note: what else there is to say, e.g. why nothing was measured.
    """

    what: str
    ours: float | None = None
    unit: str = "s"
    against: str = ""
    reference: float | None = None
    ratio: float | None = None
    how: str = FASTER
    low: float | None = None
    high: float | None = None
    n: int = 0
    target: float | None = None
    at_most: bool = True
    note: str = ""

    @property
    def judged(self) -> float | None:
        """What the target is of."""
        return self.ours if self.ratio is None else self.ratio

    @property
    def met(self) -> bool | None:
        """Whether the target is kept; None without one."""
        if self.target is None or self.judged is None:
            return None
        return self.judged <= self.target if self.at_most else self.judged >= self.target


def turns(works: Mapping[str, Callable[[], float]], count: int = TURNS, warm: int = 1) -> dict[str, list[float]]:
    """What each work measures of itself, turn by turn; the first turns warm up and do not count."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(warm + count):
        for name in list(works)[:: -1 if turn % 2 else 1]:
            value = works[name]()
            if turn >= warm:
                found[name].append(value)
    return found


def seconds(work: Callable[[], object], rest: float = 0.0) -> Callable[[], float]:
    """A work that measures its own seconds.

    Args:
        work: what is done.
        rest: seconds to wait before it: threads of the turn before may spin on for a while.
    """

    def timed() -> float:
        time.sleep(rest)
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return timed


def row(
    what: str,
    ours: Sequence[float],
    reference: Sequence[float] = (),
    against: str = "",
    *,
    unit: str = "s",
    how: str = FASTER,
    rates: bool = False,
    **more: Any,
) -> Row:
    """A line of what the turns gave.

    Args:
        what: was measured.
        ours: a figure a turn.
        reference: the other's, of the same turns; none where ours stands alone.
        against: what it is set beside.
        unit: of the figures.
        how: how the ratio is read: `FASTER`, or `COST`.
        rates: whether the figures are rates (more is faster), not times.
        more: `target`, `at_most`, `note`.
    """
    if not reference:
        return Row(what, statistics.median(ours), unit, low=min(ours), high=max(ours), n=len(ours), **more)
    inverse = (how == FASTER) != rates
    ratios = [other / one if inverse else one / other for one, other in zip(ours, reference, strict=True)]
    middle = statistics.median(ratios)
    figures = statistics.median(ours), unit, against, statistics.median(reference)
    return Row(what, *figures, middle, how, min(ratios), max(ratios), len(ratios), **more)


def options(parser: argparse.ArgumentParser) -> None:
    """Adds what every benchmark takes."""
    parser.add_argument("--json", type=Path, help="write the rows here as well")


def leave(rows: Sequence[Row], place: Path | None) -> None:
    """Prints rows as a table, and writes them where the command line says."""
    print(table(rows), flush=True)
    if place is not None:
        place.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def read(place: Path) -> list[Row]:
    """Rows that a benchmark has left."""
    return [Row(**values) for values in json.loads(place.read_text())]


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| | augrun | beside it | | ratio | n | target |", "| --- | ---: | --- | ---: | --- | ---: | --- |"]
    return "\n".join([*lines, *(_line(row) for row in rows)])


def _line(row: Row) -> str:
    note = f" ({row.note})" if row.note and row.ours is not None else ""
    if row.ours is None:
        return f"| {row.what} | not measured | {row.note} | | | | |"
    spread = "" if row.low is None or row.n < 2 else f" ({number(row.low)} to {number(row.high)})"
    ours = f"{number(row.ours)} {row.unit}" + (spread if row.ratio is None else "")
    beside = "" if row.reference is None else f"{number(row.reference)} {row.unit}"
    ratio = "" if row.ratio is None else f"{number(row.ratio)}{spread} {row.how}"
    bound = "" if row.target is None else f"{'≤' if row.at_most else '≥'} {row.target:g}"
    kept = {None: "", True: ", met", False: ", **missed**"}[row.met]
    return f"| {row.what}{note} | {ours} | {row.against} | {beside} | {ratio} | {row.n} | {bound}{kept} |"


def number(value: float | None) -> str:
    """Three digits that count, whole numbers with commas."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def machine() -> dict[str, str]:
    """The machine and the versions, in words."""
    names = ("torch", "pytorch-lightning", "torchaudio", "numpy", "librosa", "soundfile", "mlflow-skinny", "mlflow")
    found = {"processor": _processor(), "cores": str(_cores()), "memory": _memory(), "GPU": _gpu() or "none"}
    found |= {"system": platform.platform(terse=True), "python": platform.python_version(), "augrun": _commit()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return found | {"load at the start": load, "date": time.strftime("%Y-%m-%d")}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> str:
    info = Path("/proc/meminfo")
    lines = info.read_text().splitlines() if info.exists() else []
    kib = next((int(line.split()[1]) for line in lines if line.startswith("MemTotal")), 0)
    return f"{kib / 2**20:.0f} GiB" if kib else "unknown"


def _gpu() -> str:
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else ""


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
        return done.stdout.strip() if not done.returncode else ""

    name = git("rev-parse", "--short", "HEAD") or "unknown"
    return f"{name} and changes" if git("status", "--porcelain", "-uno") else name
