"""Rows of a sweep are composed once, however many parts of Hydra ask for them."""

from __future__ import annotations

import pickle
from datetime import datetime
from typing import Any

from omegaconf import DictConfig, OmegaConf

from augrun.sweeps import row_configs
from augrun.sweeps.row_configs import Rows


class Counting:
    """A loader that says how often it composed what."""

    name = "hydra's"

    def __init__(self) -> None:
        self.composed: list[tuple[str, ...]] = []

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        self.composed.append(tuple(sweep_overrides))
        return OmegaConf.create({"row": list(sweep_overrides), "job": {"num": None}})


def test_each_row_is_composed_once_and_everybody_has_a_copy() -> None:
    loader, master = Counting(), OmegaConf.create({})
    rows: Any = Rows(loader)  # type: ignore[arg-type]
    first = rows.load_sweep_config(master, ["a=1"])
    first.job.num = 7  # as launchers do
    again, other = rows.load_sweep_config(master, ["a=1"]), rows.load_sweep_config(master, ["a=2"])
    assert loader.composed == [("a=1",), ("a=2",)]
    assert (again.row, again.job.num, other.row) == (["a=1"], None, ["a=2"])
    assert rows.name == "hydra's"


def test_what_was_asked_for_longest_ago_is_composed_again(monkeypatch: Any) -> None:
    monkeypatch.setattr(row_configs, "MOST_KEPT", 2)
    loader, master = Counting(), OmegaConf.create({})
    rows = Rows(loader)  # type: ignore[arg-type]
    for row in ("a=1", "a=2", "a=3", "a=3", "a=1"):
        rows.load_sweep_config(master, [row])
    assert loader.composed == [("a=1",), ("a=2",), ("a=3",), ("a=1",)]


def test_the_time_is_the_sweeps_for_all_rows_also_those_composed_before_it_was_asked_for() -> None:
    OmegaConf.register_new_resolver("composing_now", lambda: str(datetime.now()), use_cache=True, replace=True)

    class Timed(Counting):
        def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
            return OmegaConf.create({"dir": "${composing_now:}"})

    master, rows = OmegaConf.create({"dir": "${composing_now:}"}), Rows(Timed())  # type: ignore[arg-type]
    rows.load_sweep_config(master, ["a=1"])
    asked = master.dir
    assert {rows.load_sweep_config(master, [row]).dir for row in ("a=1", "a=2")} == {asked}


def test_jobs_elsewhere_are_sent_no_rows() -> None:
    rows = Rows(Counting())  # type: ignore[arg-type]
    rows.load_sweep_config(OmegaConf.create({}), ["a=1"])
    there = pickle.loads(pickle.dumps(rows))
    assert isinstance(there, Rows)
    assert there._kept == {}
    assert there.name == "hydra's"
