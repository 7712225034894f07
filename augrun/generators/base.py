"""What every generator promises.

A generator is a frozen dataclass: its fields are its settings (checked against the YAML without importing
it), its class-level constants say what it needs. Adding one touches three files: its module, its YAML, its test.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from augrun.core.errors import AugrunError
from augrun.core.job import Job
from augrun.corpora.corpus import Corpus

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


def unprimed(labels: Sequence[int], seconds: float, seed: int) -> pd.DataFrame:
    """Requests for one sample of each label, without primes.

    Args:
        labels: class indices, in any order.
        seconds: of each sample.
        seed: of all of them; each gets one of its own.
    """
    seeds = np.random.default_rng([seed, 3]).integers(2**31, size=len(labels)).tolist()
    rows = [
        (f"{label:03d}-{place:05d}", label, (label,), seconds, "", "", 0.0, 0.0, one)
        for place, (label, one) in enumerate(zip(labels, seeds, strict=True))
    ]
    return pd.DataFrame(rows, columns=list(REQUEST_COLUMNS))


class Generator:
    """Base of all generators.

    Class attributes:
        domain: what it makes: `waveform`, `logmel` or `functionals`.
        trained: whether `fit` does anything (else the fold's parts are never read).
        primed: whether each sample starts from a window of a recorded train clip.
        reconstructs: whether a sample is its prime made anew, and so exactly as long.
        turns: `source` where its primes are the clips of that corpus, each of them for every class.
        uses: roles (`source`, `noise`) whose corpora `fit` and `generate` get as keyword arguments of these names.
        may_use: roles that they get where the condition has them.
        draws_from: `train`, or `reserve` where its primes are of the fold's reserve (`Fold.reserve`).
        told_classes: whether `generate` gets `classes` as well: the class indices of each clip that may prime, by id.
        version: bumped by hand when the meaning of stored results changes without a code change.

    Fields that the policy reads: `sample_s` (seconds of one finished sample) and, where `primed` is true,
    `prime_s` (seconds of prime). A clip shorter than `prime_s` primes with all it has.
    """

    domain: ClassVar[str] = "waveform"
    trained: ClassVar[bool] = False
    primed: ClassVar[bool] = True
    reconstructs: ClassVar[bool] = False
    turns: ClassVar[str | None] = None
    uses: ClassVar[tuple[str, ...]] = ()
    may_use: ClassVar[tuple[str, ...]] = ()
    draws_from: ClassVar[str] = "train"
    told_classes: ClassVar[bool] = False
    version: ClassVar[int] = 1

    def notes(self) -> list[str]:
        """What a reader of its results must know, a line each, such as that its weights are not the published ones."""
        return []

    def fit(self, train: Corpus, validation: Corpus, job: Job) -> None:
        """Trains on `train`, selects on `validation`, and leaves in `job.folder` what `generate` needs.

        Called again after a kill with the same folder, it continues from the last checkpoint there.
        """
        raise NotImplementedError(f"{type(self).__name__} has nothing to fit")

    def generate(self, requests: pd.DataFrame, label_names: tuple[str, ...], fitted: Path | None, job: Job) -> None:
        """Makes one sample per row of `requests` (`REQUEST_COLUMNS`) as `job.folder/<sample_id>.wav`.

        Files that are there already are from an earlier, killed attempt and are complete: they are kept.

        Args:
            requests: what to make.
            label_names: the class names that `label` and `labels` index.
            fitted: the folder that `fit` left, or None for a generator that is not trained.
            job: where to write, and the seed.
        """
        raise NotImplementedError


def require_sound(corpus: Corpus, generator: str) -> Corpus:
    """The corpus, unless some of its clips are spectrograms.

    Raises:
        AugrunError: they are.
    """
    spectra = [path for path in corpus.clips["path"] if str(path).endswith(".npy")]
    if spectra:
        raise AugrunError(
            f"generator={generator} learns from sound, but {len(spectra)} of {len(corpus)} clips are spectrograms, "
            f"the first is {spectra[0]}.\nPoint dataset.root at the corpus's audio."
        )
    return corpus
