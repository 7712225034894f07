"""Label validity: counted by hand, over folds and trials, with classes that nothing was made for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from augrun.corpora.corpus import COLUMNS, Corpus, LabelSet
from augrun.evaluation import validity
from augrun.evaluation.results import Predictions, SamplePredictions

NAMES = ("calm", "dark", "happy")


def corpus(labels: list[tuple[int, ...]], multilabel: bool = False) -> Corpus:
    rows = [{**dict.fromkeys(COLUMNS, ""), "clip_id": str(k), "labels": of} for k, of in enumerate(labels)]
    return Corpus("c", pd.DataFrame(rows, columns=list(COLUMNS)), LabelSet(NAMES, multilabel))


def judged(
    folder: Path,
    taken: list[int],
    made_for: list[tuple[int, ...]],
    recorded: tuple[list[int], list[int]],
    trial: int = 0,
) -> SamplePredictions:
    """Samples that were made for some classes and are taken for others; test clips likewise (taken for, true)."""
    folder.mkdir(parents=True)
    np.savez(folder / "p.npz", samples_scores=np.eye(3)[taken] * 0.5 + 0.1)
    np.savez(folder / "r.npz", test_scores=np.eye(3)[recorded[0]])
    test = corpus([(label,) for label in recorded[1]])
    multilabel = any(len(labels) > 1 for labels in made_for)
    scored = Predictions("official", trial, 1, folder / "r.npz", corpus([]), test)
    return SamplePredictions(folder / "p.npz", corpus(made_for, multilabel), scored)


def test_rows_are_what_was_asked_for_and_trials_are_averaged(tmp_path: Path) -> None:
    first = judged(tmp_path / "a", [0, 1, 1, 1], [(0,), (0,), (1,), (1,)], ([0, 0, 2], [0, 1, 2]))
    second = judged(tmp_path / "b", [0, 0, 1, 2], [(0,), (0,), (1,), (1,)], ([0, 1, 2], [0, 1, 2]), trial=1)
    account = validity.account([first, second])
    assert account["classes"] == list(NAMES)
    assert account["confusion"] == [[3, 1, 0], [0, 3, 1], [0, 0, 0]]
    assert account["normalised"] == [[0.75, 0.25, 0.0], [0.0, 0.75, 0.25], [None, None, None]]
    assert account["validity_trials"] == [[0.5, 1.0, None], [1.0, 0.5, None]]
    assert account["per_class"]["calm"] == {"samples": 4, "validity": 0.75, "recorded": 1.0, "taken_for": 3 / 8}
    assert account["per_class"]["dark"] == {"samples": 4, "validity": 0.75, "recorded": 0.5, "taken_for": 4 / 8}
    assert account["per_class"]["happy"] == {"samples": 0, "validity": None, "recorded": 1.0, "taken_for": 1 / 8}
    assert account["summary"]["validity"]["mean"] == pytest.approx(0.75)
    assert account["summary"]["validity"]["std"] == pytest.approx(0.0)
    # Of the classes that have samples: calm and dark, whose recordings were all recognised once and half of them then.
    assert account["summary"]["recorded"]["mean"] == pytest.approx((0.5 + 1) / 2)
    assert account["summary"]["f1_argmax_macro"]["n"] == 2


def test_folds_of_one_trial_are_averaged_first(tmp_path: Path) -> None:
    one = judged(tmp_path / "a", [0, 1], [(0,), (0,)], ([0], [0]))
    other = judged(tmp_path / "b", [0, 0, 0, 0], [(0,)] * 4, ([1], [0]))
    account = validity.account([one, other])
    assert account["validity_trials"] == [[0.75, None, None]]
    assert account["per_class"]["calm"]["recorded"] == 0.5
    assert account["summary"]["validity"]["std"] is None  # one trial


def test_a_sample_of_several_classes_counts_for_the_one_it_was_made_for(tmp_path: Path) -> None:
    """Its first; the others still count as right in ROC-AUC."""
    account = validity.account([judged(tmp_path / "a", [1, 2], [(1, 0), (0, 2)], ([0], [0]))])
    assert account["confusion"] == [[0, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert account["summary"]["pr_auc_macro"]["mean"] is not None
