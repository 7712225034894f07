"""The only module, with its own `tracking_*`, that talks to MLflow.

MLflow is a view: what a condition left in the store is what is sent. A condition's run is found by its fingerprint, so
a repeat adds nothing, and one that was killed is taken up again. `Run.log_condition` is the one way from a stored
condition into MLflow, for a run that has just ended as for `sync`. With the server down nothing is lost: the work goes
on, the end says so, and `augrun store sync` sends what is missing.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrun.core.config.component import build
from augrun.core.files import file_name, read_json, write_text
from augrun.core.runtime.processes import is_dead, process
from augrun.core.runtime.provenance import commit, provenance
from augrun.core.runtime.signals import sigterm_raises
from augrun.core.store import locks
from augrun.tracking import Tracking, saved_view
from augrun.tracking.condition_run import Run
from augrun.tracking.descriptions import choices, corpus_word, experiment_note, gain_metrics, gains, note
from augrun.tracking.formatting import absolute_uri, first_line, is_number, short
from augrun.tracking.session import (
    ARTIFACT_FILES,
    ARTIFACT_FOLDERS,
    ARTIFACTS,
    CORPORA,
    EXPERIMENT_TAG_LENGTH,
    KIND,
    METRICS_A_BATCH,
    NOTE,
    PARAM_LENGTH,
    PARAMS_A_BATCH,
    TAG_LENGTH,
    UNSENT,
    VIEW,
    by,
)

if TYPE_CHECKING:
    pass
    from augrun.tracking.null_recorder import Off

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

log = logging.getLogger(__name__)

#: Shown on a comparison's page.
NOTE_TABLES = ("comparison", "trials", "differences", "produced", "label_validity", "quality")


class Recorder:
    """Sends what conditions leave behind to one experiment.

    Args:
        settings: where to; `experiment` is set.
        output: the output root, absolute.
    """

    def __init__(self, settings: Tracking, output: Path) -> None:
        self.settings = settings
        self.output = output.resolve()
        self.uri = absolute_uri(settings.uri, self.output)
        self.problem: str | None = None
        self.sent = 0

    @property
    def server(self) -> bool:
        """Whether a server keeps the runs (and their artifacts), not a database that this process opens itself."""
        return self.uri.startswith(("http:", "https:", "databricks"))

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's client; importing it takes a second or two."""
        retries = "1"
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(self.settings.timeout_s))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", retries)
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from augrun.tracking.client import Client

        for name in ("mlflow", "alembic", "urllib3"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with self.lock("database"):  # creating a database from several processes at once crashes most of them
            client = Client(tracking_uri=self.uri)
            if not self.server:
                client.search_experiments(max_results=1)
        return client

    @cached_property
    def experiment_id(self) -> str:
        """The experiment; created, or brought back where somebody deleted it."""
        name = self.settings.experiment or "augrun"
        with self.lock("experiment"):
            found = self.client.get_experiment_by_name(name)
            if found is None:
                place = None if self.server else (self.output / ARTIFACTS / file_name(name)).as_uri()
                tags = {**KIND, NOTE: experiment_note(())}
                try:
                    return str(self.client.create_experiment(name, artifact_location=place, tags=tags))
                except Exception:  # a job of another output root was faster: our locks do not reach there
                    found = self.client.get_experiment_by_name(name)
                    if found is None:
                        raise
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)

    def describe(self, names: Mapping[str, str]) -> None:
        """Names a condition's corpus in the experiment's description, unless somebody wrote another one."""
        experiment = self.experiment_id  # asked for outside the lock, which it takes itself
        with self.lock("description"):
            found = self.client.get_experiment(experiment)
            there = [word for word in found.tags.get(CORPORA, "").split() if word]
            now = sorted({*there, corpus_word(names)})
            told = found.tags.get(NOTE)
            if told and now == there:
                return
            if not told or told.strip() == experiment_note(there).strip():
                text = short(experiment_note(now), EXPERIMENT_TAG_LENGTH)
                self.client.set_experiment_tag(experiment, NOTE, text)
            self.client.set_experiment_tag(experiment, CORPORA, " ".join(now))

    def lock(self, name: str) -> Any:
        """A lock between the processes that share an output root, or the file of a database."""
        database = self.uri.removeprefix("sqlite:///")
        folder = (self.output if database == self.uri else Path(database).parent) / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return locks.lock(folder / f"tracking-{name}.lock")

    @contextmanager
    def guard(self, doing: str) -> Iterator[None]:
        """Notes what is wrong with the server, once on the console, instead of stopping the work."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            if self.problem is None:
                log.warning("MLflow at %s fails (%s); the run goes on without it", self.uri, doing)
            self.problem = f"{doing}: {first_line(error)}"
            log.debug("tracking", exc_info=True)

    def prepare(self) -> None:
        """What must be there before jobs start side by side: the database and the experiment."""
        with self.guard("preparing"):
            self.reap([self.experiment_id])

    def reap(self, experiments: Sequence[str]) -> int:
        """Marks KILLED what claims to run although its process on this host is gone; returns how many."""
        found = self.search("attributes.status = 'RUNNING' AND tags.`augrun.process` LIKE '%'", experiments)
        stale = [run for run in found if is_dead(run.data.tags["augrun.process"])]
        for run in stale:
            self.client.set_terminated(run.info.run_id, status="KILLED")
        return len(stale)

    def reap_everywhere(self) -> None:
        """`reap` over all experiments."""
        with self.guard("looking for dead runs"):
            self.reap([experiment.experiment_id for experiment in self.client.search_experiments()])

    def search(self, wanted: str, experiments: Sequence[str] | None = None) -> list[MlflowRun]:
        """Every run that fits, oldest first."""
        runs: list[MlflowRun] = []
        token = None
        while True:
            page = self.client.search_runs(
                list(experiments or [self.experiment_id]), wanted, order_by=["start_time ASC"], page_token=token
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def only(self, wanted: str, mine: str) -> str:
        """Of the runs that fit the one that stays; others, which jobs elsewhere made at the same moment, are deleted.

        Within one output root locks see to it that there is one; jobs of one server may have roots of their own.

        Args:
            wanted: MLflow's filter.
            mine: the run that has just been created.
        """
        from mlflow.exceptions import MlflowException

        if not self.server:
            return mine
        found = sorted(self.search(wanted), key=lambda run: (run.info.start_time, run.info.run_id))
        for run in found[1:]:
            with suppress(MlflowException):  # its own job has deleted it already
                self.client.delete_run(run.info.run_id)
        return str(found[0].info.run_id) if found else mine

    @contextmanager
    def running(
        self, fingerprint: str, title: str, names: Mapping[str, str], config: Mapping[str, Any]
    ) -> Iterator[Run]:
        """The parent run of a condition: RUNNING inside; then FINISHED, FAILED or, when interrupted, KILLED.

        Args:
            fingerprint: of the condition; a run that has it is taken up, and left alone when it is finished.
            title: the run's name.
            names: the condition (dataset, generator, …, data), for the tags.
            config: the resolved configuration, for the parameters.
        """
        run = Run(self, fingerprint, title, names, config)
        with self.guard("starting a run"):
            self.reap([self.experiment_id])
            run.begin()
        status = "FAILED"
        try:
            with sigterm_raises():
                yield run
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            status = "KILLED"
            raise
        finally:
            with self.guard("ending a run"):
                run.end(status)

    def add_comparison(self, of: Path, folder: Path) -> None:
        """Adds a comparison's tables and figures to the run of the condition in `of`."""
        fingerprint = json.loads((of / "results.json").read_text(encoding="utf-8"))["fingerprint"]
        with self.guard("sending a comparison"), self.lock(fingerprint):
            for found in self.search(by(fingerprint, "condition")):
                if found.data.tags.get("augrun.comparison") != folder.name:
                    # Its account of the samples' labels, by row, would take the place of the condition's own.
                    self.send_folder(found.info.run_id, folder, leaving=("label_validity.json",))
                    self._tell_gains(found.info.run_id, of, folder)
                    self.client.set_tag(found.info.run_id, "augrun.comparison", folder.name)
                return
        self._keep_for_later({"of": str(of), "folder": str(folder)})

    def _tell_gains(self, run_id: str, of: Path, folder: Path) -> None:
        """Adds to a condition's run by how much it is better than its baseline."""
        import yaml

        found = gains(folder)
        self._offer_view(found)
        when = int((folder / "tables" / "comparison.json").stat().st_mtime * 1000) if found else 0
        self.log_metrics(run_id, when, gain_metrics(found))
        if found and (of / "config.yaml").is_file():
            results = json.loads((of / "results.json").read_text(encoding="utf-8"))
            config = yaml.safe_load((of / "config.yaml").read_text(encoding="utf-8"))
            self.client.set_tag(run_id, NOTE, short(note(results, config, found), TAG_LENGTH))

    def _offer_view(self, found: Mapping[str, Mapping[str, float]]) -> None:
        """Saves a view of the runs table, once: whoever deletes it does not get it back."""
        if found and VIEW not in self.client.get_experiment(self.experiment_id).tags:
            view = saved_view.saved(found, int(time.time() * 1000))
            self.client.set_experiment_tag(self.experiment_id, saved_view.TAG, view)
            self.client.set_experiment_tag(self.experiment_id, VIEW, "1")

    def comparison(self, name: str, fingerprint: str, folder: Path) -> None:
        """A run of its own for the comparison at the end of a sweep; a repeat adds none."""
        with self.guard("sending a comparison"), self.lock(fingerprint):
            if self.search(by(fingerprint, "sweep") + " AND attributes.status = 'FINISHED'"):
                return
            tags = {"augrun.kind": "sweep", "augrun.fingerprint": fingerprint, **provenance(commit())}
            tags["augrun.process"] = process()
            tables = [folder / "tables" / f"{name}.md" for name in NOTE_TABLES]
            tags[NOTE] = "\n".join(t.read_text(encoding="utf-8") for t in tables if t.is_file())
            wanted = by(fingerprint, "sweep")
            unfinished = self.search(wanted)
            run_id = unfinished[0].info.run_id if unfinished else self.only(wanted, self.create(name, tags).info.run_id)
            self.log_new_params(run_id, choices(folder))
            self.send_folder(run_id, folder)
            self.client.set_terminated(run_id, status="FINISHED")
            self.sent += 1
            return
        self._keep_for_later({"name": name, "fingerprint": fingerprint, "folder": str(folder)})

    def tell_study(self, folder: Path, study: str, number: int, value: float) -> None:
        """Notes in a condition's run which trial of which study it was, and what it is worth there."""
        fingerprint = json.loads((folder / "results.json").read_text(encoding="utf-8"))["fingerprint"]
        with self.guard("sending a trial"):
            for found in self.search(by(fingerprint, "condition")):
                run_id = found.info.run_id
                self.client.set_tag(run_id, "augrun.study", study)
                self.client.set_tag(run_id, "augrun.study.trial", str(number))
                self.log_new_params(run_id, {"study": study, "study.trial": number})
                self.log_metrics(run_id, int((folder / "results.json").stat().st_mtime * 1000), {"study/value": value})
                return
        self._keep_for_later({"folder": str(folder), "study": study, "number": str(number), "value": repr(value)})

    def create(self, name: str, tags: Mapping[str, str]) -> MlflowRun:
        """A new run, RUNNING."""
        shortened = {key: short(value, TAG_LENGTH) for key, value in tags.items()}
        return self.client.create_run(self.experiment_id, run_name=name, tags=shortened)

    def log_metrics(
        self,
        run_id: str,
        when: int,
        finals: Mapping[str, float | None],
        points: Sequence[tuple[str, float, int]] = (),
    ) -> None:
        """Sends the points of curves (name, value, epoch) and final figures, those that are numbers."""
        from mlflow.entities import Metric

        metrics = [Metric(name, value, when, step) for name, value, step in points]
        metrics += [Metric(name, float(value or 0), when, 0) for name, value in finals.items() if is_number(value)]
        for at in range(0, len(metrics), METRICS_A_BATCH):
            self.client.log_batch(run_id, metrics=metrics[at : at + METRICS_A_BATCH])

    def log_new_params(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Parameters cannot be changed: those that are there stay as they are."""
        from mlflow.entities import Param

        there = self.client.get_run(run_id).data.params
        params = [Param(key, short(value, PARAM_LENGTH)) for key, value in values.items() if key not in there]
        for at in range(0, len(params), PARAMS_A_BATCH):
            self.client.log_batch(run_id, params=params[at : at + PARAMS_A_BATCH])

    def send_folder(self, run_id: str, folder: Path, leaving: Sequence[str] = ()) -> None:
        """Sends the files and folders that belong into MLflow, but some files; what was sent before is overwritten."""
        for path in (path for pattern in ARTIFACT_FILES for path in sorted(folder.glob(pattern))):
            if path.name not in leaving:
                self.client.log_artifact(run_id, str(path))
        for name in ARTIFACT_FOLDERS:
            if (folder / name).is_dir():
                self.client.log_artifacts(run_id, str(folder / name), name)

    def _keep_for_later(self, entry: Mapping[str, str]) -> None:
        """Notes a comparison that could not be sent; conditions need no note, the store has them."""
        with self.lock("unsent"):
            kept = read_json(self.output / UNSENT) or []
            entry = {**entry, "experiment": self.settings.experiment or "augrun"}
            if entry not in kept:
                write_text(self.output / UNSENT, json.dumps([*kept, entry], indent=1))

    def closing_line(self) -> str:
        """Where the runs are, or that they could not be sent."""
        if self.problem:
            to = f" --tracking {self.uri}" if self.settings.uri else ""
            return (
                f"MLflow at {self.uri} did not take everything ({self.problem}).\n"
                f"Nothing is lost: `augrun store sync{to}` sends what is missing once it answers."
            )
        place = f"at {self.uri}" if self.settings.uri else "`augrun ui` shows them"
        return f"MLflow: experiment {self.settings.experiment}, {place}"


def open_recorder(config: Mapping[str, Any]) -> Recorder | Off:
    """The recorder that the configuration names; where its `tracking` is null, one that records nothing."""
    if config["tracking"] is None:
        from augrun.tracking.null_recorder import Off

        return Off()
    pass

    experiment = config["tracking"].get("experiment") or config["dataset"]["name"]
    return Recorder(build({**config["tracking"], "experiment": experiment}), Path(config["output"]["root"]).resolve())


def prepare(config: Mapping[str, Any]) -> None:
    """What must be there before jobs start side by side: the tracking database."""
    open_recorder(config).prepare()
