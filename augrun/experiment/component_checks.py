"""Checks that let components look for what they need before a condition's work begins."""

from __future__ import annotations

from augrun.core.config.component import build
from augrun.core.errors import RequestError
from augrun.core.store.stages import Stage
from augrun.experiment.plan import ConditionPlan
from augrun.generators.base import check_interface


def check_components(plan: ConditionPlan, *groups: str) -> None:
    """Let each component that has work to do look for what it needs (weights, programs) first.

    Args:
        plan: the condition.
        groups: of `generator`, `reducer` and `classifier`; all by default.

    Raises:
        RequestError: something is missing, the generator's class has an earlier interface, or the corpus has no sound
            for a generator that wants it.
    """
    _check_audio(plan)
    _check_folds(plan)
    stages_of_group: dict[str, list[Stage | None]] = {
        "reducer": [one.reducer for one in plan.fold_trials],
        "generator": [one.generator or one.samples for one in plan.fold_trials],
        "classifier": [one.classifier for one in plan.fold_trials],
    }
    for group, stages in stages_of_group.items():
        if group in (groups or stages_of_group) and any(stage is not None and not stage.done for stage in stages):
            components = [build(plan.config[group])]
            if group == "classifier" or plan.domain != "waveform":
                components.append(build(plan.representation))
            if group == "generator":
                check_interface(components[0])
            for component in components:
                if hasattr(component, "check"):
                    component.check()


def _check_folds(plan: ConditionPlan) -> None:
    """Let reducer and classifier look at the folds' parts, where they have work to do."""
    for group in ("reducer", "classifier"):
        stages = [(one, one.reducer if group == "reducer" else one.classifier) for one in plan.fold_trials]
        waiting = [one for one, stage in stages if stage is not None and not stage.done]
        component = build(plan.config[group]) if waiting else None  # which imports all that it needs
        if component is not None and hasattr(component, "check_fold"):
            for one in waiting:
                component.check_fold(one.fold, build(plan.representation).bands)


def _check_audio(plan: ConditionPlan) -> None:
    """Refuse spectrograms on disk where a component works on sound."""
    vectors, roles = plan.normalise is not None, plan.corpora.roles
    for role in (role for role in roles if role in ("dataset", "source") or (role == "target" and vectors)):
        corpus = plan.corpora.corpus(role)
        spectra = int(corpus.clips["path"].str.endswith(".npy").sum())
        if spectra and (vectors or plan.domain == "waveform"):
            who = f"generator={plan.names['generator']} works on"
            who = f"representation={plan.names['representation']} wants" if vectors else who
            raise RequestError(
                f"{who} sound, but {spectra} of {len(corpus)} clips of {plan.corpora.root(role)} are "
                f"spectrograms (.npy); give a {role}.root that has the audio"
            )
        if spectra:
            build(plan.representation).check_official()
