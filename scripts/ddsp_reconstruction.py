"""Trains the ddsp generator on a folder of recordings and says how well it reconstructs them.

    python scripts/ddsp_reconstruction.py FOLDER [--only NAME,NAME,...] [--out DIR] [FIELD=VALUE ...]

Prints the multi-scale spectral loss of every recording, untrained and trained, and their ratio. FIELD is a setting of
`augrun.generators.ddsp.DDSP`. `--out` also writes each recording beside its reconstruction: WAV files and pictures.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from augrun.core import audio
from augrun.core.job import Hardware, Job
from augrun.core.training import fit
from augrun.corpora.corpus import COLUMNS, Corpus, LabelSet
from augrun.generators.ddsp import DDSP, MODEL
from augrun.generators.ddsp.analysis import batch_of
from augrun.generators.ddsp.model import DDSPAutoencoder, white_noise
from augrun.generators.ddsp.synthesis import magnitude


def main() -> None:
    """Reads the command line, trains, reports."""
    options = arguments()
    corpus = corpus_of(options.folder, options.only)
    generator = DDSP(**options.settings)
    with tempfile.TemporaryDirectory() as scratch:
        job = Job(Path(options.fit or scratch), seed=options.seed, hardware=Hardware(accelerator=options.accelerator))
        fit.reseed(job.seed, "weights")
        untrained = generator.autoencoder()
        start = time.monotonic()
        generator.fit(corpus, corpus, job)
        minutes = (time.monotonic() - start) / 60
        trained = generator.autoencoder()
        trained.load_state_dict(torch.load(job.folder / MODEL, weights_only=True))
        report(generator, corpus, untrained, trained, minutes, options)


def arguments() -> argparse.Namespace:
    """The command line; `settings` holds the fields given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="recordings that soundfile reads")
    parser.add_argument("settings", nargs="*", metavar="FIELD=VALUE", help="settings of the generator")
    parser.add_argument("--only", metavar="NAME,NAME,...", help="file names, with or without their ending")
    parser.add_argument("--out", type=Path, help="write sounds and pictures here")
    parser.add_argument("--fit", type=Path, help="train in this folder, and continue what lies there")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--accelerator", default="auto")
    options = parser.parse_intermixed_args()
    fields = {item.name for item in dataclasses.fields(DDSP)}
    settings = {}
    for item in options.settings:
        name, _, value = item.partition("=")
        if name not in fields:
            parser.error(f"{name}: no such setting; legal are {', '.join(sorted(fields))}")
        try:
            settings[name] = ast.literal_eval(value.capitalize() if value in ("true", "false", "none") else value)
        except (ValueError, SyntaxError):
            parser.error(f"{item}: {value!r} is no value; write {name}=NUMBER")
    options.settings = settings
    return options


def corpus_of(folder: Path, only: str | None) -> Corpus:
    """The recordings as a corpus of one class; `only` names some of them."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in audio.SUFFIXES)
    wanted = set(only.split(",")) if only else {path.name for path in paths}
    if missing := wanted - {path.name for path in paths} - {path.stem for path in paths}:
        raise SystemExit(f"{folder}: no recordings named {', '.join(sorted(missing))}")
    paths = [path for path in paths if {path.name, path.stem} & wanted]
    if not paths:
        raise SystemExit(f"{folder}: no recordings")
    rows = []
    for path in paths:
        seconds = audio.probe(path).seconds
        values = {"clip_id": path.stem, "path": str(path), "start_s": 0.0, "end_s": seconds, "duration_s": seconds}
        values |= {"labels": (0,), "utterance": path.stem, "origin": "recorded", "digest": f"{path.stat().st_size}"}
        rows.append([values.get(column, "") for column in COLUMNS])
    return Corpus(folder.name, pd.DataFrame(rows, columns=list(COLUMNS)), LabelSet(("any",)))


def report(
    generator: DDSP,
    corpus: Corpus,
    untrained: DDSPAutoencoder,
    trained: DDSPAutoencoder,
    minutes: float,
    options: argparse.Namespace,
) -> None:
    """Losses by recording and in all; sounds and pictures where asked for."""
    print(f"\n{'recording':24s} {'seconds':>8s} {'untrained':>10s} {'trained':>10s} {'ratio':>7s}")
    losses = []
    for clip in corpus.clips.itertuples():
        recorded, pairs, sound = measure(generator, Path(clip.path), untrained, trained)
        before, after = np.mean(pairs, axis=0)
        losses += pairs
        print(f"{clip.clip_id:24s} {clip.duration_s:8.2f} {before:10.3f} {after:10.3f} {after / before:7.3f}")
        if options.out:
            keep(options.out, clip.clip_id, recorded, sound, generator.sample_rate)
    before, after = np.mean(losses, axis=0)
    size = sum(parameter.numel() for parameter in trained.parameters())
    print(f"{'all windows':24s} {corpus.seconds:8.2f} {before:10.3f} {after:10.3f} {after / before:7.3f}")
    print(f"{generator.steps} steps of {generator.batch_size} windows, {size:,} parameters, {minutes:.1f} minutes")


def measure(
    generator: DDSP, path: Path, untrained: DDSPAutoencoder, trained: DDSPAutoencoder
) -> tuple[np.ndarray, list[tuple[float, float]], np.ndarray]:
    """A recording, (untrained, trained) losses of its windows one after the other, and its reconstruction."""
    analysis = generator.analysis()
    recorded = audio.read(path, generator.sample_rate)
    sound, losses = np.zeros_like(recorded), []
    fade = np.linspace(0, 1, generator.sample_rate // 20, dtype=np.float32)  # 50 ms from a window to the next
    starts = range(0, max(1, len(recorded) - len(fade)), analysis.samples - len(fade))
    for place, start in enumerate(starts):
        piece = recorded[start : start + analysis.samples]
        batch = batch_of([analysis.analyse(piece)])
        noise = white_noise((1, analysis.samples), place)
        with torch.inference_mode():
            if place == 0 or len(piece) >= analysis.samples // 4:
                losses.append((float(untrained.loss(batch, noise)), float(trained.loss(batch, noise))))
            made = trained(batch, noise)[0].numpy()[: len(piece)]
        if place:
            made[: len(fade)] *= fade
            sound[start : start + len(fade)] *= 1 - fade
        sound[start : start + len(piece)] += made
    return recorded, losses, sound


def keep(folder: Path, name: str, recorded: np.ndarray, sound: np.ndarray, sample_rate: int) -> None:
    """Writes NAME.recorded.wav, NAME.ddsp.wav and NAME.png, their spectrograms one above the other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = pyplot.subplots(2, 1, figsize=(10, 7), sharex=True, layout="constrained")
    for axis, (title, samples) in zip(axes, {"recorded": recorded, "ddsp": sound}.items(), strict=True):
        audio.write(folder / f"{name}.{title}.wav", samples, sample_rate)
        decibels = 20 * torch.log10(magnitude(torch.from_numpy(samples)[None], 1024, 128)[0].T + 1e-4)
        extent = (0.0, len(samples) / sample_rate, 0.0, sample_rate / 2000)
        axis.imshow(decibels, origin="lower", aspect="auto", vmin=-60, vmax=40, extent=extent, cmap="magma")
        axis.set(title=f"{name}: {title}", ylabel="kHz")
    axes[-1].set_xlabel("seconds")
    figure.savefig(folder / f"{name}.png", dpi=80)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
