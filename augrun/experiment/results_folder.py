"""The results folder of a condition: `results.json`, predictions, tables, figures and sounds.

results.json        metrics by fold and trial, their summary, the same of the validation part (`validation`, to choose
                    settings by), what was generated, its label validity and quality
label_validity.json what the baseline's classifier takes the samples for
quality.json        how near the samples are to recordings in that classifier's embedding, where it has one
record.json         the run's title and what it was made with: commit, versions, device, digests of corpora
config.yaml         the resolved configuration
predictions/        scores on the validation and test parts, one npz a fold and trial
per_class.json      the main metric of each class, by trial
curves/             each classifier's learning curves, and those of its generator
health/             what a generator says of its own training, such as a collapse
cost.json           seconds and memory of the condition's own stages
profile/            with profile=true: traces and what each stage cost (`augrun.experiment.profiling`)
confusion.json      clips by true class (row) and the one that they were taken for, of all folds and trials
figures/            confusion matrix (one class a clip), learning curves, spectrograms, means of functionals
audio/              some primes and samples of every class, WAV and spectrogram
listen.html         a page that plays them
feature_means.json  how near a generator's functionals are to recorded ones (first fold and trial), by column of
                    `augrun.reports.feature_means`
spectra.npz         spectrograms of every class, of a generator that makes them instead of sounds; of a class that the
                    policy wants no samples of, some that were made for this alone
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augrun.core.files import write_text
from augrun.corpora.corpus import Corpus
from augrun.evaluation.results import (
    CONFUSION,
    LABEL_VALIDITY,
    LISTEN,
    QUALITY,
    FoldTrialResult,
    Predictions,
    SamplePredictions,
    generated_account,
    mean_of_defined,
    summarise,
    summarise_validation,
)

if TYPE_CHECKING:
    from augrun.reports.feature_means import Near
    from augrun.reports.listening import Heard

SCHEMA = 1

#: Pairs of prime and sample in the figure of spectrograms.
PAIRS = 8


def write_results(
    folder: Path,
    about: Mapping[str, Any],
    names: Mapping[str, str],
    fingerprint: str,
    config: Mapping[str, Any],
    fold_trial_results: Sequence[FoldTrialResult],
    recordings: Corpus,
    spectra: Mapping[str, Any],
    near: Near | None = None,
) -> dict[str, Any]:
    """Evaluate every fold and trial, and write all results of a condition into its folder.

    Args:
        folder: where.
        about: the run's title, the commit it was made with, the fingerprint of its baseline, and what else results
            may depend on (`augrun.experiment.environment`).
        names: the condition: dataset, generator, policy, classifier, protocol, representation, scale, data.
        fingerprint: of the condition.
        config: the resolved configuration.
        fold_trial_results: the results of each fold and trial.
        recordings: the recorded clips, some of which primed samples.
        spectra: spectrograms of every class, of a generator that makes them (`augrun.reports.spectra.write`).
        near: how near samples are to recordings, of a generator that makes functionals.

    Returns:
        The means, for the stage's summary.
    """
    import yaml

    predictions = [one.predictions for one in fold_trial_results]
    label_set = predictions[0].test.label_set
    trials = [_write_fold_trial(folder, one) for one in fold_trial_results]
    samples = [one.generated_samples for one in fold_trial_results if one.generated_samples is not None]
    summary = summarise(trials, config["confidence"])
    results = {
        "schema": SCHEMA,
        "condition": dict(names),
        "fingerprint": fingerprint,
        "baseline": about["baseline"],
        "classes": list(label_set.names),
        "multilabel": label_set.multilabel,
        "trials": trials,
        "trained_once": not config["trials"]["reseed_generator"]
        and any(one.generator is not None for one in fold_trial_results),
        "summary": summary,
        "generated": generated_account(samples, label_set.names),
    }
    sample_predictions = [one.sample_predictions for one in fold_trial_results if one.sample_predictions is not None]
    if sample_predictions:
        results["label_validity"] = write_label_validity(folder, names, sample_predictions, config["confidence"])
    if (validation := summarise_validation(trials, config["confidence"])) is not None:
        results["validation"] = validation
    qualities = [
        (one.predictions.fold, one.predictions.trial, one.quality)
        for one in fold_trial_results
        if one.quality is not None
    ]
    if qualities:
        results["quality"] = write_quality(folder, names, qualities, label_set.names, config["confidence"])
    write_text(folder / "results.json", json.dumps(results, indent=1))
    write_text(folder / "record.json", json.dumps(dict(about)))
    write_text(folder / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
    sounds = write_sounds(folder, about["title"], names, fold_trial_results[0], recordings, config)
    write_figures(folder, names["data"], predictions, [one.history for one in fold_trial_results], sounds)
    if spectra:
        write_spectra(folder, names, spectra)
    if near is not None:
        write_functionals(folder, names, config, near)
    return {metric: value["mean"] for metric, value in summary.items()}


def _write_fold_trial(folder: Path, result: FoldTrialResult) -> dict[str, Any]:
    """Copy predictions and curves of a fold and trial; return its entry in `results.json`."""
    predictions = result.predictions
    place = f"fold-{predictions.fold}-trial-{predictions.trial}"
    sources = {
        folder / "predictions" / f"{place}.npz": predictions.path,
        folder / "curves" / f"{place}.json": result.history,
    }
    if result.generator is not None:
        sources[folder / "curves" / f"generator-{place}.json"] = result.generator / "history.json"
        sources[folder / "health" / f"{place}.json"] = result.generator / "health.json"
    for copy, source in sources.items():
        if source.is_file():
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, copy)
    validation = predictions.validation_metrics()
    return {
        "fold": predictions.fold,
        "trial": predictions.trial,
        "seed": predictions.seed,
        "metrics": undefined_as_null(predictions.metrics()),
        "predictions": f"predictions/{place}.npz",
    } | ({} if validation is None else {"validation": undefined_as_null(validation)})


def write_label_validity(
    folder: Path, names: Mapping[str, str], sample_predictions: Sequence[SamplePredictions], confidence: float
) -> dict[str, Any]:
    """Write `label_validity.json`, its table and figures; return its summary for `results.json`."""
    from augrun.evaluation import validity
    from augrun.reports import validity as report
    from augrun.reports.tables import DATA

    account = validity.account(sample_predictions, confidence)
    account |= {"generator": names["generator"], "data": names["data"], "scale": names["scale"]}
    write_text(folder / LABEL_VALIDITY, json.dumps(account, indent=1, ensure_ascii=False))
    accounts = {names["generator"]: account}
    report.write(accounts, folder / "tables")
    report.draw(accounts, folder / "figures", note=DATA[names["data"]])
    return dict(account["summary"])


def write_quality(
    folder: Path,
    names: Mapping[str, str],
    qualities: Sequence[tuple[str, int, Mapping[str, Any]]],
    classes: Sequence[str],
    confidence: float,
) -> dict[str, Any]:
    """Write `quality.json`; return its summary for `results.json`."""
    from augrun.evaluation import quality

    account = quality.account(qualities, classes, confidence)
    account |= {"generator": names["generator"], "data": names["data"], "scale": names["scale"]}
    write_text(folder / QUALITY, json.dumps(account, indent=1, ensure_ascii=False))
    return dict(account["summary"])


def write_sounds(
    folder: Path,
    title: str,
    names: Mapping[str, str],
    result: FoldTrialResult,
    recordings: Corpus,
    config: Mapping[str, Any],
) -> list[Heard]:
    """Copy some primes and samples to `audio/`, draw the spectrogram of each, and write the page that plays them."""
    from augrun.reports import kept_sounds, listening
    from augrun.reports.tables import DATA

    if result.generated_samples is None:
        return []
    samples, account = result.generated_samples.samples, result.generated_samples.account
    holds_prime = bool(config["generator"].get("keep_prime"))
    sounds = kept_sounds.keep(folder, samples, recordings, result.sample_predictions, holds_prime)
    if not sounds:
        return []
    notes = "".join(f" {names['generator']}: {note}" for note in account["notes"])
    note = f"{DATA[names['data']]} Scale: {names['scale']}.{notes}"
    listening.write_pictures(sounds, note)
    columns, classes = {names["generator"]: sounds}, samples.label_set.names
    workers = max(1, config["trainer"]["workers"])
    listening.write_page(folder / LISTEN, title, columns, note, classes, workers=workers)
    return sounds


def write_figures(
    folder: Path, data: str, predictions: Sequence[Predictions], histories: Sequence[Path], sounds: Sequence[Heard]
) -> None:
    """Write `per_class.json`, `confusion.json` and the figures."""
    from augrun.evaluation import metrics
    from augrun.reports import figures, kept_sounds
    from augrun.reports.tables import DATA

    label_set = predictions[0].test.label_set
    note = DATA[data]
    metric = "pr_auc" if label_set.multilabel else "recall_argmax"
    by_trial = {
        entry.trial: [e.per_class(metric) for e in predictions if e.trial == entry.trial] for entry in predictions
    }
    first = [entry for entry in predictions if entry.trial == predictions[0].trial]
    account = {
        "metric": metric,
        "support": np.sum([entry.test.targets().sum(axis=0) for entry in first], axis=0).astype(int).tolist(),
        "trials": [
            [None if np.isnan(value) else float(value) for value in mean_of_defined(np.array(values))]
            for values in by_trial.values()
        ],
    }
    write_text(folder / "per_class.json", json.dumps(account))
    if not label_set.multilabel:
        counts = np.sum([metrics.confusion(e.load(), e.test.first_labels()) for e in predictions], axis=0)
        write_text(folder / CONFUSION, json.dumps(counts.tolist()))
        figures.confusion(counts, label_set.names, folder / "figures" / "confusion.png", note=note)
    curves = {
        f"fold {entry.fold}, trial {entry.trial}": json.loads(history.read_text(encoding="utf-8"))
        for entry, history in zip(predictions, histories, strict=True)
    }
    if any(curves.values()):  # some classifiers do not learn epoch by epoch
        figures.learning_curves(curves, folder / "figures" / "learning_curves.png", note=note)
    pairs = kept_sounds.pairs(sounds)[:PAIRS]
    if pairs:
        figures.spectrograms(pairs, folder / "figures" / "spectrograms.png", note=note)


def write_spectra(folder: Path, names: Mapping[str, str], spectra: Mapping[str, Any]) -> None:
    """Write `spectra.npz` and the figure of recorded and generated spectrograms."""
    from augrun.reports import spectra as report
    from augrun.reports.tables import DATA

    report.write(folder, **spectra)
    columns = {"recorded": spectra["recorded"], names["generator"]: spectra["generated"]}
    report.draw(columns, spectra["classes"], folder / "figures" / "generated_spectrograms.png", DATA[names["data"]])


def write_functionals(folder: Path, names: Mapping[str, str], config: Mapping[str, Any], near: Near) -> None:
    """Write `feature_means.json` and the figure of some functionals' means and deviations."""
    from augrun.core.config.component import build
    from augrun.reports import feature_means
    from augrun.reports.tables import DATA

    groups = {"target": near.target, "source": near.source, names["generator"]: near.synthetic}
    present = {group: means for group, means in groups.items() if means is not None}
    functionals = build(config["representation"]).names()
    path = folder / "figures" / "feature_means.png"
    feature_means.draw(present, functionals, path, f"{DATA[names['data']]} Scale: {names['scale']}.")
    write_text(folder / "feature_means.json", json.dumps(undefined_as_null(near.differences), ensure_ascii=False))


def undefined_as_null(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Return metrics as JSON can hold them: NaN and infinity become null."""
    return {name: float(value) if np.isfinite(value) else None for name, value in metrics.items()}
