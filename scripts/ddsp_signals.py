"""Trains the ddsp generator on sines, chirps, noise and chords, and says how far from unseen ones it lands.

    python scripts/ddsp_signals.py [--seeds N] [--out DIR] [FIELD=VALUE ...]

One network learns `TRAINING` signals of each kind, rendered on the spot, and reconstructs `HELD_OUT` others, by the
generator's own `fit` and `generate`. FIELD is a setting of `augrun.generators.ddsp.DDSP`; what is not given is that of
a small network (`REDUCED`). Each seed starts from other weights. Printed are means over a kind's unseen windows, as
explained in `Measured`. `--out` writes two primes of each kind and their reconstructions: sounds and pictures.
"""

from __future__ import annotations

import argparse
import ast
import tempfile
import time
from dataclasses import dataclass, fields
from itertools import pairwise
from math import nan as NAN
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pandas as pd
import torch
from scipy import signal as filters

from augrun.core import audio
from augrun.core.job import Hardware, Job
from augrun.core.training import fit
from augrun.corpora.corpus import COLUMNS, Corpus, LabelSet
from augrun.generators.ddsp import DDSP, MODEL
from augrun.generators.ddsp.synthesis import spectral_loss
from augrun.generators.requests import REQUEST_COLUMNS, GenerationInputs

RATE, SECONDS = 16000, 4.096
SAMPLES = round(RATE * SECONDS)
KINDS = ("sine", "chirp", "white", "band", "chord")
TRAINING, VALIDATION, HELD_OUT = 48, 3, 6
BACKGROUND_DB = 60.0  # of a recording, below the signal
FLOOR_DB = 60.0  # levels further below the prime's peak count as silence

#: Semitones above the root: major, minor, and their sevenths.
CHORDS = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 3, 7, 10))

#: 0.7 million parameters, and windows of half a signal. In the course of training the learning rate falls to a
#: hundredth.
REDUCED: dict[str, Any] = {
    "sample_s": 2.048, "prime_s": 2.048, "frame_rate": 62.5, "harmonics": 60, "z_units": 128, "units": 128,
    "channels": 128, "layers": 2, "fft_sizes": (2048, 512, 128), "validation_windows": 30, "steps": 1200,
    "steps_per_epoch": 150, "batch_size": 4, "learning_rate": 3e-3, "decay": 0.1, "decay_steps": 600,
}  # fmt: skip


@dataclass(frozen=True)
class Signal:
    """A rendered sound and the truth about it.

    Attributes:
        kind: one of `KINDS`.
        name: its own.
        sound: (SAMPLES,).
        hertz: of a sine or chirp, its frequency at each sample; of a chord, its partials; else empty.
        twin: of noise, a second draw of the same.
    """

    kind: str
    name: str
    sound: np.ndarray
    hertz: np.ndarray
    twin: np.ndarray | None = None


def signals(kind: str, count: int, seed: int) -> list[Signal]:
    """`count` signals of a kind, no two alike, the same for the same seed.

    Each has a level, an envelope, and the faint background of a recording: without one, the logarithms in the loss are
    those of the rounding to 16 bits, and a tone's share in them is next to nothing.
    """
    made = []
    for place in range(count):
        random = np.random.default_rng([seed, KINDS.index(kind), place])
        hertz, sounds = _RENDERERS[kind](random)
        level = 10 ** (random.uniform(-30, -10) / 20) * _envelope(random)
        background = random.normal(size=sounds.shape) * 10 ** (-BACKGROUND_DB / 20)
        sounds = (sounds / sounds.std(axis=1, keepdims=True) + background) * level / np.sqrt(2)
        twin = sounds[1] if len(sounds) > 1 else None
        made.append(Signal(kind, f"{kind}-{seed}-{place:02d}", sounds[0], hertz, twin))
    return made


def _envelope(random: np.random.Generator) -> np.ndarray:
    """Steady, decaying, swelling or trembling, with 50 ms of fade at either end."""
    time_s = np.arange(SAMPLES) / RATE
    fall = np.exp(-time_s / random.uniform(1, 4))
    tremolo = 0.6 + 0.4 * np.sin(2 * np.pi * random.uniform(1, 4) * time_s)
    shapes = (np.ones_like(time_s), fall, fall[::-1], tremolo)
    fade = np.clip(np.minimum(time_s, SECONDS - time_s) / 0.05, 0, 1)
    return shapes[random.integers(len(shapes))] * fade


def _sine(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """110 to 1760 Hz."""
    hertz = np.full(SAMPLES, 110 * 2 ** random.uniform(0, 4))
    return hertz, _oscillate(hertz)


def _chirp(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Half to two octaves up or down within 110 to 1760 Hz, linear in Hz or in octaves."""
    low, rise = random.uniform(0, 2), np.linspace(0, 1, SAMPLES)
    start, end = random.permutation(110 * 2 ** np.array([low, low + random.uniform(0.5, 2)]))
    hertz = start + (end - start) * rise if random.integers(2) else start * (end / start) ** rise
    return hertz, _oscillate(hertz)


def _oscillate(hertz: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * np.cumsum(hertz) / RATE)[None]


def _white(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return np.empty(0), random.normal(size=(2, SAMPLES))


def _band(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One to two octaves of noise within 300 to 7000 Hz."""
    low = 300 * 2 ** random.uniform(0, 3)
    edges = (low, min(low * 2 ** random.uniform(1, 2), 7000.0))
    sections = filters.butter(6, edges, "bandpass", fs=RATE, output="sos")
    return np.empty(0), filters.sosfilt(sections, random.normal(size=(2, SAMPLES)))


def _chord(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Three or four tempered voices of six harmonics each, in any inversion, the root at 110 to 220 Hz."""
    steps = np.array(CHORDS[random.integers(len(CHORDS))])
    steps[: random.integers(len(steps))] += 12
    number = np.repeat(np.arange(1, 7), len(steps))
    partials = np.tile(110 * 2 ** (random.uniform(0, 1) + steps / 12), 6) * number
    turns = partials[:, None] * np.arange(SAMPLES) / RATE + random.uniform(size=(len(partials), 1))
    return partials, (1 / number) @ np.sin(2 * np.pi * turns)[None]


_RENDERERS = {"sine": _sine, "chirp": _chirp, "white": _white, "band": _band, "chord": _chord}


def log_mel_distance(prime: np.ndarray, sample: np.ndarray) -> float:
    """Mean absolute difference of two log-mel spectrograms (64 bands, FFT 1024, hop 256), in dB.

    Levels more than 60 dB below the prime's peak count as that. The mean is over the cells where either sound is above
    it: silence around a tone gains nothing, and what a sample adds where its prime has nothing is paid for.
    """
    first, second = _mel(prime), _mel(sample)
    floor = first.max() * 10 ** (-FLOOR_DB / 10)
    heard = np.maximum(first, second) > floor
    return float(np.abs(10 * np.log10(np.maximum(first, floor) / np.maximum(second, floor)))[heard].mean())


def _mel(sound: np.ndarray) -> np.ndarray:
    sound = np.asarray(sound, np.float32)
    return librosa.feature.melspectrogram(y=sound, sr=RATE, n_fft=1024, hop_length=256, n_mels=64)


def pitch_error(sample: np.ndarray, hertz: np.ndarray) -> np.ndarray:
    """Distance in cents of the strongest frequency of each frame (128 ms, every 32 ms) from the truth at its middle.

    A sample's frames more than 30 dB below its loudest are left out.
    """
    size, hop, padded = 2048, 512, 1 << 15
    frames = np.lib.stride_tricks.sliding_window_view(sample, size)[::hop]
    decibels = 20 * np.log10(np.abs(np.fft.rfft(frames * np.hanning(size), padded))[:, 1:] + 1e-9)
    peak = decibels.argmax(1).clip(1, decibels.shape[1] - 2)
    left, middle, right = (decibels[np.arange(len(peak)), peak + side] for side in (-1, 0, 1))
    curve = np.minimum(left - 2 * middle + right, -1e-9)
    found = (peak + 1 + (left - right) / (2 * curve)) * RATE / padded
    heard = middle > middle.max() - 30
    return np.abs(1200 * np.log2(found / hertz[size // 2 :: hop][: len(found)]))[heard]


def band_error(prime: np.ndarray, sample: np.ndarray) -> float:
    """Mean difference in dB of the energies in bands of 500 Hz; those 40 dB below the prime's loudest count as that."""
    levels = [_energies(sound, list(pairwise(range(0, RATE // 2 + 1, 500)))) for sound in (prime, sample)]
    floor = levels[0].max() - 40
    return float(np.abs(np.maximum(levels[0], floor) - np.maximum(levels[1], floor)).mean())


def partials_error(prime: np.ndarray, sample: np.ndarray, partials: np.ndarray) -> float:
    """Mean difference in dB of the energies within 50 cents of each partial."""
    bands = [(partial / 2 ** (1 / 24), partial * 2 ** (1 / 24)) for partial in partials]
    return float(np.abs(_energies(prime, bands) - _energies(sample, bands)).mean())


def partials_share(sound: np.ndarray, partials: np.ndarray) -> float:
    """Share of a sound's energy that lies within 50 cents of a chord's partials."""
    power, hertz = _power(sound)
    near = np.abs(np.log2(hertz.clip(1))[:, None] - np.log2(partials)).min(1) < 1 / 24
    return float(power[near].sum() / power.sum())


def _energies(sound: np.ndarray, bands: list[tuple[float, float]]) -> np.ndarray:
    """Energy in dB between edges in Hz."""
    power, hertz = _power(sound)
    return 10 * np.log10([power[(hertz >= low) & (hertz < high)].sum() + 1e-9 for low, high in bands])


def _power(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a whole sound; and Hz."""
    return np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2, np.fft.rfftfreq(len(sound), 1 / RATE)


@dataclass(frozen=True)
class Measured:
    """A reconstructed window; means over a kind are what is printed.

    Attributes:
        kind: of its signal.
        name: of its signal.
        start_s: where in it the window starts.
        prime: the window.
        sample: its reconstruction.
        made: log-mel distance of the reconstruction from its prime, dB (`log_mel_distance`).
        white: that of white noise with the prime's energy.
        silence: that of nothing.
        untrained: that of the untrained network's reconstruction.
        other: that of the reconstruction of another prime of the kind.
        loss: the multi-scale spectral loss (all six sizes) over the untrained network's.
        level: the reconstruction's energy over its prime's, dB.
        twin: of noise, the distance of a second draw: what makes its own noise cannot come closer.
        cents: of sines and chirps, median over frames of `pitch_error`.
        on_pitch: of sines and chirps, share of frames within 50 cents.
        bands: of noise, `band_error`.
        partials: of chords, `partials_error`.
        share: of chords, `partials_share` of the reconstruction.
        white_share: of chords, that of white noise.
    """

    kind: str
    name: str
    start_s: float
    prime: np.ndarray
    sample: np.ndarray
    made: float
    white: float
    silence: float
    untrained: float
    other: float
    loss: float
    level: float
    twin: float = NAN
    cents: float = NAN
    on_pitch: float = NAN
    bands: float = NAN
    partials: float = NAN
    share: float = NAN
    white_share: float = NAN


def measure(item: Signal, start: int, made: np.ndarray, untrained: np.ndarray, other: np.ndarray) -> Measured:
    """All that is said about a reconstruction of a signal's samples from `start` on."""
    prime = item.sound[start : start + len(made)]
    random = np.random.default_rng(start)
    white = random.normal(size=len(prime)) * np.sqrt(np.square(prime).mean())
    values: dict[str, Any] = {
        "kind": item.kind,
        "name": item.name,
        "start_s": start / RATE,
        "prime": prime.astype(np.float32),
        "sample": made,
        "level": 10 * np.log10(np.square(made).mean() / np.square(prime).mean()),
        "loss": _loss(prime, made) / _loss(prime, untrained),
    }
    compared = {"made": made, "white": white, "silence": 0 * prime, "untrained": untrained, "other": other}
    if item.twin is not None:
        compared["twin"] = item.twin[start : start + len(prime)]
        values["bands"] = band_error(prime, made)
    values |= {name: log_mel_distance(prime, sound) for name, sound in compared.items()}
    if item.kind in ("sine", "chirp"):
        off = pitch_error(made, item.hertz[start:])
        values |= {"cents": np.median(off), "on_pitch": np.mean(off < 50)}
    if item.kind == "chord":
        values["partials"] = partials_error(prime, made, item.hertz)
        values |= {"share": partials_share(made, item.hertz), "white_share": partials_share(white, item.hertz)}
    return Measured(**values)


def _loss(prime: np.ndarray, sample: np.ndarray) -> float:
    target, sound = (torch.from_numpy(np.asarray(part, np.float32))[None] for part in (prime, sample))
    return float(spectral_loss(target, sound))


def corpus_of(items: list[Signal], folder: Path) -> Corpus:
    """The signals as files and as a corpus with a class for each kind."""
    folder.mkdir()
    rows = []
    for item in items:
        path = folder / f"{item.name}.wav"
        audio.write(path, item.sound.astype(np.float32), RATE)
        values = {"clip_id": item.name, "path": str(path), "start_s": 0.0, "end_s": SECONDS, "duration_s": SECONDS}
        values |= {"labels": (KINDS.index(item.kind),), "origin": "recorded", "digest": item.name}
        rows.append([values.get(column, "") for column in COLUMNS])
    return Corpus("signals", pd.DataFrame(rows, columns=list(COLUMNS)), LabelSet(KINDS))


def reconstruct(generator: DDSP, corpus: Corpus, fitted: Path, job: Job) -> list[np.ndarray]:
    """What the generator makes of each clip's windows, one after the other."""
    seconds = generator.sample_s
    starts = [turn * seconds for turn in range(int(SECONDS / seconds + 1e-6))]
    rows = [
        (f"{clip.clip_id}-{turn}", 0, clip.labels, seconds, clip.clip_id, clip.path, start, seconds, turn)
        for clip in corpus.clips.itertuples()
        for turn, start in enumerate(starts)
    ]
    requests = pd.DataFrame(rows, columns=list(REQUEST_COLUMNS))
    generator.generate(GenerationInputs(requests, KINDS, fitted, job))
    return [audio.read(job.folder / f"{name}.wav") for name in requests["sample_id"]]


def experiment(
    generator: DDSP,
    folder: Path,
    seed: int,
    kinds: tuple[str, ...] = KINDS,
    counts: tuple[int, int, int] = (TRAINING, VALIDATION, HELD_OUT),
    hardware: Hardware | None = None,
) -> list[Measured]:
    """Trains, reconstructs unseen signals and measures them.

    Args:
        generator: its settings.
        folder: an existing, empty one to work in.
        seed: of the weights and of training; the signals are always the same.
        kinds: what one network learns.
        counts: signals of each kind to train on, to validate on, and to reconstruct.
        hardware: where to compute.
    """
    job = Job(folder, seed, hardware or Hardware(progress=False))
    parts = [[item for kind in kinds for item in signals(kind, count, part)] for part, count in enumerate(counts)]
    train, validation, unseen = (corpus_of(part, folder / f"part{place}") for place, part in enumerate(parts))
    fitted, untrained = job.within("fitted"), job.within("untrained")
    fit.reseed(seed, "weights")
    torch.save(generator.autoencoder().state_dict(), untrained.folder / MODEL)
    generator.fit(train, validation, fitted)
    made, before = (
        reconstruct(generator, unseen, way.folder, job.within(f"by-{way.folder.name}")) for way in (fitted, untrained)
    )
    length = len(made[0])
    windows = [(item, start) for item in parts[2] for start in range(0, SAMPLES - length + 1, length)]
    per_signal = len(windows) // len(parts[2])
    per_kind = counts[2] * per_signal
    others = [place - place % per_kind + (place + per_signal) % per_kind for place in range(len(windows))]
    return [
        measure(item, start, made[place], before[place], made[other])
        for place, ((item, start), other) in enumerate(zip(windows, others, strict=True))
    ]


def means(measured: list[Measured]) -> pd.DataFrame:
    """Means over the windows of a kind, one row a kind."""
    numbers = [field.name for field in fields(Measured) if field.type == "float" and field.name != "start_s"]
    return pd.DataFrame(measured).groupby("kind", sort=False)[numbers].mean()


def main() -> None:
    """Reads the command line, trains and reports."""
    from ddsp_reconstruction import keep

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="FIELD=VALUE", help="settings of the generator")
    parser.add_argument("--seeds", type=int, default=1, help="train so many times")
    parser.add_argument("--out", type=Path, help="write sounds and a picture here")
    parser.add_argument("--accelerator", default="auto")
    options = parser.parse_intermixed_args()
    settings = REDUCED | dict(map(_setting, options.settings))
    generator = DDSP(**settings)
    hardware = Hardware(accelerator=options.accelerator, progress=False)
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            start, busy = time.monotonic(), time.process_time()
            measured = experiment(generator, Path(scratch), seed, hardware=hardware)
            took, busy = time.monotonic() - start, time.process_time() - busy
        print(f"\nseed {seed}: {took:.0f} s, {busy:.0f} s of processor time")
        print(means(measured).dropna(axis="columns", how="all").round(2).to_string(na_rep=""), flush=True)
        if options.out:
            for item in (item for item in measured if item.start_s == 0 and item.name[-2:] in ("00", "01")):
                keep(options.out / f"seed{seed}", item.name, item.prime, item.sample, RATE)


def _setting(text: str) -> tuple[str, Any]:
    """FIELD=VALUE as a name and a value."""
    name, _, value = text.partition("=")
    if name not in (names := {field.name for field in fields(DDSP)}):
        raise SystemExit(f"{text}: no FIELD=VALUE; fields are {', '.join(sorted(names))}")
    return name, ast.literal_eval(value.capitalize() if value in ("true", "false") else value)


if __name__ == "__main__":
    main()
