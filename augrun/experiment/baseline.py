"""The baseline that a condition is compared with: the same condition on all recordings alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from augrun.core.config import schema

#: The baseline's choices, as conf/generator/none.yaml and conf/policy/none.yaml have them.
BASELINE = {
    "generator": {"_target_": "augrun.generators.none.NoGenerator", "name": "none"},
    "policy": {"_target_": "augrun.policies.recordings.Recordings", "name": "none", "composition": "recorded"},
}


def baseline_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same condition's configuration on all recordings alone."""
    needed = schema.uses(config["protocol"])  # what only the generator used is no part of it
    roles = {role: config[role] for role in schema.ROLES if role in config and role in needed}
    others = {key: value for key, value in config.items() if key not in schema.ROLES}
    return {**others, **roles, **{group: dict(choice) for group, choice in BASELINE.items()}}
