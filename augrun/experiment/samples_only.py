"""A condition's samples or vectors without a classifier, for tables about what generators make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from augrun.core.config.component import build
from augrun.core.errors import RequestError
from augrun.core.runtime import gpu_slots
from augrun.core.store.stages import open_store
from augrun.experiment.announcement import announce
from augrun.experiment.component_checks import check_components
from augrun.experiment.condition import Condition, open_condition
from augrun.experiment.figure_data import functionals_distance
from augrun.experiment.fold_trial_results import generated_samples
from augrun.experiment.generation import fit_generators_jointly

if TYPE_CHECKING:
    from augrun.reports.feature_means import Near


def generate_only(config: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Generate the samples of a condition's first trial, and train no classifier.

    Returns:
        The condition's names, and the account of its samples (`augrun.evaluation.results.generated_account`).
    """
    from augrun.evaluation.results import generated_account

    condition = _condition_with_generator(config)
    samples = [generated_samples(condition, fold_trial) for fold_trial in condition.plan.fold_trials]
    names = condition.plan.corpus.label_set.names
    return condition.plan.names, generated_account([one for one in samples if one is not None], names)


def compare_vectors(config: Mapping[str, Any]) -> tuple[dict[str, str], list[str], list[Near]]:
    """Generate the vectors of a condition's first trial, and train no classifier.

    Returns:
        The condition's names, those of the functionals, and how near samples are to recordings in each fold.

    Raises:
        RequestError: the generator makes no functionals.
    """
    condition = _condition_with_generator(config)
    plan = condition.plan
    distances = [functionals_distance(condition, fold_trial) for fold_trial in plan.fold_trials]
    near = [one for one in distances if one is not None]
    if not near:
        raise RequestError(f"generator={plan.names['generator']} makes no functionals")
    return plan.names, build(config["representation"]).names(), near


def _condition_with_generator(config: Mapping[str, Any]) -> Condition:
    """A condition's first trial, its generators trained.

    Raises:
        RequestError: it makes no samples.
    """
    first_trial = {**config, "trials": {**config["trials"], "count": 1}}
    condition = open_condition(first_trial, open_store(config))
    plan = condition.plan
    if not plan.generates:
        raise RequestError(f"generator={plan.names['generator']} makes no samples")
    announce(plan)
    check_components(plan, "generator")
    gpu_slots.need(plan.hardware)
    fit_generators_jointly(condition)
    return condition
