"""The connection to an MLflow server or database: its client, searches, locks, and what is sent within its limits."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrun.core.files import file_name
from augrun.core.runtime.processes import is_dead
from augrun.core.store import locks
from augrun.tracking import Tracking
from augrun.tracking.descriptions import corpus_word, experiment_note
from augrun.tracking.formatting import absolute_uri, first_line, is_number, short

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

log = logging.getLogger(__name__)

#: What lies under the output root: the database, its artifacts, and the list of what could not be sent.
DATABASE, ARTIFACTS, UNSENT = "mlflow.db", "mlartifacts", "unsent.json"

#: The tags of a new experiment; without them MLflow's UI opens on pages for chat programs.
KIND = {"mlflow.experimentKind": "custom_model_development"}

#: Tags: the description that MLflow shows, an experiment's corpora, and that its view was saved.
NOTE, CORPORA, VIEW = "mlflow.note.content", "augrun.corpora", "augrun.view"

METRICS_A_BATCH, PARAMS_A_BATCH, PARAM_LENGTH, TAG_LENGTH = 1000, 100, 6000, 8000  # MLflow's limits
EXPERIMENT_TAG_LENGTH = 5000  # of servers before MLflow 3

#: The files (patterns) and folders of a result's folder that MLflow gets.
ARTIFACT_FILES = (
    *("results.json", "config.yaml", "record.json", "label_validity.json", "quality.json", "feature_means.json"),
    *("listen*.html", "report.html", "per_class.json", "confusion.json", "cost.json"),
)
ARTIFACT_FOLDERS = ("tables", "figures", "audio", "health", "predictions", "curves", "profile")


def run_filter(fingerprint: str, kind: str) -> str:
    """Return MLflow's filter for the runs of a fingerprint."""
    return f"tags.`augrun.fingerprint` = '{fingerprint}' AND tags.`augrun.kind` = '{kind}'"


class Session:
    """One experiment of an MLflow server or database.

    Args:
        settings: where to; without `experiment`, the experiment is `augrun`.
        output: the output root.

    Attributes:
        output: the output root, absolute.
        uri: the server's or database's, with an absolute path.
        problem: what last went wrong in a `guard`; None where all went well.

    Raises:
        RequestError: MLflow keeps no runs at such an address.
    """

    def __init__(self, settings: Tracking, output: Path) -> None:
        self.settings = settings
        self.output = output.resolve()
        self.uri = absolute_uri(settings.uri, self.output)
        self.problem: str | None = None

    @property
    def uses_server(self) -> bool:
        """Whether a server keeps the runs (and their artifacts), not a database that this process opens itself."""
        return self.uri.startswith(("http:", "https:", "databricks"))

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        return self.settings.experiment or "augrun"

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
            if not self.uses_server:
                client.search_experiments(max_results=1)
        return client

    @cached_property
    def experiment_id(self) -> str:
        """The experiment's id; the experiment is created, or restored where somebody deleted it."""
        name = self.experiment
        with self.lock("experiment"):
            found = self.client.get_experiment_by_name(name)
            if found is None:
                location = None if self.uses_server else (self.output / ARTIFACTS / file_name(name)).as_uri()
                tags = {**KIND, NOTE: experiment_note(())}
                try:
                    return str(self.client.create_experiment(name, artifact_location=location, tags=tags))
                except Exception:  # a job of another output root was faster: our locks do not reach there
                    found = self.client.get_experiment_by_name(name)
                    if found is None:
                        raise
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)

    def describe(self, names: Mapping[str, str]) -> None:
        """Add a condition's corpus to the experiment's description, unless somebody wrote another one."""
        experiment = self.experiment_id  # asked for outside the lock, which it takes itself
        with self.lock("description"):
            tags = self.client.get_experiment(experiment).tags
            before = [word for word in tags.get(CORPORA, "").split() if word]
            after = sorted({*before, corpus_word(names)})
            description = tags.get(NOTE)
            if description and after == before:
                return
            if not description or description.strip() == experiment_note(before).strip():
                text = short(experiment_note(after), EXPERIMENT_TAG_LENGTH)
                self.client.set_experiment_tag(experiment, NOTE, text)
            self.client.set_experiment_tag(experiment, CORPORA, " ".join(after))

    def lock(self, name: str) -> Any:
        """Return a lock between the processes that share an output root, or the file of a database."""
        database = self.uri.removeprefix("sqlite:///")
        folder = (self.output if database == self.uri else Path(database).parent) / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return locks.lock(folder / f"tracking-{name}.lock")

    @contextmanager
    def guard(self, task: str) -> Iterator[None]:
        """Keep MLflow's errors in `problem`, and warn of the first, instead of stopping the work.

        Args:
            task: what is done inside, for the warning.
        """
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            if self.problem is None:
                log.warning("MLflow at %s fails (%s); the run goes on without it", self.uri, task)
            self.problem = f"{task}: {first_line(error)}"
            log.debug("tracking", exc_info=True)

    def reap(self, experiments: Sequence[str] | None = None) -> int:
        """Mark runs KILLED that claim to be RUNNING although their process on this host is gone; return how many.

        Args:
            experiments: ids; by default this session's own.
        """
        found = self.search("attributes.status = 'RUNNING' AND tags.`augrun.process` LIKE '%'", experiments)
        stale = [run for run in found if is_dead(run.data.tags["augrun.process"])]
        for run in stale:
            self.client.set_terminated(run.info.run_id, status="KILLED")
        return len(stale)

    def reap_everywhere(self) -> None:
        """Mark such runs of all experiments."""
        with self.guard("looking for dead runs"):
            self.reap([experiment.experiment_id for experiment in self.client.search_experiments()])

    def search(self, query: str, experiments: Sequence[str] | None = None) -> list[MlflowRun]:
        """Return every run that fits, oldest first.

        Args:
            query: MLflow's filter.
            experiments: ids; by default this session's own.
        """
        runs: list[MlflowRun] = []
        token = None
        while True:
            page = self.client.search_runs(
                list(experiments or [self.experiment_id]), query, order_by=["start_time ASC"], page_token=token
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def keep_oldest_run(self, query: str, created: str) -> str:
        """Delete all runs that fit but the oldest, and return its id.

        Jobs elsewhere may have made the others at the same moment. Within one output root locks see to it that there
        is one; jobs of one server may have roots of their own.

        Args:
            query: MLflow's filter.
            created: the id of the run that this process has just created.
        """
        from mlflow.exceptions import MlflowException

        if not self.uses_server:
            return created
        found = sorted(self.search(query), key=lambda run: (run.info.start_time, run.info.run_id))
        for run in found[1:]:
            with suppress(MlflowException):  # its own job has deleted it already
                self.client.delete_run(run.info.run_id)
        return str(found[0].info.run_id) if found else created

    def create(self, name: str, tags: Mapping[str, str]) -> MlflowRun:
        """Create a run, RUNNING, and return it."""
        shortened = {key: short(value, TAG_LENGTH) for key, value in tags.items()}
        return self.client.create_run(self.experiment_id, run_name=name, tags=shortened)

    def log_metrics(
        self,
        run_id: str,
        timestamp_ms: int,
        finals: Mapping[str, float | None],
        points: Sequence[tuple[str, float, int]] = (),
    ) -> None:
        """Send the points of curves (name, value, epoch), and those final values that are numbers."""
        from mlflow.entities import Metric

        metrics = [Metric(name, value, timestamp_ms, step) for name, value, step in points]
        metrics += [
            Metric(name, float(value or 0), timestamp_ms, 0) for name, value in finals.items() if is_number(value)
        ]
        for start in range(0, len(metrics), METRICS_A_BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + METRICS_A_BATCH])

    def log_new_params(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Send the parameters that the run lacks; those that it has cannot be changed."""
        from mlflow.entities import Param

        existing = self.client.get_run(run_id).data.params
        params = [Param(key, short(value, PARAM_LENGTH)) for key, value in values.items() if key not in existing]
        for start in range(0, len(params), PARAMS_A_BATCH):
            self.client.log_batch(run_id, params=params[start : start + PARAMS_A_BATCH])

    def send_folder(self, run_id: str, folder: Path, exclude: Sequence[str] = ()) -> None:
        """Send a folder's `ARTIFACT_FILES` and `ARTIFACT_FOLDERS`; what was sent before is overwritten.

        Args:
            run_id: the run that gets them.
            folder: the folder of a condition or a comparison.
            exclude: names of files that stay away.
        """
        for path in (path for pattern in ARTIFACT_FILES for path in sorted(folder.glob(pattern))):
            if path.name not in exclude:
                self.client.log_artifact(run_id, str(path))
        for name in ARTIFACT_FOLDERS:
            if (folder / name).is_dir():
                self.client.log_artifacts(run_id, str(folder / name), name)
