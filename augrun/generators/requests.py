"""Requests to generators: the request table, what a policy must know to fill it, and the inputs of `generate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from augrun.core.job import Job
from augrun.corpora.corpus import Corpus

if TYPE_CHECKING:
    from augrun.features.cache import Features
    from augrun.features.examples import Examples

#: Columns of a request table, one row a sample to make. `label` is the class index the sample is for and
#: `labels` the tuple of class indices it will carry; the prime is `prime_s` seconds of the recorded train
#: clip `prime_clip` from `prime_start_s` (seconds within the file at `prime_path`).
REQUEST_COLUMNS = (
    "sample_id",
    "label",
    "labels",
    "seconds",
    "prime_clip",
    "prime_path",
    "prime_start_s",
    "prime_s",
    "seed",
)


@dataclass(frozen=True, eq=False)
class GenerationInputs:
    """The one argument of `Generator.generate`; further optional fields may follow.

    Corpora in other roles are a `Corpus` where the generator makes sounds, and `Examples` where it makes features.

    Attributes:
        requests: the samples to make, one row each, with `REQUEST_COLUMNS`; durations are in seconds.
        label_names: the class names that `label` and `labels` of the requests index, shape (classes,).
        fitted: the folder that `fit` filled; None for a generator that is not trained.
        job: the folder to write to, the seed, the hardware and the title.
        primes: the recorded features of each request's prime, in the order of the requests, one (frames, bands) float32
            array each, in the representation's unit; None where samples are sounds, or start from no prime.
        classes: the class indices of each clip that may prime, by clip id; None unless `wants_classes`.
        source: the unlabelled clips of the role `source`; None unless the generator uses it.
        noise: the background sounds of the role `noise`; None unless the generator uses it.
        music: the background music of the role `music`; None unless the generator uses it.
    """

    requests: pd.DataFrame
    label_names: tuple[str, ...]
    fitted: Path | None
    job: Job
    primes: Features | None = None
    classes: Mapping[str, tuple[int, ...]] | None = None
    source: Corpus | Examples | None = None
    noise: Corpus | Examples | None = None
    music: Corpus | Examples | None = None


@dataclass(frozen=True)
class PrimeRequirements:
    """What a generator wants of a request.

    Attributes:
        primed: whether each sample starts from a recorded window.
        prime_s: seconds of prime; None takes whole clips.
        sample_s: seconds of one finished sample; None makes it as long as its prime.
        reconstructs: the sample is as long as its prime, also where a clip is too short for a full one.
        source: the unlabelled clips that it transforms into samples of any class; None where it has none.
        pool: the recorded clips that primes are drawn from; None: the train part, by which amounts are counted anyway.
    """

    primed: bool
    prime_s: float | None
    sample_s: float | None
    reconstructs: bool = False
    source: Corpus | None = None
    pool: Corpus | None = None


@dataclass(frozen=True)
class GenerationPlan:
    """What a policy asks a generator for.

    Attributes:
        requests: one row a sample (`REQUEST_COLUMNS`).
        seconds_per_class: the budget of each class.
        shortfalls: per class name, the seconds for which there was no prime left.
        replaced: ids of recorded clips that leave the training set where the samples join it.
    """

    requests: pd.DataFrame
    seconds_per_class: float
    shortfalls: dict[str, float]
    replaced: tuple[str, ...] = ()


def build_unprimed_requests(labels: Sequence[int], seconds: float, seed: int) -> pd.DataFrame:
    """Return requests for one sample of each label, without primes.

    Args:
        labels: class indices, in any order.
        seconds: duration of each sample.
        seed: seed of the whole table; each request gets one of its own.
    """
    seeds = np.random.default_rng([seed, 3]).integers(2**31, size=len(labels)).tolist()
    rows = [
        (f"{label:03d}-{place:05d}", label, (label,), seconds, "", "", 0.0, 0.0, one)
        for place, (label, one) in enumerate(zip(labels, seeds, strict=True))
    ]
    return pd.DataFrame(rows, columns=list(REQUEST_COLUMNS))
