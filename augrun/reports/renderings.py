"""A table as Markdown, LaTeX and plain text for the console."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from augrun.reports.tables import NOTHING, Row, Table, number, shown_p, signed

if TYPE_CHECKING:
    from rich.table import Table as RichTable


def markdown(table: Table) -> str:
    """GitHub's Markdown: means, differences and published values, then the intervals, then the footnotes."""
    lines = [f"## {table.name}", "", *(f"> **{note}**" for note in table.footnotes[:1]), ""]
    lines += _grid(
        ["", *headings(table, "md")], [[_cell_text(row.name), *_cells(table, row, "md")] for row in table.rows]
    )
    said = legend(table, "md")
    lines += ["", *([said, ""] if said else [])]
    if _has_intervals(table):
        rows = [[_cell_text(row.name), *(interval(row, column) for column in table.columns)] for row in table.rows]
        lines += ["Confidence intervals of the means:", "", *_grid(["", *table.columns], rows), ""]
    lines += [f"- {note}" for note in table.footnotes[1:]]
    return "\n".join(lines).rstrip() + "\n"


def _grid(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def _cell_text(text: str) -> str:
    """Text that stays one cell of a Markdown table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("*", "\\*").replace("<", "&lt;")


def headings(table: Table, form: str) -> list[str]:
    """Column headings; a metric with published values has a column of its own for them."""
    found = []
    for column in table.columns:
        shown = _tex(column) if form == "tex" else column
        found += [f"{shown} (published)", shown] if is_published(table, column) else [shown]
    return found


def _cells(table: Table, row: Row, form: str) -> list[str]:
    cells = []
    for column in table.columns:
        if is_published(table, column):
            value = row.published[column]
            cells.append("--" if form == "tex" and value is None else table.shown(value))
        cells.append(_cell(table, row, column, form))
    return cells


def _cell(table: Table, row: Row, column: str, form: str) -> str:
    """Mean ± std, the difference from the reference row in brackets, the p-value where there is one."""
    values = row.measured[column]
    if values["mean"] is None:
        return NOTHING if form != "tex" else "--"
    shown = table.shown(values["mean"])
    if table.stands_out(row, column):
        shown = rf"\textbf{{{shown}}}" if form == "tex" else f"**{shown}**"
    shown += _tex(spread(table, values["std"])) if form == "tex" else spread(table, values["std"])
    difference = signed(table.difference(row, column))
    if difference:
        shown += rf" {{\scriptsize(${difference.replace('−', '-')}$)}}" if form == "tex" else f" ({difference})"
    if values.get("p") is not None:
        p = shown_p(values["p"])
        p = p if p.startswith("<") else f"={p}"
        shown += rf" {{\scriptsize $p{p}$}}" if form == "tex" else f" p{p}".replace("<", "&lt;")
    return shown


def spread(table: Table, std: float | None) -> str:
    """± std; nothing in a table of single trials, and a dash for the single trial among several."""
    some = any(row.measured[column]["std"] is not None for row in table.rows for column in table.columns)
    return f" ± {number(std)}" if some else ""


def legend(table: Table, form: str) -> str:
    """What the marks mean."""
    parts = []
    differences, mark = {
        "text": ("Difference:", "*"),
        "html": ("Below each mean: its interval, and the difference", "Underlined"),
    }.get(form, ("In brackets: the difference", "Bold"))
    if any(table.reference_of(row) for row in table.rows):
        references = {other.name for row in table.rows if (other := table.reference_of(row))}
        which = references.pop() if len(references) == 1 else "the row without a generator on the same data"
        parts.append(f"{differences} from {which}.")
    if any(table.stands_out(row, column) for row in table.rows for column in table.columns):
        above = f"at least {100 * table.margin:g} % above" if table.margin else "above"
        parts.append(f"{mark}: {'the best of a metric' if table.highlight == 'best' else f'{above} the reference'}.")
    return " ".join(parts)


def _has_intervals(table: Table) -> bool:
    return any(row.measured[column]["ci_low"] is not None for row in table.rows for column in table.columns)


def interval(row: Row, column: str) -> str:
    low, high = row.measured[column]["ci_low"], row.measured[column]["ci_high"]
    return NOTHING if low is None or high is None else f"[{number(low)}, {number(high)}]"


def is_published(table: Table, column: str) -> bool:
    return any(row.published[column] is not None for row in table.rows)


_TEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "–": "--",
        "±": r"$\pm$",
        "−": "$-$",
    }
)


def _tex(text: str) -> str:
    """Text in which LaTeX sees no commands; code marks (`…`) become typewriter."""
    pieces = text.split("`")
    return "".join(
        rf"\texttt{{{piece.translate(_TEX)}}}" if place % 2 and len(pieces) % 2 else piece.translate(_TEX)
        for place, piece in enumerate(pieces)
    )


def latex(table: Table) -> str:
    """A `table` environment in the style of booktabs, footnotes beneath it."""
    columns = headings(table, "tex")
    lines = [
        "% needs \\usepackage{booktabs} and \\usepackage{graphicx}",
        f"% {table.footnotes[0] if table.footnotes else ''}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(table.name)}. {_tex(table.footnotes[0] if table.footnotes else '')}}}",
        r"\resizebox{\linewidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join(["", *columns]) + r" \\",
        r"\midrule",
    ]
    lines += [" & ".join([_tex(row.name), *_cells(table, row, "tex")]) + r" \\" for row in table.rows]
    lines += [r"\bottomrule", r"\end{tabular}}", "", r"\smallskip\raggedright\footnotesize"]
    lines += [_tex(note) + r"\par" for note in (legend(table, "tex"), *table.footnotes[1:]) if note]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def text(table: Table) -> str:
    """Plain text for the console."""
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, width=1000, color_system=None, highlight=False, markup=False, emoji=False)
    for line in (table.name, *table.footnotes[:1], ""):
        console.print(line)
    console.print(_by_row(table) if table.plain else _by_metric(table))
    said = legend(table, "text")
    for line in ("", *([said] if said else []), *table.footnotes[1:]):
        console.print(textwrap.fill(line, 96) if table.plain else line)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _by_row(table: Table) -> RichTable:
    """Bare figures: a line of published and one of measured values for each row."""
    grid = _bare_grid(["", "", *map(_in_two_lines, table.columns)], 2, padding=(0, 1, 0, 0))
    for row in table.rows:
        if grid.row_count:
            grid.add_row()
        name = row.name
        if any(is_published(table, column) for column in table.columns):
            grid.add_row(name, "published", *(table.shown(row.published[column]) for column in table.columns))
            name = ""
        grid.add_row(name, "measured", *(table.shown(row.measured[column]["mean"]) for column in table.columns))
    return grid


def _in_two_lines(heading: str) -> str:
    """A heading broken at the space nearest its middle, so that many columns fit a console."""
    spaces = [place for place, char in enumerate(heading) if char == " "]
    if len(heading) <= 10 or not spaces:
        return heading
    middle = min(spaces, key=lambda place: abs(place - len(heading) / 2))
    return f"{heading[:middle]}\n{heading[middle + 1 :]}"


def _bare_grid(headings: Sequence[str], left: int, padding: tuple[int, ...] = (0, 1)) -> RichTable:
    """A grid without lines; the first `left` columns are texts."""
    from rich import box
    from rich.table import Table as RichTable

    grid = RichTable(box=box.SIMPLE, pad_edge=False, padding=padding, show_edge=False)  # type: ignore[arg-type]
    for place, heading in enumerate(headings):
        grid.add_column(heading, justify="left" if place < left else "right", no_wrap=True)
    return grid


def _by_metric(table: Table) -> RichTable:
    """Metric by metric, so that it fits 80 characters with any number of metrics."""
    headings = ["mean ± std", "interval", "difference", "p", "published"]
    lines = {(row.name, column): _figures(table, row, column) for column in table.columns for row in table.rows}
    used = [place for place in range(len(headings)) if any(line[place] for line in lines.values())]
    grid = _bare_grid(["", *(headings[place] for place in used)], 1)
    for column in table.columns:
        grid.add_row(column)
        for row in table.rows:
            grid.add_row(f"  {row.name}", *(lines[row.name, column][place] for place in used))
        grid.add_section()
    return grid


def _figures(table: Table, row: Row, column: str) -> list[str]:
    """One metric of one row, cell by cell."""
    values = row.measured[column]
    mean = number(values["mean"]) + (spread(table, values["std"]) if values["mean"] is not None else "")
    marked = "* " + mean if table.stands_out(row, column) else mean
    p = shown_p(values["p"]) if values.get("p") is not None else ""
    published = table.shown(row.published[column]) if is_published(table, column) else ""
    within = interval(row, column) if values["ci_low"] is not None else ""
    return [marked, within, signed(table.difference(row, column)), p, published]
