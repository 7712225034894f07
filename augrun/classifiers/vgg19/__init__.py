"""The classifier of Chatziagapi et al. 2019: VGG19 from scratch over the log-mel spectrograms of 3-s segments.

Chatziagapi et al., "Data augmentation using GANs for speech emotion recognition", Interspeech 2019, section 3.2;
Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015. Classes are
not weighed and batches not balanced: what a more balanced training set brings is the question that is put.

Its settings are in `settings`, the network in `network`, training and prediction in `training`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from augrun.classifiers.base import Classifier
from augrun.classifiers.vgg19.settings import FIT, VGG19Settings
from augrun.core.job import Job
from augrun.core.training.model_files import MODEL
from augrun.features.cache import Features
from augrun.features.examples import Examples


@dataclass(frozen=True)
class VGG19(VGG19Settings, Classifier):
    """Min–max normalised spectrograms of one size → 16 convolutions → 3 fully connected layers.

    Every example has the same number of frames: fix it with segments.seconds and segments.frames.
    """

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
