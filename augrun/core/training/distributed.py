"""Several processes for one training, a device each: how they are started, what they tell each other, how they end.

They are spawned, not forked (a process that has used its threads or a GPU cannot be forked), so that what they work on
is pickled once and read by each. A rank that ends before its time ends all of them.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Hardware
from augrun.core.runtime import gpus
from augrun.core.runtime.parent_death import end_with

#: Seconds that the others have, after one has died, before they are killed.
GRACE_S = 10.0

#: Where a process that was started here finds its number; `RANK` may be set by whoever started us.
RANK = "AUGRUN_RANK"

#: The file of what is passed to ranks; what each has to tell begins with its name.
PASSED = ".ranks.pickle"


def count(hardware: Hardware) -> int:
    """How many devices a training takes.

    Raises:
        RequestError: `auto` where there is no GPU, or more than there are.
    """
    on_gpu = hardware.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    there = torch.cuda.device_count() if on_gpu else 0
    if hardware.devices == "auto":
        if not there:
            raise RequestError("trainer.devices=auto takes every GPU, but there is none; give a number")
        return there
    wanted = int(hardware.devices)
    if on_gpu and wanted > there:
        raise RequestError(f"trainer.devices={wanted}: there are {there} GPUs; use trainer.devices={there}")
    return wanted


def number() -> int:
    """This process's number; 0 where it works alone."""
    return int(os.environ.get(RANK, "0"))


def summed(value: Tensor) -> Tensor:
    """The sum over all ranks, without a gradient; every rank has to ask for it."""
    if not _together():
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value


def most(value: int, device: torch.device) -> int:
    """The largest of all ranks' numbers; every rank has to ask for it."""
    if not _together():
        return value
    told = torch.tensor(value, device=device)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return int(told)


def gathered(rows: Tensor) -> Tensor:
    """The rows of all ranks in the order of the ranks, on the CPU; every rank has to ask for it."""
    if not _together():
        return rows
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, rows.detach().cpu())
    return torch.cat(parts)


def _together() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def spawn(
    work: Callable[..., None], *arguments: Any, ranks: int, folder: Path, title: str, apart: bool = False
) -> None:
    """Calls `work(*arguments)` in so many processes, and returns when all of them have.

    In each, `RANK`, `LOCAL_RANK`, `WORLD_SIZE` and the address at which they meet are set, as Lightning wants it; only
    the first one's lines are shown.

    Args:
        work: a function of a module.
        arguments: what cloudpickle can pickle.
        ranks: how many.
        folder: where what is passed lies meanwhile.
        title: what to call the work in a message.
        apart: they do not meet: each sees a GPU of its own, and `work` is told its number before its arguments.

    Raises:
        AugrunError: one of them raised it, or one was killed.
        KeyboardInterrupt: the user pressed Ctrl-C.
        SystemExit: with code 143, when this process was asked to terminate.
    """
    import cloudpickle
    from torch.multiprocessing import start_processes

    forget(folder)
    passed = folder / PASSED
    with open(passed, "wb") as file:
        cloudpickle.dump((work, arguments), file)
    threads = max(1, torch.get_num_threads() // ranks)
    level = logging.getLogger("augrun").level
    passing = (str(passed), ranks, 0 if apart else _free_port(), threads, level, os.getpid())
    with _fewer_words():
        context = start_processes(_begin, passing, ranks, join=False)
    assert context is not None
    try:
        with _terminated():
            failed = _joined(context.processes)
        if failed is not None:
            _raise_told(passed, ranks)
            _raise_ended(failed, context, title)
    finally:
        _stop(context.processes)
        forget(folder)


def _joined(processes: Sequence[Any]) -> int | None:
    """Waits for all; the number of the first that ended before its time, where one did."""
    while waiting := [process for process in processes if process.exitcode is None]:
        connection.wait([process.sentinel for process in waiting], timeout=1.0)
        failed = [number for number, process in enumerate(processes) if process.exitcode]
        if failed:
            time.sleep(0.5)  # one that is killed takes others with it, which may be seen first
            killed = [number for number, process in enumerate(processes) if (process.exitcode or 0) < 0]
            return (killed or failed)[0]
    return next((number for number, process in enumerate(processes) if process.exitcode), None)


def _raise_ended(number: int, context: Any, title: str) -> None:
    code, told = context.processes[number].exitcode, Path(context.error_files[number])
    which = f"{title or 'training'}: rank {number} of {len(context.processes)}"
    if code > 0 and told.exists():
        with open(told, "rb") as file:
            raise RuntimeError(f"{which} failed:\n{pickle.load(file)}")
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    short = " If memory was short, trainer.accumulate=2 takes less." if code == -signal.SIGKILL else ""
    raise AugrunError(
        f"{which} {how}, and the others were stopped. The same command goes on from the last whole epoch.{short}"
    )


@contextmanager
def _fewer_words() -> Iterator[None]:
    """torch's advice to programmers, which processes that begin within it keep to themselves."""
    name = "TORCH_CPP_LOG_LEVEL"
    before = os.environ.get(name)
    os.environ.setdefault(name, "ERROR")
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


def _begin(number: int, passed: str, ranks: int, port: int, threads: int, level: int, parent: int) -> None:
    """One rank; without a port, one that works apart."""
    end_with(parent, signal.SIGKILL)  # else it would go on beside the one that takes its work up
    if port:
        _to_meet(number, ranks, port)
    elif names := gpus.visible():  # torch is not asked: CUDA would start, and see all of them from then on
        os.environ[gpus.VISIBLE] = names[number % len(names)]
    torch.set_num_threads(threads)
    if not number:
        from augrun.core.runtime.log_setup import set_up_logging

        set_up_logging(level == logging.DEBUG)
    with open(passed, "rb") as file:
        work, arguments = pickle.load(file)
    try:
        work(*arguments) if port else work(number, *arguments)
    except AugrunError as error:
        with open(f"{passed}.{number}", "wb") as file:
            pickle.dump(error, file)
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _to_meet(number: int, ranks: int, port: int) -> None:
    os.environ |= {RANK: str(number), "RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(ranks)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def _raise_told(passed: Path, ranks: int) -> None:
    """Raises what the first of the ranks that can tell has told."""
    for number in range(ranks):
        told = Path(f"{passed}.{number}")
        if told.exists():
            with open(told, "rb") as file:
                error = pickle.load(file)
            raise error from None


def forget(folder: Path) -> None:
    """Removes what was passed to ranks, by a killed process too."""
    for path in folder.glob(f"{PASSED}*"):
        path.unlink(missing_ok=True)


def _stop(processes: Any) -> None:
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes:
        process.join(GRACE_S)
        if process.is_alive():
            process.kill()
            process.join()


@contextmanager
def _terminated() -> Iterator[None]:
    """Within it SIGTERM raises, so that the ranks are not left alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(*_: Any) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
