"""What MLflow's pages say of an experiment and of a condition, in Markdown, and by how much a condition is better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from augrun.core.data_kinds import DATA_KINDS
from augrun.core.files import read_json
from augrun.tracking import saved_view
from augrun.tracking.formatting import is_number

#: What is told of a difference from the baseline, beside itself.
OF_GAIN = ("ci_low", "ci_high", "p")

_EXPERIMENT = """\
**Which generator helps on which corpus?** Open the view *{view}* (button *Views*), or the charts of `gain`.{standins}

A generator's samples are added to a classifier's training data, and the classifier is set beside its baseline: the same
one, trained on recordings alone.

{corpora}
**How to read it**

- *Chart view*, section `gain`: one bar a condition. `gain/<metric>` is the difference of the metric on the test part
  from the baseline's; above 0 it was higher. Whether by more than noise, its interval says.
- *Table*: columns `dataset`, `generator`, `policy`, `classifier`, `gain/<metric>`, and `gain/<metric>/ci_low`,
  `/ci_high`, `/p`: an interval that holds 0 shows no gain and no loss. `p` is this condition's alone; a sweep's
  table corrects it over rows. No interval, no p: too few trials or speakers.
- *Compare*: select runs; the parallel coordinates take `dataset`, `generator` and `gain/<metric>`.
- Filter: ``tags.`augrun.kind` = 'condition'`` shows conditions alone, ``params.dataset = '…'`` those on one corpus.

Each run at the top is a condition, named `dataset/generator/policy/classifier`; below it lies a run for each fold and
trial, with its learning curves. `test/<metric>/mean`, `/std`, `/ci_low`, `/ci_high` are over trials. A run of
`augrun.kind` `sweep` holds a sweep's comparison: `tables/comparison.html` and `report.html` among its artifacts.

Tag `augrun.data` says what was measured on: `published`, `other`, or `standin`. What was measured on a stand-in says
nothing about the real corpus of that name.
"""


def experiment_note(corpora: Iterable[str]) -> str:
    """What an experiment is and how to read it.

    Args:
        corpora: those of its conditions, as `corpus_word` has them.
    """
    kinds = [(corpus, kind) for corpus, _, kind in (one.partition("=") for one in corpora)]
    lines = [
        f"- `{corpus}`: {DATA_KINDS[kind].tracked_corpus if kind in DATA_KINDS else kind}" for corpus, kind in kinds
    ]
    rendered = [kind == "standin" for _, kind in kinds]
    # In the first line, which is all that MLflow shows of a folded description.
    standins = (
        f" **{'All' if all(rendered) else 'Some'} of it on stand-ins, not on real corpora.**" if any(rendered) else ""
    )
    told = "\n".join(["**Corpora**", "", *lines, ""]) if lines else ""
    return _EXPERIMENT.format(view=saved_view.NAME, standins=standins, corpora=told)


def corpus_word(names: Mapping[str, str]) -> str:
    """A condition's corpus and what kind of data it is, in a word."""
    return f"{names['dataset']}={names.get('data', 'of unknown origin')}"


def gains(comparison: Path) -> dict[str, dict[str, float]]:
    """By how much a condition differs from its baseline, where the two alone were compared.

    Args:
        comparison: the folder of the comparison; the condition is its last row.

    Returns:
        For each metric its `gain`, and those of `OF_GAIN` that are known.
    """
    table = read_json(comparison / "tables" / "comparison.json")
    rows = {row["row"]: row["measured"] for row in table.get("rows", ())}
    reference = rows.get(table.get("reference"))
    if reference is None or len(rows) != 2 or next(iter(rows)) != table["reference"]:
        return {}
    found: dict[str, dict[str, float]] = {}
    for metric, values in list(rows.values())[1].items():
        told = values.get("difference") or {}
        gain, means = told.get("difference"), (values.get("mean"), reference.get(metric, {}).get("mean"))
        if gain is None and all(map(is_number, means)):
            gain = means[0] - means[1]
        if is_number(gain):
            found[metric] = {"gain": gain} | {key: told[key] for key in OF_GAIN if is_number(told.get(key))}
    return found


def gain_metrics(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The same as MLflow's metrics: `gain/uar`, `gain/uar/ci_low`, …"""
    return {
        f"gain/{metric}" if name == "gain" else f"gain/{metric}/{name}": value
        for metric, values in found.items()
        for name, value in values.items()
    }


def choices(comparison: Path) -> dict[str, str]:
    """What the rows of a comparison chose, as parameters: `dataset`, `generator`, …"""
    table = read_json(comparison / "tables" / "comparison.json") or {}
    rows = [row["condition"] for row in table.get("rows", ())]
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: ", ".join(dict.fromkeys(str(row[key]) for row in rows if key in row)) for key in keys}


def note(
    results: Mapping[str, Any], config: Mapping[str, Any], found: Mapping[str, Mapping[str, float]] | None = None
) -> str:
    """A condition's results in Markdown, for the run's page.

    Args:
        results: the content of `results.json`.
        config: the resolved configuration.
        found: its gains, where they are known already.
    """
    condition, made = results["condition"], results.get("generated") or {}
    lines = [_sentence(results, config), ""]
    kind = DATA_KINDS.get(condition.get("data", ""))
    lines += [f"Data: {kind.tracked_run if kind else 'of unknown origin'}. Scale: {condition.get('scale')}.", ""]
    if made.get("clips"):
        lines += [f"Generated: {made['clips']:g} clips, {made['seconds']:.0f} s per fold and trial.", ""]
    level = f"{100 * config.get('confidence', 0.95):g} %"
    head = ["metric", "mean", "std over trials", "trials"]
    head += ["gain over the baseline", level, "p"] if found else []
    lines += [_row(head), _row(["---"] * len(head))]
    for metric, values in results["summary"].items():
        mean, std = ("–" if values[name] is None else f"{values[name]:.4f}" for name in ("mean", "std"))
        cells = [metric, mean, std, str(values["n"])]
        lines.append(_row(cells + (_gain((found or {}).get(metric, {})) if found else [])))
    if found:
        lines += ["", "Where there is no interval or no p, `tables/comparison.md` says why."]
    return "\n".join(lines)


def _sentence(results: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """What the condition is."""
    names = results["condition"]
    corpus, generator, policy = (names[key] for key in ("dataset", "generator", "policy"))
    composition = (config.get("policy") or {}).get("composition", "both")
    if generator == "none":
        all_of_it = policy in ("none", "real")
        what = f"recordings of `{corpus}` alone" + ("" if all_of_it else f", as `{policy}` leaves them")
        what += ": the baseline that others are set beside" if all_of_it else ""
    else:
        samples = f"samples of the generator `{generator}`, as many as `{policy}` wants"
        alone = {"synthetic": f"{samples}, and on no recordings", "recorded": f"recordings of `{corpus}` alone"}
        what = alone.get(composition, f"recordings of `{corpus}` and on {samples}")
    folds = {str(entry["fold"]) for entry in results["trials"]}
    trials = {str(entry["trial"]) for entry in results["trials"]}
    counts = ", ".join(
        f"{len(those)} {word}{'' if len(those) == 1 else 's'}" for those, word in ((folds, "fold"), (trials, "trial"))
    )
    how = f"Protocol `{names.get('protocol')}` ({counts}), representation `{names.get('representation')}`."
    return f"The classifier `{names['classifier']}`, trained on {what}. {how}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _gain(values: Mapping[str, float]) -> list[str]:
    """A metric's last cells: gain, interval, p."""
    gain = f"{values['gain']:+.4f}" if "gain" in values else "–"
    interval = f"[{values['ci_low']:+.4f}, {values['ci_high']:+.4f}]" if {"ci_low", "ci_high"} <= set(values) else "–"
    return [gain, interval, f"{values['p']:.3g}" if "p" in values else "–"]
