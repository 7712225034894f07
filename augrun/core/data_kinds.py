"""What is said of each kind of data, so that nobody takes a stand-in for the real corpus.

The kinds are those of `Corpus.data`. Standard library only, as tracking, reports and the command line all use it.
"""

from __future__ import annotations

from dataclasses import dataclass

STANDIN, PUBLISHED, OTHER = "standin", "published", "other"

#: Of rows that were measured on data of different kinds.
MIXED = "mixed"


@dataclass(frozen=True)
class DataKind:
    """The words for one kind of data.

    Attributes:
        console: in the account of a run.
        check: in the findings of `augrun doctor`.
        table: the sentence below tables and figures, and on pages.
        tracked_run: in the description of a run in MLflow, in Markdown.
        tracked_corpus: likewise, in the list of an experiment's corpora.
    """

    console: str
    check: str
    table: str
    tracked_run: str
    tracked_corpus: str


#: By kind; the least trustworthy first: what holds any of it is all of that kind.
DATA_KINDS = {
    STANDIN: DataKind(
        console="a rendered stand-in, NOT the real corpus",
        check="a rendered stand-in, NOT the real corpus",
        table="Data: a rendered STAND-IN, not the real corpus. These figures say nothing about the real one.",
        tracked_run="a rendered **stand-in**, NOT the real corpus: these figures say nothing about it",
        tracked_corpus="a rendered **stand-in**, not the real corpus",
    ),
    OTHER: DataKind(
        console="a corpus that is not the published one",
        check="not the published corpus",
        table="Data: a corpus that is not the published one.",
        tracked_run="a corpus that is not the published one",
        tracked_corpus="a corpus that is not the published one",
    ),
    PUBLISHED: DataKind(
        console="the published corpus",
        check="the published corpus",
        table="Data: the corpus as published.",
        tracked_run="the published corpus",
        tracked_corpus="the published corpus",
    ),
}
