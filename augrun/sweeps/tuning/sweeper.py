"""`hydra/sweeper=optuna`: settings are tuned on the validation part, trial by trial.

    augrun -m hydra/sweeper=optuna dataset=feel classifier=dnn generator=none \\
        'classifier.learning_rate=tag(log,interval(1e-5,1e-2))' hydra.sweeper.trials=30

A trial is a condition like any other. Its value is a metric of the validation parts, averaged over folds and over the
condition's own trials; the test part is looked at by nobody, and the end tells the test result of the chosen trial
alone. `augrun.evaluation.results.Predictions.validation_metrics` says which metrics there are and why not others.

hydra-optuna-sweeper wants Optuna below 3; this is a thin sweeper on today's.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from augrun.core.config.schema import TABLE, nearest
from augrun.core.errors import AugrunError, RequestError
from augrun.sweeps.rows import Row
from augrun.sweeps.sweeper import CheckedSweeper, _ended, outcome
from augrun.sweeps.tuning.search_space import Space, short_words, space_of
from augrun.sweeps.tuning.study import FINGERPRINT, SAMPLERS, STD, WHY, Study, about_of, name_of, opened

if TYPE_CHECKING:
    from optuna import Trial

    from augrun.tracking.null_recorder import Off
    from augrun.tracking.recorder import Recorder

log = logging.getLogger(__name__)

#: The metrics that can be tuned: larger is better, and none needs a threshold.
SINGLE_LABEL = ("uar", "war", "f1_macro", "pr_auc_macro", "pr_auc_micro", "roc_auc_macro", "roc_auc_micro")
MULTILABEL = (
    *("pr_auc_macro", "pr_auc_micro", "roc_auc_macro", "roc_auc_micro"),
    *("f1_argmax_macro", "f1_argmax_micro"),
)


class TuningSweeper(CheckedSweeper):
    """Asks Optuna for settings, runs them as jobs, and tells it what they are worth on the validation part.

    Args:
        trials: how many there are to be in the study, those of earlier commands included.
        jobs: how many are asked for at once and handed to the launcher together.
        sampler: one of `augrun.sweeps.tuning.study.SAMPLERS`.
        seed: of the sampler; None is the condition's `seed`.
        metric: `validation/NAME`; None is `uar`, or `pr_auc_macro` where clips have several classes.
        study: its name; None is one that the same request always has.
    """

    def __init__(
        self,
        trials: int = 20,
        jobs: int = 1,
        sampler: str = "tpe",
        seed: int | None = None,
        metric: str | None = None,
        study: str | None = None,
    ) -> None:
        super().__init__()
        self.trials, self.jobs, self.sampler, self.seed = trials, jobs, sampler, seed
        self.metric, self.study = metric, study

    def sweep(self, arguments: list[str]) -> Any:
        """Runs the trials that the study lacks, and tells which one is best."""
        from omegaconf import OmegaConf

        from augrun.sweeps.tuning import report
        from augrun.tracking.recorder import open_recorder

        assert self.config is not None and self.hydra_context is not None
        self._check_settings()
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        space = space_of(parser.parse_overrides(arguments))
        corners = [Row(space.overrides(values)) for values in space.corners()]
        config = self._peek(corners[0].overrides)
        self._check_request(config)
        self._require_valid(corners)
        metric = self._metric(config)
        about = about_of(space, metric, _digests(config))
        recorder = open_recorder(config)
        recorder.prepare()
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        root = Path(config["output"]["root"]).expanduser().resolve()
        name = self.study or name_of(space, about, config)
        seed = config["seed"] if self.seed is None else self.seed
        with opened(root, name, space, about, self.sampler, seed, self.jobs) as study:
            try:
                self._run(study, space, metric, recorder)
            finally:
                if close := getattr(self.launcher, "close", None):  # of ours; their processes do not wait for more
                    close()
            report.report(study, metric, self.sampler, config, recorder)
        return None

    def _check_settings(self) -> None:
        """Refuses settings of the sweeper that cannot be."""
        for name, value in (("trials", self.trials), ("jobs", self.jobs)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise RequestError(f"hydra.sweeper.{name}={value}: give a whole number from 1")
        if self.sampler not in SAMPLERS:
            raise RequestError(
                f"hydra.sweeper.sampler={self.sampler}: no such sampler{nearest(str(self.sampler), list(SAMPLERS))}"
            )
        try:
            import optuna  # noqa: F401
        except ImportError:
            raise RequestError("hydra/sweeper=optuna needs Optuna: pip install 'augrun[tuning]'") from None

    def _check_request(self, config: Mapping[str, Any]) -> None:
        """Refuses what is not one condition to tune."""
        if config.get(TABLE):
            raise RequestError("a published table has rows of its own; tune one condition, without experiment=NAME")
        if config.get("controls"):
            raise RequestError("controls=true adds conditions; tune one, and run it with its controls afterwards")
        if (config.get("sweep") or {}).get("spread"):
            raise RequestError(
                "sweep.spread makes jobs of a condition's parts; hydra.sweeper.jobs=N has several trials at once"
            )

    def _require_valid(self, corners: list[Row]) -> None:
        """Refuses a space in which some choice, or an end of some range, cannot work."""
        try:
            self._valid(corners, skip=False)
        except RequestError as error:
            said = [line for line in str(error).splitlines() if not line.startswith("sweep.skip_invalid")]
            raise RequestError("\n".join(said).replace(" rows ", " ends of what is searched ", 1)) from error

    def _metric(self, config: Mapping[str, Any]) -> str:
        """The metric to tune by, once it is known that every fold has a validation part.

        Raises:
            RequestError: there is no validation part, or no such metric of it.
        """
        from augrun.core.config.component import build
        from augrun.core.store.stages import open_store
        from augrun.experiment.plan import ConditionPlan

        if not build(config["protocol"]).holds_out:
            raise RequestError(
                f"protocol={config['protocol'].get('name')} holds no validation part out, and settings must not be "
                "chosen on the test part; give protocol.validation=fraction"
            )
        plan = ConditionPlan(config, open_store(config))
        without = [fold.name for fold in plan.folds if not len(fold.validation)]
        if without:
            raise RequestError(
                f"protocol={config['protocol'].get('name')}: fold {without[0]} has no validation part, and settings "
                "must not be chosen on the test part; choose another protocol"
            )
        legal = MULTILABEL if plan.corpus.label_set.multilabel else SINGLE_LABEL
        asked = self.metric or ("pr_auc_macro" if legal is MULTILABEL else "uar")
        part, _, name = asked.rpartition("/")
        if part not in ("", "validation"):
            raise RequestError(f"hydra.sweeper.metric={asked}: settings are tuned on validation/NAME alone")
        if name.startswith(("f1_val", "f1_oracle")) and legal is MULTILABEL:
            raise RequestError(
                f"hydra.sweeper.metric={asked}: its thresholds would be fitted on the clips that it is judged by; "
                "tune validation/pr_auc_macro, which needs none"
            )
        if name not in legal:
            raise RequestError(f"hydra.sweeper.metric={asked}: no such metric{nearest(name, list(legal))}")
        return name

    def _run(self, study: Study, space: Space, metric: str, recorder: Recorder | Off) -> None:
        """Runs trials until there are as many as are wanted."""
        assert self.launcher is not None
        if there := len(study.ended):
            log.info("study %s: %d of %d trials are there", study.name, there, self.trials)
        while (missing := self.trials - len(study.ended)) > 0:
            asked = study.ask(min(self.jobs, missing))
            if not asked:
                log.info("study %s: the grid has no more than these", study.name)
                return
            rows = [Row(space.overrides(trial.params)) for trial in asked]
            for trial in asked:
                log.info("study %s, trial %d: %s", study.name, trial.number, ", ".join(short_words(trial.params)))
            returns = self.launcher.launch([row.overrides for row in rows], initial_job_idx=asked[0].number)
            for trial, row, result in zip(asked, rows, returns, strict=True):
                _tell(study, trial, _ended(row, result), metric, recorder)


def _digests(config: Mapping[str, Any]) -> dict[str, str]:
    """Of the corpora, by role."""
    from augrun.core.store.stages import open_store
    from augrun.experiment.plan import ConditionPlan

    corpora = ConditionPlan(config, open_store(config)).corpora
    return {role: corpora.corpus(role).digest for role in corpora.roles}


def _tell(study: Study, trial: Trial, row: Row, metric: str, recorder: Recorder | Off) -> None:
    """Takes a job's result to Optuna and to the condition's run in MLflow."""
    outcome.rows.append(row)
    if row.folder is None:
        study.tell(trial, None, {WHY: (str(row.error).splitlines() or [type(row.error).__name__])[0]})
        log.warning("study %s, trial %d: FAIL", study.name, trial.number)
        return
    value, std = measured(row.folder, metric)
    if value is None:
        row.error = AugrunError(f"validation/{metric} is not defined: no class of the part can be judged")
        study.tell(trial, None, {WHY: str(row.error), FINGERPRINT: row.folder.name})
        log.warning("study %s, trial %d: FAIL (%s)", study.name, trial.number, row.error)
        return
    study.tell(trial, value, {FINGERPRINT: row.folder.name, STD: std})
    log.info("study %s, trial %d: validation/%s %.4f", study.name, trial.number, metric, value)
    recorder.tell_study(row.folder, study.name, trial.number, value)


def measured(folder: Path, metric: str) -> tuple[float | None, float | None]:
    """A metric of the validation part of a condition: mean over trials, and their standard deviation."""
    found = json.loads((folder / "results.json").read_text(encoding="utf-8")).get("validation") or {}
    return found.get(metric, {}).get("mean"), found.get(metric, {}).get("std")
