"""The command line in the tests' own process, which has imported what a process of its own would import first."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from augrun.cli import main


def here(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs one command line; what `subprocess.run` would tell of it. What it raises is a failure of the test."""
    from hydra.core.global_hydra import GlobalHydra

    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AUGRUN_", "HYDRA_"))}
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        mock.patch.dict(os.environ, {**clean, **environment}, clear=True),
        mock.patch.object(sys, "argv", ["augrun"]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        GlobalHydra.instance().clear()
        code = main.run(list(words))
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
