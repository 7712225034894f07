"""Processes end with the one that started them, also where that is killed and can tell nobody."""

from __future__ import annotations

import ctypes
import os
import sys

#: Of prctl(2): the signal that a process gets when its parent ends.
PR_SET_PDEATHSIG = 1


def end_with(parent: int, by: int) -> None:
    """Lets this process end with the one that started it (on Linux).

    Args:
        parent: that one's id.
        by: the signal that this one gets then.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, by)
        if os.getppid() != parent:  # it was killed before that
            os._exit(1)
