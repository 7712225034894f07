"""MLflow's client, which goes on where jobs on several machines write the same thing at the same moment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

#: How often the same is written again, where another job was faster.
ATTEMPTS = 8

#: What databases say of two that insert one row.
_CLASHES = ("UniqueViolation", "UNIQUE constraint", "duplicate key", "Duplicate entry", "IntegrityError")


class Client(MlflowClient):
    """What can be written twice is, where a server's database has refused it because somebody else wrote it just then.

    MLflow looks whether a tag or parameter is there and then inserts it, in which two at once get into each other's
    way. At the second attempt it is there.
    """

    def set_tag(self, *args: Any, **kwargs: Any) -> None:
        """As MLflow's."""
        _settled(super().set_tag, *args, **kwargs)

    def set_experiment_tag(self, *args: Any, **kwargs: Any) -> None:
        """As MLflow's."""
        _settled(super().set_experiment_tag, *args, **kwargs)

    def log_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As MLflow's; the same point of a metric is kept once, and the same parameter is no error."""
        return _settled(super().log_batch, *args, **kwargs)

    def log_inputs(self, *args: Any, **kwargs: Any) -> None:
        """As MLflow's."""
        _settled(super().log_inputs, *args, **kwargs)


def _settled(write: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return write(*args, **kwargs)
        except MlflowException as error:
            if attempt == ATTEMPTS or not any(clash in str(error) for clash in _CLASHES):
                raise
            time.sleep(random.uniform(0, 0.05 * attempt))
    return None
