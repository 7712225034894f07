"""What every reducer promises."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from augrun.core.job import Job
from augrun.features.cache import Features
from augrun.features.examples import Examples
from augrun.features.mixup import Mixup


class Reducer:
    """Base of all reducers; a frozen dataclass whose fields are its settings.

    It is fitted on the recorded train part of a fold, on the scale that the classifier sees, with the mixtures that
    the classifier is trained on (`augrun.features.mixup`). All that the classifier sees goes through it after that:
    samples, and validation and test parts, a vector at a time, so that none of them can depend on another one.

    Class attributes:
        reduces: whether it does anything.
        seeded: whether what it learns depends on its seed, mixtures aside.
        together: whether several are trained at once, by `fit_together(train, jobs, mixup)`, each as `fit` would alone.
        check_fold: where there is such a method, `check_fold(fold, bands)` refuses what `fit` could not do.
        version: bumped by hand when the meaning of stored results changes without a code change.

    Attributes:
        dimensions: of what comes out.
    """

    reduces: ClassVar[bool] = True
    seeded: ClassVar[bool] = True
    together: ClassVar[bool] = False
    version: ClassVar[int] = 1

    def fit(self, train: Examples, job: Job, mixup: Mixup) -> None:
        """Learns from the train part; leaves in `job.folder` what `transform` needs.

        Where samples stand in for recordings (policy=balance_replace), the classifier is trained on fewer of these.

        Args:
            train: the recorded vectors, none of them mixed.
            job: the folder, and the seed that the classifier's mixtures are drawn with as well.
            mixup: `mixup.of(train, job.seed)` are the vectors that the classifier is trained on.
        """
        raise NotImplementedError

    def fit_together(self, train: Sequence[Examples], jobs: Sequence[Job], mixup: Mixup) -> None:
        """Fits one for each train part at once, where `together` says that this can be done."""
        raise NotImplementedError

    def transform(self, features: Features, fitted: Path, job: Job) -> Features:
        """The vectors in fewer dimensions, in their order.

        Args:
            features: vectors on the scale that it was fitted on, shape (vectors, bands).
            fitted: the folder that `fit` left.
            job: hardware; its folder is not written to.
        """
        raise NotImplementedError
