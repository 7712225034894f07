"""Does memory stay flat however long the corpus? Peak resident memory of log-mel extraction at 1,000 and 10,000 clips.

    python scripts/bench_feature_memory.py [--clips 1000 10000] [--seconds 4] [--workers 2]

Renders 20 sound files, points that many rows at them, and extracts each corpus in a process of its own. Peak resident
memory is the kernel's `VmHWM`.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import benching
import numpy as np
import pandas as pd
import soundfile

from augrun.core.job import Hardware
from augrun.corpora.corpus import COLUMNS, Corpus, LabelSet
from augrun.features.logmel import LogMel

FILES = 20
RATE = 44100


def corpus(folder: Path, clips: int) -> Corpus:
    """`clips` rows over the rendered files."""
    table = pd.DataFrame({name: [""] * clips for name in COLUMNS})
    table["clip_id"] = [f"clip-{row:05d}" for row in range(clips)]
    table["digest"] = table["clip_id"]
    table["path"] = [str(folder / f"{row % FILES}.flac") for row in range(clips)]
    table["start_s"], table["end_s"], table["duration_s"] = 0.0, math.nan, 1.0
    table["labels"] = [(0,)] * clips
    return Corpus(f"{clips} clips", table, LabelSet(("any",)))


def peak_mib() -> float:
    """Peak resident memory of this process so far, MiB."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def measure(folder: Path, clips: int, workers: int) -> None:
    """Extracts in this process and prints clips, MiB before, at most and of the data, and milliseconds a clip."""
    mel = LogMel()
    mel.extract(corpus(folder, 2 * workers), folder / "warm", Hardware(workers=workers, progress=False))
    before, began = peak_mib(), time.perf_counter()
    hardware = Hardware(workers=workers, progress=False)
    features = mel.extract(corpus(folder, clips), folder / f"features-{clips}", hardware)
    seconds, peak = time.perf_counter() - began, peak_mib()
    size = features.frames.sum() * features.bands * 4 / 2**20
    print(f"{clips} {before} {peak} {size} {seconds / clips * 1000}", flush=True)


def main() -> None:
    """Renders the files and measures each size in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each clip")
    parser.add_argument("--workers", type=int, default=2)
    benching.options(parser)
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.within:
        measure(given.within, given.clips[0], given.workers)
        return
    with tempfile.TemporaryDirectory() as name:
        noise = np.random.default_rng(0)
        for file in range(FILES):
            samples = 0.1 * noise.standard_normal((int(RATE * given.seconds), 2))
            soundfile.write(Path(name) / f"{file}.flac", samples, RATE)
        rows = []
        for clips in given.clips:
            options = ["--within", name, "--workers", str(given.workers), "--clips", str(clips)]
            done = subprocess.run([sys.executable, __file__, *options], check=True, stdout=subprocess.PIPE, text=True)
            _, before, peak, size, each = map(float, done.stdout.split())
            note = f"{before:.0f} MiB before it; {size:.0f} MiB of features; {each:.1f} ms a clip"
            what = f"peak memory while {clips:,} clips of {given.seconds:g} s become log-mel"
            rows.append(benching.row(what, [peak], unit="MiB", note=note))
        benching.leave(rows, given.json)


if __name__ == "__main__":
    main()
