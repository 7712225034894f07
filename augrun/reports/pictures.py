"""Spectrograms of single sounds, one picture each, as pages to listen to show them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augrun.reports import levels as scale
from augrun.reports.figures import (
    COMPRESSION,
    DPI,
    STYLE,
    frequency_ticks,
    level_bar,
    levels_on,
    tell,
    written_whole,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist


class Spectrograms:
    """Draws spectrograms of single sounds, of which there may be hundreds.

    What they have in common (axes, scales, the note) is drawn once for all that are as long.

    Args:
        note: in each corner.
    """

    def __init__(self, note: str = "") -> None:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        with matplotlib.rc_context(STYLE):
            figure = Figure(figsize=(6.0, 2.4), dpi=DPI)
            self.canvas = FigureCanvasAgg(figure)
            self.axes = figure.add_axes((0.1, 0.29, 0.78, 0.6))
            self.image = levels_on(self.axes, np.zeros((1, scale.BANDS)), 1.0, "")
            self.title = self.axes.set_title("", fontsize=9, parse_math=False)
            frequency_ticks(self.axes)
            self.axes.set_xlabel("seconds")
            level_bar(figure, self.image, cax=figure.add_axes((0.895, 0.29, 0.012, 0.6)))
            tell(figure, note)
        self._drawn_s = 0.0
        self._background: Any = None

    def write(self, matrix: np.ndarray, path: Path, title: str, longest: float = 0.0, prime_end_s: float = 0.0) -> None:
        """One sound's.

        Args:
            matrix: the levels that `augrun.reports.levels` gives, less that of the loudest; shape (frames, bands), dB.
            path: where the PNG goes.
            title: above the picture.
            longest: how far the axis of time goes, in seconds; no less than the sound.
            prime_end_s: where a line says that the prime ends, in seconds; 0 draws none.
        """
        import matplotlib
        from PIL import Image

        seconds = len(matrix) * scale.FRAME_S
        with matplotlib.rc_context(STYLE):
            self._lay(max(longest, seconds))
            self.canvas.restore_region(self._background)
            self.image.set_data(matrix.T)
            self.image.set_extent((0.0, seconds, -0.5, scale.BANDS - 0.5))
            self.axes.set_xlim(0, self._drawn_s)
            self.title.set_text(title)
            prime = self._prime(prime_end_s)
            for artist in (self.image, *prime, self.title):
                self.axes.draw_artist(artist)
            for artist in prime:
                artist.remove()
        with written_whole(path) as beside:
            picture = Image.fromarray(np.asarray(self.canvas.buffer_rgba()))
            picture.save(beside, format="png", dpi=(DPI, DPI), compress_level=COMPRESSION)

    def _lay(self, longest: float) -> None:
        """Draws what is common to all that are as long."""
        if self._background is not None and longest == self._drawn_s:
            return
        self.axes.set_xlim(0, longest)
        for artist in (self.image, self.title):
            artist.set_animated(True)  # left out now, drawn for each
        self.canvas.draw()
        self._background, self._drawn_s = self.canvas.copy_from_bbox(self.canvas.figure.bbox), longest

    def _prime(self, end_s: float) -> list[Artist]:
        """The line where the prime ends, and its name."""
        if end_s <= 0:
            return []
        from matplotlib import patheffects

        edge = [patheffects.withStroke(linewidth=2.5, foreground="black")]  # else white is lost where it is loud
        line = self.axes.axvline(end_s, color="white", linewidth=1.2, path_effects=edge)
        place = (end_s, scale.BANDS - 3, " prime ends")
        return [line, self.axes.text(*place, color="white", fontsize=8, va="top", path_effects=edge)]
