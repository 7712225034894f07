"""Controls beside the generators of a sweep and of a published table; on a stand-in they are in their order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from augrun.core.config import compose as config_compose
from augrun.core.errors import RequestError
from augrun.experiment import checks
from augrun.reports.definition import Definition
from augrun.sweeps import controls

ROOT = Path(__file__).resolve().parents[2]


def chosen(row: Sequence[str]) -> str | None:
    """The generator that is named last, ddsp by default."""
    name = [word.split("=")[1] for word in row if word.startswith("generator=")] or ["ddsp"]
    return None if name[-1] == "none" else name[-1]


def table(name: str) -> Definition:
    text = (ROOT / "conf" / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    return Definition.of(name, yaml.safe_load(text)["table"])


def test_a_sweep_gets_a_row_of_each_control_for_every_combination() -> None:
    product = [
        [f"generator={name}", f"policy={policy}", "controls=true"]
        for name in ("none", "copy", "ddsp")
        for policy in ("synthetic", "real_synthetic")
    ]
    rows = controls.added(product, chosen)
    assert rows[:6] == product
    assert [set(row) for row in rows[6:]] == [
        {f"generator={name}", f"policy={policy}", "controls=true"}
        for policy in ("synthetic", "real_synthetic")
        for name in ("oracle", "noise", "shuffled")
    ]


def test_what_is_of_another_generator_is_left_out() -> None:
    words = [
        "generator=cyclegan",
        "generator.epochs=3",
        "dataset@source=tedlium",
        "source.root=/talks",
        "~dataset@music",
        "noise.root=/noise",
    ]
    rows = controls.added([[*words, "dataset=feel", "trials.count=3"], [*words[:1], "dataset=feel"]], chosen)
    assert rows[2:] == [
        [*others, f"generator={name}"]
        for others in (["dataset=feel", "trials.count=3"], ["dataset=feel"])
        for name in controls.CONTROLS
    ]
    default = controls.added([["policy=synthetic"]], chosen)  # the generator that no word names
    assert default[1:] == [["policy=synthetic", f"generator={name}"] for name in controls.CONTROLS]
    assert controls.added([["generator=none"]], chosen) == [["generator=none"]]


def test_rows_with_a_reserve_and_without_do_not_mix() -> None:
    controls.require_one_value([["controls=true"], ["controls=true", "seed=1"]])
    with pytest.raises(RequestError, match="controls: rows with a reserve and without do not compare"):
        controls.require_one_value([["controls=true"], ["controls=false"]])


def test_a_table_gets_a_row_of_each_control() -> None:
    before = table("godwin2021_table3a")
    after = controls.tabled(before, chosen)
    assert after.rows[: len(before.rows)] == before.rows
    added = after.rows[len(before.rows) :]
    assert [row.name for row in added] == [
        "oracle (control)",
        "copy (control)",
        "noise (control)",
        "shuffled (control)",
    ]
    assert [row.overrides for row in added] == [(f"generator={name}",) for name in controls.CONTROLS]
    assert not any(row.published for row in added)
    assert after.footnotes[-1] == controls.FOOTNOTE
    assert controls.picked(after, None) is None
    assert controls.picked(after, ["Baseline"]) == ["Baseline", *(row.name for row in added)]
    assert controls.picked(after, ["Baseline", "oracle (control)"]) == ["Baseline", "oracle (control)"]


def test_a_grid_gets_controls_in_the_columns_that_have_a_generator() -> None:
    before = table("bao2019_table2")
    after = controls.tabled(before, chosen)
    oracle = dict(after.jobs)
    first = before.rows[0].overrides
    assert oracle["oracle (control) / Real"] == (*first, "generator=none", "policy=real", "generator=none")
    assert oracle["oracle (control) / Syn."] == (*first, "policy=synthetic", "generator=oracle")
    assert len(after.jobs) == len(before.jobs) + 4 * 3
    without = table("latif2020_table2")
    assert controls.tabled(without, lambda row: None) is without


def test_the_added_rows_of_a_table_compose() -> None:
    from hydra import compose, initialize_config_dir

    from augrun.core.config import resolvers

    resolvers.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for column in ("Real", "Real + Syn."):
            own = dict(controls.tabled(table("bao2019_table2"), chosen).jobs)[f"oracle (control) / {column}"]
            words = ["experiment=bao2019_table2", *own, "controls=true"]
            config = config_compose.resolve(compose("config", overrides=words))
            checks.check_config(config, swept=True)
            assert config["protocol"]["reserve"] == 0.2


@pytest.mark.slow
def test_controls_are_in_their_order_on_the_stand_in(tmp_path: Path) -> None:
    """Oracle, copies, wrong labels: none is above the one before it by more than their intervals allow."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AUGRUN_", "HYDRA_"))}
    # Half of each train part is kept out, and a sample made for each clip of the rest: so samples matter.
    words = ["dataset=iemocap", "representation=is10", "classifier=dnn", "policy=real_synthetic", "generator=none,copy"]
    words += [
        "protocol.reserve=0.5",
        "protocol.limit=1",
        "trials.count=3",
        "trainer=cpu",
        "baseline=true",
        "+controls=true",
    ]
    ran = subprocess.run(
        [sys.executable, "-m", "augrun", "-m", *words],
        env={**clean, "AUGRUN_OUTPUT": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert ran.returncode == 0, ran.stderr
    found = [json.loads(path.read_text()) for path in (tmp_path / "store" / "condition").glob("*/results.json")]
    uar = {entry["condition"]["generator"]: entry["summary"]["uar"] for entry in found}
    assert set(uar) == {"none", *controls.CONTROLS}
    half = {name: (of["ci_high"] - of["ci_low"]) / 2 for name, of in uar.items()}
    for upper, lower in (("oracle", "copy"), ("copy", "shuffled")):
        assert uar[lower]["mean"] - uar[upper]["mean"] < half[upper] + half[lower], uar
    assert uar["oracle"]["ci_low"] > uar["shuffled"]["ci_high"], uar
