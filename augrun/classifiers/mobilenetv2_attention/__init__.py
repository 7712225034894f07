"""The mood classifier of Godwin et al. 2021: MobileNetV2 over slices of a log-mel spectrogram, and self-attention.

Sukhavasi and Adapa, "Music theme recognition using CNN and self-attention", MediaEval 2019, arXiv:1911.07041,
submission 2; what the paper leaves unsaid follows the authors' code (github.com/sainathadapa/
mediaeval-2019-moodtheme-detection). Not followed: that code also augments validation and test clips.

Its settings are in `settings`, the network in `network`, training and prediction in `training`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from augrun.classifiers.base import Classifier
from augrun.classifiers.mobilenetv2_attention.settings import PAPER_BLOCKS, MobileNetV2Settings, smallest
from augrun.core.errors import RequestError
from augrun.core.job import Job
from augrun.core.training.model_files import MODEL
from augrun.features.cache import Features
from augrun.features.examples import Examples


@dataclass(frozen=True)
class MobileNetV2Attention(MobileNetV2Settings, Classifier):
    """Slices → MobileNetV2 → one vector a slice → an attention head and a plain head, averaged.

    The best epoch is that with the largest validation ROC-AUC, macro-averaged (one class against the rest) over
    the classes that the validation part tells apart, whether clips carry one class or several.
    """

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
