"""Generated samples as a Corpus: what a samples stage holds, and how it is read back.

requests.parquet    the request table, one row a sample
<sample_id>.wav     the samples
durations.json      seconds of each sample as it came out
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from augrun import audio
from augrun.corpora.corpus import COLUMNS, Corpus
from augrun.errors import AugrunError
from augrun.policies import Plan
from augrun.stages import write_text

REQUESTS, DURATIONS = "requests.parquet", "durations.json"


def commit(folder: Path, plan: Plan, generator: str) -> dict[str, Any]:
    """Checks that every sample is there and sounds, and writes the tables beside them.

    Returns:
        The stage's summary: clips, seconds, and the seconds for which there was no prime.

    Raises:
        AugrunError: samples are missing or cannot be read.
    """
    durations: dict[str, float] = {}
    problems: list[str] = []
    for sample_id in plan.requests["sample_id"]:
        try:
            durations[sample_id] = audio.probe(folder / f"{sample_id}.wav").seconds
        except AugrunError as error:
            problems.append(str(error))
    if problems:
        raise AugrunError(
            f"{generator}: {len(problems)} of {len(plan.requests)} samples were not made, first: {problems[0]}"
        )
    table = plan.requests.copy()
    table["labels"] = [list(labels) for labels in table["labels"]]
    table.to_parquet(folder / REQUESTS)
    write_text(folder / DURATIONS, json.dumps(durations))
    return {
        "clips": len(table),
        "seconds": round(sum(durations.values()), 3),
        "seconds_per_class_asked": round(plan.seconds_per_class, 3),
        "shortfalls": {name: round(seconds, 3) for name, seconds in plan.shortfalls.items()},
    }


def requests(folder: Path) -> pd.DataFrame:
    """The request table of a samples stage."""
    return pd.read_parquet(folder / REQUESTS)


def load(folder: Path, generator: str, train: Corpus) -> Corpus:
    """The samples of a finished samples stage, with the classes of the train part they were made from."""
    durations = json.loads((folder / DURATIONS).read_text(encoding="utf-8"))
    rows = [
        {
            "clip_id": f"{generator}/{folder.name}/{request.sample_id}",
            "path": str(folder / f"{request.sample_id}.wav"),
            "start_s": 0.0,
            "end_s": durations[request.sample_id],
            "duration_s": durations[request.sample_id],
            "labels": tuple(int(label) for label in request.labels),
            "split": "train",
            "speaker": "",
            "session": "",
            "utterance": f"{generator}/{folder.name}/{request.sample_id}",
            "cluster": f"{generator}/{request.prime_clip}",
            "origin": generator,
            "primed_by": f"{request.prime_clip}@{request.prime_start_s:.3f}",
            "digest": f"{folder.name}/{request.sample_id}",
        }
        for request in requests(folder).itertuples(index=False)
    ]
    return Corpus(generator, pd.DataFrame(rows, columns=list(COLUMNS)), train.label_set, train.data)
