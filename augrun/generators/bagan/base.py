"""What both balancing GANs do: three steps of fitting, each of which a killed fit finds done, and generation.

Chatziagapi et al. 2019, section 2.2: "(a) Autoencoder training (b) GAN initialization and (c) GAN fine-tuning".
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import numpy as np

from augrun.core.errors import AugrunError, RequestError
from augrun.core.files import atomic_path, write_bytes
from augrun.core.job import Job
from augrun.generators.base import Generator
from augrun.generators.requests import GenerationInputs

if TYPE_CHECKING:  # torch is imported where it is needed, so that a finished stage does without it
    from torch import Tensor, nn

    from augrun.features.examples import Examples
    from augrun.generators.bagan.data import Recorded, Spectrograms
    from augrun.generators.bagan.latents import ClassLatents
    from augrun.generators.bagan.networks import OriginalTrunk, Trunk
    from augrun.generators.bagan.training import Adversaries, Autoencoder

log = logging.getLogger(__name__)

MODEL, START, SETTINGS, HISTORY, HEALTH = "model.ckpt", "classes.npz", "settings.json", "history.json", "health.json"

#: Requests made at once; the same ones after a kill, so that the bytes are the same too.
_GROUP = 16


@dataclass(frozen=True)
class BalancingGAN(Generator):
    """Base of both; a subclass says what its networks are.

    Attributes:
        sample_s: seconds of sound that a generated segment stands for, where seconds are counted.
        latent: dimensions of the latents.
        dense: units of the generator's first dense layer.
        seed_width: channels of the smallest image, 8 × 8 for segments of 128 × 128, that its second one makes.
        generator_widths: channels after each of its layers that follow.
        discriminator_widths: channels after each of the discriminator's eight convolutions.
        kernel: edge of the kernels, odd.
        discriminator_kernel: edge of the discriminator's kernels, odd.
        slope: of the leaky ReLU below zero.
        dropout: probability.
        covariance: estimator of each class's covariance over the latents: `oas` (Chen et al. 2010) and `ledoit_wolf`
            shrink it towards a multiple of the identity; `empirical` does not.
        batches: recorded and generated segments in `separate` batches for the discriminator, or `mixed` in one.
        batch_size: recorded segments in an update.
        updates_per_epoch: between two validations and measures of health; training resumes from the last one.
        autoencoder_updates: of the autoencoder, rounded up to whole epochs. The best epoch on the validation part is
            taken, the last one where there is none.
        autoencoder_rate: learning rate of its Adam.
        gan_updates: of generator and discriminator, rounded up to whole epochs. The last one is taken: neither loss
            tells how good the samples are, as each network is measured against the other.
        gan_rate: learning rate of their Adam.
        beta1: Adam's first constant, in both.
    """

    domain: ClassVar[str] = "logmel"
    trained: ClassVar[bool] = True
    primed: ClassVar[bool] = False
    reconstructs: ClassVar[bool] = False
    version: ClassVar[int] = 1

    sample_s: Annotated[float, "(0, inf)"] = 3.0
    latent: Annotated[int, "[1, inf)"] = 100
    dense: Annotated[int, "[1, inf)"] = 1024
    seed_width: Annotated[int, "[1, inf)"] = 128
    generator_widths: tuple[Annotated[int, "[1, inf)"], ...] = ()
    discriminator_widths: tuple[Annotated[int, "[1, inf)"], ...] = (32, 64, 128, 256, 256, 256, 256, 256)
    kernel: Annotated[int, "[1, inf)"] = 3
    discriminator_kernel: Annotated[int, "[1, inf)"] = 3
    slope: Annotated[float, "[0, 1)"] = 0.3
    dropout: Annotated[float, "[0, 1)"] = 0.2
    covariance: Literal["oas", "ledoit_wolf", "empirical"] = "oas"
    batches: Literal["separate", "mixed"] = "separate"
    batch_size: Annotated[int, "[2, inf)"] = 64
    updates_per_epoch: Annotated[int, "[1, inf)"] = 500
    autoencoder_updates: Annotated[int, "[1, inf)"] = 20_000
    autoencoder_rate: Annotated[float, "(0, inf)"] = 5e-5
    gan_updates: Annotated[int, "[1, inf)"] = 20_000
    gan_rate: Annotated[float, "(0, inf)"] = 1e-6
    beta1: Annotated[float, "[0, 1)"] = 0.5

    #: What `generator=` says, and how many widths the generator has.
    called: ClassVar[str] = "bagan"
    layers: ClassVar[int] = 8

    def __post_init__(self) -> None:
        """Checks what fields say together.

        Raises:
            RequestError: they do not fit.
        """
        for name, count in (("generator_widths", self.layers), ("discriminator_widths", 8)):
            if len(getattr(self, name)) != count:
                given = list(getattr(self, name))
                raise RequestError(f"generator.{name}={given} must have {count} widths, one a layer")
        for name in ("kernel", "discriminator_kernel"):
            if getattr(self, name) % 2 == 0:
                raise RequestError(
                    f"generator.{name}={getattr(self, name)} must be odd, so that sizes stay as they are"
                )

    def networks(self, shape: tuple[int, int]) -> tuple[nn.Module, Trunk | OriginalTrunk]:
        """The generator and the discriminator's trunk, untrained; their weights come from torch's global generator."""
        raise NotImplementedError

    def fit(self, train: Examples, validation: Examples, job: Job) -> None:  # type: ignore[override]
        """Trains both networks.

        Leaves `model.ckpt`, `classes.npz` (where each class's latents are), `settings.json` (with the normalisation),
        `history.json` (with the `phase` of each epoch) and `health.json`. While it works, `autoencoder/` and `gan/`
        hold the checkpoints. Called again after a kill with the same folder, it continues from the last of them.

        Args:
            train: segments of one class each, all of one shape.
            validation: selects the autoencoder; may be empty.
            job: folder, seed and hardware.

        Raises:
            AugrunError: a class has fewer than two segments, or the segments are none that the networks can make.
        """
        if not (job.folder / MODEL).exists():
            self._train(train, validation, job)
        for name in ("autoencoder", "gan"):
            shutil.rmtree(job.folder / name, ignore_errors=True)

    def _train(self, train: Examples, validation: Examples, job: Job) -> None:
        import torch

        from augrun.core.seeding import derive_seed
        from augrun.core.training import fit as training
        from augrun.generators.bagan.data import Normalisation, Spectrograms, check

        shape, classes = check(train, validation, self.called), train.targets.shape[1]
        normalisation = Normalisation.of(train)
        data, held_out = Spectrograms(train, normalisation), Spectrograms(validation, normalisation)
        title = job.title or self.called
        # Whole batches alone, whatever the corpus: the statistics of batch normalisation need them.
        samples = self.updates_per_epoch * self.batch_size
        shared: dict[str, Any] = {"batch_size": self.batch_size, "samples_per_epoch": samples}

        training.reseed(job.seed, "autoencoder")
        autoencoder = self.autoencoder(shape)
        first = training.fit(
            autoencoder,
            data,
            held_out,
            job.within("autoencoder", title=f"{title}, autoencoder"),
            epochs=-(-self.autoencoder_updates // self.updates_per_epoch),
            monitor="validation/loss" if len(held_out) else None,
            **shared,
        )
        latents, recorded = self._start(autoencoder, data, classes, job)
        training.reseed(job.seed, "gan")
        gan = self.adversaries(shape, latents, recorded, f"{title}, GAN")
        gan.start_from(autoencoder)
        job_gan = job.within("gan", seed=derive_seed(job.seed, "gan"), title=f"{title}, GAN")
        epochs = -(-self.gan_updates // self.updates_per_epoch)
        second = training.fit(gan, data, None, job_gan, epochs=epochs, **shared)

        phases = (("autoencoder", first.history), ("gan", second.history))
        history = [{"phase": phase} | entry for phase, entries in phases for entry in entries]
        history = [entry | {"epoch": epoch} for epoch, entry in enumerate(history, 1)]
        write_bytes(job.folder / HISTORY, json.dumps(history, indent=1).encode())
        write_bytes(job.folder / HEALTH, json.dumps(_health(second.history[-1], recorded), indent=1).encode())
        known = {"classes": classes, "frames": shape[0], "bands": shape[1], "normalisation": asdict(normalisation)}
        write_bytes(job.folder / SETTINGS, json.dumps(asdict(self) | known, indent=1).encode())
        with atomic_path(job.folder / MODEL) as fresh, open(fresh, "wb") as file:
            torch.save(gan.state_dict(), file)

    def _start(
        self, autoencoder: Autoencoder, data: Spectrograms, classes: int, job: Job
    ) -> tuple[ClassLatents, Recorded]:
        """Step two: the normal distribution of each class, and what is recorded, kept in `classes.npz`."""
        from augrun.generators.bagan.data import Recorded
        from augrun.generators.bagan.latents import ClassLatents

        if not (job.folder / START).exists():
            encoded = _encode(autoencoder, data, job)
            latents = ClassLatents.of(encoded, data.labels, classes, self.covariance)
            recorded = Recorded.of(data, classes)
            for label, (count, weight) in enumerate(
                zip(np.bincount(data.labels, minlength=classes), latents.shrinkage, strict=True)
            ):
                where = f"{job.title or self.called}, initialisation"
                log.info("%s: class %d: %d segments, covariance shrunk by %.2f", where, label, count, weight)
            file = io.BytesIO()
            np.savez(file, **vars(latents), **{f"recorded_{name}": value for name, value in vars(recorded).items()})
            write_bytes(job.folder / START, file.getvalue())
        return _read_start(job.folder / START)

    def generate(self, inputs: GenerationInputs) -> None:
        """Make one segment per request into `job.folder/features`, a folder of `augrun.features.cache`.

        A segment is a (frames, bands) matrix in the unit of the train part. It depends on nothing but its label, its
        seed and the model (up to rounding, on the fifteen requests that share its batch).

        Raises:
            AugrunError: there is no trained model, or it knows other classes.
        """
        from augrun.features.cache import build
        from augrun.generators.bagan.data import Normalisation

        requests, fitted, job = inputs.requests, inputs.fitted, inputs.job
        module, settings, latents = self._load(fitted, inputs.label_names)
        normalisation = Normalisation(**settings["normalisation"])
        place = _place(module, job)
        labels, seeds = requests["label"].astype(int).tolist(), requests["seed"].astype(int).tolist()

        def compute(group: Sequence[int]) -> list[np.ndarray | AugrunError]:
            drawn = np.stack([latents.draw(labels[row], seeds[row]) for row in group])
            # One shape of batch, so that what a segment is does not depend on how many share the last one.
            full = np.concatenate([drawn, np.repeat(drawn[:1], _GROUP - len(drawn), axis=0)])
            return list(normalisation.undo(_decode(module, full, place)[: len(group)]))

        groups = [list(range(at, min(at + _GROUP, len(requests)))) for at in range(0, len(requests), _GROUP)]
        title = f"{job.title or self.called}: generating" if job.hardware.progress else None
        build(
            job.folder / "features",
            requests["sample_id"].tolist(),
            settings["bands"],
            compute,
            key=_digest(cast(Path, fitted), labels, seeds),
            groups=groups,
            title=title,
        )

    def _load(
        self, fitted: Path | None, label_names: tuple[str, ...]
    ) -> tuple[nn.Module, dict[str, Any], ClassLatents]:
        """The trained generator, what `settings.json` says, and the classes' latents."""
        import torch

        if fitted is None or not (fitted / MODEL).exists():
            raise AugrunError(
                f"{fitted}: holds no trained {self.called} model ({MODEL}). Delete the folder and run again."
            )
        settings = json.loads((fitted / SETTINGS).read_text(encoding="utf-8"))
        if settings["classes"] != len(label_names):
            raise AugrunError(
                f"{fitted}: this {self.called} was trained on {settings['classes']} classes, asked for are "
                f"{', '.join(label_names)}. Delete the folder and run again."
            )
        module, _ = self.networks((settings["frames"], settings["bands"]))
        weights = torch.load(fitted / MODEL, map_location="cpu", weights_only=True)
        own = {name.removeprefix("generator."): value for name, value in weights.items() if name[:10] == "generator."}
        module.load_state_dict(own)
        return module.eval(), settings, _read_start(fitted / START)[0]

    def autoencoder(self, shape: tuple[int, int]) -> Autoencoder:
        """Step one's module, untrained."""
        from augrun.generators.bagan.networks import Judge
        from augrun.generators.bagan.training import Autoencoder

        generator, trunk = self.networks(shape)
        return Autoencoder(Judge(trunk, self.latent), generator, self.autoencoder_rate, self.beta1)

    def adversaries(
        self, shape: tuple[int, int], latents: ClassLatents, recorded: Recorded, title: str = ""
    ) -> Adversaries:
        """Step three's module, untrained."""
        from augrun.generators.bagan.networks import Judge
        from augrun.generators.bagan.training import Adversaries

        generator, trunk = self.networks(shape)
        return Adversaries(
            generator,
            Judge(trunk, len(latents.means) + 1),
            latents,
            recorded,
            mixed=self.batches == "mixed",
            learning_rate=self.gan_rate,
            beta1=self.beta1,
            title=title,
        )

    def timing_example(
        self, step: Literal["autoencoder", "gan"], classes: int = 4, shape: tuple[int, int] = (128, 128)
    ) -> tuple[Autoencoder | Adversaries, dict[str, Tensor]]:
        """The module of a step, untrained, and a batch of noise, so that its updates can be timed.

        A bare loop calls `module.loss(batch)`, or `module.update(batch, *module.configure_optimizers(),
        torch.Tensor.backward)`.
        """
        import torch

        from augrun.generators.bagan.data import Recorded
        from augrun.generators.bagan.latents import ClassLatents

        images = torch.rand(self.batch_size, 1, *shape) * 2 - 1
        batch = {"image": images, "label": torch.arange(self.batch_size) % classes}
        if step == "autoencoder":
            return self.autoencoder(shape), batch
        identity = np.tile(np.eye(self.latent), (classes, 1, 1))
        latents = ClassLatents(np.zeros((classes, self.latent)), identity, np.zeros(classes))
        recorded = Recorded(np.zeros((classes, *shape), np.float32), np.ones(classes), 0.0)
        return self.adversaries(shape, latents, recorded), batch


def _read_start(path: Path) -> tuple[ClassLatents, Recorded]:
    from augrun.generators.bagan.data import Recorded
    from augrun.generators.bagan.latents import ClassLatents

    with np.load(path) as file:
        latents = ClassLatents(file["means"], file["factors"], file["shrinkage"])
        recorded = Recorded(file["recorded_means"], file["recorded_distances"], float(file["recorded_extreme"]))
    return latents, recorded


def _health(entry: dict[str, Any], recorded: Recorded) -> dict[str, Any]:
    """The last epoch's figures and what is wrong with them."""
    from augrun.generators.bagan.health import complaints

    figures = {name.removeprefix("train/"): value for name, value in entry.items() if name != "epoch"}
    warnings = list(complaints(entry, recorded.extreme).values())
    return {**figures, "recorded_extreme_share": recorded.extreme, "warnings": warnings}


def _encode(autoencoder: Autoencoder, data: Spectrograms, job: Job) -> np.ndarray:
    """The latents of all segments, (B, L)."""
    import torch

    encoder = autoencoder.encoder.eval()
    place = _place(encoder, job)
    with torch.inference_mode():
        batches = np.array_split(np.arange(len(data)), -(-len(data) // 64))
        encoded = [encoder(data.images(places).to(place)).float().cpu() for places in batches]
    encoder.to("cpu").train()
    return torch.cat(encoded).numpy()


def _decode(module: nn.Module, latents: np.ndarray, place: Any) -> np.ndarray:
    """Normalised segments (B, frames, bands)."""
    import torch

    with torch.inference_mode():
        made: Tensor = module(torch.from_numpy(latents).to(place))[:, 0]
        return made.float().cpu().numpy()


def _place(module: nn.Module, job: Job) -> Any:
    """The device, with the module moved there."""
    import torch

    from augrun.core.runtime.malloc import keep_memory
    from augrun.core.training.device import device

    place = device(job.hardware)
    if place.type == "cpu":
        keep_memory()
    module.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return place


def _digest(fitted: Path, labels: list[int], seeds: list[int]) -> str:
    """Of all that the segments depend on."""
    total = hashlib.sha256((fitted / SETTINGS).read_bytes())
    for name in (MODEL, START):
        with open(fitted / name, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    total.update(json.dumps([labels, seeds]).encode())
    return total.hexdigest()
