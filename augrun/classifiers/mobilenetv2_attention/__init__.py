"""The mood classifier of Godwin et al. 2021: MobileNetV2 over slices of a log-mel spectrogram, and self-attention.

Sukhavasi and Adapa, "Music theme recognition using CNN and self-attention", MediaEval 2019, arXiv:1911.07041,
submission 2; what the paper leaves unsaid follows the authors' code (github.com/sainathadapa/
mediaeval-2019-moodtheme-detection). Not followed: that code also augments validation and test clips.

Here are its settings; `mobilenetv2_training` trains and asks it, `mobilenetv2_network` is the network.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from augrun.classifiers.base import Classifier
from augrun.classifiers.mobilenetv2_attention.settings import PAPER_BLOCKS, smallest
from augrun.core.errors import RequestError
from augrun.core.job import Job
from augrun.core.training.model_files import MODEL
from augrun.features.cache import Features
from augrun.features.examples import Examples


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
        if self.pretrained:
            from augrun.classifiers.mobilenetv2_attention.network import imagenet_weights

            imagenet_weights(self.weights)

    def fit(self, train: Examples, validation: Examples, job: Job) -> None:
        """Trains in phases; leaves `model.pt` and `history.json` (with the `phase` of each epoch)."""
        from augrun.classifiers.mobilenetv2_attention import training

        if not (job.folder / MODEL).exists():
            self.check()
            training.train_phases(self, train, validation, job)
        for phase in job.folder.glob("*/finished.json"):  # the checkpoints have served
            shutil.rmtree(phase.parent)

    def predict(self, features: Features, fitted: Path, job: Job) -> np.ndarray:
        """The mean of both heads' probabilities, shape (clips, classes), float32."""
        from augrun.classifiers.mobilenetv2_attention import training

        return training.probabilities(self, features, fitted, job)

    def embed(self, features: Features, fitted: Path, job: Job) -> np.ndarray:
        """What the last layers of both heads are given (see `Network.hidden`), shape (clips, 512), float32."""
        from augrun.classifiers.mobilenetv2_attention import training

        return training.hidden(self, features, fitted, job)
