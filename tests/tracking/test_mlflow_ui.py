"""MLflow's own pages as a reader sees them, in a browser: which generator helps, what was run, the tables, the report.

Screenshots are left in tests/output/mlflow-ui.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from augrun.tracking import saved_view
from tests import browser
from tests.experiment.test_leakage import write
from tests.experiment.test_run import augrun
from tests.processes import restore_signals
from tests.tracking.test_recorder import closed_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SHOTS = browser.OUTPUT / "mlflow-ui"
ROWS = ("none", "copy", "shuffled")
PARENTS = ["feel/none/none/mobilenetv2_attention"]
PARENTS += [f"feel/{row}/equal_duration/mobilenetv2_attention" for row in ROWS[1:]]
SWEEP = [
    *("-m", f"generator={','.join(ROWS)}", "dataset=feel", "scale=demo", "trainer=cpu", "trials.count=2"),
    *("protocol.limit=1", "policy.fraction=0.2", "significance.resamples=0"),
    *("representation.bands=80", "dataset.input_frames=96", "classifier.slice_frames=96", "classifier.width=0.1"),
    *("classifier.adam_epochs=2", "classifier.sgd_epochs=1"),
]


@pytest.fixture(scope="module")
def pages() -> Iterator[Any]:
    """A browser; first of all, so that without one nothing is trained."""
    with browser.chromium() as opened:
        SHOTS.mkdir(parents=True, exist_ok=True)
        yield opened


@pytest.fixture(scope="module")
def swept(pages: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a small sweep."""
    folder = tmp_path_factory.mktemp("swept")
    ended = augrun(folder / "out", *SWEEP, f"dataset.root={write(folder / 'feel', 0)}")
    assert ended.returncode == 0, ended.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def runs(swept: Path) -> dict[str, Run]:
    """The sweep's run and those of its conditions, by name."""
    client = MlflowClient(tracking_uri=f"sqlite:///{swept}/mlflow.db")
    experiment = client.get_experiment_by_name("feel")
    found = client.search_runs([experiment.experiment_id], "tags.`augrun.kind` != 'trial'")
    return {run.info.run_name: run for run in found}


@pytest.fixture(scope="module")
def address(swept: Path) -> Iterator[str]:
    """Where `augrun ui` shows it."""
    port = closed_port()
    command = [sys.executable, "-m", "augrun", "ui", "--port", str(port)]
    env = {**os.environ, "AUGRUN_OUTPUT": str(swept)}
    shown = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, preexec_fn=restore_signals)
    assert shown.stdout is not None
    try:
        assert any("MLflow UI: " in line for line in iter(shown.stdout.readline, "")), "the UI ended"
        yield f"http://127.0.0.1:{port}/#"
    finally:
        shown.send_signal(signal.SIGINT)
        assert shown.wait(timeout=300) == 0


@pytest.fixture
def page(pages: Any) -> Iterator[Any]:
    """A page of its own, with nothing remembered."""
    opened = pages.new_page(viewport={"width": 1560, "height": 900})
    opened.set_default_timeout(300_000)
    # MLflow opens an assistant beside its pages where it has not done so before.
    opened.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
    yield opened
    opened.close()


def shoot(page: Any, name: str) -> None:
    page.wait_for_timeout(1500)  # for what moves
    page.screenshot(path=SHOTS / f"{name}.png")


def open_runs(page: Any, address: str, runs: dict[str, Run], query: str = "") -> None:
    """The experiment's runs."""
    page.goto(f"{address}/experiments/{runs['sweep'].info.experiment_id}/runs{query}")
    for name in (*PARENTS, "sweep"):
        page.get_by_role("link", name=name).first.wait_for()


def row(page: Any, name: str) -> Any:
    return page.get_by_role("row").filter(has_text=name)


def cell(page: Any, run: Run, column: str) -> Any:
    return page.locator(f"[row-id='{run.info.run_id}'] [col-id='{column}']")


def test_runs_fold_and_the_saved_view_has_the_gains(page: Any, address: str, runs: dict[str, Run]) -> None:
    open_runs(page, address, runs)
    assert page.get_by_text("Which generator helps on which corpus?").first.is_visible()
    assert page.get_by_text("feel (other)").count() == len(PARENTS), "the data are a column"
    shoot(page, "runs")
    children = page.get_by_role("link", name="trial-")
    assert children.count() == 0
    row(page, PARENTS[1]).get_by_role("button").first.click()
    children.nth(1).wait_for()
    assert sorted(children.all_inner_texts()) == ["fold-fold1/trial-0", "fold-fold1/trial-1"]
    shoot(page, "children")

    open_runs(page, address, runs)
    page.get_by_role("button", name="Views").click()
    page.get_by_text(saved_view.NAME, exact=True).last.click()
    cell(page, runs[PARENTS[1]], "metrics.`gain/uar`").wait_for()
    assert page.get_by_role("link", name="trial-").count() == 0
    for name in PARENTS[1:]:
        shown = float(cell(page, runs[name], "metrics.`gain/uar`").inner_text())
        assert shown == pytest.approx(runs[name].data.metrics["gain/uar"], abs=1e-4)
    assert [cell(page, runs[name], "params.`generator`").inner_text() for name in PARENTS] == list(ROWS)
    shoot(page, "gains")


def test_charts_begin_with_the_gains(page: Any, address: str, runs: dict[str, Run]) -> None:
    open_runs(page, address, runs, "?compareRunsMode=CHART")
    titles = page.get_by_text("gain/uar", exact=True)
    titles.first.wait_for()
    box = titles.first.bounding_box()
    assert box["y"] < 900, "without scrolling"
    shoot(page, "charts")


def test_runs_are_compared(page: Any, address: str, runs: dict[str, Run]) -> None:
    open_runs(page, address, runs)
    for name in PARENTS[1:]:
        row(page, name).locator("input.ag-checkbox-input").check()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_text("Comparing 2 Runs from 1 Experiment").wait_for()
    page.get_by_text("gain/uar", exact=True).first.wait_for()
    text = page.locator("body").inner_text()
    for word in (*PARENTS[1:], "gain/uar", "gain/f1_macro", "Parallel Coordinates Plot"):
        assert word in text, word
    shoot(page, "compare")
    page.get_by_text("Artifacts", exact=True).last.scroll_into_view_if_needed()
    shoot(page, "compare-metrics")


def test_the_sweep_shows_its_table_and_its_report(page: Any, address: str, runs: dict[str, Run]) -> None:
    info = runs["sweep"].info
    place = f"{address}/experiments/{info.experiment_id}/runs/{info.run_id}/artifacts"
    page.goto(f"{place}/tables/comparison.html")
    table = page.frame_locator("iframe")
    for name in ROWS:
        table.get_by_role("rowheader", name=name).wait_for()
    assert table.get_by_text("not the published one").count()
    shoot(page, "table")
    page.goto(f"{place}/tables/comparison.md")
    page.reload()
    for name in ROWS:
        page.get_by_role("cell", name=name, exact=True).first.wait_for()
    shoot(page, "table-markdown")

    page.goto(f"{place}/report.html")
    page.reload()
    report = page.frame_locator("iframe")
    report.get_by_role("heading", name="Results").wait_for()
    shoot(page, "report")
    loaded = """async images => {
        for (const image of images) image.loading = 'eager';
        const broken = [];
        for (const image of images) await image.decode().catch(() => broken.push(image.alt || image.src.slice(0, 80)));
        return [images.length, broken];
    }"""
    count, broken = report.locator("img").evaluate_all(loaded)
    assert count > 5 and broken == []


def test_a_run_says_what_it_is(page: Any, address: str, runs: dict[str, Run]) -> None:
    info = runs[PARENTS[1]].info
    page.goto(f"{address}/experiments/{info.experiment_id}/runs/{info.run_id}")
    page.get_by_role("heading", name=PARENTS[1]).wait_for()
    page.get_by_text("trained on recordings of").wait_for()
    page.get_by_role("link", name="fold-fold1/trial-1").wait_for()
    assert page.get_by_text("feel (other)").first.is_visible()
    shoot(page, "run")
