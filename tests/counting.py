"""What MLflow holds of conditions, counted, and what it should hold by what is on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from mlflow import MlflowClient

from augrun.tracking.formatting import flatten, short
from augrun.tracking.session import ARTIFACT_FILES, ARTIFACT_FOLDERS, PARAM_LENGTH

#: A condition or one of its children: what it is, parameters, points of metrics, artifacts with their sizes.
Held = tuple[str, dict[str, str], dict[str, list[tuple[int, float]]], dict[str, int]]


def on_disk(folders: Iterable[Path]) -> dict[str, Held]:
    """What conditions' folders lead to, by the runs' own names."""
    expected: dict[str, Held] = {}
    for folder in folders:
        results = json.loads((folder / "results.json").read_text())
        config = yaml.safe_load((folder / "config.yaml").read_text())
        name = results["fingerprint"]
        summary = {
            f"test/{metric}/{key}": [(0, values[key])]
            for metric, values in results["summary"].items()
            for key in ("mean", "std", "ci_low", "ci_high")
            if values[key] is not None
        }
        summary |= {f"generated/{key}": [(0, results["generated"][key])] for key in ("clips", "seconds")}
        names = {key: str(value) for key, value in results["condition"].items()}
        params = {key: short(value, PARAM_LENGTH) for key, value in flatten(config).items()} | names
        files = [path for pattern in ARTIFACT_FILES for path in folder.glob(pattern)]
        files += [path for kept in ARTIFACT_FOLDERS for path in (folder / kept).rglob("*") if path.is_file()]
        sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files}
        expected[name] = ("condition", params, summary, sizes)
        for entry in results["trials"]:
            place = f"fold-{entry['fold']}-trial-{entry['trial']}"
            points: dict[str, list[tuple[int, float]]] = {}
            for epoch in json.loads((folder / "curves" / f"{place}.json").read_text()):
                for metric, value in epoch.items():
                    if metric != "epoch":
                        points.setdefault(metric, []).append((epoch["epoch"], value))
            points |= {f"test/{key}": [(0, value)] for key, value in entry["metrics"].items() if value is not None}
            own = {key: str(entry[key]) for key in ("fold", "trial", "seed")}
            expected[f"{name}/{place}"] = ("trial", own, points, {})
    return expected


def in_mlflow(client: MlflowClient, experiment: str) -> dict[str, list[Held]]:
    """What MLflow holds, by the same names; of a run that is there twice there are two."""
    found: dict[str, list[Held]] = {}
    place = client.get_experiment_by_name(experiment)
    assert place is not None
    runs = client.search_runs([place.experiment_id], max_results=5000)
    named = {run.info.run_id: run.data.tags["augrun.fingerprint"] for run in runs}
    for run in runs:
        tags = run.data.tags
        assert run.info.status == "FINISHED", (run.info.run_name, run.info.status)
        if tags["augrun.kind"] == "trial":
            assert named[tags["mlflow.parentRunId"]] == tags["augrun.fingerprint"]
            name = f"{tags['augrun.fingerprint']}/fold-{tags['augrun.fold']}-trial-{tags['augrun.trial']}"
        else:
            assert tags["augrun.complete"] == "true"
            name = tags["augrun.fingerprint"]
        points = {
            metric: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric))
            for metric in run.data.metrics
        }
        held = (tags["augrun.kind"], run.data.params, points, dict(_artifacts(client, run.info.run_id)))
        found.setdefault(name, []).append(held)
    return found


def _artifacts(client: MlflowClient, run_id: str, folder: str = "") -> Iterable[tuple[str, int]]:
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            yield from _artifacts(client, run_id, entry.path)
        else:
            yield entry.path, entry.file_size


def totals(held: Iterable[Held]) -> dict[str, Any]:
    """Runs, parameters, points and artifacts, counted."""
    every = list(held)
    return {
        "runs": len(every),
        "params": sum(len(params) for _, params, _, _ in every),
        "points": sum(len(values) for _, _, points, _ in every for values in points.values()),
        "artifacts": sum(len(files) for _, _, _, files in every),
    }
