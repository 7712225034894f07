"""All benchmarks, and one table of them with the machine and the versions: `make bench`.

    python scripts/bench.py [--only features training] [--out outputs/bench] [--readme README.md] [--list]

Each benchmark is a script that can be run alone; here it runs in a process of its own, at a size at which all together
take less than 20 minutes on two cores. What fails or is not there leaves a row that says so, the others still run, and
the exit code is 1 where one failed or missed a target that it states.

Written are `bench.md`, `bench.json` and each script's output. `--readme` replaces what stands between the two comments
`<!-- bench -->` and `<!-- /bench -->` of a Markdown file with the table; with `--only`, that of these benchmarks alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import benching
from benching import Row

OPENING, CLOSING = "<!-- bench -->", "<!-- /bench -->"


@dataclass(frozen=True)
class Benchmark:
    """A script at a size.

    Attributes:
        name: what it is called by `--only`.
        title: its heading in the table.
        script: in this folder.
        words: its arguments.
        python: an environment of its own that has what it compares with; where it is not there, ours serves, and the
            script says what is missing.
        limit_s: seconds after which it is ended.
    """

    name: str
    title: str
    script: str
    words: tuple[str, ...] = ()
    python: str = ""
    limit_s: float = 600.0


ALL = (
    Benchmark("startup", "Start-up", "bench_startup.py"),
    Benchmark(
        "features", "Corpora and log-mel", "bench_features.py", ("--seconds", "120", "--tracks", "2000", "--turns", "5")
    ),
    Benchmark("memory", "Memory of extraction", "bench_feature_memory.py", ("--clips", "500", "4000")),
    Benchmark("large", "Large corpora", "bench_large_corpus.py", ("--rows", "18000", "--chunks", "300")),
    Benchmark(
        "augment",
        "Augmentations",
        "bench_augment.py",
        ("--seconds", "20", "--turns", "5"),
        ".venv-augment/bin/python",
    ),
    Benchmark("ddsp", "DDSP", "bench_ddsp.py", ("--turns", "5", "--batch", "2")),
    Benchmark("samplernn", "SampleRNN", "bench_samplernn.py", ("--batches", "64", "--samples", "128", "--turns", "5")),
    Benchmark("gans", "Networks for functionals", "bench_feature_gans.py", ("--turns", "5", "--steps", "15")),
    Benchmark("training", "Training loop", "bench_training.py", ("--turns", "9", "--steps", "8")),
    Benchmark("bootstrap", "Significance", "bench_bootstrap.py", ("--resamples", "800", "--turns", "5")),
    Benchmark("sweep", "Sweeps", "bench_sweep.py", limit_s=900.0),
)


def main() -> int:
    """Runs them one after the other; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [one.name for one in ALL]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("AUGRUN_OUTPUT") or "outputs") / "bench")
    parser.add_argument("--readme", type=Path, help="a Markdown file whose table is to be replaced")
    parser.add_argument("--from", dest="found", type=Path, help="a bench.json to write into --readme; runs nothing")
    parser.add_argument("--list", action="store_true", help="say what there is")
    given = parser.parse_args()
    if given.list:
        for one in ALL:
            print(f"{one.name:10s} {one.title:26s} scripts/{one.script} {' '.join(one.words)}".rstrip())
        return 0
    if given.found is not None:
        if given.readme is None:
            parser.error("--from: give --readme as well")
        insert(given.readme, text_of(json.loads(given.found.read_text())))
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    found = {"machine": benching.machine(), "benchmarks": []}
    began = time.perf_counter()
    for one in (one for one in ALL if one.name in given.only):
        print(f"{one.name}: {one.title} …", flush=True)
        start = time.perf_counter()
        rows, failed = run(one, given.out)
        entry = {"name": one.name, "title": one.title, "seconds": round(time.perf_counter() - start, 1)}
        found["benchmarks"].append({**entry, "failed": failed, "rows": [asdict(row) for row in rows]})
        found["seconds"] = round(time.perf_counter() - began, 1)
        (given.out / "bench.json").write_text(json.dumps(found, indent=1))  # each time: what follows may be stopped
        (given.out / "bench.md").write_text(text_of(found))
        print(benching.table(rows), flush=True)
    if given.readme is not None:
        insert(given.readme, text_of(found))
    return closing(found, given.out)


def run(one: Benchmark, out: Path) -> tuple[list[Row], bool]:
    """The rows of a benchmark, and whether it failed; what it prints is kept."""
    place, log = out / f"{one.name}.json", out / f"{one.name}.log"
    place.unlink(missing_ok=True)
    own = benching.ROOT / one.python
    python = str(own) if one.python and own.exists() else sys.executable
    command = [python, str(Path(__file__).parent / one.script), *one.words, "--json", str(place.resolve())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(benching.ROOT), os.environ.get("PYTHONPATH", "")])}
    with open(log, "w") as said:
        try:
            code = subprocess.run(
                command, stdout=said, stderr=subprocess.STDOUT, env=environment, cwd=benching.ROOT, timeout=one.limit_s
            ).returncode
            problem = f"ended with {code}" if code else ""
        except subprocess.TimeoutExpired:
            problem = f"took more than {one.limit_s:g} s and was stopped"
    if place.exists():
        return benching.read(place), False  # a target that is missed may be its exit code; the row says so
    lines = log.read_text(errors="replace").strip().splitlines()
    return [Row(one.title, note=f"failed: {problem}: {lines[-1] if lines else 'no word'}")], True


def text_of(found: dict) -> str:
    """The whole table in Markdown, machine and versions first."""
    told = found["machine"]
    machine = f"{told['processor']}, {told['cores']} cores, {told['memory']}, GPU: {told['GPU']}"
    leave_out = ("processor", "cores", "memory", "GPU", "system", "date", "load at the start")
    versions = ", ".join(f"{name} {value}" for name, value in told.items() if name not in leave_out)
    lines = [
        f"Measured on {told['date']} on {machine}, {told['system']}; load {told['load at the start']} at the start.",
        f"Versions: {versions}. All of it took {found['seconds'] / 60:.0f} minutes.",
        "Figures are medians of n turns, taken side by side; in brackets the least and the largest of the turns.",
    ]
    blocks = ["\n".join(lines)]
    for one in found["benchmarks"]:
        rows = [Row(**values) for values in one["rows"]]
        blocks.append(f"**{one['title']}** (`make bench ONLY={one['name']}`, {one['seconds']:.0f} s)")
        blocks.append(benching.table(rows))
    return "\n\n".join(blocks) + "\n"


def insert(path: Path, text: str) -> None:
    """Replaces what stands between the two comments of a file."""
    whole = path.read_text()
    if whole.count(OPENING) != 1 or whole.count(CLOSING) != 1 or whole.index(OPENING) > whole.index(CLOSING):
        sys.exit(f"{path}: needs {OPENING} and {CLOSING} once each, on lines of their own, around the table")
    before, rest = whole.split(OPENING)
    after = rest.split(CLOSING)[1]
    path.write_text(f"{before}{OPENING}\n\n{text}\n{CLOSING}{after}")


def closing(found: dict, out: Path) -> int:
    """Says what failed and what missed its target; the exit code."""
    rows = [Row(**values) for one in found["benchmarks"] for values in one["rows"]]
    failed = [one["name"] for one in found["benchmarks"] if one["failed"]]
    missed = [row.what for row in rows if row.met is False]
    print(f"{out / 'bench.md'}: {len(rows)} rows in {found['seconds'] / 60:.1f} minutes")
    _list("failed", failed)
    _list("missed the target", missed)
    _list("not measured", [f"{row.what}: {row.note}" for row in rows if row.ours is None])
    return int(bool(failed or missed))


def _list(what: str, names: Sequence[str]) -> None:
    if names:
        print(f"{what}: {'; '.join(names)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
