"""The reader of ESC-50 on real sounds, on a table in the published grammar, and on small folders made by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augrun.core import audio
from augrun.core.errors import AugrunError
from augrun.corpora.esc50 import CLASSES, ESC10, Clip, Esc50, whole_recordings
from augrun.corpora.index import Index
from augrun.protocols.loso import LeaveOneSessionOut

HEADER = "filename,fold,target,category,esc10,src_file,take"
RATE = 8000

Write = Callable[..., Path]


def row(fold: int, recording: int, take: str, category: str) -> str:
    target = CLASSES.index(category)
    name = f"{fold}-{recording}-{take}-{target}.wav"
    return f"{name},{fold},{target},{category},{category in ESC10},{recording},{take}"


@pytest.fixture
def esc50(tmp_path: Path) -> Write:
    """Writes a table from its rows, and two seconds of sound for each, louder than -60 dB."""

    def write(*rows: str, header: str = HEADER, sounds: bool = True) -> Path:
        (tmp_path / "meta").mkdir(exist_ok=True)
        (tmp_path / "audio").mkdir(exist_ok=True)
        (tmp_path / "meta/esc50.csv").write_text("\n".join([header, *rows]) + "\n")
        for line in rows if sounds else ():
            audio.write(tmp_path / "audio" / line.split(",")[0], np.full(2 * RATE, 0.1, np.float32), RATE)
        return tmp_path

    return write


def published_rows() -> list[str]:
    """2,000 rows: 8 clips of each class and fold, of which some share a recording; four recordings are in two folds."""
    rows, number = [], 1000
    for category in CLASSES:
        for fold in range(1, 6):
            for clip in range(8):
                number += clip % 3 != 1  # clips 0 and 1, 3 and 4, 6 and 7 are takes of one recording each
                rows.append((fold, number, "AB"[clip % 3 == 1], category))
    for at in (5, 410, 813, 1218):  # a clip on its own becomes a take of a recording that has two in the next fold
        fold, _, _, category = rows[at]
        rows[at] = (fold, rows[at + 9][1], "C", category)
    return [row(*cells) for cells in rows]


def test_the_real_sounds_of_esc10_read(shared_data: Path) -> None:
    corpus = Esc50().read(shared_data / "esc10", Index())
    assert len(corpus) == 40
    assert corpus.label_set.names == (
        *("baby_cry", "chainsaw", "clock_tick", "dog_bark", "fire_crackling"),
        *("helicopter", "person_sneeze", "rain", "rooster", "sea_waves"),
    )
    assert corpus.targets().sum(axis=0).tolist() == [4.0] * 10
    assert set(corpus.clips["session"]) == {"1"}
    assert set(corpus.clips["speaker"]) == {""}
    assert (corpus.clips["utterance"] == corpus.clips["clip_id"]).all()
    takes = corpus.clips.groupby("cluster")["clip_id"].apply(list)
    assert takes["172649"] == ["1-172649-A", "1-172649-B", "1-172649-C", "1-172649-D"]
    assert corpus.seconds == pytest.approx(200, abs=0.1)
    assert (corpus.data, corpus.notes) == ("other", ())


def test_the_real_sounds_can_be_chosen_by_class_and_by_level(shared_data: Path) -> None:
    root = shared_data / "esc10"
    corpus = Esc50(categories=["rain", "dog_bark"]).read(root, Index())
    assert corpus.label_set.names == ("rain", "dog_bark")
    assert corpus.counts() == {"clips": 8, "session 1": 8, "class rain": 4, "class dog_bark": 4}
    peaks = Index().lookup(root / "audio", [f"{clip}.ogg" for clip in corpus.clips["clip_id"]], levels=True)
    threshold = float(np.median([facts.peak_db for facts in peaks]))
    loud = Esc50(categories=["rain", "dog_bark"], silence_db=threshold).read(root, Index())
    assert len(loud) == 4
    assert loud.notes[0].startswith(f"skipped 4 clips that stay below {threshold:g} dB (1-")
    assert set(Esc50(min_seconds=5.0).read(root, Index()).notes) == {"skipped 1 clips shorter than 5 s (1-21934-A.ogg)"}


def test_the_published_grammar_gives_the_published_counts(esc50: Write) -> None:
    root = esc50(*published_rows(), sounds=False)
    corpus = Esc50().read(root, None)
    counts = corpus.counts()
    published = Esc50().published()
    assert published["clips"] == len(corpus) == 2000
    assert {name: counts[name] for name in published} == published
    assert corpus.label_set.names == CLASSES
    assert corpus.data == "published"
    assert corpus.seconds == 10_000
    assert [counts[f"session {fold}"] for fold in range(1, 6)] == [399, 399, 401, 401, 400]
    assert corpus.notes[0].startswith("moved to the fold of their recording's other clips: 4 clips of 4 recordings (")


def test_esc10_is_what_the_table_counts_to_it(esc50: Write) -> None:
    root = esc50(*published_rows(), sounds=False)
    corpus = Esc50(esc10=True).read(root, None)
    assert corpus.label_set.names == ESC10
    assert len(corpus) == 400
    assert corpus.data == "published"
    assert Esc50(esc10=True, categories=["wind"]).published() == {}
    both = Esc50(categories=["hand_saw", "dog"]).read(root, None)
    assert (both.label_set.names, len(both), both.data) == (("hand_saw", "dog"), 80, "published")


def test_no_recording_is_in_two_folds_and_loso_tests_each_clip_once(esc50: Write) -> None:
    corpus = Esc50(categories=["dog", "rooster"]).read(esc50(*published_rows(), sounds=False), None)
    assert corpus.clips.groupby("cluster")["session"].nunique().max() == 1
    folds = LeaveOneSessionOut(validation="none").folds(corpus, seed=0)
    assert [fold.name for fold in folds] == [f"session{fold}" for fold in range(1, 6)]
    assert Counter(clip for fold in folds for clip in fold.test.clips["clip_id"]) == Counter(corpus.clips["clip_id"])
    for fold in folds:
        assert not set(fold.train.clips["cluster"]) & set(fold.test.clips["cluster"])


@pytest.mark.parametrize(
    ("folds", "expected"),
    [([1, 1, 4], 1), ([4, 1, 4], 4), ([5, 2], 2), ([3, 1, 3, 1], 1), ([10, 9], 9), ([2], 2)],
)
def test_a_recording_goes_where_most_of_its_clips_are_and_else_to_the_lowest_fold(
    folds: list[int], expected: int
) -> None:
    clips = [Clip(f"{k}.wav", "dog", 0, fold, "77", False, 5.0) for k, fold in enumerate(folds)]
    assert whole_recordings(clips) == {"77": expected}


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from("abcdef"))))
def test_every_recording_has_one_of_its_own_folds(pairs: list[tuple[int, str]]) -> None:
    clips = [Clip(f"{k}.wav", "dog", 0, fold, recording, False, 5.0) for k, (fold, recording) in enumerate(pairs)]
    chosen = whole_recordings(clips)
    assert set(chosen) == {recording for _, recording in pairs}
    for recording, fold in chosen.items():
        counts = Counter(own for own, name in pairs if name == recording)
        assert counts[fold] == max(counts.values())
        assert not any(counts[lower] == counts[fold] for lower in range(1, fold))


def test_a_clips_fold_does_not_depend_on_the_chosen_classes(esc50: Write) -> None:
    root = esc50(row(1, 9, "A", "dog"), row(2, 9, "B", "rain"), row(2, 9, "C", "rain"), row(3, 8, "A", "dog"))
    everything = Esc50().read(root, Index()).clips.set_index("clip_id")["session"]
    some = Esc50(categories=["dog"]).read(root, Index())
    assert some.clips.set_index("clip_id")["session"].to_dict() == {"1-9-A-0": "2", "3-8-A-0": "3"}
    assert everything["1-9-A-0"] == "2"
    assert some.notes == ("moved to the fold of their recording's other clips: 1 clips of 1 recordings (9)",)


def test_a_small_corpus_row_by_row(esc50: Write) -> None:
    root = esc50(row(1, 5, "A", "rain"), row(1, 5, "B", "rain"), row(2, 6, "A", "dog"))
    corpus = Esc50().read(root, Index())
    assert corpus.label_set.names == ("dog", "rain")
    columns = ["clip_id", "session", "cluster", "utterance", "speaker", "split", "duration_s"]
    assert corpus.clips[columns].to_numpy().tolist() == [
        ["1-5-A-10", "1", "5", "1-5-A-10", "", "", 2.0],
        ["1-5-B-10", "1", "5", "1-5-B-10", "", "", 2.0],
        ["2-6-A-0", "2", "6", "2-6-A-0", "", "", 2.0],
    ]
    assert corpus.first_labels().tolist() == [1, 1, 0]
    assert corpus.clips["path"][2] == str(root / "audio/2-6-A-0.wav")


def test_silent_and_short_clips_are_left_out_with_a_count_and_are_no_failure(esc50: Write) -> None:
    root = esc50(*(row(fold, 10 * fold, take, "dog") for fold in (1, 2) for take in "ABC"), row(3, 30, "A", "rain"))
    audio.write(root / "audio/1-10-A-0.wav", np.zeros(2 * RATE, np.float32), RATE)
    audio.write(root / "audio/2-20-B-0.wav", np.full(2 * RATE, 0.0009, np.float32), RATE)
    audio.write(root / "audio/2-20-C-0.wav", np.full(RATE // 2, 0.1, np.float32), RATE)
    corpus = Esc50(on_bad_clip="fail").read(root, Index())
    assert list(corpus.clips["clip_id"]) == ["1-10-B-0", "1-10-C-0", "2-20-A-0", "3-30-A-10"]
    assert corpus.notes == (
        "skipped 2 clips that stay below -60 dB (1-10-A-0.wav, 2-20-B-0.wav)",
        "skipped 1 clips shorter than 1 s (2-20-C-0.wav)",
    )
    assert len(Esc50(silence_db=-70.0, min_seconds=0.2).read(root, Index())) == 6
    with pytest.raises(AugrunError, match=r"7 of 7 clips cannot be used: 7 clips shorter than 3 s .*\nno clip is left"):
        Esc50(min_seconds=3.0).read(root, Index())


def test_labels_without_audio_and_audio_without_labels_are_counted(esc50: Write) -> None:
    root = esc50(*(row(1, number, "A", "dog") for number in range(10, 16)), row(2, 30, "A", "rain"))
    for number in (11, 12, 13, 14):
        (root / f"audio/1-{number}-A-0.wav").rename(root / f"audio/1-{number}-B-0.wav")
    (root / "audio/notes.txt").write_text("no sound")
    (root / "audio/1-15-A-0.wav").write_bytes(b"RIFF")
    with pytest.raises(AugrunError) as caught:
        Esc50().read(root, Index())
    assert str(caught.value) == (
        "esc50: 5 of 7 clips cannot be used: 4 missing files (1-11-A-0.wav, 1-12-A-0.wav, 1-13-A-0.wav, …); "
        "1 unreadable or empty audio files (1-15-A-0.wav: is no sound file that can be decoded (Format not recognised))"
        "\nmend them, or leave them out with dataset.on_bad_clip=skip"
    )
    corpus = Esc50(on_bad_clip="skip").read(root, Index())
    assert list(corpus.clips["clip_id"]) == ["1-10-A-0", "2-30-A-10"]
    assert corpus.notes[0] == "sounds without a label: 4 (1-11-B-0.wav, 1-12-B-0.wav, 1-13-B-0.wav, …)"
    assert corpus.notes[1].startswith("skipped 4 missing files (")


def test_a_file_named_twice_is_a_fault(esc50: Write) -> None:
    root = esc50(row(1, 5, "A", "rain"), row(1, 5, "A", "rain"), row(2, 6, "A", "dog"))
    with pytest.raises(AugrunError, match=r"1 of 3 clips cannot be used: 1 duplicate ids \(1-5-A-10\.wav\)"):
        Esc50().read(root, Index())
    assert len(Esc50(on_bad_clip="skip").read(root, Index())) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1-5-A-0.wav,1,0,dog,True,5", r"meta/esc50\.csv:3: 6 cells where the header has 7 columns"),
        ("1-5-A-0.wav,one,0,dog,True,5,A", r"meta/esc50\.csv:3: fold 'one' is no whole number"),
        ("1-5-A-0.wav,-1,0,dog,True,5,A", r"meta/esc50\.csv:3: fold '-1' is no whole number"),
        ("1-5-A-0.wav,1,0.5,dog,True,5,A", r"meta/esc50\.csv:3: target '0\.5' is no whole number"),
        ("1-5-A-0.wav,1,0,dog,yes,5,A", r"meta/esc50\.csv:3: esc10 'yes' is neither True nor False"),
        ("1-5-A-0.wav,1,0,,True,5,A", r"meta/esc50\.csv:3: 1-5-A-0\.wav has no category"),
        ("../1-5-A-0.wav,1,0,dog,True,5,A", r"esc50\.csv:3: filename '\.\./1-5-A-0\.wav' is no name of a file in the"),
        (",1,0,dog,True,5,A", r"meta/esc50\.csv:3: filename '' is no name of a file"),
        ('"1-5-A-0.wav,1', r"meta/esc50\.csv:3: does not parse"),
        ("1-5-A-3.wav,1,3,dog,True,5,A", r"meta/esc50\.csv: dog is target 0 and, at 1-5-A-3\.wav, 3"),
    ],
)
def test_a_line_that_does_not_parse_is_named(esc50: Write, line: str, message: str) -> None:
    root = esc50(row(1, 4, "A", "dog"), line, sounds=False)
    with pytest.raises(AugrunError, match=message):
        Esc50().read(root, None)


def test_what_is_missing_is_named_with_the_mend(esc50: Write, tmp_path: Path) -> None:
    with pytest.raises(
        AugrunError, match=r"esc50: .*gone does not exist; name the corpus's folder with dataset\.root="
    ):
        Esc50().read(tmp_path / "gone", Index())
    with pytest.raises(AugrunError) as caught:
        Esc50().read(tmp_path, Index())
    assert str(caught.value) == (
        f"esc50: no meta/esc50.csv or esc50.csv or meta.csv in {tmp_path}\n"
        "copy github.com/karolpiczak/ESC-50 there, or name the table with dataset.meta="
    )
    root = esc50(row(1, 4, "A", "dog"), row(2, 5, "A", "rain"))
    with pytest.raises(AugrunError) as caught:
        Esc50(audio_root="sounds").read(root, Index())
    assert str(caught.value) == (
        f"esc50: {root}/sounds cannot be read (No such file or directory); "
        "name the folder with the sounds with dataset.audio_root="
    )
    with pytest.raises(AugrunError, match=r"column fold is missing; the header has filename, category$"):
        Esc50().read(esc50("a.wav,dog", header="filename,category", sounds=False), None)
    with pytest.raises(AugrunError, match=r"esc50\.csv: holds no row below the header"):
        Esc50().read(esc50(), None)


def test_classes_and_marks_that_are_not_there_are_refused(esc50: Write) -> None:
    root = esc50(row(1, 4, "A", "wind"), row(2, 5, "A", "train"))
    with pytest.raises(AugrunError, match=r"dataset\.categories: dog is no class of esc50; it has wind, train$"):
        Esc50(categories=["wind", "dog"]).read(root, Index())
    with pytest.raises(AugrunError, match=r"dataset\.categories: an empty list names no class of esc50"):
        Esc50(categories=[]).read(root, Index())
    with pytest.raises(AugrunError, match=r"esc50\.csv: no clip is marked as ESC-10's; leave dataset\.esc10=true out"):
        Esc50(esc10=True).read(root, Index())


def test_another_table_and_another_folder_can_be_named(esc50: Write) -> None:
    root = esc50(row(1, 4, "A", "wind"), row(2, 5, "A", "train"))
    (root / "audio").rename(root / "elsewhere")
    (root / "mine.csv").write_text("category;filename;fold\nbreeze;1-4-A-16.wav;3\n")
    corpus = Esc50(meta="mine.csv", audio_root=str(root / "elsewhere")).read(root, Index())
    assert corpus.clips[["clip_id", "session", "cluster"]].to_numpy().tolist() == [["1-4-A-16", "3", "4"]]
    assert corpus.label_set.names == ("breeze",)
    assert corpus.notes == ("sounds without a label: 1 (2-5-A-45.wav)",)
