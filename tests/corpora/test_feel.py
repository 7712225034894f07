"""The manifest reader on real recordings and on small corpora made by hand."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from augrun.core import audio
from augrun.core.errors import AugrunError
from augrun.corpora.feel import Feel, verdict
from augrun.corpora.index import Index
from augrun.protocols.holdout import Holdout

Write = Callable[..., Path]


def test_the_real_manifest_reads(shared_data: Path) -> None:
    corpus = Feel().read(shared_data / "ravdess-feel", Index())
    assert len(corpus) == 336
    assert corpus.label_set.names == ("angry", "happy", "neutral", "sad")
    assert not corpus.label_set.multilabel
    counts = Counter(corpus.label_set.names[label] for label in corpus.first_labels())
    assert counts == {"angry": 96, "happy": 96, "neutral": 48, "sad": 96}
    assert corpus.clips["speaker"].nunique() == 12
    assert corpus.clips.groupby("speaker").size().unique().tolist() == [28]
    assert set(corpus.clips["split"]) == {""}
    assert (corpus.clips["cluster"] == corpus.clips["speaker"]).all()
    assert corpus.seconds / 60 == pytest.approx(20.7, abs=0.05)
    assert (corpus.data, corpus.notes) == ("other", ())


def test_the_real_durations_are_the_manifests(shared_data: Path) -> None:
    stated = Feel().read(shared_data / "ravdess-feel", None).clips["duration_s"]
    found = Feel().read(shared_data / "ravdess-feel", Index()).clips["duration_s"]
    assert np.abs(stated - found).max() < 0.001


def test_reading_imports_no_torch(feel_root: Write) -> None:
    root = feel_root("path,label", "a.wav,angry", "b.wav,sad")
    code = (
        "import sys; from pathlib import Path;"
        "from augrun.corpora.feel import Feel; from augrun.corpora.index import Index;"
        "print(len(Feel().read(Path(sys.argv[1]), Index())), 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(root)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "2 False\n"


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_all_columns_row_by_row(feel_root: Write, delimiter: str) -> None:
    lines = [
        "Path,Label,start,end,Speaker,session,split,id,utterance",
        "a.wav,Sad,0.25,0.75,ann,1,train,one,u1",
        "./a.wav,happy,0.75,,ann,1,dev,two,u1",
        "b.wav,angry,,0.5,bob,2,Test,three,",
        "",
        "c.wav,happy,,,,,,,",
    ]
    root = feel_root(*(line.replace(",", delimiter) for line in lines))
    corpus = Feel().read(root, Index())
    assert corpus.label_set.names == ("angry", "happy", "sad")
    rows = corpus.clips[["clip_id", "start_s", "end_s", "split", "speaker", "session", "utterance", "cluster"]]
    assert rows.to_numpy().tolist() == [
        ["one", 0.25, 0.75, "train", "ann", "1", "u1", "ann"],
        ["two", 0.75, 1.0, "validation", "ann", "1", "u1", "ann"],
        ["three", 0.0, 0.5, "test", "bob", "2", "three", "bob"],
        ["c.wav", 0.0, 1.0, "", "", "", "c.wav", "c.wav"],
    ]
    assert corpus.clips["duration_s"].to_list() == [0.5, 0.25, 0.5, 1.0]
    assert [corpus.label_set.names[label] for label in corpus.first_labels()] == ["sad", "happy", "angry", "happy"]
    assert corpus.clips["digest"][0] == corpus.clips["digest"][1] != corpus.clips["digest"][2]


def test_pieces_of_one_file_are_clips_of_their_own(feel_root: Write) -> None:
    root = feel_root("path,label,start,end", "a.wav,angry,0,0.5", "a.wav,sad,0.5,1", "a.wav,sad,0.5,1")
    with pytest.raises(AugrunError, match=r"feel: 1 of 3 clips cannot be used: 1 duplicate ids \(a\.wav@0\.5-1\)"):
        Feel().read(root, Index())
    corpus = Feel(on_bad_clip="skip").read(root, Index())
    assert list(corpus.clips["clip_id"]) == ["a.wav@0-0.5", "a.wav@0.5-1"]
    assert corpus.notes == ("skipped 1 duplicate ids (a.wav@0.5-1)",)


@pytest.mark.parametrize(
    ("votes", "agreement", "expected"),
    [
        ("angry angry happy", 0.5, "angry"),
        ("angry angry happy", 0.7, "ambiguous"),
        ("angry angry happy happy", 0.0, "ambiguous"),
        ("angry angry happy sad", 0.5, "angry"),
        ("angry angry happy sad neutral", 0.5, "ambiguous"),
        ("sad", 1.0, "sad"),
        ("sad sad sad", 1.0, "sad"),
        ("ambiguous ambiguous sad", 0.5, "ambiguous"),
    ],
)
def test_a_verdict_needs_agreement_and_no_tie(votes: str, agreement: float, expected: str) -> None:
    assert verdict(votes.split(), agreement) == expected


@pytest.mark.parametrize(
    "lines",
    [
        ("path,votes", "a.wav,angry;angry;Happy", "b.wav,sad|sad", "c.wav,happy;sad"),
        ("path,rater_1,rater_2,rater_3", "a.wav,angry,angry,happy", "b.wav,sad,,sad", "c.wav,happy,sad,"),
        ("path,label,votes", "a.wav,sad,angry;angry;happy", "b.wav,sad,", "c.wav,sad,happy;sad"),
    ],
)
def test_votes_become_labels_and_few_alike_become_ambiguous(feel_root: Write, lines: tuple[str, ...]) -> None:
    corpus = Feel().read(feel_root(*lines), Index())
    assert corpus.label_set.names == ("angry", "sad", "ambiguous")
    assert corpus.first_labels().tolist() == [0, 1, 2]
    strict = Feel(agreement=0.8).read(feel_root(*lines), Index())
    assert strict.label_set.names == ("sad", "ambiguous")
    assert strict.first_labels().tolist() == [1, 0, 1]


def test_a_test_manifest_of_its_own_is_the_test_part(feel_root: Write) -> None:
    feel_root("path,label", "c.wav,sad", name="held_out.csv")
    root = feel_root("path,label", "a.wav,angry", "b.wav,sad")
    corpus = Feel(test_manifest="held_out.csv").read(root, Index())
    assert list(corpus.clips["split"]) == ["", "", "test"]
    feel_root("path,label", "b.wav,sad", "c.wav,sad", name="held_out.csv")
    with pytest.raises(AugrunError, match=r"1 of 4 clips cannot be used: 1 duplicate ids \(b\.wav\)"):
        Feel(test_manifest="held_out.csv").read(root, Index())


def test_classes_can_be_chosen_and_ordered(feel_root: Write) -> None:
    root = feel_root("path,label", "a.wav,dog", "b.wav,cat")
    corpus = Feel(labels=["dog", "Cat"]).read(root, Index())
    assert corpus.label_set.names == ("dog", "cat")
    assert corpus.first_labels().tolist() == [0, 1]
    with pytest.raises(AugrunError) as caught:
        Feel().read(root, Index())
    assert str(caught.value) == (
        "feel: two classes or more of angry, happy, neutral, sad, ambiguous are needed; there are cat, dog\n"
        "name the classes with dataset.labels=[...]"
    )


def test_bad_clips_of_every_kind_are_reported_together(feel_root: Write) -> None:
    root = feel_root(
        "path,label,end",
        "a.wav,angry,",
        "b.wav,sad,0.5",
        "c.wav,sad,2.5",
        "empty.wav,sad,",
        "gone.wav,happy,",
        "a.wav,bored,",
        "b.wav,,",
        "cut.flac,sad,",
        files=("a.wav", "b.wav", "c.wav", "cut.flac"),
    )
    (root / "empty.wav").touch()
    content = (root / "cut.flac").read_bytes()
    (root / "cut.flac").write_bytes(content[: len(content) // 2])
    with pytest.raises(AugrunError) as caught:
        Feel().read(root, Index())
    assert str(caught.value) == (
        "feel: 6 of 8 clips cannot be used: 1 duplicate ids (a.wav); 1 clips without a label (b.wav); "
        "2 unreadable or empty audio files (empty.wav: the file is empty, cut.flac: cut off, its header promises "
        "1.00 s but the end does not decode); 1 missing files (gone.wav); "
        "1 utterances outside their file (c.wav@0-2.5 of 1.00 s)\n"
        "mend them, or leave them out with dataset.on_bad_clip=skip"
    )
    corpus = Feel(on_bad_clip="skip").read(root, Index())
    assert list(corpus.clips["clip_id"]) == ["a.wav", "b.wav@0-0.5"]
    assert len(corpus.notes) == 5


def test_a_label_that_does_not_exist_is_named_with_those_that_do(feel_root: Write) -> None:
    root = feel_root("path,label", "a.wav,angry", "b.wav,sad", "c.wav,hapy")
    with pytest.raises(AugrunError, match=r"1 clips with labels other than angry, sad \(hapy of c\.wav\)\nmend them"):
        Feel().read(root, Index())


def test_no_clip_left_is_an_error_even_when_skipping(feel_root: Write) -> None:
    root = feel_root("path,label", "gone.wav,angry", "lost.wav,sad")
    with pytest.raises(AugrunError, match=r"2 of 2 clips cannot be used: 2 missing files .*\nno clip is left"):
        Feel(on_bad_clip="skip").read(root, Index())


@pytest.mark.parametrize("path", ["../a.wav", "/etc/passwd", "x/../../a.wav", ""])
def test_a_path_that_leaves_the_root_is_refused(feel_root: Write, path: str) -> None:
    root = feel_root("path,label", "a.wav,angry", f"{path},sad")
    with pytest.raises(AugrunError, match=r"manifest\.csv:3: path '.*' is refused, it leaves the corpus's folder"):
        Feel(on_bad_clip="skip").read(root, Index())


def test_an_absolute_path_within_the_root_is_fine(feel_root: Write, tmp_path: Path) -> None:
    root = feel_root("path,label", f"{tmp_path}/a.wav,angry", "b.wav,sad")
    assert list(Feel().read(root, Index()).clips["clip_id"]) == ["a.wav", "b.wav"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,label", "a.wav,sad"], r"manifest\.csv: column path is missing; the header has file, label$"),
        (["path,class", "a.wav,sad"], r"column label is missing \(or votes, or rater_1, .*the header has path, class$"),
        (["path,label", "a.wav,sad,1"], r"manifest\.csv:2: 3 cells where the header has 2 columns"),
        (["path,label", '"a.wav,sad'], r"manifest\.csv:2: does not parse"),
        (["path,label", "a.wav,sad", '"b"x.wav,sad'], r"manifest\.csv:3: does not parse"),
        (["path,label,start", "a.wav,sad,soon"], r"manifest\.csv:2: start 'soon' is no number of seconds"),
        (["path,label,start", "a.wav,sad,-1"], r"manifest\.csv:2: start '-1' is no number of seconds"),
        (["path,label,start,end", "a.wav,sad,2,1"], r"manifest\.csv:2: end 1 is not after start 2"),
        (["path,label,split", "a.wav,sad,both"], r"manifest\.csv:2: split 'both' is none of train, validation, test"),
        (["path,label,path", "a.wav,sad,a.wav"], r"manifest\.csv:1: column path is there more than once"),
        (["path,label"], r"manifest\.csv: holds no row below the header"),
        ([""], r"manifest\.csv: the first line is no header"),
    ],
)
def test_a_manifest_that_does_not_parse_is_named_with_its_line(
    feel_root: Write, lines: list[str], message: str
) -> None:
    with pytest.raises(AugrunError, match=message):
        Feel().read(feel_root(*lines), Index())


def test_a_manifest_that_is_missing_or_no_text_is_named(feel_root: Write) -> None:
    root = feel_root("path,label", "a.wav,angry")
    with pytest.raises(AugrunError) as caught:
        Feel(manifest="other.csv").read(root, Index())
    assert str(caught.value) == f"feel: {root}/other.csv does not exist; name the manifest with dataset.manifest="
    with pytest.raises(AugrunError) as caught:
        Feel(test_manifest="held/out.csv").read(root, Index())
    assert str(caught.value) == (
        f"feel: {root}/held/out.csv does not exist; name the manifest with dataset.test_manifest="
    )
    (root / "folder.csv").mkdir()
    with pytest.raises(AugrunError, match=r"folder\.csv: cannot be read \(Is a directory\)"):
        Feel(manifest="folder.csv").read(root, Index())
    (root / "manifest.csv").write_bytes(b"path,label\na.wav,\xff\xfe\n")
    with pytest.raises(AugrunError, match=r"manifest\.csv: is no UTF-8 text"):
        Feel().read(root, Index())


def test_a_manifest_of_a_hundred_thousand_rows(feel_root: Write) -> None:
    rows = [f"a.wav,{'angry' if row % 3 else 'sad'},{row / 1e6:.6f},{row}" for row in range(100_000)]
    corpus = Feel().read(feel_root("path,label,start,id", *rows), Index())
    assert len(corpus) == 100_000
    assert corpus.targets().sum(axis=0).tolist() == [66_666, 33_334]


def test_a_manifest_of_a_hundred_thousand_rows_of_votes(feel_root: Write) -> None:
    votes = ("angry,angry,sad,,happy", "sad,,,,", "happy,sad,,,")
    rows = [f"a.wav,{votes[row % 3]},{row / 1e6:.6f},,speaker{row % 40},{row % 5 + 1}" for row in range(99_999)]
    raters = ",".join(f"rater_{rater}" for rater in range(1, 6))
    corpus = Feel().read(feel_root(f"path,{raters},start,end,speaker,session", *rows), Index())
    assert corpus.label_set.names == ("angry", "sad", "ambiguous")
    assert corpus.targets().sum(axis=0).tolist() == [33_333] * 3
    assert set(corpus.clips["session"]) == {"1", "2", "3", "4", "5"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_byte_order_marks_and_line_ends_of_any_system(feel_root: Write, encoding: str, end: str) -> None:
    root = feel_root("path,label")
    lines = ["path,label,speaker", "a.wav,angry,J\u00f6rg", "", "b.wav,sad,a\u2028b\x0c\x85c", "c.wav,sad,x", ""]
    (root / "manifest.csv").write_bytes(end.join(lines).encode(encoding))
    corpus = Feel().read(root, Index())
    assert list(corpus.clips["clip_id"]) == ["a.wav", "b.wav", "c.wav"]
    assert list(corpus.clips["speaker"]) == ["J\u00f6rg", "a\u2028b\x0c\x85c", "x"]
    (root / "manifest.csv").write_bytes(end.join([*lines[:-1], "c.wav,sad"]).encode(encoding))
    with pytest.raises(AugrunError, match=r"manifest\.csv:6: 2 cells where the header has 3 columns"):
        Feel().read(root, Index())


def test_a_manifest_that_is_not_utf8_says_what_to_do(feel_root: Write) -> None:
    root = feel_root("path,label")
    (root / "manifest.csv").write_bytes("path,label\r\na.wav,angry\r\n".encode("utf-16"))
    with pytest.raises(AugrunError, match=r"is no UTF-8 text \(invalid start byte at byte 0\); save it as UTF-8$"):
        Feel().read(root, Index())


def test_backslashes_part_folders_and_cannot_leave_the_root(feel_root: Write, beep: np.ndarray) -> None:
    root = feel_root("path,label", r"sub\a.wav,angry", r".\sub\..\b.wav,sad")
    (root / "sub").mkdir()
    audio.write(root / "sub/a.wav", beep, 8000)
    assert list(Feel().read(root, Index()).clips["clip_id"]) == ["sub/a.wav", "b.wav"]
    feel_root("path,label", "a.wav,angry", r"..\b.wav,sad")
    with pytest.raises(AugrunError) as caught:
        Feel(on_bad_clip="skip").read(root, Index())
    assert str(caught.value) == (
        f"{root}/manifest.csv:3: path '..\\\\b.wav' is refused, it leaves the corpus's folder {root}"
    )


def test_a_neighbour_whose_name_begins_alike_is_outside(tmp_path: Path, beep: np.ndarray) -> None:
    for name in ("corpus", "corpus-private"):
        (tmp_path / name).mkdir()
        audio.write(tmp_path / name / "a.wav", beep, 8000)
    (tmp_path / "corpus/manifest.csv").write_text("path,label\na.wav,sad\n../corpus-private/a.wav,angry\n")
    with pytest.raises(AugrunError, match=r"manifest\.csv:3: path '\.\./corpus-private/a\.wav' is refused"):
        Feel().read(tmp_path / "corpus", Index())


def test_a_link_that_leads_out_of_the_root_is_its_owners_doing(tmp_path: Path, beep: np.ndarray) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "corpus").mkdir()
    audio.write(tmp_path / "elsewhere/a.wav", beep, 8000)
    audio.write(tmp_path / "elsewhere/b.wav", beep, 8000)
    (tmp_path / "corpus/far").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "corpus/b.wav").symlink_to(tmp_path / "elsewhere/b.wav")
    (tmp_path / "corpus/manifest.csv").write_text("path,label\nfar/a.wav,angry\nb.wav,sad\n")
    corpus = Feel().read(tmp_path / "corpus", Index())
    assert list(corpus.clips["path"]) == [str(tmp_path / "corpus/far/a.wav"), str(tmp_path / "corpus/b.wav")]


def test_sounds_that_no_manifest_names_are_no_part_of_the_corpus(feel_root: Write) -> None:
    corpus = Feel().read(feel_root("path,label", "a.wav,angry", "b.wav,sad"), Index())
    assert (list(corpus.clips["clip_id"]), corpus.notes) == (["a.wav", "b.wav"], ())


def test_the_test_manifest_is_the_test_part_whatever_it_says_and_votes_are_counted_alike(feel_root: Write) -> None:
    feel_root("path,rater_1,rater_2,rater_3,split", "c.wav,happy,sad,,train", name="test.csv")
    root = feel_root("path,rater_1,rater_2", "a.wav,angry,angry", "b.wav,sad,")
    corpus = Feel(test_manifest="test.csv").read(root, Index())
    assert corpus.label_set.names == ("angry", "sad", "ambiguous")
    assert list(corpus.clips["split"]) == ["", "", "test"]
    assert corpus.first_labels().tolist() == [0, 1, 2]
    feel_root("path,label", "../c.wav,sad", name="test.csv")
    with pytest.raises(AugrunError, match=r"test\.csv:2: path '\.\./c\.wav' is refused"):
        Feel(test_manifest="test.csv").read(root, Index())


def test_four_fifths_train_where_the_test_part_has_a_manifest_of_its_own(feel_root: Write) -> None:
    labels = ("angry", "happy", "neutral", "sad")
    times = "path,label,id,start,end"
    feel_root(times, *(f"c.wav,{labels[k % 4]},t{k},{k / 1000},{k / 1000 + 0.1}" for k in range(20)), name="test.csv")
    root = feel_root(times, *(f"a.wav,{labels[k % 4]},m{k},{k / 1000},{k / 1000 + 0.1}" for k in range(100)))
    corpus = Feel(test_manifest="test.csv").read(root, Index())
    (fold,) = Holdout(validation=0.2).folds(corpus, seed=0)
    assert [len(part) for part in (fold.train, fold.validation, fold.test)] == [80, 20, 20]
    assert {clip[0] for clip in fold.test.clips["clip_id"]} == {"t"}
    assert {clip[0] for part in (fold.train, fold.validation) for clip in part.clips["clip_id"]} == {"m"}


def test_a_start_and_a_duration_are_an_end(feel_root: Write) -> None:
    rows = [f"a.wav,{'angry' if k % 2 else 'sad'},{k * 0.1:g},0.1" for k in range(4)]
    root = feel_root("path,label,start,duration", *rows)
    for index in (Index(), None):
        clips = Feel().read(root, index).clips
        assert clips["duration_s"].tolist() == pytest.approx([0.1] * 4)
        assert clips["end_s"].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_the_same_sound_under_another_name_is_found(feel_root: Write) -> None:
    feel_root("path,label,id,start,end", "a.wav,sad,again,0,0.2", name="test.csv")
    root = feel_root("path,label,id,start,end", "a.wav,sad,one,0,0.2", "a.wav,angry,two,0.2,0.4")
    with pytest.raises(AugrunError, match=r"1 of 3 clips cannot be used: 1 rows that repeat another's sound \(again\)"):
        Feel(test_manifest="test.csv").read(root, Index())
