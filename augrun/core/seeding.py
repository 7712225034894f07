"""Seeds derived from others."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np


def derive_seed(seed: int, *key: object) -> int:
    """A seed below 2**63 that depends on all of `seed` and `key`, alike on every machine and run."""
    words = [zlib.crc32(repr(part).encode()) for part in key]
    entropy = np.random.SeedSequence([abs(seed), int(seed < 0), *words])
    return int(entropy.generate_state(1, np.uint64)[0]) >> 1


def trial_seed(seed: int, trial: int, fold: str) -> int:
    """The seed of a trial of a fold: distinct for every one of them, unrelated between seeds, 31 bits.

    Folds have seeds of their own, so that the noise of training is independent from fold to fold, which
    `augrun.evaluation.significance` relies on.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{trial}/{fold}".encode()).digest()[:4], "big") >> 1
