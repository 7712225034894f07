"""Charts as SVG within a page: they take the page's colours, so that they are read by day and by night.

Sizes are in a chart's own units, of which CSS makes a width. Each chart has a sentence for those who do not see it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from augrun.reports.html_templates import render

#: For light and for dark pages; colours that the colour-blind tell apart (Okabe and Ito).
COLOURS = 7

STYLE = """
:root { --c0: #6b7683; --c1: #0072b2; --c2: #c24f00; --c3: #008a63; --c4: #b0528a; --c5: #a87400; --c6: #5b4db3; }
@media (prefers-color-scheme: dark) {
  :root { --c0: #98a3af; --c1: #4fb0ea; --c2: #ff8a3d; --c3: #2fc79a; --c4: #e39ac5; --c5: #e6b13a; --c6: #a599ff; }
}
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1rem 1.5rem; }
.chart { margin: 0; min-width: 0; }
.chart figcaption { font-weight: 600; margin-bottom: 0.25rem; }
.chart svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; }
.chart text { fill: var(--ink); }
.chart .axis { stroke: var(--line); }
.chart .zero { stroke: var(--faint); stroke-dasharray: 4 3; }
.chart .faint { fill: var(--faint); }
.key { list-style: none; padding: 0; margin: 0.5rem 0; display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; }
.key.lines i { width: 1.4rem; height: 0.25rem; align-self: center; }
"""

_WIDTH, _ROW, _TOP, _BOTTOM = 460, 26, 8, 34


@dataclass(frozen=True)
class Effect:
    """One row of `effects`.

    Attributes:
        name: the condition.
        difference: from its reference.
        low: the interval's lower end; None where there is none.
        high: its upper end.
        certain: whether p (corrected) is below the level.
    """

    name: str
    difference: float
    low: float | None
    high: float | None
    certain: bool


def effects(rows: Sequence[Effect], title: str) -> str:
    """Differences from the reference with their intervals, a row each, on one axis with the zero marked."""
    ends = [0.0, *(value for row in rows for value in (row.difference, row.low, row.high) if value is not None)]
    low, high = _padded(min(ends), max(ends))
    left = min(205, 16 + 7.2 * max(len(_short(row.name)) for row in rows))
    place = lambda value: left + (value - low) / (high - low) * (_WIDTH - left - 12)  # noqa: E731
    height = _TOP + _ROW * len(rows) + _BOTTOM
    base = _TOP + _ROW * len(rows)
    marks = [_mark("line", {"class": "zero", "x1": f"{place(0):.1f}", "x2": f"{place(0):.1f}", "y1": _TOP, "y2": base})]
    for value in ticks(low, high):
        marks.append(
            _mark(
                "line",
                {"class": "axis", "x1": f"{place(value):.1f}", "x2": f"{place(value):.1f}", "y1": base, "y2": base + 4},
            )
        )
        marks.append(
            _mark(
                "text",
                {"class": "faint", "x": f"{place(value):.1f}", "y": base + 18, "text-anchor": "middle"},
                _signed(value),
            )
        )
    for at, row in enumerate(rows):
        y = _TOP + _ROW * (at + 0.5)
        colour = "var(--c1)" if row.certain else "var(--c0)"
        marks.append(
            _mark("text", {"x": f"{left - 8:.1f}", "y": f"{y + 4:.1f}", "text-anchor": "end"}, _short(row.name))
        )
        if row.low is not None and row.high is not None:
            marks.append(
                _mark(
                    "line",
                    {
                        "x1": f"{place(row.low):.1f}",
                        "x2": f"{place(row.high):.1f}",
                        "y1": y,
                        "y2": y,
                        "stroke": colour,
                        "stroke-width": "2",
                    },
                )
            )
        fill = colour if row.certain else "var(--paper)"
        marks.append(
            _mark(
                "circle",
                {
                    "cx": f"{place(row.difference):.1f}",
                    "cy": y,
                    "r": "4.5",
                    "fill": fill,
                    "stroke": colour,
                    "stroke-width": "2",
                },
                title=_told(row),
            )
        )
    said = f"{title}: " + "; ".join(_told(row) for row in rows)
    return _figure(title, said, height, marks)


def _told(row: Effect) -> str:
    within = "" if row.low is None or row.high is None else f", from {_signed(row.low)} to {_signed(row.high)}"
    return f"{row.name} {_signed(row.difference)}{within}{', more than noise' if row.certain else ''}"


def lines(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str, colours: Mapping[str, int]) -> str:
    """Curves over epochs.

    Args:
        series: for each condition its epochs and values.
        title: what is shown.
        colours: for each condition the number of its colour, as in `key`.
    """
    xs = [x for epochs, _ in series.values() for x in epochs]
    ys = [y for _, values in series.values() for y in values]
    low, high = _padded(min(ys), max(ys))
    first, last = min(xs), max(max(xs), min(xs) + 1)
    left, right, top, bottom = 48, _WIDTH - 10, 8, 190
    across = lambda x: left + (x - first) / (last - first) * (right - left)  # noqa: E731
    down = lambda y: bottom - (y - low) / (high - low) * (bottom - top)  # noqa: E731
    marks = []
    for value in ticks(low, high):
        marks.append(
            _mark(
                "line",
                {"class": "axis", "x1": left, "x2": right, "y1": f"{down(value):.1f}", "y2": f"{down(value):.1f}"},
            )
        )
        marks.append(
            _mark(
                "text",
                {"class": "faint", "x": left - 6, "y": f"{down(value) + 4:.1f}", "text-anchor": "end"},
                f"{value:g}",
            )
        )
    for value in ticks(first, last):
        if value == int(value):
            marks.append(
                _mark(
                    "text",
                    {"class": "faint", "x": f"{across(value):.1f}", "y": bottom + 18, "text-anchor": "middle"},
                    f"{value:g}",
                )
            )
    marks.append(_mark("text", {"class": "faint", "x": right, "y": bottom + 32, "text-anchor": "end"}, "epoch"))
    for name, (epochs, values) in series.items():
        points = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in zip(epochs, values, strict=True))
        marks.append(
            _mark(
                "polyline",
                {"points": points, "fill": "none", "stroke": f"var(--c{colours[name] % COLOURS})", "stroke-width": "2"},
                title=name,
            )
        )
        if len(epochs) == 1:
            marks.append(
                _mark(
                    "circle",
                    {
                        "cx": f"{across(epochs[0]):.1f}",
                        "cy": f"{down(values[0]):.1f}",
                        "r": "3",
                        "fill": f"var(--c{colours[name] % COLOURS})",
                    },
                )
            )
    ends = "; ".join(f"{name} ends at {values[-1]:.3g}" for name, (_, values) in series.items())
    said = f"{title} over epochs: {ends}"
    return _figure(title, said, bottom + 38, marks)


def key(colours: Mapping[str, int]) -> str:
    """Which colour is which condition's."""
    entries = [{"name": name, "colour": number % COLOURS} for name, number in colours.items()]
    return render("chart_key.html.j2", entries=entries)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values within a range."""
    raw = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * k, 12) + 0.0 for k in range(first, last + 1)]


def _padded(low: float, high: float) -> tuple[float, float]:
    """The range with some room, and never empty."""
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - room, high + room


def _signed(value: float) -> str:
    return "0" if value == 0 else f"{value:+.3g}".replace("-", "−")


def _short(name: str, most: int = 26) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _mark(tag: str, attributes: Mapping[str, object], text: str = "", title: str = "") -> dict[str, Any]:
    """Return an SVG element; browsers show its title where the pointer rests."""
    return {"tag": tag, "attributes": attributes, "text": text, "title": title}


def _figure(title: str, label: str, height: int, marks: Sequence[Mapping[str, Any]]) -> str:
    return render("chart.html.j2", title=title, label=label, width=_WIDTH, height=height, marks=marks)
