"""The inputs of `generate`, request tables without primes, and generator classes of a former interface."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from augrun.core.errors import RequestError
from augrun.core.job import Job
from augrun.generators.base import Generator, check_interface
from augrun.generators.copy import Copy
from augrun.generators.requests import REQUEST_COLUMNS, GenerationInputs, build_unprimed_requests
from augrun.generators.shuffled import Shuffled
from augrun.generators.signal import Signal

WRITE = "write\n    def generate(self, inputs: GenerationInputs) -> None:"


class Former(Generator):
    def generate(self, requests: Any, label_names: Any, fitted: Any, job: Any, noise: Any = None) -> None:  # type: ignore[override]
        raise AssertionError


class OfFormer(Former):
    """Inherits what is to be edited elsewhere."""


class Lenient(Generator):
    def generate(self, requests: Any, *others: Any, **more: Any) -> None:  # type: ignore[override]
        raise AssertionError


class WithoutArguments(Generator):
    def generate(self) -> None:  # type: ignore[override]
        raise AssertionError


class KeywordOnly(Generator):
    def generate(self, *, inputs: GenerationInputs) -> None:  # type: ignore[override]
        raise AssertionError


class OtherName(Generator):
    def generate(self, asked: GenerationInputs, progress: bool = False) -> None:
        raise AssertionError


@dataclass(frozen=True)
class FormerAttributes(Copy):
    told_classes: ClassVar[bool] = True
    turns: ClassVar[str] = "source"


@pytest.mark.parametrize(
    ("generator", "said"),
    [
        (Former(), "Former.generate(requests, label_names, fitted, job, noise)"),
        (OfFormer(), "Former.generate(requests, label_names, fitted, job, noise)"),
        (Lenient(), "Lenient.generate(requests, others, more)"),
        (WithoutArguments(), "WithoutArguments.generate()"),
        (KeywordOnly(), "KeywordOnly.generate(inputs)"),
    ],
)
def test_another_signature_is_refused_with_the_line_to_write(generator: Generator, said: str) -> None:
    with pytest.raises(RequestError) as refused:
        check_interface(generator)
    assert str(refused.value) == (
        f"{__name__}.{said}: generate now takes one argument, inputs (augrun.generators.requests.GenerationInputs), "
        f"whose fields are the former arguments; {WRITE}"
    )


def test_class_attributes_by_their_former_names_are_refused_all_at_once() -> None:
    with pytest.raises(RequestError) as refused:
        check_interface(FormerAttributes())
    assert str(refused.value).splitlines() == [
        f"{__name__}.FormerAttributes: the class attribute told_classes is now called wants_classes; rename it",
        f"{__name__}.FormerAttributes: the class attribute turns is now called transforms_role; rename it",
    ]


@pytest.mark.parametrize("generator", [Copy(), Shuffled(), Signal(), OtherName()])
def test_one_argument_is_what_is_wanted(generator: Generator) -> None:
    check_interface(generator)


def test_inputs_are_frozen_and_all_but_four_are_optional(tmp_path: Path) -> None:
    requests = build_unprimed_requests([0], 1.0, 0)
    inputs = GenerationInputs(requests, ("a",), None, Job(tmp_path))
    optional = ("primes", "classes", "source", "noise", "music")
    assert [field.name for field in dataclasses.fields(inputs)] == [
        "requests",
        "label_names",
        "fitted",
        "job",
        *optional,
    ]
    assert all(getattr(inputs, name) is None for name in optional)
    with pytest.raises(dataclasses.FrozenInstanceError):
        inputs.primes = None  # type: ignore[misc]
    assert inputs != GenerationInputs(requests, ("a",), None, Job(tmp_path))  # tables have no truth value to compare by


def test_unprimed_requests_each_have_a_seed_of_their_own() -> None:
    table = build_unprimed_requests([1, 0, 1], 2.5, 7)
    assert tuple(table.columns) == REQUEST_COLUMNS
    assert table["sample_id"].tolist() == ["001-00000", "000-00001", "001-00002"]
    assert table["labels"].tolist() == [(1,), (0,), (1,)] and set(table["seconds"]) == {2.5}
    assert set(table["prime_clip"]) == {""} and set(table["prime_s"]) == {0.0}
    assert table["seed"].tolist() == np.random.default_rng([7, 3]).integers(2**31, size=3).tolist()
    assert len(set(table["seed"])) == 3
