"""What training needs of the machine: the device to compute on, and an allocator that keeps its blocks."""

from __future__ import annotations

import ctypes
import platform

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from augrun.errors import RequestError
from augrun.job import Hardware
from augrun.training_report import quiet


def keep_memory() -> None:
    """Tells the C allocator to keep freed blocks instead of returning them to the system.

    glibc maps every large block afresh and gives it back when freed, so each training step on the CPU pays for
    zeroed pages again: several times the cost of the arithmetic in convolutional networks. The price is a
    larger resident size. It holds for the rest of the process. Does nothing without glibc.
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


def device(hardware: Hardware) -> torch.device:
    """The device that a `fit` with this hardware computes on, for work outside of `fit`.

    Raises:
        RequestError: it is not there.
    """
    try:
        with quiet():
            return pl.Trainer(accelerator=hardware.accelerator, devices=1, logger=False).strategy.root_device
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise RequestError(
            f"trainer.accelerator={hardware.accelerator}: {said}\nUse trainer=cpu or trainer=auto."
        ) from error
