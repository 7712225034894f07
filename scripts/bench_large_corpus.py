"""Corpora of the size of MTG-Jamendo: memory and time of datasets and of the index of files, without their bytes.

    python scripts/bench_large_corpus.py [--tracks 18000] [--minutes 4] [--rows 18000 56000] [--chunks 1200]

The features are sparse files: log-mel of 18,000 tracks of 4 minutes is 78 GB of zeros that take no disk. They are
opened as a run opens them, in the parts in which they would be extracted, and read through the classifier's own dataset
and loader, in shuffled order. Each figure comes from a process of its own: seconds from opening to the first batch,
memory after it, chunks a second, and the most memory after many chunks, over what torch takes by itself. Beside them
stands the same loader over arrays that lie in memory, as far as a small corpus goes.

The index is asked for so many files (links to a short one), all known: seconds and memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import benching
import numpy as np
from benching import Row

BANDS, FRAMES_A_S, SEEN = 96, 12000 / 256, 4096  # logmel_jamendo; frames that the classifier sees
BATCH = 8
MIB = 1 << 20


def main() -> None:
    """Makes the files and measures each figure in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=18_000)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--rows", type=int, nargs="*", default=[18_000, 56_000], help="files in the index")
    parser.add_argument("--chunks", type=int, default=1_200, help="to read")
    parser.add_argument("--turns", type=int, default=benching.TURNS)
    benching.options(parser)
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--which", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.within is not None:
        work = {"mapped": loaded, "held": loaded, "index": indexed}[given.which]
        print(json.dumps(work(given.within, given.which, given.chunks)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        rows = [*datasets(Path(scratch), given), *indexes(Path(scratch), given)]
    benching.leave(rows, given.json)


def child(folder: Path, which: str, given: argparse.Namespace) -> dict[str, float]:
    """The figures of one process."""
    command = [sys.executable, __file__, "--within", str(folder), "--which", which, "--chunks", str(given.chunks)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def datasets(scratch: Path, given: argparse.Namespace) -> Iterator[Row]:
    """Reading features through dataset and loader."""
    folder = scratch / "features"
    bytes_ = sparse(folder, given.tracks, round(60 * given.minutes * FRAMES_A_S) + 1)
    found: dict[str, list[dict[str, float]]] = {"mapped": [], "held": []}
    for turn in range(given.turns):
        for which in list(found)[:: -1 if turn % 2 else 1]:
            found[which].append(child(folder, which, given))
    mapped, held = ({key: [one[key] for one in each] for key in each[0]} for each in found.values())
    size = f"{given.tracks:,} tracks of {given.minutes:g} minutes ({bytes_ / 1e9:.0f} GB of features)"
    seen = f"{BATCH} × {SEEN} frames"
    yield benching.row(f"from opening {size} to the first batch of {seen}", mapped["first_s"])
    yield benching.row("memory that this takes", mapped["first_mib"], unit="MiB")
    bound = mapped["kept_mib"][0] + 128
    what = f"the most memory after {given.chunks:,} chunks ({given.chunks * SEEN * BANDS * 4 / 1e9:.1f} GB read)"
    yield benching.row(what, mapped["peak_mib"], unit="MiB", target=bound)
    against = "the same from arrays in memory"
    yield benching.row(
        f"random chunks of {SEEN} frames, first pass", mapped["chunks_a_s"], held["chunks_a_s"], against,
        unit="chunks a s", rates=True, how=benching.COST,
    )  # fmt: skip
    what, against = "a second pass over the same chunks", "the first pass"
    more: dict[str, Any] = {"unit": "chunks a s", "rates": True, "how": benching.COST}
    yield benching.row(what, mapped["again_a_s"], mapped["chunks_a_s"], against, **more)


def sparse(folder: Path, tracks: int, frames: int) -> int:
    """Features of so many tracks of so many frames in parts, as a run leaves them, all zeros; their bytes."""
    from augrun.core.store import sharded_stages
    from augrun.features.writing import DATA, INDEX, MARKER

    parts = sharded_stages.parted(np.full(tracks, frames / FRAMES_A_S))
    names = []
    for number, places in enumerate(parts):
        part = folder / sharded_stages.PARTS / f"{number:04d}"
        part.mkdir(parents=True)
        names.append(f"{sharded_stages.PARTS}/{number:04d}")
        index = np.stack([np.arange(len(places)) * frames, np.full(len(places), frames)], axis=1).astype(np.int64)
        np.save(part / INDEX, index)
        with open(part / DATA, "wb") as file:
            os.truncate(file.fileno(), len(places) * frames * BANDS * 4)
        (part / MARKER).write_text(json.dumps({"schema": 1, "clips": len(places), "bands": BANDS, "key": "bench"}))
    marker = {"schema": 1, "clips": tracks, "bands": BANDS, "parts": names}
    (folder / MARKER).write_text(json.dumps(marker))
    return tracks * frames * BANDS * 4


def loaded(folder: Path, which: str, chunks: int) -> dict[str, float]:
    """Reads chunks through the classifier's dataset, twice."""
    import torch
    from torch.utils.data import DataLoader

    from augrun.classifiers.mobilenetv2_attention.training import Clips
    from augrun.core.training.batching import EpochSampler
    from augrun.features.cache import Features
    from augrun.features.examples import Examples
    from augrun.features.mapped import KEPT_BYTES

    before, start = status("VmRSS"), time.perf_counter()
    if which == "mapped":
        features = Features.open(folder)
    else:
        rows = [np.zeros((SEEN, BANDS), np.float32) for _ in range(64)]
        features = Features.from_arrays(rows).select(np.arange(chunks) % len(rows))
    targets = np.zeros((len(features), 56), np.float32)
    data = Clips(Examples(features, targets, True), SEEN, 100.0)
    sampler = EpochSampler(len(data), chunks, 0)
    loader = DataLoader(data, batch_size=BATCH, sampler=sampler, generator=torch.Generator())
    batches = iter(loader)
    next(batches)
    first_s, first = time.perf_counter() - start, status("VmRSS")
    rates = []
    for _ in range(2):
        start, count = time.perf_counter(), 0
        for batch in batches:
            count += len(batch[0])
        rates.append(count / (time.perf_counter() - start))
        batches = iter(loader)
    found = {"first_s": first_s, "first_mib": (first - before) / MIB, "kept_mib": KEPT_BYTES / MIB}
    return found | {"peak_mib": (status("VmHWM") - before) / MIB, "chunks_a_s": rates[0], "again_a_s": rates[1]}


def indexes(scratch: Path, given: argparse.Namespace) -> Iterator[Row]:
    """Asking the index of files."""
    from augrun.corpora.index import Index

    for count in given.rows:
        folder = scratch / f"{count} files"
        names = files(folder, count)
        start = time.perf_counter()
        Index(folder / "index", workers=os.cpu_count() or 1).lookup(folder, names)
        first = time.perf_counter() - start
        found = [child(folder, "index", given) for _ in range(given.turns)]
        note = f"{first:.1f} s when none was known"
        yield benching.row(f"asking the index for {count:,} known files", [one["s"] for one in found], note=note)
        yield benching.row("the most memory that this takes", [one["mib"] for one in found], unit="MiB")


def files(folder: Path, count: int) -> list[str]:
    """Links to one short file; their names."""
    import soundfile

    folder.mkdir()
    soundfile.write(folder / "one.wav", np.zeros(800, np.int16), 16000)
    names = []
    for number in range(count):
        place = folder / f"{number % 100:02d}" / f"{number}.wav"
        place.parent.mkdir(exist_ok=True)
        if number and number % 60_000 == 0:  # a file system allows so many links to a file
            raise SystemExit("--rows: 60,000 files at most")
        os.link(folder / "one.wav", place)
        names.append(f"{number % 100:02d}/{number}.wav")
    (folder / "names.json").write_text(json.dumps(names))
    return names


def indexed(folder: Path, which: str, chunks: int) -> dict[str, float]:
    """Asks for all files, which are known."""
    from augrun.corpora.index import Index

    names = json.loads((folder / "names.json").read_text())
    before, start = status("VmRSS"), time.perf_counter()
    facts = Index(folder / "index").lookup(folder, names)
    assert all(fact.error is None for fact in facts)
    return {"s": time.perf_counter() - start, "mib": (status("VmHWM") - before) / MIB}


def status(name: str) -> int:
    """A figure of this process's memory, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()
