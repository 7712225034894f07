"""What results may depend on beside their configuration: kept beside them, and no part of any fingerprint."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from augrun.core.runtime.provenance import device, versions

if TYPE_CHECKING:
    from augrun.core.job import Hardware
    from augrun.experiment.role_corpora import RoleCorpora


def collect_environment(corpora: RoleCorpora, hardware: Hardware) -> dict[str, Any]:
    """Return versions, device, corpora and platform, as `record.json` has them."""
    return {
        "versions": versions(),
        "device": device(hardware),
        "corpora": summarise_corpora(corpora),
        "platform": platform.platform(),
    }


def summarise_corpora(corpora: RoleCorpora) -> dict[str, dict[str, Any]]:
    """Return the name, digest, clips, hours, classes and kind of data of the corpus in each role."""
    summaries: dict[str, dict[str, Any]] = {}
    for role in corpora.roles:
        corpus = corpora.corpus(role)
        summaries[role] = {"name": corpus.name, "digest": corpus.digest, "clips": len(corpus), "data": corpus.data}
        summaries[role] |= {"hours": round(corpus.seconds / 3600, 4), "classes": list(corpus.label_set.names)}
    return summaries
