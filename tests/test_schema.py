"""Configurations are checked against the components' own fields."""

from __future__ import annotations

import pytest

from augrun import schema
from augrun.errors import RequestError


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (1, "int", None),
        (1.5, "int", "a whole number"),
        (True, "int", "a whole number"),
        (1, "float", None),
        ("1", "float", "a number"),
        (None, "float | None", None),
        ("x", "float | None", "a number or null"),
        (0.05, 'Annotated[float, "(0, 1]"]', None),
        (0, 'Annotated[float, "(0, 1]"]', "in (0, 1]"),
        (1.0, 'Annotated[float, "(0, 1]"]', None),
        (1.01, 'Annotated[float, "(0, 1]"]', "in (0, 1]"),
        (None, 'Annotated[float, "(0, inf)"] | None', None),
        ("all", 'Literal["drawn", "all"]', None),
        ("al", 'Literal["drawn", "all"]', "one of drawn, all"),
        ([1, 2], "tuple[int, ...]", None),
        ([1, "2"], "list[int]", "a list of which each is a whole number"),
        (3, "list[int]", "a list"),
        ({}, "dict[str, Any]", None),
        ("yes", "bool", "true or false"),
        ("anything", "Any", None),
    ],
)
def test_mismatch(value, annotation, expected):
    assert schema.mismatch(value, annotation) == expected


def test_nearest_offers_close_words_or_all():
    assert schema.nearest("fracton", ["fraction", "inherit"]) == "; did you mean fraction?"
    assert schema.nearest("zzz", ["fraction", "inherit"]) == "; legal are fraction, inherit"


def section(**keys):
    return {"_target_": "augrun.policies.EqualDuration", "name": "equal_duration", **keys}


def test_settings_fill_in_defaults_and_leave_the_name_out():
    settings = schema.settings_of(section(fraction=0.1))
    assert settings["fraction"] == 0.1
    assert settings["inherit"] == "drawn"
    assert "name" not in settings
    assert schema.settings_of(section(name="other", fraction=0.1)) == settings


def test_every_mistake_of_a_configuration_is_listed():
    with pytest.raises(RequestError) as caught:
        schema.check({"scale": "big", "sed": 1, "policy": section(fracton=0.1, inherit="al")})
    text = str(caught.value)
    assert "sed: no such key; did you mean seed?" in text
    assert "scale: 'big' is not one of paper, demo" in text
    assert "policy.fracton: no such key; did you mean fraction?" in text
    assert "policy.inherit: 'al' is not one of drawn, all" in text
    assert "generator: its YAML names no class" in text


def test_a_named_file_enters_the_settings_by_its_content(tmp_path):
    weights = {"_target_": "augrun.classifiers.mobilenetv2_attention.MobileNetV2Attention", "frames": 256}
    one, two = tmp_path / "one.pt", tmp_path / "two.pt"
    one.write_bytes(b"weights")
    two.write_bytes(b"weights")
    settings = schema.settings_of({**weights, "weights": str(one)})
    assert settings == schema.settings_of({**weights, "weights": str(two)})
    two.write_bytes(b"other weights")
    assert settings != schema.settings_of({**weights, "weights": str(two)})
    with pytest.raises(RequestError, match="this file is named in the configuration"):
        schema.settings_of({**weights, "weights": str(tmp_path / "none.pt")})
