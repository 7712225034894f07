"""Functionals of openSMILE: one vector a clip, such as the 1,582 of the Interspeech 2010 paralinguistic challenge.

Bao et al. 2019 and Latif et al. 2020 take "emobase2010", the reference set made from that of the challenge (Schuller et
al. 2010). openSMILE (Eyben et al. 2013) is under a research licence and comes with the extra `functionals`.

A vector is kept as a matrix of one frame, so that all that keeps and selects features serves for it as well.
"""

from __future__ import annotations

import dataclasses
import json
import math
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from augrun.core import audio
from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Hardware
from augrun.corpora.corpus import Corpus
from augrun.features.cache import Features, build, one_by_one

if TYPE_CHECKING:
    import opensmile

#: Functionals of each set.
SIZES = {"IS09": 384, "IS10": 1582, "IS11": 4368, "IS12": 6125, "IS13": 6373, "emobase": 988, "eGeMAPSv02": 88}


@dataclass(frozen=True)
class Functionals:
    """Functionals of a clip's low-level descriptors, by openSMILE.

    Attributes:
        set: which.
        sample_rate: Hz; sounds of another rate are resampled, as the same voice has other functionals at another rate.
    """

    domain: ClassVar[str] = "functionals"
    version: ClassVar[int] = 1
    #: Seconds of the shortest clip: of a shorter one openSMILE gives NaN for every functional.
    shortest_s: ClassVar[float] = 0.07
    #: A vector stands for no stretch of time.
    seconds_per_frame: ClassVar[None] = None

    set: Literal["IS09", "IS10", "IS11", "IS12", "IS13", "emobase", "eGeMAPSv02"] = "IS10"
    sample_rate: Annotated[int, "[8000, inf)"] = 16000

    @property
    def bands(self) -> int:
        """Functionals of the set."""
        return SIZES[self.set]

    def check(self) -> None:
        """Whether openSMILE is there.

        Raises:
            RequestError: it is not.
        """
        try:
            import opensmile  # noqa: F401
        except ImportError:
            raise RequestError(
                f"representation: the functionals {self.set} need openSMILE; pip install 'augrun[functionals]'"
            ) from None

    def names(self) -> list[str]:
        """The functionals, in their order."""
        return list(self._smile().feature_names)

    def extract(
        self,
        corpus: Corpus,
        folder: Path,
        hardware: Hardware,
        max_frames: int | None = None,
        title: str | None = None,
    ) -> Features:
        """The functionals of a corpus, computed in parallel into `folder`; one frame each.

        A call that was killed is continued by the next one with the same arguments.

        Args:
            corpus: the clips.
            folder: where they go; `Features.open` finds them again.
            hardware: how many workers, and whether to show progress.
            max_frames: of no effect.
            title: what to call this work on the console.

        Raises:
            RequestError: openSMILE is not there.
            AugrunError: some clips cannot be read, or have functionals that are not finite; the others are kept for
                the next call.
        """
        self.check()
        rows = list(corpus.clips[["path", "start_s", "end_s"]].itertuples(index=False, name=None))
        own = threading.local()

        def prepare() -> None:
            own.smile = self._smile()

        def compute(row: int) -> np.ndarray:
            path, start_s, end_s = rows[row]
            seconds = end_s - start_s if math.isfinite(end_s) else None
            return self.transform(audio.read(Path(path), self.sample_rate, float(start_s), seconds), own.smile)

        # openSMILE warns of a sound that is too short, which is said as an error. The filter is set here and not in
        # the threads, as it is the whole process's and one thread would undo what another has set.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return build(
                folder,
                corpus.clips["clip_id"].tolist(),
                self.bands,
                one_by_one(compute),
                key=json.dumps({"settings": dataclasses.asdict(self), "corpus": corpus.digest}, sort_keys=True),
                workers=hardware.workers,
                prepare=prepare,
                title=(title or f"functionals of {corpus.name}") if hardware.progress else None,
            )

    def transform(self, samples: np.ndarray, smile: Any = None) -> np.ndarray:
        """The functionals of one sound.

        Args:
            samples: mono, at `sample_rate`, shape (samples,).
            smile: the extractor of this thread; None makes one.

        Returns:
            float32, shape (1, bands).

        Raises:
            AugrunError: some are not finite, as those of a sound that is too short.
        """
        values = (smile or self._smile())(samples, self.sample_rate)[0]
        vector = np.asarray(values, dtype=np.float32).reshape(1, -1)
        broken = int((~np.isfinite(vector)).sum())
        if broken:
            raise AugrunError(
                f"{broken} of {vector.size} functionals of {len(samples) / self.sample_rate:.3f} s are not finite"
            )
        return vector

    def _smile(self) -> opensmile.Smile:
        import opensmile

        return opensmile.Smile(
            feature_set=opensmile.FeatureSet[self.set], feature_level=opensmile.FeatureLevel.Functionals
        )
