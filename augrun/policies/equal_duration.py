"""The same seconds of samples for every class, primed by recorded windows drawn without replacement."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd

from augrun.core.errors import AugrunError
from augrun.corpora.corpus import Corpus
from augrun.generators.requests import REQUEST_COLUMNS, GenerationPlan, PrimeRequirements
from augrun.policies.base import Policy

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EqualDuration(Policy):
    """The same seconds for every class, in all a fraction of the train part (Godwin et al. 2021, §IV-A).

    Attributes:
        fraction: total generated duration over the train part's duration.
        total_hours: the total in hours instead; the paper's own figures are 8 and 7.85.
        allow_reuse: draw windows again once all windows of a class are used; else fewer samples are made.
        inherit: `drawn`: a sample carries the class its prime was drawn for; `all`: every class of the prime.
    """

    version: ClassVar[int] = 1

    fraction: Annotated[float, "(0, inf)"] = 0.05
    total_hours: Annotated[float, "(0, inf)"] | None = None
    allow_reuse: bool = False
    inherit: Literal["drawn", "all"] = "drawn"

    def plan(
        self, train: Corpus, needs: PrimeRequirements, seed: int, units: np.ndarray | None = None
    ) -> GenerationPlan:
        """Draws the primes; see `Policy.plan`.

        Within a class, windows are drawn without replacement: first one of every clip, in random order,
        then a second one of the clips that have another, and so on. Windows of one clip do not overlap.
        A generator without primes uses none up.
        """
        total = self.total_hours * 3600 if self.total_hours is not None else self.fraction * train.seconds
        budget = total / len(train.label_set)
        rows: list[tuple] = []
        shortfalls: dict[str, float] = {}
        pool, part = (train, "train") if needs.pool is None else (needs.pool, "reserve")
        targets = pool.targets()
        windows, again = _Windows(pool, needs, seed), self.allow_reuse or not needs.primed
        for label, name in enumerate(train.label_set.names):
            generator = np.random.default_rng([seed, label])
            clips = np.flatnonzero(targets[:, label])
            if not len(clips):
                raise AugrunError(f"no {part} clip carries the class {name!r}: nothing to prime its samples with")
            made = seconds = 0.0
            for draw, (clip, start, length) in enumerate(_draws(windows, clips, generator, again)):
                seconds = length if needs.reconstructs or needs.sample_s is None else needs.sample_s
                # Stop where one more would take the total further from the budget than it is; never at none.
                if made and made + seconds / 2 > budget:
                    break
                made += seconds
                sample_id = f"{label:03d}-{draw:05d}"
                # The class it is for comes first: it is the one that the sample is judged by.
                further = pool.clips["labels"].iat[clip] if self.inherit == "all" else ()
                labels = (label, *(other for other in further if other != label))
                origin = pool.clips.iloc[clip]
                prime = (origin.clip_id, origin.path, start, length) if needs.primed else ("", "", 0.0, 0.0)
                sample_seed = int(generator.integers(2**31))
                rows.append((sample_id, label, labels, seconds, *prime, sample_seed))
            else:
                if budget - made > seconds / 2:
                    shortfalls[name] = budget - made
        if shortfalls:
            _warn(shortfalls, budget, part)
        return GenerationPlan(pd.DataFrame(rows, columns=list(REQUEST_COLUMNS)), budget, shortfalls)


def _draws(
    windows: _Windows, clips: np.ndarray, generator: np.random.Generator, again: bool
) -> Iterator[tuple[int, float, float]]:
    """Yields (clip, start in seconds, seconds), over clips first."""
    while True:
        order = generator.permutation(clips)
        slots = {int(clip): generator.permutation(windows.count[clip]) for clip in order}
        for turn in range(int(windows.count[clips].max())):
            for clip in order:
                if turn < windows.count[clip]:
                    yield int(clip), *windows.at(int(clip), int(slots[int(clip)][turn]))
        if not again:
            return


def _warn(shortfalls: dict[str, float], budget: float, part: str) -> None:
    named = ", ".join(f"{name} {missing:.0f} s" for name, missing in list(shortfalls.items())[:5])
    more = f" and {len(shortfalls) - 5} more" if len(shortfalls) > 5 else ""
    log.warning(
        "%d of the classes have too few %s windows for %.0f s each; missing: %s%s "
        "(policy.allow_reuse=true would draw windows again)",
        len(shortfalls),
        "recorded" if part == "train" else part,
        budget,
        named,
        more,
    )


class _Windows:
    """Non-overlapping windows of every clip: a row of windows, set at a random place within the clip.

    A clip shorter than a window is one window, as long as the clip.
    """

    def __init__(self, train: Corpus, needs: PrimeRequirements, seed: int) -> None:
        self.starts = train.clips["start_s"].to_numpy(np.float64)
        self.durations = train.clips["duration_s"].to_numpy(np.float64)
        self.length = needs.prime_s
        if self.length is None or not needs.primed:
            self.count = np.ones(len(train), dtype=np.int64)
        else:
            # A rounding of the duration to milliseconds must not cost a window.
            self.count = np.maximum(1, np.floor(self.durations / self.length + 1e-6).astype(np.int64))
        self.offsets = np.random.default_rng([seed, len(train), 1]).random(len(train))

    def at(self, clip: int, slot: int) -> tuple[float, float]:
        """Start within the file and length, both in seconds, of one window."""
        duration = float(self.durations[clip])
        if self.length is None or duration <= self.length:
            return float(self.starts[clip]), duration
        slack = duration - self.count[clip] * self.length
        start = self.starts[clip] + max(0.0, slack) * self.offsets[clip] + slot * self.length
        return round(float(start), 6), self.length
