"""The immutable table of clips that everything else reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from augrun.core.errors import AugrunError
from augrun.corpora.checks import first_few

#: Columns of `Corpus.clips`, in order. `labels` holds a tuple of class indices in the order the source
#: lists them (the first one is "the track's first tag"); `digest` identifies the clip's content.
COLUMNS = (
    "clip_id",
    "path",
    "start_s",
    "end_s",
    "duration_s",
    "labels",
    "split",
    "speaker",
    "session",
    "utterance",
    "cluster",
    "origin",
    "primed_by",
    "digest",
)

RECORDED = "recorded"


@dataclass(frozen=True)
class LabelSet:
    """Class names in order, and whether a clip may carry several.

    Attributes:
        names: class names; a label's index is its place here.
        multilabel: whether a clip may carry more than one class.
    """

    names: tuple[str, ...]
    multilabel: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """The class index of `name`.

        Raises:
            KeyError: there is no such class.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(name) from None


@dataclass(frozen=True, eq=False)
class Corpus:
    """One row a clip, recorded or generated.

    Attributes:
        name: the corpus's name, e.g. `jamendo_mood`.
        clips: a table with `COLUMNS`, one row a clip. `path` is absolute; `start_s`/`end_s` bound the
            clip within its file in seconds; `utterance` is the unit of voting and `cluster` (artist or
            speaker) the unit of statistics; `origin` is `recorded` or the generator's name.
        label_set: the classes.
        data: `standin`, `published` or `other`.
        notes: what was skipped or repaired while reading, one line each.
    """

    name: str
    clips: pd.DataFrame
    label_set: LabelSet
    data: str = "other"
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        missing = [column for column in COLUMNS if column not in self.clips.columns]
        if missing:
            raise ValueError(f"corpus {self.name}: columns missing from the table: {', '.join(missing)}")
        if not self.clips["clip_id"].is_unique:
            twice = self.clips["clip_id"][self.clips["clip_id"].duplicated()].iloc[0]
            raise ValueError(f"corpus {self.name}: clip_id {twice!r} is there more than once")
        object.__setattr__(self, "clips", self.clips.reset_index(drop=True))

    def __len__(self) -> int:
        return len(self.clips)

    @cached_property
    def digest(self) -> str:
        """Digest of the clips' content, labels and order, and of the classes."""
        total = hashlib.sha256(repr((self.label_set.names, self.label_set.multilabel)).encode())
        names = self.label_set.names
        columns = ("clip_id", "digest", "start_s", "end_s", "labels", "speaker", "utterance", "cluster")
        for clip_id, digest, start, end, labels, *rest in self.clips[list(columns)].itertuples(index=False):
            named = [names[k] for k in labels]
            total.update(repr((clip_id, digest, float(start), float(end), named, rest)).encode())
        return total.hexdigest()

    @property
    def seconds(self) -> float:
        """Total duration in seconds."""
        return float(self.clips["duration_s"].sum())

    def targets(self) -> np.ndarray:
        """Multi-hot targets, shape (clips, classes), float32."""
        targets = np.zeros((len(self), len(self.label_set)), dtype=np.float32)
        for row, labels in enumerate(self.clips["labels"]):
            targets[row, list(labels)] = 1.0
        return targets

    def first_labels(self) -> np.ndarray:
        """Each clip's first class, shape (clips,), int64; -1 where a clip has none."""
        return np.array([labels[0] if labels else -1 for labels in self.clips["labels"]], dtype=np.int64)

    def counts(self) -> dict[str, int]:
        """Clips in all, by split, by session, by speaker and by class: `clips`, `split train`, `class sad`, ...

        A clip of several classes counts in each.
        """
        counts = {"clips": len(self)}
        for column in ("split", "session", "speaker"):
            values = self.clips[column].value_counts()
            counts |= {f"{column} {value}": int(values[value]) for value in sorted(values.index) if value}
        of_class = self.targets().sum(axis=0)
        return counts | {f"class {name}": int(n) for name, n in zip(self.label_set.names, of_class, strict=True)}

    def seconds_per_class(self) -> np.ndarray:
        """Seconds per class, shape (classes,); a clip of several classes counts in each."""
        return self.targets().T.astype(np.float64) @ self.clips["duration_s"].to_numpy(np.float64)

    def select(self, rows: Sequence[int] | np.ndarray) -> Corpus:
        """The clips at `rows` (positions or a boolean mask), in that order."""
        picked = np.asarray(rows)
        positions = np.flatnonzero(picked) if picked.dtype == bool else picked.astype(np.int64)
        return Corpus(self.name, self.clips.iloc[positions], self.label_set, self.data)

    def prefixed(self) -> Corpus:
        """The same clips with the corpus's name before each id, speaker, session, utterance and cluster.

        Beside another corpus, nothing can then be mistaken for something of that.
        """
        clips = self.clips.copy()
        for column in ("clip_id", "speaker", "session", "utterance", "cluster"):
            named = clips[column] != ""
            clips.loc[named, column] = f"{self.name}/" + clips.loc[named, column].astype(str)
        return Corpus(self.name, clips, self.label_set, self.data)

    def by_utterance(self) -> tuple[Corpus, np.ndarray]:
        """What is decided on: one row an utterance (that of its first clip), and each clip's row there, (clips,).

        Raises:
            AugrunError: clips of one utterance carry different classes.
        """
        codes, utterances = pd.factorize(self.clips["utterance"])
        if len(utterances) == len(self):
            return self, np.arange(len(self))
        different = self.clips.groupby(codes)["labels"].nunique() > 1
        if different.any():
            raise AugrunError(
                f"{self.name}: {int(different.sum()):,} utterances have clips of different classes "
                f"({first_few(utterances[different])}), and no vote can decide them"
            )
        first = np.unique(codes, return_index=True)[1]
        return self.select(first), codes.astype(np.int64)

    @staticmethod
    def concatenate(corpora: Iterable[Corpus]) -> Corpus:
        """One corpus after the other; all must share one label set."""
        parts = list(corpora)
        first = parts[0]
        for part in parts[1:]:
            if part.label_set != first.label_set:
                raise ValueError(f"corpora {first.name} and {part.name} have different classes")
        filled = [part.clips for part in parts if len(part)] or [first.clips]
        return Corpus(first.name, pd.concat(filled, ignore_index=True), first.label_set, first.data)
