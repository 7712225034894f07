"""The code of an autoencoder (Hinton and Zemel 1993), one of the reducers in Table 2 of Latif et al. 2020.

Section 5.1.2: "The standard autoencoder applied in this experiment is trained with 3 fully connected encoder layers, 3
decoder layers and 1 hidden layer. ReLU activation is chosen in these layers." The hidden layer is the code; here it and
the reconstruction are linear, or neither could be negative, which scaled vectors are.

Several of them, of folds and repeats, are trained as one (`augrun.core.training.stacked`).

Its settings are in `settings`, training and codes in `training`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from augrun.core.job import Job
from augrun.core.training.model_files import MODEL
from augrun.features.cache import Features
from augrun.features.examples import Examples
from augrun.features.mixup import Mixup
from augrun.reducers.autoencoder.settings import AutoencoderSettings
from augrun.reducers.base import Reducer


@dataclass(frozen=True)
class Autoencoder(AutoencoderSettings, Reducer):
    """Vectors → hidden layers with ReLU → code → the same layers the other way round → vectors."""

    together: ClassVar[bool] = True
    version: ClassVar[int] = 1

    def fit(self, train: Examples, job: Job, mixup: Mixup) -> None:
        """Trains; leaves `model.pt` and `history.json`.

        Raises:
            AugrunError: there is nothing to learn from.
        """
        if not (job.folder / MODEL).exists():
            self.fit_together([train], [job], mixup)

    def fit_together(self, train: Sequence[Examples], jobs: Sequence[Job], mixup: Mixup) -> None:
        """Trains one for each train part, all at once; see `augrun.classifiers.dnn.DNN.fit_together`."""
        from augrun.reducers.autoencoder import training

        training.train_together(self, train, jobs, mixup)

    def transform(self, features: Features, fitted: Path, job: Job) -> Features:
        """See `Reducer.transform`."""
        from augrun.reducers.autoencoder import training

        return training.codes_of(features, fitted, job)
