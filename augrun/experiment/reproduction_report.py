"""Whether two runs of one condition have the same figures, and in what their circumstances differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core.files import read_json
from augrun.core.store.stages import MANIFEST

EXACTLY, DIFFERS = "exactly", "differs"


@dataclass(frozen=True)
class MetricAgreement:
    """One metric's mean, twice.

    Attributes:
        name: of the metric; `label_validity/…` of what the baseline's classifier says of the samples.
        recorded_mean: its mean; None where it is undefined.
        reproduced_mean: the same of the new run.
        verdict: `exactly`, `within …` or `differs`.
    """

    name: str
    recorded_mean: float | None
    reproduced_mean: float | None
    verdict: str

    @property
    def difference(self) -> float | None:
        """The new mean less the recorded one."""
        if self.recorded_mean is None or self.reproduced_mean is None:
            return None
        return self.reproduced_mean - self.recorded_mean

    def as_json(self) -> dict[str, Any]:
        """Return it as `reproduction.json` has it."""
        means = {"recorded": self.recorded_mean, "reproduced": self.reproduced_mean}
        return {"name": self.name, **means, "verdict": self.verdict}


@dataclass(frozen=True)
class Agreement:
    """Two runs of a condition, compared.

    Attributes:
        metrics: each metric's mean.
        trials: folds and trials of both.
        trials_agreeing: those of them whose every metric agrees.
        scores: test scores of both, of the folds and trials whose predictions are at hand; 0 where none are.
        scores_agreeing: those that agree.
        greatest: the greatest difference between two scores; None where none are at hand.
    """

    metrics: tuple[MetricAgreement, ...]
    trials: int
    trials_agreeing: int
    scores: int
    scores_agreeing: int
    greatest: float | None

    @property
    def agrees(self) -> bool:
        """Whether every metric does, of the whole as of each fold and trial."""
        return self.trials == self.trials_agreeing and all(one.verdict != DIFFERS for one in self.metrics)

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as `reproduction.json` has it."""
        return {"agrees": self.agrees, **asdict(self), "metrics": [metric.as_json() for metric in self.metrics]}


def compare_runs(recorded: Path, reproduced: Path, tolerance: float) -> Agreement:
    """Compare the results of two runs.

    Args:
        recorded: a folder with `results.json`, and `predictions/` where they are at hand.
        reproduced: the other.
        tolerance: the largest difference that counts as agreement.
    """
    old, new = (read_json(folder / "results.json") for folder in (recorded, reproduced))
    metrics = [
        MetricAgreement(name, means.get("recorded"), means.get("reproduced"), verdict(means, tolerance))
        for name, means in _means(old, new).items()
    ]
    trials = {(str(entry["fold"]), entry["trial"]): entry for entry in old["trials"]}
    others = {(str(entry["fold"]), entry["trial"]): entry for entry in new["trials"]}
    both = dict.fromkeys([*trials, *others])
    alike = sum(
        place in trials
        and place in others
        and _all_agree(trials[place]["metrics"], others[place]["metrics"], tolerance)
        for place in both
    )
    gaps = [
        _gaps(recorded / trials[place]["predictions"], reproduced / others[place]["predictions"])
        for place in trials
        if place in others
    ]
    gap = np.concatenate([found for found in gaps if found is not None] or [np.zeros(0)])
    greatest = float(gap.max()) if len(gap) else None
    return Agreement(tuple(metrics), len(both), alike, len(gap), int((gap <= tolerance).sum()), greatest)


def _means(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each metric's means by run."""
    means: dict[str, dict[str, Any]] = {}
    for which, results in (("recorded", old), ("reproduced", new)):
        further = {
            f"{what}/{name}": values
            for what in ("label_validity", "quality")
            for name, values in (results.get(what) or {}).items()
        }
        made = results.get("generated") or {}
        further |= {f"generated/{name}": {"mean": made[name]} for name in ("clips", "seconds") if name in made}
        for name, values in {**results["summary"], **further}.items():
            if isinstance(values, Mapping) and "mean" in values:
                means.setdefault(name, {})[which] = values["mean"]
    return means


def verdict(means: Mapping[str, float | None], tolerance: float) -> str:
    """Return how two means of a metric agree; a metric that one of them lacks differs."""
    if len(means) < 2:
        return DIFFERS
    one, two = (math.nan if value is None else value for value in means.values())
    if one == two or (math.isnan(one) and math.isnan(two)):
        return EXACTLY
    return f"within {tolerance:g}" if abs(one - two) <= tolerance else DIFFERS


def _all_agree(old: Mapping[str, float | None], new: Mapping[str, float | None], tolerance: float) -> bool:
    names = {*old, *new}
    pairs = [{which: run[name] for which, run in (("a", old), ("b", new)) if name in run} for name in names]
    return all(verdict(pair, tolerance) != DIFFERS for pair in pairs)


def _gaps(old: Path, new: Path) -> np.ndarray | None:
    """Differences of the test scores, absolute, flat; infinite where they are of other clips; None without both."""
    if not (old.is_file() and new.is_file()):
        return None
    with np.load(old) as one, np.load(new) as two:
        scores, others = one["test_scores"], two["test_scores"]
        same = scores.shape == others.shape and np.array_equal(one["test_clips"], two["test_clips"])
    if not same:
        return np.full(scores.size, np.inf)
    gap = np.abs(scores.astype(float) - others.astype(float))
    gap[np.isnan(scores) & np.isnan(others)] = 0.0
    return np.nan_to_num(gap, nan=np.inf).ravel()


def environment_differences(recorded: Path, reproduced: Path, overrides: Sequence[str]) -> list[str]:
    """Return in what two runs differ beside their figures, a line each."""
    old, new = (read_json(folder / "record.json") for folder in (recorded, reproduced))
    lines = _changed("commit", old.get("commit"), new.get("commit"))
    if "versions" in old:
        lines += _changes("", old["versions"], new["versions"])
        lines += _changes("device: ", old["device"], new["device"])
        for role in dict.fromkeys([*old["corpora"], *new["corpora"]]):
            before, now = (record["corpora"].get(role, {}) for record in (old, new))
            now = {key: now[key] for key in now if key in before or not before}  # less was recorded once
            lines += _changes("corpus: " if role == "dataset" else f"corpus of the role {role}: ", before, now)
        lines += _changed("platform", old["platform"], new["platform"])
    else:
        lines.append("versions, device and corpora: not recorded then")
    lines += [f"configuration: {word} (given now)" for word in overrides]
    return lines + _stages(recorded, reproduced)


def _stages(recorded: Path, reproduced: Path) -> list[str]:
    """Fingerprints that differ: of the condition, and of the stages it was made from where they are told."""
    old, new = (read_json(folder / "results.json")["fingerprint"] for folder in (recorded, reproduced))
    lines = _changed("fingerprint of the condition", old, new)
    before, now = ((read_json(folder / MANIFEST) or {}).get("content", {}) for folder in (recorded, reproduced))
    if before and lines:
        inputs, others = before.get("inputs", {}), now.get("inputs", {})
        different = [name for name in dict.fromkeys([*inputs, *others]) if inputs.get(name) != others.get(name)]
        told = ", ".join(different[:6]) + (f" and {len(different) - 6} more" if len(different) > 6 else "")
        lines.append(
            f"settings, data or code of: {told}" if different else "only the code that puts the results together"
        )
    return lines


def _changes(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [
        line for key in dict.fromkeys([*old, *new]) for line in _changed(f"{what}{key}", old.get(key), new.get(key))
    ]


def _changed(what: str, old: Any, new: Any) -> list[str]:
    words = ["none" if value is None else str(value) for value in (old, new)]
    return [] if old == new else [f"{what}: {words[0]} then, {words[1]} now"]


def report_text(agreement: Agreement, differences: Sequence[str]) -> str:
    """Return both runs side by side, for the console."""
    rows = [["metric", "recorded", "reproduced", "difference", "agrees"]]
    rows += [
        [one.name, _figure(one.recorded_mean), _figure(one.reproduced_mean), _gap(one.difference), one.verdict]
        for one in agreement.metrics
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(row[c].rjust(widths[c]) for c in (1, 2, 3)), row[4]]).rstrip()
        for row in rows
    ]
    lines += ["", f"{agreement.trials_agreeing} of {agreement.trials} folds and trials agree in every metric."]
    if agreement.greatest is not None:
        share = f"{agreement.scores_agreeing} of {agreement.scores} test scores agree"
        lines.append(f"{share}; the greatest difference is {agreement.greatest:.3g}.")
    else:
        lines.append("The recorded test scores are not at hand.")
    wrong = [one.name for one in agreement.metrics if one.verdict == DIFFERS]
    if agreement.agrees:
        lines.append(f"All {len(agreement.metrics)} metrics agree.")
    else:
        lines.append(f"Not reproduced: {', '.join(wrong)} differ." if wrong else "Not reproduced.")
    if differences:
        lines += ["What differs beside the figures:", *(f"  {line}" for line in differences)]
    elif not agreement.agrees:
        lines.append(
            "Nothing that is recorded of the runs differs: operations that are not deterministic are left as the cause."
        )
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.6f}"


def _gap(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:+.3g}".replace("-", "−")
