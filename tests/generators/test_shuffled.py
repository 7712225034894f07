"""Right samples with wrong labels."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from augrun.core.errors import AugrunError
from augrun.core.job import Job
from augrun.generators.copy import Copy
from augrun.generators.requests import REQUEST_COLUMNS, GenerationInputs
from augrun.generators.shuffled import Shuffled, donors

NAMES = tuple("abcdefgh")


def requests_of(labels: list[tuple[int, ...]], paths: list[Path] | None = None) -> pd.DataFrame:
    """A request a clip, of its first class."""
    rows = [
        (f"{of[0]:03d}-{at:05d}", of[0], of[:1], 1.0, f"clip{at}", str(paths[at]) if paths else "", 0.0, 1.0, at)
        for at, of in enumerate(labels)
    ]
    return pd.DataFrame(rows, columns=list(REQUEST_COLUMNS))


def classes_of(labels: list[tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {f"clip{at}": of for at, of in enumerate(labels)}


@pytest.mark.parametrize("counts", [[5, 5], [3, 1, 2, 6], [1, 7, 9], [4] * 8])
def test_every_prime_serves_once_and_none_in_its_class(counts: list[int]) -> None:
    labels = [(label,) for label, count in enumerate(counts) for _ in range(count)]
    requests = requests_of(labels).sample(frac=1.0, random_state=0)
    given = donors(requests, classes_of(labels), NAMES, 1)
    own = requests["label"].to_numpy()
    if 2 * max(counts) <= sum(counts):
        assert sorted(given) == list(range(len(labels)))
    assert (own[given] != own).all()
    assert given.tolist() == donors(requests, classes_of(labels), NAMES, 1).tolist()
    assert given.tolist() != donors(requests, classes_of(labels), NAMES, 2).tolist()


def test_a_class_of_more_than_half_draws_the_others_again() -> None:
    labels = [(0,)] * 9 + [(1,)] * 2
    given = donors(requests_of(labels), classes_of(labels), NAMES, 0)
    assert set(given[:9]) == {9, 10} and set(given[9:]) <= set(range(9))
    with pytest.raises(AugrunError, match="every clip that primes a sample carries a: none can be called so wrongly"):
        donors(requests_of(labels[:9]), classes_of(labels), NAMES, 0)


def test_clips_of_several_classes_at_twenty_thousand_requests() -> None:
    rng = np.random.default_rng(0)
    labels = [tuple(rng.permutation(8)[: rng.integers(1, 4)].tolist()) for _ in range(20_000)]
    requests = requests_of(labels)
    requests["labels"] = labels  # as policy.inherit=all has it
    began = time.process_time()
    given = donors(requests, classes_of(labels), NAMES, 0)
    assert time.process_time() - began < 5.0
    assert not any(set(labels[other]) & set(own) for own, other in zip(labels, given, strict=True))
    assert np.bincount(given).max() < 40


def test_sounds_are_others_whole_and_files_that_are_there_stay(tmp_path: Path) -> None:
    labels = [(row % 3,) for row in range(9)]
    paths = [tmp_path / f"{row}.wav" for row in range(9)]
    for row, path in enumerate(paths):
        soundfile.write(path, np.full(800 + row, row / 16), 8000)
    requests = requests_of(labels, paths)
    made, copied = (Job(tmp_path / name, 4) for name in ("made", "copied"))
    for job in (made, copied):
        job.folder.mkdir()
    kept = made.folder / f"{requests['sample_id'][3]}.wav"
    kept.write_bytes(b"kept")
    Shuffled().generate(GenerationInputs(requests, NAMES, None, made, classes=classes_of(labels)))
    Copy().generate(GenerationInputs(requests, NAMES, None, copied))
    assert kept.read_bytes() == b"kept"
    kept.unlink()
    Shuffled().generate(GenerationInputs(requests, NAMES, None, made, classes=classes_of(labels)))
    sounds, copies = ([path.read_bytes() for path in sorted(job.folder.iterdir())] for job in (made, copied))
    assert sorted(sounds) == sorted(copies)  # the same sounds, under other names
    own = requests.sort_values("sample_id")["label"].to_numpy()
    assert all(own[copies.index(sound)] != label for sound, label in zip(sounds, own, strict=True))
