"""The code of the GAN on mixtures (`augrun.generators.mixup_gan`): what Latif et al. 2020 propose, in their Table 2.

Section 5.1.2: "we use encoded features (z_e = E_e(x_in)) from the autoencoder component as the input to the
classifier".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from augrun.core.job import Job
from augrun.features.cache import Features
from augrun.features.examples import Examples
from augrun.features.mixup import Mixup
from augrun.features.span import Span
from augrun.reducers.base import Reducer

if TYPE_CHECKING:
    from augrun.generators.mixup_gan.training import Settings

MODEL = "model.pt"  # as the GAN calls it


@dataclass(frozen=True)
class MixupGANEncoder(Reducer):
    """Vectors, min–max normalised → encoder → code.

    The GAN draws its mixtures from the same seed in the same way as those of the classifier are drawn, so that both
    learn from the same vectors; how many there are, `mixup` says.

    Attributes:
        dimensions: of the code.
        hidden: units of the encoder's hidden layers; the generator has them the other way round.
        critic: units of the discriminator's hidden layers.
        slope: of the leaky ReLU for negative values.
        dropout: between the autoencoder's layers.
        batch_size: vectors of a batch, mixed and unmixed as they come.
        pretraining: passes of the autoencoder alone.
        epochs: passes of all three steps after that.
        autoencoder_rate: Adam's, of encoder and generator for the reconstruction.
        rate: Adam's, of generator and discriminator.
    """

    together: ClassVar[bool] = True
    version: ClassVar[int] = 1

    dimensions: Annotated[int, "[1, inf)"] = 25
    hidden: Sequence[Annotated[int, "[1, inf)"]] = field(default_factory=lambda: [1000, 500])
    critic: Sequence[Annotated[int, "[1, inf)"]] = field(default_factory=lambda: [1000, 1000])
    slope: Annotated[float, "[0, 1)"] = 0.2
    dropout: Annotated[float, "[0, 1)"] = 0.5
    batch_size: Annotated[int, "[1, inf)"] = 64
    pretraining: Annotated[int, "[0, inf)"] = 50
    epochs: Annotated[int, "[1, inf)"] = 100
    autoencoder_rate: Annotated[float, "(0, inf)"] = 2e-4
    rate: Annotated[float, "(0, inf)"] = 2e-4

    def gan(self, mixup: Mixup) -> Settings:
        """The settings of the GAN whose encoder this is."""
        return SimpleNamespace(**asdict(self), code=self.dimensions, ratio=mixup.ratio, alpha=mixup.alpha)

    def fit(self, train: Examples, job: Job, mixup: Mixup) -> None:
        """Trains the GAN; leaves what it leaves, `model.pt` and `history.json`.

        Raises:
            AugrunError: there is nothing to learn from.
        """
        if not (job.folder / MODEL).exists():
            self.fit_together([train], [job], mixup)

    def fit_together(self, train: Sequence[Examples], jobs: Sequence[Job], mixup: Mixup) -> None:
        """Trains one for each train part, all at once; see `augrun.classifiers.dnn.DNN.fit_together`."""
        from augrun.generators.mixup_gan import training

        training.train(self.gan(mixup), train, jobs)

    def transform(self, features: Features, fitted: Path, job: Job) -> Features:
        """See `Reducer.transform`."""
        import torch

        from augrun.reducers.autoencoder.training import encode

        model = torch.load(fitted / MODEL, map_location="cpu", weights_only=True)
        rows = Span(model["low"].numpy(), model["high"].numpy()).apply(features.rows())
        codes = encode(rows, model["widths"], model["encoder"], self.slope, job.hardware)
        return Features.from_rows(codes, np.ones(len(codes), dtype=np.int64))
