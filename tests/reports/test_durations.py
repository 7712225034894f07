"""Tables and figures of durations: the real tables' hours, small ones made by hand, and what a reader is told."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.axes
import matplotlib.image
import numpy as np
import pytest
import soundfile as sf

from augrun.cli import main
from augrun.core.errors import AugrunError
from augrun.corpora.corpus import Corpus, LabelSet
from augrun.corpora.reader import build
from augrun.reports import durations, figures, tables
from augrun.reports.definition import Definition, RowDefinition
from augrun.sweeps import measured_tables

ROOT = Path(__file__).resolve().parents[2]
NAME = "godwin2021_table1"
HEADER = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AUGRUN_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tables_alone(tmp_path: Path) -> Path:
    """The TSVs of a corpus of whole hours without its audio: 3 h train, 1.5 h validation, 2 h test; 20 h to be left."""
    rows = {
        "train": [(1, 7200, "happy"), (2, 3600, "calm sad"), (3, 36000, "epic")],
        "validation": [(4, 5400, "dark"), (5, 18000, "epic")],
        "test": [(6, 7200, "melancholic"), (7, 18000, "epic")],
    }
    root = tmp_path / "jamendo"
    root.mkdir()
    tags = ["calm", "dark", "dramatic", "epic", "happy", "melancholic", "positive", "relaxing", "sad", "uplifting"]
    (root / "tags_moodtheme_split.txt").write_text("\n".join(tags) + "\n")
    for part, tracks in rows.items():
        lines = [HEADER]
        for number, seconds, tags in tracks:
            fields = [f"track_{number:07d}", "artist_000001", "album_000001", f"00/{number}00.mp3", f"{seconds}.0"]
            lines.append("\t".join(fields + [f"mood/theme---{tag}" for tag in tags.split()]))
        (root / f"autotagging_moodtheme-{part}.tsv").write_text("\n".join(lines) + "\n")
    return root


def corpus(parts: list[str], labels: list[tuple[int, ...]], hours: list[float], data: str = "other") -> Corpus:
    """A corpus from its columns; two classes."""
    ids = [f"c{k}" for k in range(len(parts))]
    columns = {"clip_id": ids, "path": ids, "start_s": [0.0] * len(ids), "end_s": [3600 * hour for hour in hours]}
    columns |= {"labels": labels, "split": parts, "digest": ids}  # type: ignore[dict-item]
    return build("small", columns, LabelSet(("x", "y"), multilabel=True), data)


def definition(*columns: str) -> Definition:
    return Definition("t", "durations", columns, (RowDefinition("a", (), {}),), footnotes=("They differ.",))


def run(*arguments: str) -> int:
    return main.run(["table", NAME, *arguments])


def test_the_real_tables(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(f"dataset.root={shared_data / 'jamendo'}") == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[:2] == [NAME, "Data: the corpus as published."]
    rows = [line.split() for line in lines if "published " in line or "measured " in line]
    nothing = ["–"] * 4
    assert rows == [
        ["Mood/theme", "published", "160", "22", "22", "204", *nothing],
        ["measured", "611.0", "223.0", "261.1", "1,095.1", "9,949", "3,802", "4,231", "17,982"],
        ["Emotional", "published", "157", "20", "20", "197", *nothing],
        ["measured", "203.8", "78.6", "98.4", "380.7", "3,474", "1,302", "1,478", "6,254"],
    ]
    assert max(map(len, lines)) <= 100
    told = " ".join(lines)
    assert "Durations are those that the metadata state; no audio was looked at." in told
    assert "match neither that split-0 of MTG-Jamendo (611.0, 223.0 and 261.1 h) nor its tracks" in told
    assert "(203.8, 78.6 and 98.4 h)." in told
    folder = tmp_path / "outputs/tables" / NAME
    assert said.err == (
        f"written to {folder}: {NAME}.{{txt,md,csv,tex,json,html}}, per_class_jamendo_mood.png, "
        "per_class_jamendo_emotion.png\n"
    )
    emotion = json.loads((folder / "per_class_jamendo_emotion.json").read_text())
    assert emotion["clips"] == {
        "train": [1278, 953, 791, 452],
        "validation": [524, 311, 252, 215],
        "test": [462, 344, 420, 252],
    }
    assert [round(sum(hours), 1) for hours in emotion["hours"].values()] == [203.8, 78.6, 98.4]
    assert emotion["data"] == "published"
    mood = json.loads((folder / "per_class_jamendo_mood.json").read_text())
    assert len(mood["classes"]) == 56
    assert (min(mood["clips"]["train"]), max(mood["clips"]["train"])) == (59, 927)


def test_tables_alone_give_every_form(tables_alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "elsewhere"
    for form in ("md", "json"):
        assert run(f"dataset.root={tables_alone}", "--format", form, "--out", str(out)) == 0
        assert capsys.readouterr().out == (out / f"{NAME}.{form}").read_text()
    assert {path.name for path in out.glob(f"{NAME}.*")} == {f"{NAME}.{form}" for form in tables.FORMATS}
    content = json.loads((out / f"{NAME}.json").read_text())
    assert set(content) == {"name", "reference", "data", "scale", "rows", "footnotes"}
    assert (content["name"], content["reference"], content["data"], content["scale"]) == (NAME, None, "other", "paper")
    mood, emotional = content["rows"]
    assert mood["condition"] == {"dataset": "jamendo_mood", "scale": "paper", "data": "other"}
    assert {column: values["mean"] for column, values in mood["measured"].items()} == {
        "Train": 13.0, "Val": 6.5, "Test": 7.0, "Sum": 26.5,
        "Train clips": 3, "Val clips": 2, "Test clips": 2, "Sum clips": 7,
    }  # fmt: skip
    assert {column: values["mean"] for column, values in emotional["measured"].items()} == {
        "Train": 3.0, "Val": 1.5, "Test": 2.0, "Sum": 6.5,
        "Train clips": 2, "Val clips": 1, "Test clips": 1, "Sum clips": 4,
    }  # fmt: skip
    assert set(mood["measured"]["Train"]) == {"mean", "std", "n", "ci_low", "ci_high", "p"}
    assert mood["measured"]["Train"]["std"] is None
    assert emotional["published"]["Sum"] == 197
    assert emotional["published"]["Sum clips"] is None
    assert (
        "| Mood/theme | 160 | 13.0 | 22 | 6.5 | 22 | 7.0 | 204 | 26.5 | 3 | 2 | 2 | 7 |"
        in (out / f"{NAME}.md").read_text()
    )
    assert (
        r"Emotional & 157 & 3.0 & 20 & 1.5 & 20 & 2.0 & 197 & 6.5 & 2 & 1 & 1 & 4 \\"
        in (out / f"{NAME}.tex").read_text()
    )
    head, first, _ = (out / f"{NAME}.csv").read_text().splitlines()
    assert head.startswith("row,dataset,scale,data,Train mean,Train published,Val mean,")
    assert first.startswith("Mood/theme,jamendo_mood,paper,other,13.0,160,6.5,22,7.0,22,26.5,204,3,,")


def test_a_stand_in_says_so_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    sizes = "{train:14,validation:14,test:14,seconds:[1.0,1.1]}"
    assert run("dataset=jamendo_mood", f"++dataset.standin_options={sizes}") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "Data: a rendered STAND-IN, not the real corpus. These figures say nothing about the real one."
    assert not [line for line in lines if line.startswith("Emotional")]
    (measured,) = (line.split() for line in lines if line.split()[:1] == ["measured"])
    assert measured[1:5] == ["0.00", "0.00", "0.00", "0.01"]
    assert measured[5:] == ["14", "14", "14", "42"]
    folder = tmp_path / "outputs/tables" / NAME
    assert json.loads((folder / "per_class_jamendo_mood.json").read_text())["data"] == "standin"
    assert json.loads((folder / f"{NAME}.json").read_text())["data"] == "standin"


def test_audio_is_looked_at_where_the_metadata_tell_no_durations(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = tmp_path / "speech"
    root.mkdir()
    for name, seconds in (("a", 2), ("b", 1)):
        sf.write(root / f"{name}.flac", np.zeros(8000 * seconds), 8000)
    (root / "manifest.csv").write_text("path,label,split\na.flac,angry,train\nb.flac,sad,\n")
    assert run("dataset=feel", f"dataset.root={root}", "--format", "json") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["row"], row["condition"]["dataset"]) == ("feel", "feel")
    assert row["measured"]["Train"]["mean"] == pytest.approx(2 / 3600)
    assert row["measured"]["Val"]["mean"] is None
    assert row["measured"]["Sum"]["mean"] == pytest.approx(3 / 3600)
    assert set(row["published"].values()) == {None}
    text = (tmp_path / "outputs/tables" / NAME / f"{NAME}.txt").read_text()
    assert "feel: clips in no part: 1. They count in the sum alone." in text
    assert "metadata" not in text
    assert "MediaEval" not in text
    assert not [line for line in text.splitlines() if line.split()[1:2] == ["published"]]


def test_nothing_imports_torch(tables_alone: Path) -> None:
    code = (
        "import sys; from augrun.cli import main; code = main.run(sys.argv[1:]);"
        "print({'torch', 'mlflow', 'pytorch_lightning', 'torchaudio'} & set(sys.modules), code)"
    )
    command = [sys.executable, "-c", code, "table", NAME, f"dataset.root={tables_alone}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == "set() 0"


def test_rows_follow_the_corpora_that_are_named() -> None:
    mood = RowDefinition("Mood/theme", ("dataset=jamendo_mood",), {"Train": 160})
    whole = Definition("t", "durations", ("Train",), (mood, RowDefinition("E", ("dataset=e", "seed=1"), {})))
    assert measured_tables.rows_of(whole, ["dataset.root=x"]) == (list(whole.rows), ["dataset.root=x"])
    rows, rest = measured_tables.rows_of(whole, ["seed=2", "dataset=feel,jamendo_mood", "dataset.root=x"])
    assert rows == [RowDefinition("feel", ("dataset=feel",), {}), mood]
    assert rest == ["seed=2", "dataset.root=x"]
    assert measured_tables.rows_of(whole, ["dataset=e"])[0] == [whole.rows[1]]
    songs = RowDefinition("Songs", ("generator=jukebox", "dataset=jamendo_mood"), {"Hours": 8})
    made = Definition(
        "t", "samples", ("Hours",), (songs, RowDefinition("More", ("generator=jukebox", "dataset=e"), {}))
    )
    only = RowDefinition("jukebox, feel", ("generator=jukebox", "dataset=feel"), {})
    assert measured_tables.rows_of(made, ["dataset=feel,jamendo_mood"])[0] == [only, songs]


def test_hours_and_clips_of_parts() -> None:
    given = corpus(["train", "train", "test", ""], [(0,), (0, 1), (1,), (0,)], [1.0, 0.5, 2.0, 4.0])
    found = {column: durations.value(given, column) for column in ("Train", "Val", "Test", "Sum")}
    assert found == {"Train": 1.5, "Val": None, "Test": 2.0, "Sum": 7.5}
    assert [durations.value(given, f"{part} clips") for part in ("Train", "Val", "Test", "Sum")] == [2, None, 1, 4]
    with pytest.raises(KeyError):
        durations.value(given, "Dev")
    unknown = corpus(["train"], [(0,)], [math.nan])
    assert durations.value(unknown, "Train") is None
    assert durations.value(unknown, "Train clips") == 1


def test_classes_count_each_clip_of_theirs() -> None:
    given = corpus(["train", "train", "test", ""], [(0,), (0, 1), (1,), (0,)], [1.0, 0.5, 2.0, 4.0])
    content = durations.per_class(given)
    assert content["hours"] == {"train": [1.5, 0.5], "test": [0.0, 2.0], "no part": [4.0, 0.0]}
    assert content["clips"] == {"train": [2, 1], "test": [0, 1], "no part": [1, 0]}
    assert durations.per_class(corpus([""], [(0,)], [1.0]))["hours"] == {"all": [1.0, 0.0]}
    assert durations.per_class(corpus([""], [(0,)], [math.nan]))["hours"]["all"][0] is None


def test_what_a_reader_is_told() -> None:
    standin = durations.Measured("a", corpus(["train"], [(0,)], [1.0], "standin"), "demo", True, {"Train": 5})
    other = durations.Measured("b", corpus([""], [(0,)], [1.0]), "demo", False, {})
    notes = durations.table(definition("Train"), [standin, other]).footnotes
    assert notes[0].startswith("Data: the rows were measured on different data")
    assert notes[2:] == (
        "Durations of a are those that the metadata state; their audio was not looked at.",
        "a: a rendered STAND-IN, not the real corpus. These figures say nothing about the real one.",
        "b: a corpus that is not the published one.",
        "b: the corpus has its clips in no parts. They count in the sum alone.",
        "They differ.",
    )
    assert "They differ." not in durations.table(definition("Train"), [other]).footnotes


@pytest.mark.parametrize("classes", [4, 24, 56])
def test_the_figure_stacks_the_parts(classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[tuple[np.ndarray, np.ndarray]] = []
    names: list[str] = []
    barh, ticks = matplotlib.axes.Axes.barh, matplotlib.axes.Axes.set_yticks

    def draw(self: Any, at: np.ndarray, width: np.ndarray, *rest: Any, left: np.ndarray, **options: Any) -> Any:
        bars.append((np.array(left), np.array(width)))
        return barh(self, at, width, *rest, left=left, **options)

    def label(self: Any, at: Any, labels: Any = None, **options: Any) -> Any:
        names.extend(labels or [])
        return ticks(self, at, labels, **options)

    monkeypatch.setattr(matplotlib.axes.Axes, "barh", draw)
    monkeypatch.setattr(matplotlib.axes.Axes, "set_yticks", label)
    train, test = np.arange(1.0, classes + 1), np.full(classes, 2.0)
    test[0] = math.nan  # of unknown duration
    given = [f"class number {k}" for k in range(classes)]
    figures.durations({"train": train, "test": test}, given, tmp_path / "d.png", "Hours", note="stand-in data")
    order = np.arange(classes) if classes <= 8 else np.arange(classes)[::-1]
    assert names == [given[k] for k in order]
    first, second = bars[:2]
    shown = order[: len(first[1])]
    assert first[0].max() == 0
    assert list(first[1]) == list(train[shown])
    assert list(second[0]) == list(train[shown])
    assert list(second[1]) == list(np.nan_to_num(test)[shown])
    assert len(bars) == (2 if classes <= 24 else 4)
    height, width, _ = matplotlib.image.imread(tmp_path / "d.png").shape
    assert (width, height < 1000) == (780 if classes <= 24 else 1200, True)


def section(**changes: Any) -> dict[str, Any]:
    row = {"name": "a", "overrides": ["dataset=x"], "published": {"Train": 1}}
    return {"kind": "durations", "columns": ["Train"], "rows": [row], "footnotes": ["Another split."]} | changes


def test_a_definition_is_taken_over() -> None:
    taken = Definition.of("t", section())
    assert taken.rows == (RowDefinition("a", ("dataset=x",), {"Train": 1}),)
    assert (taken.columns, taken.reference, taken.highlight) == (("Train",), None, "none")
    assert taken.footnotes == ("Another split.",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "table is missing; it holds kind, columns and rows"),
        ({"kind": "durations"}, "table.columns is missing"),
        (section(rwos=[]), "table.rwos: no such key; did you mean rows?"),
        (section(kind="duration"), "table.kind: 'duration' is none of durations, samples, features, results, grid"),
        (section(rows=[]), "table.rows: rows must be there, and have names of their own ()"),
        (section(rows=section()["rows"] * 2), "table.rows: rows must be there, and have names of their own (a, a)"),
        (section(rows=["a"]), "table.rows[0] is no mapping; it holds name, overrides and published"),
        (section(columns=["Trian"]), "table.rows[0].published: no column is called 'Train'; did you mean Trian?"),
        (section(reference="b"), "table.reference: no row is called 'b'; legal are a"),
        (section(footnotes=[]), "table.footnotes: published values want one that says how the data differ"),
    ],
)
def test_a_wrong_definition_names_the_key(content: Any, message: str) -> None:
    with pytest.raises(AugrunError) as caught:
        Definition.of("t", content)
    assert str(caught.value) == f"conf/experiment/t.yaml: {message}"


def test_an_experiment_that_is_no_table(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/quick.yaml").write_text("# @package _global_\nseed: 3\n")
    assert main.run(["table", "quick", "-cd", "conf"]) == 1
    assert capsys.readouterr().err == (
        "augrun: conf/experiment/quick.yaml: table is missing; it holds kind, columns and rows\n"
    )
