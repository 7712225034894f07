"""Eight jobs at once lose nothing and double nothing, on a server with PostgreSQL and in sqlite; nor does an outage."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from filelock import FileLock
from mlflow import MlflowClient

from augrun.core.errors import RequestError
from augrun.tracking import Tracking, postgres, sync
from augrun.tracking import server as tracking_server
from augrun.tracking.recorder import Recorder
from augrun.tracking.server import FOLDER, Server, serving
from tests.counting import in_mlflow, on_disk, totals
from tests.processes import restore_signals
from tests.tracking.test_recorder import CONFIG, NAMES, TITLE, closed_port, condition

ROOT = Path(__file__).resolve().parents[2]
JOBS = 8


def here() -> str:
    """Why there can be no server; empty where there can."""
    try:
        postgres.programs()
        postgres._require_driver()
    except RequestError as error:
        return str(error)
    return ""


needs_postgres = pytest.mark.skipif(bool(here()), reason=here())


@contextmanager
def a_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user can reach, which pytest's own are not for root."""
    folder = Path(tempfile.mkdtemp(prefix="augrun-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def reachable() -> Iterator[Path]:
    with a_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with a_folder() as folder, serving(folder, closed_port(), workers=2) as one:
        yield one


def job(number: int, output: Path, uri: str | None, folders: list[Path], start: Any, said: Any) -> None:
    """One of several jobs at once: its own condition, and one that all of them share, as a baseline is."""
    recorder = Recorder(Tracking(uri=uri, experiment="many", timeout_s=300), output)
    try:
        start.wait(600)
        for folder in folders:
            with recorder.running(folder.name, TITLE, NAMES, CONFIG) as run:
                run.log_condition(folder)
        said.put((number, recorder.problem))
    except BaseException:
        said.put((number, traceback.format_exc()))


def at_once(conditions: list[Path], shared: Path, outputs: list[Path], uri: str | None) -> None:
    """Runs a job for each condition, all started in the same moment, and makes sure that none has a complaint."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # MLflow is imported once for all
    start, said = context.Barrier(len(conditions)), context.Queue()
    jobs = [
        context.Process(target=job, args=(n, output, uri, [shared, own] if n % 2 else [own, shared], start, said))
        for n, (own, output) in enumerate(zip(conditions, outputs, strict=True))
    ]
    for one in jobs:
        one.start()
    assert sorted(said.get(timeout=800) for _ in jobs) == [(n, None) for n in range(len(jobs))]
    for one in jobs:
        one.join(300)


def conditions_in(place: Path) -> tuple[list[Path], Path]:
    own = [condition(place / f"c{number}", f"c{number}") for number in range(JOBS)]
    return own, condition(place / "shared", "shared", folds=("a", "b", "c"))


def require_all(client: MlflowClient, folders: list[Path], experiment: str = "many") -> None:
    """Every run, parameter, point and artifact is there once, and nothing else is."""
    expected, found = on_disk(folders), in_mlflow(client, experiment)
    once = totals(held for those in found.values() for held in those)
    assert once == totals(expected.values())
    assert found == {name: [held] for name, held in expected.items()}


@pytest.mark.slow
@needs_postgres
def test_eight_jobs_at_once_on_a_server(tmp_path: Path, server: Server) -> None:
    own, shared = conditions_in(tmp_path)
    # Each has an output root of its own, as on eight machines: no lock of ours reaches from one to the other.
    at_once(own, shared, [tmp_path / f"machine-{number}" for number in range(JOBS)], server.uri)
    client = MlflowClient(tracking_uri=server.uri)
    require_all(client, [*own, shared])
    assert [e.name for e in client.search_experiments()].count("many") == 1
    assert len(on_disk([*own, shared])) == JOBS * (1 + 4) + 1 + 6
    place = server.folder / "artifacts" / client.get_experiment_by_name("many").experiment_id
    kept = [path for path in place.rglob("*") if path.is_file()]
    assert len(kept) == totals(on_disk([*own, shared]).values())["artifacts"]


@pytest.mark.slow
def test_eight_jobs_at_once_in_sqlite(tmp_path: Path) -> None:
    own, shared = conditions_in(tmp_path)
    output = tmp_path / "out"
    at_once(own, shared, [output] * JOBS, None)  # the database is made by whoever comes first
    require_all(MlflowClient(tracking_uri=f"sqlite:///{output}/mlflow.db"), [*own, shared])


@pytest.mark.slow
@needs_postgres
def test_a_server_that_goes_away_loses_nothing(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It dies while a condition's artifacts are on their way, and stays away for the whole of the next one."""
    before, during, after = (condition(tmp_path / name, name) for name in ("before", "during", "after"))
    comparison = tmp_path / "comparison"
    (comparison / "tables").mkdir(parents=True)
    (comparison / "tables" / "comparison.md").write_text("| a |")

    def record(folder: Path) -> Recorder:
        one = Recorder(Tracking(uri=server.uri, experiment="gone", timeout_s=60), tmp_path / "out")
        with one.running(folder.name, TITLE, NAMES, CONFIG) as run:
            run.log_condition(folder)
        return one

    assert record(before).problem is None
    sent: list[str] = []
    real = MlflowClient.log_artifacts

    def dying(self: MlflowClient, run_id: str, folder: str, *rest: Any) -> None:
        if sent:
            server.kill()
        sent.append(folder)
        real(self, run_id, folder, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifacts", dying)
        broken = record(during)
    assert len(sent) == 2
    lines = broken.closing_line().splitlines()
    assert lines[0].startswith(f"MLflow at {server.uri} did not take everything (")
    again = f"`augrun store sync --tracking {server.uri}`"
    assert lines[1] == f"Nothing is lost: {again} sends what is missing once it answers."
    # The last file that arrived did so by half.
    arrived = max((server.folder / "artifacts").rglob("tables/*"), key=lambda path: path.stat().st_mtime_ns)
    arrived.write_bytes(arrived.read_bytes()[:3])
    gone = record(after)
    gone.comparison("sweep", "s0", comparison)
    assert gone.problem is not None

    server.start()
    folders, output = [before, during, after], tmp_path / "out"
    for folder in folders:  # the experiment that `sync` takes is the configuration's
        (folder / "config.yaml").write_text(
            (folder / "config.yaml").read_text().replace("experiment: null", "experiment: gone")
        )
    said = sync.sync(folders, output, server.uri)
    assert said == "MLflow: 2 conditions sent, 1 were there already; 1 comparisons sent"
    client = MlflowClient(tracking_uri=server.uri)
    experiment = client.get_experiment_by_name("gone").experiment_id
    (sweep,) = client.search_runs([experiment], "tags.`augrun.kind` = 'sweep'")
    assert sweep.info.status == "FINISHED"
    client.delete_run(sweep.info.run_id)
    require_all(client, folders, "gone")
    assert sync.sync(folders, output, server.uri).startswith("MLflow: 0 conditions sent, 3 were there")


@pytest.mark.slow
@needs_postgres
def test_the_server_is_started_stopped_and_started_again(reachable: Path) -> None:
    port = closed_port()
    command = [sys.executable, "-m", "augrun.tracking.server", "--port", str(port), "--workers", "1"]
    environment = os.environ | {"AUGRUN_OUTPUT": str(reachable)}

    def start() -> subprocess.Popen[str]:
        one = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, preexec_fn=restore_signals
        )
        assert one.stdout is not None
        assert f"    augrun tracking.uri=http://127.0.0.1:{port} …\n" in iter(one.stdout.readline, "")
        return one

    before = set(Path(tempfile.gettempdir()).glob("augrun-postgres-*"))
    first = start()
    client = MlflowClient(tracking_uri=f"http://127.0.0.1:{port}")
    client.create_experiment("kept")
    again = subprocess.run(
        [*command[:4], str(closed_port())], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert again.returncode == 2
    assert again.stderr.startswith(f"augrun: {reachable}/{FOLDER} is served already; stop that server")
    first.send_signal(signal.SIGKILL)  # both servers are left behind
    first.wait()
    second = start()
    assert client.get_experiment_by_name("kept") is not None
    second.send_signal(signal.SIGINT)
    assert second.wait(300) == 0
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert not [line for line in left.splitlines() if str(reachable) in line]
    assert set(Path(tempfile.gettempdir()).glob("augrun-postgres-*")) <= before


@needs_postgres
def test_postgres_listens_to_its_owner_alone(reachable: Path) -> None:
    import psycopg2

    with postgres.running(reachable / "postgres") as address:
        assert address.startswith("postgresql+psycopg2://augrun@/mlflow?host=")
        sockets = Path(unquote(address.partition("host=")[2]))
        assert sockets.stat().st_mode & 0o777 == 0o700
        connection = psycopg2.connect(host=str(sockets), user="augrun", dbname="mlflow")
        with connection.cursor() as cursor:
            cursor.execute("SHOW listen_addresses")
            assert cursor.fetchone() == ("",)
        connection.close()
        with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
            psycopg2.connect(host=str(sockets), user="postgres", dbname="mlflow")
    assert not sockets.exists()


@pytest.mark.parametrize("left", ["another-machine:{pid}:1", "another-machine:{pid}:", "", "nonsense"])
def test_a_process_of_another_machine_is_left_alone(tmp_path: Path, left: str) -> None:
    """The output folder may come from a container, whose numbers name other processes here."""
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    (tmp_path / "pid").write_text(left.format(pid=other.pid))
    tracking_server._stop_orphan(tmp_path / "pid")
    assert not postgres._is_postgres(str(other.pid)) and not postgres._is_postgres("x")
    assert other.poll() is None
    other.communicate(b"\n")
    assert other.returncode == 0


def test_without_postgres_the_mend_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PG_BIN", raising=False)
    with pytest.raises(RequestError, match=r"no PostgreSQL here: `apt-get install postgresql`, or PG_BIN=FOLDER"):
        postgres.programs()
    monkeypatch.setenv("PG_BIN", str(tmp_path))
    with pytest.raises(RequestError, match=r"PG_BIN=.*: no initdb there"):
        postgres.programs()
    (tmp_path / "15" / "bin").mkdir(parents=True)
    (tmp_path / "9" / "bin").mkdir(parents=True)
    for version in ("15", "9"):
        (tmp_path / version / "bin" / "initdb").touch()
    monkeypatch.delenv("PG_BIN")
    assert postgres.programs() == tmp_path / "15" / "bin"


def test_a_port_that_is_taken_and_a_root_that_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "programs", lambda: tmp_path)
    folder = tmp_path / FOLDER
    folder.mkdir()
    with FileLock(folder / "lock"), pytest.raises(RequestError, match="is served already"):  # noqa: SIM117
        with serving(tmp_path, closed_port()):
            pass
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RequestError, match=rf"127\.0\.0\.1:{port} cannot be used"), serving(tmp_path, port):
            pass
    assert tracking_server.free_port() > 0
