"""How one condition is told to MLflow: a parent run, and a child for each fold and trial."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrun.core.files import read_json
from augrun.core.runtime.processes import process
from augrun.core.runtime.provenance import commit, provenance
from augrun.tracking.dataset_inputs import inputs, log_inputs
from augrun.tracking.descriptions import note
from augrun.tracking.formatting import curves, flatten, short
from augrun.tracking.session import NOTE, TAG_LENGTH, Session, run_filter

if TYPE_CHECKING:
    from mlflow import MlflowClient

ATTEMPTS = 5


class Run:
    """A condition's parent run. See `Recorder.running`."""

    def __init__(
        self, session: Session, fingerprint: str, title: str, names: Mapping[str, str], config: Mapping[str, Any]
    ) -> None:
        self.session, self.fingerprint, self.title = session, fingerprint, title
        self.names, self.config = names, config
        self.commit = commit()
        self.id: str | None = None
        self.complete = False

    @property
    def client(self) -> MlflowClient:
        """MLflow's client."""
        return self.session.client

    def begin(self) -> None:
        """Finds the run, or creates it; marks it RUNNING unless it is complete."""
        with self.session.lock(self.fingerprint):
            found = self.session.search(run_filter(self.fingerprint, "condition"))
            if found:
                self.id = found[0].info.run_id
                self.complete = found[0].data.tags.get("augrun.complete") == "true"
                if not self.complete:
                    self.client.set_tag(self.id, "augrun.process", process())
                    self.client.update_run(self.id, status="RUNNING")
                return
            tags = self._tags("condition") | {"augrun.process": process()}
            created = self.session.create(self.title, tags).info.run_id
            self.id = self.session.keep_oldest_run(run_filter(self.fingerprint, "condition"), created)
            self._surviving(lambda run_id: self.session.log_new_params(run_id, self._params))
            self.session.describe(self.names)

    def _surviving(self, write: Callable[[str], None]) -> None:
        """Writes to the run; to that which stays, where another job has deleted it (`Session.keep_oldest_run`).

        Everything can be written twice: what is there already is not added again.
        """
        from mlflow.exceptions import MlflowException

        for attempt in range(ATTEMPTS):
            assert self.id is not None
            try:
                return write(self.id)
            except MlflowException as error:
                found = self.session.search(run_filter(self.fingerprint, "condition"))
                whole = [run.info.run_id for run in found if run.data.tags.get("augrun.complete") == "true"]
                if whole:
                    self.id = whole[0]
                    return None  # the other has written all of it
                if "deleted" not in str(error) or not found or attempt == ATTEMPTS - 1:
                    raise
                self.id = found[0].info.run_id

    @property
    def _params(self) -> dict[str, Any]:
        """The choices by their plain names first, which MLflow's columns and comparisons are grouped by."""
        return {**self.names, **flatten(self.config), **self.names}

    def _tags(self, kind: str) -> dict[str, str]:
        names = {f"augrun.{name}": str(value) for name, value in self.names.items()}
        own = {"augrun.kind": kind, "augrun.fingerprint": self.fingerprint}
        return names | own | provenance(self.commit)

    def end(self, status: str) -> None:
        """Ends the run truthfully, unless another process runs or has finished the same condition."""
        if self.id is None:
            return
        with self.session.lock(self.fingerprint):
            tags = self.client.get_run(self.id).data.tags
            if tags.get("augrun.complete") == "true":
                return
            if status == "FINISHED":
                status = "FAILED"  # the work is done but could not be sent whole; `sync` mends that
            if tags.get("augrun.process") == process():
                self.client.set_terminated(self.id, status=status)

    def log_condition(self, folder: Path) -> bool:
        """Sends a stored condition: children, curves, summary, artifacts. What is there already is not sent again.

        Args:
            folder: a condition's folder in the store, with `results.json`, `config.yaml`, `curves/`, …

        Returns:
            Whether anything was sent.
        """
        if self.complete:
            return False
        with self.session.guard("sending a condition"):
            if self.id is None:
                self.begin()
            assert self.id is not None
            with self.session.lock(self.fingerprint):
                if self.client.get_run(self.id).data.tags.get("augrun.complete") == "true":
                    self.complete = True  # another process, at work on the same condition, was faster
                    return False
                self._surviving(lambda run_id: self._send(run_id, folder))
                self.complete = True
        return self.complete

    def _send(self, run_id: str, folder: Path) -> None:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        # One time for all metrics: MLflow drops what it is sent twice, where the time is the same too.
        when = int((folder / "results.json").stat().st_mtime * 1000)
        children = {
            (run.data.tags["augrun.fold"], run.data.tags["augrun.trial"]): run.info.run_id
            for run in self.session.search(f"tags.`mlflow.parentRunId` = '{run_id}'")
        }
        for entry in results["trials"]:
            fold, trial = str(entry["fold"]), str(entry["trial"])
            child = children.get((fold, trial)) or self._create_child(run_id, entry)
            self.session.log_new_params(child, {key: entry[key] for key in ("fold", "trial", "seed")})
            finals = {f"test/{metric}": value for metric, value in entry["metrics"].items()}
            place = f"fold-{fold}-trial-{trial}.json"
            points = curves(folder / "curves" / place)
            trained = curves(folder / "curves" / f"generator-{place}")
            points += [(f"generator/{name}", value, epoch) for name, value, epoch in trained]
            self.session.log_metrics(child, when, finals, points)
            self.client.set_terminated(child, status="FINISHED")
        beside = ("validation", "label_validity", "quality")
        summaries = {"test": results["summary"], **{what: results.get(what) or {} for what in beside}}
        summary = {
            f"{what}/{metric}/{name}": values[name]
            for what, metrics in summaries.items()
            for metric, values in metrics.items()
            for name in ("mean", "std", "ci_low", "ci_high")
        }
        made = {f"generated/{name}": results.get("generated", {}).get(name) for name in ("clips", "seconds")}
        self.session.log_metrics(run_id, when, summary | made, [])
        self.session.log_new_params(run_id, self._params)
        log_inputs(self.client, run_id, inputs(read_json(folder / "record.json"), self.config))
        self.session.send_folder(run_id, folder)
        self.client.set_tag(run_id, NOTE, short(note(results, self.config), TAG_LENGTH))
        self.client.set_terminated(run_id, status="FINISHED")
        self.client.set_tag(run_id, "augrun.complete", "true")  # last: without it a repeat sends everything again

    def _create_child(self, parent: str, entry: Mapping[str, Any]) -> str:
        fold, trial = str(entry["fold"]), str(entry["trial"])
        tags = self._tags("trial") | {
            "mlflow.parentRunId": parent,
            "augrun.fold": fold,
            "augrun.trial": trial,
            "augrun.process": process(),
        }
        created = str(self.session.create(f"fold-{fold}/trial-{trial}", tags).info.run_id)
        same = {"mlflow.parentRunId": parent, "augrun.fold": fold, "augrun.trial": trial}
        return self.session.keep_oldest_run(
            " AND ".join(f"tags.`{tag}` = '{value}'" for tag, value in same.items()), created
        )
