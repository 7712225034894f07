"""The Hydra sweeper: all rows checked first, failures collected, the comparison at the end."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from augrun.core.errors import AugrunError, RequestError
from augrun.experiment import checks
from augrun.sweeps import controls
from augrun.sweeps.row_configs import Rows
from augrun.sweeps.rows import Row, names_of, rows_of
from augrun.tracking import recorder

if TYPE_CHECKING:
    from augrun.reports.definition import Definition

log = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What the last sweep of this process left."""

    rows: list[Row] = field(default_factory=list)

    def clear(self) -> None:
        self.rows = []

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if row.error is not None]


outcome = Outcome()


class CheckedSweeper(Sweeper):
    """Runs the product of the comma-separated overrides, every row checked before the first starts.

    Hydra's own basic sweeper stops at the first failure; here no failure stops the other jobs.
    """

    def __init__(self, max_batch_size: int | None = None, params: dict[str, str] | None = None) -> None:
        self.params = params or {}
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None
        self._resolved: dict[tuple[str, ...], dict[str, Any]] = {}  # by row: it is asked for several times

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        from hydra.core.plugins import Plugins

        loader: Any = Rows(hydra_context.config_loader)
        hydra_context = HydraContext(config_loader=loader, callbacks=hydra_context.callbacks)
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Runs the product of the comma-separated overrides."""
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        assert self.config is not None and self.launcher is not None and self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([f"{key}={value}" for key, value in self.params.items()] + arguments)
        batches = BasicSweeper.split_arguments(overrides, None)
        product = [list(row) for batch in batches for row in batch]
        controls.require_one_value(product)
        table = self._table(product[0])
        if table is None and self._peek(product[0]).get(controls.KEY):
            product = controls.added(product, self._generator)
        rows = [Row(row) for row in product] if table is None else rows_of(table, product)
        settings = self.config.get("sweep", {})
        rows = self._valid(rows, bool(settings.get("skip_invalid")))
        self._prepare(rows[0].overrides)
        self._note(rows, arguments, table)
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        returns = self._launch(rows)
        outcome.rows = [_ended(row, result) for row, result in zip(rows, returns, strict=True)]
        _compare(outcome.rows, self._compose, table)
        return [returns]

    def _launch(self, rows: Sequence[Row]) -> Sequence[JobReturn]:
        """Runs the rows, or first the parts that `sweep.spread` makes of them."""
        from augrun.sweeps import spread

        assert self.launcher is not None
        try:
            return spread.launch(self.launcher, [row.overrides for row in rows], self._compose)
        finally:
            if hasattr(self.launcher, "close"):  # of ours; their processes do not wait for more
                self.launcher.close()

    def _peek(self, row: Sequence[str]) -> dict[str, Any]:
        """The configuration that a row makes; an empty one where it makes none, and `_valid` says what is wrong."""
        try:
            return self._compose(row)
        except (HydraException, OmegaConfBaseException):
            return {}

    def _generator(self, row: Sequence[str]) -> str | None:
        """The name of a row's generator; None where it has none that makes samples."""
        return controls.generator_of(self._peek(row))

    def _table(self, row: Sequence[str]) -> Definition | None:
        """The published table that the sweep is for, where its experiment defines one."""
        from augrun.core.config.schema import TABLE
        from augrun.reports.definition import SWEPT, Definition

        config = self._peek(row)
        section, picked = config.get(TABLE), (config.get("sweep") or {}).get("rows")
        if picked and not section:
            raise RequestError("sweep.rows picks rows of a published table: augrun -m experiment=NAME")
        name = next((word.split("=", 1)[1] for word in row if word.lstrip("+").startswith("experiment=")), "")
        definition = Definition.of(name, section) if section else None
        if definition is not None and definition.kind not in SWEPT:
            raise RequestError(f"{name}: no classifier is trained for this table; `augrun table {name}` prints it")
        if definition is None or not config.get(controls.KEY):
            return None if definition is None else definition.only(picked)
        return controls.beside(definition, picked, lambda words: self._generator([*words, *row]))

    def _compose(self, row: Sequence[str]) -> dict[str, Any]:
        from augrun.core.config.compose import resolve

        assert self.hydra_context is not None and self.config is not None
        key = tuple(row)
        if key not in self._resolved:
            self._resolved[key] = resolve(self.hydra_context.config_loader.load_sweep_config(self.config, list(row)))
        return deepcopy(self._resolved[key])

    def _valid(self, rows: list[Row], skip: bool) -> list[Row]:
        """The rows that can work.

        Raises:
            RequestError: some cannot, and `sweep.skip_invalid` is off; or none can.
        """

        good: list[Row] = []
        bad: list[tuple[Row, str]] = []
        for row in rows:
            try:
                checks.check_config(self._compose(row.overrides), swept=True)
                good.append(row)
            except RequestError as error:
                bad.append((row, str(error)))
            except (HydraException, OmegaConfBaseException) as error:
                from augrun.core.config.paths import conf_dir
                from augrun.core.config.suggestions import explain

                bad.append((row, explain(error, row.overrides, conf_dir())))
        if bad and (not skip or not good):
            listed = "\n".join(f"  {row.label}: {problem}" for row, problem in bad)
            mend = "" if not good else "\nsweep.skip_invalid=true would run the others"
            raise RequestError(f"{len(bad)} of {len(rows)} rows cannot work, nothing was started:\n{listed}{mend}")
        for row, problem in bad:
            log.warning("left out: %s: %s", row.label, problem)
        return good

    def _prepare(self, row: Sequence[str]) -> None:
        """What must be there before jobs start side by side: the tracking database."""

        recorder.prepare(self._compose(row))

    def _note(self, rows: list[Row], words: Sequence[str], table: Definition | None) -> None:
        """Writes what is to run, so that `augrun table` can tell what of it is there, whatever stops the sweep."""
        from augrun.sweeps import history

        assert self.config is not None
        config = self._compose(rows[0].overrides)
        sources = self.config.hydra.runtime.config_sources
        further = next((source.path for source in sources if source.provider == "command-line"), None)
        swept = [
            history.SweptRow(name, tuple(row.overrides), row.table[1])
            for name, row in zip(names_of(rows, table), rows, strict=True)
        ]
        name = table.name if table else config["sweep"]["name"]
        root = Path(config["output"]["root"]).expanduser().resolve()
        history.started(name, swept, words, table is not None, further).write(root)


def _ended(row: Row, result: JobReturn) -> Row:
    if result.status == JobStatus.COMPLETED:
        return replace(row, folder=Path(result.return_value))
    return replace(row, error=result._return_value)  # `return_value` would raise it


def _compare(rows: list[Row], compose: Callable[[Sequence[str]], dict[str, Any]], table: Definition | None) -> None:
    from augrun.experiment.comparison import compare_conditions

    if table is not None:
        for combination in dict.fromkeys(row.table[1] for row in rows):  # a table each
            of_it = [row for row in rows if row.table[1] == combination]
            done = [(row.table[0], row.folder) for row in of_it if row.folder is not None]
            if done:
                named = replace(table, name=f"{table.name} ({combination})") if combination else table
                compare_conditions(compose(of_it[0].overrides), done, table=named)
        return

    names = names_of(rows, None)
    done = [(name, row.folder) for name, row in zip(names, rows, strict=True) if row.folder is not None]
    if done:
        compare_conditions(compose(rows[0].overrides), done)


def finish() -> int:
    """Lists the failures last; the exit code of the whole command."""
    for row in outcome.failed:
        if not isinstance(row.error, AugrunError):
            traceback.print_exception(row.error)
    if outcome.failed:
        print(f"\naugrun: {len(outcome.failed)} of {len(outcome.rows)} jobs failed:", file=sys.stderr)
    for row in outcome.failed:
        print(f"  {row.label}: {row.error}", file=sys.stderr)
    return 1 if outcome.failed else 0
