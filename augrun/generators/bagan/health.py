"""How well a balancing GAN is: what is measured after each epoch of fine-tuning, and when it is warned of.

Three ways to fail have figures of their own: a discriminator that no longer tells anything apart (or everything),
samples of a class that are all alike, and the extreme values that Chatziagapi et al. 2019, Figure 2a, complain of.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from augrun.generators.bagan.data import EXTREME, Recorded

#: Segments of each class that are made to be measured; the latents are the same after each epoch.
SAMPLES = 32

#: A discriminator that gives so large a share of all that it sees one verdict is blind. Half of it is fake.
BLIND = 0.98

#: One that takes fewer samples than this for what they should be, at a loss below `CERTAIN`, has won.
FOOLED, CERTAIN = 0.01, 0.05

#: Segments of a class whose distances from each other are below this share of the recorded ones' are all alike. An
#: autoencoder's samples lack the fine grain of recordings, which alone takes away about half.
ALIKE = 0.2

#: What the share of extreme values may exceed the recorded one by.
EXCESS = 0.01


def measure(made: np.ndarray, recorded: Recorded) -> dict[str, float]:
    """Generated segments against the recorded train part.

    Args:
        made: normalised, (C, segments of each class, F, M).
        recorded: the train part.

    Returns:
        extreme_share: share of values beyond `EXTREME`.
        diversity: root mean square distance between two segments of a class over that of the recorded ones; of the
            class where it is smallest.
        nearest_own: share of segments that are closer to their own class's mean recorded segment than to any other's.
        classes_nearest_own: share of classes whose segments are, on average.
    """
    classes, count = made.shape[:2]
    flat = made.reshape(classes, count, -1).astype(np.float64)
    means = recorded.means.reshape(classes, -1).astype(np.float64)
    spread = flat.var(axis=1).sum(axis=1) * count / max(1, count - 1)
    ratio = np.sqrt(2.0 * spread) / np.maximum(recorded.distances, 1e-9)
    # |a - b|² without the part that all classes share.
    distances = np.square(means).sum(axis=1) - 2.0 * flat @ means.T
    own = np.arange(classes)
    return {
        "extreme_share": float((np.abs(made) > EXTREME).mean()),
        "diversity": float(ratio.min()),
        "nearest_own": float((distances.argmin(axis=2) == own[:, None]).mean()),
        "classes_nearest_own": float((distances.mean(axis=1).argmin(axis=1) == own).mean()),
    }


def complaints(measured: Mapping[str, float], recorded_extreme: float) -> dict[str, str]:
    """What is wrong, in a line each, under a name for each kind.

    Args:
        measured: an epoch's curves, as `train/diversity`.
        recorded_extreme: share of extreme values in the train part.
    """
    value = {name.removeprefix("train/"): number for name, number in measured.items()}
    found = {}
    if value["one_verdict"] > BLIND:
        found["discriminator"] = (
            f"the discriminator is blind (it has collapsed): {value['one_verdict']:.1%} of what it saw got one verdict"
        )
    elif value["fooled"] < FOOLED and value["discriminator_loss"] < CERTAIN:
        found["discriminator"] = (
            f"the discriminator has won: at a loss of {value['discriminator_loss']:.3f} it takes {value['fooled']:.1%} "
            "of the generated segments for what they should be"
        )
    if value["diversity"] < ALIKE:
        found["modes"] = (
            "the modes have collapsed: the generated segments of a class are as far from each other as "
            f"{value['diversity']:.2f} of the recorded ones' distance"
        )
    if value["extreme_share"] > recorded_extreme + EXCESS:
        found["extremes"] = (
            f"extreme values: {value['extreme_share']:.1%} of the generated values are at the range's ends, "
            f"of the recorded ones {recorded_extreme:.1%}"
        )
    if value["classes_nearest_own"] <= 0.5:
        found["classes"] = (
            f"the classes are mixed up: of only {value['classes_nearest_own']:.0%} of them the generated segments are "
            "closer to their own class's mean than to the others'"
        )
    return found
