"""Running a program of somebody else's: its lines shown, its time limited, nothing of it left behind.

The program is started from a list of words, never through a shell, in a session of its own, so that everything it
starts in turn can be ended with it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from augrun.core.errors import AugrunError

OUTPUT, PROCESS = "output.log", "process.json"
GRACE_S = 5.0  # between the request to end and the end by force
LAST_LINES = 12  # of a failed program's output, in the error
_LONGEST_LINE = 400  # characters of a line that are shown
_LONGEST_PIECE = 1 << 16  # bytes without a line's end that are held in memory
_REPAINT_S = 1.0  # a line that repaints itself (a progress bar's) is passed on this often
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


class ProgramError(AugrunError):
    """The program could not be started, failed, or took too long."""


def run(
    command: Sequence[str],
    *,
    folder: Path,
    title: str,
    work_dir: Path | None = None,
    env: Mapping[str, object] | None = None,
    timeout_s: float | None = None,
    show: bool = True,
) -> None:
    """Runs a command to its end.

    Whatever it prints, on either stream, goes line by line to the console behind `title |`, and whole to
    `folder/output.log`. However this returns (timeout, Ctrl-C and SIGTERM included), the program and all it started
    in its session are gone.

    Args:
        command: the program and its arguments; no shell sees them.
        folder: where the log goes.
        title: the program's name on the console and in errors.
        work_dir: the folder it starts in; None is the current one.
        env: variables to set beside those of this process; null takes one away.
        timeout_s: seconds that it may take; None sets no limit.
        show: pass its lines on to the console.

    Raises:
        ProgramError: it cannot be started, ends with another status than 0, or takes too long. The text has its last
            lines.
    """
    with open(folder / OUTPUT, "ab") as log, _terminable():
        try:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=work_dir,
                env=environment(env or {}),
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ProgramError(f"{title}: {command[0]!r} cannot be started ({reason})") from None
        assert process.stdout is not None
        output = _Output(process.stdout, log, title, show)
        status = None
        try:
            _note(folder, process.pid)
            output.start()
            with suppress(subprocess.TimeoutExpired):
                status = process.wait(timeout_s)
        finally:
            _end(process)
            output.join(GRACE_S)  # a grandchild in a session of its own may hold the pipe for ever
            (folder / PROCESS).unlink(missing_ok=True)
    if status != 0:
        raise ProgramError(f"{title}: the program {_how(status, timeout_s)}; {output.told(folder / OUTPUT)}")


def environment(changes: Mapping[str, object]) -> dict[str, str]:
    """This process's variables with some changed; a Python program's lines come as it prints them."""
    merged: dict[str, object] = {"PYTHONUNBUFFERED": "1", **os.environ, **changes}
    return {name: str(value) for name, value in merged.items() if value is not None}


def end_orphan(folder: Path) -> None:
    """Ends the program that runs on for `folder` though what started it was killed."""
    with suppress(OSError, ValueError, KeyError):
        noted = json.loads((folder / PROCESS).read_text())
        if noted == _identity(noted["pid"]):
            os.killpg(noted["pid"], signal.SIGKILL)


def _note(folder: Path, pid: int) -> None:
    with suppress(OSError):
        (folder / PROCESS).write_text(json.dumps(_identity(pid)))


def _identity(pid: int) -> dict[str, object]:
    """A process on this machine, told from a later one of the same number by when it started (Linux)."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return {"pid": pid, "host": platform.node(), "started": words[19]}


def _how(status: int | None, timeout_s: float | None) -> str:
    if status is None:
        return f"took more than {timeout_s:g} s and was ended"
    if status < 0:
        return f"was ended by signal {-status} ({signal.Signals(-status).name})"
    return f"ended with status {status}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the program, if it still runs, and everything that it started in its session."""
    try:
        if process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM, which ends a Python process on the spot, pass through `finally` as Ctrl-C does."""
    of_main = threading.current_thread() is threading.main_thread()
    if not of_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Output(threading.Thread):
    """Reads a pipe for as long as there is something in it, so that the program never waits for a reader."""

    def __init__(self, pipe: IO[bytes], log: IO[bytes], title: str, show: bool) -> None:
        super().__init__(daemon=True, name="external-output")
        self.pipe, self.title, self.show = pipe, title, show
        self.log: IO[bytes] | None = log
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        self.repainted = 0.0
        self.repainting = False

    def run(self) -> None:
        rest = b""
        with suppress(OSError, ValueError), self.pipe:
            while chunk := self.pipe.read(1 << 16):
                self._keep(chunk)
                pieces = re.split(rb"(\r?\n|\r)", rest + chunk)
                rest = pieces[-1][-_LONGEST_PIECE:]
                for text, ending in zip(pieces[0:-1:2], pieces[1::2], strict=True):
                    self._line(text, ending == b"\r")
        if rest:
            self._line(rest, False)

    def told(self, log: Path) -> str:
        """The last lines, for an error."""
        if not self.last:
            return "it printed nothing"
        return "its last lines:\n" + "\n".join(f"  {line}" for line in self.last) + f"\nAll of them: {log}"

    def _keep(self, chunk: bytes) -> None:
        if self.log is not None:
            try:
                self.log.write(chunk)
                self.log.flush()
            except (OSError, ValueError):
                self.log = None  # a full disk must not stop the reading

    def _line(self, raw: bytes, repaints: bool) -> None:
        text = _ESCAPES.sub("", raw.decode(errors="replace")).rstrip()[:_LONGEST_LINE]
        if not text:
            return
        if self.repainting and self.last:
            self.last.pop()
        self.last.append(text)
        self.repainting = repaints
        now = time.monotonic()
        if repaints and now - self.repainted < _REPAINT_S:
            return
        self.repainted = now if repaints else self.repainted
        if self.show:
            with suppress(OSError, ValueError):
                print(f"{self.title} | {text}", file=sys.stderr, flush=True)
