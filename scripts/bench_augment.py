"""How fast utterances are transformed, beside audiomentations and torch-audiomentations, in one process.

    python scripts/bench_augment.py [--folder DIR] [--seconds 60] [--rate 16000] [--turns 5]

Each line is one transform with one set of parameters: seconds of sound transformed per second, by one thread each.
All take turns at each utterance, and medians of the turns count. The libraries are those of the environment that runs
this: `make env-augment` makes one that has them beside augrun. What is not installed, or does not run, is said so.

Speech is that of --folder, else rendered. The last lines are of the whole generator: from files to files and the
account of them, on one thread and on two, and beside that reading and writing alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import benching
import numpy as np
import pandas as pd
import soundfile
from benching import Row

from augrun.core import audio
from augrun.core.job import Hardware, Job
from augrun.core.runtime.malloc import keep_memory
from augrun.corpora.corpus import COLUMNS, Corpus, LabelSet
from augrun.generators.copy import Copy
from augrun.generators.requests import REQUEST_COLUMNS, GenerationInputs
from augrun.generators.signal import Signal
from augrun.generators.signal.noise import Background
from augrun.generators.signal.transforms import add_gaussian_noise, add_noise, pitch_shift, time_stretch

NOT_THERE = "not installed (make env-augment)"
WINDOW_S, SNR_DB, NOISE_RATE = 0.064, 10.0, 44100
RATES, SEMITONES = (0.81, 1.23), (-2.0, 1.37)

#: A transform of one utterance.
Change = Callable[[np.ndarray], Any]

Comparison = tuple[str, Change, dict[str, Change | str]]


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="sound files; else speech is rendered")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of sound to transform")
    parser.add_argument("--rate", type=int, default=16000, help="Hz; other recordings are resampled first")
    parser.add_argument("--turns", type=int, default=benching.TURNS)
    benching.options(parser)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    import torch

    torch.set_num_threads(1)
    keep_memory()  # as the generator does; all that run here gain by it
    sounds = speech(options.folder, options.seconds, options.rate)
    total = sum(map(len, sounds)) / options.rate
    print(f"{len(sounds)} utterances, {total:.0f} s at {options.rate} Hz; one thread each")
    with tempfile.TemporaryDirectory() as scratch:
        noises = [background(Path(scratch) / f"noise {rate}", rate) for rate in sorted({options.rate, NOISE_RATE})]
        rows: list[Row] = []
        for name, ours, others in comparisons(noises, options.rate):
            rows += compare(name, ours, others, sounds, options)
        rows += whole(Path(scratch), noises[-1], sounds, options)
    benching.leave(rows, options.json)


def comparisons(noises: Sequence[Corpus], rate: int) -> Iterator[Comparison]:
    """What is compared: a name, ours, and by name the others, or why they are not there."""
    vocoders = ("signalsmith_stretch", "librosa_phase_vocoder")  # audiomentations' own choice comes first
    for speed in RATES:
        limits = {"min_rate": speed, "max_rate": speed, "leave_length_unchanged": False}
        yield (
            f"time stretch {speed}",
            lambda x, speed=speed: time_stretch(x, speed, rate, WINDOW_S),
            {f"audiomentations, {v}": audiomentations("TimeStretch", rate, **limits, method=v) for v in vocoders},
        )
    fast = torch_shift(rate)
    for semitones in (*SEMITONES, fast):
        limits = {"min_semitones": semitones, "max_semitones": semitones}
        others = {f"audiomentations, {v}": audiomentations("PitchShift", rate, **limits, method=v) for v in vocoders}
        if semitones == fast:
            near = {"min_transpose_semitones": fast - 1e-6, "max_transpose_semitones": fast + 1e-6}
            others["torch-audiomentations"] = torch_audiomentations("PitchShift", rate, **near)
        yield f"pitch shift {semitones:+.2f}", lambda x, n=semitones: pitch_shift(x, n, rate, WINDOW_S), others
    seeds = iter(range(1 << 30))

    def chance() -> np.random.Generator:
        return np.random.Generator(np.random.SFC64(next(seeds)))

    ratio, torch_ratio = (
        {"min_snr_db": SNR_DB, "max_snr_db": SNR_DB},
        {"min_snr_in_db": SNR_DB, "max_snr_in_db": SNR_DB},
    )
    white = torch_audiomentations("AddColoredNoise", rate, **torch_ratio, min_f_decay=0.0, max_f_decay=0.0)
    yield (
        "gaussian noise",
        lambda x: add_gaussian_noise(x, SNR_DB, chance()),
        {
            "audiomentations": audiomentations("AddGaussianSNR", rate, **ratio),
            "torch-audiomentations (1 s, repeated)": white,
        },
    )
    for corpus in noises:
        source, folder = Background(corpus, 0.5, -60.0), str(Path(corpus.clips["path"][0]).parent)
        yield (
            f"background noise, {corpus.name}",
            lambda x, source=source: add_noise(x, source.cut(len(x), rate, chance())[0], SNR_DB),
            {
                "audiomentations": audiomentations("AddBackgroundNoise", rate, sounds_path=folder, **ratio),
                "torch-audiomentations": torch_audiomentations(
                    "AddBackgroundNoise", rate, background_paths=folder, **torch_ratio
                ),
            },
        )


def compare(
    name: str, ours: Change, others: dict[str, Change | str], sounds: Sequence[np.ndarray], options: argparse.Namespace
) -> list[Row]:
    """One block of the table."""
    changes: dict[str, Change] = {"augrun": ours}
    rows: list[Row] = []
    for other, change in others.items():
        problem = change if isinstance(change, str) else ""
        if not isinstance(change, str):
            try:
                change(sounds[0])
                changes[other] = change
            except Exception as error:  # a library that does not go with the others that are installed
                problem = f"does not run: {type(error).__name__}: {error}"
        if problem:
            rows.append(Row(name, note=f"{other}: {problem}"))
    found = turns(changes, sounds, options.turns)
    total = sum(map(len, sounds)) / options.rate
    speeds = {other: [total / seconds for seconds in each] for other, each in found.items()}
    mine, unit = speeds.pop("augrun"), "s of sound a s"
    measured = [benching.row(name, mine, other, who, unit=unit, rates=True) for who, other in speeds.items()]
    return [*(measured or [benching.row(name, mine, unit=unit)]), *rows]


def turns(changes: dict[str, Change], sounds: Sequence[np.ndarray], count: int) -> dict[str, list[float]]:
    """The seconds of each for all utterances, turn by turn; at each utterance in another order."""
    for change in changes.values():
        for sound in sounds[:3]:
            change(sound)
    found: dict[str, list[float]] = {name: [0.0] * count for name in changes}
    order = np.random.default_rng(0)
    for turn in range(count):
        for sound in sounds:
            for name in order.permutation(list(changes)):  # some leave the processor's caches worse than others do
                start = time.perf_counter()
                changes[name](sound)
                found[name][turn] += time.perf_counter() - start
    return found


def audiomentations(kind: str, rate: int, **settings: Any) -> Change | str:
    """A transform of audiomentations, always applied."""
    try:
        import audiomentations as library
    except ImportError:
        return NOT_THERE
    transform = getattr(library, kind)(**settings, p=1.0)
    return lambda sound: transform(sound, rate)


def torch_audiomentations(kind: str, rate: int, **settings: Any) -> Change | str:
    """A transform of torch-audiomentations, always applied, to a batch of one."""
    try:
        import torch
        import torch_audiomentations as library
    except ImportError:
        return NOT_THERE
    lend_torchaudio_files()
    transform = getattr(library, kind)(**settings, p=1.0, sample_rate=rate, output_type="dict")
    # Some of its transforms write into what they are given.
    return lambda sound: transform(torch.from_numpy(sound.copy())[None, None], rate).samples


def torch_shift(rate: int) -> float:
    """The greatest shift up to 2 semitones that torch-audiomentations can do: ratios of the rate's factors alone."""
    try:
        from torch_pitch_shift import get_fast_shifts, ratio_to_semitones
    except ImportError:
        return 1.0
    return max(ratio_to_semitones(ratio) for ratio in get_fast_shifts(rate, lambda x: 1 < x <= 2 ** (2 / 12)))


def lend_torchaudio_files() -> None:
    """Reads files by soundfile for torch-audiomentations, where torchaudio has given that up (from 2.9 on)."""
    import torch
    import torchaudio

    if hasattr(torchaudio, "info"):
        return

    def info(path: str) -> Any:
        known = soundfile.info(path)
        return SimpleNamespace(num_frames=known.frames, sample_rate=known.samplerate)

    def load(path: str, frame_offset: int = 0, num_frames: int = -1) -> Any:
        samples, rate = soundfile.read(path, num_frames, frame_offset, dtype="float32", always_2d=True)
        return torch.from_numpy(samples.T.copy()), rate

    torchaudio.info, torchaudio.load = info, load
    print("torchaudio no longer reads files itself: soundfile does it for torch-audiomentations")


def whole(scratch: Path, noises: Corpus, sounds: Sequence[np.ndarray], options: argparse.Namespace) -> list[Row]:
    """The generator from files to files, and what of it is reading and writing."""
    rows = []
    (scratch / "speech").mkdir()
    for place, sound in enumerate(sounds):
        path = scratch / "speech" / f"{place:05d}.wav"
        audio.write(path, sound, options.rate)
        seconds = len(sound) / options.rate
        rows.append((f"000-{place:05d}", 0, (0,), seconds, path.stem, str(path), 0.0, seconds, place))
    requests = pd.DataFrame(rows, columns=list(REQUEST_COLUMNS))
    total = float(requests["seconds"].sum())
    works: dict[str, Callable[[Job], None]] = {
        "generator=signal": lambda job: Signal().generate(
            GenerationInputs(requests, ("any",), None, job, noise=noises)
        ),
        "generator=copy": lambda job: Copy(prime_s=None, sample_s=None).generate(
            GenerationInputs(requests, ("any",), None, job)
        ),
    }
    cores = os.cpu_count() or 1

    def through(name: str, workers: int) -> None:
        with tempfile.TemporaryDirectory(dir=scratch) as fresh:
            works[name](Job(Path(fresh), hardware=Hardware(accelerator="cpu", workers=workers, progress=False)))

    runs = [("generator=signal", 1), ("generator=signal", cores), ("generator=copy", 1)]
    timed = {str(run): benching.seconds(lambda run=run: through(*run)) for run in runs}  # type: ignore[misc]
    found = {run: [total / s for s in each] for run, each in benching.turns(timed, options.turns).items()}
    copied, unit = found[str(runs[-1])], "s of sound a s"
    more: dict[str, Any] = {"unit": unit, "rates": True, "how": benching.COST}
    return [
        benching.row(
            f"{name} from files to files, {n} threads", found[str((name, n))], copied, "generator=copy", **more
        )
        for name, n in runs[:-1]
    ]


def background(folder: Path, rate: int) -> Corpus:
    """Forty sounds of 5 s, as ESC-50's are."""
    folder.mkdir()
    rng, rows = np.random.default_rng(1), []
    for number in range(40):
        path = folder / f"{number:02d}.wav"
        audio.write(path, (0.1 * rng.normal(size=5 * rate)).astype(np.float32), rate)
        values = {"clip_id": path.stem, "path": str(path), "start_s": 0.0, "end_s": 5.0, "duration_s": 5.0}
        rows.append({**dict.fromkeys(COLUMNS, ""), **values, "labels": (0,)})
    return Corpus(f"{rate} Hz", pd.DataFrame(rows, columns=list(COLUMNS)), LabelSet(("any",)))


def speech(folder: Path | None, seconds: float, rate: int) -> list[np.ndarray]:
    """Utterances, about so many seconds in all."""
    if folder is None:
        rng = np.random.default_rng(0)
        return [rendered(rng, length, rate) for length in rng.uniform(1.0, 8.0, size=max(1, round(seconds / 4.5)))]
    sounds, total = [], 0.0
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in audio.SUFFIXES):
        sounds.append(audio.read(path, rate))
        total += len(sounds[-1]) / rate
        if total >= seconds:
            break
    if not sounds:
        sys.exit(f"{folder}: no sound files")
    return sounds


def rendered(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    """Gliding harmonics in noise."""
    time_s = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(rng.uniform(100, 300) * (1 + 0.1 * np.sin(3 * time_s))) / rate
    sound = sum(np.sin(k * phase) / k for k in range(1, 12)) * (1 + np.sin(2 * np.pi * 3 * time_s)) / 2
    return (0.1 * sound + rng.normal(scale=0.005, size=len(time_s))).astype(np.float32)


if __name__ == "__main__":
    main()
