"""Which code runs, on what machine, with which versions of packages."""

from __future__ import annotations

import platform
import re
import subprocess
import tomllib
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augrun.core.job import Hardware


@lru_cache(maxsize=1)
def commit() -> str:
    """The commit of the code that runs, `-dirty` with changes on top; the version where this is no checkout."""
    root = Path(__file__).resolve().parents[3]
    if (root / ".git").exists():
        try:
            head = _git(root, "rev-parse", "HEAD")
            return head + ("-dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
        except (OSError, subprocess.SubprocessError):
            pass
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"version {version('augrun')}"
    except PackageNotFoundError:
        return "unknown"


def provenance(code: str) -> dict[str, str]:
    """Tags that say which code ran, and who ran it."""
    import getpass

    tags = {"augrun.commit": code, "mlflow.source.name": "augrun", "mlflow.source.type": "LOCAL"}
    if len(code.removesuffix("-dirty")) == 40:
        tags["mlflow.source.git.commit"] = code.removesuffix("-dirty")
    try:
        return tags | {"mlflow.user": getpass.getuser()}
    except (OSError, KeyError):  # a user without a name, as in some containers
        return tags


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()


#: Extras of the package whose parts take part in results.
EXTRAS = ("functionals", "jukebox")


def versions() -> dict[str, str]:
    """The versions of Python, of augrun and of what it declares to depend on, as far as it is installed."""
    found = {"python": platform.python_version()}
    for name in ("augrun", *declared()):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def declared() -> list[str]:
    """The packages that pyproject.toml names; of an installed wheel those that its metadata name."""
    project = Path(__file__).resolve().parents[3] / "pyproject.toml"
    if project.is_file():
        section = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        wanted = [*section["dependencies"]]
        wanted += [one for extra in EXTRAS for one in section["optional-dependencies"].get(extra, ())]
    else:
        try:
            every = metadata.requires("augrun") or []
        except metadata.PackageNotFoundError:
            return []
        wanted = [
            one for one in every if "extra ==" not in one or any(f"'{x}'" in one or f'"{x}"' in one for x in EXTRAS)
        ]
    return [match[0] for one in wanted if (match := re.match(r"[\w.-]+", one))]


def device(hardware: Hardware) -> dict[str, Any]:
    """What computes: the accelerator and its name, how many, at which precision, with how many threads."""
    import torch

    wanted = hardware.accelerator
    if wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        kind, name = "cuda", torch.cuda.get_device_name()
    elif wanted in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        kind, name = "mps", platform.processor() or "Apple GPU"
    else:
        kind, name = "cpu", processor()
    told = {"accelerator": kind, "name": name, "devices": hardware.devices, "precision": hardware.precision}
    return told | {"threads": torch.get_num_threads()}


def processor() -> str:
    """The CPU's model."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return model[1].strip() if model else platform.processor() or platform.machine()
