"""The reader of FMA on metadata in the published grammar and on small folders made by hand."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from augrun.core import audio
from augrun.core.errors import AugrunError
from augrun.corpora.fma import PUBLISHED_TRACKS, SMALL_GENRES, SPLITS, STUBS, Fma, read_tracks
from augrun.corpora.index import Index

COLUMNS = [
    ("album", "id"),
    ("artist", "bio"),
    ("artist", "id"),
    ("set", "split"),
    ("set", "subset"),
    ("track", "duration"),
    ("track", "genre_top"),
]
RATE = 8000
BIOGRAPHY = '<p>Plays "loud",\nand long.</p>'

Row = tuple[int, str, str, str, int]
Write = Callable[..., Path]


def write_table(path: Path, rows: Iterable[Row], columns: list[tuple[str, str]] = COLUMNS) -> Path:
    """Writes rows of (track, subset, split, genre, artist) as pandas writes columns of two levels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    cells = [
        {
            ("artist", "bio"): BIOGRAPHY,
            ("artist", "id"): artist,
            ("set", "split"): split,
            ("set", "subset"): subset,
            ("track", "duration"): 168,
            ("track", "genre_top"): genre or math.nan,
        }
        for _, subset, split, genre, artist in rows
    ]
    index = pd.Index([row[0] for row in rows], name="track_id")
    table = pd.DataFrame(cells, index=index).reindex(columns=pd.MultiIndex.from_tuples(columns))
    table.to_csv(path)
    return path


@pytest.fixture
def fma(tmp_path: Path) -> Write:
    """Writes the metadata of a few tracks, and four seconds of sound for those of the small subset."""

    def write(*rows: Row, folder: str = "fma_small") -> Path:
        write_table(tmp_path / "fma_metadata/tracks.csv", rows)
        for number, subset, *_ in rows:
            if subset == "small":
                path = tmp_path / folder / f"{number // 1000:03d}/{number:06d}.mp3"
                path.parent.mkdir(parents=True, exist_ok=True)
                audio.write(path, np.full(4 * RATE, 0.1, np.float32), RATE)
        return tmp_path

    return write


FEW: tuple[Row, ...] = (
    (2, "small", "training", "Rock", 1),
    (140, "small", "training", "Folk", 1),
    (1482, "small", "validation", "Rock", 7),
    (155_307, "small", "test", "Folk", 9),
    (3, "medium", "training", "Jazz", 1),
    (4, "large", "training", "", 1),
)


def test_a_table_that_pandas_wrote_reads_row_by_row(fma: Write) -> None:
    root = fma(*FEW)
    table = pd.read_csv(root / "fma_metadata/tracks.csv", index_col=0, header=[0, 1])
    assert table["artist", "bio"].iloc[0] == BIOGRAPHY
    assert table.index.name == "track_id"
    corpus = Fma().read(root, Index())
    assert corpus.label_set.names == ("Folk", "Rock")
    assert not corpus.label_set.multilabel
    assert corpus.clips[["clip_id", "split", "cluster", "speaker", "session"]].to_numpy().tolist() == [
        ["000002", "train", "1", "", ""],
        ["000140", "train", "1", "", ""],
        ["001482", "validation", "7", "", ""],
        ["155307", "test", "9", "", ""],
    ]
    assert corpus.first_labels().tolist() == [1, 0, 1, 0]
    assert corpus.clips["path"][3] == str(root / "fma_small/155/155307.mp3")
    assert corpus.clips["duration_s"].to_list() == pytest.approx([4.0] * 4, abs=0.01)
    assert (corpus.data, corpus.notes) == ("other", ())


def test_a_larger_subset_holds_the_smaller_ones(fma: Write) -> None:
    path = fma(*FEW) / "fma_metadata/tracks.csv"
    assert [[track.number for track in read_tracks(path, subset)] for subset in ("small", "medium", "large")] == [
        [2, 140, 1482, 155_307],
        [2, 140, 1482, 155_307, 3],
        [2, 140, 1482, 155_307, 3, 4],
    ]
    large = Fma(subset="large").read(path.parent.parent, None)
    assert large.label_set.names == ("Folk", "Jazz", "Rock")
    assert len(large) == 5
    assert large.notes == ("tracks left out that carry none of the classes: 1",)


def published_rows(subset: str) -> list[Row]:
    """As many tracks of each part as published, and some of larger subsets; the small one's genres are even."""
    rows: list[Row] = []
    for split, part in SPLITS.items():
        for place in range(PUBLISHED_TRACKS[subset][part]):
            genre = SMALL_GENRES[place % 8]
            rows.append((len(rows) + 2, "small" if place % 3 else subset, split, genre, place % 2000))
    return [*rows, *((200_000 + k, "large", "training", "Blues", 1) for k in range(50))]


@pytest.mark.parametrize("subset", ["small", "medium"])
def test_the_published_grammar_gives_the_published_counts(tmp_path: Path, subset: str) -> None:
    write_table(tmp_path / "fma_metadata/tracks.csv", published_rows(subset))
    corpus = Fma(subset=subset).read(tmp_path, None)
    published = Fma(subset=subset).published()
    counts = corpus.counts()
    assert {name: counts[name] for name in published} == published
    assert counts["clips"] == {"small": 8000, "medium": 25_000}[subset]
    assert corpus.data == "published"
    assert corpus.seconds == 30 * len(corpus)
    if subset == "small":
        assert published["split train"] == 6400
        assert published["class Hip-Hop"] == 1000
    assert Fma(subset="large").published() == Fma(genres=["Rock"]).published() == {}
    write_table(tmp_path / "fma_metadata/tracks.csv", published_rows(subset)[1:])
    assert Fma(subset=subset).read(tmp_path, None).data == "other"


def test_genres_can_be_chosen_and_ordered(fma: Write) -> None:
    root = fma(*FEW)
    corpus = Fma(genres=["Rock"]).read(root, Index())
    assert (corpus.label_set.names, list(corpus.clips["clip_id"])) == (("Rock",), ["000002", "001482"])
    assert corpus.notes == ("tracks left out that carry none of the classes: 2",)
    with pytest.raises(AugrunError, match=r"dataset\.genres: Jazz is no genre of fma_small; it has Folk, Rock$"):
        Fma(genres=["Rock", "Jazz"]).read(root, Index())
    with pytest.raises(AugrunError, match=r"dataset\.genres: an empty list names no genre of fma_small"):
        Fma(genres=[]).read(root, Index())


def test_stubs_are_found_by_measure_and_are_no_failure(fma: Write) -> None:
    stubs: list[Row] = [(number, "small", "training", "Rock", 3) for number in sorted(STUBS)]
    root = fma(*FEW, *stubs, (777, "small", "test", "Folk", 9), (778, "small", "test", "Folk", 9))
    small = root / "fma_small"
    for number in (99_134, 108_925, 777):
        audio.write(small / f"{number // 1000:03d}/{number:06d}.mp3", np.zeros(4 * RATE, np.float32), RATE)
    for number in (98_565, 98_567, 778):
        audio.write(small / f"{number // 1000:03d}/{number:06d}.mp3", np.full(RATE, 0.1, np.float32), RATE)
    (small / "133/133297.mp3").write_bytes(b"\0" * 2000)
    corpus = Fma().read(root, Index())
    # 098569 sounds here as any other, and stays: what is known of it decides nothing.
    assert list(corpus.clips["clip_id"]) == ["000002", "000140", "001482", "155307", "098569"]
    assert set(corpus.notes) == {
        "skipped 3 clips that stay below -60 dB (099/099134.mp3, 108/108925.mp3, 000/000777.mp3)",
        "skipped 4 clips shorter than 3 s (098/098565.mp3, 098/098567.mp3, 133/133297.mp3, …)",
    }
    (small / "000/000778.mp3").write_bytes(b"\0" * 2000)
    with pytest.raises(
        AugrunError, match=r"1 of 12 clips .* 1 unreadable or empty audio files \(000/000778\.mp3: is no"
    ):
        Fma().read(root, Index())
    (small / "000/000778.mp3").unlink()
    (small / "133/133297.mp3").unlink()
    with pytest.raises(AugrunError, match=r"2 missing files \(133/133297\.mp3, 000/000778\.mp3\)\nmend them"):
        Fma().read(root, Index())


def test_audio_without_labels_is_counted(fma: Write) -> None:
    root = fma(*FEW)
    (root / "fma_small/155/155308.mp3").write_bytes(b"")
    (root / "fma_small/155/notes.txt").write_text("no sound")
    (root / "fma_small/checksums").write_text("")
    assert Fma().read(root, Index()).notes == ("sounds without a label: 1 (155/155308.mp3)",)


@pytest.mark.parametrize("folder", ["fma_small", "fma_medium", "fma_large", ".", "elsewhere"])
def test_the_audio_is_found_in_every_download_that_holds_it(fma: Write, folder: str) -> None:
    root = fma(*FEW, folder=folder)
    corpus = Fma(audio_root="elsewhere" if folder == "elsewhere" else None).read(root, Index())
    assert corpus.clips["path"][0] == str((root / folder / "000/000002.mp3").resolve())
    assert corpus.notes == ()


def test_metadata_may_lie_beside_the_audio(fma: Write) -> None:
    root = fma(*FEW)
    assert len(Fma().read(root / "fma_small", Index())) == 4
    (root / "fma_metadata/tracks.csv").rename(root / "tracks.csv")
    assert len(Fma().read(root, Index())) == 4


def test_what_is_missing_is_named_with_the_mend(fma: Write, tmp_path: Path) -> None:
    with pytest.raises(AugrunError, match=r"fma: .*gone does not exist; name the corpus's folder with dataset\.root="):
        Fma().read(tmp_path / "gone", Index())
    with pytest.raises(AugrunError) as caught:
        Fma().read(tmp_path, Index())
    assert str(caught.value) == (
        f"fma: no fma_metadata/tracks.csv in {tmp_path}\nunpack fma_metadata.zip of github.com/mdeff/fma there"
    )
    root = fma(*FEW, folder="elsewhere")
    with pytest.raises(AugrunError) as caught:
        Fma().read(root, Index())
    assert str(caught.value) == (
        f"fma: no audio in {root}; looked for 000/000002.mp3 and others in fma_small, fma_medium, fma_large, .\n"
        "unpack fma_small.zip there, or name the folder that holds 000 to 155 with dataset.audio_root="
    )


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({0: "two"}, r"tracks\.csv:6: track_id 'two' is no whole number"),
        ({4: "train"}, r"tracks\.csv:6: split 'train' is none of training, validation, test"),
        ({5: "tiny"}, r"tracks\.csv:6: subset 'tiny' is none of small, medium, large"),
        ({6: "long"}, r"tracks\.csv:6: duration 'long' is no number of seconds"),
        ({7: None}, r"tracks\.csv:6: 7 cells where the header has 8 columns"),
    ],
)
def test_a_line_that_does_not_parse_is_named_although_biographies_take_several(
    fma: Write, cells: dict[int, str | None], message: str
) -> None:
    path = fma(*FEW) / "fma_metadata/tracks.csv"
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    row = [cells.get(place, cell) for place, cell in enumerate(rows[4])]  # after a row of two lines
    rows[4] = [cell for cell in row if cell is not None]
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    with pytest.raises(AugrunError, match=message):
        Fma().read(path.parent.parent, None)


def test_a_table_that_is_none_is_named(fma: Write) -> None:
    path = fma(*FEW) / "fma_metadata/tracks.csv"
    write_table(path, FEW, [column for column in COLUMNS if column[0] != "set"])
    with pytest.raises(AugrunError) as caught:
        Fma().read(path.parent.parent, None)
    assert str(caught.value) == (
        f"{path}: column set subset, set split is missing in the first two lines; "
        "take tracks.csv from fma_metadata.zip as it is"
    )
    path.write_text("")
    with pytest.raises(
        AugrunError, match="column set subset, set split, track genre_top, artist id, track duration is"
    ):
        Fma().read(path.parent.parent, None)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(AugrunError, match=r"tracks\.csv: is no UTF-8 table \(invalid start byte at byte 0\)"):
        Fma().read(path.parent.parent, None)


def test_a_track_named_twice_is_a_fault(fma: Write) -> None:
    root = fma(*FEW, FEW[0])
    with pytest.raises(AugrunError, match=r"1 of 5 clips cannot be used: 1 duplicate ids \(2\)"):
        Fma().read(root, Index())
    assert len(Fma(on_bad_clip="skip").read(root, Index())) == 4
