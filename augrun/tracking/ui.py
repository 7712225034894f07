"""MLflow's own user interface, started as a program of its own and ended with everything it started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from augrun.core.errors import RequestError
from augrun.core.runtime.signals import sigterm_raises
from augrun.tracking import Tracking
from augrun.tracking.session import DATABASE, Session


def require_port(host: str, port: int) -> None:
    """Makes sure that a server can listen there.

    Raises:
        RequestError: it cannot, most often because another one does.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RequestError(f"{host}:{port} cannot be used ({error.strerror}); try --port {port + 1}") from None


def serve(database: Path, host: str, port: int) -> int:
    """Serves a database until it is interrupted, and prints the address when it answers.

    Returns:
        The exit code: 0 after Ctrl-C, else the server's.
    """
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{database}"]
    command += ["--host", host, "--port", str(port), "--workers", "1", "--uvicorn-opts", "--log-level warning"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"} | os.environ
    # A group of its own: MLflow's server starts workers, and Ctrl-C must end them all.
    server = subprocess.Popen(command, env=quiet, cwd=database.parent, start_new_session=True)
    try:
        with sigterm_raises():
            _announce(server, f"http://{host}:{port}")
            return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        stop(server)


def _announce(server: subprocess.Popen[bytes], address: str) -> None:
    """Prints the address once the server answers."""
    print("starting the MLflow UI …", flush=True)
    while server.poll() is None:
        if answers(address):
            print(f"MLflow UI: {address}  (Ctrl-C stops it)", flush=True)
            return
        time.sleep(0.2)


def answers(address: str) -> bool:
    """Whether a server of MLflow's answers on this machine."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy knows this machine's own ports
    try:
        with direct.open(f"{address}/health", timeout=2):
            return True
    except OSError:
        return False


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ends a server and every process of its group."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, kind)
            server.wait(timeout=10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def ui(output: Path, host: str = "127.0.0.1", port: int = 5000) -> int:
    """Runs MLflow's UI on an output root until it is interrupted, and prints its address when it answers.

    Raises:
        RequestError: the port is taken, or nothing has been recorded there.
    """
    database = output.resolve() / DATABASE
    if not database.is_file():
        raise RequestError(f"nothing is recorded in {output} yet; run `augrun` first, or set AUGRUN_OUTPUT")
    require_port(host, port)
    Session(Tracking(), output).reap_everywhere()
    return serve(database, host, port)
