"""Clips that cannot be used: collected while a corpus is read, then reported together."""

from __future__ import annotations

from collections.abc import Iterable

from augrun.core.errors import AugrunError

#: How many names of each kind a message shows.
SHOWN = 3


def first_few(names: Iterable[str], shown: int = SHOWN) -> str:
    """`a, b, c, …` with at most `shown` names."""
    names = list(names)
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")


class BadClips:
    """Collects clips by what is wrong with them.

    Args:
        corpus: the corpus's name, for the message.
    """

    def __init__(self, corpus: str) -> None:
        self.corpus = corpus
        self._kinds: dict[str, list[str]] = {}

    def add(self, kind: str, name: str) -> None:
        """Notes that the clip `name` has a fault of this kind (`missing files`, `unknown labels`, ...)."""
        self._kinds.setdefault(kind, []).append(name)

    def __len__(self) -> int:
        return sum(len(names) for names in self._kinds.values())

    def lines(self) -> list[str]:
        """One line a kind: count, kind and the first few names."""
        return [f"{len(names):,} {kind} ({first_few(names)})" for kind, names in self._kinds.items()]

    def settle(self, on_bad_clip: str, total: int) -> tuple[str, ...]:
        """Ends the collection.

        Args:
            on_bad_clip: `fail` or `skip`.
            total: the clips that there should be.

        Returns:
            Notes for the corpus, one line a kind, where the clips are to be skipped.

        Raises:
            AugrunError: there are bad clips and `on_bad_clip` is `fail`, or no clip is left.
        """
        if not len(self):
            return ()
        said = f"{self.corpus}: {len(self):,} of {total:,} clips cannot be used: {'; '.join(self.lines())}"
        if len(self) >= total:
            raise AugrunError(f"{said}\nno clip is left; check dataset.root")
        if on_bad_clip != "skip":
            raise AugrunError(f"{said}\nmend them, or leave them out with dataset.on_bad_clip=skip")
        return tuple(f"skipped {line}" for line in self.lines())
