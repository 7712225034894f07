"""Templates escape what they show, and refuse to leave out what they were not given."""

from __future__ import annotations

import jinja2
import numpy as np
import pytest

from augrun.reports import charts
from augrun.reports.html_templates import render
from augrun.reports.page import document
from augrun.reports.report_parts import confusion

HOSTILE = "<script>alert(1)</script>&\"'"
SHOWN = "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&#34;&#39;"


def test_a_page_escapes_its_title_and_note() -> None:
    page = document(HOSTILE, "<p>body</p>", HOSTILE, style="a > b {}")
    assert "<script" not in page and "<p>body</p>" in page and "a > b {}" in page
    assert f"<title>{SHOWN}</title>" in page and f'role="note">{SHOWN}</p>' in page


def test_a_table_escapes_names_headings_and_cells() -> None:
    cell = {"mean": HOSTILE, "best": True, "spread": HOSTILE, "small": [HOSTILE]}
    rows = [{"name": HOSTILE, "cells": [cell]}]
    table = render("table.html.j2", name=HOSTILE, caption=True, headings=[HOSTILE], rows=rows)
    notes = render("notes.html.j2", lines=[HOSTILE])
    assert "<script" not in table + notes
    assert table.count(SHOWN) == 7 and notes.count(SHOWN) == 1


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'title' is undefined"):
        render("page.html.j2", note="", style="", script="", body="")


def test_charts_escape_names_and_titles() -> None:
    page = charts.effects([charts.Effect(HOSTILE[:20], 0.1, 0.0, 0.2, True)], HOSTILE)
    page += charts.lines({HOSTILE: ([1.0, 2.0], [0.5, 0.4])}, HOSTILE, {HOSTILE: 1}) + charts.key({HOSTILE: 1})
    assert "<script" not in page
    assert page.count(SHOWN) == 7


def test_confusions_escape_names_and_classes() -> None:
    page = confusion(HOSTILE, np.eye(2), [HOSTILE, "calm"]) + confusion(HOSTILE, np.eye(13), [*"abcdefghijklm"])
    assert "<script" not in page
    assert page.count(SHOWN) == 6
