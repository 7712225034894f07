"""The rows of a sweep or of a published table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from augrun.core.config.schema import GROUPS
from augrun.core.errors import RequestError

if TYPE_CHECKING:
    from augrun.reports.definition import Definition


@dataclass
class Row:
    """One row of a sweep: its overrides, and what became of it.

    Attributes:
        overrides: the command line's and the table's.
        table: of a published table, which of its conditions this is (`Definition.jobs`), and in words the overrides by
            which the command line multiplies the table; both empty without one.
        folder: of its results, where it ended well.
        error: what ended it.
    """

    overrides: list[str]
    table: tuple[str, str] = ("", "")
    folder: Path | None = None
    error: BaseException | None = None

    @property
    def label(self) -> str:
        return " ".join(self.overrides)

    def name(self, varying: set[str]) -> str:
        """What tells this row from the others; a group's choice speaks for itself."""
        told = [override for override in self.overrides if override.split("=")[0] in varying] or self.overrides[:1]
        groups = [o.split("=", 1)[1] if o.split("=")[0].lstrip("+") in GROUPS else o for o in told]
        return ", ".join(groups) or "defaults"


def rows_of(table: Definition, product: Sequence[Sequence[str]]) -> list[Row]:
    """Each condition of a table under each combination of the command line's own overrides, which win."""
    varying = {word for own in product for word in own if not all(word in other for other in product)}
    return [
        Row([*overrides, *own], (name, ", ".join(word for word in own if word in varying)))
        for own in product
        for name, overrides in table.jobs
    ]


def names_of(rows: Sequence[Row], table: Definition | None) -> list[str]:
    """What each row is called in the sweep's table."""
    if table is not None:
        return [row.table[0] for row in rows]
    first = rows[0].overrides
    varying = {o.split("=")[0] for row in rows for o in row.overrides if o not in first}
    return [row.name(varying) for row in rows]


def _product(words: Sequence[str]) -> list[list[str]]:
    """The command line's overrides, one list for each combination of comma-separated ones, as the sweeper has them."""
    from hydra import initialize_config_dir
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from augrun.core.config.paths import conf_dir
    from augrun.core.config.suggestions import explain, refuse_null

    refuse_null(list(words))
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
            overrides = parser.parse_overrides(list(words))
    except HydraException as error:
        raise RequestError(explain(error, list(words), conf_dir())) from error
    return [list(row) for batch in BasicSweeper.split_arguments(overrides, None) for row in batch]
