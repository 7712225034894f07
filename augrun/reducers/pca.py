"""Principal components of vectors (Pearson 1901), one of the reducers in Table 2 of Latif et al. 2020."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from augrun.core.errors import AugrunError
from augrun.core.files import atomic_path
from augrun.core.job import Job
from augrun.features.cache import Features
from augrun.features.examples import Examples
from augrun.features.mixup import Mixup
from augrun.reducers.base import Reducer

if TYPE_CHECKING:
    from augrun.protocols.base import Fold

MODEL = "model.npz"
_AT_ONCE = 1024  # vectors that are taken into double precision


@dataclass(frozen=True)
class PCA(Reducer):
    """Vectors → their places along the directions in which the train part varies most.

    Directions have length one and come by falling variance; the largest weight of each is positive. What comes out has
    mean zero over what it was fitted on, and the variances of the directions: it is not scaled to deviation one.

    Attributes:
        dimensions: directions that are kept.
    """

    seeded: ClassVar[bool] = False
    version: ClassVar[int] = 1

    dimensions: Annotated[int, "[1, inf)"] = 25

    def check_fold(self, fold: Fold, bands: int) -> None:
        """Refuses before any work what `fit` could not do.

        Raises:
            AugrunError: there are fewer vectors or functionals than dimensions.
        """
        enough((len(fold.train), bands), self.dimensions, "pca")

    def fit(self, train: Examples, job: Job, mixup: Mixup) -> None:
        """Leaves mean and directions in `model.npz`.

        Raises:
            AugrunError: there are fewer vectors or functionals than dimensions.
        """
        if (job.folder / MODEL).exists():
            return
        vectors = mixup.of(train, job.seed).features.rows()
        mean, directions = principal(vectors, self.dimensions, "pca")
        save(job.folder / MODEL, mean=mean, directions=directions)

    def transform(self, features: Features, fitted: Path, job: Job) -> Features:
        """See `Reducer.transform`; double precision within, so that blocks differ by less than float32 tells."""
        with np.load(fitted / MODEL) as model:
            mean, directions = model["mean"], model["directions"]
        return Features.from_rows(project(features.rows(), mean, directions), np.ones(len(features), dtype=np.int64))


def principal(vectors: np.ndarray, dimensions: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Principal components by a full singular value decomposition (scikit-learn's).

    Args:
        vectors: shape (vectors, bands).
        dimensions: components that are wanted.
        name: of the reducer that wants them, for the error.

    Returns:
        The mean, float64, shape (bands,), and the directions, float64, shape (dimensions, bands).

    Raises:
        AugrunError: there are fewer vectors or functionals than dimensions.
    """
    from sklearn import decomposition

    enough(vectors.shape, dimensions, name)
    with np.errstate(divide="ignore", invalid="ignore"):  # the shares of a variance of zero, which nobody asked for
        fitted = decomposition.PCA(dimensions, svd_solver="full").fit(vectors.astype(np.float64))
    return fitted.mean_, fitted.components_


def enough(shape: tuple[int, ...], dimensions: int, name: str) -> None:
    """Whether vectors, shape (vectors, bands), have so many directions.

    Raises:
        AugrunError: they have fewer.
    """
    if dimensions > min(shape):
        raise AugrunError(
            f"{name}: {dimensions} dimensions want as many train vectors and functionals at least, and there are "
            f"{shape[0]} vectors of {shape[1]}. Choose a smaller reducer.dimensions, or give the protocol more train "
            "clips."
        )


def project(vectors: np.ndarray, mean: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Places of vectors along directions, float32, shape (vectors, dimensions)."""
    made = np.empty((len(vectors), len(directions)), dtype=np.float32)
    for at in range(0, len(vectors), _AT_ONCE):
        made[at : at + _AT_ONCE] = (vectors[at : at + _AT_ONCE] - mean) @ directions.T
    return made


def save(path: Path, **arrays: np.ndarray) -> None:
    """Writes arrays into one file, which is either not there or whole."""
    with atomic_path(path) as fresh, open(fresh, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
