"""Checks of a whole configuration before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from augrun.core.config import schema, validation
from augrun.core.config.component import build
from augrun.core.errors import RequestError


def check_config(config: Mapping[str, Any], swept: bool = False) -> None:
    """Refuse what cannot work before anything is started.

    Args:
        config: the resolved configuration.
        swept: whether it is a row of a sweep, as a published table's rows are.

    Raises:
        RequestError: with one line for each mistake.
    """
    if config.get(schema.TABLE) and not swept:
        from augrun.reports.definition import SWEPT

        swept = config[schema.TABLE].get("kind") in SWEPT
        how = "augrun -m experiment=NAME" if swept else "`augrun table NAME`"
        raise RequestError(f"this experiment is a published table with rows of its own: {how}")
    from augrun.experiment.role_corpora import real_root  # brings pandas, which a look at a configuration does without

    validation.check(config)
    build(config["protocol"])  # settings that contradict each other
    roles = ["dataset", *(role for role in schema.ROLES if config.get(role))]
    rendered = [role for role in roles if real_root(config, role) is None]
    if rendered and len(rendered) < len(roles):
        real = next(role for role in roles if role not in rendered)
        raise RequestError(
            f"{rendered[0]} would be a rendered stand-in beside the real {real}; give {rendered[0]}.root=DIR"
        )
