"""Figures: that they come out whole, of a size a person can read, and draw what they were given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib.axes
import matplotlib.image
import numpy as np
import pytest
import soundfile

from augrun.core.files import TEMPORARY
from augrun.reports import figures

ROOT = Path(__file__).resolve().parents[2]


def pixels(path: Path) -> np.ndarray:
    """The picture, shape (height, width, 4), and nothing half-written beside it."""
    assert [entry.name for entry in path.parent.glob(TEMPORARY)] == []
    picture = matplotlib.image.imread(path)
    assert picture.std() > 0.02
    return picture


@pytest.mark.parametrize(("classes", "largest"), [(4, 900), (56, 2100)])
def test_confusion_is_by_true_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: int, largest: int
) -> None:
    drawn = []
    real = matplotlib.axes.Axes.imshow
    monkeypatch.setattr(matplotlib.axes.Axes, "imshow", lambda self, x, **kw: drawn.append(x) or real(self, x, **kw))
    counts = np.ones((classes, classes)) + 3 * np.eye(classes)
    counts[1] = 0
    figures.confusion(counts, [f"class {k}" for k in range(classes)], tmp_path / "c.png", note="stand-in data")
    (shares,) = drawn
    assert shares[0].sum() == pytest.approx(100)
    assert shares[0, 0] == pytest.approx(400 / (classes + 3))
    assert (shares[1] == 0).all()
    assert max(pixels(tmp_path / "c.png").shape) <= largest


@pytest.mark.parametrize("classes", [4, 25, 56])
def test_bars_show_mean_and_range_of_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: int) -> None:
    widths, lines = [], []
    bar, line = matplotlib.axes.Axes.barh, matplotlib.axes.Axes.hlines

    def barh(self: matplotlib.axes.Axes, at: np.ndarray, width: np.ndarray, *args: object, **options: object) -> object:
        widths.append(width)
        return bar(self, at, width, *args, **options)

    def hlines(self: matplotlib.axes.Axes, at: np.ndarray, *ends: np.ndarray, **options: object) -> object:
        lines.append(ends)
        return line(self, at, *ends, **options)

    monkeypatch.setattr(matplotlib.axes.Axes, "barh", barh)
    monkeypatch.setattr(matplotlib.axes.Axes, "hlines", hlines)
    base = np.linspace(0.1, 0.9, classes)
    augmented = np.stack([base, base + 0.05])
    augmented[:, 2] = np.nan
    augmented[0, 3] = np.nan
    names = [f"class {k}" for k in range(classes)]
    figures.per_class(
        {"none": base, "ddsp": augmented}, names, tmp_path / "b.png", "pr_auc", support=np.arange(classes)
    )
    panels = 1 if classes <= 24 else 2
    assert len(widths) == 2 * panels
    np.testing.assert_allclose(np.concatenate(widths[0::2]), base)
    expected = base + 0.025
    expected[2], expected[3] = 0, base[3] + 0.05
    np.testing.assert_allclose(np.concatenate(widths[1::2]), expected)
    low, high = (np.concatenate([ends[k] for ends in lines]) for k in (0, 1))
    assert len(low) == classes - 1
    assert high[0] - low[0] == pytest.approx(0.05)
    height, width, _ = pixels(tmp_path / "b.png").shape
    assert height <= 1600
    assert width <= 1300


def test_learning_curves_are_averaged_over_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, list[float]] = {}
    real = matplotlib.axes.Axes.plot

    def plot(self: matplotlib.axes.Axes, x: list[float], y: list[float], **options: object) -> object:
        if "label" in options:
            drawn[str(options["label"])] = [float(value) for value in y]
        return real(self, x, y, **options)

    monkeypatch.setattr(matplotlib.axes.Axes, "plot", plot)
    histories = {
        "a": [{"epoch": 1, "train/loss": 1.0, "validation/uar": 0.2}, {"epoch": 2, "train/loss": 0.5}],
        "b": [{"epoch": 1, "train/loss": 3.0, "validation/uar": float("nan")}],
    }
    figures.learning_curves(histories, tmp_path / "l.png")
    assert drawn == {"train": [2.0, 0.5], "uar": [0.2]}
    pixels(tmp_path / "l.png")
    figures.learning_curves({"a": []}, tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 0


def test_spectrograms_share_one_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    real = matplotlib.axes.Axes.imshow
    monkeypatch.setattr(matplotlib.axes.Axes, "imshow", lambda self, x, **kw: drawn.append(x) or real(self, x, **kw))
    at = np.arange(32000) / 16000
    tone = np.sin(2 * np.pi * 1000 * at)
    soundfile.write(tmp_path / "loud.wav", 0.5 * tone, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "soft.wav", 0.05 * tone[:16000], 16000, subtype="FLOAT")
    pair = ("happy", tmp_path / "loud.wav", tmp_path / "soft.wav")
    figures.spectrograms([pair, pair], tmp_path / "s.png", note="stand-in data")
    assert len(drawn) == 4
    assert drawn[0].max() == pytest.approx(0, abs=0.01)
    assert drawn[1].max() == pytest.approx(-20, abs=0.05)
    assert drawn[0].shape[1] > 1.9 * drawn[1].shape[1]
    pixels(tmp_path / "s.png")


def test_the_same_figure_twice_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        figures.confusion(np.eye(3), ["x", "y", "z"], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_figure_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        figures.confusion(np.eye(3), ["only", "two"], tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_importing_needs_no_matplotlib_and_drawing_no_display(tmp_path: Path) -> None:
    code = (
        "import sys; from augrun.reports import figures, tables, renderings\n"
        "assert not {'matplotlib', 'torch', 'rich'} & set(sys.modules)\n"
        "import numpy, pathlib\n"
        "figures.confusion(numpy.eye(2), ['a', 'b'], pathlib.Path(sys.argv[1]) / 'x.png')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT, env={"PATH": "/usr/bin:/bin"})
    assert (tmp_path / "x.png").is_file()


@pytest.mark.parametrize(("classes", "down"), [(4, 1), (56, 3)])
def test_confusions_share_a_scale_and_have_readable_ticks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: int, down: int
) -> None:
    """Three generators: four classes side by side, 56 one above the other, each name as high as its row."""
    drawn: list[tuple[matplotlib.axes.Axes, dict]] = []
    real = matplotlib.axes.Axes.imshow
    monkeypatch.setattr(
        matplotlib.axes.Axes, "imshow", lambda self, x, **kw: drawn.append((self, kw)) or real(self, x, **kw)
    )
    panels = {name: np.ones((classes, classes)) + k * np.eye(classes) for k, name in enumerate(("one", "two", "three"))}
    figures.confusions(panels, [f"class {k}" for k in range(classes)], tmp_path / "c.png", true="class it is for")
    assert len(drawn) == 3
    assert len({options["vmax"] for _, options in drawn}) == 1
    rows = {round(axes.get_position().y0, 2) for axes, _ in drawn}
    assert len(rows) == down
    height = pixels(tmp_path / "c.png").shape[0]
    for axes, _ in drawn:
        assert [label.get_text() for label in axes.get_xticklabels()] == [f"class {k}" for k in range(classes)]
        row = axes.get_position().height * height / classes  # pixels of one class
        assert axes.get_xticklabels()[0].get_fontsize() * figures.DPI / 72 <= 1.2 * row
