"""What a condition leaves behind: `results.json`, predictions, tables, figures and sounds, in one folder.

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
    Judged,
    Left,
    Scored,
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


def write(
    folder: Path,
    about: Mapping[str, Any],
    names: Mapping[str, str],
    fingerprint: str,
    config: Mapping[str, Any],
    left: Sequence[Left],
    recorded: Corpus,
    spectra: Mapping[str, Any],
    near: Near | None = None,
) -> dict[str, Any]:
    """Evaluates every fold and trial and writes everything that a condition leaves behind.

    Args:
        folder: where.
        about: the run's title, the commit it was made with, the fingerprint of its baseline, and what else results
            may depend on (`augrun.experiment.environment`).
        names: the condition: dataset, generator, policy, classifier, protocol, representation, scale, data.
        fingerprint: of the condition.
        config: the resolved configuration.
        left: what each fold and trial left.
        recorded: the recorded clips, some of which primed samples.
        spectra: spectrograms of every class, of a generator that makes them (`augrun.reports.spectra.write`).
        near: how near samples are to recordings, of a generator that makes functionals.

    Returns:
        The means, for the stage's summary.
    """
    import yaml

    scored = [one.scored for one in left]
    label_set = scored[0].test.label_set
    trials = [_trial(folder, one) for one in left]
    summary = summarise(trials, config["confidence"])
    results = {
        "schema": SCHEMA,
        "condition": dict(names),
        "fingerprint": fingerprint,
        "baseline": about["baseline"],
        "classes": list(label_set.names),
        "multilabel": label_set.multilabel,
        "trials": trials,
        "trained_once": not config["trials"]["reseed_generator"] and any(one.generator is not None for one in left),
        "summary": summary,
        "generated": generated_account([one.made for one in left if one.made is not None], label_set.names),
    }
    judged = [one.judged for one in left if one.judged is not None]
    if judged:
        results["label_validity"] = judge(folder, names, judged, config["confidence"])
    if (validation := summarise_validation(trials, config["confidence"])) is not None:
        results["validation"] = validation
    measured = [(one.scored.fold, one.scored.trial, one.quality) for one in left if one.quality is not None]
    if measured:
        results["quality"] = qualify(folder, names, measured, label_set.names, config["confidence"])
    write_text(folder / "results.json", json.dumps(results, indent=1))
    write_text(folder / "record.json", json.dumps(dict(about)))
    write_text(folder / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
    heard = listen(folder, about["title"], names, left[0], recorded, config)
    draw(folder, names["data"], scored, [one.history for one in left], heard)
    if spectra:
        show(folder, names, spectra)
    if near is not None:
        show_vectors(folder, names, config, near)
    return {metric: value["mean"] for metric, value in summary.items()}


def _trial(folder: Path, one: Left) -> dict[str, Any]:
    """A fold's and trial's entry in `results.json`; keeps its predictions and curves."""
    scored = one.scored
    place = f"fold-{scored.fold}-trial-{scored.trial}"
    files = {
        folder / "predictions" / f"{place}.npz": scored.predictions,
        folder / "curves" / f"{place}.json": one.history,
    }
    if one.generator is not None:
        files[folder / "curves" / f"generator-{place}.json"] = one.generator / "history.json"
        files[folder / "health" / f"{place}.json"] = one.generator / "health.json"
    for kept, made in files.items():
        if made.is_file():
            kept.parent.mkdir(exist_ok=True)
            shutil.copyfile(made, kept)
    validated = scored.validated()
    return {
        "fold": scored.fold,
        "trial": scored.trial,
        "seed": scored.seed,
        "metrics": finite(scored.metrics()),
        "predictions": f"predictions/{place}.npz",
    } | ({} if validated is None else {"validation": finite(validated)})


def judge(folder: Path, names: Mapping[str, str], judged: Sequence[Judged], confidence: float) -> dict[str, Any]:
    """Writes `label_validity.json`, its table and figures; returns its summary for `results.json`."""
    from augrun.evaluation import validity
    from augrun.reports import validity as report
    from augrun.reports.tables import DATA

    account = validity.account(judged, confidence)
    account |= {"generator": names["generator"], "data": names["data"], "scale": names["scale"]}
    write_text(folder / LABEL_VALIDITY, json.dumps(account, indent=1, ensure_ascii=False))
    of = {names["generator"]: account}
    report.write(of, folder / "tables")
    report.draw(of, folder / "figures", note=DATA[names["data"]])
    return dict(account["summary"])


def qualify(
    folder: Path,
    names: Mapping[str, str],
    measured: Sequence[tuple[str, int, Mapping[str, Any]]],
    classes: Sequence[str],
    confidence: float,
) -> dict[str, Any]:
    """Writes `quality.json`; returns its summary for `results.json`."""
    from augrun.evaluation import quality

    account = quality.account(measured, classes, confidence)
    account |= {"generator": names["generator"], "data": names["data"], "scale": names["scale"]}
    write_text(folder / QUALITY, json.dumps(account, indent=1, ensure_ascii=False))
    return dict(account["summary"])


def listen(
    folder: Path, title: str, names: Mapping[str, str], left: Left, recorded: Corpus, config: Mapping[str, Any]
) -> list[Heard]:
    """Keeps some primes and samples in `audio/`, each with its spectrogram, and writes the page that plays them."""
    from augrun.reports import kept_sounds, listening
    from augrun.reports.tables import DATA

    if left.made is None:
        return []
    holds_prime = bool(config["generator"].get("keep_prime"))
    heard = kept_sounds.keep(folder, left.made.samples, recorded, left.judged, holds_prime)
    if not heard:
        return []
    told = "".join(f" {names['generator']}: {note}" for note in left.made.account["notes"])
    note = f"{DATA[names['data']]} Scale: {names['scale']}.{told}"
    listening.write_pictures(heard, note)
    columns, classes = {names["generator"]: heard}, left.made.samples.label_set.names
    workers = max(1, config["trainer"]["workers"])
    listening.write_page(folder / LISTEN, title, columns, note, classes, workers=workers)
    return heard


def draw(folder: Path, data: str, scored: Sequence[Scored], histories: Sequence[Path], heard: Sequence[Heard]) -> None:
    """Writes `per_class.json` and the figures."""
    from augrun.evaluation import metrics
    from augrun.reports import figures, kept_sounds
    from augrun.reports.tables import DATA

    label_set = scored[0].test.label_set
    note = DATA[data]
    metric = "pr_auc" if label_set.multilabel else "recall_argmax"
    by_trial = {entry.trial: [e.per_class(metric) for e in scored if e.trial == entry.trial] for entry in scored}
    first = [entry for entry in scored if entry.trial == scored[0].trial]
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
        counts = np.sum([metrics.confusion(e.load(), e.test.first_labels()) for e in scored], axis=0)
        write_text(folder / CONFUSION, json.dumps(counts.tolist()))
        figures.confusion(counts, label_set.names, folder / "figures" / "confusion.png", note=note)
    curves = {
        f"fold {entry.fold}, trial {entry.trial}": json.loads(history.read_text(encoding="utf-8"))
        for entry, history in zip(scored, histories, strict=True)
    }
    if any(curves.values()):  # some classifiers do not learn epoch by epoch
        figures.learning_curves(curves, folder / "figures" / "learning_curves.png", note=note)
    pairs = kept_sounds.pairs(heard)[:PAIRS]
    if pairs:
        figures.spectrograms(pairs, folder / "figures" / "spectrograms.png", note=note)


def show(folder: Path, names: Mapping[str, str], spectra: Mapping[str, Any]) -> None:
    """Writes `spectra.npz` and the figure of recorded and generated spectrograms."""
    from augrun.reports import spectra as report
    from augrun.reports.tables import DATA

    report.write(folder, **spectra)
    columns = {"recorded": spectra["recorded"], names["generator"]: spectra["generated"]}
    report.draw(columns, spectra["classes"], folder / "figures" / "generated_spectrograms.png", DATA[names["data"]])


def show_vectors(folder: Path, names: Mapping[str, str], config: Mapping[str, Any], near: Near) -> None:
    """Writes `feature_means.json` and the figure of some functionals' means and deviations."""
    from augrun.core.config.component import build
    from augrun.reports import feature_means
    from augrun.reports.tables import DATA

    groups = {"target": near.target, "source": near.source, names["generator"]: near.synthetic}
    present = {group: means for group, means in groups.items() if means is not None}
    functionals = build(config["representation"]).names()
    path = folder / "figures" / "feature_means.png"
    feature_means.draw(present, functionals, path, f"{DATA[names['data']]} Scale: {names['scale']}.")
    write_text(folder / "feature_means.json", json.dumps(finite(near.differences), ensure_ascii=False))


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Metrics as JSON can hold them: what is undefined is null."""
    return {name: float(value) if np.isfinite(value) else None for name, value in metrics.items()}
