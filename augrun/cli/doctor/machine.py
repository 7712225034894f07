"""The doctor's checks of the machine: disk, output, packages, devices, the tracking server."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sqlite3
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from augrun.cli.doctor.findings import Examined, Finding, fail, failed, ok, warn
from augrun.core.config.component import build, describe
from augrun.core.config.schema import COMPONENTS, ROLES
from augrun.core.errors import AugrunError
from augrun.core.units import human
from augrun.tracking.formatting import absolute_uri

if TYPE_CHECKING:
    from packaging.requirements import Requirement

#: How long to wait for a tracking server, seconds.
TIMEOUT_S = 5

#: What a run wants beside its features, for models and samples, bytes.
SPARE = 10**9

#: The packages whose versions are worth a word.
NAMED = ("torch", "pytorch-lightning", "torchaudio", "mlflow", "hydra-core")


def there(path: Path) -> Path:
    """The nearest folder on the way to `path` that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


def disk(examined: Examined) -> Iterator[Finding]:
    """Room for the features of every clip that is in a fold."""
    store = examined.store
    free = shutil.disk_usage(there(store)).free
    needed = _features(examined)
    where = f"{human(free)} free for the store ({store})"
    mend = "free some, or put the store elsewhere with AUGRUN_STORE"
    if needed is None:
        yield ok(f"disk: {where}; how much the features need is not known")
    elif needed > free:
        yield fail(f"disk: the features need {human(needed)}, {where}", mend)
    elif needed + SPARE > free:
        yield warn(
            f"disk: the features need {human(needed)}, {where}, which leaves little for models and samples", mend
        )
    else:
        yield ok(f"disk: the features need {human(needed) if needed else 'nothing more'}, {where}")


def _features(examined: Examined) -> float | None:
    """Bytes of the features that are still to be extracted; None where that cannot be told."""
    import numpy as np

    condition = examined.condition
    read = [corpus for role in ("dataset", "target") if (corpus := examined.corpus(role)) is not None]
    representation = build(examined.config["representation"])
    if not read or not hasattr(representation, "seconds_per_frame"):
        return None
    step = representation.seconds_per_frame  # None: one vector a clip, however long the clip is
    try:
        extracted = condition.extra_stages_to_keep[: len(read)]  # the recorded corpora's come first
        if all((examined.store / "features" / fingerprint).is_dir() for fingerprint in extracted):
            return 0.0
    except AugrunError:
        pass  # without folds nothing can be looked for
    limit = None if condition.segments.seconds is not None else examined.config["dataset"].get("input_frames")
    total = 0.0
    for corpus in read:
        seconds = corpus.clips["duration_s"].to_numpy(float)
        frames = np.ones(len(seconds)) if step is None else seconds / step + 1
        frames = np.where(np.isfinite(frames), frames, limit or 0)
        total += float(np.minimum(frames, limit or np.inf).sum()) * representation.bands * 4
    return total


def output(examined: Examined) -> Iterator[Finding]:
    """The output root and the store can be written."""
    places = [("output", examined.output, "AUGRUN_OUTPUT (or output.root=)")]
    if examined.output not in examined.store.parents:
        places.append(("store", examined.store, "AUGRUN_STORE (or output.store=)"))
    for name, path, setting in places:
        try:
            with tempfile.TemporaryFile(dir=there(path)):
                yield ok(f"{name}: {path} can be written")
        except OSError as error:
            yield fail(f"{name}: {path} cannot be written ({error.strerror})", f"choose another {setting}")


def packages(examined: Examined) -> Iterator[Finding]:
    """The packages that augrun needs, and those that a chosen component requires beside them."""
    core, by_extra = _requirements()
    problems = [problem for requirement in core if (problem := _unmet(requirement))]
    if problems:
        yield fail(f"packages: {', '.join(problems)}", "pip install --upgrade augrun")
    else:
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in NAMED)
        more = f" and {len(core) - len(NAMED)} more" if len(core) > len(NAMED) else ""
        yield ok(f"packages: {versions}{more}, as augrun {_own_version()} needs them")
    for group in (*COMPONENTS, *ROLES):
        section = examined.config.get(group) or {}
        if "_target_" not in section:
            continue
        for module in describe(section["_target_"]).constants.get("requires") or ():
            if importlib.util.find_spec(module.partition(".")[0]) is None:
                chosen = f"{'dataset@' if group in ROLES else ''}{group}={section.get('name')}"
                yield fail(f"packages: {chosen} needs {module}", f"pip install {_provider(module, by_extra)}")


def extras(examined: Examined) -> Iterator[Finding]:
    """Which of augrun's extras are installed; a component that needs one says so itself."""
    _, by_extra = _requirements()
    said = []
    for extra, requirements in sorted(by_extra.items()):
        problems = [problem for requirement in requirements if (problem := _unmet(requirement))]
        said.append(f"{extra} ({', '.join(problems)})" if problems else f"{extra} installed")
    mend = "; `pip install 'augrun[NAME]'` adds one" if any("missing" in extra for extra in said) else ""
    yield ok(f"extras: {', '.join(said) or 'none known'}{mend}")


def _requirements() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """What augrun's own metadata ask for: always, and by extra."""
    from packaging.requirements import Requirement

    try:
        asked = [Requirement(text) for text in metadata.requires("augrun") or ()]
    except metadata.PackageNotFoundError:
        return [], {}  # run from its source folder
    core = [one for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]
    names = metadata.metadata("augrun").get_all("Provides-Extra") or ()
    rest = [one for one in asked if one not in core]
    return core, {name: [one for one in rest if one.marker and one.marker.evaluate({"extra": name})] for name in names}


def _own_version() -> str:
    try:
        return metadata.version("augrun")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _unmet(requirement: Requirement) -> str | None:
    """What is wrong with an installed package; None where nothing is."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f"{requirement.name} {version} is not {requirement.specifier}"


def _provider(module: str, by_extra: dict[str, list[Requirement]]) -> str:
    """What to install for a module: the extra that brings it, or the package of its name."""
    package = module.partition(".")[0].replace("_", "-").lower()
    for extra, requirements in sorted(by_extra.items()):
        if any(one.name.replace("_", "-").lower() == package for one in requirements):
            return f"'augrun[{extra}]'"
    return package


def devices(examined: Examined) -> Iterator[Finding]:
    """What the trainer asks for is there."""
    import torch

    from augrun.core.training import distributed
    from augrun.core.training.device import device

    hardware = examined.condition.hardware
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    apple = ["an Apple GPU"] if torch.backends.mps.is_available() else []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    seen = f"torch {torch.__version__} sees {', '.join(gpus or apple) or 'no GPU'}"
    try:
        where = device(hardware)  # as training finds it
        cpu = f"the CPU, {cores} core{'s' if cores > 1 else ''}"
        takes = {"cpu": cpu, "cuda": gpus[where.index or 0] if gpus else ""}.get(where.type, where.type)
        count = distributed.count(hardware)
        takes += f", {count} processes for each training" if count > 1 else ""
        yield ok(f"devices: trainer.accelerator={hardware.accelerator} takes {takes}; {seen}")
    except AugrunError as error:
        yield failed("devices", error)
    if not gpus and shutil.which("nvidia-smi"):
        yield warn(f"devices: there is an NVIDIA driver, but {seen}", "install a build of torch with CUDA")
    if hardware.workers > 2 * cores:
        yield warn(f"devices: trainer.workers={hardware.workers} on {cores} cores", f"use trainer.workers={cores}")


def tracking(examined: Examined) -> Iterator[Finding]:
    """The tracking server answers. A run goes on without it, so its absence is no failure."""
    settings: Any = build(examined.config["tracking"])
    uri = absolute_uri(settings.uri, examined.output)
    kind = urlsplit(uri).scheme.partition("+")[0]
    if kind in ("http", "https"):
        problem = _asked(uri)
    elif kind == "sqlite":
        problem = _opened(Path(uri.removeprefix("sqlite:///")))
    elif kind in ("postgresql", "mysql", "mssql"):
        problem = _knocked(uri, {"postgresql": 5432, "mysql": 3306, "mssql": 1433}[kind])
    else:
        yield warn(f"tracking: {uri} is not tried")
        return
    if problem:
        mend = "a run goes on without it, and `augrun store sync` sends what is missing"
        yield warn(f"tracking: {_masked(uri)} {problem}", mend)
    else:
        yield ok(f"tracking: {_masked(uri)} {'can be written' if kind == 'sqlite' else 'answers'}")


def _masked(uri: str) -> str:
    """The address without a password."""
    parts = urlsplit(uri)
    return uri.replace(f":{parts.password}@", ":…@") if parts.password else uri


def _asked(uri: str) -> str:
    """What is wrong with an MLflow server; empty where it is well."""
    own = urlsplit(uri).hostname in ("localhost", "127.0.0.1", "::1")  # no proxy knows this machine's own ports
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if own else []))
    try:
        with opener.open(f"{uri.rstrip('/')}/health", timeout=TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        return f"answers {error.code} ({error.reason})"
    except OSError as error:
        reason = getattr(error, "reason", error)
        return f"does not answer ({getattr(reason, 'strerror', None) or reason})"


def _knocked(uri: str, port: int) -> str:
    """What is wrong with a database server; empty where something listens."""
    parts = urlsplit(uri)
    try:
        with socket.create_connection((parts.hostname or "localhost", parts.port or port), timeout=TIMEOUT_S):
            return ""
    except OSError as error:
        return f"does not answer ({error.strerror or error})"


def _opened(path: Path) -> str:
    """What is wrong with a database file; empty where it can be written, or made."""
    try:
        if not path.exists():
            with tempfile.TemporaryFile(dir=there(path.parent)):
                return ""
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=TIMEOUT_S)) as database:
            database.execute("BEGIN IMMEDIATE")  # the lock that writing takes; nothing is written
            database.rollback()
            return ""
    except (OSError, sqlite3.Error) as error:
        return f"cannot be written ({getattr(error, 'strerror', None) or error})"
