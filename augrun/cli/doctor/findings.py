"""What the doctor finds, and the request that it examines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from augrun.core.config.schema import ROLES
from augrun.core.errors import AugrunError
from augrun.core.store import stages
from augrun.corpora.corpus import Corpus
from augrun.experiment.plan import ConditionPlan


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        level: `ok`; `warn`, with which a run could start; `FAIL`, with which it could not.
        what: what was found.
        mend: what to do about it.
    """

    level: Literal["ok", "warn", "FAIL"]
    what: str
    mend: str = ""

    @property
    def line(self) -> str:
        """The finding in one line."""
        return f"{self.level:<4}  {self.what}" + (f"; {self.mend}" if self.mend else "")


def ok(what: str) -> Finding:
    """All is well."""
    return Finding("ok", what)


def warn(what: str, mend: str = "") -> Finding:
    """A run could start, but somebody should know."""
    return Finding("warn", what, mend)


def fail(what: str, mend: str = "") -> Finding:
    """A run could not start."""
    return Finding("FAIL", what, mend)


def failed(subject: str, error: AugrunError) -> Finding:
    """A component's own message in one line; its last line is the mend."""
    *said, mend = (line.rstrip(".") for line in str(error).splitlines())
    return fail(f"{subject}: {'; '.join(said)}", mend) if said else fail(f"{subject}: {mend}")


class Examined:
    """A request, and what is read of it only once.

    Attributes:
        config: the resolved configuration.
        mistaken: whether the configuration itself is wrong, so that other checks may not make sense.
        parted: whether folds have been drawn.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.mistaken = self.parted = False
        self._unread = set(self.roles)

    @cached_property
    def condition(self) -> ConditionPlan:
        """The condition's plan; no work is done by naming it."""
        return ConditionPlan(self.config, stages.open_store(self.config))

    @property
    def output(self) -> Path:
        """The output root."""
        return Path(self.config["output"]["root"]).resolve()

    @property
    def store(self) -> Path:
        """The store's folder."""
        return self.condition.store.root

    @property
    def roles(self) -> list[str]:
        """`dataset`, and the other roles that are given."""
        return ["dataset", *(role for role in ROLES if self.config.get(role))]

    def corpus(self, role: str) -> Corpus | None:
        """The clips of a role's corpus; None where there is no such role, or `read` could not have them."""
        return self.condition.corpora.corpus(role) if role in self.roles and self.readable(role) else None

    def read(self, role: str) -> Corpus:
        """The clips of a role's corpus, looked at for the first time.

        Raises:
            AugrunError: they cannot be read.
        """
        corpus = self.condition.corpora.corpus(role)
        self._unread.discard(role)
        return corpus

    def readable(self, *roles: str) -> bool:
        """Whether the corpora in these roles have been read; in all that are given where none is named."""
        return not self._unread & set(roles or self.roles)
