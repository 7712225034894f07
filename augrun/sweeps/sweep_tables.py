"""`augrun table NAME` of what a sweep runs: rendered from the store or from MLflow, nothing is trained.

NAME is a published table, whose rows are composed as the sweep composes them, or a sweep that was started
(`augrun.sweeps.history`). What of it is there makes the table; what is missing is told, with the command that goes on.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrun.core.config import schema
from augrun.core.config.compose import compose
from augrun.core.errors import AugrunError, RequestError
from augrun.core.store import stages
from augrun.experiment import checks
from augrun.experiment.comparison import significance_settings
from augrun.experiment.plan import ConditionPlan
from augrun.experiment.role_corpora import RoleCorpora, real_root
from augrun.sweeps import history
from augrun.sweeps.history import Started, SweptRow
from augrun.sweeps.rows import _product

if TYPE_CHECKING:
    from augrun.reports.definition import Definition
    from augrun.reports.evidence import Settings
    from augrun.tracking.download import Source

#: Stages that a sweep has begun, where there are some; without, no corpus has to be read to know that nothing is there.
WORK = ("generator", "samples", "reducer", "classifier", "predictions", "condition")


NOT_BEGUN = "no fold or trial is scored"


@dataclass(frozen=True)
class Request:
    """A table that is asked for.

    Attributes:
        name: as on the command line.
        title: of the table.
        rows: its conditions.
        definition: of a published table.
        words: what a sweep over the rows has on its command line after `-m`.
        record: the last sweep of that name, where one was started.
        config_dir: a folder with further choices.
        form: which rendering is printed.
        folder: where to write.
        root: the output root.
        tracking: the MLflow server to ask for what the store lacks; `default` is the output root's own database, None
            asks nobody.
    """

    name: str
    title: str
    rows: tuple[SweptRow, ...]
    definition: Definition | None
    words: tuple[str, ...]
    record: Started | None
    config_dir: Path | None
    form: str
    folder: Path
    root: Path
    tracking: str | None

    @property
    def combinations(self) -> list[str]:
        """What the command line multiplies the table by; each is a table of its own."""
        return list(dict.fromkeys(row.combination for row in self.rows))

    def called(self, combination: str) -> str:
        """The name of the table of a combination, as the sweep has it."""
        return f"{self.title} ({combination})" if combination else self.title

    @property
    def command(self) -> str:
        """What runs the rows, or goes on with them."""
        further = ["--config-dir", str(self.config_dir)] if self.config_dir else []
        return shlex.join(["augrun", "-m", *further, *self.words])


@dataclass(frozen=True)
class Found:
    """What there is of a row.

    Attributes:
        row: the row.
        folder: of its results, where they are there.
        how_far: of what is not there, in words.
        wrong: why its configuration cannot work here.
        settings: how its difference from the reference is judged.
        fingerprint: of the condition, where its corpora are at hand.
    """

    row: SweptRow
    settings: Settings
    folder: Path | None = None
    how_far: str = ""
    wrong: RequestError | None = None
    fingerprint: str = ""


def published(
    definition: Definition,
    overrides: Sequence[str],
    config_dir: Path | None,
    root: Path,
    **rest: Any,
) -> Request:
    """The request for a published table: its rows as `augrun -m experiment=NAME` has them."""
    from augrun.sweeps.rows import rows_of

    own = (f"experiment={definition.name}", *overrides)
    rows = [SweptRow(row.table[0], tuple(row.overrides), row.table[1]) for row in rows_of(definition, _product(own))]
    record = history.load(root, definition.name)
    return Request(
        definition.name, definition.name, tuple(rows), definition, own, record, config_dir, root=root, **rest
    )


def recorded(
    record: Started,
    name: str,
    definition: Definition | None,
    overrides: Sequence[str],
    config_dir: Path | None,
    **rest: Any,
) -> Request:
    """The request for a sweep that was started; overrides apply to all of its rows."""
    rows = tuple(replace(row, overrides=(*row.overrides, *overrides)) for row in record.rows)
    words = (*record.words, *overrides)
    return Request(name, record.name, rows, definition, words, record, config_dir, **rest)


def make(request: Request) -> None:
    """Renders what is there, prints it, and says what is missing.

    Raises:
        RequestError: no row can work as it is asked for.
        AugrunError: nothing is there.
    """
    source = _source(request)
    configs = [compose(row.overrides, request.config_dir) for row in request.rows]
    try:
        found = list(_found(request, configs, source))
        wrong = [one.wrong for one in found if one.wrong is not None]
        if len(wrong) == len(found):
            raise RequestError("\n".join(dict.fromkeys(str(error) for error in wrong)))
        if not any(one.folder for one in found):
            raise AugrunError(_nothing(request, found))
    except AugrunError as error:
        if source is None:
            raise
        titles = [request.called(combination) for combination in request.combinations]
        printed = [print_recorded(source, title, request.form, str(error)) for title in titles]
        if not any(printed):
            raise
        return
    for combination in request.combinations:
        _render(request, combination, [one for one in found if one.row.combination == combination])
    missing = [one for one in found if one.folder is None]
    if missing:
        lines = [f"{len(missing)} of {len(found)} rows are missing:", *_listing(missing), *_other_code(request)]
        print("\n".join([*lines, f"to go on: {request.command}"]), file=sys.stderr)


def print_recorded(source: Source, title: str, form: str, why: str) -> bool:
    """The last resort: prints the comparison that a sweep left in MLflow, as it was; returns whether there is one."""
    kept = source.comparison(title)
    path = kept.tables / f"comparison.{form}" if kept else None
    if kept is None or path is None or not path.is_file():
        return False
    print(path.read_text(encoding="utf-8"), end="")
    lines = [
        f"This is what a sweep recorded in MLflow at {source.uri} on {kept.when} (commit {kept.commit}), not made anew:"
    ]
    print("\n".join([*lines, *(f"  {line}" for line in why.splitlines())]), file=sys.stderr)
    return True


def _source(request: Request) -> Source | None:
    if request.tracking is None:
        return None
    from augrun.tracking.download import Source

    return Source(request.tracking, request.root)


def _found(request: Request, configs: Sequence[dict[str, Any]], source: Source | None) -> Iterator[Found]:
    """What there is of each row."""
    read: dict[str, RoleCorpora] = {}
    for row, config in zip(request.rows, configs, strict=True):
        try:
            checks.check_config(config, swept=True)
            plain = {key: value for key, value in config.items() if key != schema.TABLE}
            condition = ConditionPlan(plain, stages.open_store(config))
            _share(condition, read)
            one = _look(condition, Found(row, significance_settings(config)), asked=source is not None)
        except RequestError as error:
            one = Found(row, significance_settings(config), how_far=f"it cannot work here: {_line(error)}", wrong=error)
        except AugrunError as error:
            one = Found(row, significance_settings(config), how_far=_line(error))
        if source is not None and one.folder is None and one.fingerprint:
            one = replace(one, folder=source.condition(one.fingerprint))
        yield one


def _share(condition: ConditionPlan, read: dict[str, RoleCorpora]) -> None:
    """Lets rows on the same corpora read them once."""
    for one in (condition, condition.baseline):
        if one is not None:
            config = one.config
            told = [config.get(role) for role in ("dataset", *schema.ROLES)]
            domain = one.domain if config.get("source") else None
            key = repr([*told, config["data"], config["representation"], domain])
            one.corpora = read.setdefault(key, one.corpora)


def _look(condition: ConditionPlan, found: Found, asked: bool) -> Found:
    """What the store has of a condition; `asked` says that MLflow is to be asked too, by its fingerprint."""
    store, roles = condition.store, condition.corpora.roles
    rendered = [role for role in roles if real_root(condition.config, role) is None]
    begun = asked or any((store.root / kind).is_dir() for kind in WORK)
    if not begun or not all(condition.corpora.standin_stage(role).done for role in rendered):
        return replace(found, how_far=NOT_BEGUN)
    stage = condition.stage
    if stage.done:
        return replace(found, folder=stage.folder, fingerprint=stage.fingerprint)
    return replace(found, how_far=how_far(condition), fingerprint=stage.fingerprint)


def how_far(condition: ConditionPlan) -> str:
    """What of an unfinished condition is done."""
    fold_trials = condition.fold_trials
    scored = sum(one.predictions.done for one in fold_trials)
    done = {one.generator.fingerprint: one.generator.done for one in fold_trials if one.generator}
    if not scored and not any(done.values()):
        return NOT_BEGUN
    trained = f", {sum(done.values())} of {len(done)} generators trained" if done else ""
    return f"{scored} of {len(fold_trials)} folds and trials are scored{trained}"


def _render(request: Request, combination: str, found: Sequence[Found]) -> None:
    """Writes and prints the table of one combination of the command line's overrides."""
    from augrun.reports import comparison
    from augrun.reports.tables import FORMATS

    there = [(one.row.name, one.folder) for one in found if one.folder is not None]
    title = request.called(combination)
    if not there:
        print(f"{title}: no row of it is there", file=sys.stderr)
        return
    folder = request.folder / history.file_stem(combination) if combination else request.folder
    definition = request.definition and replace(request.definition, name=title)
    missing = {one.row.name: one.how_far for one in found if one.folder is None}
    stem = history.file_stem(request.title)
    comparison.write(folder, title, there, definition, found[0].settings, missing, stem, within="")
    shown = folder / (comparison.CONSOLE if request.form == "txt" else f"{stem}.{request.form}")
    print(shown.read_text(encoding="utf-8").rstrip("\n"))
    print(f"written to {folder}: {stem}.{{{','.join(FORMATS)}}}", file=sys.stderr)


def _nothing(request: Request, found: Sequence[Found]) -> str:
    """That no row is there, how far each is, and what to do."""
    begun = [one for one in found if one.how_far != NOT_BEGUN]
    lines = [f"{request.name}: none of its {len(found)} rows is finished under {request.root}"]
    lines += _listing(begun)
    last = request.record
    if last is not None and request.definition is not None and last.words != request.words:
        lines.append(f"the last sweep of that name was started with: augrun -m {shlex.join(last.words)}")
    return "\n".join([*lines, *_other_code(request), f"{'to go on' if begun else 'to run them'}: {request.command}"])


def _other_code(request: Request) -> list[str]:
    """That the last sweep ran other code, where it did: what that made has other fingerprints."""
    from augrun.core.runtime.provenance import commit

    if request.record is None or request.record.commit == commit():
        return []
    return [f"the last sweep of that name ran other code ({request.record.commit}, now {commit()})"]


def _listing(found: Sequence[Found]) -> list[str]:
    lines = []
    for one in found:
        name = f"{one.row.name} ({one.row.combination})" if one.row.combination else one.row.name
        lines.append(f"  {name}: {one.how_far}")
    return lines


def _line(error: AugrunError) -> str:
    return str(error).splitlines()[0]
