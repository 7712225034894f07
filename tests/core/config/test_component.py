"""Settings of components: what is read from source is what Python makes of it."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import pytest
import yaml

from augrun.core.config.component import describe

ROOT = Path(__file__).resolve().parents[3]
TARGETS = sorted(
    {
        content["_target_"]
        for path in (ROOT / "conf").glob("*/*.yaml")
        for content in [yaml.safe_load(path.read_text(encoding="utf-8"))]
        if isinstance(content, dict) and "_target_" in content
    }
)


@pytest.mark.parametrize("target", TARGETS)
def test_the_settings_read_from_source_are_the_dataclass_s_fields(target: str) -> None:
    module, _, name = target.rpartition(".")
    component = getattr(importlib.import_module(module), name)
    known = describe(target)
    fields = dataclasses.fields(component)
    assert list(known.parameters) == [field.name for field in fields]
    for field in fields:
        read = known.parameters[field.name]
        if field.default is not dataclasses.MISSING and not isinstance(read.default, str):
            assert read.default == field.default
        assert (read.default is ...) == (field.default is field.default_factory is dataclasses.MISSING)
    for constant, value in known.constants.items():
        if value is not ... and not isinstance(value, str):
            assert getattr(component, constant) == value


def test_settings_come_through_a_base_in_another_module() -> None:
    known = describe("augrun.classifiers.vgg19.VGG19")
    assert known.parameters["pooled"].default == 7
    assert known.parameters["pooled"].annotation == "Annotated[int, '[1, inf)']"
    assert known.constants["embeds"] is True
