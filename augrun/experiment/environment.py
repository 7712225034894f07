"""What results may depend on beside their configuration: kept beside them, and no part of any fingerprint."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from augrun.core.runtime.provenance import device, versions

if TYPE_CHECKING:
    from augrun.core.job import Hardware
    from augrun.experiment.role_corpora import Recordings


def of(recordings: Recordings, hardware: Hardware) -> dict[str, Any]:
    """Versions, device, corpora and platform, as `record.json` has them."""
    return {
        "versions": versions(),
        "device": device(hardware),
        "corpora": corpora(recordings),
        "platform": platform.platform(),
    }


def corpora(recordings: Recordings) -> dict[str, dict[str, Any]]:
    """The corpus in each role: its name, digest, clips, hours, classes, and what kind of data it is."""
    found: dict[str, dict[str, Any]] = {}
    for role in recordings.roles:
        corpus = recordings.corpus(role)
        found[role] = {"name": corpus.name, "digest": corpus.digest, "clips": len(corpus), "data": corpus.data}
        found[role] |= {"hours": round(corpus.seconds / 3600, 4), "classes": list(corpus.label_set.names)}
    return found
