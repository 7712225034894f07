"""The only package that knows MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Tracking:
    """Where MLflow's runs go.

    Attributes:
        uri: a tracking server (`http://…`) or database (`sqlite:///…`); None keeps a database and the artifacts
            under the output root.
        experiment: MLflow's experiment; None is the dataset's name, or the published table's.
        timeout_s: how long to wait for a server's answer.
    """

    uri: str | None = None
    experiment: str | None = None
    timeout_s: Annotated[int, "[1, inf)"] = 10
