"""MTG-Jamendo in the four quadrants of arousal and valence (Godwin et al. 2021).

Nine of the mood tags are put into a quadrant each; a track of split-0 with at least one of them belongs to this
corpus. Where tags of several quadrants meet, the first of them in the track's alphabetically sorted tags decides, as
in the authors' tables (github.com/glam-imperial/Functional-Music-Generation-Evaluation).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augrun.core.errors import AugrunError
from augrun.corpora.checks import first_few
from augrun.corpora.corpus import LabelSet
from augrun.corpora.jamendo import Jamendo, Track, known_tags

#: Tracks of split-0 by part and quadrant: 6,254 rows in the authors' tables.
PUBLISHED_TRACKS = {
    "train": (1278, 953, 791, 452),
    "validation": (524, 311, 252, 215),
    "test": (462, 344, 420, 252),
}
#: The hours that these tracks last. The paper's Table I (160, 22 and 22 h) matches neither these nor all of split-0.
PUBLISHED_HOURS = {"train": 203.8, "validation": 78.6, "test": 98.4}


#: The authors' quadrants, github.com/glam-imperial/Functional-Music-Generation-Evaluation.
QUADRANTS = {
    "activated_pleasant": ["happy", "positive", "uplifting"],
    "deactivated_pleasant": ["calm", "relaxing"],
    "activated_unpleasant": ["dark", "dramatic"],
    "deactivated_unpleasant": ["sad", "melancholic"],
}


@dataclass(frozen=True)
class JamendoEmotion(Jamendo):
    """The tracks of the mood/theme subset with one quadrant each.

    Attributes:
        quadrants: the classes in order, and the tags of each; no tag in two of them; None takes the authors'.
    """

    name: str = "jamendo_emotion"
    quadrants: dict[str, Any] | None = None

    @property
    def chosen(self) -> Mapping[str, Any]:
        """The quadrants that these settings have."""
        return QUADRANTS if self.quadrants is None else self.quadrants

    def published(self) -> dict[str, int]:
        """Of split-0 with the authors' quadrants."""
        names = list(self.chosen)
        if self.split or list(self.chosen.items()) != list(QUADRANTS.items()):
            return {}
        splits = {f"split {part}": sum(tracks) for part, tracks in PUBLISHED_TRACKS.items()}
        classes = {f"class {n}": sum(tracks[k] for tracks in PUBLISHED_TRACKS.values()) for k, n in enumerate(names)}
        return {"clips": sum(splits.values()), **splits, **classes}

    def label_set(self, root: Path, tracks: Iterable[Track]) -> LabelSet:
        """The quadrants, in the order of the settings.

        Raises:
            AugrunError: there are fewer than two, one has no list of tags, or a tag is unknown or in two of them.
        """
        said = "dataset.quadrants:"
        if len(self.chosen) < 2:
            raise AugrunError(f"{said} two classes or more are needed, as {{happy_ones: [happy], sad_ones: [sad]}}")
        owner: dict[str, str] = {}
        for name, tags in self.chosen.items():
            if not isinstance(tags, list | tuple) or not tags:
                raise AugrunError(f"{said} {name} needs a list of tags, as {name}: [happy, positive]")
            for tag in tags:
                if owner.setdefault(tag, name) != name:
                    raise AugrunError(f"{said} {tag} is in {owner[tag]} and in {name}; a tag can only be in one")
        known = known_tags(root, tracks)
        strangers = [tag for tag in owner if tag not in known]
        if strangers:
            raise AugrunError(f"{said} {first_few(strangers)} is no tag of {self.name}; it has {', '.join(known)}")
        return LabelSet(tuple(self.chosen))

    def targets(self, track: Track, labels: LabelSet) -> tuple[int, ...] | None:
        """The quadrant of the first tag that has one; None where none has."""
        return self.all_quadrants(track)[:1] or None

    def all_quadrants(self, track: Track) -> tuple[int, ...]:
        """The quadrants of the track's tags, each once, in the alphabetical order of the tags."""
        place = {tag: k for k, tags in enumerate(self.chosen.values()) for tag in tags}
        return tuple(dict.fromkeys(place[tag] for tag in sorted(track.tags) if tag in place))
