"""Which sweeps were started: a small file for each under the output root, so that its table can be asked for later.

sweeps/NAME.json        the last one of that name
sweeps/NAME/TIME.json   every one, by when it was started (UTC)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from augrun.core.files import file_name, write_text

FOLDER = "sweeps"


@dataclass(frozen=True)
class SweptRow:
    """One condition of a sweep.

    Attributes:
        name: in the sweep's table.
        overrides: what makes its configuration, the command line's own last.
        combination: in words the overrides by which the command line multiplies a published table; else empty.
    """

    name: str
    overrides: tuple[str, ...]
    combination: str = ""


@dataclass(frozen=True)
class Started:
    """A sweep, as it was when its first job started.

    Attributes:
        name: `sweep.name`, or that of the published table.
        rows: its conditions.
        words: the overrides of the command line, as given.
        published: whether it is of a published table.
        config_dir: the folder with further choices, where one was named.
        started: when, in UTC, as a file can be named.
        commit: of the code.
    """

    name: str
    rows: tuple[SweptRow, ...]
    words: tuple[str, ...]
    published: bool
    config_dir: str | None
    started: str
    commit: str

    def write(self, root: Path) -> None:
        """Writes both files under the output root.

        Raises:
            AugrunError: they cannot be written.
        """
        from augrun.core.store.stages import Store

        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        place = root / FOLDER / file_stem(self.name)
        with Store(root).writing():
            place.mkdir(parents=True, exist_ok=True)
            write_text(place / f"{self.started}.json", text)
            write_text(place.with_name(f"{place.name}.json"), text)


def started(
    name: str, rows: Sequence[SweptRow], words: Sequence[str], published: bool, config_dir: str | None
) -> Started:
    """A sweep that starts now."""
    from augrun.core.runtime.provenance import commit

    now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S-%f")
    return Started(name, tuple(rows), tuple(words), published, config_dir, now, commit())


def load(root: Path, name: str) -> Started | None:
    """The last sweep of a name, or with `NAME/TIME` the one that was started then; None where there is none."""
    name, _, when = name.partition("/")
    place = root / FOLDER / file_stem(name)
    path = place / f"{file_stem(when)}.json" if when else place.with_name(f"{place.name}.json")
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = tuple(SweptRow(row["name"], tuple(row["overrides"]), row["combination"]) for row in found["rows"])
    return Started(**{**found, "rows": rows, "words": tuple(found["words"])})


def names(root: Path, name: str) -> list[str]:
    """What sweeps can be asked for: all by name, or with `NAME/TIME` those of that name by time."""
    folder = root / FOLDER
    if "/" in name:
        place = folder / file_stem(name.partition("/")[0])
        return [f"{place.name}/{path.stem}" for path in sorted(place.glob("[!.]*.json"))]
    return sorted(path.name for path in folder.glob("*") if path.is_dir())


def file_stem(name: str) -> str:
    return file_name(name)
