"""What is said on the console."""

from __future__ import annotations

import logging


def set_up_logging(verbose: bool = False) -> None:
    """Our own lines on the console, with the time; other libraries' from warnings up, plain."""
    plain = logging.StreamHandler()
    plain.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[plain], force=True)
    logging.raiseExceptions = False  # a closed pipe (`augrun … | head`) is no reason for a trace
    timed = logging.StreamHandler()
    timed.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    ours = logging.getLogger("augrun")
    ours.handlers, ours.propagate = [timed], False
    ours.setLevel(logging.DEBUG if verbose else logging.INFO)
