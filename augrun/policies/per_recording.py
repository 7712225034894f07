"""One sample for each recorded clip, of its class: the settings of Latif et al. 2020, section 5.1.1.

Their classifiers are trained on "(i) only real features, (ii) only synthetic features, and (iii) both real and
synthetic features"; how many synthetic vectors there are is not stated, and one for each recorded one is what G(E(x))
gives.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from augrun.core.errors import AugrunError
from augrun.corpora.corpus import Corpus
from augrun.generators.requests import REQUEST_COLUMNS, GenerationPlan, PrimeRequirements
from augrun.policies.balance import class_counts
from augrun.policies.base import Policy

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PerRecording(Policy):
    """As many samples of a class as it has recorded clips; each clip primes one, where there are primes.

    A pool of fewer clips than a class has in the train part gives fewer samples of it: each of its clips primes one.
    """

    version: ClassVar[int] = 1

    def plan(
        self, train: Corpus, needs: PrimeRequirements, seed: int, units: np.ndarray | None = None
    ) -> GenerationPlan:
        """A request a clip (or unit), in the clips' order; see `Policy.plan`.

        A generator that turns a source corpus into every class gets each of its clips for each class instead.
        """
        if train.label_set.multilabel:
            raise AugrunError(f"{train.name}: its clips carry several classes; choose policy=equal_duration")
        if needs.primed and units is not None:
            raise AugrunError(
                "a sample a recording wants whole clips as primes; leave segments.seconds out, or choose another policy"
            )
        if needs.source is not None:
            return self._turned(train, needs.source, seed)
        if needs.pool is not None:
            return self._drawn(train, needs.pool, needs, seed)
        each = np.ones(len(train), np.int64) if units is None else np.asarray(units, np.int64)
        rows = np.repeat(np.arange(len(train)), each)
        labels, clips = train.first_labels()[rows], train.clips.iloc[rows]
        requests = _requests(labels, clips, _seconds(clips, needs), needs.primed, seed)
        return GenerationPlan(requests, float(requests["seconds"].sum()) / len(train.label_set), {})

    def _drawn(self, train: Corpus, pool: Corpus, needs: PrimeRequirements, seed: int) -> GenerationPlan:
        """As many clips of the pool as the train part has of each class, or all that there are."""
        counts, of_pool = class_counts(train)[0], class_counts(pool, part="reserve")[1]
        rng = np.random.default_rng([seed, 6])
        drawn = [rng.permutation(np.flatnonzero(of_pool == k))[:most] for k, most in enumerate(counts)]
        found = np.array([len(of_class) for of_class in drawn])
        clips = pool.clips.iloc[np.concatenate(drawn)]
        labels = np.repeat(np.arange(len(drawn)), found)
        requests = _requests(labels, clips, _seconds(clips, needs), needs.primed, seed)
        asked = np.bincount(train.first_labels(), np.broadcast_to(_seconds(train.clips, needs), len(train)))
        missing = np.maximum(0.0, asked - np.bincount(labels, requests["seconds"]))
        short = {train.label_set.names[k]: float(missing[k]) for k in np.flatnonzero(found < counts)}
        if short:
            log.warning(
                "the reserve has fewer clips than the train part of %s: %d samples, not %d "
                "(a larger protocol.reserve keeps more)",
                ", ".join(short),
                len(requests),
                len(train),
            )
        return GenerationPlan(requests, float(asked.mean()), short)

    def _turned(self, train: Corpus, source: Corpus, seed: int) -> GenerationPlan:
        """Each source clip once for every class: Bao et al. 2019, section 4.1, "each of the target emotions"."""
        classes = len(train.label_set)
        clips = source.clips.iloc[np.tile(np.arange(len(source)), classes)]
        labels = np.repeat(np.arange(classes), len(source))
        requests = _requests(labels, clips, clips["duration_s"].to_numpy(np.float64), True, seed)
        return GenerationPlan(requests, source.seconds, {})


def _seconds(clips: pd.DataFrame, needs: PrimeRequirements) -> np.ndarray | float:
    """How long the samples are that the clips are asked to prime."""
    if needs.reconstructs or needs.sample_s is None:
        return clips["duration_s"].to_numpy(np.float64)
    return float(needs.sample_s)


def _requests(
    labels: np.ndarray, clips: pd.DataFrame, seconds: np.ndarray | float, primed: bool, seed: int
) -> pd.DataFrame:
    """A request for each clip, of its label, primed by the clip or by nothing."""
    requests = pd.DataFrame(
        {
            "sample_id": [f"{label:03d}-{place:06d}" for place, label in enumerate(labels.tolist())],
            "label": labels,
            "labels": [(label,) for label in labels.tolist()],
            "seconds": seconds,
            "prime_clip": clips["clip_id"].to_numpy() if primed else "",
            "prime_path": clips["path"].to_numpy() if primed else "",
            "prime_start_s": clips["start_s"].to_numpy(np.float64) if primed else 0.0,
            "prime_s": clips["duration_s"].to_numpy(np.float64) if primed else 0.0,
            "seed": np.random.default_rng([seed, 4]).integers(2**31, size=len(labels)),
        }
    )
    assert tuple(requests.columns) == REQUEST_COLUMNS
    return requests
