"""Conditions recorded, and YAMLs written, by augrun 0.1, whose classes lie elsewhere since."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
import yaml

from augrun.cli.main import run
from augrun.core.config.component import describe
from augrun.core.config.compose import compose
from augrun.core.config.renamed_targets import RENAMED, with_current_targets
from augrun.experiment.checks import check_config

#: The GAN of functionals of Sahu et al. on the rendered stand-in of IEMOCAP, as augrun 0.1 recorded it.
RECORDED = Path(__file__).with_name("recorded_0_1")


def targets(value: object) -> list[str]:
    """Return every `_target_` in a configuration."""
    if isinstance(value, dict):
        own = [value["_target_"]] if "_target_" in value else []
        return own + [target for item in value.values() for target in targets(item)]
    return []


def test_every_renamed_class_is_there_and_its_old_module_is_not() -> None:
    for old, new in RENAMED.items():
        assert describe(new).target == new
        with pytest.raises(Exception, match=r"no Python module|defines no class"):
            describe(old)


def test_a_recorded_configuration_names_its_classes_by_their_paths_of_now() -> None:
    config = yaml.safe_load((RECORDED / "config.yaml").read_text(encoding="utf-8"))
    assert len(set(targets(config)) & RENAMED.keys()) == 2  # the generator and the hardware
    current = with_current_targets(config)
    assert not set(targets(current)) & RENAMED.keys()
    check_config(current)
    assert {key: value for key, value in current["generator"].items() if key != "_target_"} == {
        key: value for key, value in config["generator"].items() if key != "_target_"
    }


def test_a_yaml_of_ones_own_may_name_the_old_path(tmp_path: Path) -> None:
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "mine.yaml").write_text(
        textwrap.dedent("""
            _target_: augrun.job.Hardware
            name: mine
            accelerator: cpu
        """)
    )
    config = compose(["trainer=mine"], tmp_path)
    assert config["trainer"]["_target_"] == "augrun.core.job.Hardware"
    check_config(config)


@pytest.mark.slow
def test_a_recorded_condition_is_reproduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUGRUN_OUTPUT", str(tmp_path))
    monkeypatch.delenv("AUGRUN_DATA", raising=False)
    monkeypatch.delenv("AUGRUN_STORE", raising=False)
    # On another processor, sums of another order may move one of the 40 clips: .025 of a recall.
    status = run(["reproduce", str(RECORDED / "results.json"), "--tolerance", "0.03"])
    printed = capsys.readouterr().out
    assert status == 0, printed
    (made,) = tmp_path.glob("reproduced/*/condition/results.json")
    old, new = (json.loads(path.read_text()) for path in (RECORDED / "results.json", made))
    assert [trial["seed"] for trial in new["trials"]] == [trial["seed"] for trial in old["trials"]]
    assert new["generated"] == old["generated"]
    assert new["condition"] == old["condition"]
