"""Where pieces of work begin, step and end, for an observer such as `augrun.experiment.profiling`; by default none.

Components say here that a step is done. What watches is no part of them, and of no fingerprint.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Watcher(Protocol):
    """What is told of the work in this process."""

    def piece(self, kind: str, title: str) -> AbstractContextManager[object]:
        """A stage's work, which may lie within another's."""

    def stepped(self, kind: str) -> None:
        """A step of the piece at hand is done: an `update` of weights, a `pass` of data, a group of `clips`."""


_watcher: Watcher | None = None


def by(watcher: Watcher | None) -> Watcher | None:
    """Lets this one watch from now on, or nobody; returns who did before."""
    global _watcher
    before, _watcher = _watcher, watcher
    return before


def piece(kind: str, title: str) -> AbstractContextManager[object]:
    """To be held while a stage's work is done."""
    return nullcontext() if _watcher is None else _watcher.piece(kind, title)


def stepped(kind: str) -> None:
    """To be called after each step that torch's own optimisers and modules do not tell of.

    Args:
        kind: `update`, `pass` or `clips`.
    """
    if _watcher is not None:
        _watcher.stepped(kind)
