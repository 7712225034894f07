"""The published tables at demonstration scale, one row of each or two, as anyone would run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parent.parent

#: Table, the rows that are run, the published value that stands beside the last one's first column, and how many
#: conditions that makes.
TABLES = [
    ("godwin2021_table3a", ("Baseline", "SampleRNN"), 0.063, 2),
    ("godwin2021_table3b", ("Baseline",), 0.485, 1),
    ("godwin2021_table3c", ("Mood/theme (ours)", "Emotional"), 0.485, 2),
    ("chatziagapi2019_table3", ("Initial Dataset", "Proposed approach"), 0.546, 2),
    ("bao2019_table2", ("Sahu et al. 2018", "λ_cls = 2"), 0.5948, 6),
    ("latif2020_table2", ("SMACOF MDS with mixup", "Proposed"), 0.596, 2),
]

#: What a condition with a generator leaves: section VI of Godwin et al., and what there is to listen to or to look at.
HEARD = {
    *("label_validity.json", "figures/generated_confusion.png", "figures/label_validity.png"),
    *("tables/label_validity.csv", "quality.json", "tables/quality.csv", "listen.html"),
}
SEEN = HEARD - {"listen.html"} | {"figures/generated_spectrograms.png"}
#: The same of generators of functionals, in tables whose real ones are a column, not a baseline.
MEASURED = {"feature_means.json", "figures/feature_means.png", "figures/confusion.png"}
WITHOUT_BASELINE = ("bao2019", "latif2020")


def augrun(output: Path, *words: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AUGRUN_", "HYDRA_"))}
    command = [sys.executable, "-m", "augrun", *words]
    return subprocess.run(
        command, env={**clean, "AUGRUN_OUTPUT": str(output)}, cwd=ROOT, capture_output=True, text=True, timeout=900
    )


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One output folder for all tables: their rows share stages."""
    return tmp_path_factory.mktemp("published") / "outputs"


def artifacts(client: MlflowClient, run_id: str, folder: str | None = None) -> set[str]:
    names: set[str] = set()
    for item in client.list_artifacts(run_id, folder):
        names |= artifacts(client, run_id, item.path) if item.is_dir else {item.path}
    return names


def healthy(client: MlflowClient, run_id: str, name: str) -> None:
    """Most classes' segments are closest to their own class's mean, and no more extreme than the recorded ones."""
    health = json.loads(Path(client.download_artifacts(run_id, name)).read_text())
    assert health["classes_nearest_own"] > 0.5
    assert health["extreme_share"] <= health["recorded_extreme_share"] + 0.01
    assert health["warnings"] == []


@pytest.mark.slow
@pytest.mark.parametrize(("table", "rows", "published", "count"), TABLES, ids=[name for name, *_ in TABLES])
def test_rows_of_a_table(output: Path, table: str, rows: tuple[str, ...], published: float, count: int) -> None:
    picked = "sweep.rows=[" + ",".join(f"'{row}'" for row in rows) + "]"
    words = ["-m", f"experiment={table}", "trials.count=1", picked]
    result = augrun(output, *words)
    assert result.returncode == 0, result.stderr
    client = MlflowClient(tracking_uri=f"sqlite:///{output / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(table)
    runs = client.search_runs([experiment.experiment_id])
    (compared,) = (run for run in runs if run.data.tags["augrun.kind"] == "sweep")
    assert compared.info.run_name == table
    stored = json.loads(Path(client.download_artifacts(compared.info.run_id, "tables/comparison.json")).read_text())
    assert stored["data"] == "standin" and stored["scale"] == "demo"
    assert [row["row"] for row in stored["rows"]] == list(rows)
    first = next(iter(stored["rows"][-1]["published"]))
    assert stored["rows"][-1]["published"][first] == published
    for row in stored["rows"]:
        for column, cell in row["measured"].items():
            assert 0 <= cell["mean"] <= 1, column
    assert f"{published:.3f}" in result.stdout
    assert "a rendered STAND-IN, not the real corpus" in result.stdout
    conditions = [run for run in runs if run.data.tags["augrun.kind"] == "condition"]
    assert len(conditions) == count
    for run in conditions:
        names = artifacts(client, run.info.run_id)
        if (generator := run.data.tags["augrun.generator"]) != "none":
            bare = table.startswith(WITHOUT_BASELINE)
            assert (MEASURED if bare else SEEN if generator == "bagan" else HEARD) <= names
            if generator == "bagan":
                healthy(client, run.info.run_id, next(name for name in names if name.startswith("health/")))
            assert bare or 0 <= run.data.metrics["label_validity/validity/mean"] <= 1
    if table in ("bao2019_table2", "latif2020_table1"):  # a row's confusion matrices: their Fig. 3 and 2
        pictures = artifacts(client, compared.info.run_id)
        assert table.startswith("chatziagapi") or {"figures/confusion_1.png", "figures/confusion_2.png"} <= pictures
    if table not in ("godwin2021_table3a", "latif2020_table2"):
        return
    stages = {path for path in (output / "store").glob("*/*") if path.parent.name != "locks"}
    again = augrun(output, *words)
    assert again.returncode == 0
    assert {path for path in (output / "store").glob("*/*") if path.parent.name != "locks"} == stages
    shown = result.stdout[result.stdout.rindex(f"{table}\n") :]
    assert again.stdout.endswith(shown)


@pytest.mark.slow
def test_synthetic_vectors_are_nearer_to_the_emotions_than_the_source_is(output: Path) -> None:
    """The order of Table 1 of Bao et al. 2019: .084 for the source, .049 with λ_cls = 2, .013 without."""
    result = augrun(output, "table", "bao2019_table1")
    assert result.returncode == 0, result.stderr
    folder = output / "tables" / "bao2019_table1"
    stored = json.loads((folder / "bao2019_table1.json").read_text())
    assert stored["data"] == "standin" and (folder / "bao2019_table1.png").stat().st_size > 20_000
    found = [{column: cell["mean"] for column, cell in row["measured"].items()} for row in stored["rows"]]
    for row in found:
        assert row["|target − synthetic|"] < min(row["|target − source|"], row["|target − source|, one scale"])
    assert found[0]["|target − synthetic|"] < found[1]["|target − synthetic|"]  # λ_cls = 0, then 2
    published = stored["rows"][0]["published"]
    assert (published["|target − source|"], published["|target − synthetic|"]) == (0.084, 0.013)
