"""DDSP: recorded sounds reconstructed by an autoencoder that steers a synthesiser.

Engel et al., "DDSP: Differentiable Digital Signal Processing", ICLR 2020; used on polyphonic music by Godwin et al.
2021, §II and Table II: 4-second reconstructions at 16 kHz of recorded windows, which keep the window's class. With a
single fundamental, polyphony is left to timbre, loudness and noise.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import pandas as pd

from augrun.core import audio
from augrun.core.errors import AugrunError, RequestError
from augrun.core.files import atomic_path, write_bytes
from augrun.core.job import Job
from augrun.corpora.corpus import Corpus
from augrun.generators.base import Generator, require_sound
from augrun.generators.ddsp.yin import check_range
from augrun.generators.requests import GenerationInputs

if TYPE_CHECKING:  # torch is imported where it is needed, so that a finished stage does without it
    from augrun.generators.ddsp.analysis import Analysis
    from augrun.generators.ddsp.model import DDSPAutoencoder

MODEL, SETTINGS, HISTORY = "model.ckpt", "settings.json", "history.json"
_GROUP = 16  # requests synthesised at once; the same ones after a kill, so that the bytes are the same too


@dataclass(frozen=True)
class DDSP(Generator):
    """The autoencoder of `ae.gin` (package `ddsp` 3.7.0); `z_dims=0 harmonics=60 reverb=true` is `solo_instrument.gin`.

    Attributes:
        sample_rate: Hz, of training and of what is generated.
        sample_s: seconds of a training window and of a generated sample.
        prime_s: seconds of prime, the sound to reconstruct; at most `sample_s`.
        frame_rate: fundamental, loudness and controls a second; divides `sample_rate`.
        harmonics: sinusoids of the harmonic synthesiser.
        noise_bands: bands of the noise filter.
        z_dims: dimensions of the timbre; 0 leaves its encoder out.
        z_units: units of its encoder's GRU.
        z_size: FFT size of its MFCCs.
        z_hop: samples between two of its frames.
        units: units of the decoder's GRU.
        channels: width of the decoder's dense layers.
        layers: dense layers in each of the decoder's stacks.
        reverb: add a trainable reverb (for sounds recorded in one room).
        reverb_taps: its length in samples.
        fft_sizes: of the multi-scale spectral loss.
        magnitude_weight: of its magnitudes.
        log_weight: of its log magnitudes.
        f0_min: lowest fundamental, Hz.
        f0_max: highest fundamental, Hz.
        f0_confidence: a fundamental of a lower confidence is bridged from confident neighbours; 0 keeps all.
        windows_per_clip: train on at most so many windows of a clip, spread over it; null takes all.
        validation_windows: at most so many windows, spread over the validation part.
        steps: training steps, rounded up to whole epochs.
        steps_per_epoch: steps between two validations; training resumes from the last one.
        batch_size: windows in a step.
        learning_rate: Adam's.
        decay: factor on the learning rate every `decay_steps` steps.
        decay_steps: see `decay`.
        gradient_clip: largest norm of a step's gradient.
    """

    domain: ClassVar[str] = "waveform"
    trained: ClassVar[bool] = True
    primed: ClassVar[bool] = True
    reconstructs: ClassVar[bool] = True
    version: ClassVar[int] = 1

    sample_rate: Annotated[int, "[1000, inf)"] = 16000
    sample_s: Annotated[float, "(0, inf)"] = 4.0
    prime_s: Annotated[float, "(0, inf)"] = 4.0
    frame_rate: Annotated[float, "(0, inf)"] = 250.0
    harmonics: Annotated[int, "[1, inf)"] = 100
    noise_bands: Annotated[int, "[3, inf)"] = 65
    z_dims: Annotated[int, "[0, inf)"] = 16
    z_units: Annotated[int, "[1, inf)"] = 512
    z_size: Annotated[int, "[256, inf)"] = 1024
    z_hop: Annotated[int, "[1, inf)"] = 512
    units: Annotated[int, "[1, inf)"] = 512
    channels: Annotated[int, "[1, inf)"] = 512
    layers: Annotated[int, "[1, inf)"] = 3
    reverb: bool = False
    reverb_taps: Annotated[int, "[2, inf)"] = 48000
    fft_sizes: tuple[int, ...] = (2048, 1024, 512, 256, 128, 64)
    magnitude_weight: Annotated[float, "[0, inf)"] = 1.0
    log_weight: Annotated[float, "[0, inf)"] = 1.0
    f0_min: Annotated[float, "[32, inf)"] = 50.0
    f0_max: Annotated[float, "(0, inf)"] = 2000.0
    f0_confidence: Annotated[float, "[0, 1]"] = 0.0
    windows_per_clip: Annotated[int, "[1, inf)"] | None = None
    validation_windows: Annotated[int, "[1, inf)"] = 512
    steps: Annotated[int, "[1, inf)"] = 30_000
    steps_per_epoch: Annotated[int, "[1, inf)"] = 1000
    batch_size: Annotated[int, "[1, inf)"] = 32
    learning_rate: Annotated[float, "(0, inf)"] = 3e-4
    decay: Annotated[float, "(0, 1]"] = 0.98
    decay_steps: Annotated[int, "[1, inf)"] = 10_000
    gradient_clip: Annotated[float, "(0, inf)"] = 3.0

    def __post_init__(self) -> None:
        """Checks what fields say together.

        Raises:
            RequestError: they do not fit.
        """
        hop, samples = self.sample_rate / self.frame_rate, self.sample_rate * self.sample_s
        if hop != int(hop) or samples % hop:
            raise RequestError(
                f"generator.frame_rate={self.frame_rate:g} must divide generator.sample_rate={self.sample_rate} and "
                f"give whole frames in generator.sample_s={self.sample_s:g}"
            )
        if self.prime_s > self.sample_s:
            prime, sample = f"generator.prime_s={self.prime_s:g}", f"generator.sample_s={self.sample_s:g}"
            raise RequestError(f"{prime} is longer than {sample}; give it at most as much")
        check_range(self.f0_min, self.f0_max, self.sample_rate)
        if min(self.fft_sizes, default=0) < 4:
            raise RequestError(f"generator.fft_sizes={list(self.fft_sizes)} needs sizes of 4 and more")

    def fit(self, train: Corpus, validation: Corpus, job: Job) -> None:
        """Trains the autoencoder; see `Generator.fit`.

        Leaves `model.ckpt`, `settings.json` and `history.json`. While it works, `windows/` holds the analysed sounds
        (155 kB for each 4 s) and `training/` the checkpoints.
        """
        if not (job.folder / MODEL).exists():
            self._train(train, validation, job)
        for name in ("windows", "training"):
            shutil.rmtree(job.folder / name, ignore_errors=True)

    def _train(self, train: Corpus, validation: Corpus, job: Job) -> None:
        import torch

        from augrun.core.training import fit as training
        from augrun.generators.ddsp.analysis import windows_of

        title = job.title or "ddsp"
        says = f"{title}: analysis of {{}}" if job.hardware.progress else None
        held_out, per_clip = self._held_out(validation)
        windows = {
            name: windows_of(
                require_sound(part, "ddsp"),
                self.analysis(),
                job.folder / "windows" / name,
                job.hardware,
                per_clip=limit,
                title=says and says.format(name),
            )
            for name, part, limit in (("train", train, self.windows_per_clip), ("validation", held_out, per_clip))
            if len(part)
        }
        training.reseed(job.seed, "weights")
        module = self.autoencoder()
        result = training.fit(
            module,
            windows["train"],
            windows.get("validation"),
            job.within("training"),
            epochs=-(-self.steps // self.steps_per_epoch),
            batch_size=self.batch_size,
            monitor="validation/loss" if "validation" in windows else None,
            samples_per_epoch=self.steps_per_epoch * self.batch_size,
            gradient_clip=self.gradient_clip,
        )
        write_bytes(job.folder / HISTORY, json.dumps(result.history, indent=1).encode())
        write_bytes(job.folder / SETTINGS, json.dumps(asdict(self), indent=1).encode())
        with atomic_path(job.folder / MODEL) as fresh, open(fresh, "wb") as file:
            torch.save(module.state_dict(), file)

    def generate(self, inputs: GenerationInputs) -> None:
        """Reconstruct the primes; see `Generator.generate`.

        A sample is as long as its prime, and depends on nothing but the prime, the request's seed and the model (up to
        rounding, on the fifteen requests that share its batch).
        """
        import torch

        fitted, job = inputs.fitted, inputs.job
        if fitted is None or not (fitted / MODEL).exists():
            raise AugrunError(f"{fitted}: holds no trained ddsp model ({MODEL}). Delete the folder and run again.")
        accelerated = job.hardware.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        device = torch.device("cuda" if accelerated else "cpu")
        module = self.autoencoder()
        module.load_state_dict(torch.load(fitted / MODEL, map_location="cpu", weights_only=True))
        module.eval().to(device)
        groups = list(self._unmade(inputs.requests, job.folder))
        for group in _shown(groups, f"{job.title or 'ddsp'}: reconstructing", job.hardware.progress):
            sounds = self._reconstruct(module, group, device, job.hardware.workers)
            for sample_id, seconds, sound in zip(group["sample_id"], group["seconds"], sounds, strict=True):
                path = job.folder / f"{sample_id}.wav"
                if not path.exists():
                    samples = round(min(float(seconds), self.sample_s) * self.sample_rate)
                    audio.write(path, sound[:samples], self.sample_rate)

    def _reconstruct(self, module: DDSPAutoencoder, group: pd.DataFrame, device: Any, workers: int) -> Any:
        """Sounds (requests, samples) made anew from the requests' primes."""
        import torch

        from augrun.generators.ddsp.analysis import batch_of
        from augrun.generators.ddsp.model import white_noise

        analysis = self.analysis()

        def prime(request: Any) -> dict[str, Any]:
            seconds = min(request.prime_s, self.sample_s)
            return analysis.analyse(audio.read(request.prime_path, self.sample_rate, request.prime_start_s, seconds))

        with ThreadPoolExecutor(max(1, workers)) as pool:
            windows = list(pool.map(prime, group.itertuples(index=False)))
        noise = torch.stack([white_noise((analysis.samples,), int(seed)) for seed in group["seed"]])
        batch = {name: tensor.to(device) for name, tensor in batch_of(windows).items()}
        with torch.inference_mode():
            return module(batch, noise.to(device)).cpu().numpy()

    def _unmade(self, requests: pd.DataFrame, folder: Path) -> Iterator[pd.DataFrame]:
        """Groups of requests of which some have no file yet."""
        for start in range(0, len(requests), _GROUP):
            group = requests.iloc[start : start + _GROUP]
            if not all((folder / f"{sample_id}.wav").exists() for sample_id in group["sample_id"]):
                yield group

    def _held_out(self, validation: Corpus) -> tuple[Corpus, int]:
        """Validation clips, evenly picked, and windows of each, in all about `validation_windows`."""
        count = min(len(validation), self.validation_windows)
        picked = validation.select([len(validation) * pick // count for pick in range(count)])
        return picked, -(-self.validation_windows // max(1, count))

    def analysis(self) -> Analysis:
        """How windows of sound are analysed under these settings."""
        from augrun.generators.ddsp.analysis import Analysis

        return Analysis(
            sample_rate=self.sample_rate,
            samples=round(self.sample_rate * self.sample_s),
            frames=round(self.frame_rate * self.sample_s),
            z_size=self.z_size,
            z_hop=self.z_hop,
            f0_min=self.f0_min,
            f0_max=self.f0_max,
            f0_confidence=self.f0_confidence,
        )

    def autoencoder(self) -> DDSPAutoencoder:
        """The network under these settings, untrained; its weights come from torch's global generator."""
        from augrun.generators.ddsp.model import DDSPAutoencoder

        return DDSPAutoencoder(
            sample_rate=self.sample_rate,
            harmonics=self.harmonics,
            noise_bands=self.noise_bands,
            z_dims=self.z_dims,
            z_units=self.z_units,
            units=self.units,
            channels=self.channels,
            layers=self.layers,
            reverb_taps=self.reverb_taps if self.reverb else 0,
            fft_sizes=tuple(self.fft_sizes),
            magnitude_weight=self.magnitude_weight,
            log_weight=self.log_weight,
            learning_rate=self.learning_rate,
            decay=self.decay,
            decay_steps=self.decay_steps,
        )


def _shown(groups: list[pd.DataFrame], title: str, progress: bool) -> Iterator[pd.DataFrame]:
    """The groups, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(groups, title, console=console, transient=True, disable=not (progress and console.is_terminal))
