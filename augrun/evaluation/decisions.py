"""What a classifier says of a fold's parts: the scores of what it saw, and those of the utterances.

predictions.npz holds, for `validation` and `test`:

    <part>_scores           class probabilities of each utterance, float32, shape (utterances, classes)
    <part>_clips            the id of each utterance's first clip
    <part>_targets          which classes it carries, bool, shape (utterances, classes)
    <part>_first_labels     its first class, -1 where it has none
    <part>_clusters         its cluster (artist, speaker), the unit of statistics
    <part>_part_scores      where clips were cut, or several make an utterance: those of what was voted on,
    <part>_part_utterances  and the row of its utterance, shape (parts,)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core.files import atomic_path
from augrun.corpora.corpus import Corpus
from augrun.features.segments import vote


def content(name: str, part: Corpus, scores: np.ndarray, rows: np.ndarray, how: str) -> dict[str, np.ndarray]:
    """The arrays of one part.

    Args:
        name: `validation` or `test`.
        part: its clips.
        scores: class probabilities of what the classifier saw, shape (seen, classes).
        rows: the clip that each is from, shape (seen,).
        how: the vote, `majority` or `mean`.
    """
    utterances, owners = part.by_utterance()
    of = owners[rows]
    decided = vote(scores, of, len(utterances), how, part.label_set.multilabel)
    arrays = {
        f"{name}_scores": decided,
        f"{name}_clips": utterances.clips["clip_id"].to_numpy(str),
        f"{name}_targets": utterances.targets() > 0,
        f"{name}_first_labels": utterances.first_labels(),
        f"{name}_clusters": utterances.clips["cluster"].to_numpy(str),
    }
    if len(scores) > len(utterances):
        arrays |= {f"{name}_part_scores": scores, f"{name}_part_utterances": of}
    return arrays


def write(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes the file whole or not at all."""
    with atomic_path(path) as fresh, open(fresh, "wb") as file:
        np.savez_compressed(file, **arrays)
