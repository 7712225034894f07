"""A GAN that starts from encoded recordings, trained on mixtures of them as well.

Latif et al., "Augmenting generative adversarial networks for speech emotion recognition", Interspeech 2020, section
3.3. An encoder E makes a short code of a vector, a generator G a vector of the code, and a discriminator D tells
recorded vectors from generated ones. The training set is the recorded vectors and, beside them, mixtures of two each
(mixup, Zhang et al. 2018). "First, we update the autoencoder network. Then, the generator network is updated. Finally,
the discriminator network is updated for samples with λ = 0, 1", those that are not mixed.

A sample is G(E(x)) of a recorded train vector x and carries its class; there is no prior to draw from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from augrun.core.errors import AugrunError
from augrun.core.job import Job
from augrun.features.cache import build
from augrun.features.span import Span
from augrun.generators.base import Generator
from augrun.generators.requests import GenerationInputs

if TYPE_CHECKING:
    from augrun.features.examples import Examples

_AT_ONCE = 1024


@dataclass(frozen=True)
class MixupGAN(Generator):
    """Makes of each train vector another one of its class.

    Attributes:
        hidden: units of the encoder's hidden layers; the generator has them the other way round.
        code: dimensions of the code.
        critic: units of the discriminator's hidden layers.
        slope: of the leaky ReLU for negative values.
        dropout: between the autoencoder's layers.
        ratio: mixed vectors for each recorded one; 0 leaves mixup out.
        alpha: λ is drawn from Beta(α, α).
        batch_size: vectors of a batch, mixed and unmixed as they come.
        pretraining: passes of the autoencoder alone.
        epochs: passes of all three steps after that.
        autoencoder_rate: Adam's, of encoder and generator for the reconstruction.
        rate: Adam's, of generator and discriminator.
    """

    domain: ClassVar[str] = "functionals"
    trained: ClassVar[bool] = True
    primed: ClassVar[bool] = True
    reconstructs: ClassVar[bool] = True
    together: ClassVar[bool] = True
    version: ClassVar[int] = 1

    hidden: Sequence[Annotated[int, "[1, inf)"]] = field(default_factory=lambda: [1000, 500])
    code: Annotated[int, "[1, inf)"] = 2
    critic: Sequence[Annotated[int, "[1, inf)"]] = field(default_factory=lambda: [1000, 1000])
    slope: Annotated[float, "[0, 1)"] = 0.2
    dropout: Annotated[float, "[0, 1)"] = 0.5
    ratio: Annotated[float, "[0, inf)"] = 1.0
    alpha: Annotated[float, "(0, inf)"] = 1.0
    batch_size: Annotated[int, "[1, inf)"] = 64
    pretraining: Annotated[int, "[0, inf)"] = 50
    epochs: Annotated[int, "[1, inf)"] = 100
    autoencoder_rate: Annotated[float, "(0, inf)"] = 2e-4
    rate: Annotated[float, "(0, inf)"] = 2e-4
    prime_s: None = None
    sample_s: None = None

    def fit(self, train: Examples, validation: Examples, job: Job) -> None:  # type: ignore[override]
        """Trains; leaves `model.pt` and `history.json`. The validation part is not looked at.

        Raises:
            AugrunError: there is nothing to learn from.
        """
        from augrun.generators.mixup_gan.training import MODEL

        if not (job.folder / MODEL).exists():
            self.fit_together([train], [job])

    def fit_together(self, train: Sequence[Examples], jobs: Sequence[Job]) -> None:
        """Trains one for each train part, all at once; see `augrun.classifiers.dnn.DNN.fit_together`."""
        from augrun.generators.mixup_gan import training

        training.train(self, train, jobs)

    def generate(self, inputs: GenerationInputs) -> None:
        """Make one vector of each of `inputs.primes`, into the folder `features`; see `Generator.generate`."""
        import torch

        from augrun.core.training.device import device
        from augrun.core.training.stacked import Draws, Perceptrons
        from augrun.generators.mixup_gan.training import MODEL

        fitted, primes, job = inputs.fitted, inputs.primes, inputs.job
        assert fitted is not None and primes is not None
        model = torch.load(fitted / MODEL, map_location="cpu", weights_only=True)
        span, where = Span(model["low"].numpy(), model["high"].numpy()), device(job.hardware)
        chain = []
        for name, widths in (("encoder", model["widths"]), ("generator", model["widths"][::-1])):
            network = Perceptrons(widths, Draws([0]), self.slope)
            network.layers.load_state_dict(model[name])
            chain.append(network.to(where).eval())
        rows = span.apply(primes.rows())

        def compute(group: Sequence[int]) -> list[np.ndarray | AugrunError]:
            with torch.inference_mode():
                vectors = torch.from_numpy(rows[list(group)])[None].to(where)
                made = chain[1](chain[0](vectors))[0].float().cpu().numpy()
            return [vector[None] for vector in span.undo(made)]

        groups = [list(range(at, min(at + _AT_ONCE, len(rows)))) for at in range(0, len(rows), _AT_ONCE)]
        names = inputs.requests["sample_id"].tolist()
        build(job.folder / "features", names, primes.bands, compute, key=fitted.name, groups=groups)
