"""From MLflow back to a folder: what conditions and comparisons left there, for a machine that lacks their store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from augrun.core.errors import AugrunError, RequestError
from augrun.core.files import file_name
from augrun.tracking import Tracking
from augrun.tracking.formatting import first_line
from augrun.tracking.session import Session, run_filter

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

#: Where fetched folders are kept, under the output root.
FOLDER = "fetched"

#: What a table or a reproduction has no use for.
NOT_WANTED = ("audio", "figures", "tables", "health")


@dataclass(frozen=True)
class Recorded:
    """A comparison as a sweep left it.

    Attributes:
        tables: the folder with `comparison.txt`, `.md`, …
        when: it was recorded, in words.
        commit: of the code that ran.
    """

    tables: Path
    when: str
    commit: str


class Source:
    """A tracking server or database to read from.

    Args:
        uri: of it; None or `default` is the output root's own database.
        output: the output root, where what is fetched is kept.

    Raises:
        RequestError: there is no such database.
    """

    def __init__(self, uri: str | None, output: Path) -> None:
        self.output = output.resolve()
        self.session = Session(Tracking(None if uri == "default" else uri, "augrun"), self.output)
        self.uri = self.session.uri
        database = self.uri.removeprefix("sqlite:///")
        if database != self.uri and not Path(database).is_file():
            raise RequestError(f"nothing is recorded at {self.uri}; give --tracking http://HOST:PORT or sqlite:///FILE")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

    def condition(self, fingerprint: str) -> Path | None:
        """A complete condition's folder, fetched now or before; None where MLflow has none.

        Raises:
            AugrunError: MLflow does not answer.
        """
        if (folder := self._folder(fingerprint)).is_dir():
            return folder
        wanted = run_filter(fingerprint, "condition") + " AND tags.`augrun.complete` = 'true'"
        found = self._search(wanted)
        return self._fetch(found[-1].info.run_id, fingerprint) if found else None

    def run(self, run_id: str) -> Path:
        """The folder of the condition that a run recorded.

        Raises:
            RequestError: there is no such run, or it is no complete condition's.
            AugrunError: MLflow does not answer.
        """
        from mlflow.exceptions import MlflowException

        with self._asking():
            try:
                run = self.session.client.get_run(run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                raise RequestError(f"{run_id}: no such run in MLflow at {self.uri}") from error
        tags = run.data.tags
        if tags.get("augrun.kind") != "condition":
            parent = tags.get("mlflow.parentRunId")
            mend = f"; its condition is {parent}" if parent else "; give the run of one condition"
            raise RequestError(f"{run_id}: {run.info.run_name} is no condition{mend}")
        if tags.get("augrun.complete") != "true":
            raise RequestError(f"{run_id}: the condition is not complete (status {run.info.status})")
        return self._fetch(run_id, tags["augrun.fingerprint"])

    def comparison(self, name: str) -> Recorded | None:
        """The last comparison of a sweep or published table; None where none was recorded.

        Raises:
            AugrunError: MLflow does not answer.
        """
        wanted = "tags.`augrun.kind` = 'sweep' AND attributes.status = 'FINISHED'"
        found = [run for run in self._search(wanted) if run.info.run_name == name]
        if not found:
            return None
        run = found[-1]
        place = self.output / FOLDER / file_name(run.info.run_id)
        with self._asking():
            place.mkdir(parents=True, exist_ok=True)
            tables = Path(self.session.client.download_artifacts(run.info.run_id, "tables", str(place)))
        when = datetime.fromtimestamp(run.info.start_time / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        return Recorded(tables, when, run.data.tags.get("augrun.commit", "unknown"))

    def _search(self, wanted: str) -> list[MlflowRun]:
        """Every run that fits, of all experiments, oldest first."""
        with self._asking():
            experiments = [one.experiment_id for one in self.session.client.search_experiments()]
            return self.session.search(wanted, experiments)

    def _folder(self, fingerprint: str) -> Path:
        return self.output / FOLDER / file_name(fingerprint)

    def _fetch(self, run_id: str, fingerprint: str) -> Path:
        """Downloads what a run holds; the folder is there whole or not at all."""
        folder = self._folder(fingerprint)
        if folder.is_dir():
            return folder
        partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
        with self._asking():
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for item in self.session.client.list_artifacts(run_id):
                if item.path not in NOT_WANTED and not item.path.endswith(".html"):
                    self.session.client.download_artifacts(run_id, item.path, str(partial))
            partial.rename(folder)
        return folder

    @contextmanager
    def _asking(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise AugrunError(f"MLflow at {self.uri} does not give what was asked for: {first_line(error)}") from error
