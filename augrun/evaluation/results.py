"""From predictions to `results.json`: metrics of every fold and trial, and their summary over trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augrun.corpora.corpus import Corpus

#: The file with a fold's and trial's scores; `augrun.evaluation.decisions` says what is in it.
PREDICTIONS = "predictions.npz"

#: The file with what the baseline's classifier takes a condition's samples for (`augrun.evaluation.validity`).
LABEL_VALIDITY = "label_validity.json"

#: The file with how near a condition's samples are to recordings (`augrun.evaluation.quality`).
QUALITY = "quality.json"

#: The file with a condition's confusions, summed over folds and trials.
CONFUSION = "confusion.json"

#: The page that plays primes and samples (`augrun.reports.listening`).
LISTEN = "listen.html"


@dataclass(frozen=True)
class Predictions:
    """A classifier's scores on the validation and test parts of one fold and trial.

    Attributes:
        fold: the fold's name.
        trial: the trial's number, from 0.
        seed: the trial's seed.
        path: the npz file that `augrun.evaluation.decisions` describes.
        validation: the fold's validation part, a row an utterance.
        test: the fold's test part, a row an utterance.
    """

    fold: str
    trial: int
    seed: int
    path: Path
    validation: Corpus
    test: Corpus

    def load(self, part: str = "test") -> np.ndarray:
        """The scores of a part."""
        with np.load(self.path) as file:
            return file[f"{part}_scores"]

    def metrics(self) -> dict[str, float]:
        """All metrics of the test part; thresholds come from the validation part."""
        from augrun.evaluation import metrics  # brings torch, which a repeat does without

        return metrics.evaluate(
            self.load(),
            self.test.targets(),
            self.test.first_labels(),
            multilabel=self.test.label_set.multilabel,
            validation=(self.load("validation"), self.validation.targets()) if len(self.validation) else None,
        )

    def validation_metrics(self) -> dict[str, float] | None:
        """The metrics of the validation part, by which settings may be chosen; None where nothing is held out.

        Those that need a threshold of each class are left out: it would be fitted on the clips that it is judged by, so
        that what is `f1_val` on the test part is here the upper bound that `f1_oracle` is there, the higher the fewer
        clips there are. What is left orders clips or takes the best class, and fits nothing. Early stopping has looked
        at the same clips, in every trial alike: the values are for choosing, not for reporting.
        """
        from augrun.evaluation import metrics

        if not len(self.validation):
            return None
        found = metrics.evaluate(
            self.load("validation"),
            self.validation.targets(),
            self.validation.first_labels(),
            multilabel=self.validation.label_set.multilabel,
            validation=None,
        )
        return {name: value for name, value in found.items() if not name.startswith("f1_oracle")}

    def per_class(self, metric: str) -> np.ndarray:
        """A metric of each class on the test part, shape (classes,); NaN where it is undefined."""
        from augrun.evaluation import metrics

        labels = self.test.first_labels()
        multilabel = self.test.label_set.multilabel
        return metrics.per_class(self.load(), self.test.targets(), labels, multilabel=multilabel)[metric]


@dataclass(frozen=True)
class SamplePredictions:
    """What the baseline's classifier, trained on recordings alone, takes the samples of one fold and trial for.

    Attributes:
        path: the npz file with `samples_scores`, shape (samples, classes).
        samples: the samples.
        on_recordings: the same classifier's scores on recordings.
    """

    path: Path
    samples: Corpus
    on_recordings: Predictions

    def load(self) -> np.ndarray:
        """The scores, shape (samples, classes)."""
        with np.load(self.path) as file:
            return file["samples_scores"]


@dataclass(frozen=True)
class GeneratedSamples:
    """The samples of one fold and trial, and the account of them.

    Attributes:
        samples: the clips.
        account: what was generated (`augrun.generators.samples.account`).
        train_seconds: duration of the recorded train part.
    """

    samples: Corpus
    account: Mapping[str, Any]
    train_seconds: float


@dataclass(frozen=True)
class FoldTrialResult:
    """All results of one fold and trial.

    Attributes:
        predictions: the classifier's scores on the validation and test parts.
        history: the classifier's learning curves.
        generator: the folder of the fitted generator; None where none was fitted.
        generated_samples: the samples; None for the baseline.
        sample_predictions: what the baseline's classifier takes the samples for; None without samples, or without a
            baseline.
        quality: how near they are to recordings in that classifier's embedding, as `augrun.evaluation.quality.measure`
            has it; None also where it has none.
    """

    predictions: Predictions
    history: Path
    generator: Path | None = None
    generated_samples: GeneratedSamples | None = None
    sample_predictions: SamplePredictions | None = None
    quality: Mapping[str, Any] | None = None


def trial_means(trials: Sequence[Mapping[str, Any]], metric: str) -> np.ndarray:
    """The metric of each trial, averaged over its folds; shape (trials,). Where it is undefined it is left out."""
    numbers = sorted({entry["trial"] for entry in trials})
    values = [_values(trials, metric, number) for number in numbers]
    return np.array([np.mean(of_trial) for of_trial in values if of_trial], dtype=np.float64)


def _values(trials: Sequence[Mapping[str, Any]], metric: str, trial: int) -> list[float]:
    return [e["metrics"][metric] for e in trials if e["trial"] == trial and e["metrics"].get(metric) is not None]


def summarise_validation(
    trials: Sequence[Mapping[str, Any]], confidence: float = 0.95
) -> dict[str, dict[str, float | int | None]] | None:
    """The same of the validation part; None where a fold has none."""
    if any("validation" not in entry for entry in trials):
        return None
    return summarise([{**entry, "metrics": entry["validation"]} for entry in trials], confidence)


def summarise(
    trials: Sequence[Mapping[str, Any]], confidence: float = 0.95
) -> dict[str, dict[str, float | int | None]]:
    """Mean, spread and interval of each metric over trials.

    A trial's metric is the mean over its folds. `std` is the sample standard deviation over trials, the
    interval Student's t over trials; both are null for a single trial. `std_over_folds` is the standard
    deviation over folds within a trial, averaged over trials; null for a single fold.

    Args:
        trials: entries with `fold`, `trial` and `metrics`.
        confidence: the interval's level.
    """
    from scipy import stats

    summary: dict[str, dict[str, float | int | None]] = {}
    for metric in trials[0]["metrics"]:
        means = trial_means(trials, metric)
        count = len(means)
        mean = float(means.mean()) if count else None
        std = float(means.std(ddof=1)) if count > 1 else None
        half = None if std is None else float(stats.t.ppf((1 + confidence) / 2, count - 1)) * std / math.sqrt(count)
        spreads = [
            float(np.std(values, ddof=1))
            for number in sorted({entry["trial"] for entry in trials})
            if len(values := _values(trials, metric, number)) > 1
        ]
        summary[metric] = {
            "mean": mean,
            "std": std,
            "n": count,
            "ci_low": None if mean is None or half is None else mean - half,
            "ci_high": None if mean is None or half is None else mean + half,
            "std_over_folds": float(np.mean(spreads)) if spreads else None,
        }
    return summary


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is not NaN; NaN where nothing is."""
    defined = np.isfinite(values)
    count = defined.sum(axis=0)
    total = np.where(defined, values, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def generated_account(made: Sequence[GeneratedSamples], names: Sequence[str]) -> dict[str, Any]:
    """What was made, per fold and trial on average: `results.json`'s `generated`.

    `clips`, `seconds` and `seconds_per_class`; where there are samples also `share_of_train` (their seconds over those
    of the train part), `clips_per_class`, `type`, `sample_s`, `prime_s`, `sample_rates`, `reused` and `shortfalls`, as
    `augrun.generators.samples.account` has them, and the generator's `notes`.
    """
    if not made:
        return {"clips": 0, "seconds": 0.0, "seconds_per_class": {}}
    accounts = [one.account for one in made]
    per_class = np.mean([one.samples.seconds_per_class() for one in made], axis=0)
    counts = np.mean([[a["clips_per_class"].get(str(k), 0) for k in range(len(names))] for a in accounts], axis=0)
    return {
        "clips": float(np.mean([len(one.samples) for one in made])),
        "seconds": float(np.mean([one.samples.seconds for one in made])),
        "seconds_per_class": {name: float(value) for name, value in zip(names, per_class, strict=True)},
        "share_of_train": float(np.mean([one.samples.seconds / one.train_seconds for one in made])),
        "clips_per_class": {name: float(count) for name, count in zip(names, counts, strict=True)},
        "type": accounts[0]["type"],
        "sample_s": _span([account["sample_s"] for account in accounts]),
        "prime_s": _span([account["prime_s"] for account in accounts]),
        "sample_rates": sorted({rate for account in accounts for rate in account["sample_rates"]}),
        "reused": float(np.mean([account["reused"] for account in accounts])),
        "shortfalls": _mean_of_each([account["shortfalls"] for account in accounts]),
        "notes": list(dict.fromkeys(note for account in accounts for note in account["notes"])),
    }


def _span(spreads: Sequence[Mapping[str, float] | None]) -> dict[str, float] | None:
    """Mean, smallest and largest over folds and trials."""
    known = [spread for spread in spreads if spread]
    if not known:
        return None
    found = {"min": min(s["min"] for s in known), "max": max(s["max"] for s in known)}
    return {"mean": float(np.mean([s["mean"] for s in known])), **found}


def _mean_of_each(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Sums by name over how many there are; what one lacks counts as none."""
    names = dict.fromkeys(name for one in values for name in one)
    return {name: sum(one.get(name, 0.0) for one in values) / len(values) for name in names}
