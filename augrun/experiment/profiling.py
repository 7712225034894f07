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

#: A trace without a step ends after so many seconds, with the next event.
_TOO_LONG_S = 10.0


@dataclass
class StageProfile:
    """What a stage cost.

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

    def as_json(self) -> dict[str, Any]:
        """Return it as `costs.json` has it."""
        names = ("kind", "title", "seconds", "own_seconds", "cpu_seconds", "peak_bytes", "trace")
        return {name: round(v, 3) if isinstance(v := getattr(self, name), float) else v for name in names}


@contextmanager
def profile_condition(enabled: bool, title: str, done: bool) -> Iterator[Callable[[Path], None]]:
    """Profile what is done inside; yield a function that writes the profile into a folder of results.

    Args:
        enabled: whether to; else the function that is yielded does nothing.
        title: of the condition.
        done: whether all of it is done already, so that there is nothing to watch.
    """
    if enabled and done:
        log.warning(
            "profile=true: everything of %s is done already, so there is nothing to profile; give an empty output root "
            "(output.root=DIR, with AUGRUN_STORE unset) to do it again",
            title,
        )
    if not enabled or done:
        yield lambda folder: None
        return
    with tempfile.TemporaryDirectory(prefix="augrun-profile-") as scratch:
        profiler = Profiler(Path(scratch))
        before = progress_hooks.by(profiler)
        try:
            yield lambda folder: profiler.write(folder, title)
        finally:
            progress_hooks.by(before)
            profiler.close()


class Profiler:
    """The profiler of one condition's stages in this process.

    Args:
        scratch: a folder for traces, as long as the results have none.
    """

    def __init__(self, scratch: Path) -> None:
        import torch  # noqa: F401 (takes seconds, which are no stage's)

        self.scratch = scratch
        self.profiles: list[StageProfile] = []
        self._start_s = time.perf_counter()
        self.stage_seconds = self.trace_seconds = 0.0
        self._open: list[tuple[StageProfile, StageTrace]] = []
        self._thread = threading.get_ident()
        self._traced = 0
        self._hooks = TorchHooks(self.stepped, self._on_forward)

    def piece(self, kind: str, title: str) -> AbstractContextManager[object]:
        """A stage's work; of other threads nothing is told."""
        return self._watched(StageProfile(kind, title)) if threading.get_ident() == self._thread else nullcontext()

    @contextmanager
    def _watched(self, profile: StageProfile) -> Iterator[None]:
        self._save(only_running=True)  # only one can be recorded at a time; what has not begun yet waits
        with resource_usage.measured() as measured:
            cpu = _cpu_seconds()
            trace = StageTrace(profile.kind)
            self._open.append((profile, trace))
            self._hooks.set(self._trace)
            try:
                yield
            finally:
                self._save()
                cpu = _cpu_seconds() - cpu
                self._open.pop()
                self._hooks.set(self._trace)
        profile.seconds, profile.peak_bytes = measured.seconds, measured.peak_bytes
        profile.own_seconds = max(0.0, profile.seconds - profile._within[0] - trace.overhead[0])
        profile.cpu_seconds = max(0.0, cpu - profile._within[1] - trace.overhead[1])
        self.trace_seconds += trace.overhead[0]
        if self._open:
            outer = self._open[-1][0]
            outer._within = outer._within[0] + profile.seconds, outer._within[1] + cpu
        else:
            self.stage_seconds += profile.seconds
        self.profiles.append(profile)

    @property
    def _trace(self) -> StageTrace | None:
        """That of the stage at hand, as long as there is something to record."""
        trace = self._open[-1][1] if self._open else None
        return trace if trace is not None and not trace.is_over and self._traced < TRACED else None

    def _on_forward(self) -> None:
        """Tell the trace that data begins to pass through a network."""
        trace = self._trace
        if trace is not None and threading.get_ident() == self._thread:
            trace.on_forward()

    def stepped(self, kind: str) -> None:
        """A step is done."""
        trace = self._trace
        if trace is not None and threading.get_ident() == self._thread and trace.on_step(kind):
            self._save()
            self._hooks.set(None)

    def _save(self, only_running: bool = False) -> None:
        """Ends the recording of the stage at hand, and keeps what it has.

        Args:
            only_running: only where it has begun.
        """
        if not self._open or (only_running and not self._open[-1][1].is_running):
            return
        profile, trace = self._open[-1]
        path = trace.end(self.scratch)
        if path is not None:
            self._traced += 1
            words = re.sub(r"[^a-z0-9]+", "-", f"{profile.kind} {profile.title}".lower()).strip("-")[:80]
            profile.trace = f"{self._traced:02d}-{words}.json.gz"
            path.replace(self.scratch / profile.trace)

    def write(self, folder: Path, title: str) -> None:
        """Write the account and the traces into a condition's results."""
        whole = time.perf_counter() - self._start_s
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
        """Return the stages by what they cost, and what lies outside of them.

        Args:
            title: of the condition.
            whole: seconds of all of it.
        """
        profiles = sorted(self.profiles, key=lambda profile: -profile.own_seconds)
        stages = [profile.as_json() | {"share": round(profile.own_seconds / whole, 4)} for profile in profiles]
        seconds = {"outside": max(0.0, whole - self.stage_seconds), "recording": self.trace_seconds}
        outside = {name: {"seconds": round(s, 3), "share": round(s / whole, 4)} for name, s in seconds.items()}
        return {"title": title, "seconds": round(whole, 3), "stages": stages, **outside}

    def close(self) -> None:
        """Remove the hooks from torch."""
        self._hooks.set(None)


class TorchHooks:
    """Hooks of torch on updates of weights and on passes of data through networks, set while a trace wants them.

    Args:
        on_step: called with `update` after an optimiser's step, with `pass` after the outermost module's.
        on_forward: called before the latter.
    """

    def __init__(self, on_step: Callable[[str], None], on_forward: Callable[[], None]) -> None:
        self._on_step, self._on_forward = on_step, on_forward
        self._handles: list[Any] = []
        self._depth = 0

    def set(self, trace: StageTrace | None) -> None:
        """Set the hooks that a trace wants, or none."""
        from torch.nn.modules import module
        from torch.optim.optimizer import register_optimizer_step_post_hook

        for handle in self._handles:
            handle.remove()
        self._handles, self._depth = [], 0
        if trace is None:
            return
        if trace.trains:
            self._handles = [register_optimizer_step_post_hook(lambda *_: self._on_step("update"))]
            return
        self._handles = [
            module.register_module_forward_pre_hook(lambda *_: self._enter()),
            module.register_module_forward_hook(lambda *_: self._leave(), always_call=True),
        ]

    def _enter(self) -> None:
        if not self._depth:
            self._on_forward()
        self._depth += 1

    def _leave(self) -> None:
        self._depth = max(0, self._depth - 1)
        if not self._depth:
            self._on_step("pass")


class StageTrace:
    """The trace of a few steps of one stage, by PyTorch's profiler.

    Args:
        kind: of the stage. One that trains is recorded between updates of weights, after the first few; features from
            the first clips on; all others while data passes through a network.

    Attributes:
        overhead: wall and processor seconds of the profiler itself: to begin, and to write the trace.
        steps: how many are done.
        is_over: whether nothing more is recorded.
    """

    def __init__(self, kind: str) -> None:
        self.trains, self.extracts = kind in TRAINING, kind == "features"
        self.steps, self.is_over = 0, False
        self.overhead = (0.0, 0.0)
        self._profiler: Any = None
        self._began = 0.0
        if self.extracts:
            self._start()

    @property
    def is_running(self) -> bool:
        """Whether it has begun, and is not over."""
        return self._profiler is not None and not self.is_over

    def on_forward(self) -> None:
        """Begin with data that passes through a network, where the stage does not train."""
        if not self.trains and self._profiler is None:
            self._start()

    def on_step(self, kind: str) -> bool:
        """Count a step; return whether enough is recorded."""
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
        with self._measure_overhead():
            self._profiler = profile(activities=activities, experimental_config=_all_threads())
            self._profiler.__enter__()
        self._began = time.perf_counter()

    def end(self, scratch: Path) -> Path | None:
        """End it; return the file of the trace, None where nothing was computed."""
        profiler, self._profiler = self._profiler, None
        if self.is_over or profiler is None:
            self.is_over = True
            return None
        self.is_over = True
        with self._measure_overhead():
            profiler.__exit__(None, None, None)
            return _write(profiler, scratch) if _computed(profiler) else None

    @contextmanager
    def _measure_overhead(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), _cpu_seconds()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of further cycles, which there are not
                yield
        finally:
            seconds, cpu_seconds = self.overhead
            self.overhead = seconds + time.perf_counter() - wall, cpu_seconds + _cpu_seconds() - cpu


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
    """Return the account as a table in Markdown."""
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
