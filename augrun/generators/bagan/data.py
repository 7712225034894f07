"""What a balancing GAN sees: normalised spectrograms with one class each, and what is known of them as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from augrun.core.errors import AugrunError
from augrun.features.examples import Examples
from augrun.generators.bagan.networks import GROWTH

#: A normalised value beyond this is extreme: Chatziagapi et al. 2019, section 2.4, "regions with zero and one values".
EXTREME = 0.99


@dataclass(frozen=True)
class Normalisation:
    """Min-max to [-1, 1], the range of tanh (Chatziagapi et al. 2019, section 2.3).

    Attributes:
        minimum: smallest value of the train part, in the representation's unit.
        maximum: largest value of the train part.
    """

    minimum: float
    maximum: float

    @staticmethod
    def of(examples: Examples) -> Normalisation:
        """Of all values of all segments together.

        Raises:
            AugrunError: they are all the same.
        """
        edges = [(float(matrix.min()), float(matrix.max())) for matrix in examples.features]
        low, high = min(edge[0] for edge in edges), max(edge[1] for edge in edges)
        if not low < high:
            raise AugrunError(
                f"all values of the {len(examples)} train segments are {low:g}; are the recordings silent?"
            )
        return Normalisation(low, high)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """To [-1, 1]; float32."""
        return ((values - self.minimum) * (2.0 / (self.maximum - self.minimum)) - 1.0).astype(np.float32)

    def undo(self, values: np.ndarray) -> np.ndarray:
        """Back to the representation's unit; float32."""
        return ((values + 1.0) * ((self.maximum - self.minimum) / 2.0) + self.minimum).astype(np.float32)


class Spectrograms(Dataset):
    """Segments as dicts of `image` (1, F, M), float32 in [-1, 1] on the train part, and `label`, the class."""

    def __init__(self, examples: Examples, normalisation: Normalisation) -> None:
        self.features, self.normalisation = examples.features, normalisation
        self.labels = examples.targets.argmax(axis=1).astype(np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> dict[str, Any]:
        image = self.normalisation.apply(self.features[place])
        return {"image": torch.from_numpy(image)[None], "label": int(self.labels[place])}

    def images(self, places: np.ndarray) -> torch.Tensor:
        """Several at once, (len(places), 1, F, M)."""
        return torch.stack([self[int(place)]["image"] for place in places])


@dataclass(frozen=True)
class Recorded:
    """What generated segments are compared with: the normalised train part.

    Attributes:
        means: mean segment of each class, (C, F, M), float32.
        distances: root mean square distance between two segments of a class, (C,), float64.
        extreme: share of all values beyond `EXTREME`.
    """

    means: np.ndarray
    distances: np.ndarray
    extreme: float

    @staticmethod
    def of(data: Spectrograms, classes: int) -> Recorded:
        """One pass over the segments."""
        shape = data.features[0].shape
        sums, squares = np.zeros((classes, *shape)), np.zeros(classes)
        counts, extreme = np.bincount(data.labels, minlength=classes), 0
        for place, label in enumerate(data.labels):
            image = data[place]["image"].numpy()[0]
            sums[label] += image
            squares[label] += np.square(image, dtype=np.float64).sum()
            extreme += int((np.abs(image) > EXTREME).sum())
        means = sums / counts[:, None, None]
        spread = squares / counts - np.square(means).sum(axis=(1, 2))
        distances = np.sqrt(np.maximum(0.0, 2.0 * spread * counts / np.maximum(1, counts - 1)))
        return Recorded(means.astype(np.float32), distances, extreme / (len(data) * shape[0] * shape[1]))


def check(train: Examples, validation: Examples, generator: str, smallest: int = 2) -> tuple[int, int]:
    """The segments' frames and bands.

    Raises:
        AugrunError: a class has too few segments to have a spread, segments carry several classes or none, or their
            shape is none that the network can have.
    """
    if not len(train):
        raise AugrunError(f"generator={generator}: the train part has no segments.")
    if not np.array_equal(train.targets.sum(axis=1), np.ones(len(train))) or train.targets.max() != 1:
        raise AugrunError(
            f"generator={generator} models one class a segment, but some carry several or none. "
            "Choose a dataset with one class a clip."
        )
    counts = train.targets.sum(axis=0).astype(int)
    few = [f"{_name(train, label)} has {count or 'none'}" for label, count in enumerate(counts) if count < smallest]
    if few:
        raise AugrunError(
            f"generator={generator} models each class by the mean and covariance of its segments, at least {smallest}; "
            f"in the train part {', '.join(few)}.\n"
            "Give it more clips, or leave the class out of the dataset (or of what protocol.remove takes)."
        )
    frames = {int(count) for part in (train, validation) for count in part.features.frames}
    bands = train.features.bands
    if len(frames) > 1 or min(frames) % GROWTH or bands % GROWTH:
        seen = " and ".join(map(str, sorted(frames)[:3]))
        raise AugrunError(
            f"generator={generator} makes segments whose frames and bands are multiples of {GROWTH}, all alike, as "
            f"128 × 128; here are {seen} frames of {bands} bands.\n"
            "Give segments.frames=128 with representation.bands=128."
        )
    return min(frames), bands


def _name(train: Examples, label: int) -> str:
    names = getattr(train, "names", ())
    return f"{names[label]!r}" if names else f"class {label} (counted from 0)"
