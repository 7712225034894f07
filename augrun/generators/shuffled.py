"""Right samples, wrong labels: recorded windows, each labelled with a class that its clip does not carry.

A control: whether labels matter. Where it does no worse than copies, the classifier gains by more sounds and not by
what they are called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd

from augrun.core.errors import AugrunError
from augrun.generators.copy import Copy
from augrun.generators.requests import GenerationInputs


@dataclass(frozen=True)
class Shuffled(Copy):
    """Writes as each sample the prime of another one, of a clip that carries none of the sample's classes.

    What is asked for is what `Copy` is asked for. Settings are those of `Copy`.
    """

    wants_classes: ClassVar[bool] = True

    def notes(self) -> list[str]:
        """Says that the labels are wrong."""
        return ["no generator: recorded clips of the train part, with wrong classes; a sample is another one's prime"]

    def generate(self, inputs: GenerationInputs) -> None:
        """Copy the primes of others, as `inputs.classes` tells them; see `Generator.generate`.

        Raises:
            AugrunError: every prime's clip carries the class of a sample.
        """
        assert inputs.classes is not None
        requests = inputs.requests
        others = donors(requests, inputs.classes, inputs.label_names, inputs.job.seed)
        windows = ["prime_clip", "prime_path", "prime_start_s", "prime_s"]
        swapped = requests.copy()
        swapped[windows] = requests[windows].to_numpy()[others]
        super().generate(replace(inputs, requests=swapped))


def donors(
    requests: pd.DataFrame, classes: Mapping[str, tuple[int, ...]], label_names: tuple[str, ...], seed: int
) -> np.ndarray:
    """The row whose prime each request gets: int64, shape (requests,).

    In the order of their classes, each gets the prime of one that is as far on as the largest class is large: where no
    class has more than half of the requests and clips carry one class each, every prime so serves once, and no sample
    stays in its class. What that leaves in its class draws among those that are none of it, each once and then again.

    Raises:
        AugrunError: there is none for a request.
    """
    if not len(requests):
        return np.zeros(0, np.int64)
    rng = np.random.default_rng([seed, 5])
    clips, clip_of = np.unique(requests["prime_clip"].to_numpy(str), return_inverse=True)
    carried = np.zeros((len(clips), len(label_names)), bool)
    for row, clip in enumerate(clips):
        carried[row, list(classes[clip])] = True
    labels = requests["label"].to_numpy(np.int64)
    wanted = list(requests["labels"])

    order = rng.permutation(len(requests))
    order = order[np.argsort(labels[order], kind="stable")]
    given = np.empty(len(requests), np.int64)
    given[order] = np.roll(order, -int(np.bincount(labels).max()))

    wrong = [row for row, of in enumerate(wanted) if carried[clip_of[given[row]], list(of)].any()]
    by_classes: dict[tuple[int, ...], list[int]] = {}
    for row in wrong:
        by_classes.setdefault(tuple(wanted[row]), []).append(row)
    for of, rows in by_classes.items():
        free = np.flatnonzero(~carried[clip_of][:, list(of)].any(axis=1))
        if not len(free):
            named = ", ".join(label_names[label] for label in of)
            raise AugrunError(
                f"generator=shuffled: every clip that primes a sample carries {named}: none can be called so wrongly; "
                "choose a policy that makes samples of other classes as well, such as policy=equal_duration"
            )
        rounds = -(-len(rows) // len(free))
        given[rows] = np.concatenate([rng.permutation(free) for _ in range(rounds)])[: len(rows)]
    return given
