"""What every classifier promises."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from augrun.core.job import Job
from augrun.features.cache import Features
from augrun.features.examples import Examples


class Classifier:
    """Base of all classifiers; a frozen dataclass whose fields are its settings.

    Class attributes:
        domain: what it takes: `waveform`, `logmel` or `functionals`.
        together: whether several are trained at once, by `fit_together(train, jobs)`, each as `fit` would alone.
        embeds: whether it has an `embed`: networks have, by which samples are then measured.
        check_fold: where there is such a method, `check_fold(fold, bands)` refuses what `fit` could not do.
        version: bumped by hand when the meaning of stored results changes without a code change.
    """

    domain: ClassVar[str] = "logmel"
    together: ClassVar[bool] = False
    embeds: ClassVar[bool] = False
    version: ClassVar[int] = 1

    def fit(self, train: Examples, validation: Examples, job: Job) -> None:
        """Trains on `train`, selects on `validation`; leaves in `job.folder` what `predict` needs and `history.json`.

        `history.json` is a list with one dict an epoch: `epoch` and the curves, e.g. `train/loss`.
        Called again after a kill with the same folder, it continues from the last checkpoint there and
        ends with the parameters of an undisturbed fit.
        """
        raise NotImplementedError

    def predict(self, features: Features, fitted: Path, job: Job) -> np.ndarray:
        """Class probabilities, shape (clips, classes), float32."""
        raise NotImplementedError

    def embed(self, features: Features, fitted: Path, job: Job) -> np.ndarray:
        """What the last linear layer is given of each clip in use, shape (clips, dimensions), float32.

        Its unit is that of the network's activations, which differs from one training to the next.
        """
        raise NotImplementedError
