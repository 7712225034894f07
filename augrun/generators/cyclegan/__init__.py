"""Emotion style transfer: vectors of unlabelled speech turned into vectors of each emotion.

Bao, Neumann and Vu, "CycleGAN-based emotion style transfer as data augmentation for speech emotion recognition",
Interspeech 2019, section 2. For each emotion i a CycleGAN: G_i takes a vector of the source corpus to that emotion, F_i
takes one of that emotion to the source, a discriminator for either side, and a classifier C for all emotions, which is
to tell what they are turned into (equation 5). The samples are G_i(s) of every source vector s, for every emotion.

What the paper leaves open is as in its authors' code, as far as conf/generator/cyclegan.yaml says so, but for two
faults of that: there the discriminator's step also moves the generators, and one CycleGAN that has seen all sessions
serves for every fold.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from augrun.core.errors import AugrunError
from augrun.core.files import atomic_path
from augrun.core.job import Job
from augrun.features.cache import build
from augrun.features.span import Span
from augrun.generators.base import Generator
from augrun.generators.cyclegan.settings import CycleGANSettings
from augrun.generators.requests import GenerationInputs

if TYPE_CHECKING:
    from augrun.features.examples import Examples

MODEL, HISTORY = "model.pt", "history.json"
FIT = "fit"  # the folder of the checkpoints
_AT_ONCE = 1024


@dataclass(frozen=True)
class CycleGAN(CycleGANSettings, Generator):
    """Makes of each source vector one of every class."""

    domain: ClassVar[str] = "functionals"
    trained: ClassVar[bool] = True
    primed: ClassVar[bool] = True
    reconstructs: ClassVar[bool] = True
    together: ClassVar[bool] = True
    transforms_role: ClassVar[str] = "source"
    uses: ClassVar[tuple[str, ...]] = ("source",)
    version: ClassVar[int] = 1

    def fit(self, train: Examples, validation: Examples, job: Job, source: Examples | None = None) -> None:  # type: ignore[override]
        """Trains; leaves `model.pt` and `history.json`. The validation part is not looked at.

        Raises:
            AugrunError: a class has no clips, or clips carry several classes.
        """
        if not (job.folder / MODEL).exists():
            self.fit_together([train], [job], source=source)

    def fit_together(self, train: Sequence[Examples], jobs: Sequence[Job], source: Examples | None = None) -> None:
        """Trains those of several train parts at once; see `augrun.classifiers.dnn.DNN.fit_together`.

        Args:
            train: the train parts.
            jobs: of each.
            source: the unlabelled vectors.
        """
        import torch

        from augrun.core.training import stacked_fit
        from augrun.core.training.stacked import replica
        from augrun.generators.cyclegan.training import Training

        assert source is not None
        for part in train:
            _check(part, source)
        training = Training(self, train, source, [job.seed for job in jobs])
        state = stacked_fit.train(training, jobs[0].within(FIT, title=jobs[0].title or "cyclegan"))
        classes = train[0].targets.shape[1]
        for number, job in enumerate(jobs):
            curves = stacked_fit.history(training, state, number)
            kept = ("epoch", "train/cycle")
            curves = [
                entry if entry["epoch"] > self.pretraining else {key: entry[key] for key in kept} for entry in curves
            ]
            (job.folder / HISTORY).write_text(json.dumps(curves, indent=1))
            of_it = [replica(state, number * classes + label, "forth.layers.") for label in range(classes)]
            edges = {
                f"{name}_{edge}": torch.from_numpy(getattr(span, edge))
                for name, span in (("target", training.spans[number]), ("source", training.source_span))
                for edge in ("low", "high")
            }
            with atomic_path(job.folder / MODEL) as fresh, open(fresh, "wb") as file:
                torch.save({"widths": training.widths, "forth": of_it, **edges}, file)
        shutil.rmtree(jobs[0].folder / FIT, ignore_errors=True)  # the checkpoints have served

    def generate(self, inputs: GenerationInputs) -> None:
        """Transform each prime, a source vector, into one of its request's class; see `Generator.generate`.

        The vectors go into the folder `features`.
        """
        import torch

        from augrun.core.training.device import device
        from augrun.core.training.stacked import Draws, Perceptrons

        fitted, primes, job = inputs.fitted, inputs.primes, inputs.job
        assert fitted is not None and primes is not None
        model = torch.load(fitted / MODEL, map_location="cpu", weights_only=True)
        spans = {
            name: Span(*(model[f"{name}_{edge}"].numpy() for edge in ("low", "high"))) for name in ("source", "target")
        }
        where, networks = device(job.hardware), []
        for state in model["forth"]:
            network = Perceptrons(model["widths"], Draws([0]), self.slope)
            network.layers.load_state_dict(state)
            networks.append(network.to(where).eval())
        labels = inputs.requests["label"].to_numpy(np.int64)

        def compute(group: Sequence[int]) -> list[np.ndarray | AugrunError]:
            rows = spans["source"].apply(primes.select(np.asarray(group)).rows())
            made = np.empty_like(rows)
            for label in np.unique(labels[list(group)]):
                of_it = labels[list(group)] == label
                with torch.inference_mode():
                    vectors = torch.from_numpy(rows[of_it])[None].to(where)
                    made[of_it] = networks[label](vectors)[0].float().cpu().numpy()
            return [vector[None] for vector in spans["target"].undo(made)]

        groups = [list(range(at, min(at + _AT_ONCE, len(labels)))) for at in range(0, len(labels), _AT_ONCE)]
        names = inputs.requests["sample_id"].tolist()
        build(job.folder / "features", names, primes.bands, compute, key=fitted.name, groups=groups)


def _check(train: Examples, source: Examples) -> None:
    if train.multilabel:
        raise AugrunError("cyclegan learns from clips of one class each, and these carry several")
    counts = train.targets.sum(axis=0)
    lacking = [name for name, count in zip(train.names, counts, strict=True) if not count]
    if lacking or not len(train):
        raise AugrunError(f"cyclegan: the train part has no clip of {', '.join(lacking) or 'any class'}")
    if not len(source):
        raise AugrunError("cyclegan: the source corpus has no clips; give another dataset@source=, or its source.root=")
