"""Recorded utterances transformed: time stretch, pitch shift, Gaussian noise, background noise.

Chatziagapi et al. 2019, section 2.5: the rows SA, SAR, SAR_M, SAR_B and SAR_S of Table 1 differ in the transforms that
they tick, which are these generators' settings, and in what the copies replace, which is the policy's. The paper says
neither how a transform is chosen nor its ranges: a copy gets one transform, each as likely as the next.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np

from augrun.core import audio
from augrun.core.errors import RequestError
from augrun.core.files import write_text
from augrun.core.job import Job
from augrun.core.runtime.malloc import keep_memory
from augrun.corpora.corpus import Corpus
from augrun.generators.base import Generator
from augrun.generators.requests import GenerationInputs
from augrun.generators.signal import transforms as signal_transforms
from augrun.generators.signal.noise import Background

log = logging.getLogger(__name__)

ACCOUNT = "transforms.jsonl"  # what was done to each sample, one JSON object a line, in the order of the requests
JOURNAL = ".transforms.jsonl"  # the same as it is being done; gone at the end

#: The transforms, and the range that each one's parameter is drawn from: a setting, and a key of the account.
PARAMETERS = {
    "time_stretch": "stretch_rate",
    "pitch_shift": "semitones",
    "gaussian_noise": "gaussian_snr_db",
    "background_noise": "background_snr_db",
}

#: What follows a request's seed: one stream of random numbers draws the transform, another is the noise.
_DRAWN, _NOISE = 1, 2

#: Remarks on samples, and what the console says of how many there are.
SHORT, SILENT = "shorter than a window", "silent"
_SAID = {
    SHORT: "utterances are shorter than a window of the vocoder, and were transformed amid silence",
    SILENT: "utterances are silent: no noise has a ratio to them, and they were copied as they are",
}


@dataclass(frozen=True)
class Transformed(Generator):
    """Makes a sample of each prime by one transform, drawn from `transforms` by the request's seed.

    Attributes:
        transforms: what is drawn from, each as likely as the next.
        prime_s: seconds transformed; null takes whole clips.
        sample_s: the same, always; a stretched sample is longer or shorter.
        sample_rate: Hz; null keeps the recording's.
        stretch_rate: the least and the greatest speed; above 1 is faster, and shorter.
        semitones: the least and the greatest pitch shift, upwards.
        window_s: seconds of the vocoder's window, for both.
    """

    domain: ClassVar[str] = "waveform"
    trained: ClassVar[bool] = False
    primed: ClassVar[bool] = True
    reconstructs: ClassVar[bool] = True
    version: ClassVar[int] = 1

    transforms: Sequence[str] = ()
    prime_s: Annotated[float, "(0, inf)"] | None = None
    sample_s: Annotated[float, "(0, inf)"] | None = None
    sample_rate: Annotated[int, "[1000, inf)"] | None = None
    stretch_rate: list[Annotated[float, "[0.25, 4]"]] = field(default_factory=lambda: [0.81, 1.23])
    semitones: list[Annotated[float, "[-24, 24]"]] = field(default_factory=lambda: [-2.0, 2.0])
    window_s: Annotated[float, "[0.005, 1]"] = 0.064

    def __post_init__(self) -> None:
        """Checks what the annotations cannot say.

        Raises:
            RequestError: there is no transform, or a range is none.
        """
        if not self.transforms:
            raise RequestError("generator.transforms is empty; name at least one, e.g. [time_stretch]")
        for name, value in self.ranges().items():
            if len(value) != 2 or value[0] > value[1]:
                raise RequestError(f"generator.{name}: {list(value)} is no range; give [least, greatest]")

    def ranges(self) -> dict[str, Sequence[float]]:
        """The settings that a parameter is drawn from, uniformly."""
        return {"stretch_rate": self.stretch_rate, "semitones": self.semitones}

    def notes(self) -> list[str]:
        """What the paper does not say."""
        return [
            "Chatziagapi et al. 2019 state no ranges of the transforms; those used are in conf/generator/signal.yaml"
        ]

    def generate(self, inputs: GenerationInputs) -> None:
        """Transform the primes, and leave `transforms.jsonl` beside them; see `Generator.generate`.

        A sample depends on its request and, where it is drawn, on the corpus of background sounds; on no other sample.

        Raises:
            AugrunError: a recording cannot be read, or no clip of a corpus of background sounds can be used.
        """
        keep_memory()
        job, background = inputs.job, self._background(inputs)
        account = _Account(job.folder)
        waiting = [row for row in inputs.requests.itertuples(index=False) if not account.has(row.sample_id)]

        def work(request: Any) -> None:
            made, rate, line = self.transformed(request, background)
            account.add({"sample_id": request.sample_id, **line})  # first: a sample without its line is made anew
            audio.write(job.folder / f"{request.sample_id}.wav", made, rate)

        with ThreadPoolExecutor(max(1, job.hardware.workers), thread_name_prefix="signal") as pool:
            for _ in _shown(pool.map(work, waiting), len(waiting), job):
                pass
        _say(account.close(inputs.requests["sample_id"]))

    def transformed(self, request: Any, background: Sequence[Background]) -> tuple[np.ndarray, int, dict[str, Any]]:
        """The sample of one request.

        Returns:
            float32 (samples,), its rate in Hz, and what `transforms.jsonl` says of it.
        """
        sound, rate = self._recording(request)
        drawn = np.random.default_rng([request.seed, _DRAWN])
        chance = np.random.Generator(np.random.SFC64([request.seed, _NOISE]))  # the fastest of numpy's
        transform = str(self.transforms[int(drawn.integers(len(self.transforms)))])
        value = _uniform(drawn, self.ranges()[PARAMETERS[transform]])
        made, line = self._apply(transform, sound, rate, value, chance, background)
        made, gain_db = signal_transforms.below_full_scale(made)
        return made, rate, {"transform": transform, PARAMETERS[transform]: value, **line, "gain_db": round(gain_db, 4)}

    def _recording(self, request: Any) -> tuple[np.ndarray, int]:
        path, start_s, seconds = Path(request.prime_path), request.prime_start_s, request.prime_s
        if self.sample_rate is not None:
            return audio.read(path, self.sample_rate, start_s, seconds), self.sample_rate
        samples, rate = audio.read_native(path, start_s, seconds)
        return audio.mix(samples), rate

    def _apply(
        self,
        transform: str,
        sound: np.ndarray,
        rate: int,
        value: float,
        chance: np.random.Generator,
        background: Sequence[Background],
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The sound transformed, and what there is to say of it."""
        change = {"time_stretch": signal_transforms.time_stretch, "pitch_shift": signal_transforms.pitch_shift}
        line = {"remark": SHORT} if len(sound) < self.window_s * rate else {}
        return change[transform](sound, value, rate, self.window_s), line

    def _background(self, inputs: GenerationInputs) -> Sequence[Background]:
        return ()


@dataclass(frozen=True)
class StretchAndPitch(Transformed):
    """Time stretch and pitch shift, which need no other corpus: the row SAR_S of Table 1. See `Transformed`.

    Attributes:
        transforms: what is drawn from, each as likely as the next.
    """

    transforms: Sequence[Literal["time_stretch", "pitch_shift"]] = field(
        default_factory=lambda: ["time_stretch", "pitch_shift"]
    )


@dataclass(frozen=True)
class Signal(Transformed):
    """All four transforms, or some: the rows SA, SAR, SAR_M and SAR_B of Table 1. See `Transformed`.

    A signal-to-noise ratio is the mean power of the whole utterance, pauses included, over that of the noise added.
    Background noise is of the corpus `dataset@noise`, and where there is a `dataset@music` as often of that (section
    2.5 has ESC-50 and FMA, and does not say how much of each).

    Attributes:
        transforms: what is drawn from, each as likely as the next.
        gaussian_snr_db: the least and the greatest ratio to white Gaussian noise.
        background_snr_db: the least and the greatest ratio to a stretch of background.
        min_noise_s: clips of background of fewer seconds are passed over; longer ones than these, but shorter
            than the utterance, are looped.
        silence_db: stretches of background whose peak stays below this, in dB of full scale, are passed over.
    """

    uses: ClassVar[tuple[str, ...]] = ("noise",)
    may_use: ClassVar[tuple[str, ...]] = ("music",)

    transforms: Sequence[Literal["time_stretch", "pitch_shift", "gaussian_noise", "background_noise"]] = field(
        default_factory=lambda: ["time_stretch", "pitch_shift", "gaussian_noise", "background_noise"]
    )
    gaussian_snr_db: list[Annotated[float, "[-100, 100]"]] = field(default_factory=lambda: [0.0, 19.1])
    background_snr_db: list[Annotated[float, "[-100, 100]"]] = field(default_factory=lambda: [0.0, 19.1])
    min_noise_s: Annotated[float, "(0, inf)"] = 0.5
    silence_db: Annotated[float, "(-inf, 0]"] = -60.0

    def ranges(self) -> dict[str, Sequence[float]]:
        """The settings that a parameter is drawn from, uniformly."""
        noises = {"gaussian_snr_db": self.gaussian_snr_db, "background_snr_db": self.background_snr_db}
        return {**super().ranges(), **noises}

    def _apply(
        self,
        transform: str,
        sound: np.ndarray,
        rate: int,
        value: float,
        chance: np.random.Generator,
        background: Sequence[Background],
    ) -> tuple[np.ndarray, dict[str, Any]]:
        if transform not in ("gaussian_noise", "background_noise"):
            return super()._apply(transform, sound, rate, value, chance, background)
        if signal_transforms.power(sound) <= signal_transforms.SILENCE:
            return sound, {"remark": SILENT}
        if transform == "gaussian_noise":
            return signal_transforms.add_gaussian_noise(sound, value, chance), {}
        chosen = background[int(chance.integers(len(background)))] if len(background) > 1 else background[0]
        noise, source = chosen.cut(len(sound), rate, chance)
        return signal_transforms.add_noise(sound, noise, value), source

    def _background(self, inputs: GenerationInputs) -> Sequence[Background]:
        if "background_noise" not in self.transforms:
            return ()
        if inputs.noise is None:
            raise RequestError("the transform background_noise needs another corpus; give dataset@noise=NAME")
        given = {"noise": inputs.noise, "music": inputs.music}
        return [
            Background(cast(Corpus, corpus), self.min_noise_s, self.silence_db, role)
            for role, corpus in given.items()
            if corpus is not None
        ]


class _Account:
    """What was done to each sample; lines are written as samples are made, so that a kill loses none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lines: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        for name in (ACCOUNT, JOURNAL):
            self._lines |= {line["sample_id"]: line for line in _lines(folder / name)}
        if self._lines:
            write_text(folder / JOURNAL, _text(self._lines.values()))  # the next line must not follow on half a one

    def has(self, sample_id: str) -> bool:
        """Whether a sample is there, and the line on it."""
        return sample_id in self._lines and (self.folder / f"{sample_id}.wav").exists()

    def add(self, line: dict[str, Any]) -> None:
        with self._lock, open(self.folder / JOURNAL, "a", encoding="utf-8") as file:
            self._lines[line["sample_id"]] = line
            file.write(_text([line]))

    def close(self, sample_ids: Iterable[str]) -> list[dict[str, Any]]:
        """Writes the account in the order of the requests, and returns it."""
        lines = [self._lines[sample_id] for sample_id in sample_ids]
        write_text(self.folder / ACCOUNT, _text(lines))
        (self.folder / JOURNAL).unlink(missing_ok=True)
        return lines


def _text(lines: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of an account; a last one that a kill cut off is left out."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _uniform(generator: np.random.Generator, interval: Sequence[float]) -> float:
    """A number from the interval, to a millionth, so that the account holds all of it."""
    return round(float(generator.uniform(interval[0], interval[1])), 6)


def _say(lines: list[dict[str, Any]]) -> None:
    """Counts what was out of the ordinary."""
    for remark, said in _SAID.items():
        if count := sum(line.get("remark") == remark for line in lines):
            log.warning("%d of %d %s", count, len(lines), said)
    passed = {clip: reason for line in lines for clip, reason in line.get("passed_over", ())}
    if passed:
        named = "; ".join(f"{clip}: {reason}" for clip, reason in list(passed.items())[:3])
        more = f"; and {len(passed) - 3} more" if len(passed) > 3 else ""
        log.warning("%d clips of background sounds were drawn and passed over: %s%s", len(passed), named, more)


def _shown(results: Iterable[None], total: int, job: Job) -> Iterator[None]:
    """The results, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    title, hidden = f"{job.title or 'signal'}: transforming", not (job.hardware.progress and console.is_terminal)
    yield from track(results, title, total=total, console=console, transient=True, disable=hidden)
