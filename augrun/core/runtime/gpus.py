"""The GPUs of this machine that a process may use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them; found without starting CUDA."""
    given = os.environ.get(VISIBLE)
    if given is not None:
        names = [name.strip() for name in given.split(",")]
        return names[: names.index("-1")] if "-1" in names else [name for name in names if name]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    names = []
    for line in listed.splitlines():
        if line.startswith("GPU "):
            names.append(str(sum(not name.startswith("MIG") for name in names)))
        elif part := re.search(r"\(UUID: (MIG-[^)]+)\)", line):  # a slice of the GPU above
            names.append(part[1])
    slices = [name for name in names if name.startswith("MIG")]
    return slices or names
