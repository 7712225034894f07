"""MSP-IMPROV: the published counts on label files made anew, speakers, both names and both places, and bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augrun.core import audio
from augrun.core.errors import AugrunError, RequestError
from augrun.corpora import standin
from augrun.corpora.index import Index
from augrun.corpora.msp_improv import LABELS, MspImprov, Turn, read_labels
from tests.corpora import label_files
from tests.corpora.label_files import MSP_IMPROV_LABELS, SECONDS, msp_improv_path, tiny_wav, write_msp_improv

#: Six turns of each session's two speakers; the pairs of letters say nothing of them, nor does what was meant.
SMALL = [
    (f"S0{number}H-{letter}0{session}-{condition}-{pair}01", label)
    for session in range(1, 7)
    for letter in "FM"
    for number, condition, pair, label in (
        (1, "P", "FM", "A"),
        (2, "R", "MF", "H"),
        (3, "S", "FF", "N"),
        (4, "T", "MM", "S"),
        (5, "P", "FM", "O"),
        (6, "S", "FM", "X"),
    )
]
LEFT_OUT = "utterances left out whose label is in no class: 24 (O 12, X 12)"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 8,438 turns and their sounds."""
    folder = tmp_path_factory.mktemp("msp_improv")
    return write_msp_improv(folder / "corpus", label_files.msp_improv_turns(), tiny_wav(folder))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_msp_improv(tmp_path / "corpus", SMALL, tiny_wav(tmp_path))


def failure(reader: MspImprov, root: Path, index: Index | None = None) -> str:
    with pytest.raises(AugrunError) as caught:
        reader.read(root, index)
    return str(caught.value)


@pytest.mark.parametrize("index", [None, Index()])
def test_the_published_counts(full: Path, index: Index | None) -> None:
    corpus = MspImprov().read(full, index)
    counts = corpus.counts()
    assert {key: n for key, n in counts.items() if key.startswith(("clips", "class"))} == {
        "clips": 7798,
        "class angry": 792,
        "class happy": 2644,
        "class neutral": 3477,
        "class sad": 885,
    }
    assert MspImprov().published() == {key: counts[key] for key in MspImprov().published()}
    assert len(MspImprov().published()) == 5
    assert corpus.data == "published"
    assert corpus.notes == ("utterances left out whose label is in no class: 640 (X 500, O 140)",)
    assert corpus.clips["speaker"].nunique() == 12
    assert sorted(corpus.clips["session"].unique()) == ["1", "2", "3", "4", "5", "6"]
    assert (corpus.clips["cluster"] == corpus.clips["speaker"]).all()


def test_all_turns_are_read_where_every_label_is_a_class(full: Path) -> None:
    corpus = MspImprov(classes={label: [label] for label in LABELS}).read(full, Index())
    assert len(corpus) == 8438
    assert {label: corpus.counts()[f"class {label}"] for label in LABELS} == MSP_IMPROV_LABELS
    assert (corpus.data, corpus.notes) == ("other", ())


def test_the_third_group_speaks_whatever_the_pair_and_the_meaning_are(small: Path) -> None:
    clips = MspImprov().read(small, None).clips.set_index("clip_id")
    assert clips["speaker"]["MSP-IMPROV-S02H-F03-R-MF01"] == "F03"
    assert clips["speaker"]["MSP-IMPROV-S03H-M03-S-FF01"] == "M03"
    assert clips["speaker"]["MSP-IMPROV-S04H-M06-T-MM01"] == "M06"
    assert clips["session"]["MSP-IMPROV-S04H-M06-T-MM01"] == "6"
    assert clips["labels"]["MSP-IMPROV-S01H-F01-P-FM01"] == (0,)
    assert clips["labels"]["MSP-IMPROV-S02H-F01-R-MF01"] == (1,)


@pytest.mark.parametrize("label_file", ["Evalution.txt", "Evaluation.txt"])
@pytest.mark.parametrize("audio_folder", ["Audio", ""])
@pytest.mark.parametrize("home", ["", "MSP-IMPROV"])
def test_both_names_of_the_label_file_and_both_places_of_the_sounds(
    tmp_path: Path, label_file: str, audio_folder: str, home: str
) -> None:
    root = write_msp_improv(tmp_path / home, SMALL, tiny_wav(tmp_path), label_file, audio_folder)
    corpus = MspImprov().read(tmp_path, Index())
    assert (len(corpus), corpus.notes, corpus.data) == (48, (LEFT_OUT,), "other")
    paths = [str(root / audio_folder / msp_improv_path(name)) for name, label in SMALL if label in "AHNS"]
    assert corpus.clips["path"].to_list() == paths
    assert MspImprov().read(tmp_path, None).clips["path"].to_list() == paths


def test_sample_rates_are_read(small: Path) -> None:
    for rate, (name, _) in zip((16_000, 44_100, 48_000), SMALL, strict=False):
        path = small / "Audio" / msp_improv_path(name)
        path.unlink()
        audio.write(path, 0.1 * np.sin(np.arange(rate)), rate)
    seconds = MspImprov().read(small, Index()).clips["duration_s"].to_list()
    assert seconds == [1.0, 1.0, 1.0] + [SECONDS] * 45


def test_the_stand_in_reads(tmp_path: Path) -> None:
    root = standin.render("msp_improv", tmp_path / "made", utterances=1, others=1, seconds=[0.6, 0.8])
    corpus = MspImprov().read(root, Index())
    assert (corpus.data, len(corpus)) == ("standin", 48)
    assert corpus.counts()["class sad"] == 12


def test_a_label_set_of_ones_own(small: Path) -> None:
    corpus = MspImprov(classes={"other": ["O", "X"], "sad": ["S"]}).read(small, Index())
    assert corpus.label_set.names == ("other", "sad")
    assert corpus.targets().sum(axis=0).tolist() == [24, 12]
    assert corpus.notes == ("utterances left out whose label is in no class: 36 (A 12, H 12, N 12)",)
    assert MspImprov(classes={"other": ["O", "X"], "sad": ["S"]}).published() == {}
    with pytest.raises(
        RequestError, match=r"^dataset.classes: 'sad' is no label of msp_improv; it has A, H, S, N, O, X$"
    ):
        MspImprov(classes={"angry": ["A"], "sad": ["sad"]}).read(small, None)
    only_others = [(name, label) for name, label in SMALL if label in "OX"]
    write_msp_improv(small, only_others)
    assert (
        failure(MspImprov(), small)
        == f"msp_improv: no turn of {small}/Evalution.txt is in a class; check dataset.classes"
    )


def test_a_missing_label_file_is_named(small: Path) -> None:
    (small / "Evalution.txt").rename(small / "labels.txt")
    assert failure(MspImprov(), small) == (
        f"msp_improv: no Evalution.txt or Evaluation.txt in {small}\n"
        "copy the release's label file there, or name the folder that holds it with dataset.root="
    )


def test_missing_sessions_are_named(small: Path, tmp_path: Path) -> None:
    for session in (2, 6):
        (small / f"Audio/session{session}").rename(small / f"Audio/old{session}")
    assert failure(MspImprov(on_bad_clip="skip"), small, Index()) == (
        f"msp_improv: missing in {small}/Audio: session2, session6\n"
        "copy the whole of each session there; leaving one session out needs all six"
    )
    silent = write_msp_improv(tmp_path / "silent", SMALL)
    assert failure(MspImprov(), silent, Index()).startswith(
        f"msp_improv: missing in {silent}/Audio: session1, session2, session3, session4, session5, session6\n"
    )


def test_labels_without_audio_and_audio_without_labels_are_counted(small: Path) -> None:
    sounds = small / "Audio"
    names = [name for name, _ in SMALL]
    (sounds / msp_improv_path(names[0])).unlink()
    (sounds / msp_improv_path(names[4])).unlink()  # of no class
    stranger = sounds / msp_improv_path("S20N-F01-P-MF33")
    stranger.parent.mkdir(parents=True)
    (sounds / msp_improv_path(names[7])).rename(stranger)
    stranger.with_name("._MSP-IMPROV-S20N-F01-P-MF33.wav").write_bytes(b"Mac OS X")
    assert failure(MspImprov(), small, Index()) == (
        f"msp_improv: 2 of 48 clips cannot be used: 2 missing files ({msp_improv_path(names[0])}, "
        f"{msp_improv_path(names[7])})\nmend them, or leave them out with dataset.on_bad_clip=skip"
    )
    corpus = MspImprov(on_bad_clip="skip").read(small, Index())
    assert (len(corpus), corpus.data) == (46, "other")
    assert corpus.notes[0] == "audio files without a label: 1 (MSP-IMPROV-S20N-F01-P-MF33)"
    assert corpus.notes[2].startswith("skipped 2 missing files (session1/")


def test_repeated_labels_and_broken_sounds_are_reported_together(small: Path) -> None:
    path = small / "Evalution.txt"
    text = path.read_text("latin-1")
    path.write_text(f"{text}\n\nUTD-IMPROV-{SMALL[0][0]}.avi; S; A:NaN; V:NaN; D:NaN; N:NaN;\n", "latin-1")
    broken = small / "Audio" / msp_improv_path(SMALL[1][0])
    content = broken.read_bytes()
    broken.unlink()
    broken.write_bytes(content[:1000])
    said = failure(MspImprov(), small, Index())
    assert said.startswith(
        f"msp_improv: 2 of 49 clips cannot be used: 1 duplicate ids (MSP-IMPROV-{SMALL[0][0]}); 1 unreadable or empty "
        f"audio files ({msp_improv_path(SMALL[1][0])}: cut off, "
    )
    corpus = MspImprov(on_bad_clip="skip").read(small, Index())
    assert len(corpus) == 47
    assert corpus.clips["labels"][0] == (0,)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            "S01A-F01-P-FM01.avi; N; A:2; V:3; D:3; N:4;",
            "is no label line, UTD-IMPROV-….avi; LABEL; A:…; V:…; D:…; N:…; is",
        ),
        ("UTD-IMPROV-S01A-F01-P-FM01.avi", "is no label line, "),
        ("UTD-IMPROV-S01A-F01-P-FM01.avi; N", "is no label line, "),
        ("UTD-IMPROV-S01A-F01-P-FM01; N; A:2; V:3; D:3;", "is no label line, "),
        ("who knows; what this is", "is no label line, "),
        (
            "UTD-IMPROV-S01A-F01-P-FM1.avi; N; A:2; V:3; D:3;",
            "'UTD-IMPROV-S01A-F01-P-FM1.avi' is no turn's name, such as",
        ),
        (
            "UTD-IMPROV-S01A-F07-P-FM01.avi; N; A:2; V:3; D:3;",
            "'UTD-IMPROV-S01A-F07-P-FM01.avi' is no turn's name, such",
        ),
        (
            "UTD-IMPROV-S01A-../../..-P-FM01.avi; N; A:2; V:3; D:3;",
            "'UTD-IMPROV-S01A-../../..-P-FM01.avi' is no turn's",
        ),
        (
            "UTD-IMPROV-S01A-F01-P-FM01.avi; Neutral; A:2; V:3; D:3;",
            "label 'Neutral' of S01A-F01-P-FM01 is none of A, H, ",
        ),
        (
            "UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:2; V:3;",
            "S01A-F01-P-FM01 has no means such as A:2.8; V:3.2; D:NaN; N:4.0: ",
        ),
        ("UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:2; V:x; D:3;", "S01A-F01-P-FM01 has no means such as "),
    ],
)
def test_a_label_line_that_does_not_parse_is_named(small: Path, cells: str, message: str) -> None:
    path = small / "Evalution.txt"
    text = path.read_text("latin-1").rstrip("\n")
    path.write_text(f"{text}\n\n{cells}\n", "latin-1")
    line = text.count("\n") + 3
    assert failure(MspImprov(on_bad_clip="skip"), small).startswith(f"{path}:{line}: {message}")


def test_a_label_line_amid_raters_lines_and_remarks_on_two_lines(small: Path) -> None:
    path = small / "Evalution.txt"
    good, rater = (
        "UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:2; V:NaN; D:3;",
        "W1; Other; a long\nremark, ; A:1.0; V:1.0; D:1.0; N:1.0;",
    )
    path.write_text(f"{good}\n{rater}\n{good.replace('FM01', 'FM02').replace(' N;', ' S;')}\n")
    corpus = MspImprov().read(small, None)
    assert corpus.clips["clip_id"].to_list() == ["MSP-IMPROV-S01A-F01-P-FM01", "MSP-IMPROV-S01A-F01-P-FM02"]
    path.write_text(f"{good}\nW1; Other; a long\nand quite\nlong remark, ; A:1.0;\n")
    assert MspImprov().read(small, None).notes == (
        "lines of labels that are neither labels nor raters': 1 (Evalution.txt:3)",
    )
    path.write_text(f"{good}\nW1; Other; ; A:1.0;\n{good.replace(' N;', ' B;')}\n")
    assert failure(MspImprov(), small).startswith(f"{path}:3: label 'B' of S01A-F01-P-FM01 is none of A, H, S, N, O, X")


@given(
    sentence=st.integers(1, 20),
    meant=st.sampled_from("AHSN"),
    speaker=st.sampled_from([f"{letter}0{number}" for letter in "FM" for number in range(1, 7)]),
    condition=st.sampled_from("PRST"),
    pair=st.sampled_from(["FM", "MF", "FF", "MM"]),
    turn=st.integers(1, 99),
    label=st.sampled_from(LABELS),
    values=st.lists(st.sampled_from(["NaN", "nan", "1", "2.8", "5.000000"]), min_size=4, max_size=4),
    blanks=st.lists(st.sampled_from(["", " ", "  ", "\t"]), min_size=11, max_size=11),
)
def test_every_name_of_the_grammar_parses_with_any_blanks(
    tmp_path_factory: pytest.TempPathFactory,
    sentence: int,
    meant: str,
    speaker: str,
    condition: str,
    pair: str,
    turn: int,
    label: str,
    values: list[str],
    blanks: list[str],
) -> None:
    name = f"S{sentence:02d}{meant}-{speaker}-{condition}-{pair}{turn:02d}"
    cells = [f"UTD-IMPROV-{name}.avi", label, *(f"{mean}:{value}" for mean, value in zip("AVDN", values, strict=True))]
    gaps = iter(blanks)
    line = "".join(f"{next(gaps)}{cell}{next(gaps, '')};" for cell in cells[:5]) + f"{next(gaps)}{cells[5]};"
    path = tmp_path_factory.getbasetemp() / "Evalution.txt"
    path.write_text(f"{line}\n")
    (read,), strays = read_labels(path)
    assert strays == []
    assert read == Turn(name, label)
    assert (read.speaker, read.session) == (speaker, speaker[2])
    assert read.path == msp_improv_path(name)
