"""Training on one corpus, testing on another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from augrun.core.errors import AugrunError
from augrun.corpora.checks import first_few
from augrun.corpora.corpus import Corpus, LabelSet
from augrun.protocols.base import Fold, Protocol
from augrun.protocols.drawing import draw, generator


@dataclass(frozen=True)
class CrossCorpus(Protocol):
    """All of the dataset is the train part; the target corpus is parted into development and test.

    Bao et al. 2019, section 4.4 and Latif et al. 2020, section 5.2: 30 % of MSP-IMPROV for development, 70 % for test.

    Attributes:
        development: share of the target's utterances in the validation part, the classes' proportions kept.
        classes: `equal`: both corpora must have the same class names, in any order; `common`: clips of classes that
            only one of them has are left out.
    """

    uses: ClassVar[tuple[str, ...]] = ("target",)

    development: Annotated[float, "(0, 1)"] = 0.3
    classes: Literal["equal", "common"] = "equal"

    def part(self, corpus: Corpus, seed: int, target: Corpus | None) -> list[Fold]:
        """One fold; the target's ids carry its name in front."""
        if target is None:
            raise AugrunError("protocol=cross_corpus needs a second corpus; give dataset@target=NAME")
        for column in ("path", "digest"):
            shared = target.clips[target.clips[column].isin(set(corpus.clips[column]))]
            if len(shared):
                raise AugrunError(
                    f"protocol=cross_corpus: {len(shared):,} clips of {target.name} are in {corpus.name} as well "
                    f"({first_few(shared['clip_id'])}), so they would be trained on and tested"
                )
        for column in ("clip_id", "utterance", "speaker"):
            both = set(corpus.clips[column]) & set(target.prefixed().clips[column]) - {""}
            if both:
                raise AugrunError(
                    f"protocol=cross_corpus: {column} {first_few(sorted(both))} could be of {corpus.name} or of "
                    f"{target.name}; call the target otherwise with target.name="
                )
        labels = self._labels(corpus, target)
        train, other = relabelled(corpus, labels), relabelled(target.prefixed(), labels)
        development = draw(other, self.development, generator(seed, "cross_corpus"))
        return [Fold("cross_corpus", train, other.select(development), other.select(~development))]

    def _labels(self, corpus: Corpus, target: Corpus) -> LabelSet:
        ours, theirs = corpus.label_set, target.label_set
        common = tuple(name for name in ours.names if name in theirs.names)
        said = f"{corpus.name} has {', '.join(ours.names)}; {target.name} has {', '.join(theirs.names)}"
        if ours.multilabel != theirs.multilabel:
            raise AugrunError(
                f"protocol=cross_corpus: one of {corpus.name} and {target.name} has several classes a clip"
            )
        if self.classes == "equal" and not len(common) == len(ours) == len(theirs):
            raise AugrunError(
                f"protocol=cross_corpus: the classes differ: {said}\nmatch them in the datasets' settings, or use what "
                "they share with protocol.classes=common"
            )
        if len(common) < 2:
            raise AugrunError(f"protocol=cross_corpus: fewer than two classes in common: {said}")
        return LabelSet(common, ours.multilabel)


def relabelled(corpus: Corpus, labels: LabelSet) -> Corpus:
    """The clips that carry some of `labels`, with their class indices there."""
    if corpus.label_set == labels:
        return corpus
    names = corpus.label_set.names
    indices = [
        tuple(labels.index(names[label]) for label in of_clip if names[label] in labels.names)
        for of_clip in corpus.clips["labels"]
    ]
    kept = np.array([bool(index) for index in indices])
    clips = corpus.clips.assign(labels=indices)[kept]
    return Corpus(corpus.name, clips, labels, corpus.data)
