"""Profiles: what they hold, and that nothing else changes by them."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
from pathlib import Path

import pytest
import torch
from torch.optim import optimizer as optimizers

from augrun.cli.main import run
from augrun.core.runtime import progress_hooks
from augrun.experiment import profiling
from augrun.experiment import run as experiment
from tests.experiment.test_leakage import condition, write

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The results of a condition without a profile and with one, in stores of their own."""
    root = tmp_path_factory.mktemp("profiled")
    corpus = write(root / "corpus", 0)
    made = []
    for name, more in (("without", []), ("with", ["profile=true"])):
        words = ["protocol.count=2", "baseline=false", "significance.resamples=0", *more]
        made.append(experiment.run({**condition(corpus, root / name, *words).plan.config, "tracking": None}))
    return made[0], made[1]


def contents(root: Path) -> dict[str, str]:
    """Digests of what the stages hold, by the stage's kind, fingerprint and file; what tells times is left out."""
    left_out = ("stage.json", "cost.json", "config.yaml", "record.json", "computed.jsonl")
    files = (path for path in (root / "store").rglob("*") if path.is_file() and path.name not in left_out)
    kept = (p for p in files if "index" not in p.parts and "locks" not in p.parts and profiling.FOLDER not in p.parts)
    return {str(path.relative_to(root)): digest(path) for path in kept}


def digest(path: Path) -> str:
    if path.suffix in (".pt", ".ckpt"):  # zip files, in which the content of tensors counts
        state = torch.load(path, weights_only=True, map_location="cpu")
        return hashlib.sha256(repr(plain(state)).encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def plain(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


@pytest.mark.slow
def test_a_profile_changes_no_fingerprint_and_no_bit(both: tuple[Path, Path]) -> None:
    without, with_it = both
    assert without.name == with_it.name  # the condition's fingerprint
    one, other = (contents(folder.parents[2]) for folder in both)
    assert one.keys() == other.keys() and len(one) > 20
    different = [name for name in one if one[name] != other[name] and not name.endswith((".png", ".html"))]
    assert different == []
    assert not (without / profiling.FOLDER).exists()


@pytest.mark.slow
def test_every_trained_stage_leaves_a_trace_of_a_few_steps(both: tuple[Path, Path]) -> None:
    folder = both[1] / profiling.FOLDER
    account = json.loads((folder / "costs.json").read_text())
    stages = {(stage["kind"], stage["title"]): stage for stage in account["stages"]}
    kinds = {kind for kind, _ in stages}
    assert {"generator", "samples", "features", "classifier", "predictions", "condition"} <= kinds
    for (kind, title), stage in stages.items():
        if kind in ("generator", "classifier"):
            assert stage["trace"], title
    traced = {stage["trace"] for stage in stages.values() if stage["trace"]}
    assert traced == {path.name for path in folder.glob("*.json.gz")}
    updates = 0
    for path in folder.glob("*-generator-*.json.gz"):
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
        updates += sum(str(event.get("name", "")).startswith("Optimizer.step") for event in events)
        assert path.stat().st_size < 4 << 20
    assert updates >= 1


@pytest.mark.slow
def test_the_account_adds_up(both: tuple[Path, Path]) -> None:
    account = json.loads((both[1] / profiling.FOLDER / "costs.json").read_text())
    own = sum(stage["own_seconds"] for stage in account["stages"])
    assert own + account["outside"]["seconds"] + account["recording"]["seconds"] == pytest.approx(
        account["seconds"], abs=0.05
    )
    assert all(stage["cpu_seconds"] >= 0 and stage["seconds"] >= stage["own_seconds"] for stage in account["stages"])
    for stage in account["stages"]:  # what the manifests tell is not less for being watched
        of_kind = (both[1].parents[1] / stage["kind"]).glob("*/stage.json")
        manifests = [json.loads(path.read_text()) for path in of_kind]
        told = next(one["cost"]["own_seconds"] for one in manifests if one["title"] == stage["title"])
        assert 0.3 * stage["own_seconds"] - 0.1 < told <= stage["seconds"] + 0.01, stage
    text = (both[1] / profiling.FOLDER / "costs.md").read_text()
    assert "outside of all stages" in text and text.count("| ") > len(account["stages"])


def test_where_all_is_done_there_is_nothing_to_profile(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with (
        caplog.at_level(logging.WARNING, "augrun.experiment.profiling"),
        profiling.profile_condition(True, "feel/none", done=True) as leave,
    ):
        with progress_hooks.piece("features", "tones"):
            progress_hooks.stepped("clips")
        leave(tmp_path)
    assert "everything of feel/none is done already" in caplog.text and "output.root=DIR" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_stage_within_a_stage_is_taken_off_and_both_are_recorded(tmp_path: Path) -> None:
    linear = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(linear.parameters(), 0.1)
    with profiling.profile_condition(True, "toy", done=False) as leave:
        with progress_hooks.piece("classifier", "outer"):
            with progress_hooks.piece("features", "inner"):
                torch.ones(8) + 1
                progress_hooks.stepped("clips")
            for _ in range(20):
                optimizer.zero_grad()
                linear(torch.ones(2, 4)).sum().backward()
                optimizer.step()
        leave(tmp_path)
    account = json.loads((tmp_path / profiling.FOLDER / "costs.json").read_text())
    stages = {stage["title"]: stage for stage in account["stages"]}
    outer, inner = stages["outer"], stages["inner"]
    assert 0 < outer["own_seconds"] <= outer["seconds"] - inner["seconds"]
    parts = outer["own_seconds"] + inner["own_seconds"] + account["recording"]["seconds"]
    assert parts == pytest.approx(outer["seconds"], abs=0.01)
    assert outer["trace"] and inner["trace"]
    events = json.loads(gzip.decompress((tmp_path / profiling.FOLDER / outer["trace"]).read_bytes()))["traceEvents"]
    steps = [event for event in events if str(event.get("name", "")).startswith("Optimizer.step")]
    assert len(steps) == profiling.RECORDED  # of twenty
    optimizer.step()  # nobody is asked any more
    assert not optimizers._global_optimizer_post_hooks


def test_a_plus_before_the_key_is_taken_as_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["+profile=true", "--cfg", "job"]) == 0
    assert "profile: true" in capsys.readouterr().out
