"""What the console says of a condition before any work."""

from __future__ import annotations

import logging

from augrun.core.data_kinds import DATA_KINDS
from augrun.experiment.plan import ConditionPlan

log = logging.getLogger(__name__)


def announce(plan: ConditionPlan) -> None:
    """Log what runs on which data, so that nobody takes a stand-in for the real corpus."""
    log.info("%s, scale %s", plan.title, plan.names["scale"])
    for role in plan.corpora.roles:
        corpus = plan.corpora.corpus(role)
        what = "data" if role == "dataset" else role
        hours = corpus.seconds / 3600
        kind = DATA_KINDS[corpus.data].console
        log.info("  %s: %s, %d clips, %.1f h: %s", what, corpus.name, len(corpus), hours, kind)
        for note in corpus.notes:
            log.warning("  %s", note)
    if "reserve" in plan.names:
        log.info("  kept out of training: a share of %s of each train part", plan.names["reserve"])
