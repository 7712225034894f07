"""The verbs that tell: what is listed, and how unknown names are answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from augrun.cli import main, verbs
from augrun.core.config import paths, schema

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration folder with a few choices."""
    for name, text in {
        "dataset/bees.yaml": "# Sounds: " + "a long description of bees " * 4 + "\n_target_: nowhere.Bees\n",
        "dataset/mute.yaml": "# Speech: nobody talks\n_target_: tests.cli.test_doctor.Murmur\nname: mute\n",
        "experiment/table9.yaml": "# @package _global_\n# Table IX\n# more\n",
        "generator/long_name.yaml": "_target_: x.Y\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(paths, "conf_dir", lambda: tmp_path)
    return tmp_path


def test_a_group_with_roles(conf: Path, capsys: pytest.CaptureFixture) -> None:
    assert main.run(["list", "dataset"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "dataset: the corpus: where the recorded clips and their classes come from",
        "  bees  Sounds: a long description of bees a long description of bees a long description of bees a",
        "        long description of bees",
        "  mute  Speech: nobody talks (no classes: for the other roles only)",
        "  Further corpora of one condition are choices of this group too; settings are ROLE.KEY=…,",
        "  as in `dataset@noise=esc50 noise.root=DIR`:",
        *(f"    dataset@{role}=NAME{' ' * (7 - len(role))} {text}" for role, text in schema.ROLES.items()),
    ]


def test_every_group_is_listed_with_a_line_between(conf: Path, capsys: pytest.CaptureFixture) -> None:
    assert main.run(["list"]) == 0
    said = capsys.readouterr().out.splitlines()
    starts = [said.index(f"{group}: {purpose}") for group, purpose in schema.GROUPS.items()]
    assert starts == sorted(starts)
    assert starts[0] == 0 and all(said[start - 1] == "" for start in starts[1:])
    assert said[said.index(f"protocol: {schema.GROUPS['protocol']}") + 1] == "  (none yet)"
    assert said[said.index(f"generator: {schema.GROUPS['generator']}") + 1] == "  long_name"
    assert said[-3:] == [
        f"experiment: {schema.GROUPS['experiment']}",
        "  table9  Table IX",
        "  augrun table NAME makes a published table.",
    ]


def test_the_real_choices_fit_and_describe_themselves(capsys: pytest.CaptureFixture) -> None:
    assert main.run(["list"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert max(map(len, said)) <= verbs.WIDTH
    for group in schema.GROUPS:
        for path in (ROOT / "conf" / group).glob("*.yaml"):
            assert len(verbs.description_of(path)) > 15, path
            assert [line for line in said if line.startswith(f"  {path.stem} ")], path
    assert any("9,949 / 3,802 / 4,231 tracks" in line for line in said)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "datset"], "datset: no such group; did you mean dataset?"),
        (["docter"], "docter: no such verb; did you mean doctor?"),
        (["tabel", "x"], "tabel: no such verb; did you mean table?"),
        (["doctor", "--colour"], "unrecognized arguments: --colour"),
        (["table"], "the following arguments are required: name"),
        (["table", "godwin2021_tabel1"], "godwin2021_tabel1: no such table; did you mean godwin2021_table1 or"),
        (["table", "godwin2021_table3a", "trials.count=0"], "trials.count: 0 is not in [1, inf)"),
        (["table", "godwin2021_table1", "--format", "pdf"], "argument --format: invalid choice: 'pdf'"),
        (["table", "godwin2021_table1", "dataset=jamendo_mod"], "jamendo_mod: no such choice; did you mean jamendo_mo"),
        (["table", "godwin2021_table1", "datset.root=x"], "datset.root: no such key"),
        (["table", "godwin2021_table1", "dataset.root=/nowhere"], "dataset.root: no folder /nowhere"),
        (["table", "godwin2021_table1", "trials.count=0"], "trials.count: 0 is not in [1, inf)"),
    ],
)  # fmt: skip
def test_wrong_words_are_answered_with_the_nearest(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []
