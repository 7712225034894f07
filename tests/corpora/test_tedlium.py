"""TED-LIUM: windows of SPHERE files by the lines of transcripts, and bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augrun.core import audio
from augrun.core.config.component import describe
from augrun.core.errors import AugrunError, RequestError
from augrun.corpora import standin
from augrun.corpora.index import Index
from augrun.corpora.tedlium import PUBLISHED_SEGMENTS, Segment, Tedlium, read_segments
from tests.corpora.label_files import RATE, write_talk

GAP = "inter_segment_gap {} {} <o,,unknown> ignore_time_segment_in_scoring"


@pytest.fixture
def ramp() -> np.ndarray:
    """Ten seconds whose every sample says where it is."""
    return np.linspace(-0.9, 0.9, 10 * RATE).astype(np.float32)


@pytest.fixture
def root(tmp_path: Path, ramp: np.ndarray) -> Path:
    """Two talks for training and one for each of the others."""
    corpus = tmp_path / "corpus"
    lines = [
        "AnnLee_2010X 1 " + GAP.format(0, "1.00"),
        "AnnLee_2010X 1 AnnLee_2010X 1.00 3.50 <o,f0,female> so a(2) year ago <unk> <sil> we 'd",
        "AnnLee_2010X 1 AnnLee_2010X 3.50 3.80 <o,f0,female> yes",
        "AnnLee_2010X 1 " + GAP.format("3.80", "10.00"),
    ]
    write_talk(corpus, "train", "AnnLee_2010X", lines, ramp)
    write_talk(corpus, "train", "BobRay_2009", ["BobRay_2009  1\tBobRay_2009 0 9.99 <o,f0,male> all of it"], ramp)
    dev = [";; a comment", "", "CyHall_2010 1 Cy_Hall 2.5 5 <F0_M> hello", "CyHall_2010 1 Dee 5 6 <F0_F> hi"]
    write_talk(corpus, "dev", "CyHall_2010", dev, ramp)
    write_talk(corpus, "test", "EveKay_2011", ["EveKay_2011 1 EveKay_2011 4 8.25 <o,f0,female> and"], ramp)
    for place in ("stm", "sph"):
        (corpus / f"train/{place}/._AnnLee_2010X.{place}").write_bytes(b"\x00\x05\x16\x07 Mac OS X")
    return corpus


def failure(reader: Tedlium, root: Path, index: Index | None = None) -> str:
    with pytest.raises(AugrunError) as caught:
        reader.read(root, index)
    return str(caught.value)


@pytest.mark.parametrize("index", [None, Index()])
def test_segments_are_windows_of_the_talks(root: Path, index: Index | None) -> None:
    corpus = Tedlium().read(root, index)
    columns = ["clip_id", "start_s", "end_s", "split", "speaker", "cluster", "utterance", "session"]
    assert corpus.clips[columns].to_numpy().tolist() == [
        [clip, start, end, "train", speaker, speaker, clip, ""]
        for clip, start, end, speaker in (
            ("AnnLee_2010X-00001000-00003500", 1.0, 3.5, "AnnLee_2010X"),
            ("AnnLee_2010X-00003500-00003800", 3.5, 3.8, "AnnLee_2010X"),
            ("BobRay_2009-00000000-00009990", 0.0, 9.99, "BobRay_2009"),
        )
    ]
    assert corpus.clips["path"].to_list() == [
        f"{root}/train/sph/{talk}.sph" for talk in ("AnnLee_2010X", "AnnLee_2010X", "BobRay_2009")
    ]
    assert corpus.clips["duration_s"].to_numpy() == pytest.approx([2.5, 0.3, 9.99])
    assert corpus.clips["labels"].to_list() == [(), (), ()]
    assert (corpus.label_set.names, corpus.data, corpus.notes) == ((), "other", ())
    # What a clip is, is its file and its window.
    assert corpus.clips["digest"].nunique() == 2


def test_the_windows_sound_as_the_talk_does_there(root: Path, ramp: np.ndarray) -> None:
    clip = Tedlium().read(root, Index()).clips.iloc[0]
    samples = audio.read(clip["path"], None, clip["start_s"], clip["duration_s"])
    assert samples.shape == (2.5 * RATE,)
    assert np.abs(samples - ramp[RATE : round(3.5 * RATE)]).max() < 1e-4
    half = audio.read(clip["path"], RATE // 2, clip["start_s"], clip["duration_s"])
    assert half.shape == (2.5 * RATE / 2,)
    assert np.abs(half - ramp[RATE : round(3.5 * RATE) : 2]).max() < 1e-3


def test_sphere_files_of_other_programs_read(root: Path, ramp: np.ndarray) -> None:
    path = root / "train/sph/BobRay_2009.sph"
    fields = [
        *("NIST_1A", "   1024", "sample_rate -i 16000", "channel_count -i 1", f"sample_count -i {len(ramp)}"),
        *("sample_n_bytes -i 2", "sample_byte_format -s2 01", "sample_sig_bits -i 16", "sample_coding -s3 pcm"),
        "end_head",
    ]
    header = "".join(f"{field}\n" for field in fields).encode().ljust(1024)
    path.write_bytes(header + np.round(ramp * 32767).astype("<i2").tobytes())
    facts = Index().lookup(root, ["train/sph/BobRay_2009.sph"])[0]
    assert (facts.seconds, facts.sample_rate, facts.error) == (10.0, RATE, None)
    assert np.abs(audio.read(path, None, 4.0, 1.0) - ramp[4 * RATE : 5 * RATE]).max() < 1e-4
    # libsndfile takes the length from the file's size; the transcript knows better.
    path.write_bytes(path.read_bytes()[: 1024 + 2 * 5 * RATE])
    assert failure(Tedlium(), root, Index()).startswith("tedlium: 1 of 3 clips cannot be used: 1 ")


def test_parts_are_splits(root: Path) -> None:
    corpus = Tedlium(parts=["test", "dev", "train"]).read(root, Index())
    assert corpus.counts() == {
        "clips": 6,
        **{"split test": 1, "split train": 3, "split validation": 2},
        **{"speaker AnnLee_2010X": 2, "speaker BobRay_2009": 1, "speaker Cy_Hall": 1, "speaker Dee": 1},
        "speaker EveKay_2011": 1,
    }
    assert Tedlium(parts=["dev"]).read(root.parent / "corpus", None).clips["speaker"].to_list() == ["Cy_Hall", "Dee"]


def test_the_folder_above_serves_as_well(root: Path) -> None:
    root.rename(root.parent / "TEDLIUM_release2")
    assert len(Tedlium().read(root.parent, Index())) == 3


def test_the_stand_in_reads(tmp_path: Path) -> None:
    made = standin.render("tedlium", tmp_path / "made", train=2, dev=1, test=1, seconds=[6.0, 8.0])
    corpus = Tedlium(parts=["train", "dev", "test"]).read(made, Index())
    assert (corpus.data, corpus.notes) == ("standin", ())
    assert corpus.clips.groupby("split")["speaker"].nunique().to_dict() == {"test": 1, "train": 2, "validation": 1}


def test_it_has_no_classes_and_the_configuration_knows() -> None:
    assert describe("augrun.corpora.tedlium.Tedlium").constants["labelled"] is False
    assert Tedlium().published() == {"clips": 92_973, "split train": 92_973}
    assert Tedlium(parts=["train", "dev"]).published() == {}
    assert Tedlium(min_seconds=1.0).published() == {}


def test_the_published_number_of_segments_is_known(tmp_path: Path) -> None:
    lines = [
        f"Talk_2010 1 Talk_2010 {k / 1000:.3f} {k / 1000 + 8:.3f} <o,f0,male> x" for k in range(PUBLISHED_SEGMENTS)
    ]
    write_talk(tmp_path, "train", "Talk_2010", lines, None)
    assert Tedlium().read(tmp_path, None).data == "published"
    write_talk(tmp_path, "train", "Talk_2010", lines[1:], None)
    assert Tedlium().read(tmp_path, None).data == "other"


def test_short_segments_are_left_out_and_counted(root: Path) -> None:
    corpus = Tedlium(min_seconds=0.5).read(root, Index())
    assert len(corpus) == 2
    assert corpus.notes == ("segments left out that are shorter than 0.5 s: 1",)
    assert failure(Tedlium(min_seconds=100), root) == f"tedlium: no segment is left of train in {root}"


def test_missing_talks_and_impossible_segments_are_reported_together(root: Path, ramp: np.ndarray) -> None:
    (root / "train/sph/BobRay_2009.sph").unlink()
    line = "FayOak_2012 1 FayOak_2012 {} {} <o,f0,female> x"
    spans = [(1, 2), (1, 2), (3, 3), (10, 10.1), (9, 10.6), (8, 10.02), (8, 10.2)]
    write_talk(root, "train", "FayOak_2012", [line.format(*span) for span in spans], ramp)
    assert failure(Tedlium(), root, Index()) == (
        "tedlium: 5 of 10 clips cannot be used: 1 duplicate ids (FayOak_2012-00001000-00002000); "
        "1 segments that end before they begin (FayOak_2012-00003000-00003000); "
        "1 segments of missing files (BobRay_2009-00000000-00009990); "
        "2 segments outside their talk (FayOak_2012-00010000-00010100 of 10.00 s, "
        "FayOak_2012-00009000-00010600 of 10.00 s)\n"
        "mend them, or leave them out with dataset.on_bad_clip=skip"
    )
    corpus = Tedlium(on_bad_clip="skip").read(root, Index())
    assert corpus.clips["clip_id"].to_list()[2:] == [
        f"FayOak_2012-{span}" for span in ("00001000-00002000", "00008000-00010020", "00008000-00010200")
    ]
    assert corpus.clips["end_s"].to_list()[2:] == [2.0, 10.0, 10.0]
    assert corpus.notes[0] == "segments cut at the end of their talk: 1 (FayOak_2012-00008000-00010200)"
    assert len(corpus.notes) == 5


def test_talks_without_a_transcript_are_noted(root: Path) -> None:
    (root / "train/stm/BobRay_2009.stm").unlink()
    corpus = Tedlium().read(root, Index())
    assert len(corpus) == 2
    assert corpus.notes == ("talks without a transcript: 1 (train/sph/BobRay_2009.sph)",)
    (root / "train/stm/AnnLee_2010X.stm").unlink()
    assert failure(Tedlium(), root) == f"tedlium: no transcript (.stm) in {root}/train/stm"


def test_missing_parts_are_named(root: Path, tmp_path: Path) -> None:
    (root / "dev").rename(tmp_path / "dev")
    (root / "test/sph").rename(root / "test/elsewhere")
    assert failure(Tedlium(parts=["train", "dev", "test"]), root, Index()) == (
        f"tedlium: missing in {root}: dev/stm, dev/sph, test/sph\n"
        "copy them there from the release, or leave the part out of dataset.parts"
    )
    assert len(Tedlium(parts=["test"]).read(root, None)) == 1
    empty = tmp_path / "empty"
    empty.mkdir()
    assert failure(Tedlium(), empty) == (
        f"tedlium: no train, dev, test in {empty}, nor in its folder TEDLIUM_release2\n"
        "name the folder that holds them with dataset.root="
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["trian"], "trian is no part of tedlium; it has train, dev, test"),
        ([], "an empty list names no part of tedlium; it has train, dev, test"),
    ],
)
def test_a_part_that_there_is_not_is_refused(root: Path, parts: list, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        Tedlium(parts=parts).read(root, None)
    assert str(caught.value) == f"dataset.parts: {message}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "AnnLee_2010X 1 AnnLee_2010X 1.00",
            "is no segment, TALK CHANNEL SPEAKER START END <TAGS> TEXT is expected: 'Ann",
        ),
        ("AnnLee_2010X 1 AnnLee_2010X one 2.00 <o,f0,male> x", "START 'one' is no number of seconds"),
        ("AnnLee_2010X 1 AnnLee_2010X 1.00 inf <o,f0,male> x", "END 'inf' is no number of seconds"),
        ("AnnLee_2010X 1 AnnLee_2010X -1 2 <o,f0,male> x", "START '-1' is no number of seconds"),
        ("AnnLee_2010X 1 inter_segment_gap 0 z <o,,unknown> ignore_time_segment_in_scoring", "END 'z' is no number of"),
        ("../../x 1 x 1 2 <o,f0,male> x", "talk '../../x' is refused, it leaves the folder of the sounds"),
    ],
)
def test_a_line_that_does_not_parse_is_named(root: Path, line: str, message: str) -> None:
    path = root / "train/stm/AnnLee_2010X.stm"
    path.write_text(path.read_text() + f"\n{line}\n")
    assert failure(Tedlium(on_bad_clip="skip"), root).startswith(f"{path}:6: {message}")


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.'-]{0,20}", fullmatch=True)


@given(
    talk=NAMES,
    speaker=NAMES,
    start=st.integers(0, 10**6),
    length=st.integers(1, 10**5),
    tags=st.sampled_from(["<o,f0,female>", "<F0_M>", "<o,f3,male>", "<NA>"]),
    words=st.lists(st.sampled_from(["so", "<unk>", "a(2)", "we 'd", "{noise}", "<sil>"]), min_size=0, max_size=5),
    ignored=st.booleans(),
)
def test_every_line_of_the_grammar_parses(
    tmp_path_factory: pytest.TempPathFactory,
    talk: str,
    speaker: str,
    start: int,
    length: int,
    tags: str,
    words: list[str],
    ignored: bool,
) -> None:
    text = "ignore_time_segment_in_scoring" if ignored else " ".join(words)
    path = tmp_path_factory.getbasetemp() / "any.stm"
    path.write_text(f"{talk} 1 {speaker} {start / 100:.2f} {(start + length) / 100:.2f} {tags} {text}\n")
    segments = read_segments(path, "dev")
    assert segments == ([] if ignored else [Segment(talk, "dev", speaker, start / 100, (start + length) / 100)])
    if segments:
        assert segments[0].clip_id == f"{talk}-{10 * start:08d}-{10 * (start + length):08d}"
        assert segments[0].path == f"dev/sph/{talk}.sph"
