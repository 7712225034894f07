"""What a sweep costs beside the work of its stages, what it costs again, and what one more generator adds.

    python scripts/bench_sweep.py [--turns 1] [--repeats 5] [--added noise signal samplernn] [overrides]

The demonstration sweep, `augrun -m generator=none,copy,ddsp` on the rendered stand-in, into a fresh output folder each
turn. Its overhead is its wall time over the seconds that its stages took (`cost` in their manifests; what a stage
called for is counted there). Then one generator more at a time, wall time over the seconds of the stages that came
with it; and a finished sweep of 14 jobs (two generators, seven shares) again.

Further words are overrides of all sweeps, for a smaller one: `trials.count=1`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import benching
from bench_startup import call
from benching import Row

GENERATORS = ("none", "copy", "ddsp")
ADDED = ("samplernn",)
#: Fourteen jobs, as much of two generators as seven shares of the train part, each of the least training.
MANY = (
    *("dataset=iemocap", "generator=copy,shuffled", "policy.fraction=0.05,0.1,0.15,0.2,0.25,0.3,0.35"),
    *("representation=is10", "classifier=svm", "protocol=holdout", "trials.count=1"),
    *("trainer=cpu", "significance.resamples=0"),
)
OVERHEAD, REPEAT_S, EXTENSION = 1.10, 20.0, 1.10


def main() -> None:
    """Runs the sweeps and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=1, help="of the whole sweep")
    parser.add_argument("--repeats", type=int, default=benching.TURNS, help="of the finished 14 jobs")
    parser.add_argument("--added", nargs="*", default=list(ADDED), help="generators to add, one at a time")
    parser.add_argument("--many", action=argparse.BooleanOptionalAction, default=True, help="the 14 jobs as well")
    benching.options(parser)
    given, words = parser.parse_known_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        outputs = [Path(scratch) / str(turn) for turn in range(given.turns)]
        walls, works = zip(*(measured(output, GENERATORS, words) for output in outputs), strict=True)
        what = f"augrun -m generator={','.join(GENERATORS)}, wall time"
        rows += [beside(what, walls, works, OVERHEAD)]
        there, extended = list(GENERATORS), []
        for generator in given.added:
            there.append(generator)
            extended.append(measured(outputs[0], there, words))
        if extended:
            walls, works = zip(*extended, strict=True)
            what = f"one generator more ({', '.join(given.added)}), wall time"
            rows += [beside(what, walls, works, EXTENSION, "median over the generators")]
        if given.many:
            rows += [many(Path(scratch) / "many", given.repeats)]
    benching.leave(rows, given.json)


def beside(what: str, walls: Sequence[float], works: Sequence[float], target: float, note: str = "") -> Row:
    """Wall time beside the seconds of the stages that were done in it."""
    against = "the stages' own work"
    return benching.row(what, walls, works, against, how=benching.COST, target=target, note=note)


def measured(output: Path, generators: Sequence[str], words: Sequence[str]) -> tuple[float, float]:
    """Seconds of a sweep, and the own seconds of the stages that it added to the store."""
    before = stages(output)
    start = time.perf_counter()
    call(output, [sys.executable, "-m", "augrun", "-m", f"generator={','.join(generators)}", *words])
    wall = time.perf_counter() - start
    return wall, sum(own for name, own in stages(output).items() if name not in before)


def stages(output: Path) -> dict[str, float]:
    """The own seconds of every stage in a store."""
    found = {}
    for path in (output / "store").glob("*/*/stage.json"):
        manifest = json.loads(path.read_text())
        share = float(manifest["summary"].get("share_of_seconds", 0.0))  # of what was trained together
        found[str(path.parent)] = float(manifest["cost"]["own_seconds"]) + share
    return found


def many(output: Path, repeats: int) -> Row:
    """A finished sweep of 14 jobs again."""
    command = [sys.executable, "-m", "augrun", "-m", *MANY]
    call(output, command)
    found = [benching.seconds(lambda: call(output, command))() for _ in range(repeats)]
    return benching.row("a finished sweep of 14 jobs (2 generators × 7 shares) again", found, target=REPEAT_S)


if __name__ == "__main__":
    main()
