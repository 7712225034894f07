"""A condition's samples or vectors without a classifier, for tables about what generators make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from augrun.core.config.component import build
from augrun.core.errors import RequestError
from augrun.core.runtime import gpu_slots
from augrun.core.store.stages import open_store
from augrun.experiment.condition import Condition
from augrun.experiment.run import announce

if TYPE_CHECKING:
    from augrun.reports.feature_means import Near


def produce(config: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Makes the samples of a condition's first trial, and no classifier.

    Returns:
        The condition's names, and what was made (`augrun.evaluation.results.generated_account`).
    """
    from augrun.evaluation.results import generated_account

    condition = _making(config)
    made = [made for cell in condition.cells if (made := condition.made(cell)) is not None]
    return condition.names, generated_account(made, condition.corpus.label_set.names)


def compare_vectors(config: Mapping[str, Any]) -> tuple[dict[str, str], list[str], list[Near]]:
    """Makes the vectors of a condition's first trial, and no classifier.

    Returns:
        The condition's names, those of the functionals, and how near samples are to recordings in each fold.

    Raises:
        RequestError: the generator makes no functionals.
    """
    from augrun.experiment.figure_data import vectors

    condition = _making(config)
    near = [found for cell in condition.cells if (found := vectors(condition, cell)) is not None]
    if not near:
        raise RequestError(f"generator={condition.names['generator']} makes no functionals")
    return condition.names, build(config["representation"]).names(), near


def _making(config: Mapping[str, Any]) -> Condition:
    """A condition's first trial, its generators trained.

    Raises:
        RequestError: it makes no samples.
    """
    condition = Condition({**config, "trials": {**config["trials"], "count": 1}}, open_store(config))
    if not condition.generates:
        raise RequestError(f"generator={condition.names['generator']} makes no samples")
    announce(condition)
    condition.check_components("generator")
    gpu_slots.need(condition.hardware)
    condition.fitted_together()
    return condition
