"""What every protocol promises, and the reserve and the simulated imbalance that each of them can have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np

from augrun.core.errors import AugrunError, RequestError
from augrun.corpora.checks import first_few
from augrun.corpora.corpus import Corpus
from augrun.protocols.drawing import draw, generator, units

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Fold:
    """One way of parting a corpus.

    Attributes:
        name: what to call it in results.
        train: what generators and classifiers are fitted on.
        validation: what they are selected on; empty where the protocol holds nothing out.
        test: what they are judged on.
        reserve: recorded clips kept out of all three, where a control asks for them.
    """

    name: str
    train: Corpus
    validation: Corpus
    test: Corpus
    reserve: Corpus | None = None


@dataclass(frozen=True)
class Protocol:
    """Base of all protocols; a frozen dataclass whose fields are its settings.

    Class attributes:
        uses: the roles (`target`) whose corpora `part` wants beside the dataset.

    Attributes:
        minority: the class of which `remove` is taken out of every train part; None leaves all as they are.
        remove: share of its utterances (Chatziagapi et al. 2019, section 3.2: 80 %), drawn after the validation part,
            which stays whole; None leaves all as they are. A larger share removes what a smaller one does, and more.
        reserve: share of the train part's utterances that every fold keeps out of all parts (`Fold.reserve`), drawn
            before anything is removed.
    """

    uses: ClassVar[tuple[str, ...]] = ()

    minority: str | None = None
    remove: Annotated[float, "[0, 1)"] | None = None
    reserve: Annotated[float, "[0, 1)"] = 0.0

    def __post_init__(self) -> None:
        if self.remove and self.minority is None:
            raise RequestError(f"protocol.remove={self.remove:g} of which class? give protocol.minority=CLASS")
        if self.minority is not None and self.remove is None:
            raise RequestError(f"protocol.minority={self.minority} loses nothing; give protocol.remove=SHARE, as 0.8")

    def folds(self, corpus: Corpus, seed: int, target: Corpus | None = None) -> list[Fold]:
        """The folds.

        Args:
            corpus: the dataset.
            seed: of everything that is drawn.
            target: the other corpus, for a protocol that `uses` one.

        Raises:
            AugrunError: the corpus cannot be parted so, or a class would be missing in a part.
        """
        folds = [self._imbalanced(self._reserved(fold, seed), seed) for fold in self.part(corpus, seed, target)]
        names = [fold.name for fold in folds]
        if len(set(names)) < len(names):
            raise AugrunError(
                f"{corpus.name}: two folds have one name ({', '.join(sorted(names))}); rename its sessions"
            )
        for fold in folds:
            check(fold, self.holds_out)
        return folds

    @property
    def holds_out(self) -> bool:
        """Whether every fold has a validation part."""
        return True

    def part(self, corpus: Corpus, seed: int, target: Corpus | None) -> list[Fold]:
        """The folds as the protocol has them; `folds` removes from their train parts and checks them."""
        raise NotImplementedError

    def _reserved(self, fold: Fold, seed: int) -> Fold:
        """The fold with a share of its train part's utterances kept out as its reserve."""
        if not self.reserve or not len(fold.train):
            return fold
        kept_out = draw(fold.train, self.reserve, generator(seed, f"reserve {fold.name}"))
        targets = fold.train.targets() > 0
        # An utterance of several classes is drawn by its rarest one: a common class could lose all that it has.
        lost = targets.any(axis=0) & ~targets[~kept_out].any(axis=0)
        owners = units(fold.train)
        for label in np.flatnonzero(lost):
            kept_out &= owners != min(owners[targets[:, label]])
        return replace(fold, train=fold.train.select(~kept_out), reserve=fold.train.select(kept_out))

    def _imbalanced(self, fold: Fold, seed: int) -> Fold:
        """The fold with part of the minority's utterances taken out of its train part."""
        if self.minority is None or self.remove is None:
            return fold
        names = fold.train.label_set.names
        if self.minority not in names:
            has = f"{fold.train.name}; it has {', '.join(names)}"
            raise RequestError(f"protocol.minority={self.minority}: no class of {has}")
        carries = fold.train.targets()[:, names.index(self.minority)] > 0
        owners = fold.train.clips["utterance"].to_numpy(str)
        utterances = np.unique(owners[carries])
        drawn = generator(seed, f"imbalance {fold.name}").permutation(utterances)
        # One stays, so that no request for imbalance loses the class.
        gone = drawn[: min(round(self.remove * len(drawn)), len(drawn) - 1)]
        kept = fold.train.select(~np.isin(owners, gone))
        return replace(fold, train=kept)


def fold_of(name: str, corpus: Corpus, parts: Sequence[np.ndarray]) -> Fold:
    """A fold from one mask a part."""
    train, validation, test = (corpus.select(mask) for mask in parts)
    return Fold(name, train, validation, test)


def check(fold: Fold, holds_out: bool = True) -> None:
    """Every part must have clips of every class, and no utterance may be in two parts or in one and the reserve.

    A validation part that is not held out has no clips at all; a reserve may lack a class.

    Raises:
        AugrunError: a part lacks a class, or an utterance is in two.
    """
    seen: set[str] = set()
    for clips in (fold.train, fold.validation, fold.test, *([] if fold.reserve is None else [fold.reserve])):
        utterances = set(clips.clips["utterance"])
        if both := utterances & seen:
            raise AugrunError(
                f"{fold.name} of {clips.name}: {len(both):,} utterances have clips in two parts "
                f"({first_few(sorted(both))}), so they would be trained on and judged; give them one speaker, session "
                "and split, or name them apart"
            )
        seen |= utterances
    for part, clips in zip(PARTS, (fold.train, fold.validation, fold.test), strict=True):
        if part == "validation" and not holds_out:
            continue
        lacking = [clips.label_set.names[label] for label in np.flatnonzero(clips.targets().sum(axis=0) == 0)]
        if lacking:
            raise AugrunError(
                f"{fold.name} of {clips.name}: the {part} part ({len(clips):,} clips) has no clip of "
                f"{', '.join(lacking)}\n"
                "give it more clips, leave these classes out of the dataset, or choose another protocol"
            )


def check_apart(folds: Sequence[Fold], role: str, corpus: Corpus, generator: str) -> None:
    """What a generator gets of another corpus must not be what is selected or judged on.

    Args:
        folds: all of them.
        role: of the other corpus.
        corpus: the other corpus.
        generator: its name.

    Raises:
        AugrunError: it is.
    """
    known = {column: set(corpus.clips[column]) for column in ("path", "digest")}
    for fold, part in ((fold, part) for fold in folds for part in ("validation", "test")):
        clips = getattr(fold, part).clips
        both = clips[clips["path"].isin(known["path"]) | clips["digest"].isin(known["digest"])]
        if len(both):
            raise AugrunError(
                f"{role}: {len(both):,} {part} clips of fold {fold.name} are in {corpus.name} as well "
                f"({first_few(both['clip_id'])}), and generator={generator} would learn from them; give "
                f"another dataset@{role}= or {role}.root="
            )
