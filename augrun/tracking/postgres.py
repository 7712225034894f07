"""A PostgreSQL of one's own under a folder: made on first use, reached through a socket by its owner alone.

Nothing listens on the network, and there is no password: the kernel tells PostgreSQL who knocks (`peer`). PostgreSQL
does not run as root; started by root it runs as `postgres` or `nobody`, who then own the folder of its data.
"""

from __future__ import annotations

import getpass
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from augrun.core.errors import AugrunError, RequestError

#: The variable that names the folder of PostgreSQL's programs.
VARIABLE = "PG_BIN"

#: Where Debian keeps them, by version.
DEBIAN = Path("/usr/lib/postgresql")

#: The role that owns the database, and the database.
ROLE, DATABASE = "augrun", "mlflow"

#: How the folder of its socket is called, in the folder for temporary files.
SOCKETS = "augrun-postgres-"

#: How long PostgreSQL may take to start or to stop, seconds.
PATIENCE_S = 60.0


def programs() -> Path:
    """The folder with `initdb` and `postgres`: `PG_BIN`, Debian's newest, or that on the path.

    Raises:
        RequestError: there is none.
    """
    named = os.environ.get(VARIABLE)
    if named and not (Path(named) / "initdb").is_file():
        raise RequestError(f"{VARIABLE}={named}: no initdb there; give the folder with PostgreSQL's programs")
    versions = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(re.sub(r"\D", "", path.parts[-3]) or 0))
    found = Path(named) / "initdb" if named else versions[-1] if versions else shutil.which("initdb")
    if found is None:
        raise RequestError(f"no PostgreSQL here: `apt-get install postgresql`, or {VARIABLE}=FOLDER of its programs")
    return Path(found).parent


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """PostgreSQL on the data in `folder`, with an empty database the first time; stopped at the end.

    Args:
        folder: gets `data/` and `postgres.log`. One process at a time may have it.

    Yields:
        The database's address as SQLAlchemy takes it.

    Raises:
        RequestError: PostgreSQL or psycopg2 is not here, or who is to run it cannot reach the folder.
        AugrunError: it does not start.
    """
    _require_driver()
    place, who = programs(), _runs_as()
    data, log = folder.resolve() / "data", folder.resolve() / "postgres.log"
    folder.mkdir(parents=True, exist_ok=True)
    if not (data / "PG_VERSION").is_file():
        _make(place, data, who)
    _stop_orphan(place, data, who)
    sockets = Path(tempfile.mkdtemp(prefix=SOCKETS))  # paths of sockets must be short
    _give(sockets, who)
    command: list[str | Path] = [place / "postgres", "-D", data, "-k", sockets]
    command += ["-c", "listen_addresses=", "-c", "max_connections=200"]
    try:
        with open(log, "a", encoding="utf-8") as file:
            # A session of its own: Ctrl-C must not end it before those who write to it.
            server = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True, cwd="/", **who)
        try:
            _wait(server, sockets, log)
            yield f"postgresql+psycopg2://{ROLE}@/{DATABASE}?host={quote(str(sockets), safe='')}"
        finally:
            _stop(server)
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


def _require_driver() -> None:
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        raise RequestError("PostgreSQL is reached through psycopg2: pip install 'augrun[server]'") from None


def _runs_as() -> Mapping[str, Any]:
    """Who runs PostgreSQL, as `subprocess` takes it; root lets somebody else."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RequestError("PostgreSQL does not run as root, and there is no user postgres or nobody; run this as a user")


def _give(folder: Path, who: Mapping[str, Any]) -> None:
    folder.chmod(0o700)
    if who:
        os.chown(folder, who["user"], who["group"])


def _make(place: Path, data: Path, who: Mapping[str, Any]) -> None:
    """An empty cluster: whole or not at all."""
    beside = data.with_name("data.partial")
    if beside.exists():
        shutil.rmtree(beside)
    beside.mkdir(mode=0o700)
    _give(beside, who)
    if who and subprocess.run(["test", "-w", beside], cwd="/", **who).returncode:
        name = pwd.getpwuid(who["user"]).pw_name
        raise RequestError(
            f"PostgreSQL does not run as root, and {name}, who runs it instead, cannot reach {data.parent}; "
            "choose another AUGRUN_OUTPUT, or run this as a user"
        )
    command: list[str | Path] = [place / "initdb", "-D", beside, "-U", ROLE]
    command += ["-E", "UTF8", "--locale=C", "--auth=peer"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, **who)
    if done.returncode:
        raise AugrunError(f"initdb failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
    # Whoever starts this and nobody else: the kernel says who is at the other end of the socket.
    (beside / "pg_hba.conf").write_text("local all all peer map=owner\n", encoding="utf-8")
    (beside / "pg_ident.conf").write_text(f'owner "{getpass.getuser()}" {ROLE}\n', encoding="utf-8")
    beside.rename(data)


def _stop_orphan(place: Path, data: Path, who: Mapping[str, Any]) -> None:
    """Stops a server that was left behind on this data by one of us that was killed, and its socket's folder."""
    left = data / "postmaster.pid"
    lines = left.read_text(encoding="utf-8").splitlines() if left.is_file() else []
    control = [str(place / "pg_ctl"), "-D", str(data)]
    running = subprocess.run([*control, "status"], cwd="/", capture_output=True, **who).returncode == 0
    if running and lines and _is_postgres(lines[0]):  # pg_ctl asks for no more than that there is such a process
        subprocess.run([*control, "stop", "-m", "fast", "-w"], cwd="/", capture_output=True, **who)
    if len(lines) > 4 and Path(lines[4]).name.startswith(SOCKETS):  # its fifth line, as PostgreSQL's sources have it
        shutil.rmtree(lines[4], ignore_errors=True)


def _is_postgres(pid: str) -> bool:
    """Whether that is what a process of this machine runs; its id may be one of another machine, or used again."""
    try:
        return b"postgres" in Path(f"/proc/{int(pid)}/cmdline").read_bytes().split(b"\0")[0]
    except (OSError, ValueError):
        return False


def _wait(server: subprocess.Popen[bytes], sockets: Path, log: Path) -> None:
    """Until it answers and the database is there.

    Raises:
        AugrunError: it ends, or does not answer for a minute.
    """
    import psycopg2

    until = time.monotonic() + PATIENCE_S
    while server.poll() is None and time.monotonic() < until:
        try:
            connection = psycopg2.connect(host=str(sockets), user=ROLE, dbname="postgres")
        except psycopg2.OperationalError:
            time.sleep(0.1)
            continue
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if cursor.fetchone() is None:
                cursor.execute(f'CREATE DATABASE "{DATABASE}"')
        connection.close()
        return
    said = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no word"])[-1]
    raise AugrunError(f"PostgreSQL does not start: {said}; more in {log}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Ends it: at once and cleanly, and the hard way only where it does not listen."""
    for kind in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if server.poll() is None:
            server.send_signal(kind)
        try:
            server.wait(PATIENCE_S)
            return
        except subprocess.TimeoutExpired:
            continue
