"""Google Magenta's own `ddsp` 3.7.0 as a generator, in the environment that `make env-ddsp` makes.

Engel et al., "DDSP: Differentiable Digital Signal Processing", ICLR 2020; Godwin et al. 2021, Table II: 4-second
reconstructions at 16 kHz. It stands beside `generator=ddsp`, augrun's own, which needs no second environment.

The package trains its `ae.gin` on windows of the fold's train part. The fundamental is what `generator=ddsp` uses,
YIN's: the package's CREPE needs weights that have to be fetched. The package selects on nothing, so the weights
are those of the last step, and the validation part is not looked at.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

import augrun
from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Job
from augrun.corpora.corpus import Corpus
from augrun.generators.base import Generator
from augrun.generators.ddsp.yin import check_range
from augrun.generators.exchange import process
from augrun.generators.exchange.files import REPLY, REQUESTS, Exchange, write_lines
from augrun.generators.external import answer
from augrun.generators.requests import GenerationInputs

if TYPE_CHECKING:  # torch is imported where it is needed; the program is named so that its code counts as this one's
    from augrun.generators.ddsp.analysis import Analysis
    from augrun.generators.programs import magenta  # noqa: F401

ENVIRONMENT = "AUGRUN_DDSP_ENV"
PROGRAM = Path(__file__).parents[1] / "programs" / "magenta.py"
WEIGHTS, SETTINGS = "weights.npz", "settings.json"


@dataclass(frozen=True)
class DDSPMagenta(Generator):
    """The autoencoder of `ae.gin` in the package `ddsp` 3.7.0, as the package trains it.

    Attributes:
        sample_rate: Hz, of training and of what is generated.
        sample_s: seconds of a training window and of a generated sample.
        prime_s: seconds of prime, the sound to reconstruct; at most `sample_s`.
        frame_rate: fundamental, loudness and controls a second; divides `sample_rate`.
        harmonics: sinusoids of the harmonic synthesiser.
        noise_bands: bands of the noise filter.
        z_dims: dimensions of the timbre.
        z_units: units of its encoder's GRU.
        units: units of the decoder's GRU.
        channels: width of the decoder's dense layers.
        layers: dense layers in each of the decoder's stacks.
        bindings: further lines for gin, e.g. `SpectralLoss.logmag_weight = 0.5`, after all others.
        f0_min: lowest fundamental, Hz.
        f0_max: highest fundamental, Hz.
        f0_confidence: a fundamental of a lower confidence is bridged from confident neighbours; 0 keeps all.
        windows_per_clip: train on at most so many windows of a clip, spread over it; null takes all.
        steps: training steps.
        steps_per_save: steps between two checkpoints; training resumes from the last one.
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
    frame_rate: Annotated[int, "[1, inf)"] = 250
    harmonics: Annotated[int, "[1, inf)"] = 100
    noise_bands: Annotated[int, "[3, inf)"] = 65
    z_dims: Annotated[int, "[1, inf)"] = 16
    z_units: Annotated[int, "[1, inf)"] = 512
    units: Annotated[int, "[1, inf)"] = 512
    channels: Annotated[int, "[1, inf)"] = 512
    layers: Annotated[int, "[1, inf)"] = 3
    bindings: list[str] = field(default_factory=list)
    f0_min: Annotated[float, "[32, inf)"] = 50.0
    f0_max: Annotated[float, "(0, inf)"] = 2000.0
    f0_confidence: Annotated[float, "[0, 1]"] = 0.0
    windows_per_clip: Annotated[int, "[1, inf)"] | None = None
    steps: Annotated[int, "[1, inf)"] = 30_000
    steps_per_save: Annotated[int, "[1, inf)"] = 300
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
        hop = self.sample_rate / self.frame_rate
        if hop != int(hop) or self.sample_rate * self.sample_s % hop:
            rates = f"generator.frame_rate={self.frame_rate} must divide generator.sample_rate={self.sample_rate}"
            raise RequestError(f"{rates} and give whole frames in generator.sample_s={self.sample_s:g}")
        if self.prime_s > self.sample_s:
            prime, sample = f"generator.prime_s={self.prime_s:g}", f"generator.sample_s={self.sample_s:g}"
            raise RequestError(f"{prime} is longer than {sample}; give it at most as much")
        check_range(self.f0_min, self.f0_max, self.sample_rate)

    def check(self) -> None:
        """Looks for the package's environment before any work.

        Raises:
            RequestError: it is not there.
        """
        python()

    def fit(self, train: Corpus, validation: Corpus, job: Job) -> None:
        """Trains the package's autoencoder on `train`; see `Generator.fit`.

        Leaves `weights.npz` and `history.jsonl`. While it works, `windows/` holds the analysed sounds (155 kB for each
        4 s) and `training/` the checkpoints.
        """
        from augrun.generators.ddsp.analysis import windows_of

        if not (job.folder / WEIGHTS).exists():
            scratch = job.folder / "training"
            scratch.mkdir(exist_ok=True)
            process.end_orphan(scratch)
            windows_of(
                train,
                self.analysis(),
                job.folder / "windows",
                job.hardware,
                per_clip=self.windows_per_clip,
                title="ddsp_magenta: analysis of train" if job.hardware.progress else None,
            )
            windows = str(job.folder / "windows" / "features.f32")
            self._run("fit", {"windows": windows, "fitted": str(job.folder), "folder": str(scratch)}, scratch, job)
            if not (job.folder / WEIGHTS).exists():
                raise AugrunError(f"ddsp_magenta: training ended well, but left no {job.folder / WEIGHTS}")
        for name in ("windows", "training"):
            shutil.rmtree(job.folder / name, ignore_errors=True)

    def generate(self, inputs: GenerationInputs) -> None:
        """Reconstruct the primes; see `Generator.generate`. A sample depends on its prime, its seed and the model."""
        fitted, job = inputs.fitted, inputs.job
        if fitted is None or not (fitted / WEIGHTS).exists():
            raise AugrunError(f"{fitted}: holds no trained ddsp model ({WEIGHTS}). Delete the folder and run again.")
        exchange = Exchange(job.folder, inputs.requests, self.sample_rate)
        waiting = exchange.waiting()
        if len(waiting):
            attempt = exchange.ask(
                waiting, inputs.label_names, reconstruct=True, workers=job.hardware.workers, beside=self._fundamental
            )
            files = {"requests": str(attempt / REQUESTS), "reply": str(attempt / REPLY)}
            files |= {"fitted": str(fitted), "folder": str(attempt)}
            answer(exchange, attempt, "ddsp_magenta", lambda: self._run("generate", files, attempt, job))
        exchange.close()

    def analysis(self) -> Analysis:
        """How windows of sound are analysed; of what that gives, the package gets the sound and the fundamental."""
        from augrun.generators.ddsp.analysis import Analysis

        return Analysis(
            sample_rate=self.sample_rate,
            samples=round(self.sample_rate * self.sample_s),
            frames=round(self.frame_rate * self.sample_s),
            z_size=1024,
            z_hop=512,
            f0_min=self.f0_min,
            f0_max=self.f0_max,
            f0_confidence=self.f0_confidence,
        )

    def gin(self) -> list[str]:
        """The settings as lines that gin reads after `ae.gin`."""
        analysis = self.analysis()
        splits = (("amps", 1), ("harmonic_distribution", self.harmonics), ("noise_magnitudes", self.noise_bands))
        lines = {
            "F0LoudnessPreprocessor.time_steps": analysis.frames,
            "F0LoudnessPreprocessor.frame_rate": self.frame_rate,
            "F0LoudnessPreprocessor.sample_rate": self.sample_rate,
            "MfccTimeDistributedRnnEncoder.rnn_channels": self.z_units,
            "MfccTimeDistributedRnnEncoder.z_dims": self.z_dims,
            "RnnFcDecoder.rnn_channels": self.units,
            "RnnFcDecoder.ch": self.channels,
            "RnnFcDecoder.layers_per_stack": self.layers,
            "RnnFcDecoder.output_splits": splits,
            "Harmonic.n_samples": analysis.samples,
            "Harmonic.sample_rate": self.sample_rate,
            "FilteredNoise.n_samples": analysis.samples,
        }
        return [f"{name} = {value!r}" for name, value in lines.items()] + list(self.bindings)

    def _fundamental(self, prime: np.ndarray, path: Path) -> dict[str, Any]:
        place = path.with_suffix(".f0.npy")
        np.save(place, self.analysis().analyse(prime)["f0_hz"])
        return {"f0_hz": str(place)}

    def _run(self, verb: str, files: Mapping[str, str], folder: Path, job: Job) -> None:
        analysis = self.analysis()
        names = ("steps", "steps_per_save", "batch_size", "learning_rate", "decay", "decay_steps", "gradient_clip")
        settings: dict[str, Any] = {name: getattr(self, name) for name in names}
        settings |= {"samples": analysis.samples, "frames": analysis.frames, "width": analysis.width}
        settings |= {"bindings": self.gin(), "seed": job.seed, "threads": 0, **files}
        write_lines(folder / SETTINGS, [json.dumps(settings, indent=1)])
        process.run(
            [str(python()), str(PROGRAM), verb, str(folder / SETTINGS)],
            folder=folder,
            title="ddsp_magenta: training" if verb == "fit" else "ddsp_magenta",
            # Nothing of augrun's own interpreter may leak into the other one, whose libraries' warnings help nobody.
            env={"PYTHONPATH": None, "PYTHONHOME": None, "PYTHONNOUSERSITE": "1", "PYTHONWARNINGS": "ignore"},
            show=job.hardware.progress,
        )


def python() -> Path:
    """The interpreter of the environment with `ddsp` 3.7.0: `AUGRUN_DDSP_ENV`, else `.venv-ddsp`.

    Raises:
        RequestError: there is none, or it lacks the package.
    """
    named = os.environ.get(ENVIRONMENT)
    repository = Path(augrun.__file__).parent.parent
    folders = [Path(named)] if named else [Path.cwd() / ".venv-ddsp", repository / ".venv-ddsp"]
    folder = next((folder for folder in folders if (folder / "bin" / "python").exists()), None)
    mend = f"`make env-ddsp` makes it (2.3 GB, Python 3.11); {ENVIRONMENT} names one that lies elsewhere"
    if folder is None:
        where = f"{folders[0] / 'bin' / 'python'} is not there"
        raise RequestError(
            f"generator=ddsp_magenta runs Google's ddsp 3.7.0 in an environment of its own: {where}.\n{mend}"
        )
    if not any(folder.glob("lib/python*/site-packages/ddsp-3.7.0.dist-info")):
        raise RequestError(f"generator=ddsp_magenta: {folder} is an environment without ddsp 3.7.0.\n{mend}")
    return folder.absolute() / "bin" / "python"
