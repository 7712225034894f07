"""One way to train: Lightning's Trainer with checkpoints, exact resume, one line an epoch, and no noise.

A killed fit continues from its last whole epoch and ends with the parameters of an undisturbed one, bit for
bit. That takes three things together: the order of examples is a function of (seed, epoch), every epoch starts
by reseeding, and the loader draws from a generator of its own. What a module or dataset adds must keep to it:
draw randomness from torch's, numpy's or Python's global generators inside `training_step`, or let the dataset
have `set_epoch(epoch)` and derive its randomness from (epoch, index).
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException
from torch.utils.data import DataLoader, Dataset

from augrun.core.errors import AugrunError, RequestError
from augrun.core.files import write_json
from augrun.core.job import Hardware, Job
from augrun.core.runtime.malloc import keep_memory
from augrun.core.training import distributed
from augrun.core.training.batching import Loaders
from augrun.core.training.checkpointing import BEST, HISTORY, LAST, DurableIO, Record, reseed
from augrun.core.training.progress import quiet

FINISHED = "finished.json"


@dataclass(frozen=True)
class FitResult:
    """What a finished fit leaves.

    Attributes:
        best: checkpoint of the epoch with the best monitored value (of the last epoch without a monitor).
        last: checkpoint of the last epoch.
        history: one dict an epoch: `epoch` (counted from 1) and the epoch's value of everything logged.
        best_epoch: the epoch that `best` holds.
    """

    best: Path
    last: Path
    history: list[dict[str, Any]]
    best_epoch: int


def fit(
    module: pl.LightningModule,
    train: Dataset,
    validation: Dataset | None,
    job: Job,
    *,
    epochs: int,
    batch_size: int,
    monitor: str | None = None,
    mode: Literal["min", "max"] = "min",
    validation_batch_size: int | None = None,
    samples_per_epoch: int | None = None,
    gradient_clip: float | None = None,
    gradient_clip_algorithm: Literal["norm", "value"] = "norm",
    drop_last: bool = False,
    collate: Callable[[list[Any]], Any] | None = None,
) -> FitResult:
    """Trains `module` for `epochs` epochs, or for what is left of them, in `job.folder`.

    The folder holds `last.ckpt` (every epoch, written atomically), `best.ckpt`, `history.json`, and
    `finished.json` at the end. A call on a folder that holds a checkpoint continues from it exactly; a call on
    a finished one returns at once. Either way `module` ends up on the CPU with the parameters of `best`, and the
    global random generators in one and the same state.

    Args:
        module: logs its curves with `self.log`: `train/loss`, `validation/loss`, `validation/<metric>`. With
            `module.channels_last = True` its weights (and nothing else) are laid out channels last. On several
            devices, losses that are means over the examples of a batch need nothing; with `module.of_all = True` they
            are sums that the module itself divides by what all ranks have (`ranks.summed`). With `module.share` it is
            told which part of its batch each one is; one that draws by `share.of` says `module.in_step = True`, and
            ranks then draw the same numbers. One that is optimised by hand takes its batch in `module.accumulate`
            pieces.
        train: examples in any order. `set_epoch(epoch)`, where it has one, is called before each epoch.
        validation: examples, seen in order after each epoch, or None.
        job: folder, seed and hardware.
        epochs: how many passes over the training set, at least 1.
        batch_size: examples in a training batch.
        monitor: name of the curve that selects `best`; None takes the last epoch.
        mode: whether the monitored curve is better when smaller (`min`) or larger (`max`).
        validation_batch_size: examples in a validation batch; as `batch_size` by default.
        samples_per_epoch: examples in an epoch; the training set's length by default. Epochs walk through one
            endless stream of permutations, so a smaller number still visits every example equally often.
        gradient_clip: clip gradients at this value (not for manually optimised modules: Lightning refuses).
        gradient_clip_algorithm: clip by total `norm` or each `value`.
        drop_last: leave out an epoch's last batch where it is smaller than `batch_size`.
        collate: makes a batch of a list of examples; torch's default otherwise.

    Raises:
        RequestError: the hardware asked for is not there or not supported.
        AugrunError: a loss or the monitored curve is not finite, or a checkpoint cannot be read.
        KeyboardInterrupt: the user pressed Ctrl-C.
        SystemExit: with code 143, when the process was asked to terminate (SIGTERM).
    """
    if epochs < 1:
        raise ValueError(f"fit needs at least one epoch, not {epochs}")
    job.folder.mkdir(parents=True, exist_ok=True)
    course = Course(
        epochs, batch_size, validation_batch_size or batch_size, monitor, mode, samples_per_epoch, drop_last, collate,
        gradient_clip, gradient_clip_algorithm if gradient_clip is not None else None,
    )  # fmt: skip
    result = _finished(job.folder, epochs)
    if result is None:
        devices = distributed.count(job.hardware)
        if devices == 1:
            distributed.forget(job.folder)  # of a killed training on several
            _train(module, train, validation, job, course, devices)
        else:
            given = (module, train, validation, job, course, devices)
            distributed.spawn(_train, *given, ranks=devices, folder=job.folder, title=job.title)
        result = _finished(job.folder, epochs)
        assert result is not None
    module.load_state_dict(read_weights(result.best))
    reseed(job.seed, "finished", epochs)
    return result


@dataclass(frozen=True)
class Course:
    """What `fit` is told of a training; see there."""

    epochs: int
    batch_size: int
    validation_batch_size: int
    monitor: str | None
    mode: str
    samples_per_epoch: int | None
    drop_last: bool
    collate: Callable[[list[Any]], Any] | None
    clip: float | None
    clip_by: str | None


def _train(
    module: pl.LightningModule, train: Dataset, validation: Dataset | None, job: Job, course: Course, devices: int
) -> None:
    """What one process does, which is the only one or a rank of several."""
    here = distributed.number()
    if here:
        job = replace(job, hardware=replace(job.hardware, progress=False))
    with quiet():
        resume = _read_checkpoint(job.folder / LAST)
        record = Record(job, course.epochs, course.monitor, course.mode, train, resume, here, devices)
        trainer = _trainer(job, course, record, devices, manual=not module.automatic_optimization)
        on_cpu = trainer.strategy.root_device.type == "cpu"
        if on_cpu:
            keep_memory()
        if getattr(module, "channels_last", False):
            module.to(memory_format=torch.channels_last)
        if devices > 1 or job.hardware.accumulate > 1:
            module.log = partial(record.log, module)  # type: ignore[method-assign]
        pieces = job.hardware.accumulate
        if not module.automatic_optimization:
            module.accumulate, pieces = pieces, 1  # type: ignore[assignment]
        make = Loaders(job, on_cpu, course.collate, here, devices)
        done = len(record.history)
        loader = make.train(train, course.batch_size, course.samples_per_epoch, course.drop_last, done, pieces)
        _run(trainer, module, loader, make.validation(validation, course.validation_batch_size), job)
    if not here:
        _finish(job.folder, course.epochs, record)


def read_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The parameters in a checkpoint of `fit`, on the CPU, for `module.load_state_dict`."""
    content = _read_checkpoint(checkpoint)
    if content is None:
        raise AugrunError(f"checkpoint {checkpoint} is not there. Delete its folder and train again.")
    return content["state_dict"]


def _trainer(job: Job, course: Course, record: Record, devices: int, manual: bool) -> pl.Trainer:
    hardware = job.hardware
    # Several losses by hand leave some parameters out of each.
    strategy: Any = DDPStrategy(find_unused_parameters=manual) if devices > 1 else "auto"
    try:
        trainer = pl.Trainer(
            accelerator=hardware.accelerator,
            devices=devices,
            strategy=strategy,
            sync_batchnorm=devices > 1 and torch.cuda.is_available() and hardware.accelerator != "cpu",
            use_distributed_sampler=False,
            precision=hardware.precision,  # type: ignore[arg-type]
            accumulate_grad_batches=1 if manual else hardware.accumulate,
            max_epochs=course.epochs,
            gradient_clip_val=course.clip,
            gradient_clip_algorithm=course.clip_by,
            callbacks=[record],
            num_sanity_val_steps=0,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=job.folder,
            # Not what Lightning would take from a scheduler's variables: a job that one starts has its ranks from here.
            plugins=[DurableIO(), LightningEnvironment()],
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise RequestError(
            f"trainer.accelerator={hardware.accelerator} trainer.precision={hardware.precision} "
            f"does not work here: {said}\nUse trainer=cpu or trainer=auto, and trainer.precision=32-true."
        ) from error
    # At its end Lightning gives every signal the handler that Python knows of. It knows of none that C code has set,
    # and faulthandler, which says where a crash was, would be off from then on.
    if connector := getattr(trainer, "_signal_connector", None):  # Lightning's own, which another release may name anew
        connector._get_current_signal_handlers = _replaced
    return trainer


def _replaced() -> dict[Any, Any]:
    """The handlers that Lightning replaces while it trains."""
    return {signal.SIGTERM: signal.getsignal(signal.SIGTERM)}


def _compile(module: pl.LightningModule, hardware: Hardware) -> None:
    """Has the module's networks compiled when they are first used; their parameters keep their names."""
    if hardware.compile:
        for network in module.children():
            network.compile(backend="inductor" if hardware.compile is True else str(hardware.compile))


def _run(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    train: DataLoader,
    validation: DataLoader | None,
    job: Job,
) -> None:
    """Lightning's fit, except that an interrupt stays one (Lightning exits with 1 or 0 instead)."""
    handler = signal.getsignal(signal.SIGINT)
    resume = job.folder / LAST if (job.folder / LAST).exists() else None
    try:
        _compile(module, job.hardware)
        trainer.fit(module, train, validation, ckpt_path=resume, weights_only=True)
    except Exception as error:
        compiling = type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
        if not (compiling and job.hardware.compile):
            raise
        said = str(error).strip().splitlines()[0]
        raise RequestError(f"trainer.compile={job.hardware.compile}: {said}\nUse trainer.compile=false.") from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        if isinstance(error, SIGTERMException):
            raise SystemExit(128 + signal.SIGTERM) from None
        raise
    finally:
        module._trainer = None
        if signal.getsignal(signal.SIGINT) is not handler and handler is not None:
            signal.signal(signal.SIGINT, handler)


def _finished(folder: Path, epochs: int) -> FitResult | None:
    """The result that an earlier call left, if it trained this far."""
    try:
        marker = json.loads((folder / FINISHED).read_text())
        history = json.loads((folder / HISTORY).read_text())
    except FileNotFoundError:
        return None
    if marker["epochs"] != epochs:
        return None
    return FitResult(folder / BEST, folder / LAST, history, marker["best_epoch"])


def _finish(folder: Path, epochs: int, record: Record) -> None:
    write_json(folder / HISTORY, record.history)
    write_json(folder / FINISHED, {"epochs": epochs, "best_epoch": record.best_epoch})


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler meets
        raise AugrunError(
            f"checkpoint {path} cannot be read ({type(error).__name__}). Delete its folder and train again."
        ) from error
