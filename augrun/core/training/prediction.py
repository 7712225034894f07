"""Prediction with a trained network, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from augrun.core.job import Hardware
from augrun.core.runtime.malloc import keep_memory
from augrun.core.training.device import device


def predict(
    network: Any,
    state: Mapping[str, torch.Tensor],
    function: Callable[[Any, torch.Tensor], torch.Tensor],
    read_batch: Callable[[range], torch.Tensor],
    shape: tuple[int, int],
    batch_size: int,
    hardware: Hardware,
) -> np.ndarray:
    """Return what a function gives of all rows in a trained network.

    Args:
        network: the untrained network; it is given the weights and moved to the device.
        state: the weights, by the names of the training module's `network`.
        function: takes the network and a batch, and returns an array (rows of the batch, width).
        read_batch: returns the inputs of the rows of a range.
        shape: rows and width of the result.
        batch_size: rows in a batch.
        hardware: says which device.

    Returns:
        Array of that shape, float32.
    """
    network.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
    where = device(hardware)
    if where.type == "cpu":
        keep_memory()
    network.to(memory_format=torch.channels_last)
    network.to(where).eval()
    result = np.empty(shape, dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(result), batch_size):
            rows = range(start, min(start + batch_size, len(result)))
            result[start : rows.stop] = function(network, read_batch(rows).to(where)).float().cpu().numpy()
    return result
