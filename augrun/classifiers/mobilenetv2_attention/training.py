"""How `mobilenetv2_attention` is trained, in phases, and how clips go through it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torchmetrics.functional.classification as tm
from torch.utils.data import Dataset

from augrun.classifiers.mobilenetv2_attention.network import VECTOR, Network, imagenet_weights, mixup, spec_augment
from augrun.classifiers.mobilenetv2_attention.settings import MobileNetV2Settings
from augrun.core.errors import AugrunError
from augrun.core.job import Job
from augrun.core.seeding import derive_seed
from augrun.core.training.distributed import gathered
from augrun.core.training.fit import FitResult, fit, read_weights, reseed
from augrun.core.training.model_files import leave, load
from augrun.core.training.prediction import predict
from augrun.features.cache import Features
from augrun.features.examples import Examples

MONITOR = "validation/roc_auc_macro"

PREDICTED_AT_ONCE = 8


def train_phases(settings: MobileNetV2Settings, train: Examples, validation: Examples, job: Job) -> None:
    """Trains phase after phase, each from the best epoch so far; leaves the model and `history.json`.

    Raises:
        AugrunError: no clip to train on, or validation clips that no epoch can be selected by.
    """
    _check_parts(train, validation)
    shape = {"bands": train.features.bands, "classes": train.targets.shape[1], "multilabel": train.multilabel}
    monitor = MONITOR if len(validation) else None
    best: tuple[float, Path] | None = None
    history: list[dict[str, Any]] = []
    for number, (phase, epochs, optimizer) in enumerate(phases_of(settings)):
        reseed(job.seed, "network")
        network = network_of(settings, shape, pretrained=not number)
        network.start_from(torch.from_numpy(train.targets.mean(0)))
        training = Training(network, train.multilabel, optimizer, settings)
        if best is not None:
            training.load_state_dict(read_weights(best[1]))
        result = fit(
            training,
            Clips(train, settings.frames, settings.divide_by),
            Clips(validation, settings.frames, settings.divide_by),
            job.within(phase, seed=derive_seed(job.seed, phase), title=f"{job.title or 'classifier'} {phase}"),
            epochs=epochs,
            batch_size=settings.batch_size,
            validation_batch_size=2 * settings.batch_size,
            monitor=monitor,
            mode="max",
        )
        best = _better(best, result, monitor)
        history += [{"epoch": len(history) + i, "phase": phase} | _curves(e) for i, e in enumerate(result.history, 1)]
    assert best is not None
    leave(job.folder, {"shape": shape, "state": read_weights(best[1])}, history)


def probabilities(settings: MobileNetV2Settings, features: Features, fitted: Path, job: Job) -> np.ndarray:
    """The mean of both heads' probabilities, shape (clips, classes), float32."""
    model = load(fitted)

    def mean(network: Network, batch: torch.Tensor) -> torch.Tensor:
        attention, plain = network(batch)
        return (attention + plain) / 2

    return _through(settings, model, features, job, mean, model["shape"]["classes"])


def hidden(settings: MobileNetV2Settings, features: Features, fitted: Path, job: Job) -> np.ndarray:
    """What the last layers of both heads are given (see `Network.hidden`), shape (clips, 512), float32."""
    return _through(settings, load(fitted), features, job, Network.hidden, 2 * VECTOR)


def _through(
    settings: MobileNetV2Settings,
    model: dict[str, Any],
    features: Features,
    job: Job,
    of: Callable[[Network, torch.Tensor], torch.Tensor],
    width: int,
) -> np.ndarray:
    """What `of` gives of all clips in the trained network, shape (clips, width), float32."""
    clips = _Inputs(features, settings.frames, settings.divide_by)

    def read_batch(rows: range) -> torch.Tensor:
        return torch.stack([clips[row] for row in rows])

    network, size = network_of(settings, model["shape"], pretrained=False), (len(features), width)
    return predict(network, model["state"], of, read_batch, size, PREDICTED_AT_ONCE, job.hardware)


def phases_of(settings: MobileNetV2Settings) -> list[tuple[str, int, dict[str, Any]]]:
    """Name, epochs and optimiser of each phase."""
    adam = {"name": "adam", "lr": settings.adam_rate, "attention_lr": settings.attention_rate}
    phases: list[tuple[str, int, dict[str, Any]]] = [("adam", settings.adam_epochs, adam)]
    if settings.sgd_epochs:
        for number, rate in enumerate(settings.sgd_rates, 1):
            sgd = {"name": "sgd", "lr": rate, "momentum": settings.sgd_momentum}
            sgd |= {"weight_decay": settings.sgd_weight_decay, "nesterov": settings.sgd_momentum > 0}
            phases.append((f"sgd{number}", settings.sgd_epochs, sgd))
    return phases


def network_of(settings: MobileNetV2Settings, shape: dict[str, Any], pretrained: bool) -> Network:
    """The untrained network; its weights come from torch's global generator, or from ImageNet."""
    sizes = {name: getattr(settings, name) for name in ("frames", "slice_frames", "blocks", "width")}
    network = Network(**shape, **sizes)
    if pretrained and settings.pretrained:
        network.mobilenet.load_state_dict(imagenet_weights(settings.weights))
    return network


class _Inputs:
    """Clips as the network takes them: (1, bands, frames) float32, cropped or tiled."""

    def __init__(self, features: Features, frames: int, divide_by: float) -> None:
        self.features, self.frames, self.divide_by = features, frames, divide_by

    def __getitem__(self, index: int) -> torch.Tensor:
        clip = self.features[index][: self.frames]  # (frames of the clip, bands)
        tiled = np.resize(clip, (self.frames, clip.shape[1]))  # repeats the rows in order
        return torch.from_numpy(np.ascontiguousarray(tiled.T)[None] / np.float32(self.divide_by))


class Clips(Dataset):
    """(input, targets) of each clip."""

    def __init__(self, examples: Examples, frames: int, divide_by: float) -> None:
        self.inputs = _Inputs(examples.features, frames, divide_by)
        self.targets = torch.from_numpy(np.asarray(examples.targets, dtype=np.float32))

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inputs[index], self.targets[index]


class Training(pl.LightningModule):
    """Loss, augmentation and selection around the network."""

    channels_last = True

    def __init__(
        self, network: Network, multilabel: bool, optimizer: dict[str, Any], settings: MobileNetV2Settings
    ) -> None:
        super().__init__()
        self.network, self.multilabel, self.optimizer, self.settings = network, multilabel, optimizer, settings
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        inputs, targets = batch
        s = self.settings
        inputs = spec_augment(inputs, s.mask_probability, s.masks, s.mask_bands, s.mask_frames)
        inputs, targets = mixup(inputs, targets, s.mixup_alpha)
        loss = self._loss(self.network(inputs), targets)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(targets))
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        inputs, targets = batch
        heads = self.network(inputs)
        self.log("validation/loss", self._loss(heads, targets), batch_size=len(targets))
        self.seen.append((((heads[0] + heads[1]) / 2).cpu(), targets.cpu()))

    def on_validation_epoch_end(self) -> None:
        scores, targets = (gathered(torch.cat(parts)) for parts in zip(*self.seen, strict=True))
        self.seen.clear()
        self.log(MONITOR, macro_roc_auc(scores, targets))

    def _loss(self, heads: tuple[torch.Tensor, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        """The mean of both heads' cross-entropies; targets may be soft."""
        return (
            cross_entropy(heads[0], targets, self.multilabel) + cross_entropy(heads[1], targets, self.multilabel)
        ) / 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The phase's optimiser, with a group of its own for the attention head."""
        settings = dict(self.optimizer)
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[settings.pop("name")]
        attention_rate = settings.pop("attention_lr", settings["lr"])
        head = list(self.network.attention.parameters())
        rest = [value for name, value in self.network.named_parameters() if not name.startswith("attention.")]
        return kind([{"params": rest}, {"params": head, "lr": attention_rate}], **settings)


def cross_entropy(probabilities: torch.Tensor, targets: torch.Tensor, multilabel: bool) -> torch.Tensor:
    """Binary (mean over classes) or categorical cross-entropy in nats of probabilities, mean over clips.

    Of probabilities, since the plain head's are a mean over slices and have no logits.
    """
    p = probabilities.clamp(1e-7, 1 - 1e-7)
    if multilabel:
        return -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    return -(targets * p.log()).sum(1).mean()


def macro_roc_auc(scores: torch.Tensor, targets: torch.Tensor) -> float:
    """Mean ROC-AUC over the classes that have clips with and without them."""
    truth = (targets > 0.5).long()
    told_apart = (truth.amax(0) > truth.amin(0)).nonzero().flatten().tolist()
    return float(
        torch.stack([tm.binary_auroc(scores[:, c].contiguous(), truth[:, c].contiguous()) for c in told_apart]).mean()
    )


def _check_parts(train: Examples, validation: Examples) -> None:
    if not len(train):
        raise AugrunError("the training part has no clips. Check the protocol and policy.composition.")
    if len(validation) and not (validation.targets.max(0) > validation.targets.min(0)).any():
        raise AugrunError(
            f"all {len(validation)} validation clips carry the same classes, so no epoch can be selected. "
            "Use a larger validation part, or one with several classes."
        )


def _better(best: tuple[float, Path] | None, result: FitResult, monitor: str | None) -> tuple[float, Path]:
    """The best value so far and its checkpoint; without a monitor the latest."""
    if monitor is None:
        return 0.0, result.last
    value = result.history[result.best_epoch - 1][monitor]
    return best if best is not None and best[0] >= value else (value, result.best)


def _curves(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "epoch"}
