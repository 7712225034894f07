"""Fingerprints cover what can change a result and nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from augrun.core.config.component import describe
from augrun.core.config.compose import compose
from augrun.core.python_source import source_of
from augrun.core.store import code_digest, joint_stages
from augrun.core.store.stages import Store
from augrun.corpora.corpus import Corpus
from augrun.experiment.plan import ConditionPlan
from augrun.protocols.base import Fold
from tests.experiment.test_leakage import write

ROOT = Path(__file__).resolve().parents[2]
#: Code that no stage may digest but those of conditions and comparisons, which digest reports.
NEVER = ("augrun.cli", "augrun.sweeps", "augrun.tracking", "augrun.core.runtime", "augrun.core.store")
#: Modules beside components whose code is part of a stage's key.
BESIDE = [
    *("augrun.evaluation.decisions", "augrun.evaluation.embeddings", "augrun.evaluation.quality"),
    *("augrun.features.segments", "augrun.features.normalise", "augrun.features.mixup", "augrun.generators.samples"),
]
#: Machinery of core that changes results wherever a component imports it.
EFFECTIVE = (
    *("augrun.core.audio", "augrun.core.seeding", "augrun.core.training.fit", "augrun.core.training.batching"),
    *("augrun.core.training.stacked", "augrun.core.training.stacked_fit"),
)
GROUPS = ("classifier", "dataset", "generator", "policy", "protocol", "reducer", "representation")
#: What each kind of features wants beside a generator or a classifier.
CHOICES = {
    "waveform": [],
    "functionals": ["representation=is10", "classifier=dnn"],
    "logmel": [
        *("representation=logmel_ser", "classifier=vgg19", "segments.seconds=3", "segments.frames=128"),
        "policy=balance_to_majority",
    ],
}


def shipped(*groups: str) -> dict[str, str]:
    """Return the class of every shipped choice of these groups, by `group=choice`."""
    found = {}
    for group in groups:
        for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
            target = re.search(r"^_target_: *(\S+)", path.read_text(encoding="utf-8"), re.M)
            if target:
                found[f"{group}={path.stem}"] = target[1]
    return found


def module_of(target: str) -> str:
    return describe(target).module


def imports_of(module: str) -> set[str]:
    """Return the modules of augrun that a module's own source names."""
    known = code_digest._digest_and_imports(module)
    return {name for name in known[1] if source_of(name)} if known else set()


@lru_cache(maxsize=None)
def own_modules(target: str) -> frozenset[str]:
    """Return the modules of a component's own: its file, or its folder without what belongs to other components."""
    module = module_of(target)
    path = source_of(module)
    assert path is not None
    others = {module_of(other) for other in shipped("generator", "classifier", "reducer").values()} - {module}
    if path.name == "__init__.py":
        folder, package = path.parent, module
    else:
        folder, package = path.parent, module.rpartition(".")[0]
        if package.count(".") == 1:  # a file among other components
            return frozenset({module})
        return frozenset({module} | {name for name in imports_of(module) if name.startswith(f"{package}.")})
    names = {f"{package}.{file.stem}" for file in folder.glob("*.py") if file.stem != "__init__"}
    return frozenset({module} | (names - others))


@contextmanager
def appended(module: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the package's sources read as if a constant were appended to this module."""
    read = code_digest._digest_and_imports

    def edited(name: str) -> Any:
        if name != module:
            return read(name)
        path = source_of(name)
        assert path is not None, name
        tree = ast.parse(path.read_text(encoding="utf-8") + "\nAPPENDED = 1\n")
        return code_digest._digest(tree), tuple(sorted(code_digest._imports(tree, name)))

    with monkeypatch.context() as patch:
        patch.setattr(code_digest, "_digest_and_imports", edited)
        clear()
        yield
    clear()


def clear() -> None:
    code_digest.code_modules.cache_clear()
    code_digest.code_digest.cache_clear()


class OneCorpus:
    """A corpus in the place of those of all roles."""

    def __init__(self, corpus: Corpus) -> None:
        self.roles, self._corpus = ["dataset"], corpus

    def corpus(self, role: str = "dataset") -> Corpus:
        return self._corpus


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, list[Fold]]:
    root = write(tmp_path_factory.mktemp("corpus"), 0)
    words = ["dataset=feel", f"dataset.root={root}", "protocol=loso", "protocol.limit=1", "scale=demo"]
    plan = ConditionPlan(compose(words), Store(tmp_path_factory.mktemp("store")))
    return plan.corpus, plan.folds


def fingerprints(words: list[str], folds: tuple[Corpus, list[Fold]], store: Path) -> dict[str, str]:
    """Return the fingerprints of a fold and trial's stages and of its features, by kind."""
    config = {**configuration(tuple(words))}
    plan = ConditionPlan(config, Store(store))
    plan.corpora, plan.folds = OneCorpus(folds[0]), folds[1]  # type: ignore[misc,assignment]
    if plan.baseline is not None:
        plan.baseline.corpora, plan.baseline.folds = plan.corpora, plan.folds
    found = {stage.kind: stage.fingerprint for stage in plan.fold_trials[0].stages}
    return found | {"features": plan.features_stage({"corpus": folds[0].digest}).fingerprint}


@lru_cache(maxsize=None)
def configuration(words: tuple[str, ...]) -> dict[str, Any]:
    return compose(["dataset=feel", "scale=demo", "trials.count=1", *words])


def words_for(choice: str, target: str) -> list[str]:
    """Return the overrides of a condition in which a generator, classifier or reducer has its place."""
    group = choice.partition("=")[0]
    if group == "reducer":
        return [*CHOICES["functionals"], "generator=none", "mixup.ratio=1", choice]
    if group == "classifier":
        vectors = "dnn" in choice or "svm" in choice
        return [*CHOICES["functionals" if vectors else "waveform"], "generator=copy", choice]
    if group == "generator":
        return [*CHOICES[describe(target).constants.get("domain") or "waveform"], choice]
    return [choice]


@pytest.mark.parametrize(("choice", "target"), shipped(*GROUPS).items())
def test_no_component_digests_machinery(choice: str, target: str) -> None:
    modules = code_digest.code_modules(module_of(target))
    assert module_of(target) in modules
    assert not [name for name in modules if name == "augrun" or name.startswith((*NEVER, "augrun.reports"))]


@pytest.mark.parametrize("module", BESIDE)
def test_nor_does_what_is_beside_components(module: str) -> None:
    modules = code_digest.code_modules(module)
    assert not [name for name in modules if name == "augrun" or name.startswith((*NEVER, "augrun.reports"))]


@pytest.mark.parametrize(("choice", "target"), shipped("generator", "classifier", "reducer").items())
def test_an_edit_of_a_components_code_makes_its_stages_stale(
    choice: str,
    target: str,
    folds: tuple[Corpus, list[Fold]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group = choice.partition("=")[0]
    words = words_for(choice, target)
    before = fingerprints(words, folds, tmp_path)
    kind = "samples" if group == "generator" and "generator" not in before else group
    if kind not in before:
        assert choice in ("generator=none", "reducer=none")
        return
    own = own_modules(target)
    used = {name for module in own for name in imports_of(module) if name in EFFECTIVE}
    for module in sorted(own | used):
        with appended(module, monkeypatch):
            assert fingerprints(words, folds, tmp_path)[kind] != before[kind], module
    assert fingerprints(words, folds, tmp_path) == before  # the edit is gone


@pytest.mark.parametrize(
    ("words", "module", "stale"),
    [
        (["generator=copy"], "augrun.features.logmel", {"features", "classifier", "predictions", "embedded"}),
        (["generator=copy", "segments.seconds=1"], "augrun.features.segments", {"classifier", "predictions"}),
        ([*CHOICES["functionals"], "generator=none"], "augrun.features.functionals", {"features", "classifier"}),
        ([*CHOICES["functionals"], "generator=none"], "augrun.features.normalise", {"classifier", "predictions"}),
        ([*CHOICES["functionals"], "generator=none", "mixup.ratio=1"], "augrun.features.mixup", {"classifier"}),
        (["generator=copy", "policy=balance_to_majority"], "augrun.policies.balance", {"samples", "classifier"}),
        (["generator=copy"], "augrun.policies.base", {"samples", "classifier"}),
        (["generator=copy"], "augrun.generators.samples", {"samples", "classifier"}),
        ([*CHOICES["functionals"], "generator=none", "reducer=pca"], "augrun.reducers.pca", {"reducer", "classifier"}),
        (["generator=copy"], "augrun.evaluation.decisions", {"predictions", "judged"}),
        (["generator=copy"], "augrun.evaluation.embeddings", {"embedded", "quality"}),
        (["generator=copy"], "augrun.evaluation.quality", {"quality"}),
        ([*CHOICES["logmel"], "generator=bagan"], "augrun.features.logmel", {"generator", "samples", "classifier"}),
    ],
)
def test_an_edit_of_what_a_stage_calls_makes_it_stale(
    words: list[str],
    module: str,
    stale: set[str],
    folds: tuple[Corpus, list[Fold]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = fingerprints(words, folds, tmp_path)
    with appended(module, monkeypatch):
        after = fingerprints(words, folds, tmp_path)
    assert {kind for kind in before if before[kind] != after[kind]} >= stale


@pytest.mark.parametrize(
    "module",
    [
        *("augrun.core.runtime.log_setup", "augrun.core.store.stages", "augrun.tracking.session", "augrun"),
        *("augrun.cli.main", "augrun.sweeps.sweeper", "augrun.reports.tables", "augrun.core.runtime.malloc"),
    ],
)
@pytest.mark.parametrize("words", [["generator=ddsp"], [*CHOICES["functionals"], "generator=mixup_gan"]])
def test_an_edit_of_machinery_leaves_every_stage_as_it_was(
    words: list[str],
    module: str,
    folds: tuple[Corpus, list[Fold]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = fingerprints(words, folds, tmp_path)
    with appended(module, monkeypatch):
        assert fingerprints(words, folds, tmp_path) == before


@pytest.mark.parametrize("kind", ["condition", "comparison"])
def test_results_digest_their_own_module_and_what_they_are_shown_by(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = {"condition": "augrun.experiment.results_folder", "comparison": "augrun.reports.comparison"}[kind]

    def fingerprint() -> str:
        return Store(tmp_path).stage(kind, settings={}, inputs={}, code=code).fingerprint

    before = fingerprint()
    for module in (code, "augrun.reports.evidence" if kind == "comparison" else "augrun.reports.figures"):
        with appended(module, monkeypatch):
            assert fingerprint() != before, module
    with appended("augrun.core.store.stages", monkeypatch):
        assert fingerprint() == before


def test_joint_stages_digest_the_module_that_joins_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert joint_stages.__name__ in code_digest.code_modules(joint_stages.__name__)

    def fingerprint() -> str:
        stage = Store(tmp_path).stage(joint_stages.KIND, settings={}, inputs={}, code=joint_stages.__name__)
        return stage.fingerprint

    before = fingerprint()
    with appended(joint_stages.__name__, monkeypatch):
        assert fingerprint() != before
