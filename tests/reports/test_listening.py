"""Pages to listen: what they play and show is what lies in the files, named right, and in them nothing is missing."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from augrun.reports import embedding, levels, listening, page
from augrun.reports.listening import Heard
from augrun.reports.pictures import Spectrograms
from tests import browser
from tests.reports.sounds import loudest_hz, noise, tone

NOTE = "Data: a rendered STAND-IN, not the real corpus. Scale: demo."
ODD = """<b>&"'"""


def one(folder: Path, label: str = "happy", **changes: Any) -> Heard:
    """A prime of 0.5 s at 500 Hz and a sample of 1.25 s at 2 kHz."""
    made = Heard(
        label,
        sample=tone(folder / "a-sample.wav", 2000, 1.25),
        prime=tone(folder / "a-prime.wav", 500, 0.5),
        prime_clip="clip/17",
        prime_start_s=12.5,
    )
    return replace(made, **changes)


@dataclass
class Read(HTMLParser):
    """What a browser would find in a page."""

    text: str = ""
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    @staticmethod
    def file(path: Path) -> Read:
        read = Read()
        HTMLParser.__init__(read)
        read.feed(path.read_text(encoding="utf-8"))
        assert read.open == [], "elements that are never closed"
        return read

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in ("meta", "link", "img", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def players(self) -> dict[str, tuple[np.ndarray, int]]:
        """Label to samples and rate."""
        return {audio["aria-label"]: soundfile.read(io.BytesIO(content(audio["src"]))) for audio in self.all("audio")}

    def pictures(self) -> dict[str, np.ndarray]:
        """Text to shades, shape (bands, columns), the highest band first."""
        return {image["alt"]: np.array(Image.open(io.BytesIO(content(image["src"])))) for image in self.all("img")}


def content(address: str) -> bytes:
    kind, data = re.fullmatch(r"data:(image/png|audio/mpeg);base64,([A-Za-z0-9+/=]+)", address).groups()  # type: ignore[union-attr]
    assert kind
    return base64.b64decode(data, validate=True)


def written(folder: Path, columns: dict[str, list[Heard]], **options: Any) -> Read:
    listening.write_page(folder / "listen.html", "A title", columns, NOTE, **options)
    return Read.file(folder / "listen.html")


def asked(labels: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"sample_id": [f"s{k}" for k in range(len(labels))], "label": labels})


@pytest.mark.parametrize(
    ("labels", "classes", "most", "expected"),
    [
        ([1, 0, 1, 0, 1, 0], 2, 4, ["s1", "s3", "s0", "s2"]),
        ([1, 0, 1, 0, 1, 0], 2, 5, ["s1", "s3", "s0", "s2"]),
        ([2, 1, 0, 2, 1, 0], 3, 1, ["s2", "s1", "s0"]),
        ([2, 1, 0, 2, 1, 0], 56, 8, ["s2", "s1", "s0"]),
        ([0, 0, 0, 1, 0], 2, 8, ["s0", "s3"]),
        ([3, 3, 3, 3], 4, 8, ["s0", "s1"]),
        ([], 4, 8, []),
    ],
)
def test_every_class_has_as_many_samples(labels: list[int], classes: int, most: int, expected: list[str]) -> None:
    requests = asked(labels).set_index(pd.Index(range(len(labels))[::-1]))
    assert listening.pick(requests, classes, most)["sample_id"].tolist() == expected


def test_fifty_six_classes_have_one_sample_each() -> None:
    picked = listening.pick(asked([k % 56 for k in range(560)]), 56, 8)
    assert picked["label"].tolist() == list(range(56))
    assert picked["sample_id"].tolist() == [f"s{k}" for k in range(56)]


def test_no_number_of_samples_cannot_be_picked() -> None:
    with pytest.raises(ValueError, match="0 samples of 4 classes cannot be picked"):
        listening.pick(asked([0]), 4, 0)


def test_the_page_plays_and_shows_the_files(tmp_path: Path) -> None:
    read = written(tmp_path, {"ddsp": [one(tmp_path)]})
    players = read.players()
    assert list(players) == ["happy: prime", "happy: sample"]
    for (sound, rate), seconds, hz in zip(players.values(), (0.5, 1.25), (500, 2000), strict=True):
        assert rate == 16000
        assert len(sound) == seconds * rate
        assert loudest_hz(sound, rate) == pytest.approx(hz, abs=2)
        assert np.abs(sound[2000:-2000]).max() == pytest.approx(0.5, rel=0.02)
    prime, sample = read.pictures().items()
    assert (prime[0], sample[0]) == ("Spectrogram of happy: prime, 0.5 s", "Spectrogram of happy: sample, 1.25 s")
    assert prime[1].shape == (levels.BANDS, 33)
    assert sample[1].shape == (levels.BANDS, 80)
    # The prime's band lies between 250 Hz and 1 kHz, the sample's between 1 and 4 kHz.
    places = levels.frequency_places()
    for picture, low, high in ((prime[1], "250 Hz", "1 kHz"), (sample[1], "1 kHz", "4 kHz")):
        band = levels.BANDS - 1 - picture[:, 10].argmax()
        assert places[low] < band < places[high]
        assert picture[:, 10].max() >= embedding.SHADES - 2
    widths = [re.fullmatch(r"width: ([\d.]+)%", image["style"]).group(1) for image in read.all("img")]  # type: ignore[union-attr]
    assert widths == ["40.00", "100.00"], "one axis of time for both"


def test_levels_are_those_of_the_louder_of_the_two(tmp_path: Path) -> None:
    soft = tone(tmp_path / "soft.wav", 2000, 1.0, level=0.005)
    (prime, sample) = written(tmp_path, {"x": [one(tmp_path, sample=soft)]}).pictures().values()
    assert prime.max() == embedding.SHADES - 1
    assert sample.max() == round((1 - 40 / 70) * (embedding.SHADES - 1)), "40 dB below"


def test_captions_say_where_from_how_long_and_what_for(tmp_path: Path) -> None:
    heard = one(tmp_path, kept_prime_s=0.5, taken_for="sad", score=0.625)
    read = written(tmp_path, {"ddsp": [heard]})
    assert "Prime 0.5 s clip/17, from 12.5 s\n" in read.text
    assert "Sample 1.25 s the first 0.5 s are its prime; classified as sad (0.62), not happy\n" in read.text
    ends = [element["style"] for element in read.all("i") if element.get("class") == "end"]
    assert ends == ["left: 40.00%"]
    right = written(tmp_path, {"ddsp": [replace(heard, taken_for="happy", score=None, kept_prime_s=0.0)]})
    assert "Sample 1.25 s classified as happy\n" in right.text
    assert not [element for element in right.all("i") if element.get("class") == "end"]


def test_rows_are_classes_and_columns_generators(tmp_path: Path) -> None:
    columns = {
        "ddsp": [one(tmp_path, "sad"), one(tmp_path, "happy")],
        "jukebox": [one(tmp_path, "happy"), one(tmp_path, "happy")],
    }
    read = written(tmp_path, columns, classes=["happy", "angry", "sad"])
    assert [section["aria-label"] for section in read.all("section")] == ["happy", "angry", "sad"]
    assert [audio["aria-label"] for audio in read.all("audio")][::2] == [
        "happy, ddsp: prime",
        "happy, jukebox, sample 1: prime",
        "happy, jukebox, sample 2: prime",
        "sad, ddsp: prime",
    ]
    headings = [name for name, _ in read.elements if re.fullmatch(r"h\d", name)]
    assert headings == ["h1", *3 * ["h2", "h3", "h3"]]
    assert read.text.count("No sample of this class.") == 3
    unordered = written(tmp_path, columns)
    assert [section["aria-label"] for section in unordered.all("section")] == ["sad", "happy"]
    assert not read.all("nav")
    many = written(tmp_path, {"x": [one(tmp_path, f"c{k}") for k in range(5)]})
    assert [link["href"] for link in many.all("a")] == [f"#{section['id']}" for section in many.all("section")]


def test_the_page_stands_alone_and_says_which_data(tmp_path: Path) -> None:
    read = written(tmp_path, {"ddsp": [one(tmp_path)]})
    for name, attributes in read.elements:
        for key in ("src", "href", "srcset", "poster", "action"):
            assert attributes.get(key, "data:").startswith(("data:", "#")), (name, key)
    assert not re.search(r"@import|url\(|https?:", (tmp_path / "listen.html").read_text())
    (policy,) = [meta["content"] for meta in read.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:;")
    assert read.text.index(NOTE) < read.text.index("Prime")
    assert all("controls" in audio for audio in read.all("audio"))
    with pytest.raises(ValueError, match="the page 'A title' does not say on which data it rests"):
        page.document("A title", "", " ")


def test_names_are_text_wherever_they_stand(tmp_path: Path) -> None:
    heard = one(tmp_path, ODD, prime_clip=ODD, taken_for=ODD + "2")
    place = tmp_path / "listen.html"
    listening.write_page(place, ODD, {ODD: [heard], "x": [one(tmp_path, f"{ODD}{k}") for k in range(4)]}, ODD + NOTE)
    read = Read.file(place)
    assert not read.all("b")
    assert f"Prime 0.5 s {ODD}, from 12.5 s" in read.text
    assert f"classified as {ODD}2, not {ODD}\n" in read.text
    assert ODD + NOTE in read.text
    assert read.all("section")[0]["aria-label"] == ODD
    assert read.all("audio")[0]["aria-label"] == f"{ODD}, {ODD}: prime"
    assert read.all("img")[0]["alt"] == f"Spectrogram of {ODD}, {ODD}: prime, 0.5 s"
    assert {link["href"] for link in read.all("a")} == {f"#class-{k}" for k in range(5)}


def test_what_is_missing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    heard = [
        one(tmp_path, "a", prime=None),
        one(tmp_path, "b", prime=None, prime_clip=""),
        one(tmp_path, "c", sample=broken),
        one(tmp_path, "d", prime=tmp_path / "none.wav"),
    ]
    read = written(tmp_path, {"x": heard})
    assert list(read.players()) == ["a: sample", "b: sample", "c: prime", "d: sample"]
    assert len(read.pictures()) == 4
    assert "Prime clip/17, from 12.5 s; the recording could not be read" in read.text
    assert "No prime made without one" in read.text
    assert f"Sample cannot be played: {broken}: is no sound file" in read.text
    assert f"Prime cannot be played: {tmp_path / 'none.wav'}: cannot be read" in read.text
    assert len([line for line in caplog.messages if line.startswith("not to be heard on the page")]) == 2
    empty = written(tmp_path, {"x": []})
    assert "No samples were kept to listen to." in empty.text


def test_a_page_that_would_be_too_large_is_cut_and_says_so(tmp_path: Path) -> None:
    sound, rate = soundfile.read(noise(tmp_path / "n.wav", 20.0))
    sound[12 * rate :] = 0
    soundfile.write(tmp_path / "n.wav", sound, rate)
    heard = one(tmp_path, sample=tmp_path / "n.wav", kept_prime_s=1.0)
    whole = written(tmp_path, {"x": [heard]})
    assert "Sounds on this page are MP3, mono. The WAV files" in whole.text
    assert "cut" not in whole.text
    assert whole.pictures()["Spectrogram of happy: sample, 20 s"][:, -1].max() == 0
    smaller = written(tmp_path, {"x": [heard]}, most_mb=0.15)
    assert (tmp_path / "listen.html").stat().st_size < 150_000
    assert "MP3, mono, and at most 24 kHz, to keep this page small." in smaller.text
    assert len(smaller.players()["happy: sample"][0]) == 20 * 24000
    cut = written(tmp_path, {"x": [heard]}, most_mb=0.078)
    assert (tmp_path / "listen.html").stat().st_size < 78_000
    assert "Sounds are cut here to 8 s, counted from where a prime ends within a sample" in cut.text
    assert "larger than 0.078 MB" in cut.text
    assert "Sample 20 s, of which 9 s here the first 1 s are its prime" in cut.text
    assert len(cut.players()["happy: sample"][0]) == 9 * 16000
    assert cut.pictures()["Spectrogram of happy: sample, 9 s"][:, -1].max() > 5, "what is heard is what is shown"


def test_a_picture_lies_beside_each_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Any, ...]] = []
    real = Spectrograms.write
    monkeypatch.setattr(Spectrograms, "write", lambda own, *given: drawn.append(given) or real(own, *given))
    soft = tone(tmp_path / "b-sample.wav", 1000, 0.5, level=0.05)
    heard = [one(tmp_path, "$^$", kept_prime_s=0.5), one(tmp_path, sample=soft, prime=None)]
    pictures = listening.write_pictures(heard, NOTE)
    assert [path.name for path in pictures] == ["a-prime.png", "a-sample.png", "b-sample.png"]
    assert sorted(tmp_path.glob("*.png")) == pictures
    assert [given[2] for given in drawn] == ["$^$: prime", "$^$: sample", "happy: sample"]
    peaks = [given[0].max() for given in drawn]
    assert peaks == pytest.approx([0, -3, 0], abs=0.1), "one level for the pair, where a wider band lies lower"
    assert [given[3] for given in drawn] == pytest.approx([1.28, 1.28, 0.528])
    assert [given[4] for given in drawn] == [0, 0.5, 0]
    for path in pictures:
        picture = matplotlib.image.imread(path)
        assert picture.shape == (288, 720, 4)
        assert picture.std() > 0.02


def test_pictures_that_share_their_axes_are_those_of_one_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    several = Spectrograms(NOTE)
    for number, (seconds, prime_s) in enumerate([(2.0, 0.0), (2.0, 1.0), (3.0, 0.0), (2.0, 0.0)]):
        levels = -np.abs(rng.normal(30, 15, (60 + 10 * number, 96))).astype(np.float32)
        pictures = []
        for name, drawing in (("several", several), ("one", Spectrograms(NOTE))):
            path = tmp_path / f"{name}.png"
            drawing.write(levels, path, f"{number}: $sample", seconds, prime_s)
            pictures.append(matplotlib.image.imread(path))
        np.testing.assert_array_equal(*pictures)


def test_a_note_is_never_cut_by_the_edge_of_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = []
    real = Spectrograms.write

    def write(own: Spectrograms, *given: Any) -> None:
        real(own, *given)
        figure = own.canvas.figure
        places.append((figure._supxlabel.get_window_extent(), figure.bbox, own.axes.get_tightbbox()))

    monkeypatch.setattr(Spectrograms, "write", write)
    note = NOTE + " These figures say nothing about the real one. Scale: demo (reduced sizes for demonstration)."
    listening.write_pictures([one(tmp_path)], note)
    for text, edge, axes in places:
        assert text.x0 >= 0 and text.x1 <= edge.x1 and text.y0 >= 0
        assert text.y1 <= axes.y0, "nor runs into the axis"
    assert len(places) == 2


def test_a_browser_plays_it(tmp_path: Path) -> None:
    written(tmp_path, {"ddsp": [one(tmp_path)], "copy": [one(tmp_path)]})
    wrong: list[str] = []
    with browser.chromium() as chromium:
        shown = chromium.new_page(viewport={"width": 390, "height": 844})
        shown.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.goto((tmp_path / "listen.html").as_uri())
        shown.wait_for_function(
            "[...document.querySelectorAll('audio')].every(a => a.readyState >= 1)", timeout=300_000
        )
        seconds = shown.evaluate("[...document.querySelectorAll('audio')].map(a => a.duration)")
        widths = shown.evaluate("[...document.images].map(i => i.naturalWidth)")
        across = shown.evaluate("document.documentElement.scrollWidth")
    assert wrong == []
    assert seconds == pytest.approx([0.5, 1.25] * 2, abs=0.001)
    assert widths == [33, 80] * 2
    assert across == 390
