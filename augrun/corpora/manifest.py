"""Reading of CSV and TSV tables with errors that name the file, the line and the column."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from augrun.core.errors import AugrunError


def read_table(path: Path) -> tuple[list[str], Iterator[tuple[str, dict[str, str]]]]:
    """Reads a table with a header; the delimiter is the header's (tab, comma or semicolon).

    Column names are compared in lower case and without blanks around them; so are returned.

    Returns:
        The columns, and for each row that is not blank its place (`file:line`) and its stripped cells by column.

    Raises:
        AugrunError: the file cannot be read, or has no header or a column twice; while iterating: a row does not parse.
    """
    try:
        # Byte order marks and the line ends of any system; `str.splitlines` would also break at U+2028 and the like.
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise AugrunError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        where = f"{error.reason} at byte {error.start:,}"
        raise AugrunError(f"{path}: is no UTF-8 text ({where}); save it as UTF-8") from None
    first = text.partition("\n")[0]
    delimiter = next((mark for mark in "\t,;" if mark in first), ",")
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    columns = [name.strip().lower() for name in next(reader, [])]
    if not any(columns):
        raise AugrunError(f"{path}: the first line is no header")
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise AugrunError(f"{path}:1: column {twice[0] or '(without a name)'} is there more than once")
    return columns, _rows(path, reader, columns)


def _rows(path: Path, reader: Iterator[list[str]], columns: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    while True:
        before = getattr(reader, "line_num", 0)
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise AugrunError(f"{path}:{before + 1}: does not parse ({error})") from None
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            raise AugrunError(f"{path}:{before + 1}: {len(cells)} cells where the header has {len(columns)} columns")
        yield f"{path}:{before + 1}", {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}


def number(row: dict[str, str], column: str, where: str) -> float | None:
    """A cell as a number that is not negative; None where the column or the cell is empty.

    Raises:
        AugrunError: it is something else.
    """
    text = row.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise AugrunError(f"{where}: {column} {text!r} is no number of seconds")
    return value
