"""Figures of conditions, as PNG: confusion, classes, learning curves, primes beside samples.

Drawn on matplotlib's figure objects, never through pyplot, so that nothing global is touched and no display is needed.
Every figure takes a `note`, such as "stand-in data, demo scale", that is printed in its corner.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from augrun.core.files import atomic_path
from augrun.reports import levels as scale

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

DPI = 120
COMPRESSION = 2  # of PNG files: in two fifths of the time that the usual 6 takes, an eighth larger
INK, FAINT = "#22272e", "#8a929c"
#: The reference first, then whatever is compared with it; colours that the colour-blind tell apart (Okabe and Ito).
COLOURS = ("#8a929c", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


@contextmanager
def canvas(
    path: Path, size: tuple[float, float], note: str, layout: Literal["constrained"] | None = "constrained"
) -> Iterator[Figure]:
    """A figure of `size` inches that is written to `path`, whole or not at all."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, dpi=DPI, layout=layout)
        drawn = FigureCanvasAgg(figure)
        yield figure
        tell(figure, note)
        with written_whole(path) as beside:  # `savefig` would draw all of it twice
            drawn.print_png(beside, metadata={"Software": None}, pil_kwargs={"compress_level": COMPRESSION})


def tell(figure: Figure, note: str) -> None:
    """Prints a note in the corner."""
    if note:
        # At this size 18 letters an inch; a cut note would mislead.
        note = textwrap.fill(note, int(17 * figure.get_figwidth()))
        figure.supxlabel(note, x=0.995, ha="right", fontsize=7, color=FAINT)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A file to write that takes the place of `path` when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as fresh:
        yield fresh


def confusion(
    counts: np.ndarray,
    names: Sequence[str],
    path: Path,
    title: str = "Confusion",
    note: str = "",
    true: str = "true class",
) -> None:
    """A confusion matrix: each true class's clips, in per cent of that class, by the class they were taken for.

    Args:
        counts: shape (classes, classes), true class by row.
        names: class names.
        path: where the PNG goes.
        title: above the matrix.
        note: in the corner.
        true: what the rows are.
    """
    confusions({title: counts}, names, path, note, true)


def confusions(
    panels: Mapping[str, np.ndarray], names: Sequence[str], path: Path, note: str = "", true: str = "true class"
) -> None:
    """Confusion matrices of the same classes on one scale: side by side, many classes one above the other.

    Args:
        panels: title to counts, shape (classes, classes), true class by row.
        names: class names.
        path: where the PNG goes.
        note: in the corner.
        true: what the rows are.
    """
    classes = len(names)
    shares = [_shares(counts) for counts in panels.values()]
    # Many classes have small shares.
    brightest = 100 if classes <= 8 else max(20, 10 * math.ceil(10 * max(share.max() for share in shares)))
    side = min(3.2 + 0.62 * classes, 4.5 + 0.2 * classes)
    down = len(panels) if classes > 12 else 1
    across = len(panels) // down
    with canvas(path, (side * across + 0.9, side * down), note) as figure:
        grid = np.atleast_1d(figure.subplots(down, across)).ravel()
        for place, (axes, share, (title, counts)) in enumerate(zip(grid, shares, panels.items(), strict=True)):
            image = _matrix(axes, share, counts.sum(axis=1), names, brightest)
            axes.set(xlabel="taken for", ylabel=f"{true} (clips)" if place % across == 0 else "", title=title)
        bar = figure.colorbar(image, ax=list(grid), shrink=0.6 / down, aspect=30, pad=0.02)
        bar.set_label(f"% of the {true}")
        bar.outline.set_visible(False)


def _shares(counts: np.ndarray) -> np.ndarray:
    """Each row over its sum; zeros where that is none."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)


def _matrix(axes: Axes, shares: np.ndarray, totals: np.ndarray, names: Sequence[str], brightest: float) -> Any:
    """One matrix of shares, with its names and, where they are few, its figures in per cent."""
    classes = len(names)
    image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=brightest)
    size = 9 if classes <= 20 else 6.5
    axes.set_xticks(range(classes), names, rotation=90 if classes > 12 else 35, fontsize=size)
    if classes <= 12:
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    axes.set_yticks(
        range(classes), [f"{name} ({int(n)})" for name, n in zip(names, totals, strict=True)], fontsize=size
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if classes <= 16:
        for row, column in np.ndindex(classes, classes):
            shade = "white" if 100 * shares[row, column] > 0.6 * brightest else INK
            text = f"{100 * shares[row, column]:.0f}" if totals[row] else "–"
            told = axes.text(
                column, row, text, ha="center", va="center", color=shade, fontsize=9 if classes <= 8 else 7
            )
            told.set_in_layout(False)  # within its cell; hundreds of them would be measured several times
    return image


def per_class(
    values: Mapping[str, np.ndarray],
    names: Sequence[str],
    path: Path,
    metric: str,
    support: np.ndarray | None = None,
    note: str = "",
    most: float = 1.0,
) -> None:
    """One bar a class and condition.

    Args:
        values: for each condition, the reference first, shape (classes,) or (trials, classes): with several trials the
            bar is their mean and a line spans them. NaN where a class is undefined.
        names: class names.
        path: where the PNG goes.
        metric: what is shown, e.g. `pr_auc`.
        support: test clips of each class, shape (classes,), put behind the names.
        note: in the corner.
        most: where the axis ends at the latest; infinity for what has no largest value.
    """
    classes, conditions = len(names), list(values)
    stacked = {label: np.atleast_2d(np.asarray(array, dtype=float)) for label, array in values.items()}
    shown = [f"{name} ({int(support[k])})" if support is not None else name for k, name in enumerate(names)]
    columns = 1 if classes <= 24 else 2
    rows = math.ceil(classes / columns)
    thickness = 0.8 / len(conditions)
    size = (6.5 if columns == 1 else 10.0, 1.3 + rows * (0.14 + 0.13 * len(conditions)))
    top = max((np.nanmax(array) for array in stacked.values() if np.isfinite(array).any()), default=1.0)
    with canvas(path, size, note) as figure:
        panels = np.atleast_1d(figure.subplots(1, columns, sharex=True))
        for panel, axes in enumerate(panels):
            part = np.arange(panel * rows, min(classes, (panel + 1) * rows))
            for place, label in enumerate(conditions):
                at = np.arange(len(part)) + (place - (len(conditions) - 1) / 2) * thickness
                _bars(axes, at, stacked[label][:, part], 0.92 * thickness, COLOURS[place % len(COLOURS)], label)
            axes.set_yticks(range(len(part)), [shown[k] for k in part])
            axes.set_ylim(rows - 0.4, -0.6)
            axes.set_xlim(0, min(most, top * 1.08) if top > 0 else 1.0)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x", color="#e3e6ea", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.spines["left"].set_visible(False)
            axes.set_xlabel(metric)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=min(4, len(labels)))


def durations(
    hours: Mapping[str, np.ndarray], names: Sequence[str], path: Path, title: str = "", note: str = ""
) -> None:
    """Hours of each class as one bar, its parts stacked, and their sum behind it.

    Args:
        hours: for each part, shape (classes,), in hours; NaN where unknown.
        names: class names. More than eight are ordered by their sum, the largest first.
        path: where the PNG goes.
        title: above the bars.
        note: in the corner.
    """
    stacked = np.nan_to_num(np.array([hours[part] for part in hours], dtype=float))  # (parts, classes)
    total = stacked.sum(axis=0)
    order = np.arange(len(names)) if len(names) <= 8 else np.argsort(-total, kind="stable")
    columns = 1 if len(names) <= 24 else 2
    rows = math.ceil(len(names) / columns)
    digits = 1 if total.max() >= 10 else 2
    size = (6.5 if columns == 1 else 10.0, 1.5 + rows * (0.34 if len(names) <= 8 else 0.21))
    with canvas(path, size, note) as figure:
        panels = np.atleast_1d(figure.subplots(1, columns, sharex=True))
        for panel, axes in enumerate(panels):
            part_of = order[panel * rows : (panel + 1) * rows]
            at, start = np.arange(len(part_of)), np.zeros(len(part_of))
            for place, (part, row) in enumerate(zip(hours, stacked, strict=True)):
                colour = COLOURS[1 + place % (len(COLOURS) - 1)]
                axes.barh(at, row[part_of], 0.72, left=start, color=colour, label=part)
                start = start + row[part_of]
            for y, end in zip(at, start, strict=True):
                axes.text(end + 0.012 * total.max(), y, f"{end:,.{digits}f}", va="center", fontsize=8, color=INK)
            axes.set_yticks(at, [names[k] for k in part_of])
            axes.set_ylim(rows - 0.4, -0.6)
            axes.set_xlim(0, 1.12 * total.max() if total.max() > 0 else 1.0)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x", color="#e3e6ea", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.spines["left"].set_visible(False)
            axes.set_xlabel("hours")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        if len(hours) > 1:
            handles, labels = panels[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))


def _bars(axes: Axes, at: np.ndarray, trials: np.ndarray, height: float, colour: str, label: str) -> None:
    """Horizontal bars of the mean over trials, and a line over their range; shape of `trials` (trials, bars)."""
    defined = np.isfinite(trials)
    mean = np.where(defined, trials, 0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
    axes.barh(at, mean, height, color=colour, label=label)
    if len(trials) > 1:
        low, high = np.where(defined, trials, np.inf).min(axis=0), np.where(defined, trials, -np.inf).max(axis=0)
        known = np.isfinite(low)
        axes.hlines(at[known], low[known], high[known], color=INK, linewidth=0.9)


def learning_curves(histories: Mapping[str, Sequence[Mapping[str, Any]]], path: Path, note: str = "") -> None:
    """Losses on the left, validation metrics on the right; one line a fold and trial, and their mean drawn strong.

    Args:
        histories: for each fold and trial, the content of its `history.json`.
        path: where the PNG goes.
        note: in the corner.
    """
    from matplotlib.ticker import MaxNLocator

    keys = list(dict.fromkeys(key for history in histories.values() for entry in history for key in entry))
    losses = [key for key in keys if key.endswith("loss")]
    metrics = [key for key in keys if key.startswith("validation/") and key not in losses][:4]
    panels = [(name, group) for name, group in (("Loss", losses), ("Validation", metrics)) if group]
    with canvas(path, (4.6 * max(1, len(panels)), 3.2), note) as figure:
        for axes, (name, group) in zip(np.atleast_1d(figure.subplots(1, max(1, len(panels)))), panels, strict=False):
            for place, key in enumerate(group):
                _curves(axes, list(histories.values()), key, COLOURS[(place + 1) % len(COLOURS)], name)
            axes.set(title=name, xlabel="epoch")
            axes.grid(color="#e3e6ea", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.legend(fontsize=8)


def _curves(axes: Axes, histories: Sequence[Sequence[Mapping[str, Any]]], key: str, colour: str, group: str) -> None:
    """Every history's curve of `key`, faint, and the mean of those that have it at an epoch."""
    points: dict[float, list[float]] = {}
    for history in histories:
        curve = [(entry["epoch"], entry[key]) for entry in history if key in entry and math.isfinite(entry[key])]
        for epoch, value in curve:
            points.setdefault(epoch, []).append(value)
        if len(histories) > 1 and curve:
            axes.plot(*zip(*curve, strict=True), color=colour, linewidth=0.7, alpha=0.35)
    epochs = sorted(points)
    label = key.removeprefix("validation/") if group == "Validation" else key.removesuffix("/loss")
    mark = "o" if len(epochs) == 1 else None
    axes.plot(epochs, [np.mean(points[e]) for e in epochs], color=colour, linewidth=1.8, label=label, marker=mark)


def spectrograms(pairs: Sequence[tuple[str, Path, Path]], path: Path, note: str = "") -> None:
    """Primes and the samples made from them, side by side on one scale of frequency and level.

    Args:
        pairs: class name, sound file of the prime, sound file of the sample.
        path: where the PNG goes.
        note: in the corner.
    """
    with canvas(path, (8.5, 0.7 + 1.75 * len(pairs)), note) as figure:
        grid = np.atleast_2d(figure.subplots(len(pairs), 2, sharey=True))
        image = None
        for axes, (name, *files) in zip(grid, pairs, strict=True):
            matrices = [scale.levels(file) for file in files]
            peak = max(float(matrix.max()) for matrix in matrices)
            longest = max(len(matrix) for matrix in matrices) * scale.FRAME_S
            for one, matrix, what in zip(axes, matrices, ("prime", "sample"), strict=True):
                image = levels_on(one, matrix - peak, longest, f"{name}: {what}")
            frequency_ticks(axes[0])
        for one in grid[-1]:
            one.set_xlabel("seconds")
        if image is not None:
            level_bar(figure, image, ax=grid, shrink=min(1.0, 2 / len(pairs)), aspect=25, pad=0.01)


def levels_on(axes: Axes, matrix: np.ndarray, longest: float, title: str) -> AxesImage:
    """Draws levels, shape (frames, bands) in dB below the loudest, on an axis of `longest` seconds."""
    extent = (0.0, len(matrix) * scale.FRAME_S, -0.5, scale.BANDS - 0.5)
    image = axes.imshow(
        matrix.T, origin="lower", aspect="auto", extent=extent, cmap=scale.COLOURS, vmin=scale.LOWEST_DB, vmax=0
    )
    axes.set_xlim(0, longest)
    axes.set_facecolor("#f3f4f6")  # beyond the end there is no silence, but nothing
    axes.set_title(title, fontsize=9, parse_math=False)  # a class may have a $ in its name
    axes.spines[:].set_visible(False)
    return image


def level_bar(figure: Figure, image: AxesImage, **place: Any) -> None:
    """The scale of levels beside an image of them."""
    bar = figure.colorbar(image, **place)
    bar.set_label("dB below the loudest")
    bar.outline.set_visible(False)


def frequency_ticks(axes: Axes) -> None:
    """Marks frequencies on an axis of bands."""
    places = scale.frequency_places()
    axes.set_yticks(list(places.values()), list(places))
