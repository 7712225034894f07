"""What every corpus reader promises, and the building of its table.

A reader is a frozen dataclass: its fields are the dataset's settings. Adding a corpus touches three files:
its reader, its YAML, its test.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pandas as pd

from augrun.core.errors import AugrunError
from augrun.corpora.checks import BadClips
from augrun.corpora.corpus import COLUMNS, RECORDED, Corpus, LabelSet
from augrun.corpora.index import FileFacts, Index
from augrun.corpora.marker import is_standin


@dataclass(frozen=True)
class Reader:
    """Base of all readers; these settings every dataset has.

    Attributes:
        name: the dataset's name in tables and runs.
        root: the folder of this corpus; None takes its folder under `data.root`, else a stand-in.
        folder: what that folder is called; None takes the dataset's name.
        input_frames: feature frames of one classifier input; shorter clips are tiled, longer ones cut.
        standin: the stand-in that serves where there is no root; None where there is none.
        standin_options: sizes of the stand-in, where they are not to be the defaults.
        on_bad_clip: `fail` names all clips that cannot be used, `skip` leaves them out and says so.
    """

    #: Whether its clips carry classes; one without can only be `dataset@source` or `dataset@noise`.
    labelled: ClassVar[bool] = True

    #: What its folder is called elsewhere.
    folders: ClassVar[tuple[str, ...]] = ()

    name: str = ""
    root: str | None = None
    folder: str | None = None
    input_frames: Annotated[int, "[1, inf)"] = 512
    standin: str | None = None
    standin_options: dict[str, Any] | None = None
    on_bad_clip: Literal["fail", "skip"] = "fail"

    def read(self, root: Path, index: Index | None) -> Corpus:
        """Reads the corpus in `root`.

        Args:
            root: the corpus's folder.
            index: what is known of its files; None reads the metadata alone and looks at no audio file
                (digests then cover the metadata only).

        Raises:
            AugrunError: the layout or the metadata is wrong, or clips cannot be used (`on_bad_clip`).
        """
        raise NotImplementedError

    def published(self) -> dict[str, int]:
        """The published numbers of clips, by the names of `Corpus.counts`; empty where these settings have none."""
        return {}


def provenance(root: Path, counts: Mapping[str, int], published: Mapping[str, int] | None) -> str:
    """Where data are from: `standin` by its marker, `published` where all counts match, else `other`."""
    if is_standin(root):
        return "standin"
    return "published" if published and dict(counts) == dict(published) else "other"


def require_folder(root: Path, name: str) -> None:
    """Raises AugrunError where `root` is not a folder."""
    if not root.is_dir():
        what = "is no folder" if root.exists() else "does not exist"
        raise AugrunError(f"{name}: {root} {what}; name the corpus's folder with dataset.root=")


def look_up(root: Path, paths: Sequence[str], index: Index | None) -> list[FileFacts]:
    """The index's facts; without an index every file is taken to be there."""
    if index is None:
        return [FileFacts(True, "", math.nan, 0, None)] * len(paths)
    return index.lookup(root, paths)


def fault(facts: FileFacts) -> str | None:
    """The kind of fault that makes a file unusable, None where it can be used."""
    if not facts.found:
        return "missing files"
    return "unreadable or empty audio files" if facts.error else None


def report_files(paths: Iterable[str], facts: Iterable[FileFacts], bad: BadClips) -> list[bool]:
    """Adds every unusable file to `bad`; returns which ones can be used."""
    usable = []
    for path, known in zip(paths, facts, strict=True):
        kind = fault(known)
        if kind:
            bad.add(kind, path if not known.found else f"{path}: {known.error}")
        usable.append(kind is None)
    return usable


def build(
    name: str,
    columns: Mapping[str, Sequence[Any]],
    label_set: LabelSet,
    data: str,
    notes: tuple[str, ...] = (),
) -> Corpus:
    """A corpus of recorded clips from whole columns.

    `clip_id`, `path`, `start_s`, `end_s`, `labels` and `digest` must be among `columns`; the others have
    defaults (`utterance` the clip, `cluster` the speaker or else the utterance, texts empty).
    """
    values = dict(columns)
    count = len(values["clip_id"])
    values["duration_s"] = [end - start for start, end in zip(values["start_s"], values["end_s"], strict=True)]
    values.setdefault("utterance", values["clip_id"])
    speakers = values.setdefault("speaker", [""] * count)
    if "cluster" not in values:
        values["cluster"] = [
            speaker or utterance for speaker, utterance in zip(speakers, values["utterance"], strict=True)
        ]
    values["origin"] = [RECORDED] * count
    for column in ("split", "session", "primed_by"):
        values.setdefault(column, [""] * count)
    return Corpus(name, pd.DataFrame({column: values[column] for column in COLUMNS}), label_set, data, notes)


def absolute(root: Path, relative: str) -> str:
    """The absolute path of a corpus's file."""
    return os.path.join(os.path.abspath(root), relative)
