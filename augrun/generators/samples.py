"""Generated samples as a Corpus: what a samples stage holds, and how it is read back.

requests.parquet    the request table, one row a sample
<sample_id>.wav     the samples, where they are sounds
features/           the samples, where they are features (`augrun.features.cache`), in the requests' order
durations.json      seconds of each sample as it came out
replaced.json       recorded clips that the samples stand in for in the training set
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from augrun.core import audio
from augrun.core.errors import AugrunError
from augrun.core.files import write_text
from augrun.corpora.corpus import COLUMNS, Corpus
from augrun.generators.requests import GenerationPlan, PrimeRequirements

REQUESTS, DURATIONS, FEATURES, REPLACED = "requests.parquet", "durations.json", "features", "replaced.json"


def commit(folder: Path, plan: GenerationPlan, generator: str, needs: PrimeRequirements) -> dict[str, Any]:
    """Checks that every sample is there and sounds, and writes the tables beside them.

    Args:
        folder: with the samples.
        plan: what was asked for.
        generator: its name.
        needs: what it wanted of a request.

    Returns:
        The stage's summary, see `account`.

    Raises:
        AugrunError: samples are missing or cannot be read.
    """
    sounds: dict[str, audio.AudioInfo] = {}
    problems: list[str] = []
    for sample_id in plan.requests["sample_id"]:
        try:
            sounds[sample_id] = audio.probe(folder / f"{sample_id}.wav")
        except AugrunError as error:
            problems.append(str(error))
    if problems:
        raise AugrunError(
            f"{generator}: {len(problems)} of {len(plan.requests)} samples were not made, first: {problems[0]}"
        )
    durations = {sample_id: sound.seconds for sample_id, sound in sounds.items()}
    _write_tables(folder, plan, durations)
    rates = sorted({sound.sample_rate for sound in sounds.values()})
    return account(plan, needs, list(durations.values()), rates)


def commit_features(
    folder: Path,
    plan: GenerationPlan,
    generator: str,
    needs: PrimeRequirements,
    seconds_of: Callable[[int], float] | None,
) -> dict[str, Any]:
    """The same for a generator that leaves features: one matrix a request, in their order.

    Args:
        folder: with the features.
        plan: what was asked for.
        generator: its name.
        needs: what it wanted of a request.
        seconds_of: seconds that so many frames are; None for vectors, which are as long as was asked for.

    Raises:
        AugrunError: features are missing, or not finite.
    """
    from augrun.features.cache import Features

    made = Features.open(folder / FEATURES) if len(plan.requests) else []
    if len(made) != len(plan.requests):
        raise AugrunError(f"{generator}: {len(made)} of {len(plan.requests)} samples were made")
    broken = [name for name, matrix in zip(plan.requests["sample_id"], made, strict=True) if not _finite(matrix)]
    if broken:
        raise AugrunError(f"{generator}: {len(broken)} of {len(made)} samples are not finite, first: {broken[0]}")
    asked = plan.requests["seconds"].tolist()
    seconds = asked if seconds_of is None else [seconds_of(len(matrix)) for matrix in made]
    durations = dict(zip(plan.requests["sample_id"], seconds, strict=True))
    _write_tables(folder, plan, durations)
    return account(plan, needs, list(durations.values()), [])


def _finite(matrix: np.ndarray) -> bool:
    return bool(np.isfinite(matrix).all())


def _write_tables(folder: Path, plan: GenerationPlan, durations: dict[str, float]) -> None:
    table = plan.requests.copy()
    table["labels"] = [list(labels) for labels in table["labels"]]
    table.to_parquet(folder / REQUESTS)
    write_text(folder / REPLACED, json.dumps(list(plan.replaced)))
    write_text(folder / DURATIONS, json.dumps(durations))


def replaced(folder: Path) -> list[str]:
    """Ids of the recorded clips that the samples of a finished stage stand in for."""
    return list(json.loads((folder / REPLACED).read_text(encoding="utf-8")))


def account(
    plan: GenerationPlan, needs: PrimeRequirements, seconds: Sequence[float], rates: Sequence[int]
) -> dict[str, Any]:
    """What was made, as Godwin et al. 2021 tell it in section IV-A and Table II.

    Args:
        plan: what was asked for.
        needs: what the generator wanted of a request.
        seconds: of each sample as it came out.
        rates: the sample rates found, Hz.

    Returns:
        `clips`, `seconds`, `seconds_per_class_asked`, `shortfalls` (seconds for which there was no prime, by class),
        `type` (`primed`, `reconstructed` or `unprimed`), `sample_s` and `prime_s` (`mean`, `min`, `max` in seconds;
        null without primes), `sample_rates` in Hz, `clips_per_class` (by number of the class), and `reused`: samples
        whose prime's window had primed another one of its class before.
    """
    table = plan.requests
    windows = table[["label", "prime_clip", "prime_start_s"]]
    return {
        "clips": len(table),
        "seconds": round(sum(seconds), 3),
        "seconds_per_class_asked": round(plan.seconds_per_class, 3),
        "shortfalls": {name: round(missing, 3) for name, missing in plan.shortfalls.items()},
        "type": ("reconstructed" if needs.reconstructs else "primed") if needs.primed else "unprimed",
        "sample_s": _spread(seconds),
        "prime_s": _spread(table["prime_s"].tolist()) if needs.primed else None,
        "sample_rates": list(rates),
        "clips_per_class": {str(label): int(n) for label, n in table["label"].value_counts(sort=False).items()},
        "reused": int(windows.duplicated().sum()) if needs.primed else 0,
    }


def _spread(seconds: Sequence[float]) -> dict[str, float] | None:
    if not len(seconds):
        return None
    found = {"mean": sum(seconds) / len(seconds), "min": min(seconds), "max": max(seconds)}
    return {name: round(float(value), 3) for name, value in found.items()}


def requests(folder: Path) -> pd.DataFrame:
    """The request table of a samples stage."""
    return pd.read_parquet(folder / REQUESTS)


def load(folder: Path, generator: str, train: Corpus) -> Corpus:
    """The samples of a finished samples stage, with the classes of the train part they were made from."""
    durations = json.loads((folder / DURATIONS).read_text(encoding="utf-8"))
    sounds = not (folder / FEATURES).is_dir()
    rows = [
        {
            "clip_id": f"{generator}/{folder.name}/{request.sample_id}",
            "path": str(folder / f"{request.sample_id}.wav") if sounds else "",
            "start_s": 0.0,
            "end_s": durations[request.sample_id],
            "duration_s": durations[request.sample_id],
            "labels": tuple(int(label) for label in request.labels),
            "split": "train",
            "speaker": "",
            "session": "",
            "utterance": f"{generator}/{folder.name}/{request.sample_id}",
            "cluster": f"{generator}/{request.prime_clip or request.sample_id}",
            "origin": generator,
            "primed_by": f"{request.prime_clip}@{request.prime_start_s:.3f}" if request.prime_clip else "",
            "digest": f"{folder.name}/{request.sample_id}",
        }
        for request in requests(folder).itertuples(index=False)
    ]
    return Corpus(generator, pd.DataFrame(rows, columns=list(COLUMNS)), train.label_set, train.data)
