"""A condition's corpora as MLflow's inputs of a run: which data, how much, and what for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from augrun.tracking.formatting import short

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

#: What the corpus in each role is for; others are backgrounds that are mixed in.
CONTEXTS = {"target": "test", "source": "unlabelled", "noise": "background sounds", "music": "background music"}
NAME_LENGTH, DIGEST_LENGTH, SOURCE_LENGTH, PROFILE_LENGTH = 500, 36, 65_000, 60_000  # MLflow's limits
_UNKNOWN = ("ENDPOINT_NOT_FOUND", "NOT_FOUND", "NOT_IMPLEMENTED")


def inputs(record: Mapping[str, Any], config: Mapping[str, Any]) -> list[DatasetInput]:
    """The corpora that a condition's `record.json` names; none where it is too old to.

    Args:
        record: its content.
        config: the resolved configuration: a folder is named only where the user gave one.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    found = []
    corpora = record.get("corpora") or {}
    for role, corpus in corpora.items():
        root = (config.get(role) or {}).get("root")
        source = {"corpus": corpus["name"], "data": corpus["data"]} | ({"uri": str(root)} if root else {})
        profile = {key: corpus[key] for key in ("data", "clips", "hours", "classes") if key in corpus}
        # What is no published corpus is not to be taken for one of the same name.
        name = corpus["name"] if corpus["data"] == "published" else f"{corpus['name']} ({corpus['data']})"
        dataset = Dataset(
            short(name, NAME_LENGTH),
            corpus["digest"][:DIGEST_LENGTH],
            "local" if root else corpus["data"],
            short(json.dumps(source, ensure_ascii=False), SOURCE_LENGTH),
            profile=short(json.dumps(profile, ensure_ascii=False), PROFILE_LENGTH),
        )
        context = CONTEXTS.get(role, "training" if "target" in corpora else "training and test")
        found.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
    return found


def log_inputs(client: MlflowClient, run_id: str, found: list[DatasetInput]) -> None:
    """Sends them; a server that knows no inputs goes without. What is there already is not added again."""
    from mlflow.exceptions import MlflowException

    if not found:
        return
    try:
        client.log_inputs(run_id, datasets=found)
    except MlflowException as error:
        if error.error_code not in _UNKNOWN:
            raise
