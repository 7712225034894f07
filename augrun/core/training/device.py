"""The device to compute on."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from augrun.core.errors import RequestError
from augrun.core.job import Hardware
from augrun.core.training.progress import quiet


def device(hardware: Hardware) -> torch.device:
    """The device that a `fit` with this hardware computes on, for work outside of `fit`.

    Raises:
        RequestError: it is not there.
    """
    try:
        with quiet():
            trainer = pl.Trainer(
                accelerator=hardware.accelerator, devices=1, logger=False, plugins=[LightningEnvironment()]
            )
            return trainer.strategy.root_device
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise RequestError(
            f"trainer.accelerator={hardware.accelerator}: {said}\nUse trainer=cpu or trainer=auto."
        ) from error
