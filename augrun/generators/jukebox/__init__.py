"""Jukebox: recorded music continued by a pretrained model of 1.2 million songs.

Dhariwal et al., "Jukebox: A Generative Model for Music", 2020; used by Godwin et al. 2021, §IV and Table II: 24-second
samples at 44.1 kHz of which the first 8 seconds are the prime; not retrained.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata as packages
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pandas as pd

from augrun.core import audio
from augrun.core.errors import AugrunError, RequestError
from augrun.core.files import atomic_path
from augrun.core.job import Job
from augrun.generators.base import Generator
from augrun.generators.requests import GenerationInputs

if TYPE_CHECKING:  # torch is imported where it is needed, so that a finished stage does without it
    import numpy as np

    from augrun.generators.jukebox.sampling import Batch, Song
    from augrun.generators.jukebox.sampling import Jukebox as Model

CODES = "codes"  # a folder of unfinished batches; gone at the end
REMARK = "remark"  # the key of a checkpoint's config.json for what a reader of results must know of it
DEFAULT = "default"  # the key of `metadata` for classes that it does not name
_SONG = ("artist", "genre", "total_s", "offset_s")
_TOKENIZER = ("artists.json", "genres.json", "lyrics.json")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_TERMS = (
    "The weights are a download of about 12 GB (1b) or 30 GB (5b); their licence allows non-commercial use alone, of "
    "them and of all that they generate."
)


@dataclass(frozen=True)
class Jukebox(Generator):
    """Continues primes with the published weights.

    A sample depends on its prime, its request's seed and these settings; beyond that, on its batch by rounding alone,
    which now and then picks another code. With one machine and one `batch_size` the bytes are the same again.

    Attributes:
        weights: a folder that holds a checkpoint, or the hub's name of one that the Hugging Face cache holds. Stored
            samples go by this text: give other weights another name.
        sample_rate: Hz, the model's.
        sample_s: seconds of a finished sample.
        prime_s: seconds of prime.
        keep_prime: the sample begins with its prime, as the codec renders it; else the prime is followed by `sample_s`
            seconds, and cut off.
        levels: `top` samples the coarsest codes and decodes those; `full` refines them twice, 20 times
            the work.
        temperature: of the top level.
        lower_temperature: of the two levels below.
        metadata: what the model is told of the song, by class, in any of `artist`, `genre`, `total_s` (seconds of the
            whole song) and `offset_s` (where in it the sample begins); `default` serves the other classes and fills in.
        precision: of the transformers; `float16` needs a GPU.
        batch_size: samples made together; null takes what the memory of the device holds.
    """

    domain: ClassVar[str] = "waveform"
    trained: ClassVar[bool] = False
    primed: ClassVar[bool] = True
    reconstructs: ClassVar[bool] = False
    version: ClassVar[int] = 1

    weights: str = "openai/jukebox-1b-lyrics"
    sample_rate: Annotated[int, "[1000, inf)"] = 44100
    sample_s: Annotated[float, "(0, inf)"] = 24.0
    prime_s: Annotated[float, "(0, inf)"] = 8.0
    keep_prime: bool = True
    levels: Literal["top", "full"] = "top"
    temperature: Annotated[float, "(0, inf)"] = 0.98
    lower_temperature: Annotated[float, "(0, inf)"] = 0.99
    metadata: dict[str, Any] = field(default_factory=dict)
    precision: Literal["float32", "float16"] = "float32"
    batch_size: Annotated[int, "[1, inf)"] | None = None

    def __post_init__(self) -> None:
        """Checks what fields say together.

        Raises:
            RequestError: they do not fit.
        """
        if self.keep_prime and self.prime_s >= self.sample_s:
            prime, sample = f"generator.prime_s={self.prime_s:g}", f"generator.sample_s={self.sample_s:g}"
            raise RequestError(
                f"{prime} leaves nothing to generate of {sample}; give less, or generator.keep_prime=false"
            )
        for name, song in self.metadata.items():
            if not isinstance(song, dict) or not set(song) <= set(_SONG):
                raise RequestError(f"generator.metadata.{name}={song!r} is no mapping of {', '.join(_SONG)}")
            for key, value in song.items():
                expected = str if key in ("artist", "genre") else (int, float)
                if not isinstance(value, expected) or isinstance(value, bool):
                    kind = "a text" if expected is str else "a number of seconds"
                    raise RequestError(f"generator.metadata.{name}.{key}={value!r} is not {kind}")

    def check(self) -> None:
        """Looks for the package and the weights, before any work starts.

        Raises:
            RequestError: they are not there; what to do is said.
        """
        try:
            version = packages.version("transformers")
        except packages.PackageNotFoundError:
            raise RequestError(
                f"generator=jukebox needs the package transformers (from 4.57, below 5), which is not installed; "
                f"pip install 'augrun[jukebox]'\n{_TERMS}"
            ) from None
        major, minor = (int(part) for part in version.split(".")[:2])
        if not (4, 57) <= (major, minor) < (5, 0):
            raise RequestError(
                f"generator=jukebox needs transformers from 4.57, below 5 (which dropped the model), not {version}; "
                "pip install 'augrun[jukebox]'"
            )
        self.folder()

    def folder(self) -> Path:
        """The folder of the checkpoint.

        Raises:
            RequestError: it is not there, or not whole.
        """
        place = Path(self.weights).expanduser()
        mend = "give generator.weights=FOLDER"
        if not place.is_dir():
            if self.weights.count("/") != 1 or self.weights.startswith((".", "~", "/")):
                raise RequestError(
                    f"generator.weights={self.weights}: no such folder; {mend}, or a name such as "
                    f"openai/jukebox-1b-lyrics\n{_TERMS}"
                )
            mend = f"`hf download {self.weights}` fetches it, or {mend}"
            found = _cached(self.weights)
            if found is None:
                raise RequestError(
                    f"generator.weights={self.weights} is neither a folder nor in the Hugging Face cache; {mend}\n"
                    f"{_TERMS}"
                )
            place = found
        lacking = [name for name in ("config.json", *_TOKENIZER) if not (place / name).is_file()]
        lacking += _lacking_weights(place)
        if lacking:
            raise RequestError(f"{place}: no whole Jukebox checkpoint, it lacks {', '.join(lacking)}; {mend}\n{_TERMS}")
        try:
            kind = json.loads((place / "config.json").read_text(encoding="utf-8")).get("model_type")
        except (ValueError, AttributeError):
            kind = None
        if kind != "jukebox":
            raise RequestError(f"{place / 'config.json'}: model_type is {kind}, not jukebox; {mend}")
        return place

    def notes(self) -> list[str]:
        """What the checkpoint says of itself, as one of random weights does."""
        remark = json.loads((self.folder() / "config.json").read_text(encoding="utf-8")).get(REMARK)
        return [str(remark)] if remark else []

    def generate(self, inputs: GenerationInputs) -> None:
        """Continue the primes; see `Generator.generate`.

        A sample lasts exactly `seconds` of its request. A killed run keeps its finished samples, and the windows that
        unfinished batches had got through.
        """
        requests, job = inputs.requests, inputs.job
        songs = self._songs(inputs.label_names)
        if not all((job.folder / f"{sample_id}.wav").exists() for sample_id in requests["sample_id"]):
            self._generate(requests, songs, job)
        shutil.rmtree(job.folder / CODES, ignore_errors=True)

    def _generate(self, requests: pd.DataFrame, songs: list[Song], job: Job) -> None:
        import torch

        from augrun.core.training.device import device
        from augrun.generators.jukebox.sampling import LEVELS
        from augrun.generators.jukebox.sampling import Jukebox as Model

        where = device(job.hardware)
        if self.precision == "float16" and where.type == "cpu":
            raise RequestError("generator.precision=float16 needs a GPU; use generator.precision=float32")
        self.check()
        model = Model(self.folder(), 1 if self.levels == "top" else LEVELS, where, half=self.precision == "float16")
        if model.sample_rate != self.sample_rate:
            raise RequestError(
                f"generator.sample_rate={self.sample_rate}: the checkpoint's is {model.sample_rate}; "
                f"give generator.sample_rate={model.sample_rate}"
            )
        lead = 0.0 if self.keep_prime else self.prime_s
        for label, seconds in set(zip(requests["label"], requests["seconds"], strict=True)):
            model.ids(songs[label])
            model.check(songs[label], -(-round((seconds + lead) * self.sample_rate) // model.hop))
        with torch.inference_mode(), _bar(job, len(requests)) as advance:
            for group in self._groups(requests, self.batch_size or model.batch_size()):
                if not all((job.folder / f"{sample_id}.wav").exists() for sample_id in group["sample_id"]):
                    self._group(model, group, songs, job, advance)
                else:
                    advance(len(group))

    @staticmethod
    def _groups(requests: pd.DataFrame, size: int) -> Iterator[pd.DataFrame]:
        """Requests to be made together, the same ones after a kill; those with primes cut short come last."""
        ordered = requests.sort_values("prime_s", ascending=False, kind="stable")
        for start in range(0, len(ordered), size):
            yield ordered.iloc[start : start + size]

    def _group(
        self, model: Model, group: pd.DataFrame, songs: list[Song], job: Job, advance: Callable[[float], None]
    ) -> None:
        """Makes a group's samples, those with equally long primes at once."""
        primes: dict[tuple[int, int], list[tuple[Any, list[Any]]]] = {}
        for request in group.itertuples(index=False):
            sound = audio.read(request.prime_path, self.sample_rate, request.prime_start_s, request.prime_s)
            codes = model.encode(sound)
            seconds = float(request.seconds) + (0.0 if self.keep_prime else len(sound) / self.sample_rate)
            length = -(-round(seconds * self.sample_rate) // model.hop)
            if self.keep_prime and len(codes[0]) >= length:
                raise AugrunError(
                    f"{request.sample_id}: its prime of {request.prime_s:g} s leaves nothing to generate of "
                    f"{request.seconds:g} s"
                )
            primes.setdefault((len(codes[0]), length), []).append((request, codes))
        for (_, length), members in primes.items():
            self._continue(model, members, length, songs, job, advance)

    def _continue(
        self,
        model: Model,
        members: list[tuple[Any, list[Any]]],
        length: int,
        songs: list[Song],
        job: Job,
        advance: Callable[[float], None],
    ) -> None:
        """Samples, decodes and writes requests whose primes have as many codes each."""
        import torch

        from augrun.generators.jukebox.sampling import Batch

        requests = [request for request, _ in members]
        batch = Batch(
            songs=[songs[request.label] for request in requests],
            seeds=[int(request.seed) for request in requests],
            codes=[torch.stack(rows) for rows in zip(*(codes for _, codes in members), strict=True)],
            length=length,
        )
        begun = [row.shape[1] for row in batch.codes]
        work = sum(length * (model.hop // hop) - have for hop, have in zip(model.hops, begun, strict=True))
        kept = job.folder / CODES / f"{requests[0].sample_id}.pt"
        _restore(kept, batch, begun)
        done = sum(row.shape[1] for row in batch.codes) - sum(begun)
        advance(len(requests) * done / work)
        for level in range(len(model.hops)):
            model.continue_level(
                batch,
                level,
                self.lower_temperature if level else self.temperature,
                keep=lambda: _keep(kept, batch),
                advance=lambda count: advance(count / work),
            )
        finest = len(model.hops) - 1
        for request, codes in zip(requests, batch.codes[finest], strict=True):
            path = job.folder / f"{request.sample_id}.wav"
            if not path.exists():
                audio.write(path, self._cut(model.decode(codes, finest), request.seconds), self.sample_rate)
        kept.unlink(missing_ok=True)

    def _cut(self, sound: np.ndarray, seconds: float) -> np.ndarray:
        """The sample: the beginning of the sound, or its end where the prime is cut off."""
        samples = round(float(seconds) * self.sample_rate)
        if len(sound) < samples:
            raise AugrunError(f"jukebox: {len(sound)} samples of sound were decoded where {samples} are needed")
        return sound[:samples] if self.keep_prime else sound[-samples:]

    def _songs(self, label_names: tuple[str, ...]) -> list[Song]:
        """What the model is told, by class.

        Raises:
            RequestError: `metadata` names a class that the corpus has not.
        """
        from augrun.generators.jukebox.sampling import Song

        strange = [name for name in self.metadata if name not in (DEFAULT, *label_names)]
        if strange:
            legal = ", ".join((DEFAULT, *label_names))
            raise RequestError(f"generator.metadata.{strange[0]}: no class of the corpus; legal are {legal}")
        default = self.metadata.get(DEFAULT, {})
        return [Song(**(default | self.metadata.get(name, {}))) for name in label_names]


def _cached(name: str) -> Path | None:
    """Where the Hugging Face cache holds a repository; nothing is fetched."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError):  # not there; no name of a repository
        return None


def _lacking_weights(folder: Path) -> list[str]:
    """Files of weights that are not there, of one file or of the shards that an index names."""
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return []
        index = folder / f"{name}.index.json"
        if index.is_file():
            shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            return [shard for shard in sorted(set(shards)) if not (folder / shard).is_file()]
    return [" or ".join(_WEIGHTS)]


def _keep(path: Path, batch: Batch) -> None:
    """Writes a batch's codes so far, whole or not at all."""
    import torch

    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as fresh, open(fresh, "wb") as file:
        torch.save({"seeds": list(batch.seeds), "codes": batch.codes}, file)


def _restore(path: Path, batch: Batch, begun: list[int]) -> None:
    """Takes up the codes that `_keep` wrote, where they continue the same primes."""
    import torch

    if not path.exists():
        return
    held = torch.load(path, map_location="cpu", weights_only=True)
    pairs = list(zip(held["codes"], batch.codes, begun, strict=True))
    if held["seeds"] == list(batch.seeds) and all(torch.equal(old[:, :have], new) for old, new, have in pairs):
        batch.codes = held["codes"]


@contextmanager
def _bar(job: Job, total: int) -> Iterator[Callable[[float], None]]:
    """A bar on a terminal, in samples and parts of one."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (job.hardware.progress and console.is_terminal)) as bar:
        task = bar.add_task(f"{job.title or 'jukebox'}: continuing primes", total=total)
        yield lambda made: bar.advance(task, made)
