"""Comparison tables: the figures in every rendering, and what a reader must be told."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from augrun.reports import html_table, renderings
from augrun.reports.table_files import write_table
from augrun.reports.tables import MULTILABEL, SINGLE_LABEL, Row, Table


def result(
    generator: str, means: dict[str, float | None], trials: int = 2, folds: int = 1, **condition: str
) -> dict[str, Any]:
    """A condition's results.json."""
    several = trials > 1
    names = {"dataset": "d", "generator": generator, "policy": "p", "classifier": "c", "protocol": "o"}
    return {
        "condition": names | {"representation": "l", "scale": "demo", "data": "standin"} | condition,
        "multilabel": "uar" not in means,
        "trials": [{"fold": f, "trial": t, "metrics": {}} for t in range(trials) for f in range(folds)],
        "summary": {
            name: {
                "mean": mean,
                "std": 0.012 if several else None,
                "n": trials,
                "ci_low": mean - 0.1 if several and mean is not None else None,
                "ci_high": mean + 0.1 if several and mean is not None else None,
                "std_over_folds": None,
            }
            for name, mean in means.items()
        },
    }


def three(**changes: Any) -> Table:
    rows = [
        ("none", result("none", {"uar": 0.5, "war": 0.6})),
        ("copy", result("copy", {"uar": 0.48, "war": 0.7})),
        ("ddsp", result("ddsp", {"uar": 0.5234, "war": None})),
    ]
    return Table.of("sweep", rows, **changes)


def read_csv(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv())))


def test_the_columns_suit_the_classes() -> None:
    many = dict.fromkeys((*MULTILABEL, "f1_oracle_macro", "uar_of_something"), 0.5)
    assert Table.of("t", [("a", result("none", many))]).columns == MULTILABEL
    assert MULTILABEL[:4] == ("f1_argmax_macro", "f1_val_macro", "pr_auc_macro", "roc_auc_macro")
    single = dict.fromkeys((*SINGLE_LABEL, "f1_argmax_macro"), 0.5)
    assert Table.of("t", [("a", result("none", single))]).columns == SINGLE_LABEL
    assert Table.of("t", [("a", result("none", single))], columns=["war"]).columns == ("war",)


def test_differences_are_counted_from_the_row_without_a_generator() -> None:
    table = three()
    assert table.reference == "none"
    none, copy, ddsp = table.rows
    assert table.difference(copy, "uar") == pytest.approx(-0.02)
    assert table.difference(ddsp, "uar") == pytest.approx(0.0234)
    assert table.difference(none, "uar") is None
    assert table.difference(ddsp, "war") is None


def test_differences_stay_within_one_corpus() -> None:
    rows = [
        (f"{generator} {dataset}", result(generator, {"uar": mean}, dataset=dataset))
        for dataset, generator, mean in (("a", "none", 0.2), ("a", "x", 0.3), ("b", "none", 0.7), ("b", "x", 0.6))
    ] + [("x c", result("x", {"uar": 0.9}, dataset="c"))]
    table = Table.of("sweep", rows)
    found = [table.difference(row, "uar") for row in table.rows]
    assert found == [None, pytest.approx(0.1), None, pytest.approx(-0.1), None]
    assert "the row without a generator on the same data" in renderings.text(table)


def test_each_row_is_compared_with_its_own_baseline() -> None:
    """Four rows that differ in a setting their names do not tell, such as the epochs of training."""
    rows = []
    for epochs, plain, made in ((4, 0.10, 0.12), (8, 0.30, 0.25)):
        own = {"baseline": f"none{epochs}"}
        rows.append((f"none{epochs}", result("none", {"pr_auc_macro": plain}) | own | {"fingerprint": f"none{epochs}"}))
        rows.append((f"ddsp{epochs}", result("ddsp", {"pr_auc_macro": made}) | own | {"fingerprint": f"ddsp{epochs}"}))
    table = Table.of("epochs", rows, columns=["pr_auc_macro"])
    differences = {row.name: table.difference(row, "pr_auc_macro") for row in table.rows}
    assert differences["none4"] is None and differences["none8"] is None
    assert differences["ddsp4"] == pytest.approx(0.02)
    assert differences["ddsp8"] == pytest.approx(-0.05)
    alone = Table.of("epochs", rows[1:2], columns=["pr_auc_macro"])
    assert alone.difference(alone.rows[0], "pr_auc_macro") is None


def test_a_reference_that_is_named_serves_its_own_data() -> None:
    rows = [("x", result("x", {"uar": 0.3})), ("y", result("y", {"uar": 0.4})), ("z", result("z", {"uar": 0.4}))]
    rows[2][1]["condition"]["dataset"] = "another"
    table = Table.of("t", rows, reference="x")
    assert [table.difference(row, "uar") for row in table.rows] == [None, pytest.approx(0.1), None]
    assert Table.of("t", rows).reference is None


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("best", {("ddsp", "uar"), ("copy", "war")}),
        ("above_reference", {("ddsp", "uar"), ("copy", "war")}),
        ("none", set()),
    ],
)
def test_what_stands_out(rule: Any, expected: set[tuple[str, str]]) -> None:
    table = three(highlight=rule)
    assert {(r.name, c) for r in table.rows for c in table.columns if table.stands_out(r, c)} == expected


def test_highlight_rules_differ_where_they_should() -> None:
    rows = [("none", result("none", {"uar": 0.9})), ("x", result("x", {"uar": 0.5})), ("y", result("y", {"uar": 0.95}))]
    more = [*rows, ("z", result("z", {"uar": 0.93}))]
    above = Table.of("t", more, highlight="above_reference")
    assert [above.stands_out(row, "uar") for row in above.rows] == [False, False, True, True]
    best = Table.of("t", more)
    assert [best.stands_out(row, "uar") for row in best.rows] == [False, False, True, False]
    alone = Table.of("t", rows[:1])
    assert not alone.stands_out(alone.rows[0], "uar")


def test_what_is_the_same_but_for_its_last_bits_stands_out_alike() -> None:
    third = 0.1 + 0.2
    assert third > 0.3
    rows = [(name, result(name, {"uar": mean})) for name, mean in (("none", 0.3), ("x", third), ("y", 0.3 - 1e-6))]
    best = Table.of("t", rows)
    assert [best.stands_out(row, "uar") for row in best.rows] == [True, True, False]
    above = Table.of("t", rows, highlight="above_reference")
    assert not any(above.stands_out(row, "uar") for row in above.rows)


def test_markdown() -> None:
    text = renderings.markdown(three())
    assert "| none | 0.500 ± 0.012 | 0.600 ± 0.012 |" in text
    assert "| copy | 0.480 ± 0.012 (−0.020) | **0.700** ± 0.012 (+0.100) |" in text
    assert "| ddsp | **0.523** ± 0.012 (+0.023) | – |" in text
    assert "| copy | [0.380, 0.580] | [0.600, 0.800] |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {4}


def test_names_cannot_break_markdown() -> None:
    table = Table.of("t", [("a|b\nc*d<br>", result("none", {"uar": 0.5}))])
    assert r"| a\|b c\*d&lt;br> | 0.500 ± 0.012 |" in renderings.markdown(table)


def test_latex_escapes_everything_and_balances() -> None:
    rows = [
        (r"50% of a_b & {c} #1 ~ ^ \d $x$", result("none", {"f1_val_macro": 0.25})),
        ("ddsp", result("ddsp", {"f1_val_macro": 0.2})),
    ]
    text = renderings.latex(Table.of("godwin_3a", rows))
    assert (
        r"50\% of a\_b \& \{c\} \#1 \textasciitilde{} \textasciicircum{} \textbackslash{}d \$x\$ & \textbf{0.250}"
        in text
    )
    assert r" & f1\_val\_macro \\" in text
    assert r"ddsp & 0.200 $\pm$ 0.012 {\scriptsize($-0.050$)} \\" in text
    body = re.sub(r"\\[\\%&_#${}]", "", "\n".join(line for line in text.splitlines() if not line.startswith("%")))
    assert body.count("{") == body.count("}")
    assert body.count("$") % 2 == 0
    assert not re.search(r"[#~^–−±]", body)
    inside = text[text.index(r"\begin{tabular}") : text.index(r"\end{tabular}")]
    assert "_" not in inside.replace(r"\_", "")
    assert text.isascii()


def test_csv_holds_unrounded_figures() -> None:
    lines = read_csv(three())
    assert [line["row"] for line in lines] == ["none", "copy", "ddsp"]
    assert lines[2]["uar mean"] == "0.5234"
    assert float(lines[1]["uar difference"]) == pytest.approx(-0.02)
    assert (lines[2]["war mean"], lines[0]["uar difference"], lines[0]["uar published"]) == ("", "", "")
    assert {line["data"] for line in lines} == {"standin"}
    assert lines[0]["uar n"] == "2"


def with_p(table: Table) -> Table:
    """The table with a p of the difference of `ddsp`."""
    rows = {row.name: row for row in table.rows}
    of = rows["ddsp"].measured
    rows["ddsp"] = replace(rows["ddsp"], measured={**of, "uar": {**of["uar"], "p": 0.04}})
    return replace(table, rows=tuple(rows.values()))


def test_json_is_as_the_design_has_it() -> None:
    published = {"copy": {"uar": 0.55}}
    table = with_p(three(published=published, footnotes=["Published: another split."]))
    data = json.loads(json.dumps(table.json()))
    assert set(data) == {"name", "reference", "data", "scale", "rows", "footnotes"}
    assert (data["name"], data["reference"], data["data"], data["scale"]) == ("sweep", "none", "standin", "demo")
    assert [set(row) for row in data["rows"]] == [{"row", "condition", "published", "measured"}] * 3
    assert data["rows"][1]["published"] == {"uar": 0.55, "war": None}
    expected = {"mean": 0.5234, "std": 0.012, "n": 2, "ci_low": pytest.approx(0.4234), "ci_high": pytest.approx(0.6234)}
    assert data["rows"][2]["measured"]["uar"] == expected | {"p": 0.04}
    assert data["rows"][0]["measured"]["uar"]["p"] is None


def test_console_text_fits_and_says_all() -> None:
    table = with_p(three(published={"copy": {"uar": 0.55}}, footnotes=["Another split."]))
    text = renderings.text(table)
    lines = [line.split() for line in text.splitlines()]
    assert ["ddsp", "*", "0.523", "±", "0.012", "[0.423,", "0.623]", "+0.023", "0.040", "–"] in lines
    assert ["copy", "0.480", "±", "0.012", "[0.380,", "0.580]", "−0.020", "0.550"] in lines
    assert ["ddsp", "–"] in lines
    assert max(map(len, text.splitlines())) <= 96
    assert "\x1b" not in text
    assert "published" not in renderings.text(three())


def test_a_single_trial_has_no_spread_rather_than_none_of_it() -> None:
    rows = [
        ("none", result("none", {"uar": 0.5}, trials=1, folds=5)),
        ("x", result("x", {"uar": 0.6}, trials=1, folds=5)),
    ]
    for form in (renderings.markdown, renderings.latex, renderings.text):
        text = form(Table.of("t", rows))
        assert "0.600" in text
        assert "± 0" not in text
        assert r"\pm$ 0" not in text
        assert (
            "1 trial, hence no spread over trials and no interval; a trial's figure is the mean over 5 folds." in text
        )
    rows[1] = ("x", result("x", {"uar": 0.6}, trials=3, folds=5))
    assert "0.500 ± –" in renderings.text(Table.of("t", rows))
    assert "Mean ± standard deviation over 1 or 3 trials" in renderings.text(Table.of("t", rows))


def test_trials_that_are_all_one_are_told() -> None:
    alike = result("x", {"uar": 0.6}, trials=3, folds=2)
    for entry in alike["trials"]:
        entry["metrics"] = {"uar": 0.1 if entry["fold"] == alike["trials"][0]["fold"] else 0.2}
    other = result("none", {"uar": 0.5}, trials=3, folds=2)
    for number, entry in enumerate(other["trials"]):
        entry["metrics"] = {"uar": 0.1 * number}
    notes = Table.of("t", [("none", other), ("x", alike)]).footnotes
    assert "Nothing is drawn in x: all trials are one, and its ± 0 says nothing." in notes


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("standin", "STAND-IN, not the real corpus"),
        ("other", "a corpus that is not the published one"),
        ("published", "the corpus as published"),
    ],
)
def test_every_rendering_says_which_data(tmp_path: Path, data: str, words: str) -> None:
    write_table(Table.of("t", [("none", result("none", {"uar": 0.5}, data=data))]), tmp_path, "table")
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".html", ".json", ".md", ".tex", ".txt"]
    for suffix in ("md", "tex", "txt", "json"):
        text = (tmp_path / f"table.{suffix}").read_text(encoding="utf-8")
        assert words in text.replace("\n", " "), suffix
    assert read_csv_file(tmp_path / "table.csv")[0]["data"] == data
    assert json.loads((tmp_path / "table.json").read_text())["data"] == data


def read_csv_file(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8")))


def test_mixed_data_are_called_mixed() -> None:
    rows = [("none", result("none", {"uar": 0.5})), ("x", result("x", {"uar": 0.6}, data="other"))]
    table = Table.of("t", rows)
    assert table.data == "mixed"
    assert "Some rows were measured on a rendered STAND-IN" in renderings.markdown(table)
    assert table.difference(table.rows[1], "uar") is None


def test_mistakes_are_refused() -> None:
    row = ("a", result("none", {"uar": 0.5}))
    with pytest.raises(ValueError, match="names of their own"):
        Table.of("t", [row, row])
    with pytest.raises(ValueError, match="rows must be there"):
        Table.of("t", [])
    with pytest.raises(ValueError, match="no row is called 'b', only"):
        Table.of("t", [row], reference="b")
    with pytest.raises(ValueError, match="a footnote that says how the data differ"):
        Table.of("t", [row], published={"a": {"uar": 0.5}})


@pytest.mark.parametrize("highlight", ["best", "above_reference", "none"])
def test_a_table_of_words_has_no_reference_and_no_highlight(highlight: Any, tmp_path: Path) -> None:
    """Neither by the name of a row, nor by its fingerprint, nor among rows without a generator."""
    words = dict.fromkeys(("std", "n", "ci_low", "ci_high", "p")) | {"mean": "+0.100"}
    thin, ddsp = result("none", {})["condition"] | {"policy": "undersample"}, result("ddsp", {})["condition"]
    rows = tuple(
        Row(name, about, {"difference": words}, {"difference": None}, name, baseline)
        for name, about, baseline in (
            ("plain", thin, ""),
            ("thin", thin, ""),
            ("ddsp", ddsp, ""),
            ("last", ddsp, "ddsp"),
        )
    )
    table = Table("t", rows, ("difference",), "plain", highlight, ("Data: a STAND-IN.",))
    assert [table.reference_of(row) for row in rows] == [None] * 4
    assert [table.difference(row, "difference") for row in rows] == [None] * 4
    assert not any(table.stands_out(row, "difference") for row in rows)
    write_table(table, tmp_path)
    for form in (renderings.markdown(table), renderings.latex(table), renderings.text(table), html_table.page(table)):
        assert form.count("+0.100") == 4 and "ifference from" not in form and "reference" not in form
    assert [line["difference mean"] for line in read_csv(table)] == ["+0.100"] * 4


def test_what_stands_out_by_a_margin() -> None:
    """Godwin et al. 2021, Table III: at least 1 % above the reference, relative to it."""
    rows = [
        ("none", result("none", {"uar": 0.5})),
        ("x", result("x", {"uar": 0.504})),
        ("y", result("y", {"uar": 0.506})),
    ]
    table = Table.of("t", rows, highlight="above_reference", margin=0.01)
    assert [table.stands_out(row, "uar") for row in table.rows] == [False, False, True]
    assert "at least 1 % above the reference." in renderings.text(table)
    assert r"at least 1 \% above the reference." in renderings.latex(table)
