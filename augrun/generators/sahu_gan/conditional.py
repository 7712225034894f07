"""A GAN from two dimensions and a class to a vector of functionals; see `augrun.generators.sahu_gan`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from augrun.generators.sahu_gan import PlaneGAN


@dataclass(frozen=True)
class SahuCGAN(PlaneGAN):
    """The conditional GAN: generator and discriminator see the class, one-hot, beside the point or the vector."""

    called: ClassVar[str] = "sahu_cgan"
    conditional: ClassVar[bool] = True
