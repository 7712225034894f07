"""Classes made of a corpus's own labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from augrun.core.errors import AugrunError, RequestError
from augrun.corpora.corpus import LabelSet


def class_set(classes: Mapping[str, Any], labels: Iterable[str], name: str) -> tuple[LabelSet, dict[str, int]]:
    """The classes of a corpus whose raters gave labels.

    Args:
        classes: the labels of each class, in the order of the classes.
        labels: the labels that there are.
        name: the corpus's name.

    Returns:
        The classes, and the class index of each of their labels.

    Raises:
        RequestError: there are fewer than two classes, one has no list of labels, a label is unknown or in two of them.
    """
    said, known = "dataset.classes:", list(labels)
    if len(classes) < 2:
        raise RequestError(f"{said} two classes or more are needed, each with its labels of {', '.join(known)}")
    owner: dict[str, str] = {}
    for class_name, given in classes.items():
        if not isinstance(given, list | tuple) or not given:
            raise RequestError(f"{said} {class_name} needs a list of labels, as {class_name}: [{known[0]}]")
        for label in given:
            if label not in known:
                raise RequestError(f"{said} {label!r} is no label of {name}; it has {', '.join(known)}")
            if owner.setdefault(label, class_name) != class_name:
                raise RequestError(
                    f"{said} {label} is in {owner[label]} and in {class_name}; a label can only be in one"
                )
    names = tuple(classes)
    return LabelSet(names), {label: names.index(class_name) for label, class_name in owner.items()}


def left_out(labels: Sequence[str], targets: Mapping[str, int]) -> tuple[str, ...]:
    """A note on the utterances whose label is in no class."""
    others = Counter(label for label in labels if label not in targets)
    if not others:
        return ()
    listed = ", ".join(f"{label} {count:,}" for label, count in others.most_common())
    return (f"utterances left out whose label is in no class: {others.total():,} ({listed})",)


def read_label_file(path: Path) -> list[str]:
    """The lines of a label file. Remarks of raters are in no certain encoding; names and labels are ASCII.

    Raises:
        AugrunError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
    except OSError as error:
        raise AugrunError(f"{path}: cannot be read ({error.strerror})") from None
