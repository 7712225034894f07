"""A GAN from a point on the plane to a vector of functionals; which Gaussian the point is of is the sample's class.

Sahu, Gupta and Espy-Wilson, "On enhancing speech emotion recognition using generative adversarial networks",
Interspeech 2018 (arXiv 1806.06626): a vanilla GAN, which is here, and a conditional one, in
`augrun.generators.sahu_gan.conditional`, from a 2-d prior to 1,582 functionals. The vanilla one does not converge on
vectors of so
many dimensions; the conditional one does only from pretrained weights, and with a discriminator that is limited. The
prior is that of the authors' "Adversarial auto-encoders for speech based emotion recognition", Interspeech 2017.

The pretraining is ours: their adversarial autoencoder of 2017. An encoder E makes a code of a vector, and a decoder,
which is the generator G, a vector of the code. A discriminator of codes, which is told the class, tells draws of the
class's prior from the codes of that class's vectors, and E learns to fool it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from augrun.core.errors import AugrunError
from augrun.core.files import atomic_path
from augrun.core.job import Job
from augrun.features.cache import build
from augrun.features.span import Span
from augrun.generators.base import Generator
from augrun.generators.requests import GenerationInputs
from augrun.generators.sahu_gan.settings import RADIUS, PlaneGANSettings, Prior

if TYPE_CHECKING:
    from augrun.features.examples import Examples

MODEL, HISTORY = "model.pt", "history.json"
FIT = "fit"  # the folder of the checkpoints
_AT_ONCE = 256


@dataclass(frozen=True)
class PlaneGAN(PlaneGANSettings, Generator):
    """What the vanilla and the conditional GAN share.

    Class attributes:
        called: its name, in messages.
    """

    domain: ClassVar[str] = "functionals"
    trained: ClassVar[bool] = True
    primed: ClassVar[bool] = False
    together: ClassVar[bool] = True
    version: ClassVar[int] = 1
    called: ClassVar[str]

    def notes(self) -> list[str]:
        """What is not known of the paper."""
        return [
            "widths, rates, batch size, epochs and pretraining of Sahu et al. 2018 are not known to us; what was "
            f"chosen is in conf/generator/{self.called}.yaml"
        ]

    def fit(self, train: Examples, validation: Examples, job: Job) -> None:  # type: ignore[override]
        """Trains; leaves `model.pt` and `history.json`. The validation part is not looked at.

        Raises:
            AugrunError: a class has no clips, or clips carry several classes.
        """
        if not (job.folder / MODEL).exists():
            self.fit_together([train], [job])

    def fit_together(self, train: Sequence[Examples], jobs: Sequence[Job]) -> None:
        """Trains one for each train part, all at once; see `augrun.classifiers.dnn.DNN.fit_together`."""
        import torch

        from augrun.core.training import stacked_fit
        from augrun.core.training.stacked import replica
        from augrun.generators.sahu_gan.training import AFTER, BEFORE, Training

        for part in train:
            self._require(part)
        training = Training(self, train, [job.seed for job in jobs])
        state = stacked_fit.train(training, jobs[0].within(FIT, title=jobs[0].title or self.called))
        for number, job in enumerate(jobs):
            curves = []
            for entry in stacked_fit.history(training, state, number):
                told = BEFORE if entry["epoch"] <= self.pretraining else AFTER
                curves.append({key: entry[key] for key in ("epoch", *(f"train/{curve}" for curve in told))})
            (job.folder / HISTORY).write_text(json.dumps(curves, indent=1))
            own = replica(state, number, "generator.layers.")
            span = {edge: torch.from_numpy(getattr(training.spans[number], edge)) for edge in ("low", "high")}
            known = {"widths": training.widths, "classes": training.classes}
            centre = torch.from_numpy(training.centres[number])
            with atomic_path(job.folder / MODEL) as fresh, open(fresh, "wb") as file:
                torch.save({**known, "generator": own, **span, "centre": centre}, file)
        shutil.rmtree(jobs[0].folder / FIT, ignore_errors=True)  # the checkpoints have served

    def generate(self, inputs: GenerationInputs) -> None:
        """Make one vector of each request, into `job.folder/features`; see `Generator.generate`.

        A vector depends on nothing but its label, its seed and the model, up to rounding.

        Raises:
            AugrunError: the model knows other classes.
        """
        import torch

        from augrun.core.training.device import device
        from augrun.core.training.stacked import Draws, Perceptrons
        from augrun.generators.sahu_gan.training import given

        requests, label_names, fitted, job = inputs.requests, inputs.label_names, inputs.fitted, inputs.job
        assert fitted is not None
        model = torch.load(fitted / MODEL, map_location="cpu", weights_only=True)
        if model["classes"] != len(label_names):
            raise AugrunError(
                f"{fitted}: this {self.called} was trained on {model['classes']} classes, asked for are "
                f"{', '.join(label_names)}. Delete the folder and run again."
            )
        span, where = Span(model["low"].numpy(), model["high"].numpy()), device(job.hardware)
        network = Perceptrons(model["widths"], Draws([0]), self.slope)
        network.layers.load_state_dict(model["generator"])
        network.to(where).eval()
        prior = Prior.of(len(label_names))
        labels, seeds = requests["label"].astype(int).tolist(), requests["seed"].astype(int).tolist()

        def compute(group: Sequence[int]) -> list[np.ndarray | AugrunError]:
            # One shape of batch, so that what a vector is does not depend on how many share the last one.
            rows = [*group, *[group[0]] * (_AT_ONCE - len(group))]
            drawn = torch.from_numpy(np.stack([prior.draw(labels[row], seeds[row]) for row in rows]) / RADIUS)
            classes = torch.tensor([[labels[row] for row in rows]])
            with torch.inference_mode():
                told = given(drawn[None], classes, len(label_names) if self.conditional else 0)
                made = network(told.to(where))[0].float().cpu().numpy()
            return [vector[None] for vector in span.undo(made[: len(group)] + model["centre"].numpy())]

        groups = [list(range(at, min(at + _AT_ONCE, len(labels)))) for at in range(0, len(labels), _AT_ONCE)]
        names = requests["sample_id"].tolist()
        key = hashlib.sha256(json.dumps([fitted.name, labels, seeds]).encode()).hexdigest()
        build(job.folder / "features", names, len(span.low), compute, key=key, groups=groups)

    def _require(self, train: Examples) -> None:
        if train.multilabel:
            raise AugrunError(
                f"generator={self.called} learns from clips of one class each, and these carry several; "
                "choose a dataset whose clips carry one, such as dataset=iemocap"
            )
        counts = train.targets.sum(axis=0)
        lacking = [name for name, count in zip(train.names, counts, strict=True) if not count]
        if lacking:
            raise AugrunError(
                f"generator={self.called} learns from clips of every class, and the train part has none of "
                f"{', '.join(lacking)}; leave the class out of the corpus, or choose another protocol"
            )


@dataclass(frozen=True)
class SahuGAN(PlaneGAN):
    """The vanilla GAN: generator and discriminator are not told the class.

    Attributes:
        pretraining: none by default, as in the paper, so that what runs under this name is that paper's GAN. Then a
            sample's label says nothing; as an adversarial autoencoder first, the discriminator of codes ties them.
    """

    called: ClassVar[str] = "sahu_gan"
    conditional: ClassVar[bool] = False

    pretraining: Annotated[int, "[0, inf)"] = 0

    def notes(self) -> list[str]:
        """What is not known of the paper, and what the labels rest on."""
        told = super().notes()
        if not self.pretraining:
            told.append(
                "without pretraining nothing ties a component of the prior to the class it stands for, and its "
                "samples' labels say nothing; generator.pretraining=200 ties them, which is not the paper's vanilla GAN"
            )
        return told
