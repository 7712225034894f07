"""The words for the kinds of data."""

from __future__ import annotations

from pathlib import Path

from augrun.core.data_kinds import DATA_KINDS, OTHER, PUBLISHED, STANDIN
from augrun.reports.tables import DATA

ROOT = Path(__file__).resolve().parents[2]


def test_the_least_trustworthy_kind_comes_first() -> None:
    assert list(DATA_KINDS) == [STANDIN, OTHER, PUBLISHED] == ["standin", "other", "published"]


def test_only_a_standin_is_called_one_and_always() -> None:
    for name, kind in DATA_KINDS.items():
        for words in vars(kind).values():
            assert ("stand-in" in words.lower()) == (name == STANDIN), words


def test_tables_say_the_same_and_know_mixed_rows() -> None:
    assert DATA["standin"].startswith("Data: a rendered STAND-IN, not the real corpus.")
    assert DATA["published"] == "Data: the corpus as published."
    assert set(DATA) == {*DATA_KINDS, "mixed"}


def test_the_words_stand_in_one_place() -> None:
    for sentence in {kind.console for kind in DATA_KINDS.values()} - {"the published corpus"}:
        modules = [path for path in (ROOT / "augrun").rglob("*.py") if f'"{sentence}' in path.read_text("utf-8")]
        assert [path.stem for path in modules] == ["data_kinds"], sentence
