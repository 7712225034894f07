"""What a piece of work costs: seconds of its own, and the most memory that it held."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: What a condition's stages cost, in its folder.
FILE = "cost.json"

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Cost:
    """What was measured of one piece of work, what it called for left out.

    Attributes:
        seconds: in all.
        own_seconds: without the pieces that were measured within it.
        peak_bytes: the most memory of this process meanwhile; None where the system does not tell.
        gpu: name of the GPU that was used; None where none was.
        gpu_peak_bytes: the most memory taken on it meanwhile.
    """

    seconds: float = 0.0
    own_seconds: float = 0.0
    peak_bytes: int | None = None
    gpu: str | None = None
    gpu_peak_bytes: int | None = None
    _within: float = field(default=0.0, repr=False)
    _elsewhere: float = field(default=0.0, repr=False)

    def plain(self) -> dict[str, Any]:
        """As a manifest has it."""
        known = {key: getattr(self, key) for key in ("peak_bytes", "gpu", "gpu_peak_bytes")}
        return {"own_seconds": round(self.own_seconds, 3)} | {
            k: value for k, value in known.items() if value is not None
        }


_current: ContextVar[Cost | None] = ContextVar("cost", default=None)


@contextmanager
def measured() -> Iterator[Cost]:
    """Measures what is done inside; within another measurement its seconds are taken off that one's own."""
    outer, cost = _current.get(), Cost()
    if outer is not None:
        _look(outer)  # before the marks are set back
    token = _current.set(cost)
    _set_back()
    started = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - started
        cost.own_seconds = max(0.0, cost.seconds - cost._within) + cost._elsewhere
        _look(cost)
        _current.reset(token)
        if outer is not None:
            outer._within += cost.seconds
            outer.peak_bytes = _larger(outer.peak_bytes, cost.peak_bytes)
            outer.gpu, outer.gpu_peak_bytes = outer.gpu or cost.gpu, _larger(outer.gpu_peak_bytes, cost.gpu_peak_bytes)
        _set_back()


def add(plain: Mapping[str, Any]) -> None:
    """Adds to the measurement at hand what a part of its work cost before, maybe in another process.

    Args:
        plain: what `Cost.plain` gave of that part.
    """
    cost = _current.get()
    if cost is not None:
        cost._elsewhere += float(plain["own_seconds"])
        cost.peak_bytes = _larger(cost.peak_bytes, plain.get("peak_bytes"))
        cost.gpu = cost.gpu or plain.get("gpu")
        cost.gpu_peak_bytes = _larger(cost.gpu_peak_bytes, plain.get("gpu_peak_bytes"))


def account(manifests: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What a condition's stages cost when they were done.

    Args:
        manifests: of the stages (`augrun.core.store.stages`), each once.

    Returns:
        `seconds` in all, `gpu_hours` (of those that used one), `gpu` its name, `peak_bytes` and `gpu_peak_bytes` the
        most that a stage held, `kinds`: stages and seconds of each kind.
    """
    kinds: dict[str, dict[str, float]] = {}
    gpu_seconds, gpu = 0.0, None
    peak = gpu_peak = None
    for manifest in manifests:
        cost, summary = manifest.get("cost") or {}, manifest.get("summary") or {}
        # What was trained together with others has its share of that beside the seconds that it took to be put away.
        seconds = float(cost.get("own_seconds", manifest["seconds"]))
        put_together = summary.get("cost") or {}
        seconds += float(summary.get("share_of_seconds", 0.0))
        of_kind = kinds.setdefault(str(manifest["kind"]), {"stages": 0, "seconds": 0.0})
        of_kind["stages"] += 1
        of_kind["seconds"] += seconds
        for one in (cost, put_together):
            peak, gpu_peak = _larger(peak, one.get("peak_bytes")), _larger(gpu_peak, one.get("gpu_peak_bytes"))
            gpu = gpu or one.get("gpu")
        gpu_seconds += seconds if cost.get("gpu") or put_together.get("gpu") else 0.0
    return {
        "seconds": sum(of_kind["seconds"] for of_kind in kinds.values()),
        "gpu_hours": gpu_seconds / 3600,
        "gpu": gpu,
        "peak_bytes": peak,
        "gpu_peak_bytes": gpu_peak,
        "kinds": kinds,
    }


def _larger(one: int | None, other: int | None) -> int | None:
    return max(filter(None, (one, other)), default=None)


def _look(cost: Cost) -> None:
    """Takes the marks since they were set back."""
    with suppress(OSError, ValueError, StopIteration):
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        cost.peak_bytes = max(cost.peak_bytes or 0, 1024 * int(line.split()[1]))
    cuda = _cuda()
    if cuda is not None and (peak := sum(cuda.max_memory_allocated(at) for at in range(cuda.device_count()))):
        cost.gpu = cuda.get_device_name()
        cost.gpu_peak_bytes = max(cost.gpu_peak_bytes or 0, peak)


def _set_back() -> None:
    """Lets the system's marks of the most memory begin anew."""
    with suppress(OSError):
        _CLEAR.write_text("5")
    cuda = _cuda()
    if cuda is not None:
        for at in range(cuda.device_count()):
            cuda.reset_peak_memory_stats(at)


def _cuda() -> Any:
    """torch.cuda where this process uses it already; asking must not bring it."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None
