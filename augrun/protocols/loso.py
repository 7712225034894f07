"""Leave one session out: the protocol of speech emotion recognition on IEMOCAP."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from augrun.core.errors import AugrunError
from augrun.corpora.checks import first_few
from augrun.corpora.corpus import Corpus
from augrun.protocols.base import Fold, Protocol, fold_of
from augrun.protocols.drawing import draw, draw_speakers, generator


@dataclass(frozen=True)
class LeaveOneSessionOut(Protocol):
    """A fold for each session, which is its test part; neither a session nor a speaker is on both sides.

    Chatziagapi et al. 2019, section 3.2; Bao et al. 2019, section 4.3; Latif et al. 2020, section 5.1.

    Attributes:
        validation: what is held out of the training sessions: `none`; `fraction` of the utterances, with the classes'
            proportions kept; or whole speakers (`speaker`), that share of them and at least one.
        fraction: that share.
        limit: how many of the folds to run; None runs all.
        shared_speakers: run although somebody speaks in several sessions, and so is heard in training and test.
    """

    validation: Literal["none", "speaker", "fraction"] = "fraction"
    fraction: Annotated[float, "(0, 1)"] = 0.2
    limit: Annotated[int, "[1, inf)"] | None = None
    shared_speakers: bool = False

    def part(self, corpus: Corpus, seed: int, target: Corpus | None) -> list[Fold]:
        """The first `limit` folds, in the order of the sessions."""
        sessions = corpus.clips["session"].to_numpy(str)
        names = sorted(set(sessions), key=_natural)
        if "" in names:
            nameless = int((sessions == "").sum())
            raise AugrunError(
                f"protocol=loso: {nameless:,} of {len(corpus):,} clips of {corpus.name} name no session; "
                "choose protocol=speaker_folds or protocol=holdout"
            )
        if len(names) < 2:
            raise AugrunError(
                f"protocol=loso: {corpus.name} has one session only ({names[0]}); choose another protocol"
            )
        self._check_speakers(corpus)
        return [self._fold(name, corpus, sessions == name, seed) for name in names[: self.limit]]

    @property
    def holds_out(self) -> bool:
        """Whether there are validation parts."""
        return self.validation != "none"

    def _fold(self, session: str, corpus: Corpus, test: np.ndarray, seed: int) -> Fold:
        name = session if session.lower().startswith("session") else f"session{session}"
        name = re.sub(r"[^\w.-]", "_", name)  # folds name files
        # Of the training sessions alone: what is drawn must not depend on what is tested.
        training = corpus.select(~test)
        rng = generator(seed, f"loso {name}")
        validation = np.zeros(len(corpus), dtype=bool)
        if self.validation == "fraction":
            validation[~test] = draw(training, self.fraction, rng)
        elif self.validation == "speaker":
            validation[~test] = self._speakers(training, rng)
        return fold_of(name, corpus, [~test & ~validation, validation, test])

    def _speakers(self, training: Corpus, rng: np.random.Generator) -> np.ndarray:
        speakers = training.clips["speaker"]
        nameless = int((speakers == "").sum())
        if nameless or speakers.nunique() < 2:
            said = f"{nameless:,} clips name no speaker" if nameless else "the training sessions have one speaker"
            raise AugrunError(
                f"protocol.validation=speaker: {training.name}: {said}; choose protocol.validation=fraction or none"
            )
        return draw_speakers(training, self.fraction, rng)

    def _check_speakers(self, corpus: Corpus) -> None:
        named = corpus.clips[corpus.clips["speaker"] != ""]
        sessions = named.groupby("speaker")["session"].nunique()
        several = sorted(sessions.index[sessions > 1])
        if several and not self.shared_speakers:
            raise AugrunError(
                f"protocol=loso: {len(several):,} speakers of {corpus.name} speak in several sessions "
                f"({first_few(several)}), so they would be heard in training and test; choose protocol=speaker_folds, "
                "or accept it with protocol.shared_speakers=true"
            )


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that puts session 10 after session 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]
