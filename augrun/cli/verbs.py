"""The verbs of the command line: everything that is not a job."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from augrun.core.config.paths import output_root, store_root
from augrun.core.errors import AugrunError, RequestError
from augrun.core.units import human
from augrun.reports import tables
from augrun.tracking import ui as tracking_ui

#: Columns of what is listed.
WIDTH = 100


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message}\n{self.format_usage().strip()}")


def run(verb: str, arguments: Sequence[str]) -> int:
    """Carries out one verb; returns the exit code.

    Raises:
        RequestError: there is no such verb, or its arguments are off.
    """
    from augrun.core.config.schema import GROUPS, nearest

    verbs: dict[str, Callable[[Sequence[str]], int]] = {
        "list": list_choices,
        "doctor": doctor,
        "table": table,
        "reproduce": reproduce,
        "standin": standin,
        "ui": ui,
        "store": store,
    }
    if verb not in verbs:
        hint = f"; did you mean {verb}=…?" if verb in GROUPS else nearest(verb, list(verbs))
        raise RequestError(f"{verb}: no such verb{hint} (augrun --help)")
    return verbs[verb](arguments)


def list_choices(arguments: Sequence[str]) -> int:
    """`augrun list [GROUP]`: every choice with the first comment of its YAML."""
    from augrun.core.config.schema import GROUPS, nearest

    parser = _Parser(prog="augrun list", description="The choices of every group, with what each is.")
    parser.add_argument("group", nargs="?")
    group = parser.parse_args(arguments).group
    if group is not None and group not in GROUPS:
        raise RequestError(f"{group}: no such group{nearest(group, list(GROUPS))}")
    for number, name in enumerate([group] if group else GROUPS):
        if number:
            print()
        _list_group(name)
    return 0


def _list_group(group: str) -> None:
    from augrun.core.config.paths import conf_dir
    from augrun.core.config.schema import GROUPS, ROLES

    print(f"{group}: {GROUPS[group]}")
    paths = sorted((conf_dir() / group).glob("*.yaml"))
    entries = [(path.stem, description_of(path) + _limits(path)) for path in paths]
    _print_entries(entries or [("(none yet)", "")])
    if group == "dataset":
        print("  Further corpora of one condition are choices of this group too; settings are ROLE.KEY=…,")
        print("  as in `dataset@noise=esc50 noise.root=DIR`:")
        _print_entries([(f"dataset@{role}=NAME", text) for role, text in ROLES.items()], "    ")
    if group == "experiment" and entries:
        print("  augrun table NAME makes a published table.")


def _limits(path: Path) -> str:
    """What a choice cannot do, where its class says so: recordings without classes are no dataset."""
    import re

    from augrun.core.config.component import describe

    target = re.search(r"^_target_: *(\S+)", path.read_text(encoding="utf-8"), re.M)
    try:
        labelled = describe(target[1]).constants.get("labelled") if target else None
    except RequestError:
        return ""  # a run with it will say what is wrong
    return " (no classes: for the other roles only)" if labelled is False else ""


def _print_entries(entries: Sequence[tuple[str, str]], indent: str = "  ") -> None:
    """One entry a line; what does not fit goes on below its beginning."""
    import shutil
    import sys
    import textwrap

    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
    width = max(len(name) for name, _ in entries)
    for name, text in entries:
        first, following = f"{indent}{name:<{width}}  ", " " * (len(indent) + width + 2)
        wrapped = textwrap.wrap(text, max(50, min(columns, WIDTH)), initial_indent=first, subsequent_indent=following)
        print("\n".join(wrapped) or first.rstrip())


def description_of(path: Path) -> str:
    """The first comment of a YAML file, which says what the choice is."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not line.startswith("# @package"):
            return line.lstrip("# ").strip()
    return ""


def doctor(arguments: Sequence[str]) -> int:
    """`augrun doctor [overrides]`: what a run needs, checked before it costs anything."""
    parser = _Parser(prog="augrun doctor", description="Check what a run needs before it costs anything.")
    parser.add_argument("overrides", nargs="*", help="as of the run that is meant, e.g. dataset=feel")
    parser.add_argument("--config-dir", "-cd", type=Path, help="a folder with further choices")
    given = parser.parse_intermixed_args(arguments)
    from augrun.cli.doctor import checks

    return checks.run(given.overrides, given.config_dir)


def table(arguments: Sequence[str]) -> int:
    """`augrun table NAME [overrides]`: a published table, measured on the corpora at hand, or that of a sweep."""
    from augrun.sweeps import measured_tables

    about = "A published table, measured on the corpora at hand; of a sweep, finished or not, what is there."
    parser = _Parser(prog="augrun table", description=about)
    parser.add_argument("name", help="a published table, a sweep (sweep.name), or one of several, NAME/TIME")
    parser.add_argument(
        "overrides", nargs="*", help="of all rows, e.g. dataset.root=DIR; dataset=A,B for these corpora"
    )
    parser.add_argument("--format", choices=tables.FORMATS, default="txt", help="what to print (default: txt)")
    parser.add_argument("--out", type=Path, help="where to write (default: tables/NAME under the output root)")
    parser.add_argument("--config-dir", "-cd", type=Path, help="a folder with further choices")
    parser.add_argument(
        "--tracking", metavar="URI", help="ask this MLflow for what the store lacks; `default`: the output folder's own"
    )
    given = parser.parse_intermixed_args(arguments)
    measured_tables.make(given.name, given.overrides, given.format, given.out, given.config_dir, given.tracking)
    return 0


def reproduce(arguments: Sequence[str]) -> int:
    """`augrun reproduce RUN_ID|results.json`: a recorded condition again; 0 where all figures agree, else 1."""
    parser = _Parser(
        prog="augrun reproduce",
        description="Run a recorded condition again, from its own configuration, and say whether its figures agree.",
    )
    parser.add_argument("what", help="a condition's results.json, its folder, or the id of its MLflow run")
    parser.add_argument("overrides", nargs="*", help="of that configuration, e.g. dataset.root=DIR or trainer=cpu")
    parser.add_argument("--tracking", metavar="URI", help="the MLflow of the run (default: the output folder's own)")
    parser.add_argument(
        "--tolerance", type=float, default=1e-6, help="the largest difference that agrees (default: 1e-6)"
    )
    parser.add_argument("--config-dir", "-cd", type=Path, help="a folder with further choices")
    given = parser.parse_intermixed_args(arguments)
    if not given.tolerance >= 0:
        raise RequestError(f"--tolerance {given.tolerance}: give 0 or more")
    from augrun.core.runtime import log_setup
    from augrun.experiment import reproduce

    log_setup.set_up_logging()
    request = reproduce.ReproductionRequest(
        given.what, given.overrides, given.tracking, given.tolerance, output_root(), given.config_dir
    )
    return 0 if reproduce.reproduce(request) else 1


def standin(arguments: Sequence[str]) -> int:
    """`augrun standin DATASET DIR`: renders a miniature corpus in the exact layout of the real one."""
    parser = _Parser(prog="augrun standin", description="Render a miniature corpus in the real one's layout.")
    parser.add_argument("dataset")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--voice", help="whose voices a speech stand-in has: own or espeak")
    parser.add_argument(
        "--size", action="append", default=[], metavar="NAME=VALUE", help="how much of it, e.g. seconds=[1,3]"
    )
    given = parser.parse_args(arguments)
    import yaml

    from augrun.corpora import standin as standins

    sizes = {}
    for text in given.size:
        name, equals, value = text.partition("=")
        try:
            sizes[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not equals:
            raise RequestError(f"--size {text}: is no NAME=VALUE, e.g. --size seconds=[1,3]")
    if given.voice is not None:
        sizes["voice"] = given.voice
    standins.render(given.dataset, given.folder, seed=given.seed, **sizes)
    print(f"{given.folder}: a rendered stand-in for {given.dataset}, no real recordings (seed {given.seed})")
    return 0


def ui(arguments: Sequence[str]) -> int:
    """`augrun ui`: the MLflow UI on the right store; prints its address and stays until stopped."""
    parser = _Parser(prog="augrun ui", description="The MLflow UI on this output folder.")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--host", default="127.0.0.1")
    given = parser.parse_args(arguments)

    return tracking_ui.ui(output_root(), host=given.host, port=given.port)


def store(arguments: Sequence[str]) -> int:
    """`augrun store ls|gc|sync`."""
    from augrun.core.store.stages import Store

    parser = _Parser(prog="augrun store", description="What is stored, and what of it is still needed.")
    actions = parser.add_subparsers(dest="action", required=True, parser_class=_Parser)
    listing = actions.add_parser("ls", help="every stage, with its size and age")
    listing.add_argument("kind", nargs="?")
    gc = actions.add_parser("gc", help="remove what no condition leads to, and unfinished work that no job holds")
    gc.add_argument("--keep-days", type=float, help="also drop conditions not used for this many days")
    gc.add_argument(
        "--spare-hours",
        type=float,
        default=24.0,
        help="leave alone what was used this recently, for jobs that still run (default: 24)",
    )
    gc.add_argument("--dry-run", action="store_true", help="only say what would go")
    sync = actions.add_parser("sync", help="send to MLflow what is missing there")
    sync.add_argument("--tracking", dest="uri", help="the MLflow server; default: the output folder's own database")
    given = parser.parse_args(arguments)
    root = store_root()
    if not root.is_dir():
        raise RequestError(f"no store at {root}; set AUGRUN_OUTPUT (or AUGRUN_STORE) to where a run has written")
    if given.action == "ls":
        return _list(Store(root), given.kind)
    if given.action == "gc":
        return _collect(Store(root), given.keep_days, given.dry_run, given.spare_hours)
    return _sync(Store(root), given.uri)


def _list(store: Any, kind: str | None) -> int:
    import time

    total = 0
    for entry in store.entries():
        if kind is not None and entry.kind != kind:
            continue
        size = entry.bytes
        total += size
        age = (time.time() - entry.used) / 3600
        state = "unfinished" if entry.partial else entry.title
        print(f"{entry.kind:<12} {entry.fingerprint:<20} {human(size):>9} {age:7.1f} h  {state}")
    print(f"{human(total)} in {store.root}")
    return 0


def _collect(store: Any, keep_days: float | None, dry_run: bool, spare_hours: float) -> int:
    from augrun.core.store import garbage_collection

    sizes = {entry.folder: entry.bytes for entry in store.entries()}
    gone = garbage_collection.collect(store, keep_days, dry_run, spare_hours)
    done = "would remove" if dry_run else "removed"
    for entry in gone:
        print(f"{done} {entry.kind}/{entry.folder.name} ({human(sizes[entry.folder])})")
    verb = "would be freed" if dry_run else "freed"
    print(f"{human(sum(sizes[entry.folder] for entry in gone))} {verb} in {store.root}")
    return 0


def _sync(store: Any, uri: str | None) -> int:
    from augrun.tracking import sync as tracking_sync

    folders = [entry.folder for entry in store.entries() if entry.kind == "condition" and not entry.partial]
    if not folders:
        raise AugrunError(f"no finished conditions in {store.root}: nothing to send")
    print(tracking_sync.sync(folders, output_root(), uri))
    return 0
