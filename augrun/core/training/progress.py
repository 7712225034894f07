"""What a training run says on the console: one line an epoch, and nothing of Lightning's own."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Lightning's tips, hardware lines and advice off the console; errors still show."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for module in (r"pytorch_lightning\.", r"lightning_fabric\.", r"torch\.utils\."):
                warnings.filterwarnings("ignore", module=module)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class Report:
    """One line an epoch on standard error; on a terminal a progress bar over the epoch's batches as well."""

    def __init__(self, title: str, epochs: int, shown: bool = True) -> None:
        self.title, self.epochs, self.shown = title or "training", epochs, shown
        self.console = Console(stderr=True, soft_wrap=True, highlight=False)
        self.bar: Progress | None = None
        self.started = time.monotonic()

    def begin(self, epoch: int, batches: float) -> None:
        """An epoch starts."""
        self.started = time.monotonic()
        if self.shown and self.console.is_terminal and self.bar is None:
            self.bar = Progress(console=self.console, transient=True)
            self.bar.start()
        if self.bar is not None:
            for task in self.bar.task_ids:
                self.bar.remove_task(task)
            self.bar.add_task(f"{self.title}: epoch {epoch}/{self.epochs}", total=batches)

    def advance(self) -> None:
        """A batch is done."""
        if self.bar is not None:
            self.bar.advance(self.bar.task_ids[0])

    def end(self, entry: dict[str, Any]) -> None:
        """An epoch is done; `entry` is its line of the history."""
        if self.shown:
            curves = ", ".join(f"{name} {value:.4g}" for name, value in entry.items() if name != "epoch")
            seconds = time.monotonic() - self.started
            line = f"{self.title}: epoch {entry['epoch']}/{self.epochs}: {curves} ({seconds:.1f} s)"
            self.console.print(line, markup=False)

    def close(self) -> None:
        """Training is over, for whatever reason."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
