"""What MLflow lacks is sent from the store: `augrun store sync`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from augrun.core.errors import AugrunError
from augrun.core.files import read_json
from augrun.core.store.stages import MANIFEST
from augrun.tracking import Tracking
from augrun.tracking.condition_run import Run
from augrun.tracking.recorder import Recorder
from augrun.tracking.session import UNSENT


def sync(folders: Sequence[Path], output: Path, uri: str | None = None) -> str:
    """Sends every stored condition that MLflow lacks, and the comparisons that could not be sent.

    Args:
        folders: finished conditions in the store.
        output: the output root.
        uri: the server; None is the output root's own database.

    Returns:
        What was done, for the console.

    Raises:
        AugrunError: MLflow does not take them.
    """
    import yaml

    compared_to_baseline = _compared(folders)
    recorders: dict[str, Recorder] = {}

    def recorder_of(experiment: str) -> Recorder:
        return recorders.setdefault(experiment, Recorder(Tracking(uri, experiment), output))

    sent = there = 0
    for folder in folders:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        names = results["condition"]
        experiment = (config.get("tracking") or {}).get("experiment") or names["dataset"]
        record = read_json(folder / "record.json")
        title = record.get("title") or "/".join(names[key] for key in ("dataset", "generator", "policy", "classifier"))
        recorder = recorder_of(experiment)
        run = Run(recorder.session, results["fingerprint"], title, names, config)
        run.commit = record.get("commit") or "unknown"
        done = run.log_condition(folder)
        if done and folder.name in compared_to_baseline:
            recorder.add_comparison(folder, compared_to_baseline[folder.name])
        if recorder.problem:
            raise AugrunError(
                f"MLflow at {recorder.session.uri} does not take the runs ({recorder.problem}); try again later"
            )
        sent, there = sent + done, there + (not done)
    compared = _send_comparisons(output, recorder_of)
    return f"MLflow: {sent} conditions sent, {there} were there already; {compared} comparisons sent"


def _send_comparisons(output: Path, recorder_of: Any) -> int:
    """Sends what `_keep_for_later` noted; what fails again is noted again."""
    kept = read_json(output / UNSENT)
    if not kept:
        return 0
    (output / UNSENT).unlink()
    sent = 0
    for entry in kept:
        recorder, folder = recorder_of(entry["experiment"]), Path(entry["folder"])
        if not folder.is_dir():
            continue  # removed from the store since
        before = len(read_json(output / UNSENT))
        if "study" in entry:
            recorder.tell_study(folder, entry["study"], int(entry["number"]), float(entry["value"]))
            continue
        if "of" in entry:
            recorder.add_comparison(Path(entry["of"]), folder)
        else:
            recorder.comparison(entry["name"], entry["fingerprint"], folder)
        sent += len(read_json(output / UNSENT)) == before
    return sent


def _compared(folders: Sequence[Path]) -> dict[str, Path]:
    """For each condition, by its fingerprint, the last comparison of it alone with its baseline."""
    found: dict[str, tuple[str, Path]] = {}
    for store in {folder.parent.parent for folder in folders}:
        for place in store.glob(f"comparison/*/{MANIFEST}"):
            manifest = read_json(place)
            inputs = list(manifest["content"]["inputs"].values())
            if manifest["content"]["settings"]["name"] == "comparison" and len(inputs) == 2:
                entry = (str(manifest.get("finished", "")), place.parent)
                found[inputs[1]] = max(entry, found.get(inputs[1], entry))
    return {fingerprint: place for fingerprint, (_, place) in found.items()}
