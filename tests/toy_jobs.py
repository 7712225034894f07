"""Jobs for launchers that take no time: what they do follows from `seed` and `output.root`."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from omegaconf import DictConfig

from augrun.core.errors import AugrunError
from augrun.core.store.stages import Store

#: What a seed stands for.
KILLED, KILLED_ONCE, REFUSED, BROKEN, UNSENDABLE, SLEEPER = 100, 101, 102, 103, 104, 105

#: Stages that all jobs want.
SHARED = 4


def job(config: DictConfig) -> str:
    """Does the shared stages, each of which takes long enough for the others to come, and one of its own."""
    root = Path(config.output.root)
    special(config.seed, root)
    store = Store(root / "store")
    for number in range(SHARED):
        shared = store.stage("shared", settings={"number": number}, inputs={}, code="augrun.core.errors")
        shared.get(lambda folder: time.sleep(0.1), f"shared {number}")
    own = store.stage("own", settings={"seed": config.seed}, inputs={}, code="augrun.core.errors")
    print(f"threads {os.environ.get('OMP_NUM_THREADS')}")
    os.system("echo of a program")
    return str(own.get(lambda folder: (folder / "process").write_text(str(os.getpid())) and None))


class Unsendable(Exception):
    """An exception that `pickle` cannot make again."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


def special(seed: int, root: Path) -> None:
    """What goes wrong."""
    tried = root / f"tried-{seed}"
    if seed == KILLED or (seed == KILLED_ONCE and not tried.exists()):
        tried.parent.mkdir(parents=True, exist_ok=True)
        tried.touch()
        print("about to be killed")
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == REFUSED:
        raise AugrunError("no such corpus")
    if seed == BROKEN:
        raise KeyError("nothing")
    if seed == UNSENDABLE:
        raise Unsendable("a", "b")
    if seed == SLEEPER:
        (root / "asleep").touch()
        time.sleep(900)


def give_up(number: int, which: int) -> None:
    """Fails in one process of several."""
    if number == which:
        raise AugrunError("the cup is empty; fill it")


def sleep(number: int, folder: str) -> None:
    """A rank that says that it is there, and does nothing."""
    Path(folder, f"rank-{os.getpid()}").touch()
    time.sleep(900)
