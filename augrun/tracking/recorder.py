"""What an experiment tells MLflow: its conditions' runs, comparisons, and the trials of studies.

MLflow is a view: what a condition left in the store is what is sent. A condition's run is found by its fingerprint, so
a repeat adds nothing, and one that was killed is taken up again. `Run.log_condition` is the one way from a stored
condition into MLflow, for a run that has just ended as for `sync`. With the server down nothing is lost: the work goes
on, the end says so, and `augrun store sync` sends what is missing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrun.core.config.component import build
from augrun.core.files import read_json, write_text
from augrun.core.runtime.processes import process
from augrun.core.runtime.provenance import commit, provenance
from augrun.core.runtime.signals import sigterm_raises
from augrun.tracking import Tracking, saved_view
from augrun.tracking.condition_run import Run
from augrun.tracking.descriptions import choices, gain_metrics, gains, note
from augrun.tracking.formatting import short
from augrun.tracking.session import NOTE, TAG_LENGTH, UNSENT, VIEW, Session, run_filter

if TYPE_CHECKING:
    from augrun.tracking.null_recorder import Off

#: Shown on a comparison's page.
NOTE_TABLES = ("comparison", "trials", "differences", "produced", "label_validity", "quality")


class Recorder:
    """Sends what conditions leave behind to one experiment.

    Args:
        settings: where to; `experiment` is set.
        output: the output root.

    Attributes:
        session: the connection to the experiment.
    """

    def __init__(self, settings: Tracking, output: Path) -> None:
        self.session = Session(settings, output)

    @property
    def problem(self) -> str | None:
        """What last could not be sent, and why."""
        return self.session.problem

    def prepare(self) -> None:
        """Create what must exist before jobs start side by side: the database and the experiment."""
        with self.session.guard("preparing"):
            self.session.reap()

    @contextmanager
    def running(
        self, fingerprint: str, title: str, names: Mapping[str, str], config: Mapping[str, Any]
    ) -> Iterator[Run]:
        """Open the parent run of a condition: RUNNING inside; then FINISHED, FAILED or, when interrupted, KILLED.

        Args:
            fingerprint: of the condition; a run that has it is taken up, and left alone when it is finished.
            title: the run's name.
            names: the condition (dataset, generator, …, data), for the tags.
            config: the resolved configuration, for the parameters.
        """
        run = Run(self.session, fingerprint, title, names, config)
        with self.session.guard("starting a run"):
            self.session.reap()
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
            with self.session.guard("ending a run"):
                run.end(status)

    def add_comparison(self, of: Path, folder: Path) -> None:
        """Add a comparison's tables and figures to the run of the condition in `of`."""
        session = self.session
        fingerprint = json.loads((of / "results.json").read_text(encoding="utf-8"))["fingerprint"]
        with session.guard("sending a comparison"), session.lock(fingerprint):
            for found in session.search(run_filter(fingerprint, "condition")):
                if found.data.tags.get("augrun.comparison") != folder.name:
                    # Its account of the samples' labels, by row, would take the place of the condition's own.
                    session.send_folder(found.info.run_id, folder, exclude=("label_validity.json",))
                    self._log_gains(found.info.run_id, of, folder)
                    session.client.set_tag(found.info.run_id, "augrun.comparison", folder.name)
                return
        self._keep_for_later({"of": str(of), "folder": str(folder)})

    def _log_gains(self, run_id: str, of: Path, folder: Path) -> None:
        """Add to a condition's run by how much it is better than its baseline."""
        import yaml

        found = gains(folder)
        self._save_view(found)
        timestamp_ms = int((folder / "tables" / "comparison.json").stat().st_mtime * 1000) if found else 0
        self.session.log_metrics(run_id, timestamp_ms, gain_metrics(found))
        if found and (of / "config.yaml").is_file():
            results = json.loads((of / "results.json").read_text(encoding="utf-8"))
            config = yaml.safe_load((of / "config.yaml").read_text(encoding="utf-8"))
            self.session.client.set_tag(run_id, NOTE, short(note(results, config, found), TAG_LENGTH))

    def _save_view(self, found: Mapping[str, Mapping[str, float]]) -> None:
        """Save a view of the runs table, once: whoever deletes it does not get it back."""
        client, experiment = self.session.client, self.session.experiment_id
        if found and VIEW not in client.get_experiment(experiment).tags:
            view = saved_view.saved(found, int(time.time() * 1000))
            client.set_experiment_tag(experiment, saved_view.TAG, view)
            client.set_experiment_tag(experiment, VIEW, "1")

    def comparison(self, name: str, fingerprint: str, folder: Path) -> None:
        """Record the comparison at the end of a sweep as a run of its own; a repeat adds none."""
        session = self.session
        with session.guard("sending a comparison"), session.lock(fingerprint):
            query = run_filter(fingerprint, "sweep")
            if session.search(query + " AND attributes.status = 'FINISHED'"):
                return
            tags = {"augrun.kind": "sweep", "augrun.fingerprint": fingerprint, **provenance(commit())}
            tags["augrun.process"] = process()
            tables = [folder / "tables" / f"{name}.md" for name in NOTE_TABLES]
            tags[NOTE] = "\n".join(t.read_text(encoding="utf-8") for t in tables if t.is_file())
            if unfinished := session.search(query):
                run_id = unfinished[0].info.run_id
            else:
                run_id = session.keep_oldest_run(query, session.create(name, tags).info.run_id)
            session.log_new_params(run_id, choices(folder))
            session.send_folder(run_id, folder)
            session.client.set_terminated(run_id, status="FINISHED")
            return
        self._keep_for_later({"name": name, "fingerprint": fingerprint, "folder": str(folder)})

    def tell_study(self, folder: Path, study: str, number: int, value: float) -> None:
        """Record in a condition's run which trial of which study it was, and its value there."""
        session = self.session
        fingerprint = json.loads((folder / "results.json").read_text(encoding="utf-8"))["fingerprint"]
        with session.guard("sending a trial"):
            for found in session.search(run_filter(fingerprint, "condition")):
                run_id = found.info.run_id
                session.client.set_tag(run_id, "augrun.study", study)
                session.client.set_tag(run_id, "augrun.study.trial", str(number))
                session.log_new_params(run_id, {"study": study, "study.trial": number})
                timestamp_ms = int((folder / "results.json").stat().st_mtime * 1000)
                session.log_metrics(run_id, timestamp_ms, {"study/value": value})
                return
        self._keep_for_later({"folder": str(folder), "study": study, "number": str(number), "value": repr(value)})

    def _keep_for_later(self, entry: Mapping[str, str]) -> None:
        """List a comparison that could not be sent; conditions need no entry, the store has them."""
        unsent = self.session.output / UNSENT
        with self.session.lock("unsent"):
            entries = read_json(unsent) or []
            entry = {**entry, "experiment": self.session.experiment}
            if entry not in entries:
                write_text(unsent, json.dumps([*entries, entry], indent=1))

    def closing_line(self) -> str:
        """Return where the runs are, or that they could not be sent."""
        uri, settings = self.session.uri, self.session.settings
        if self.problem:
            to = f" --tracking {uri}" if settings.uri else ""
            return (
                f"MLflow at {uri} did not take everything ({self.problem}).\n"
                f"Nothing is lost: `augrun store sync{to}` sends what is missing once it answers."
            )
        place = f"at {uri}" if settings.uri else "`augrun ui` shows them"
        return f"MLflow: experiment {self.session.experiment}, {place}"


def open_recorder(config: Mapping[str, Any]) -> Recorder | Off:
    """Return the recorder that the configuration names; where its `tracking` is null, one that records nothing."""
    if config["tracking"] is None:
        from augrun.tracking.null_recorder import Off

        return Off()
    experiment = config["tracking"].get("experiment") or config["dataset"]["name"]
    return Recorder(build({**config["tracking"], "experiment": experiment}), Path(config["output"]["root"]).resolve())


def prepare(config: Mapping[str, Any]) -> None:
    """Create what must exist before jobs start side by side: the tracking database."""
    open_recorder(config).prepare()
