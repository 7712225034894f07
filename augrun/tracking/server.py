"""`make tracking-server`: an MLflow server on this machine's loopback, with PostgreSQL and an artifact proxy.

Under the output folder:

    tracking-server/postgres     what MLflow keeps of runs (`augrun.tracking.postgres`)
    tracking-server/artifacts    their artifacts: clients send them through the server and need not see this folder
    tracking-server/mlflow.log   what the server says

A second start goes on with the same data.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from augrun.core.errors import AugrunError, RequestError
from augrun.core.runtime.processes import is_dead, process
from augrun.core.runtime.signals import sigterm_raises
from augrun.tracking import postgres
from augrun.tracking.ui import answers, require_port, stop

FOLDER, PID = "tracking-server", "mlflow.pid"
HOST, PORT = "127.0.0.1", 5000

#: Processes that answer: enough for eight jobs at once, each of which waits for one answer at a time.
WORKERS = 4

#: How long the server may take to answer for the first time, seconds.
PATIENCE_S = 180.0


@dataclass
class Server:
    """MLflow's server on a database and a folder of artifacts.

    Attributes:
        folder: gets `artifacts/`, `mlflow.log` and, while the server runs, `mlflow.pid`.
        database: the database's address.
        port: where it listens, on the loopback.
        workers: processes that answer.
    """

    folder: Path
    database: str
    port: int
    workers: int = WORKERS
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def uri(self) -> str:
        """What `tracking.uri` takes."""
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "mlflow.log"

    def start(self) -> None:
        """Starts the server and returns when it answers.

        Raises:
            AugrunError: it ends, or does not answer.
        """
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.database]
        command += ["--serve-artifacts", "--artifacts-destination", str(self.folder / "artifacts")]
        command += ["--host", HOST, "--port", str(self.port), "--workers", str(self.workers)]
        command += ["--uvicorn-opts", "--log-level warning"]
        settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        (self.folder / "artifacts").mkdir(exist_ok=True)
        with open(self.log, "ab") as log:
            # A group of its own: the server starts workers, and all must end together.
            self._process = subprocess.Popen(
                command, env=settings | os.environ, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        (self.folder / PID).write_text(process(self._process.pid), encoding="utf-8")
        until = time.monotonic() + PATIENCE_S
        while not answers(self.uri):
            if not self.runs or time.monotonic() > until:
                self.stop()
                raise AugrunError(f"the MLflow server does not start; {self.log} says why")
            time.sleep(0.1)

    @property
    def runs(self) -> bool:
        """Whether it does."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stops the server and its workers."""
        if self._process is not None:
            stop(self._process)
        self._process = None
        (self.folder / PID).unlink(missing_ok=True)

    def kill(self) -> None:
        """Ends it as a crash of the machine would."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def serving(output: Path, port: int | None = None, workers: int = WORKERS) -> Iterator[Server]:
    """PostgreSQL and MLflow's server on an output root, stopped at the end.

    Args:
        output: the output root.
        port: to listen at; None takes 5000, or any that is free where that is taken.
        workers: processes that answer.

    Raises:
        RequestError: the port is taken, PostgreSQL is not here, or the output root is served already.
        AugrunError: one of the two does not start.
    """
    folder = output.resolve() / FOLDER
    postgres.programs()  # before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RequestError(f"{folder} is served already; stop that server, or set AUGRUN_OUTPUT") from None
    try:
        _stop_orphan(folder / PID)
        if port is not None:
            require_port(HOST, port)
        with postgres.running(folder / "postgres") as database:
            server = Server(folder, database, port if port is not None else free_port(), workers)
            try:
                server.start()
                yield server
            finally:
                server.stop()
    finally:
        lock.release()


def _stop_orphan(path: Path) -> None:
    """Ends a server that was left behind here by one of us that was killed; ids of another machine name others here."""
    with suppress(FileNotFoundError, ProcessLookupError):
        left = path.read_text(encoding="utf-8")
        if left.count(":") < 2 or left.rsplit(":", 2)[0] != socket.gethostname():
            return
        until = time.monotonic() + 10
        while not is_dead(left) and time.monotonic() < until:
            os.killpg(int(left.split(":")[1]), signal.SIGKILL)
            time.sleep(0.1)


def free_port() -> int:
    """5000, or any that is free."""
    for port in (PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((HOST, port))
                return int(probe.getsockname()[1])
    raise AugrunError(f"no port is free on {HOST}")


def run(arguments: Sequence[str]) -> int:
    """Serves until it is interrupted.

    Returns:
        The exit code: 0 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m augrun.tracking.server", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, help=f"default: {PORT}, or a free one where that is taken")
    parser.add_argument("--workers", type=int, default=WORKERS, help="processes that answer (default: %(default)s)")
    given = parser.parse_args(arguments)
    from augrun.core.config.paths import output_root

    root = output_root()
    try:
        with sigterm_raises():
            print("starting PostgreSQL and the MLflow server …", flush=True)
            with serving(root, given.port, given.workers) as server:
                print(f"MLflow server: {server.uri}, on {server.folder}  (Ctrl-C stops it)", flush=True)
                print(f"    augrun tracking.uri={server.uri} …", flush=True)
                while server.runs:
                    time.sleep(0.5)
                raise AugrunError(f"the MLflow server has ended; {server.log} says why")
    except KeyboardInterrupt:
        print("\nstopped; `make tracking-server` goes on with the same runs", flush=True)
        return 0
    except AugrunError as error:
        print(f"augrun: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
