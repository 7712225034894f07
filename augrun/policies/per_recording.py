"""One sample for each recorded clip, of its class: the settings of Latif et al. 2020, section 5.1.1.

Their classifiers are trained on "(i) only real features, (ii) only synthetic features, and (iii) both real and
synthetic features"; how many synthetic vectors there are is not stated, and one for each recorded one is what G(E(x))
gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from augrun.corpora.corpus import Corpus
from augrun.errors import AugrunError
from augrun.generators.base import REQUEST_COLUMNS
from augrun.policies.base import Needs, Plan, Policy


@dataclass(frozen=True)
class PerRecording(Policy):
    """As many samples of a class as it has recorded clips; each clip primes one, where there are primes."""

    version: ClassVar[int] = 1

    def plan(self, train: Corpus, needs: Needs, seed: int, units: np.ndarray | None = None) -> Plan:
        """A request a clip (or unit), in the clips' order; see `Policy.plan`."""
        if train.label_set.multilabel:
            raise AugrunError(f"{train.name}: its clips carry several classes; choose policy=equal_duration")
        if needs.primed and units is not None:
            raise AugrunError(
                "a sample a recording wants whole clips as primes; leave segments.seconds out, or choose another policy"
            )
        each = np.ones(len(train), np.int64) if units is None else np.asarray(units, np.int64)
        rows = np.repeat(np.arange(len(train)), each)
        labels, clips = train.first_labels()[rows], train.clips.iloc[rows]
        seconds = clips["duration_s"].to_numpy(np.float64)
        whole = needs.reconstructs or needs.sample_s is None
        requests = pd.DataFrame(
            {
                "sample_id": [f"{label:03d}-{place:06d}" for place, label in enumerate(labels.tolist())],
                "label": labels,
                "labels": [(label,) for label in labels.tolist()],
                "seconds": seconds if whole else float(needs.sample_s or 0.0),
                "prime_clip": clips["clip_id"].to_numpy() if needs.primed else "",
                "prime_path": clips["path"].to_numpy() if needs.primed else "",
                "prime_start_s": clips["start_s"].to_numpy(np.float64) if needs.primed else 0.0,
                "prime_s": seconds if needs.primed else 0.0,
                "seed": np.random.default_rng([seed, 4]).integers(2**31, size=len(rows)),
            }
        )
        assert tuple(requests.columns) == REQUEST_COLUMNS
        return Plan(requests, float(requests["seconds"].sum()) / len(train.label_set), {})
