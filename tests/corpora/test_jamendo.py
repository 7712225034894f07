"""The reader of MTG-Jamendo on the real tables and on small ones made by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from augrun.core import audio
from augrun.core.errors import AugrunError
from augrun.corpora.corpus import Corpus
from augrun.corpora.index import Index, _Row
from augrun.corpora.jamendo import PUBLISHED_HOURS, PUBLISHED_TRACKS, JamendoMood, read_splits, read_tags
from augrun.corpora.marker import write_marker


@pytest.fixture(scope="module")
def real(shared_data: Path) -> Corpus:
    """Split-0 as published, its metadata alone."""
    return JamendoMood().read(shared_data / "jamendo", None)


def test_the_real_tables_give_the_published_counts(real: Corpus, shared_data: Path) -> None:
    splits = real.clips["split"].value_counts().to_dict()
    assert splits == PUBLISHED_TRACKS == {"train": 9949, "validation": 3802, "test": 4231}
    hours = (real.clips.groupby("split")["duration_s"].sum() / 3600).round(1).to_dict()
    assert hours == PUBLISHED_HOURS == {"train": 611.0, "validation": 223.0, "test": 261.1}
    assert real.label_set.multilabel
    assert list(real.label_set.names) == read_tags(shared_data / "jamendo")
    assert len(real.label_set) == 56
    assert real.data == "published"
    assert real.notes == ()


def test_the_real_tags_are_as_frequent_as_published(real: Corpus) -> None:
    train = real.select((real.clips["split"] == "train").to_numpy()).targets().sum(axis=0)
    assert (train.min(), train.max()) == (59, 927)
    assert real.targets().sum() / len(real) == pytest.approx(1.8, abs=0.1)


def test_artists_are_the_clusters_and_no_artist_is_in_two_parts(real: Corpus) -> None:
    artists = {part: set(real.clips["cluster"][real.clips["split"] == part]) for part in PUBLISHED_TRACKS}
    assert {part: len(names) for part, names in artists.items()} == {"train": 874, "validation": 307, "test": 327}
    assert not artists["train"] & artists["validation"]
    assert not artists["train"] & artists["test"]
    assert set(real.clips["speaker"]) == {""}


def test_reading_the_real_tables_imports_no_torch(shared_data: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from augrun.corpora.jamendo import JamendoMood;"
        "print(len(JamendoMood().read(Path(sys.argv[1]), None)), 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(shared_data / "jamendo")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "17982 False\n"


def test_chosen_tags_leave_the_other_tracks_out_and_say_so(shared_data: Path) -> None:
    corpus = JamendoMood(tags=["sad", "happy"]).read(shared_data / "jamendo", None)
    assert corpus.label_set.names == ("sad", "happy")
    assert len(corpus) == 17_982 - 15_591
    assert corpus.notes == ("tracks left out that carry none of the classes: 15,591",)
    assert corpus.data == "other"
    assert min(corpus.targets().sum(axis=1)) == 1
    with pytest.raises(AugrunError, match=r"dataset\.tags: merry is no tag of jamendo_mood; it has action, adventure"):
        JamendoMood(tags=["sad", "merry"]).read(shared_data / "jamendo", None)


def test_real_tables_without_audio_say_where_it_was_looked_for(shared_data: Path) -> None:
    with pytest.raises(AugrunError) as caught:
        JamendoMood().read(shared_data / "jamendo", Index())
    first, second = str(caught.value).splitlines()
    assert first.endswith(
        "looked for 48/948.mp3 or 48/948.low.mp3 or 48/948.npy and others in ., audio, audio-low, melspecs, "
        "autotagging_moodtheme/audio, autotagging_moodtheme/audio-low, autotagging_moodtheme/melspecs, "
        "raw_30s/audio, raw_30s/audio-low, raw_30s/melspecs"
    )
    assert second == "name the folder that holds 00 to 99 with dataset.audio_root="


def test_a_small_corpus_row_by_row(small_jamendo: Path) -> None:
    corpus = JamendoMood().read(small_jamendo, Index())
    assert corpus.label_set.names == ("calm", "happy")
    clips = corpus.clips
    assert list(clips["clip_id"]) == ["track_0001007", "track_0002007", "track_0003008", "track_0004009"]
    assert list(clips["utterance"]) == list(clips["clip_id"])
    assert list(clips["labels"]) == [(0,), (0, 1), (1, 0), (1,)]
    assert list(clips["split"]) == ["train", "train", "validation", "test"]
    assert list(clips["cluster"]) == ["artist_000001", "artist_000001", "artist_000002", "artist_000003"]
    assert clips["path"][0] == str(small_jamendo / "07/1007.mp3")
    assert clips["duration_s"].to_list() == [1.0] * 4
    assert (corpus.data, corpus.notes) == ("other", ())


@pytest.mark.parametrize("folder", ["", "audio", "autotagging_moodtheme/audio", "elsewhere"])
@pytest.mark.parametrize("ending", [".mp3", ".low.mp3", ".flac", ".npy"])
def test_every_download_is_found_in_every_usual_place(
    small_jamendo: Path, folder: str, ending: str, beep: np.ndarray
) -> None:
    for path in sorted(small_jamendo.glob("0?/*.mp3")):
        path.unlink()
        path = small_jamendo / folder / path.parent.name / (path.stem + ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        if ending == ".npy":
            np.save(path, np.zeros((96, 47), dtype=np.float32))
        else:
            audio.write(path, beep, 8000)
    reader = JamendoMood(audio_root="elsewhere" if folder == "elsewhere" else None)
    corpus = reader.read(small_jamendo, Index())
    assert corpus.clips["path"][3] == str(small_jamendo / folder / f"09/4009{ending}")
    assert corpus.clips["duration_s"].to_list() == [1.0] * 4


def test_sound_comes_before_spectrograms_unless_asked_for(small_jamendo: Path) -> None:
    for path in sorted(small_jamendo.glob("0?/*.mp3")):
        np.save(path.with_suffix(".npy"), np.zeros((96, 47), dtype=np.float32))
    assert JamendoMood().read(small_jamendo, Index()).clips["path"][0].endswith(".mp3")
    assert JamendoMood(files="melspecs").read(small_jamendo, Index()).clips["path"][0].endswith("1007.npy")
    with pytest.raises(AugrunError, match=r"looked for 07/1007\.low\.mp3 and others"):
        JamendoMood(files="audio-low").read(small_jamendo, Index())


def test_where_the_audio_lies_is_no_part_of_its_digest(small_jamendo: Path) -> None:
    before = JamendoMood().read(small_jamendo, Index()).digest
    (small_jamendo / "elsewhere").mkdir()
    for folder in small_jamendo.glob("0?"):
        folder.rename(small_jamendo / "elsewhere" / folder.name)
    after = JamendoMood(audio_root=str(small_jamendo / "elsewhere")).read(small_jamendo, Index())
    assert after.digest == before


def test_bad_clips_are_reported_together_and_skipped_on_request(
    small_jamendo: Path, jamendo_tables: Callable[..., Path], beep: np.ndarray
) -> None:
    jamendo_tables(
        train=[(1007, 1, 1.0, "calm"), (2007, 1, 1.0, "calm happy"), (5007, 1, 1.0, "jolly"), (6007, 1, 1.0, "")],
        validation=[(3008, 2, 1.0, "happy calm"), (1007, 1, 1.0, "happy")],
        test=[(4009, 3, 1.0, "happy"), (7009, 3, 1.0, "happy"), (8009, 3, 1.0, "calm")],
    )
    (small_jamendo / "data/tags").mkdir()
    (small_jamendo / "data/tags/moodtheme_split.txt").write_text("mood/theme---calm\nmood/theme---happy\n")
    (small_jamendo / "09/7009.mp3").touch()
    mp3 = (small_jamendo / "07/1007.mp3").read_bytes()
    (small_jamendo / "07/2007.mp3").write_bytes(mp3[: len(mp3) // 2])
    with pytest.raises(AugrunError) as caught:
        JamendoMood().read(small_jamendo, Index())
    first, second = str(caught.value).splitlines()
    assert first.startswith("jamendo_mood: 6 of 9 clips cannot be used: 1 duplicate ids (track_0001007); ")
    assert "1 tracks with unknown labels (jolly of track_0005007); 1 tracks without a label (track_0006007)" in first
    assert "2 unreadable or empty audio files (07/2007.mp3: cut off, " in first
    assert "09/7009.mp3: the file is empty); 1 missing files (09/8009.mp3)" in first
    assert second == "mend them, or leave them out with dataset.on_bad_clip=skip"
    corpus = JamendoMood(on_bad_clip="skip").read(small_jamendo, Index())
    assert list(corpus.clips["clip_id"]) == ["track_0001007", "track_0003008", "track_0004009"]
    assert list(corpus.clips["split"]) == ["train", "validation", "test"]
    assert len(corpus.notes) == 5
    assert "skipped 1 missing files (09/8009.mp3)" in corpus.notes


def test_only_the_first_few_names_are_shown(jamendo_tables: Callable[..., Path], beep: np.ndarray) -> None:
    rows = [(100 * number, 1, 1.0, "calm") for number in range(10, 1210)]
    root = jamendo_tables(train=rows, validation=rows[:0], test=rows[:0])
    (root / "00").mkdir()
    audio.write(root / "00/1000.mp3", beep, 8000)
    with pytest.raises(AugrunError, match=r"1,199 of 1,200 .* 1,199 missing files \(00/1100.mp3, 00/1200.mp3, 00/1300"):
        JamendoMood().read(root, Index())


def test_a_file_shorter_than_its_table_bounds_the_windows_and_is_noted(
    small_jamendo: Path, jamendo_tables: Callable[..., Path]
) -> None:
    jamendo_tables(train=[(1007, 1, 200.0, "calm")], test=[(4009, 3, 0.8, "happy")])
    corpus = JamendoMood().read(small_jamendo, Index())
    assert corpus.clips["duration_s"].to_list() == [1.0, 0.8]
    assert corpus.notes == ("files over 10 % shorter than the table says: 1",)


def test_a_rendered_folder_is_known_by_its_marker(small_jamendo: Path) -> None:
    write_marker(small_jamendo, {"dataset": "jamendo"})
    assert JamendoMood().read(small_jamendo, Index()).data == "standin"


@pytest.mark.parametrize("folder", ["data/splits/split-3", "splits/split-3", "split-3"])
def test_other_splits_are_read_where_the_repository_has_them(jamendo_tables: Callable[..., Path], folder: str) -> None:
    root = jamendo_tables(folder, train=[(1007, 1, 1.0, "calm")])
    assert [track.track_id for track in read_splits(root, 3)] == ["track_0001007"]
    with pytest.raises(AugrunError, match=r"no autotagging_moodtheme-train\.tsv in data/splits/split-0, .*, \.\ncopy"):
        read_splits(root, 0)


def test_a_missing_column_is_named_with_those_that_are_there(jamendo_tables: Callable[..., Path]) -> None:
    root = jamendo_tables(header="TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tTAGS")
    with pytest.raises(AugrunError) as caught:
        JamendoMood().read(root, Index())
    assert str(caught.value) == (
        f"{root}/data/splits/split-0/autotagging_moodtheme-train.tsv: column DURATION is missing; "
        "the header has TRACK_ID, ARTIST_ID, ALBUM_ID, PATH, TAGS"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("track_1\tartist_1", r"train\.tsv:3: 2 columns where at least 6 are expected"),
        ("t\ta\tb\t00/1.mp3\tlong\tmood/theme---calm", r"train\.tsv:3: DURATION 'long' is no number of seconds"),
        ("t\ta\tb\t00/1.mp3\t-1\tmood/theme---calm", r"train\.tsv:3: DURATION '-1' is no number of seconds"),
        ("t\ta\tb\t../../1.mp3\t9\tmood/theme---calm", r"train\.tsv:3: PATH '\.\./\.\./1\.mp3' leaves the corpus"),
        ("t\ta\tb\t/etc/1.mp3\t9\tmood/theme---calm", r"train\.tsv:3: PATH '/etc/1\.mp3' leaves the corpus's folder"),
    ],
)
def test_a_line_that_does_not_parse_is_named(jamendo_tables: Callable[..., Path], line: str, message: str) -> None:
    root = jamendo_tables(train=[(1007, 1, 1.0, "calm")])
    with (root / "data/splits/split-0/autotagging_moodtheme-train.tsv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(AugrunError, match=message):
        JamendoMood().read(root, Index())


def test_roots_that_are_no_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(AugrunError, match=r"jamendo_mood: .*gone does not exist; name the corpus's folder"):
        JamendoMood().read(tmp_path / "gone", Index())
    (tmp_path / "file").touch()
    with pytest.raises(AugrunError, match="file is no folder"):
        JamendoMood().read(tmp_path / "file", Index())
    with pytest.raises(AugrunError, match=r"copy `data/` of github\.com/MTG/mtg-jamendo-dataset there"):
        JamendoMood().read(tmp_path, Index())


def test_eighteen_thousand_tracks_are_looked_at_once(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second reading neither opens nor hashes anything."""
    for path in (shared_data / "jamendo").iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "one.mp3").touch()
    seconds = {}
    for track in read_splits(tmp_path):
        (tmp_path / track.path).parent.mkdir(exist_ok=True)
        (tmp_path / track.path).symlink_to(tmp_path / "one.mp3")
        seconds[str(tmp_path / track.path)] = track.seconds
    monkeypatch.setattr(
        "augrun.corpora.index._look", lambda path, size, mtime: _Row(path, size, mtime, "", seconds[path], 44_100, None)
    )
    first = JamendoMood().read(tmp_path, Index(tmp_path / "cache"))
    monkeypatch.setattr("augrun.corpora.index._look", None)
    again = JamendoMood().read(tmp_path, Index(tmp_path / "cache"))
    assert len(again) == 17_982
    assert again.digest == first.digest
    assert again.data == "published"
