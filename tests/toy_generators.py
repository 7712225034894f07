"""Generators, and classifiers, that tests name by `_target_`."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from augrun.classifiers.base import Classifier
from augrun.classifiers.mobilenetv2_attention import MobileNetV2Attention
from augrun.features.cache import build, one_by_one
from augrun.generators.base import Generator
from augrun.generators.requests import GenerationInputs
from tests.toy_jobs import Unsendable


@dataclass(frozen=True)
class ClassMeans(Generator):
    """Makes the mean log-mel segment of a class, and noise on it: the simplest generator of features there is."""

    domain: ClassVar[str] = "logmel"
    trained: ClassVar[bool] = True
    primed: ClassVar[bool] = False

    sample_s: float = 0.5

    def fit(self, train: Any, validation: Any, job: Any) -> None:
        segments = np.stack(list(train.features))
        means = [segments[train.targets[:, label] > 0].mean(axis=0) for label in range(train.targets.shape[1])]
        np.save(job.folder / "means.npy", np.stack(means))
        counts = {"train": len(train), "validation": len(validation), "names": train.names}
        (job.folder / "seen.json").write_text(json.dumps(counts | {"shape": segments.shape[1:]}))

    def generate(self, inputs: GenerationInputs) -> None:
        requests, job = inputs.requests, inputs.job
        assert inputs.fitted is not None
        means = np.load(inputs.fitted / "means.npy")
        labels, seeds = requests["label"].tolist(), requests["seed"].tolist()

        def one(row: int) -> np.ndarray:
            noise = np.random.default_rng(seeds[row]).normal(size=means.shape[1:])
            return (means[labels[row]] + noise).astype(np.float32)

        build(job.folder / "features", requests["sample_id"].tolist(), means.shape[2], one_by_one(one), key="means")

    def notes(self) -> list[str]:
        return ["means of classes, nothing more."]


@dataclass(frozen=True)
class FormerClassMeans(ClassMeans):
    """`ClassMeans` with the signature that `generate` had before `GenerationInputs`."""

    def generate(  # type: ignore[override]
        self, requests: Any, label_names: tuple[str, ...], fitted: Path | None, job: Any, **others: Any
    ) -> None:
        super().generate(GenerationInputs(requests, label_names, fitted, job, **others))


@dataclass(frozen=True)
class Unembedded(MobileNetV2Attention):
    """A classifier that predicts and nothing else."""

    embeds: ClassVar[bool] = False


@dataclass(frozen=True)
class Nearest(Classifier):
    """A classifier that knows the mean spectrum of each class; what it is told to do meanwhile is for tests of jobs.

    Attributes:
        pause_s: it takes its time, so that other jobs come for the same stage.
        kill: ends its own process as the kernel does where memory runs out: `always`, or `once` (a file tells).
        fail: raises an exception that `pickle` cannot make again.
    """

    pause_s: float = 0.0
    kill: str | None = None
    fail: bool = False

    def fit(self, train: Any, validation: Any, job: Any) -> None:
        time.sleep(self.pause_s)
        if self.fail:
            raise Unsendable("a", "b")
        if self.kill == "always" or (self.kill == "once" and not (job.folder / "tried").exists()):
            (job.folder / "tried").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        spectra = _spectra(train.features)
        means = [spectra[train.targets[:, label] > 0].mean(axis=0) for label in range(train.targets.shape[1])]
        np.save(job.folder / "means.npy", np.stack(means))
        (job.folder / "history.json").write_text("[]")

    def predict(self, features: Any, fitted: Path, job: Any) -> np.ndarray:
        means = np.load(fitted / "means.npy")
        distances = np.linalg.norm(_spectra(features)[:, None] - means, axis=2)
        powers = np.exp(distances.min(axis=1, keepdims=True) - distances)
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def _spectra(features: Any) -> np.ndarray:
    """The mean over time of each clip's features, shape (clips, bands)."""
    return np.stack([clip.mean(axis=0) for clip in features])
