"""The classifier of Chatziagapi et al. 2019: VGG19 from scratch over the log-mel spectrograms of 3-s segments.

Chatziagapi et al., "Data augmentation using GANs for speech emotion recognition", Interspeech 2019, section 3.2;
Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015. Classes are
not weighed and batches not balanced: what a more balanced training set brings is the question that is put.

Here are its settings; `vgg19_training` trains and asks it, `vgg19_network` is the network.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np

from augrun.classifiers.base import Classifier
from augrun.classifiers.vgg19.settings import FIT
from augrun.core.job import Job
from augrun.core.training.model_files import MODEL
from augrun.features.cache import Features
from augrun.features.examples import Examples


@dataclass(frozen=True)
class VGG19(Classifier):
    """Min–max normalised spectrograms of one size → 16 convolutions → 3 fully connected layers.

    Every example has the same number of frames: fix it with segments.seconds and segments.frames.

    Attributes:
        width: multiplies the channels and the hidden units; 1 is the paper's network.
        batch_norm: batch normalisation after each convolution (Ioffe and Szegedy 2015); VGG19 has none.
        pooled: rows and columns of the map before the hidden layers; torchvision's network has 7.
        shrink: so many frames and as many bands are averaged into one before the first convolution; 1 leaves all.
        dropout: of the hidden layers (Simonyan and Zisserman: 0.5).
        batch_size: segments in a training batch.
        epochs: how many.
        rate: learning rate of Adam.
        weight_decay: L2 penalty.
        select: which epoch is kept: that of the largest macro recall on validation (`uar`), or of the least `loss`.
            Without a validation part it is the last.
    """

    width: Annotated[float, "(0, 2]"] = 1.0
    batch_norm: bool = False
    pooled: Annotated[int, "[1, inf)"] = 7
    shrink: Annotated[int, "[1, inf)"] = 1
    dropout: Annotated[float, "[0, 1)"] = 0.5
    batch_size: Annotated[int, "[2, inf)"] = 32
    epochs: Annotated[int, "[1, inf)"] = 60
    rate: Annotated[float, "(0, inf)"] = 1e-4
    weight_decay: Annotated[float, "[0, inf)"] = 0.0
    select: Literal["uar", "loss"] = "uar"

    domain: ClassVar[str] = "logmel"
    embeds: ClassVar[bool] = True
    version: ClassVar[int] = 1

    def fit(self, train: Examples, validation: Examples, job: Job) -> None:
        """Trains; leaves `model.pt` and `history.json`."""
        if not (job.folder / MODEL).exists():
            from augrun.classifiers.vgg19 import training

            training.train_network(self, train, validation, job)
        shutil.rmtree(job.folder / FIT, ignore_errors=True)  # the checkpoints have served

    def predict(self, features: Features, fitted: Path, job: Job) -> np.ndarray:
        """Class probabilities, shape (segments, classes), float32."""
        from augrun.classifiers.vgg19 import training

        return training.probabilities(self, features, fitted, job)

    def embed(self, features: Features, fitted: Path, job: Job) -> np.ndarray:
        """The second hidden layer after its ReLU, shape (segments, hidden units), float32."""
        from augrun.classifiers.vgg19 import training

        return training.hidden(self, features, fitted, job)
