"""How `vgg19` is trained, and how segments go through it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.nn import functional
from torch.utils.data import Dataset

from augrun.classifiers.vgg19.network import HIDDEN, scaled
from augrun.classifiers.vgg19.network import VGG19 as Network
from augrun.classifiers.vgg19.settings import FIT, VGG19Settings
from augrun.core.errors import AugrunError
from augrun.core.job import Job
from augrun.core.training.distributed import gathered
from augrun.core.training.fit import fit, read_weights, reseed
from augrun.core.training.model_files import leave, load
from augrun.core.training.prediction import predict
from augrun.features.cache import Features
from augrun.features.examples import Examples

log = logging.getLogger(__name__)

PREDICTED_AT_ONCE = 64


def train_network(settings: VGG19Settings, train: Examples, validation: Examples, job: Job) -> None:
    """Trains; leaves the model and `history.json`.

    Raises:
        AugrunError: nothing can be learnt from these parts.
    """
    shape = shape_of(train, validation)
    reseed(job.seed, "network")
    training = Training(network_of(settings, shape), train.multilabel, settings)
    result = fit(
        training,
        Segments(train),
        Segments(validation),
        job.within(FIT, title=job.title or "classifier"),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        validation_batch_size=2 * settings.batch_size,
        monitor=f"validation/{settings.select}" if len(validation) else None,
        mode="max" if settings.select == "uar" else "min",
    )
    _tell_of_chance(result.history, job.title)
    leave(job.folder, {"shape": shape, "state": read_weights(result.best)}, result.history)


def probabilities(settings: VGG19Settings, features: Features, fitted: Path, job: Job) -> np.ndarray:
    """Class probabilities, shape (segments, classes), float32."""
    model = load(fitted)
    shape = model["shape"]

    def probability(network: Network, batch: torch.Tensor) -> torch.Tensor:
        logits = network(batch).float()
        return logits.sigmoid() if shape["multilabel"] else logits.softmax(1)

    return _through(settings, model, features, job, probability, shape["classes"])


def hidden(settings: VGG19Settings, features: Features, fitted: Path, job: Job) -> np.ndarray:
    """The second hidden layer after its ReLU, shape (segments, hidden units), float32."""
    return _through(settings, load(fitted), features, job, Network.hidden, scaled(HIDDEN, settings.width))


def _through(
    settings: VGG19Settings,
    model: dict[str, Any],
    features: Features,
    job: Job,
    of: Callable[[Network, torch.Tensor], torch.Tensor],
    width: int,
) -> np.ndarray:
    """What `of` gives of all segments in the trained network, shape (segments, width), float32."""
    shape = model["shape"]
    _check_frames(features, shape["frames"], "the classifier was trained on")

    def read_batch(rows: range) -> torch.Tensor:
        return torch.from_numpy(np.stack([features[row] for row in rows]))

    network, size = network_of(settings, shape), (len(features), width)
    return predict(network, model["state"], of, read_batch, size, PREDICTED_AT_ONCE, job.hardware)


def network_of(settings: VGG19Settings, shape: dict[str, Any]) -> Network:
    """The untrained network; its weights come from torch's global generator."""
    given = {name: value for name, value in shape.items() if name != "multilabel"}
    sizes = {name: getattr(settings, name) for name in ("width", "batch_norm", "pooled", "dropout", "shrink")}
    return Network(**given, **sizes)


class Segments(Dataset):
    """(spectrogram, targets) of each segment."""

    def __init__(self, examples: Examples) -> None:
        self.features = examples.features
        self.targets = torch.from_numpy(np.asarray(examples.targets, dtype=np.float32))

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(np.array(self.features[index])), self.targets[index]


class Training(pl.LightningModule):
    """Loss and selection around the network."""

    channels_last = True

    def __init__(self, network: Network, multilabel: bool, settings: VGG19Settings) -> None:
        super().__init__()
        self.network, self.multilabel, self.settings = network, multilabel, settings
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        spectrograms, targets = batch
        loss = self.loss(self.network(spectrograms), targets)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(targets))
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        spectrograms, targets = batch
        logits = self.network(spectrograms)
        self.log("validation/loss", self.loss(logits, targets), batch_size=len(targets))
        self.seen.append((logits.float().cpu(), targets.cpu()))

    def on_validation_epoch_end(self) -> None:
        logits, targets = (gathered(torch.cat(parts)) for parts in zip(*self.seen, strict=True))
        self.seen.clear()
        self.log("validation/uar", macro_recall(logits, targets, self.multilabel))

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Binary (mean over classes) or categorical cross-entropy in nats, mean over segments; targets may be soft."""
        if self.multilabel:
            return functional.binary_cross_entropy_with_logits(logits.float(), targets)
        return functional.cross_entropy(logits.float(), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam; its rate stays as it is."""
        return torch.optim.Adam(self.parameters(), lr=self.settings.rate, weight_decay=self.settings.weight_decay)


def macro_recall(logits: torch.Tensor, targets: torch.Tensor, multilabel: bool) -> float:
    """Mean over classes of the share of a class's segments that are taken for it; classes without any are left out.

    Args:
        logits: shape (segments, classes).
        targets: alike; of soft ones the largest counts, or with several classes a segment those above one half.
        multilabel: whether a segment may be of several classes (logits above 0 then) or of one (the largest logit).
    """
    if multilabel:
        truth, taken = targets > 0.5, logits > 0
    else:
        classes = targets.shape[1]
        truth, taken = (functional.one_hot(x.argmax(1), classes).bool() for x in (targets, logits))
    count = truth.sum(0)
    return float(((truth & taken).sum(0)[count > 0] / count[count > 0]).mean())


def shape_of(train: Examples, validation: Examples) -> dict[str, Any]:
    """What the network is built for; the train part's range is read one segment after the other.

    Raises:
        AugrunError: nothing can be learnt from these parts.
    """
    if not len(train):
        raise AugrunError("the training part has no segments. Check the protocol and policy.composition.")
    frames = int(train.features.frames[0])
    for part in (train, validation):
        _check_frames(part.features, frames, "the first of the train part has")
    targets = np.asarray(train.targets)
    if not (targets.max(0) > targets.min(0)).any():
        raise AugrunError(
            f"all {len(train)} training segments carry the same class, so there is nothing to tell apart. "
            "Check dataset.labels and policy.composition."
        )
    low, high = value_range(train.features)
    return {
        "frames": frames,
        "bands": train.features.bands,
        "classes": targets.shape[1],
        "multilabel": train.multilabel,
        "low": low,
        "high": high,
    }


def value_range(features: Features) -> tuple[float, float]:
    """The smallest and the largest of all values, with no more than one matrix in memory at once.

    Raises:
        AugrunError: a value is not finite, or all are equal.
    """
    low, high = np.inf, -np.inf
    for number, matrix in enumerate(features):
        least, most = float(matrix.min()), float(matrix.max())
        if not (np.isfinite(least) and np.isfinite(most)):
            raise AugrunError(
                f"segment {number + 1} of the {len(features)} training segments holds values that are NaN or "
                "infinite. Remove its features, and mend the recording or sample that it is from."
            )
        low, high = min(low, least), max(high, most)
    if low == high:
        raise AugrunError(
            f"all values of the {len(features)} training segments are {low:g}: silence alone. Check the recordings."
        )
    return low, high


def _tell_of_chance(history: list[dict[str, Any]], title: str) -> None:
    """Warns where training never left its plateau, as deep networks without normalisation may not.

    A network that takes every segment for the same class has found one of them and missed the rest, whatever its loss.
    """
    recalls = [entry["validation/uar"] for entry in history if "validation/uar" in entry]
    if recalls and max(recalls) - min(recalls) < 1e-6:
        log.warning(
            "%s: in all %d epochs the macro recall of the validation part stayed at %.3g: the network tells no classes "
            "apart. Give it more classifier.epochs, another classifier.rate, or classifier.batch_norm=true.",
            title or "vgg19",
            len(recalls),
            recalls[0],
        )


def _check_frames(features: Features, frames: int, whose: str) -> None:
    different = np.flatnonzero(features.frames != frames)
    if len(different):
        raise AugrunError(
            f"vgg19 takes segments of one length: {len(different)} of {len(features)} have other than the {frames} "
            f"frames that {whose}, e.g. {features.frames[different[0]]}. Give segments.seconds and segments.frames, "
            "as 3 and 128."
        )
