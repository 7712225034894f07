"""The stage that holds a condition's results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from augrun.core.files import write_text
from augrun.core.runtime import resource_usage
from augrun.experiment.baseline import baseline_config
from augrun.experiment.condition import Condition
from augrun.experiment.plan import ConditionPlan


def record(condition: Condition, command: str | None = None) -> Path:
    """Write metrics, summary, figures and sounds of a condition whose every fold and trial is predicted.

    Args:
        condition: the condition.
        command: the command line that ran it.

    Returns:
        The folder of results.
    """
    plan = condition.plan

    def write(folder: Path) -> dict[str, Any]:
        from augrun.core.runtime.provenance import commit
        from augrun.experiment.environment import collect_environment
        from augrun.experiment.figure_data import functionals_distance, spectrogram_examples
        from augrun.experiment.fold_trial_results import fold_trial_result
        from augrun.experiment.results_folder import write_results

        baseline = ConditionPlan(baseline_config(plan.config), plan.store)
        about = {"title": plan.title, "commit": commit(), "baseline": baseline.stage.fingerprint}
        about |= {"command": command} if command else {}
        summary = write_results(
            folder,
            about | collect_environment(plan.corpora, plan.hardware),
            plan.names,
            plan.stage.fingerprint,
            plan.config,
            [fold_trial_result(condition, fold_trial) for fold_trial in plan.fold_trials],
            plan.corpus,
            spectrogram_examples(condition, plan.fold_trials[0], folder / ".shown"),
            functionals_distance(condition, plan.fold_trials[0]),
        )
        usage = resource_usage.account(plan.stage_manifests())
        write_text(folder / resource_usage.FILE, json.dumps(usage, indent=1))
        return summary

    return plan.stage.get(write, f"{plan.title}: results", uses=plan.extra_stages_to_keep)
