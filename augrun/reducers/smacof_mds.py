"""Metric multidimensional scaling of vectors by SMACOF, one of the reducers in Table 2 of Latif et al. 2020.

Vectors get places in few dimensions such that the distances of places are those of vectors, as well as they can be:
stress, the sum of squared differences over all pairs, is small. SMACOF (de Leeuw 1977) bounds it from above by a
quadratic that touches it at the present places, and goes to where the bound is least.

MDS knows places of the vectors that it was given, and no map. A vector that comes later is placed where its own stress
is least, the places of the train vectors x_j being fixed. With δ_j its distances from their vectors, an iteration of
SMACOF for it alone is

    y ← mean over j of x_j + δ_j (y - x_j) / ‖y - x_j‖

which never leads to more stress, and is hastened where that can be done without more (`leap`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from augrun.core.files import write_json
from augrun.core.job import Job
from augrun.features.cache import Features
from augrun.features.examples import Examples
from augrun.features.mixup import Mixup
from augrun.reducers.base import Reducer
from augrun.reducers.pca import enough, principal, project, save

if TYPE_CHECKING:
    from augrun.protocols.base import Fold

MODEL, STRESS = "model.npz", "stress.json"

#: A new vector starts in the middle of so many train vectors that are nearest to it.
NEAREST = 10

_AT_ONCE = 1 << 20  # distances between new and train vectors that are looked at in one go


@dataclass(frozen=True)
class SmacofMDS(Reducer):
    """Vectors → places whose distances are those of the vectors.

    All vectors, those of the train part as well, are placed one by one among the embedded train vectors.

    Attributes:
        dimensions: of the places.
        iterations: at most, of the embedding.
        tolerance: the embedding is done when an iteration lessens stress by less than this share of the sum of squared
            distances.
        place_iterations: at most, of the placing of one vector (`leap`).
        place_tolerance: alike for the stress of that vector.
    """

    seeded: ClassVar[bool] = False
    version: ClassVar[int] = 1

    dimensions: Annotated[int, "[1, inf)"] = 25
    iterations: Annotated[int, "[1, inf)"] = 300
    tolerance: Annotated[float, "[0, 1)"] = 1e-6
    place_iterations: Annotated[int, "[1, inf)"] = 100
    place_tolerance: Annotated[float, "[0, 1)"] = 1e-8

    def check_fold(self, fold: Fold, bands: int) -> None:
        """Refuses before any work what `fit` could not do.

        Raises:
            AugrunError: there are fewer vectors or functionals than dimensions.
        """
        enough((len(fold.train), bands), self.dimensions, "smacof_mds")

    def fit(self, train: Examples, job: Job, mixup: Mixup) -> None:
        """Embeds the train vectors and their mixtures, from their principal components on (scikit-learn's SMACOF).

        Leaves vectors and places in `model.npz`, and in `stress.json` how well it went: `vectors`, `iterations`,
        `stress`, raw, `stress_of_start`, that of the principal components, and `normalised`, Kruskal's stress-1.
        It takes about six matrices of all distances in double precision: 4 GB for 9,000 vectors.

        Raises:
            AugrunError: there are fewer vectors or functionals than dimensions.
        """
        if (job.folder / MODEL).exists():
            return
        from sklearn.manifold import smacof

        vectors = mixup.of(train, job.seed).features.rows()
        start = project(vectors, *principal(vectors, self.dimensions, "smacof_mds")).astype(np.float64)
        wanted = distances(vectors, vectors)
        wanted = (wanted + wanted.T) / 2.0  # as symmetric as smacof asks for; rounding is not
        np.fill_diagonal(wanted, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):  # of vectors that are all the same
            places, _, iterations = smacof(
                wanted,
                n_components=self.dimensions,
                init=start,
                n_init=1,
                n_jobs=1,
                max_iter=self.iterations,
                eps=self.tolerance,
                normalized_stress=False,
                return_n_iter=True,
            )
        stress, squares = total_stress(wanted, places)
        said = {
            "vectors": len(vectors),
            "iterations": int(iterations),
            "stress": stress,
            "stress_of_start": total_stress(wanted, start)[0],
            "normalised": (stress / squares) ** 0.5 if squares else 0.0,
        }
        write_json(job.folder / STRESS, said)
        save(job.folder / MODEL, vectors=vectors, places=places)

    def transform(self, features: Features, fitted: Path, job: Job) -> Features:
        """See `Reducer.transform`; all in double precision, so that blocks differ by rounding alone."""
        with np.load(fitted / MODEL) as model:
            vectors, places = model["vectors"].astype(np.float64), model["places"]
        rows = features.rows()
        made = np.empty((len(rows), places.shape[1]), dtype=np.float32)
        at_once = max(1, _AT_ONCE // len(places))
        for at in range(0, len(rows), at_once):
            wanted = distances(rows[at : at + at_once], vectors)
            made[at : at + at_once] = place(wanted, places, self.place_iterations, self.place_tolerance)
        return Features.from_rows(made, np.ones(len(rows), dtype=np.int64))


def place(wanted: np.ndarray, places: np.ndarray, iterations: int, tolerance: float) -> np.ndarray:
    """Where new vectors have little stress among places that stay as they are; each on its own.

    Args:
        wanted: distances of the new vectors from those of the places, shape (new, places).
        places: shape (places, dimensions).
        iterations: at most.
        tolerance: a vector stays where it is when its stress lessens by less than this share of the sum of its squared
            distances.

    Returns:
        Float64, shape (new, dimensions).
    """
    count = min(NEAREST, len(places))
    spots = places[np.argpartition(wanted, count - 1, axis=1)[:, :count]].mean(axis=1)
    first, second = pairs(places.shape[1])
    products = places[:, first] * places[:, second]
    moving, at = np.arange(len(spots)), Spots.of(spots, wanted, places)
    for _ in range(iterations):
        after = leap(at, wanted, places, products)
        spots[moving] = after.spots
        going = at.stress - after.stress > tolerance * np.square(after.apart).sum(axis=1)
        going |= (after.damping > at.damping) & (after.damping < 1.0)  # Newton's method is to be tried more carefully
        if not going.any():
            break
        moving, wanted, at = moving[going], wanted[going], after.where(going)
    return spots


@dataclass(frozen=True, eq=False)
class Spots:
    """Where new vectors are among the places, and how well that fits.

    Attributes:
        spots: shape (new, dimensions).
        apart: their distances from the places, shape (new, places).
        stress: of each, the sum of the squared differences from the distances that are wanted, shape (new,).
        damping: of each, how much of SMACOF's curvature there is in the next leap, shape (new,).
    """

    spots: np.ndarray
    apart: np.ndarray
    stress: np.ndarray
    damping: np.ndarray

    @staticmethod
    def of(spots: np.ndarray, wanted: np.ndarray, places: np.ndarray, damping: np.ndarray | float = 0.1) -> Spots:
        """See `place` for the arguments."""
        apart = distances(spots, places)
        return Spots(spots, apart, np.square(wanted - apart).sum(axis=1), np.broadcast_to(damping, len(spots)))

    def where(self, mask: np.ndarray) -> Spots:
        """Some of them."""
        return Spots(self.spots[mask], self.apart[mask], self.stress[mask], self.damping[mask])


def step(at: Spots, wanted: np.ndarray, places: np.ndarray) -> Spots:
    """An iteration of SMACOF for each: never to where its stress is larger."""
    share = ratio(wanted, at.apart)
    spots = places.mean(axis=0) + (share.sum(axis=1)[:, None] * at.spots - share @ places) / len(places)
    return Spots.of(spots, wanted, places, at.damping)


def leap(at: Spots, wanted: np.ndarray, places: np.ndarray, products: np.ndarray) -> Spots:
    """An iteration of SMACOF for each, or a damped one of Newton's method where stress is less there.

    SMACOF alone takes thousands of iterations along directions in which places vary little. Newton's method (for MDS:
    Kearsley et al. 1998) takes about ten, but can lead uphill; so it is damped, more after a failure and less after a
    success, and turned round along directions in which stress is curved downwards. Half the gradient is how far SMACOF
    goes, backwards, times the number of places; half the Hessian is the sum over places of

        (1 - δ_j / d_j) I + δ_j / d_j³ (y - x_j) (y - x_j)ᵀ, with d_j = ‖y - x_j‖

    Args:
        at: where they are.
        wanted: see `place`.
        places: see `place`.
        products: of all pairs of coordinates of each place, shape (places, pairs); see `pairs`.
    """
    careful = step(at, wanted, places)
    values, vectors = np.linalg.eigh(curvature(at, wanted, places, products))
    values = np.abs(values) + at.damping[:, None]
    along = ((careful.spots - at.spots)[:, None, :] @ vectors)[:, 0] / values
    bold = Spots.of(at.spots + (vectors @ along[:, :, None])[:, :, 0], wanted, places)
    better = bold.stress < careful.stress
    return Spots(
        np.where(better[:, None], bold.spots, careful.spots),
        np.where(better[:, None], bold.apart, careful.apart),
        np.where(better, bold.stress, careful.stress),
        np.clip(at.damping * np.where(better, 0.25, 4.0), 1e-6, 1.0),
    )


def curvature(at: Spots, wanted: np.ndarray, places: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Half the Hessian of each one's stress over the number of places; see `leap`. That of SMACOF's bound would be I.

    Returns:
        Shape (new, dimensions, dimensions).
    """
    share = ratio(wanted, at.apart)
    weights = ratio(share, np.square(at.apart))
    dimensions, total = places.shape[1], weights.sum(axis=1)[:, None, None]
    first, second = pairs(dimensions)
    made = np.empty((len(at.spots), dimensions, dimensions))
    made[:, first, second] = made[:, second, first] = weights @ products
    crossed = (weights @ places)[:, :, None] * at.spots[:, None, :]
    made += total * at.spots[:, :, None] * at.spots[:, None, :] - crossed - crossed.transpose(0, 2, 1)
    made /= len(places)
    return made + (1.0 - share.mean(axis=1))[:, None, None] * np.eye(dimensions)


def pairs(dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the second coordinate of each pair, those with itself among them."""
    first, second = np.triu_indices(dimensions)
    return first, second


def ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """Zero where a new vector is at a place: any direction away from it would do, and none is taken."""
    return np.divide(over, under, out=np.zeros_like(over), where=under > 0)


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Euclidean, of each of the first from each of the second, float64, shape (first, second)."""
    first, second = first.astype(np.float64, copy=False), second.astype(np.float64, copy=False)
    squares = first @ second.T
    squares *= -2.0
    squares += np.square(first).sum(axis=1)[:, None]
    squares += np.square(second).sum(axis=1)
    return np.sqrt(np.maximum(squares, 0.0, out=squares), out=squares)


def total_stress(wanted: np.ndarray, places: np.ndarray) -> tuple[float, float]:
    """The stress of an embedding, and the sum of its squared distances; each pair counts once."""
    stress = squares = 0.0
    at_once = max(1, _AT_ONCE // len(places))
    for at in range(0, len(places), at_once):
        apart = distances(places[at : at + at_once], places)
        stress += float(np.square(wanted[at : at + at_once] - apart).sum()) / 2.0
        squares += float(np.square(apart).sum()) / 2.0
    return stress, squares
