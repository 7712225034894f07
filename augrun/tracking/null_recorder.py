"""Recording left out: what `augrun.tracking.recorder.Recorder` does, without MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from augrun.core.runtime.signals import sigterm_raises


class Unrecorded:
    """A run that nobody is told of."""

    def log_condition(self, folder: Path) -> bool:
        """Sends nothing."""
        return False


class Off:
    """A recorder for configurations whose `tracking` is null."""

    problem: str | None = None

    def prepare(self) -> None:
        """Nothing has to be there."""

    @contextmanager
    def running(
        self, fingerprint: str, title: str, names: Mapping[str, str], config: Mapping[str, Any]
    ) -> Iterator[Unrecorded]:
        """A run; SIGTERM closes what is open, as it does in one that is recorded."""
        with sigterm_raises():
            yield Unrecorded()

    def add_comparison(self, of: Path, folder: Path) -> None:
        """Sends nothing."""

    def comparison(self, name: str, fingerprint: str, folder: Path) -> None:
        """Sends nothing."""

    def tell_study(self, folder: Path, study: str, number: int, value: float) -> None:
        """Sends nothing."""

    def closing_line(self) -> str:
        """That there is no run to look at."""
        return "MLflow: not recorded"
