"""The C allocator, told to keep its blocks."""

from __future__ import annotations

import ctypes
import platform


def keep_memory() -> None:
    """Tells the C allocator to keep freed blocks instead of returning them to the system.

    glibc maps every large block afresh and gives it back when freed, so each training step on the CPU, and each
    clip whose features are extracted, pays for zeroed pages again: several times the cost of the arithmetic in
    convolutional networks. The price is a larger resident size. It holds for the rest of the
    process. Does nothing without glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
