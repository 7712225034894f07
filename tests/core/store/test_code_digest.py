"""The digest of code, and settings read without importing."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from pathlib import Path

import pytest

from augrun.core import python_source
from augrun.core.config import component as config_component
from augrun.core.errors import RequestError
from augrun.core.store import code_digest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A throw-away package whose files can be rewritten."""
    root = tmp_path / "toypkg"
    root.mkdir()
    (root / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, text: str) -> None:
        (root / f"{name}.py").write_text(textwrap.dedent(text))
        for cached in (
            python_source.source_of,
            python_source.syntax_tree,
            code_digest._digest_and_imports,
            code_digest.code_digest,
            code_digest.code_modules,
            config_component.describe,
        ):
            cached.cache_clear()

    yield write
    sys.modules.pop("toypkg", None)


def test_comments_and_docstrings_leave_the_digest_alone(package):
    package("a", 'def f(x):\n    """Old words."""\n    return x + 1\n')
    before = code_digest.code_digest("toypkg.a")
    package("a", '"""New."""\n\n\ndef f(x):\n    """New words."""\n    # why\n    return x + 1\n')
    assert code_digest.code_digest("toypkg.a") != before  # a docstring where there was none is a new statement …
    with_docstring = code_digest.code_digest("toypkg.a")
    package("a", '"""Other."""\n\n\ndef f(x):\n    """Other words."""\n    return (x + 1)\n')
    assert code_digest.code_digest("toypkg.a") == with_docstring  # … its words, comments and layout are not


def test_what_is_known_of_a_source_is_kept_until_it_changes(package, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(code_digest, "_cache", code_digest.SourceCache())
    package("a", "from toypkg import b\n")
    package("b", "x = 1\n")
    old = time.time() - 60
    for path in (tmp_path / "toypkg").iterdir():
        os.utime(path, (old, old))
    before = code_digest.code_digest("toypkg.a")
    monkeypatch.setattr(code_digest, "_cache", code_digest.SourceCache())
    package("a", "from toypkg import b\n")
    os.utime(tmp_path / "toypkg" / "a.py", (old, old))
    monkeypatch.setattr(code_digest, "parse_source", None)  # nothing is read again
    assert code_digest.code_digest("toypkg.a") == before
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(code_digest, "_cache", code_digest.SourceCache())
    package("b", "x = 2\n")  # as long as before
    os.utime(tmp_path / "toypkg" / "b.py", (old + 1, old + 1))
    changed = code_digest.code_digest("toypkg.a")
    assert changed != before
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache" / "augrun" / "none.json"))  # no folder
    (tmp_path / "cache" / "augrun" / "none.json").write_text("")
    monkeypatch.setattr(code_digest, "_cache", code_digest.SourceCache())
    package("b", "x = 2\n")
    assert code_digest.code_digest("toypkg.a") == changed


def test_a_changed_statement_changes_the_digest(package):
    package("a", "def f(x):\n    return x + 1\n")
    before = code_digest.code_digest("toypkg.a")
    package("a", "def f(x):\n    return x + 2\n")
    assert code_digest.code_digest("toypkg.a") != before


def test_the_digest_covers_what_is_imported_from_the_package_even_inside_functions(package):
    package("a", "def f():\n    from toypkg.b import g\n    return g()\n")
    package("b", "from . import c\ndef g():\n    return c.h()\n")
    package("c", "def h():\n    return 1\n")
    before = code_digest.code_digest("toypkg.a")
    assert code_digest.code_modules("toypkg.a") == ("toypkg", "toypkg.a", "toypkg.b", "toypkg.c")
    package("c", "def h():\n    return 2\n")
    assert code_digest.code_digest("toypkg.a") != before


def test_describe_reads_fields_constants_and_bases_without_importing(package):
    package("base", "class Base:\n    domain: ClassVar[str] = 'waveform'\n    rate: int = 16000\n")
    package(
        "a",
        """
        raise RuntimeError("must not be imported")
        from toypkg.base import Base
        class Mine(Base):
            domain: ClassVar[str] = "logmel"
            epochs: Annotated[int, "[1, inf)"]
            names: list[str] = field(default_factory=list)
        """,
    )
    found = config_component.describe("toypkg.a.Mine")
    assert found.constants == {"domain": "logmel"}
    assert list(found.parameters) == ["rate", "epochs", "names"]
    assert found.parameters["epochs"].default is ...
    assert found.parameters["names"].default == []


def test_unknown_module_and_class_are_named():
    with pytest.raises(RequestError, match=r"no Python module .augrun\.nowhere."):
        config_component.describe("augrun.nowhere.Thing")
    with pytest.raises(RequestError, match="defines no class 'Thing'"):
        config_component.describe("augrun.core.errors.Thing")


def test_what_is_trained_depends_on_no_code_that_records_it():
    """A change of the command line or of MLflow's part must not make anybody train again."""
    above = {
        "augrun.cli.main",
        "augrun.experiment.condition",
        "augrun.cli.doctor.checks",
        "augrun.experiment.run",
        "augrun.sweeps.sweeper",
        "augrun.tracking.recorder",
    }
    for component in (
        "generators.ddsp",
        "generators.samplernn",
        "classifiers.dnn",
        "classifiers.vgg19",
        "generators.samples",
    ):
        assert not above & set(code_digest.code_modules(f"augrun.{component}")), component


def test_what_trains_a_component_is_code_of_its_settings():
    """Settings import it where it is used; a change there must make everybody train again all the same."""
    training = {
        "classifiers.dnn": "classifiers.dnn.training",
        "classifiers.mobilenetv2_attention": "classifiers.mobilenetv2_attention.training",
        "classifiers.vgg19": "classifiers.vgg19.training",
        "reducers.autoencoder": "reducers.autoencoder.training",
        "generators.ddsp": "generators.ddsp.yin",
        "generators.ddsp.magenta": "generators.ddsp.yin",
    }
    folders = (ROOT / "augrun" / "classifiers").glob("*/training.py")
    assert {f"classifiers.{path.parent.name}.training" for path in folders} <= set(training.values())
    for settings, heavy in training.items():
        assert f"augrun.{heavy}" in code_digest.code_modules(f"augrun.{settings}"), settings
