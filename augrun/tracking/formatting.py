"""What tracking needs that does not talk to MLflow: who runs, from which code, and how things are put into words."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from augrun.core.errors import RequestError

_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")


def absolute_uri(uri: str | None, output: Path) -> str:
    """The tracking URI with an absolute path; by default that of the database under the output root.

    Raises:
        RequestError: MLflow keeps no runs at such an address.
    """
    if uri is None:
        return f"sqlite:///{output / 'mlflow.db'}"
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme not in _SCHEMES and uri != "databricks":
        raise RequestError(f"tracking.uri={uri}: give a server, http://HOST:PORT, or a database, sqlite:///FILE")
    if scheme == "sqlite":
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).expanduser().resolve()}"
    return uri


def short(value: Any, limit: int) -> str:
    """The value as text of at most `limit` characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `group.key`: value; what says how and where to run, not what, is left out."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if name in ("output", "tracking", "sweep", "trainer.progress", "trainer.name"):
            continue
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def is_number(value: Any) -> bool:
    """Whether MLflow can hold the value as a metric."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def curves(path: Path) -> list[tuple[str, float, int]]:
    """Name, value and epoch of every point in a `history.json`."""
    if not path.is_file():
        return []
    points = []
    for entry in json.loads(path.read_text(encoding="utf-8")):
        points += [(name, float(value), int(entry["epoch"])) for name, value in entry.items() if is_number(value)]
    return [point for point in points if point[0] != "epoch"]


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
