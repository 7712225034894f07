"""What results may depend on beside their configuration: kept beside them, and no part of any fingerprint."""

from __future__ import annotations

import platform
import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augrun.job import Hardware
    from augrun.recordings import Recordings

#: Extras of the package whose parts take part in results.
EXTRAS = ("functionals", "jukebox")


def of(recordings: Recordings, hardware: Hardware) -> dict[str, Any]:
    """Versions, device, corpora and platform, as `record.json` has them."""
    return {
        "versions": versions(),
        "device": device(hardware),
        "corpora": corpora(recordings),
        "platform": platform.platform(),
    }


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
    project = Path(__file__).resolve().parents[1] / "pyproject.toml"
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


def corpora(recordings: Recordings) -> dict[str, dict[str, Any]]:
    """The corpus in each role: its name, digest, clips, hours, classes, and what kind of data it is."""
    found: dict[str, dict[str, Any]] = {}
    for role in recordings.roles:
        corpus = recordings.corpus(role)
        found[role] = {"name": corpus.name, "digest": corpus.digest, "clips": len(corpus), "data": corpus.data}
        found[role] |= {"hours": round(corpus.seconds / 3600, 4), "classes": list(corpus.label_set.names)}
    return found
