"""A multilayer perceptron on vectors, as Bao et al. 2019, section 4.3, and Latif et al. 2020, section 5.1.1, have it.

Several of them, of folds and repeats, are trained as one (`augrun.core.training.stacked`). There is no early stopping:
neither paper has a validation part for it within a corpus, and the last epoch counts.

Its settings are in `settings`, training and prediction in `training`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from augrun.classifiers.base import Classifier
from augrun.classifiers.dnn.settings import DNNSettings
from augrun.core.job import Job
from augrun.core.training.model_files import MODEL
from augrun.features.cache import Features
from augrun.features.examples import Examples


@dataclass(frozen=True)
class DNN(DNNSettings, Classifier):
    """Vectors → hidden layers with leaky ReLU and dropout → one logit a class."""

    domain: ClassVar[str] = "functionals"
    together: ClassVar[bool] = True
    embeds: ClassVar[bool] = True
    version: ClassVar[int] = 1

    def fit(self, train: Examples, validation: Examples, job: Job) -> None:
        """Trains; leaves `model.pt` and `history.json`. The validation part is not looked at."""
        if not (job.folder / MODEL).exists():
            self.fit_together([train], [job])

    def fit_together(self, train: Sequence[Examples], jobs: Sequence[Job]) -> None:
        """Trains one network for each training set, all at once; leaves in each job's folder what `fit` leaves.

        Each becomes what training it alone with its job's seed gives, up to rounding. Checkpoints lie in the first
        job's folder, and a killed call is continued by the next one with the same arguments.

        Args:
            train: the training sets; one that serves for several networks is kept once.
            jobs: of each.
        """
        from augrun.classifiers.dnn import training

        training.train_together(self, train, jobs)

    def predict(self, features: Features, fitted: Path, job: Job) -> np.ndarray:
        """Class probabilities, shape (clips, classes), float32."""
        from augrun.classifiers.dnn import training

        return training.probabilities(self, features, fitted, job)

    def embed(self, features: Features, fitted: Path, job: Job) -> np.ndarray:
        """The last hidden layer after its leaky ReLU, shape (clips, hidden units), float32."""
        from augrun.classifiers.dnn import training

        return training.hidden(self, features, fitted, job)
