"""Processes that tests start and send signals to."""

from __future__ import annotations

import signal


def restore_signals() -> None:
    """Give SIGINT and SIGHUP their default actions, as `preexec_fn` of a process that a test interrupts.

    A shell starts what runs in the background with SIGINT ignored, and nohup ignores SIGHUP. Processes inherit that,
    and a Python that finds SIGINT ignored at its start installs no handler that raises KeyboardInterrupt.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
