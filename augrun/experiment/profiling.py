"""What a condition's time goes into, with `profile=true`: traces of PyTorch's profiler, and an account of the stages.

profile/costs.md, costs.json     stage by stage: wall time, processor time, seconds of its own, peak memory, share
profile/NN-KIND-TITLE.json.gz    a few steps of a stage, for Perfetto (ui.perfetto.dev) or chrome://tracing

It watches (`augrun.core.runtime.progress_hooks`) and takes no part: fingerprints and results are what they are without
it, bit for bit.
"""

from __future__ import annotations

import gzip
import json
import logging
import re
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrun.core.files import write_text
from augrun.core.runtime import progress_hooks, resource_usage

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

log = logging.getLogger(__name__)

#: The folder in a condition's results.
FOLDER = "profile"

#: Kinds of stages that train; of those that follow, steps are passes through a network or groups of clips.
TRAINING = ("generator", "reducer", "classifier", "together")

#: Steps of a stage that are left out at its beginning, where it trains, and that are recorded.
SKIPPED, RECORDED = 2, 3

#: Stages that leave a trace, at most; the account has all.
TRACED = 24

#: A recording that comes to no step is ended after so many seconds, when the next thing happens that is told.
_TOO_LONG_S = 10.0


@dataclass
class Piece:
    """A stage that was done.

    Attributes:
        kind: of the stage.
        title: what it was called on the console.
        seconds: wall time.
        own_seconds: without the stages that it called for, and without what recording it took.
        cpu_seconds: processor time of its own, of all threads and of the programs that it ended.
        peak_bytes: the most memory of the process meanwhile.
        trace: the file of its trace; None where there is none.
    """

    kind: str
    title: str
    seconds: float = 0.0
    own_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int | None = None
    trace: str | None = None
    _within: tuple[float, float] = field(default=(0.0, 0.0), repr=False)

    def plain(self) -> dict[str, Any]:
        """As `costs.json` has it."""
        names = ("kind", "title", "seconds", "own_seconds", "cpu_seconds", "peak_bytes", "trace")
        return {name: round(v, 3) if isinstance(v := getattr(self, name), float) else v for name in names}


@contextmanager
def of(wanted: bool, title: str, done: bool) -> Iterator[Callable[[Path], None]]:
    """Watches what is done inside; yields what puts all that was found into a folder of results.

    Args:
        wanted: whether to; else nothing is watched, and what is yielded does nothing.
        title: of the condition.
        done: whether all of it is done already, so that there is nothing to watch.
    """
    if wanted and done:
        log.warning(
            "profile=true: everything of %s is done already, so there is nothing to profile; give an empty output root "
            "(output.root=DIR, with AUGRUN_STORE unset) to do it again",
            title,
        )
    if not wanted or done:
        yield lambda folder: None
        return
    with tempfile.TemporaryDirectory(prefix="augrun-profile-") as scratch:
        profiler = Profiler(Path(scratch))
        before = progress_hooks.by(profiler)
        try:
            yield lambda folder: profiler.leave(folder, title)
        finally:
            progress_hooks.by(before)
            profiler.close()


class Profiler:
    """Watches the stages of one condition in this process.

    Args:
        scratch: a folder for traces, as long as the results have none.
    """

    def __init__(self, scratch: Path) -> None:
        import torch  # noqa: F401 (takes seconds, which are no stage's)

        self.scratch = scratch
        self.pieces: list[Piece] = []
        self.started = time.perf_counter()
        self.inside = self.recording = 0.0
        self._open: list[tuple[Piece, Recording]] = []
        self._thread = threading.get_ident()
        self._traced = 0
        self._hooks = Hooks(self.stepped, self._entered)

    def piece(self, kind: str, title: str) -> AbstractContextManager[object]:
        """A stage's work; of other threads nothing is told."""
        return self._watched(Piece(kind, title)) if threading.get_ident() == self._thread else nullcontext()

    @contextmanager
    def _watched(self, piece: Piece) -> Iterator[None]:
        self._save(running=True)  # only one can be recorded at a time; what has not begun yet waits
        with resource_usage.measured() as measured:
            cpu = _cpu_seconds()
            recording = Recording(piece.kind)
            self._open.append((piece, recording))
            self._hooks.set(self._recording)
            try:
                yield
            finally:
                self._save()
                cpu = _cpu_seconds() - cpu
                self._open.pop()
                self._hooks.set(self._recording)
        piece.seconds, piece.peak_bytes = measured.seconds, measured.peak_bytes
        piece.own_seconds = max(0.0, piece.seconds - piece._within[0] - recording.took[0])
        piece.cpu_seconds = max(0.0, cpu - piece._within[1] - recording.took[1])
        self.recording += recording.took[0]
        if self._open:
            outer = self._open[-1][0]
            outer._within = outer._within[0] + piece.seconds, outer._within[1] + cpu
        else:
            self.inside += piece.seconds
        self.pieces.append(piece)

    @property
    def _recording(self) -> Recording | None:
        """That of the stage at hand, as long as there is something to record."""
        recording = self._open[-1][1] if self._open else None
        return recording if recording is not None and not recording.ended and self._traced < TRACED else None

    def _entered(self) -> None:
        """Data begins to pass through a network."""
        recording = self._recording
        if recording is not None and threading.get_ident() == self._thread:
            recording.entered()

    def stepped(self, kind: str) -> None:
        """A step is done."""
        recording = self._recording
        if recording is not None and threading.get_ident() == self._thread and recording.stepped(kind):
            self._save()
            self._hooks.set(None)

    def _save(self, running: bool = False) -> None:
        """Ends the recording of the stage at hand, and keeps what it has.

        Args:
            running: only where it has begun.
        """
        if not self._open or (running and not self._open[-1][1].running):
            return
        piece, recording = self._open[-1]
        path = recording.end(self.scratch)
        if path is not None:
            self._traced += 1
            words = re.sub(r"[^a-z0-9]+", "-", f"{piece.kind} {piece.title}".lower()).strip("-")[:80]
            piece.trace = f"{self._traced:02d}-{words}.json.gz"
            path.replace(self.scratch / piece.trace)

    def leave(self, folder: Path, title: str) -> None:
        """Puts the account and the traces into a condition's results."""
        whole = time.perf_counter() - self.started
        account = self.account(title, whole)
        fresh = folder / f".{FOLDER}"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        for trace in sorted(self.scratch.glob("*.json.gz")):
            shutil.copyfile(trace, fresh / trace.name)
        write_text(fresh / "costs.json", json.dumps(account, indent=1))
        write_text(fresh / "costs.md", markdown(account))
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        fresh.replace(folder / FOLDER)
        log.info("profile: %s", folder / FOLDER)

    def account(self, title: str, whole: float) -> dict[str, Any]:
        """The stages by what they cost, and what lies outside of them.

        Args:
            title: of the condition.
            whole: seconds of all of it.
        """
        pieces = sorted(self.pieces, key=lambda piece: -piece.own_seconds)
        stages = [piece.plain() | {"share": round(piece.own_seconds / whole, 4)} for piece in pieces]
        others = {"outside": max(0.0, whole - self.inside), "recording": self.recording}
        told = {name: {"seconds": round(s, 3), "share": round(s / whole, 4)} for name, s in others.items()}
        return {"title": title, "seconds": round(whole, 3), "stages": stages, **told}

    def close(self) -> None:
        """Asks torch for nothing any more."""
        self._hooks.set(None)


class Hooks:
    """Lets torch tell of updates of weights and of passes of data through networks, while somebody asks.

    Args:
        stepped: is told `update` after an optimiser's step and `pass` after the outermost module's.
        entered: is called before that.
    """

    def __init__(self, stepped: Callable[[str], None], entered: Callable[[], None]) -> None:
        self._stepped, self._entered = stepped, entered
        self._handles: list[Any] = []
        self._depth = 0

    def set(self, recording: Recording | None) -> None:
        """Asks for what a recording wants to know, or for nothing."""
        from torch.nn.modules import module
        from torch.optim.optimizer import register_optimizer_step_post_hook

        for handle in self._handles:
            handle.remove()
        self._handles, self._depth = [], 0
        if recording is None:
            return
        if recording.trains:
            self._handles = [register_optimizer_step_post_hook(lambda *_: self._stepped("update"))]
            return
        self._handles = [
            module.register_module_forward_pre_hook(lambda *_: self._enter()),
            module.register_module_forward_hook(lambda *_: self._leave(), always_call=True),
        ]

    def _enter(self) -> None:
        if not self._depth:
            self._entered()
        self._depth += 1

    def _leave(self) -> None:
        self._depth = max(0, self._depth - 1)
        if not self._depth:
            self._stepped("pass")


class Recording:
    """A few steps of one stage in PyTorch's profiler.

    Args:
        kind: of the stage. One that trains is recorded between updates of weights, after the first few; features from
            the first clips on; all others while data passes through a network.

    Attributes:
        took: wall and processor seconds that recording itself took: to begin, and to write the trace.
    """

    def __init__(self, kind: str) -> None:
        self.trains, self.extracts = kind in TRAINING, kind == "features"
        self.steps, self.ended = 0, False
        self.took = (0.0, 0.0)
        self._profiler: Any = None
        self._began = 0.0
        if self.extracts:
            self._start()

    @property
    def running(self) -> bool:
        """Whether it has begun, and not ended."""
        return self._profiler is not None and not self.ended

    def entered(self) -> None:
        """Data begins to pass through a network."""
        if not self.trains and self._profiler is None:
            self._start()

    def stepped(self, kind: str) -> bool:
        """A step is done; returns whether enough was recorded."""
        if self.trains != (kind == "update"):
            return False
        self.steps += 1
        if self._profiler is None:
            if self.trains and self.steps >= SKIPPED:
                self._start()
            return False
        enough = RECORDED + (SKIPPED if self.trains else 0)
        return self.steps >= enough or time.perf_counter() - self._began > _TOO_LONG_S

    def _start(self) -> None:
        import torch
        from torch.profiler import ProfilerActivity, profile

        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_initialized():
            activities.append(ProfilerActivity.CUDA)
        with self._taking():
            self._profiler = profile(activities=activities, experimental_config=_all_threads())
            self._profiler.__enter__()
        self._began = time.perf_counter()

    def end(self, scratch: Path) -> Path | None:
        """Ends it; the file of the trace, None where nothing was computed."""
        profiler, self._profiler = self._profiler, None
        if self.ended or profiler is None:
            self.ended = True
            return None
        self.ended = True
        with self._taking():
            profiler.__exit__(None, None, None)
            return _write(profiler, scratch) if _computed(profiler) else None

    @contextmanager
    def _taking(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), _cpu_seconds()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of further cycles, which there are not
                yield
        finally:
            self.took = self.took[0] + time.perf_counter() - wall, self.took[1] + _cpu_seconds() - cpu


def _write(profiler: Any, scratch: Path) -> Path:
    """The trace as a compressed file; torch's own compression takes several times as long."""
    text, path = scratch / "trace.json", scratch / "trace.json.gz"
    profiler.export_chrome_trace(str(text))
    with open(text, "rb") as source, gzip.open(path, "wb", compresslevel=3) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    text.unlink()
    return path


def _computed(profiler: Any) -> bool:
    """Whether anything of torch was recorded; `profiler.events()` would take seconds to tell."""
    return any(str(event.name()).startswith("aten::") for event in profiler.profiler.kineto_results.events())


def _all_threads() -> Any:
    """Also what the threads of a pool compute, where this version of torch can tell."""
    from torch._C._profiler import _ExperimentalConfig

    try:
        return _ExperimentalConfig(profile_all_threads=True)
    except TypeError:
        return None


def _cpu_seconds() -> float:
    """Processor time of this process, and of the programs that it has ended."""
    try:
        import resource
    except ImportError:  # not on Windows
        return time.process_time()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def markdown(account: dict[str, Any]) -> str:
    """The account as a table."""
    lines = [f"# What {account['title']} cost: {account['seconds']:.1f} s", ""]
    lines += [
        "| stage | own s | share | processor s | wall s | peak MiB | trace |",
        "| --- " + "| ---: " * 5 + "| --- |",
    ]
    for stage in account["stages"]:
        peak = "" if stage["peak_bytes"] is None else f"{stage['peak_bytes'] / 2**20:,.0f}"
        name = stage["title"] or stage["kind"]
        figures = (
            f"{stage['own_seconds']:.2f} | {stage['share']:.1%} | {stage['cpu_seconds']:.2f} | {stage['seconds']:.2f}"
        )
        lines.append(f"| {name} ({stage['kind']}) | {figures} | {peak} | {stage['trace'] or ''} |")
    for name, what in (("outside", "outside of all stages"), ("recording", "recording these traces")):
        lines.append(f"| {what} | {account[name]['seconds']:.2f} | {account[name]['share']:.1%} | | | | |")
    note = "`own` is without the stages that a stage called for, and without recording."
    return "\n".join([*lines, "", note, ""])
