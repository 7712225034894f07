"""Nothing but the recordings: the baseline's policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from augrun.policies.base import Policy


@dataclass(frozen=True)
class Recordings(Policy):
    """All recorded clips, and no samples."""

    generates: ClassVar[bool] = False
