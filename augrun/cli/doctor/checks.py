"""`augrun doctor`: what a run needs, checked before it costs anything.

A check is a small function that takes the examined request and yields findings. Nothing is trained, and MLflow is only
knocked at. One check that fails hides none of the others. What is asked of the machine rather than of the request is in
`augrun.cli.doctor.machine`.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from augrun.cli.doctor import machine
from augrun.cli.doctor.findings import Examined, Finding, fail, failed, ok, warn
from augrun.cli.doctor.locks import store_locks
from augrun.core.config import schema
from augrun.core.config.component import build
from augrun.core.config.compose import compose
from augrun.core.data_kinds import DATA_KINDS
from augrun.core.errors import AugrunError, RequestError
from augrun.corpora.corpus import Corpus
from augrun.corpora.index import Index
from augrun.experiment import checks
from augrun.experiment.component_checks import check_components
from augrun.experiment.role_corpora import real_root

log = logging.getLogger(__name__)


#: How many differing counts are named.
SHOWN = 4


Check = Callable[[Examined], Iterator[Finding]]


def configuration(examined: Examined) -> Iterator[Finding]:
    """The composed configuration fits its components."""
    config = examined.config
    try:
        checks.check_config(config)
        lines = []
    except RequestError as error:
        lines = str(error).splitlines()
    # Where a corpus is not to be found is for the corpora's own lines.
    lines = [line for line in lines if line not in _lost(config)]
    examined.mistaken = bool(lines)
    if lines:
        yield from (fail(f"configuration: {line}") for line in lines)
        return
    groups = ("dataset", "generator", "policy", "classifier", "protocol", "representation")
    chosen = " ".join(f"{group}={config[group].get('name')}" for group in groups)
    yield ok(f"configuration: {chosen}, scale {config['scale']}")


def _lost(config: dict[str, Any]) -> list[str]:
    """What is wrong with the folders of the corpora."""
    said: list[str] = []
    for role in ["dataset", *(role for role in schema.ROLES if config.get(role))]:
        try:
            real_root(config, role)
        except RequestError as error:
            said += str(error).splitlines()
    return said


def corpora(examined: Examined) -> Iterator[Finding]:
    """Each role's corpus: folder and layout, counts, sample rates."""
    for role in examined.roles:
        corpora_of_roles = examined.condition.corpora
        try:
            section = examined.config[role]
            if real_root(examined.config, role) is None and not corpora_of_roles.standin_stage(role).done:
                yield ok(f"{role}: no corpus is named, so the stand-in for {section['name']} is rendered now, once")
            corpus = examined.read(role)
        except AugrunError as error:
            yield failed(role, error)
            continue
        classes = f"{len(corpus.label_set)} classes" if len(corpus.label_set) else "no classes"
        size = f"{len(corpus):,} clips, {corpus.seconds / 3600:,.1f} h, {classes}"
        yield ok(f"{role}: {corpus.name}, {size}, {DATA_KINDS[corpus.data].check} ({corpora_of_roles.root(role)})")
        # What was skipped is a loss that somebody should know of; what has no class is no part of the corpus.
        for note in corpus.notes:
            yield (warn if note.startswith("skipped") else ok)(f"{role}: {note}")
        yield from _counts(role, corpus, build(section).published())
        yield from _rates(role, corpus, examined)


def _counts(role: str, corpus: Corpus, published: dict[str, int]) -> Iterator[Finding]:
    """The clips, beside those published; a stand-in has other numbers on purpose."""
    if corpus.data == "standin" or not published:
        return
    have = corpus.counts()
    differing = [
        f"{key} {have.get(key, 0):,}, not {want:,}" for key, want in published.items() if have.get(key) != want
    ]
    if not differing or corpus.data == "published":  # then the reader knows what is missing, and has said so
        yield ok(f"{role} counts: {len(published) - len(differing)} of {len(published)} as published")
        return
    more = f"; and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
    yield warn(
        f"{role} counts: {len(differing)} of {len(published)} differ from the published ones: "
        f"{'; '.join(differing[:SHOWN])}{more}",
        "complete the corpus, or take its results for what they are: those of another corpus",
    )


def _rates(role: str, corpus: Corpus, examined: Examined) -> Iterator[Finding]:
    """The files' sample rates, from the index that reading the corpus has filled."""
    files = list(dict.fromkeys(corpus.clips["path"]))
    # By absolute path, as the reader asked, so that nothing is looked at twice.
    facts = Index(examined.store / "index", examined.condition.hardware.workers).lookup(
        Path("/"), [path.lstrip("/") for path in files]
    )
    rates = Counter(known.sample_rate for known in facts if known.sample_rate)
    if not rates:
        yield ok(f"{role} sample rates: none, {len(files):,} files of spectrograms")
        return
    listed = ", ".join(f"{rate:,} Hz ({count:,} files)" for rate, count in rates.most_common(SHOWN))
    wanted = examined.config["representation"].get("sample_rate")
    low = sum(count for rate, count in rates.items() if isinstance(wanted, int) and rate < wanted)
    if low:
        yield warn(
            f"{role} sample rates: {listed}; {low:,} files are below the representation's {wanted:,} Hz",
            "their upper bands will be empty; choose a representation of a lower rate",
        )
    elif len(rates) > 1:
        yield warn(
            f"{role} sample rates: {len(rates)} rates: {listed}", "all are resampled, but their bandwidths differ"
        )
    else:
        yield ok(f"{role} sample rates: {listed}")


def folds(examined: Examined) -> Iterator[Finding]:
    """The protocol can part the corpus."""
    name = examined.config["protocol"].get("name")
    if not examined.readable("dataset", *schema.uses(examined.config["protocol"])):
        yield warn(f"folds: protocol={name} is not tried, since its corpus cannot be read")
        return
    found = examined.condition.folds
    examined.parted = True
    parts = {part: [len(getattr(fold, part)) for fold in found] for part in ("train", "validation", "test")}
    if kept_out := [len(fold.reserve) for fold in found if fold.reserve is not None]:
        parts["reserve"] = kept_out
    sizes = ", ".join(f"{part} {_span(counts)}" for part, counts in parts.items())
    yield ok(f"folds: protocol={name}, {len(found)} fold{'s' if len(found) > 1 else ''}: {sizes} clips")


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def components(examined: Examined) -> Iterator[Finding]:
    """Every component accepts its settings, and has the weights and programs that it needs."""
    told: set[str] = set()
    groups = ("representation", "policy", "generator", "classifier")
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(machine.TIMEOUT_S)  # of weights that are asked for where nobody answers
    try:
        if examined.parted:
            try:
                check_components(examined.condition)  # as a run does: what is stored already needs nothing any more
            except AugrunError as error:
                told.add(str(error))
                yield failed("components", error)
        for group in groups:
            try:
                component = build(examined.config[group])
                if (told or not examined.parted) and hasattr(component, "check"):
                    component.check()
            except AugrunError as error:
                if str(error) not in told:
                    told.add(str(error))
                    yield failed(group, error)
    finally:
        socket.setdefaulttimeout(before)
    if not told:
        yield ok(f"components: {', '.join(groups)} have what they need")


CHECKS: tuple[Check, ...] = (
    configuration,
    corpora,
    folds,
    machine.disk,
    machine.output,
    store_locks,
    machine.packages,
    machine.extras,
    components,
    machine.devices,
    machine.tracking,
)


def examine(overrides: Sequence[str], config_dir: Path | None = None) -> Iterator[Finding]:
    """Every finding on a request, as it is made."""
    config, refused = _salvage(overrides, config_dir)
    yield from (fail(f"configuration: {line}", "left out of what follows") for line in refused)
    examined = Examined(config)
    for check in CHECKS:
        try:
            yield from check(examined)
        except AugrunError as error:
            yield failed(check.__name__, error)
        except Exception as error:  # one broken check must not hide the others
            log.debug("doctor", exc_info=True)
            name, said = check.__name__, f"{type(error).__name__}: {error}"
            if examined.mistaken:
                yield warn(f"{name}: not checked, because of the configuration")
            else:
                yield fail(f"{name}: this check broke ({said})")


def _salvage(overrides: Sequence[str], config_dir: Path | None) -> tuple[dict[str, Any], list[str]]:
    """The configuration that the overrides make, those left out that cannot be, and what is wrong with them."""
    try:
        return compose(overrides, config_dir), []
    except RequestError:
        kept: list[str] = []
        said: list[str] = []
        # Choices before values: `noise.root=DIR` means nothing before `dataset@noise=esc50`.
        for word in sorted(overrides, key=lambda word: "." in word.split("=")[0]):
            try:
                compose([*kept, word], config_dir)
                kept.append(word)
            except RequestError as error:
                said += str(error).splitlines()
        return compose(kept, config_dir), said


def run(overrides: Sequence[str], config_dir: Path | None = None) -> int:
    """Prints every finding; returns 0 where the run could start and 2 where it could not."""
    from rich.console import Console
    from rich.text import Text

    styles = {"ok": "green", "warn": "yellow", "FAIL": "bold red"}
    console = Console(highlight=False, soft_wrap=True)
    levels: Counter[str] = Counter()
    for finding in examine(overrides, config_dir):
        levels[finding.level] += 1
        text = Text(finding.line)
        text.stylize(styles[finding.level], 0, len(finding.level))
        console.print(text)
    bad = levels["FAIL"]
    said = f"the run could not start: {bad} problem{'s' if bad > 1 else ''}" if bad else "the run could start"
    console.print(said + (f" ({levels['warn']} warning{'s' if levels['warn'] > 1 else ''})" if levels["warn"] else ""))
    return 2 if bad else 0
