"""IEMOCAP: the published counts on label files made anew, speakers, dialogs with odd names, and bad input."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augrun.core.errors import AugrunError, RequestError
from augrun.corpora import standin
from augrun.corpora.iemocap import PUBLISHED_LABELS, SESSIONS, Iemocap, Utterance, read_labels
from augrun.corpora.index import Index
from augrun.corpora.marker import MARKER
from tests.corpora import label_files
from tests.corpora.label_files import IEMOCAP_DIALOGS, IEMOCAP_SESSIONS, SECONDS, tiny_wav, write_iemocap

CLASSES = ("angry", "happy", "neutral", "sad")

#: Two utterances of a session's two speakers in each of four dialogs.
SMALL = [
    (f"Ses0{session}{dialog}_{letter}{number:03d}", label)
    for session in SESSIONS
    for dialog in ("F_impro01", "M_impro05a", "F_script01_3", "M_script01_1b")
    for letter, number, label in (("F", 0, "ang"), ("M", 0, "exc"), ("F", 1, "neu"), ("M", 1, "fru"))
]
LEFT_OUT = "utterances left out whose label is in no class: 20 (fru 20)"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 10,039 utterances and their sounds."""
    folder = tmp_path_factory.mktemp("iemocap")
    return write_iemocap(folder / "IEMOCAP_full_release", label_files.iemocap_utterances(), tiny_wav(folder))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_iemocap(tmp_path / "IEMOCAP", SMALL, tiny_wav(tmp_path))


def labels_of(root: Path, dialog: str) -> Path:
    return root / f"Session{dialog[4]}/dialog/EmoEvaluation/{dialog}.txt"


def sound_of(root: Path, name: str) -> Path:
    return root / f"Session{name[4]}/sentences/wav/{name[:-5]}/{name}.wav"


def failure(reader: Iemocap, root: Path, index: Index | None = None) -> str:
    with pytest.raises(AugrunError) as caught:
        reader.read(root, index)
    return str(caught.value)


def test_every_published_count(full: Path) -> None:
    corpus = Iemocap().read(full, Index())
    assert (len(corpus), corpus.label_set.names, corpus.label_set.multilabel) == (5531, CLASSES, False)
    table = Counter(zip(corpus.clips["session"], corpus.first_labels().tolist(), strict=True))
    voices = corpus.clips["speaker"].value_counts()
    for session, (classes, (women, men), _) in IEMOCAP_SESSIONS.items():
        assert tuple(table[str(session), k] for k in range(4)) == classes
        assert (voices[f"{session}F"], voices[f"{session}M"]) == (women, men)
    assert corpus.counts() == Iemocap().published()
    assert corpus.counts()["class happy"] == 1636
    assert corpus.data == "published"
    assert corpus.notes == (
        "utterances left out whose label is in no class: 4,508 (xxx 2,507, fru 1,849, sur 107, fea 40, oth 3, dis 2)",
    )
    assert set(corpus.clips["duration_s"]) == {SECONDS}
    assert (corpus.clips["cluster"] == corpus.clips["speaker"]).all()
    assert (corpus.clips["utterance"] == corpus.clips["clip_id"]).all()


def test_all_labels_dialogs_and_sounds_are_there(full: Path) -> None:
    everything = Iemocap(classes={label: [label] for label in PUBLISHED_LABELS}).read(full, None)
    assert len(everything) == 10_039
    assert everything.counts() == {
        "clips": 10_039,
        **{f"session {session}": sounds for session, (_, _, sounds) in IEMOCAP_SESSIONS.items()},
        **{key: count for key, count in everything.counts().items() if key.startswith("speaker")},
        **{f"class {label}": count for label, count in PUBLISHED_LABELS.items()},
    }
    assert everything.data == "other"
    dialogs = {name.rsplit("_", 1)[0] for name in everything.clips["clip_id"]}
    assert Counter(int(dialog[4]) for dialog in dialogs) == IEMOCAP_DIALOGS
    assert {"Ses03M_impro05a", "Ses03M_impro05b", "Ses05M_script01_1b"} < dialogs


def test_metadata_alone_tell_the_same_but_for_durations(full: Path) -> None:
    found, stated = (Iemocap().read(full, index).clips for index in (Index(), None))
    assert stated.drop(columns=["end_s", "duration_s", "digest"]).equals(
        found.drop(columns=["end_s", "duration_s", "digest"])
    )
    assert stated["duration_s"].round(4).unique().tolist() == [1.95]
    assert stated["digest"].is_unique


def test_a_warm_index_opens_no_sound(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cold = Iemocap().read(small, Index(tmp_path / "index"))

    def refuse(*_: object) -> None:
        raise AssertionError("a sound was opened")

    monkeypatch.setattr("augrun.core.audio.probe", refuse)
    monkeypatch.setattr("augrun.corpora.index._hash_edges", refuse)
    assert Iemocap().read(small, Index(tmp_path / "index")).digest == cold.digest


def test_the_last_letter_speaks_whoever_wears_the_markers(small: Path) -> None:
    clips = Iemocap().read(small, None).clips.set_index("clip_id")
    assert clips["speaker"]["Ses01F_impro01_M000"] == "1M"
    assert clips["speaker"]["Ses01F_impro01_F000"] == "1F"
    assert clips["speaker"]["Ses05M_script01_1b_F001"] == "5F"
    assert clips["session"]["Ses03M_impro05a_M000"] == "3"
    assert clips["speaker"].nunique() == 10


def test_the_stand_in_reads(tmp_path: Path) -> None:
    root = standin.render("iemocap", tmp_path / "made", utterances=1, others=1, seconds=[0.6, 0.8])
    corpus = Iemocap().read(root, Index())
    assert (corpus.data, len(corpus)) == ("standin", 40)
    assert corpus.counts()["class happy"] == corpus.counts()["speaker 3F"] * 10 // 4 == 10


@pytest.mark.parametrize("name", ["", "IEMOCAP_full_release", "IEMOCAP", "IEMOCAP/IEMOCAP_full_release"])
def test_the_folder_of_the_sessions_or_one_above(tmp_path: Path, name: str) -> None:
    write_iemocap(tmp_path / name, SMALL, tiny_wav(tmp_path))
    corpus = Iemocap().read(tmp_path, Index())
    assert len(corpus) == 60
    assert corpus.clips["path"][0] == str(sound_of(tmp_path / name, SMALL[0][0]))
    assert (corpus.data, corpus.notes) == ("other", (LEFT_OUT,))
    (tmp_path / name / MARKER).write_text(json.dumps({"dataset": "iemocap"}))
    assert Iemocap().read(tmp_path, None).data == "standin"


def test_a_label_set_of_ones_own(small: Path) -> None:
    corpus = Iemocap(classes={"upset": ["fru", "ang"], "excited": ["exc"]}).read(small, Index())
    assert corpus.label_set.names == ("upset", "excited")
    assert corpus.counts()["class upset"] == 40
    assert corpus.counts()["class excited"] == 20
    assert corpus.notes == ("utterances left out whose label is in no class: 20 (neu 20)",)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"angry": ["ang"]}, "two classes or more are needed, each with its labels of ang, hap, exc, neu, sad, "),
        ({"angry": ["ang"], "sad": []}, r"sad needs a list of labels, as sad: \[ang\]"),
        ({"angry": ["ang"], "sad": "sad"}, r"sad needs a list of labels, as sad: \[ang\]"),
        ({"angry": ["anger"], "sad": ["sad"]}, "'anger' is no label of iemocap; it has ang, hap, exc, .*, xxx$"),
        ({"a": ["hap", "exc"], "b": ["exc"]}, "exc is in a and in b; a label can only be in one$"),
    ],
)
def test_a_label_set_that_cannot_be_is_refused(small: Path, classes: dict, message: str) -> None:
    with pytest.raises(RequestError, match=f"^dataset.classes: {message}"):
        Iemocap(classes=classes).read(small, None)


def test_published_numbers_are_of_the_usual_classes_alone() -> None:
    usual = {"sad": ["sad"], "angry": ["ang"], "happy": ["hap", "exc"], "neutral": ["neu"]}
    assert Iemocap(classes=usual).published() == Iemocap().published()
    assert Iemocap().published()["clips"] == 5531
    assert Iemocap().published()["speaker 5M"] == 651
    assert Iemocap(speech="improvised").published() == {}
    assert Iemocap(classes={**usual, "happy": ["hap"]}).published() == {}


@pytest.mark.parametrize("speech", ["improvised", "scripted"])
def test_improvised_or_scripted_dialogs_alone(small: Path, speech: str) -> None:
    corpus = Iemocap(speech=speech).read(small, Index())  # type: ignore[arg-type]
    kinds = {"impro01", "impro05a"} if speech == "improvised" else {"script01_3", "script01_1b"}
    assert {re.sub(r"^Ses..._|_....$", "", name) for name in corpus.clips["clip_id"]} == kinds
    assert len(corpus) == 30
    assert corpus.notes == (
        f"utterances left out that are not {speech}: 40",
        "utterances left out whose label is in no class: 10 (fru 10)",
    )


def test_missing_sessions_are_named(small: Path) -> None:
    for session in (2, 4):
        (small / f"Session{session}").rename(small / f"old{session}")
    assert failure(Iemocap(), small) == (
        f"iemocap: missing in {small}: Session2, Session4\n"
        "copy the whole of each session there; leaving one session out needs all five"
    )


def test_a_folder_without_sessions_is_refused(tmp_path: Path) -> None:
    assert failure(Iemocap(), tmp_path) == (
        f"iemocap: no Session1 to Session5 in {tmp_path}, nor in its folders IEMOCAP_full_release, IEMOCAP, "
        "IEMOCAP/IEMOCAP_full_release\nname the folder that holds them with dataset.root="
    )
    assert failure(Iemocap(), tmp_path / "gone").startswith(f"iemocap: {tmp_path}/gone does not exist; name the")


@pytest.mark.parametrize("index", [None, Index()])
def test_missing_label_files_are_named(small: Path, index: Index | None) -> None:
    labels_of(small, "Ses02F_impro01").unlink()
    labels_of(small, "Ses05M_script01_1b").unlink()
    said = failure(Iemocap(on_bad_clip="skip"), small, index)
    assert said == (
        f"iemocap: 2 label files are missing in {small}: Session2/dialog/EmoEvaluation/Ses02F_impro01.txt, "
        "Session5/dialog/EmoEvaluation/Ses05M_script01_1b.txt\ncopy the release's dialog/EmoEvaluation folders there"
    )


def test_missing_folders_of_labels_and_of_sounds_are_named(tmp_path: Path) -> None:
    root = write_iemocap(tmp_path, SMALL)
    assert len(Iemocap().read(root, None)) == 60
    assert failure(Iemocap(), root, Index()) == (
        f"iemocap: {root}/Session1/sentences/wav is missing\n"
        "copy the release's sentences/wav folders there, or name another folder with dataset.root="
    )
    (root / "Session3/dialog/EmoEvaluation").rename(root / "Session3/dialog/Elsewhere")
    assert failure(Iemocap(), root).startswith(
        f"iemocap: 1 label files are missing in {root}: Session3/dialog/EmoEvaluation/*.txt\n"
    )


def test_labels_without_audio_and_audio_without_labels_are_counted(small: Path) -> None:
    for name in ("Ses01F_impro01_F000", "Ses01F_impro01_M001", "Ses04M_impro05a_M000"):  # the second is of no class
        sound_of(small, name).unlink()
    stranger = sound_of(small, "Ses02F_impro01_F077")
    sound_of(small, "Ses02F_impro01_F000").rename(stranger)
    assert failure(Iemocap(), small, Index()) == (
        "iemocap: 3 of 60 clips cannot be used: 3 missing files ("
        + ", ".join(
            str(sound_of(Path(), name))
            for name in ("Ses01F_impro01_F000", "Ses02F_impro01_F000", "Ses04M_impro05a_M000")
        )
        + ")\nmend them, or leave them out with dataset.on_bad_clip=skip"
    )
    corpus = Iemocap(on_bad_clip="skip").read(small, Index())
    assert len(corpus) == 57
    assert corpus.notes[0] == "audio files without a label: 1 (Ses02F_impro01_F077)"
    assert corpus.notes[1] == LEFT_OUT
    assert corpus.notes[2].startswith("skipped 3 missing files (Session1/sentences/wav/Ses01F_impro01/Ses01F_")


def test_broken_sounds_and_repeated_labels_are_reported_together(small: Path) -> None:
    broken = sound_of(small, "Ses03F_script01_3_F000")
    broken.unlink()
    broken.write_bytes(b"")
    path = labels_of(small, "Ses04F_impro01")
    path.write_text(path.read_text("latin-1") + "[99.0 - 99.5]\tSes04F_impro01_F000\tsad\t[2.5, 2.5, 2.5]\n", "latin-1")
    assert failure(Iemocap(), small, Index()) == (
        "iemocap: 2 of 61 clips cannot be used: 1 duplicate ids (Ses04F_impro01_F000); 1 unreadable or empty audio "
        "files (Session3/sentences/wav/Ses03F_script01_3/Ses03F_script01_3_F000.wav: the file is empty)\n"
        "mend them, or leave them out with dataset.on_bad_clip=skip"
    )
    corpus = Iemocap(on_bad_clip="skip").read(small, Index())
    assert len(corpus) == 59
    first = corpus.clips.set_index("clip_id")["labels"]["Ses04F_impro01_F000"]
    assert first == (0,)


GOOD = "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD[1:], "is no label line, "),
        (GOOD.replace(" - ", " "), "is no label line, "),
        (GOOD.replace("\tneu", ""), "is no label line, "),
        (GOOD.replace("6.2901", "six"), "is no label line, "),
        (GOOD[:-10], "is no label line, "),
        ("Ses01F_impro01_F000 neu", "is no label line, "),
        ("who knows", "is no label line, "),
        (GOOD.replace("impro01_F", "impro02_F"), "'Ses01F_impro02_F000' is no utterance of Ses01F_impro01, such as"),
        (GOOD.replace("F000", "X000"), "'Ses01F_impro01_X000' is no utterance of Ses01F_impro01, such as"),
        (GOOD.replace("F000", "F00"), "'Ses01F_impro01_F00' is no utterance of "),
        (GOOD.replace("neu", "neutral"), "label 'neutral' of Ses01F_impro01_F000 is none of ang, hap, exc, "),
        (GOOD.replace("8.2357", "6.29"), "Ses01F_impro01_F000 ends at 6.29 s and begins at 6.2901 s"),
    ],
)
def test_a_label_line_that_does_not_parse_is_named(small: Path, line: str, message: str) -> None:
    path = labels_of(small, "Ses01F_impro01")
    lines = path.read_text("latin-1").split("\n")
    lines.insert(len(lines) - 1, line)
    path.write_text("\n".join(lines), "latin-1")
    assert failure(Iemocap(on_bad_clip="skip"), small, Index()).startswith(f"{path}:{len(lines) - 1}: {message}")


@pytest.mark.parametrize("line", ["Ses01F_impro01_F000 neu", "[6.2901 - "])
def test_a_label_line_amid_raters_lines_is_no_remark(small: Path, line: str) -> None:
    path = labels_of(small, "Ses01F_impro01")
    path.write_text(f"{GOOD}\r\nC-E2:\tNeutral;\t()\r\n{line}\r\n")
    assert failure(Iemocap(), small).startswith(
        f"{path}:3: is no label line, [START - END] TURN_NAME EMOTION [V, A, D] "
    )


def test_a_remark_on_two_lines_is_noted_and_does_no_harm(small: Path) -> None:
    path = labels_of(small, "Ses01F_impro01")
    text = path.read_text("latin-1").replace("(a bit tense)", "(a bit\ntense)", 1)
    path.write_text(text, "latin-1")
    corpus = Iemocap().read(small, None)
    assert len(corpus) == 60
    assert corpus.notes[0] == "lines of label files that are neither labels nor raters': 1 (Ses01F_impro01.txt:6)"


def test_files_that_are_no_dialogs_are_noted(small: Path) -> None:
    folder = labels_of(small, "Ses01F_impro01").parent
    (folder / "notes.txt").write_text("anything")
    (folder / "Ses02F_impro07.txt").write_text(GOOD)
    assert Iemocap().read(small, None).notes[0] == (
        "files beside the label files that are no dialog's: 2 (Session1/dialog/EmoEvaluation/Ses02F_impro07.txt, "
        "Session1/dialog/EmoEvaluation/notes.txt)"
    )


def test_no_utterance_of_a_class_is_an_error(small: Path) -> None:
    assert failure(Iemocap(classes={"a": ["dis"], "b": ["oth"]}), small) == (
        f"iemocap: no utterance of {small} is in a class; check dataset.classes"
    )


@given(
    session=st.sampled_from("12345"),
    markers=st.sampled_from("FM"),
    dialog=st.from_regex(r"impro[0-9]{2}[ab]?|script[0-9]{2}_[0-9]b?", fullmatch=True),
    voice=st.sampled_from("FM"),
    number=st.integers(0, 999),
    label=st.sampled_from(sorted(PUBLISHED_LABELS)),
    start=st.floats(0, 999),
    seconds=st.floats(0.1, 40),
)
def test_every_name_of_the_grammar_parses(
    tmp_path_factory: pytest.TempPathFactory,
    session: str,
    markers: str,
    dialog: str,
    voice: str,
    number: int,
    label: str,
    start: float,
    seconds: float,
) -> None:
    whole = f"Ses0{session}{markers}_{dialog}"
    name = f"{whole}_{voice}{number:03d}"
    path = tmp_path_factory.getbasetemp() / f"{whole}.txt"
    path.write_text(f"[{start:.4f} - {start + seconds:.4f}]\t{name}\t{label}\t[2.5000, 2.5000, nan]\n")
    (utterance,), strays = read_labels(path)
    assert strays == []
    assert utterance == Utterance(name, whole, label, round(start, 4), float(f"{start + seconds:.4f}"))
    assert (utterance.session, utterance.speaker) == (session, session + voice)
    assert utterance.improvised == dialog.startswith("impro")
    assert utterance.path == f"Session{session}/sentences/wav/{whole}/{name}.wav"
