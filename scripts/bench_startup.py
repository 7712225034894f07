"""How long the command line takes before it works: beside importing Hydra, in a fresh interpreter.

    python scripts/bench_startup.py [--turns 5]

`augrun --help` and `augrun --cfg job`; all take turns. What a finished command takes is in bench_sweep.py.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import benching
from benching import Row

HELP_S, COMPOSE_S = 0.5, 1.0


def main() -> None:
    """Takes turns and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=benching.TURNS)
    benching.options(parser)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        benching.leave(measured(Path(scratch), given.turns), given.json)


def measured(output: Path, turns: int) -> list[Row]:
    """The rows."""
    augrun = [sys.executable, "-m", "augrun"]
    works = {
        "help": [*augrun, "--help"],
        "compose": [*augrun, "--cfg", "job"],
        "hydra": [sys.executable, "-c", "import hydra"],
    }
    found = benching.turns({name: timed(output, command) for name, command in works.items()}, turns)
    against = "python -c 'import hydra'"
    return [
        benching.row("augrun --help", found["help"], target=HELP_S),
        benching.row("augrun --cfg job", found["compose"], target=COMPOSE_S),
        benching.row("augrun --cfg job", found["compose"], found["hydra"], against, how=benching.COST),
    ]


def timed(output: Path, command: list[str]) -> Callable[[], float]:
    """A work that measures the seconds of a command."""
    return benching.seconds(lambda: call(output, command))


def call(output: Path, command: list[str]) -> None:
    """Runs a command with its output in a folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AUGRUN_")}
    paths = [str(benching.ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    environment |= {"AUGRUN_OUTPUT": str(output), "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=output.parent)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")


if __name__ == "__main__":
    main()
