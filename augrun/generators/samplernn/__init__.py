"""SampleRNN: recorded sounds continued, sample by sample, for a class.

Mehri et al. 2017, "SampleRNN: An Unconditional End-to-End Neural Audio Generation Model" (arXiv:1612.07837), primed as
in Godwin et al. 2021, section IV-A and Table II: the network hears 4 s of a recorded clip and goes on to 10 s.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from augrun.core import audio
from augrun.core.errors import AugrunError, RequestError
from augrun.core.files import atomic_path, write_bytes
from augrun.core.job import Job
from augrun.corpora.corpus import Corpus
from augrun.generators.base import Generator, require_sound
from augrun.generators.requests import GenerationInputs

if TYPE_CHECKING:  # torch is imported where it is needed, so that a finished stage does without it
    from augrun.generators.samplernn.data import Quantiser, Windows
    from augrun.generators.samplernn.model import SampleRNN as Network
    from augrun.generators.samplernn.sampling import Sampler

MODEL, SETTINGS, HISTORY = "model.ckpt", "settings.json", "history.json"

#: Which requests share a batch is written down, so that a killed generation goes on with the same batches.
BATCH = "batch.json"


@dataclass(frozen=True)
class SampleRNN(Generator):
    """The network of Mehri et al. with three tiers, told the class (or not), and how it is trained and sampled.

    Attributes:
        sample_rate: Hz, of training and of what is generated.
        sample_s: seconds of a finished sample; with `keep_prime`, its prime included.
        prime_s: seconds of prime.
        keep_prime: the sample begins with its prime, as the network heard it (quantised); else all of it is new.
        conditional: the network is told the class; else all it knows of it is the prime.
        quantisation: `mu-law`, or `linear` over the fixed range [-1, 1].
        levels: of a sample.
        frame_sizes: samples in a frame of each recurrent tier, ascending, each a multiple of the one before.
        dim: units of every layer.
        layers: GRU layers in each tier.
        window_s: seconds of a training window; back-propagation runs through it in pieces, and each window starts
            from the learned state. Rounded down to whole pieces.
        truncation: samples in a piece, after each of which the weights are updated; a multiple of the largest frame.
        windows_per_clip: train on at most so many windows of a clip, spread over it; null takes all.
        validation_windows: at most so many windows, spread over the validation part.
        epochs: each ends with a validation, and training resumes from the last one.
        batches_per_epoch: batches of windows between two validations.
        batch_windows: windows in a batch.
        learning_rate: Adam's.
        gradient_clip: largest magnitude of each value of a gradient.
        temperature: divides the logits when sampling; below 1 is more certain.
        top_k: draw among the so many likeliest levels; null takes all.
        precision: of the products when sampling. `bfloat16` keeps the recurrent state, its gates, the last layer and
            the distribution in float32; it makes other samples than `float32`, from the same distribution but for
            rounding.
        batch_size: samples made at once; null takes what fits into memory, on a processor at most 128, on a GPU at
            most 1,440 (half of the published 2,880), in batches as even as can be. A killed generation loses one batch.
    """

    domain: ClassVar[str] = "waveform"
    trained: ClassVar[bool] = True
    primed: ClassVar[bool] = True
    reconstructs: ClassVar[bool] = False
    version: ClassVar[int] = 1

    sample_rate: Annotated[int, "[1000, inf)"] = 16000
    sample_s: Annotated[float, "(0, inf)"] = 10.0
    prime_s: Annotated[float, "(0, inf)"] = 4.0
    keep_prime: bool = True
    conditional: bool = True
    quantisation: Literal["mu-law", "linear"] = "mu-law"
    levels: Annotated[int, "[4, 4096]"] = 256
    frame_sizes: tuple[int, ...] = (16, 64)
    dim: Annotated[int, "[1, inf)"] = 1024
    layers: Annotated[int, "[1, inf)"] = 2
    window_s: Annotated[float, "(0, inf)"] = 8.0
    truncation: Annotated[int, "[1, inf)"] = 1024
    windows_per_clip: Annotated[int, "[1, inf)"] | None = None
    validation_windows: Annotated[int, "[1, inf)"] = 256
    epochs: Annotated[int, "[1, inf)"] = 40
    batches_per_epoch: Annotated[int, "[1, inf)"] = 50
    batch_windows: Annotated[int, "[1, inf)"] = 128
    learning_rate: Annotated[float, "(0, inf)"] = 1e-3
    gradient_clip: Annotated[float, "(0, inf)"] = 1.0
    temperature: Annotated[float, "(0, inf)"] = 1.0
    top_k: Annotated[int, "[1, inf)"] | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    batch_size: Annotated[int, "[1, inf)"] | None = None

    def __post_init__(self) -> None:
        """Checks what fields say together.

        Raises:
            RequestError: they do not fit.
        """
        below = (1, *self.frame_sizes)
        pairs = list(zip(below, self.frame_sizes, strict=False))
        if not pairs or any(size % smaller or size <= smaller for smaller, size in pairs):
            sizes = list(self.frame_sizes)
            raise RequestError(
                f"generator.frame_sizes={sizes} must rise from 2 on, each a multiple of the one before, as [16, 64]"
            )
        if self.truncation % self.frame_sizes[-1]:
            raise RequestError(
                f"generator.truncation={self.truncation} must be a multiple of the largest of "
                f"generator.frame_sizes, {self.frame_sizes[-1]}"
            )
        if self.window_s * self.sample_rate < self.truncation:
            raise RequestError(
                f"generator.window_s={self.window_s:g} is shorter than the {self.truncation} samples of "
                f"generator.truncation; give at least {self.truncation / self.sample_rate:g}"
            )
        if self.keep_prime and self.prime_s >= self.sample_s:
            raise RequestError(
                f"generator.prime_s={self.prime_s:g} leaves nothing to make of generator.sample_s={self.sample_s:g}; "
                "give a shorter prime, or generator.keep_prime=false"
            )

    def fit(self, train: Corpus, validation: Corpus, job: Job) -> None:
        """Trains the network; see `Generator.fit`.

        Leaves `model.ckpt`, `settings.json` and `history.json`. While it works, `training/` holds the checkpoints.
        """
        if not (job.folder / MODEL).exists():
            self._train(train, validation, job)
        shutil.rmtree(job.folder / "training", ignore_errors=True)

    def _train(self, train: Corpus, validation: Corpus, job: Job) -> None:
        import torch

        from augrun.core.training import fit as training

        names = train.label_set.names
        held_out, per_clip = self._held_out(validation)
        windows = self._windows(require_sound(train, "samplernn"), self.windows_per_clip, job.seed)
        validated = self._windows(require_sound(held_out, "samplernn"), per_clip, job.seed) if len(held_out) else None
        training.reseed(job.seed, "weights")
        module = self.network(len(names))
        result = training.fit(
            module,
            windows,
            validated,
            job.within("training"),
            epochs=self.epochs,
            batch_size=self.batch_windows,
            monitor="validation/loss" if validated else None,
            samples_per_epoch=self.batches_per_epoch * self.batch_windows,
        )
        write_bytes(job.folder / HISTORY, json.dumps(result.history, indent=1).encode())
        write_bytes(job.folder / SETTINGS, json.dumps(asdict(self) | {"classes": names}, indent=1).encode())
        with atomic_path(job.folder / MODEL) as fresh, open(fresh, "wb") as file:
            torch.save(module.state_dict(), file)

    def _windows(self, corpus: Corpus, per_clip: int | None, seed: int) -> Windows:
        from augrun.generators.samplernn.data import Windows

        pieces = int(self.window_s * self.sample_rate) // self.truncation
        classes = len(corpus.label_set) if self.conditional else 0
        return Windows(corpus, self.quantiser(), self.sample_rate, pieces * self.truncation, classes, per_clip, seed)

    def _held_out(self, validation: Corpus) -> tuple[Corpus, int]:
        """Validation clips, evenly picked, and windows of each, in all about `validation_windows`."""
        count = min(len(validation), self.validation_windows)
        picked = validation.select([len(validation) * pick // count for pick in range(count)])
        return picked, -(-self.validation_windows // max(1, count))

    def generate(self, inputs: GenerationInputs) -> None:
        """Continue the primes; see `Generator.generate`.

        Samples are made in batches of the same requests however often it is called, and written when their batch is
        whole: a killed generation loses the batch it was at.
        """
        from augrun.core.training.device import device
        from augrun.generators.samplernn.sampling import Sampler

        requests, label_names, job = inputs.requests, inputs.label_names, inputs.job
        module = self._load(inputs.fitted, label_names)
        place = device(job.hardware)
        sampler = Sampler(module, self.temperature, self.top_k, place, precision=self.precision)
        unmade = [
            group
            for group in self._groups(requests, self._batch_size(module, requests, place, job.folder))
            if not all((job.folder / f"{sample_id}.wav").exists() for sample_id in group["sample_id"])
        ]
        title = job.title or "samplernn"
        with _progress(title, sum(self._steps(group) for group in unmade), job.hardware.progress) as advance:
            for group in unmade:
                self._continue(sampler, group, len(label_names), job, advance)

    def _continue(
        self, sampler: Sampler, group: pd.DataFrame, classes: int, job: Job, advance: Callable[[int], Any]
    ) -> None:
        """Makes and writes one batch."""
        from augrun.generators.samplernn.data import one_hot

        quantiser = self.quantiser()
        levels = quantiser.decode(np.arange(self.levels))  # looked up, a long sound costs no more than its file

        def prime(request: Any) -> np.ndarray:
            sound = audio.read(request.prime_path, self.sample_rate, request.prime_start_s, request.prime_s)
            return quantiser.encode(sound)

        def write(sample_id: str, total: int, before: np.ndarray, after: np.ndarray) -> None:
            path = job.folder / f"{sample_id}.wav"
            if not path.exists():
                audio.write(path, levels[np.concatenate([before, after])[:total]], self.sample_rate)

        with ThreadPoolExecutor(max(1, job.hardware.workers)) as pool:
            primes = list(pool.map(prime, group.itertuples(index=False)))
            wanted = [round(seconds * self.sample_rate) for seconds in group["seconds"]]
            kept = [codes if self.keep_prime else codes[:0] for codes in primes]
            new = max(max(0, total - len(codes)) for total, codes in zip(wanted, kept, strict=True))
            told = np.stack([one_hot(int(label), classes if self.conditional else 0) for label in group["label"]])
            made = sampler(primes, told, group["seed"].tolist(), new, advance)
            list(pool.map(write, group["sample_id"], wanted, kept, made))

    def _groups(self, requests: pd.DataFrame, size: int) -> list[pd.DataFrame]:
        """The requests in batches, those with as much to make and to hear together."""
        order = requests.sort_values(["seconds", "prime_s"], ascending=False, kind="stable")
        return [order.iloc[start : start + size] for start in range(0, len(order), size)]

    def _steps(self, group: pd.DataFrame) -> int:
        """About how many samples of each of a group are heard or made."""
        heard = float(group["prime_s"].max())
        made = group["seconds"] - (group["prime_s"] if self.keep_prime else 0.0)
        return round((heard + max(0.0, float(made.max()))) * self.sample_rate)

    def _batch_size(self, module: Network, requests: pd.DataFrame, place: Any, folder: Path) -> int:
        """The `batch_size`, or what fits into memory, or what an earlier attempt began with."""
        from augrun.generators.samplernn.sampling import rows_by_memory

        known = folder / BATCH
        if known.exists():
            return int(json.loads(known.read_text(encoding="utf-8"))["batch_size"])
        longest = round(float((requests["seconds"] + requests["prime_s"]).max()) * self.sample_rate)
        size = self.batch_size or even(len(requests), rows_by_memory(module, longest, place))
        write_bytes(known, json.dumps({"batch_size": size}).encode())
        return size

    def _load(self, fitted: Path | None, label_names: tuple[str, ...]) -> Network:
        """The trained network.

        Raises:
            AugrunError: there is none, or it knows other classes.
        """
        import torch

        if fitted is None or not (fitted / MODEL).exists():
            raise AugrunError(f"{fitted}: holds no trained samplernn model ({MODEL}). Delete the folder and run again.")
        known = json.loads((fitted / SETTINGS).read_text(encoding="utf-8"))["classes"]
        if self.conditional and known != list(label_names):
            raise AugrunError(
                f"{fitted}: this samplernn was trained on the classes {', '.join(known)}, "
                f"asked for are {', '.join(label_names)}. Delete the folder and run again."
            )
        module = self.network(len(label_names))
        module.load_state_dict(torch.load(fitted / MODEL, map_location="cpu", weights_only=True))
        return module

    def quantiser(self) -> Quantiser:
        """How sound becomes codes under these settings."""
        from augrun.generators.samplernn.data import Quantiser

        return Quantiser(self.levels, self.quantisation)

    def network(self, classes: int) -> Network:
        """The network under these settings, untrained; its weights come from torch's global generator."""
        from augrun.generators.samplernn.model import SampleRNN as Network

        return Network(
            classes=classes if self.conditional else 0,
            frame_sizes=self.frame_sizes,
            dim=self.dim,
            layers=self.layers,
            levels=self.levels,
            silence=self.quantiser().silence,
            truncation=self.truncation,
            learning_rate=self.learning_rate,
            gradient_clip=self.gradient_clip,
        )


def even(count: int, most: int) -> int:
    """The size of batches that are as few as `most` allows, and as even as can be."""
    batches = max(1, -(-count // most))
    return max(1, -(-count // batches))


@contextmanager
def _progress(title: str, samples: int, shown: bool) -> Any:
    """A bar on a terminal; gives what it is advanced with."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (shown and console.is_terminal)) as bar:
        task = bar.add_task(title, total=samples)
        yield lambda count: bar.advance(task, count)
