"""The four quadrants of MTG-Jamendo on the real tables, on small ones made by hand, and on the stand-in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augrun.core import audio
from augrun.core.errors import AugrunError
from augrun.corpora.corpus import Corpus
from augrun.corpora.index import Index
from augrun.corpora.jamendo import JamendoMood, Track, read_splits
from augrun.corpora.jamendo_emotion import PUBLISHED_HOURS, PUBLISHED_TRACKS, JamendoEmotion
from augrun.corpora.standin import jamendo as standin

QUADRANTS = {
    "activated_pleasant": ["happy", "positive", "uplifting"],
    "deactivated_pleasant": ["calm", "relaxing"],
    "activated_unpleasant": ["dark", "dramatic"],
    "deactivated_unpleasant": ["sad", "melancholic"],
}
MAPPED = [tag for tags in QUADRANTS.values() for tag in tags]


def track(*tags: str) -> Track:
    return Track("track_1", "artist_1", "album_1", "00/1.mp3", 1.0, tags, "train")


@pytest.fixture(scope="module")
def real(shared_data: Path) -> Corpus:
    return JamendoEmotion().read(shared_data / "jamendo", None)


def test_the_real_tables_give_the_published_tracks_of_each_quadrant(real: Corpus) -> None:
    assert real.label_set.names == tuple(QUADRANTS)
    assert not real.label_set.multilabel
    counts = {}
    for part in ("train", "validation", "test"):
        clips = real.select((real.clips["split"] == part).to_numpy())
        counts[part] = tuple(clips.targets().sum(axis=0).astype(int).tolist())
    expected = {"train": (1278, 953, 791, 452), "validation": (524, 311, 252, 215), "test": (462, 344, 420, 252)}
    assert counts == PUBLISHED_TRACKS == expected
    assert {part: sum(tracks) for part, tracks in counts.items()} == {"train": 3474, "validation": 1302, "test": 1478}
    assert real.counts() == JamendoEmotion().published()
    assert len(real) == 6254
    assert real.data == "published"
    assert real.notes == ("tracks left out that carry none of the classes: 11,728",)


def test_the_real_tracks_last_as_long_as_published(real: Corpus) -> None:
    hours = (real.clips.groupby("split")["duration_s"].sum() / 3600).round(1).to_dict()
    assert hours == PUBLISHED_HOURS == {"train": 203.8, "validation": 78.6, "test": 98.4}


def test_the_real_conflicts_are_as_many_as_known(shared_data: Path) -> None:
    reader = JamendoEmotion()
    tracks = read_splits(shared_data / "jamendo")
    conflicts = Counter(track.split for track in tracks if len(reader.all_quadrants(track)) > 1)
    assert conflicts == {"train": 212, "validation": 57, "test": 90}


def test_the_real_mood_tags_are_counted_as_published(shared_data: Path) -> None:
    corpus = JamendoMood().read(shared_data / "jamendo", None)
    published = JamendoMood().published()
    assert corpus.counts() == published
    assert (published["clips"], published["class happy"], published["class fast"]) == (17_982, 1657, 119)
    assert JamendoMood(tags=["happy"]).published() == JamendoMood(split=1).published() == {}


@pytest.mark.parametrize(
    ("tags", "quadrant"),
    [
        (("happy",), 0),
        (("melancholic",), 3),
        (("calm", "happy"), 1),
        (("happy", "calm"), 1),  # the alphabet decides, not the row's order
        (("dark", "sad", "uplifting"), 2),
        (("energetic", "happy", "sad"), 0),
        (("film", "relaxing"), 1),
    ],
)
def test_the_first_mapped_tag_of_the_alphabet_decides(tags: tuple[str, ...], quadrant: int) -> None:
    reader = JamendoEmotion()
    labels = reader.label_set(Path("/nowhere"), [track(*MAPPED)])
    assert reader.targets(track(*tags), labels) == (quadrant,)


@given(st.lists(st.sampled_from([*MAPPED, "film", "energetic", "zen"]), unique=True))
def test_a_track_has_the_quadrant_of_its_first_mapped_tag_or_is_no_part(tags: list[str]) -> None:
    reader = JamendoEmotion()
    mapped = sorted(tag for tag in tags if tag in MAPPED)
    place = {tag: k for k, quadrant in enumerate(QUADRANTS.values()) for tag in quadrant}
    expected = (place[mapped[0]],) if mapped else None
    assert reader.targets(track(*tags), reader.label_set(Path("/nowhere"), [track(*MAPPED)])) == expected


def test_a_small_corpus_row_by_row(jamendo_tables: Callable[..., Path], beep) -> None:
    root = jamendo_tables(
        train=[(1007, 1, 1.0, "calm film"), (2007, 1, 1.0, "film")],
        validation=[(3008, 2, 1.0, "dark sad")],
        test=[(4009, 3, 1.0, "dramatic happy melancholic positive relaxing uplifting")],
    )
    for number in (1007, 2007, 3008, 4009):
        path = root / f"{number % 100:02d}/{number}.mp3"
        path.parent.mkdir(exist_ok=True)
        audio.write(path, beep, 8000)
    corpus = JamendoEmotion().read(root, Index())
    assert list(corpus.clips["clip_id"]) == ["track_0001007", "track_0003008", "track_0004009"]
    assert corpus.first_labels().tolist() == [1, 2, 2]
    assert list(corpus.clips["cluster"]) == ["artist_000001", "artist_000002", "artist_000003"]
    assert (corpus.data, corpus.notes) == ("other", ("tracks left out that carry none of the classes: 1",))
    (root / "08/3008.mp3").unlink()
    with pytest.raises(AugrunError) as caught:
        JamendoEmotion().read(root, Index())
    assert str(caught.value) == (
        "jamendo_emotion: 1 of 4 clips cannot be used: 1 missing files (08/3008.mp3)\n"
        "mend them, or leave them out with dataset.on_bad_clip=skip"
    )


def test_the_mapping_is_a_setting(shared_data: Path) -> None:
    reader = JamendoEmotion(quadrants={"awake": ["energetic", "happy"], "asleep": ["calm"]})
    corpus = reader.read(shared_data / "jamendo", None)
    assert corpus.label_set.names == ("awake", "asleep")
    assert corpus.data == "other"
    assert reader.published() == {}
    tags = {track.track_id: set(track.tags) for track in read_splits(shared_data / "jamendo")}
    for clip, label in zip(corpus.clips["clip_id"], corpus.first_labels(), strict=True):
        assert tags[clip] & ({"energetic", "happy"} if label == 0 else {"calm"})
        assert label == 1 or "calm" not in tags[clip]  # calm comes first in the alphabet


@pytest.mark.parametrize(
    ("quadrants", "message"),
    [
        ({"a": ["happy"]}, r"dataset\.quadrants: two classes or more are needed, as \{happy_ones: \[happy\]"),
        ({"a": ["happy"], "b": None}, r"dataset\.quadrants: b needs a list of tags, as b: \[happy, positive\]"),
        ({"a": ["happy"], "b": []}, r"dataset\.quadrants: b needs a list of tags"),
        ({"a": ["happy"], "b": "sad"}, r"dataset\.quadrants: b needs a list of tags"),
        ({"a": ["sad", "happy"], "b": ["sad"]}, r"dataset\.quadrants: sad is in a and in b; a tag can only be in one"),
        ({"a": ["hapy"], "b": ["sad"]}, r"dataset\.quadrants: hapy is no tag of jamendo_emotion; it has happy, sad$"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused(
    jamendo_tables: Callable[..., Path], quadrants: dict[str, object], message: str
) -> None:
    root = jamendo_tables(train=[(1007, 1, 1.0, "happy sad")])
    with pytest.raises(AugrunError, match=message):
        JamendoEmotion(quadrants=quadrants).read(root, Index())


def test_the_stand_in_has_enough_of_every_quadrant_in_every_part() -> None:
    sizes = standin.check(**standin.SIZES)
    reader = JamendoEmotion()
    counts: dict[str, Counter[int]] = {part: Counter() for part in standin.PARTS}
    for planned in standin._plan(0, {part: sizes[part] for part in standin.PARTS}, sizes["seconds"]):
        target = reader.targets(track(*planned.tags), reader.label_set(Path("/nowhere"), [track(*MAPPED)]))
        if target:
            counts[planned.part][target[0]] += 1
    assert all(set(tracks) == {0, 1, 2, 3} for tracks in counts.values())
    assert min(counts["train"].values()) >= 16
    assert min(*counts["validation"].values(), *counts["test"].values()) >= 5
