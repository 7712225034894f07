"""Segments of fixed length, and the vote of what belongs to one utterance.

A segment is a stretch of a clip's features: no sound is copied, nothing is computed twice. A segment's first and last
frames look at the sound around it, as those of a clip cut out of a longer recording do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from augrun.core.errors import RequestError
from augrun.features.fit import Fit

if TYPE_CHECKING:
    from augrun.features.cache import Features


@dataclass(frozen=True)
class Segments:
    """How clips are cut for the classifier, and how its decisions are put together again.

    Attributes:
        seconds: length of a segment; None leaves clips whole. A clip that is shorter is one segment, as long as it is;
            classifiers fit it to their input as they do with any clip.
        hop: seconds between the starts of two segments; None sets them end to end.
        rest: what becomes of the end of a clip where it is no whole segment: `shift` adds a last segment that ends with
            the clip, `short` one that is as short as the rest, `drop` none.
        frames: frames of every segment, for networks of a fixed input; None keeps as many as its seconds give.
        fit: how a segment comes to these (`augrun.features.fit.Fit`): `reflect`, `stretch`, or `hop`, another hop of
            the representation.
        vote: how an utterance's segments and clips decide: `majority` of their best classes, ties going to the larger
            mean probability (Chatziagapi et al. 2019, section 3.2), or the `mean` of their probabilities.
    """

    seconds: Annotated[float, "(0, inf)"] | None = None
    hop: Annotated[float, "(0, inf)"] | None = None
    rest: Literal["shift", "short", "drop"] = "shift"
    vote: Literal["majority", "mean"] = "majority"
    frames: Annotated[int, "[2, inf)"] | None = None
    fit: Literal["reflect", "stretch", "hop"] = "reflect"

    def hop_for(self, sample_rate: int) -> int | None:
        """Samples from one frame to the next, where the hop is to give a segment its frames; None where it is not."""
        if self.seconds is None or self.frames is None or self.fit != "hop":
            return None
        return round(self.seconds * sample_rate / (self.frames - 1))

    def cut(self, features: Features, seconds_per_frame: float | None) -> tuple[Features, np.ndarray]:
        """Segments of every clip, at least one each.

        Args:
            features: of whole clips.
            seconds_per_frame: seconds from one frame to the next; None where nothing is cut.

        Returns:
            The segments' features, and the row of the clip that each is from, int64, ascending.

        Raises:
            RequestError: a segment would be shorter than a frame.
        """
        clips = np.arange(len(features))
        if self.seconds is None or seconds_per_frame is None:
            return features, clips
        # Frames are centred on multiples of the hop, so a sound of n hops has n + 1 of them.
        length = round(self.seconds / seconds_per_frame) + 1
        step = round((self.hop if self.hop is not None else self.seconds) / seconds_per_frame)
        if length < 2 or step < 1:
            raise RequestError(
                f"segments.seconds={self.seconds:g} and segments.hop={self.hop} are too short for frames of "
                f"{seconds_per_frame:g} s"
            )
        starts = [self._starts(int(frames), length, step) for frames in features.frames]
        rows = np.repeat(clips, [len(of_clip) for of_clip in starts])
        first = np.array([start for of_clip in starts for start in of_clip], dtype=np.int64)
        pieces = features.cut(rows, first, np.minimum(length, features.frames[rows] - first))
        return (pieces if self.frames is None else pieces.fitted(self.frames, Fit(length, self.fit))), rows

    def _starts(self, frames: int, length: int, step: int) -> list[int]:
        """Where the segments of a clip of so many frames start."""
        if frames <= length:
            return [0]
        starts = list(range(0, frames - length + 1, step))
        end = starts[-1] + length
        if end < frames and self.rest == "shift":
            starts.append(frames - length)
        elif end < frames and self.rest == "short":
            # At least two frames of its own: segments end to end share the frame between them.
            following = starts[-1] + step
            starts += [following] if following < frames - 1 else []
        return starts


def vote(scores: np.ndarray, owners: np.ndarray, count: int, how: str, multilabel: bool = False) -> np.ndarray:
    """Scores of utterances from those of their parts.

    Args:
        scores: class probabilities of the parts, shape (parts, classes).
        owners: the utterance of each part, shape (parts,); each of `count` utterances has one or more.
        count: utterances.
        how: `majority` or `mean`. Parts that carry several classes have no best one: their mean is taken.
        multilabel: whether parts may carry several classes.

    Returns:
        shape (count, classes), float32: the mean probabilities; for a majority, those of its class and of the most
        probable one are exchanged where these differ, so that the best class is the majority's.
    """
    parts = np.bincount(owners, minlength=count)
    if len(parts) > count or not parts.all():
        raise ValueError("every utterance needs a part, and every part an utterance")
    mean = np.zeros((count, scores.shape[1]))
    np.add.at(mean, owners, scores.astype(np.float64))
    mean /= parts[:, None]
    if how == "mean" or multilabel:
        return mean.astype(np.float32)
    votes = np.zeros(mean.shape, dtype=np.int64)
    np.add.at(votes, (owners, scores.argmax(axis=1)), 1)
    most = votes == votes.max(axis=1, keepdims=True)
    winner, likeliest, rows = np.where(most, mean, -1.0).argmax(axis=1), mean.argmax(axis=1), np.arange(count)
    decided = mean.copy()
    decided[rows, winner], decided[rows, likeliest] = mean[rows, likeliest], mean[rows, winner]
    scores = decided.astype(np.float32)
    equal = scores.argmax(axis=1) != winner  # to the last digit, and the first would be taken
    scores[rows[equal], winner[equal]] = np.nextafter(scores[equal].max(axis=1), np.float32(np.inf))
    return scores
