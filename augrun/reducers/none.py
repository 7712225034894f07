"""Vectors as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from augrun.reducers.base import Reducer


@dataclass(frozen=True)
class NoReducer(Reducer):
    """Leaves vectors as they are."""

    reduces: ClassVar[bool] = False
