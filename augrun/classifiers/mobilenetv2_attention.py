"""The mood classifier of Godwin et al. 2021: MobileNetV2 over slices of a log-mel spectrogram, and self-attention.

Sukhavasi and Adapa, "Music theme recognition using CNN and self-attention", MediaEval 2019, arXiv:1911.07041,
submission 2; what the paper leaves unsaid follows the authors' code (github.com/sainathadapa/
mediaeval-2019-moodtheme-detection). Not followed: that code also augments validation and test clips.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
import torchmetrics.functional.classification as tm
from torch.utils.data import Dataset

from augrun.allocator import keep_memory
from augrun.batches import derive_seed
from augrun.classifiers.base import Classifier, Examples
from augrun.classifiers.mobilenetv2_network import (
    PAPER_BLOCKS,
    VECTOR,
    Network,
    imagenet_weights,
    mixup,
    smallest,
    spec_augment,
)
from augrun.devices import device
from augrun.errors import AugrunError, RequestError
from augrun.features.cache import Features
from augrun.job import Job
from augrun.ranks import gathered
from augrun.training import FitResult, fit, read_weights, reseed

MODEL, HISTORY = "model.pt", "history.json"
MONITOR = "validation/roc_auc_macro"


@dataclass(frozen=True)
class MobileNetV2Attention(Classifier):
    """Slices → MobileNetV2 → one vector a slice → an attention head and a plain head, averaged.

    The best epoch is that with the largest validation ROC-AUC, macro-averaged (one class against the rest) over
    the classes that the validation part tells apart, whether clips carry one class or several.

    Attributes:
        frames: what a clip is cropped or tiled to: recorded and generated clips alike.
        slice_frames: frames in a slice; `frames` is a multiple of it.
        divide_by: brings decibels near one before the first batch normalisation.
        blocks: MobileNetV2's table (Sandler et al. 2018, Table 2): expansion, channels, repeats and stride of each
            stage.
        width: multiplies every number of channels before the slice vectors; 1 is the paper's network.
        pretrained: start MobileNetV2 from ImageNet weights.
        weights: a local file with them (torchvision's `mobilenet_v2` state dict); null takes torchvision's hub.
        batch_size: clips in a training batch.
        adam_epochs: epochs of the first phase; the best is where the next begins.
        adam_rate: its learning rate.
        attention_rate: its learning rate of the attention head, which collapses at rates that convolutions from
            scratch can do with; the paper has one rate for all.
        sgd_epochs: epochs of each further phase, each from the best epoch so far.
        sgd_rates: their learning rates, one phase each.
        sgd_momentum: Nesterov momentum.
        sgd_weight_decay: L2 penalty.
        mixup_alpha: λ ~ Beta(α, α) for each clip of a batch; 0 mixes nothing.
        mask_probability: chance that a training clip is masked (SpecAugment).
        masks: at most this many masks in frequency and as many in time; at least one.
        mask_bands: largest share of the bands that one mask covers.
        mask_frames: largest share of the frames that one mask covers.
    """

    frames: Annotated[int, "[1, inf)"]
    slice_frames: Annotated[int, "[1, inf)"] = 256
    divide_by: Annotated[float, "(0, inf)"] = 100.0
    blocks: list[list[int]] = field(default_factory=lambda: [list(row) for row in PAPER_BLOCKS])
    width: Annotated[float, "(0, 2]"] = 1.0
    pretrained: bool = True
    weights: Path | None = None
    batch_size: Annotated[int, "[1, inf)"] = 8
    adam_epochs: Annotated[int, "[1, inf)"] = 60
    adam_rate: Annotated[float, "(0, inf)"] = 1e-4
    attention_rate: Annotated[float, "(0, inf)"] = 1e-4
    sgd_epochs: Annotated[int, "[0, inf)"] = 20
    sgd_rates: list[float] = field(default_factory=lambda: [1e-3, 1e-4, 1e-5])
    sgd_momentum: Annotated[float, "[0, 1)"] = 0.9
    sgd_weight_decay: Annotated[float, "[0, inf)"] = 1e-4
    mixup_alpha: Annotated[float, "[0, inf)"] = 1.0
    mask_probability: Annotated[float, "[0, 1]"] = 0.5
    masks: Annotated[int, "[1, inf)"] = 2
    mask_bands: Annotated[float, "[0, 1]"] = 0.15
    mask_frames: Annotated[float, "[0, 1]"] = 0.20

    domain: ClassVar[str] = "logmel"
    embeds: ClassVar[bool] = True
    version: ClassVar[int] = 1

    def check(self) -> None:
        """Looks for everything that training needs, before any work starts.

        Raises:
            RequestError: the settings contradict each other.
            AugrunError: the pretrained weights cannot be had.
        """
        if self.frames % self.slice_frames:
            raise RequestError(
                f"classifier.frames={self.frames} is no multiple of classifier.slice_frames={self.slice_frames}. "
                f"Use dataset.input_frames={-(-self.frames // self.slice_frames) * self.slice_frames}."
            )
        if any(len(row) != 4 or min(row) < 1 for row in self.blocks) or not self.blocks:
            raise RequestError(
                f"classifier.blocks={self.blocks} is no table of MobileNetV2: "
                "each row holds expansion, channels, repeats and stride, all at least 1."
            )
        if self.slice_frames < smallest(self.blocks):
            raise RequestError(
                f"classifier.slice_frames={self.slice_frames} is too short for the strides of classifier.blocks. "
                f"Use at least {smallest(self.blocks)}."
            )
        if self.pretrained and (self.width != 1 or self.blocks != [list(row) for row in PAPER_BLOCKS]):
            raise RequestError(
                f"classifier.width={self.width:g}: pretrained weights fit a width of 1 and the published blocks only. "
                "Use classifier.pretrained=false, or those of scale=paper."
            )
        self._imagenet()

    def fit(self, train: Examples, validation: Examples, job: Job) -> None:
        """Trains in phases; leaves `model.pt` and `history.json` (with the `phase` of each epoch)."""
        if not (job.folder / MODEL).exists():
            self._train(train, validation, job)
        for phase in job.folder.glob("*/finished.json"):  # the checkpoints have served
            shutil.rmtree(phase.parent)

    def _train(self, train: Examples, validation: Examples, job: Job) -> None:
        self.check()
        _check_parts(train, validation)
        shape = {"bands": train.features.bands, "classes": train.targets.shape[1], "multilabel": train.multilabel}
        monitor = MONITOR if len(validation) else None
        best: tuple[float, Path] | None = None
        history: list[dict[str, Any]] = []
        for number, (phase, epochs, optimizer) in enumerate(self._phases()):
            reseed(job.seed, "network")
            network = self._network(shape, pretrained=not number)
            network.start_from(torch.from_numpy(train.targets.mean(0)))
            training = Training(network, train.multilabel, optimizer, self)
            if best is not None:
                training.load_state_dict(read_weights(best[1]))
            result = fit(
                training,
                Clips(train, self.frames, self.divide_by),
                Clips(validation, self.frames, self.divide_by),
                job.within(phase, seed=derive_seed(job.seed, phase), title=f"{job.title or 'classifier'} {phase}"),
                epochs=epochs,
                batch_size=self.batch_size,
                validation_batch_size=2 * self.batch_size,
                monitor=monitor,
                mode="max",
            )
            best = _better(best, result, monitor)
            history += [
                {"epoch": len(history) + i, "phase": phase} | _curves(e) for i, e in enumerate(result.history, 1)
            ]
        assert best is not None
        _leave(job.folder, {"shape": shape, "state": read_weights(best[1])}, history)

    def predict(self, features: Features, fitted: Path, job: Job) -> np.ndarray:
        """The mean of both heads' probabilities, shape (clips, classes), float32."""
        model = _load(fitted)

        def probabilities(network: Network, batch: torch.Tensor) -> torch.Tensor:
            attention, plain = network(batch)
            return (attention + plain) / 2

        return self._through(model, features, job, probabilities, model["shape"]["classes"])

    def embed(self, features: Features, fitted: Path, job: Job) -> np.ndarray:
        """What the last layers of both heads are given (see `Network.hidden`), shape (clips, 512), float32."""
        return self._through(_load(fitted), features, job, Network.hidden, 2 * VECTOR)

    def _through(
        self,
        model: dict[str, Any],
        features: Features,
        job: Job,
        of: Callable[[Network, torch.Tensor], torch.Tensor],
        width: int,
    ) -> np.ndarray:
        """What `of` gives of all clips in the trained network, shape (clips, width), float32."""
        network = self._network(model["shape"], pretrained=False)
        network.load_state_dict({name.removeprefix("network."): value for name, value in model["state"].items()})
        where = device(job.hardware)
        if where.type == "cpu":
            keep_memory()
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.to(where).eval()
        clips = _Inputs(features, self.frames, self.divide_by)
        found = np.empty((len(features), width), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(features), 8):
                stop = min(start + 8, len(features))
                batch = torch.stack([clips[row] for row in range(start, stop)]).to(where)
                found[start:stop] = of(network, batch).float().cpu().numpy()
        return found

    def _phases(self) -> list[tuple[str, int, dict[str, Any]]]:
        """Name, epochs and optimiser of each phase."""
        adam = {"name": "adam", "lr": self.adam_rate, "attention_lr": self.attention_rate}
        phases: list[tuple[str, int, dict[str, Any]]] = [("adam", self.adam_epochs, adam)]
        if self.sgd_epochs:
            for number, rate in enumerate(self.sgd_rates, 1):
                settings = {"name": "sgd", "lr": rate, "momentum": self.sgd_momentum}
                settings |= {"weight_decay": self.sgd_weight_decay, "nesterov": self.sgd_momentum > 0}
                phases.append((f"sgd{number}", self.sgd_epochs, settings))
        return phases

    def _network(self, shape: dict[str, Any], pretrained: bool) -> Network:
        network = Network(
            **shape, frames=self.frames, slice_frames=self.slice_frames, blocks=self.blocks, width=self.width
        )
        weights = self._imagenet() if pretrained else None
        if weights is not None:
            network.mobilenet.load_state_dict(weights)
        return network

    def _imagenet(self) -> dict[str, torch.Tensor] | None:
        return imagenet_weights(self.weights) if self.pretrained else None


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
        self, network: Network, multilabel: bool, optimizer: dict[str, Any], settings: MobileNetV2Attention
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


def _load(fitted: Path) -> dict[str, Any]:
    return dict(torch.load(fitted / MODEL, map_location="cpu", weights_only=True))


def _leave(folder: Path, model: dict[str, Any], history: list[dict[str, Any]]) -> None:
    """Writes the result, the model last and atomically: it says that all is there."""
    (folder / HISTORY).write_text(json.dumps(history, indent=1))
    fresh = folder / f".{MODEL}.new"
    torch.save(model, fresh)
    os.replace(fresh, folder / MODEL)
