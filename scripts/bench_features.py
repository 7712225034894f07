"""How fast corpora are read and features are extracted, beside what else does it, in one run.

    python scripts/bench_features.py [--folder DIR] [--seconds 1200] [--tracks 18000] [--workers 2] [--turns 5]

Reading: IEMOCAP's layout with 10,039 utterances and 18,000 rows of MTG-Jamendo (links to one short file), first with
an empty index of files, then with a warm one, which opens no audio; beside a loop that asks `soundfile` for every
file's length and hashes its beginning.

Extraction: 96-band log-mel spectrograms of 16 kHz FLAC and WAV files (those of --folder, else of rendered speech) by
augrun and by warmed-up loops over `soundfile.read` and `librosa.feature.melspectrogram`, or torchaudio's
`MelSpectrogram`, with the same settings; and of 44.1 kHz stereo MP3 files of music, as MTG-Jamendo publishes them,
beside decoding alone on as many threads. All take turns; medians count. Needs librosa.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import benching
import numpy as np
import soundfile
from benching import Row

from augrun.core import audio
from augrun.core.job import Hardware
from augrun.corpora.corpus import Corpus, LabelSet
from augrun.corpora.iemocap import Iemocap
from augrun.corpora.index import EDGE, Index
from augrun.corpora.jamendo import HEADER, JamendoMood
from augrun.corpora.reader import build
from augrun.features.logmel import LogMel

RATE, MUSIC_RATE = 16000, 44100
TRACKS = 18_000

#: The same features for both: librosa's own framing and window.
SPEECH = LogMel(
    sample_rate=RATE, window=512, hop=256, n_fft=512, bands=96, f_max=8000.0, symmetric=False, scale="db10",
    floor_db=-100.0, resampling="sinc",
)  # fmt: skip


def main() -> None:
    """Reads the command line and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="sound files at 16 kHz; else speech is rendered")
    parser.add_argument("--seconds", type=float, default=1200.0, help="seconds of sound to extract")
    parser.add_argument("--tracks", type=int, default=TRACKS, help="rows of MTG-Jamendo to read")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--turns", type=int, default=benching.TURNS)
    benching.options(parser)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = [*reading(Path(scratch), given), *extraction(Path(scratch), given)]
    benching.leave(rows, given.json)


def reading(scratch: Path, given: argparse.Namespace) -> Iterator[Row]:
    """Two large corpora."""
    emotional, music = iemocap(scratch / "iemocap"), jamendo(scratch / "jamendo", given.tracks)
    yield from read_in_turns(
        "IEMOCAP's layout, 10,039 utterances", lambda index: Iemocap().read(emotional, index), emotional, given
    )
    yield from read_in_turns(
        f"MTG-Jamendo's layout, {given.tracks:,} tracks", lambda index: JamendoMood().read(music, index), music, given
    )


def read_in_turns(name: str, read: Callable[[Index], Corpus], root: Path, given: argparse.Namespace) -> Iterator[Row]:
    """A corpus with an empty index, then with a full one, and the plain loop."""
    paths = sorted(path for path in root.rglob("*.wav") if path.name != "one.wav")
    kept = root.parent / f"{root.name}-index"
    read(Index(kept, given.workers))

    def first() -> None:
        with tempfile.TemporaryDirectory(dir=root.parent) as fresh:
            read(Index(Path(fresh), given.workers))

    works = {"first": first, "again": lambda: read(Index(kept, given.workers)), "loop": lambda: plain_probe(paths)}
    found = benching.turns({key: benching.seconds(work, 0.1) for key, work in works.items()}, given.turns)
    against = "a loop over soundfile.info and hashes"
    yield benching.row(f"reading {name}, first time", found["first"], found["loop"], against)
    yield benching.row(f"reading {name}, again", found["again"], found["loop"], against)


def plain_probe(paths: Sequence[Path]) -> int:
    """Every file's length, and a digest of its beginning."""
    frames = 0
    for path in paths:
        frames += soundfile.info(path).frames
        with open(path, "rb") as file:
            hashlib.sha256(file.read(EDGE)).hexdigest()
    return frames


def extraction(scratch: Path, given: argparse.Namespace) -> Iterator[Row]:
    """Decoding and log-mel."""
    sounds = speech(given.folder, given.seconds)
    for kind in ("flac", "wav"):
        paths = written(scratch / kind, sounds, RATE, kind)
        corpus = corpus_of(paths)
        works = {
            "ours": lambda corpus=corpus: extract(SPEECH, corpus, scratch, given.workers),
            "one": lambda corpus=corpus: extract(SPEECH, corpus, scratch, 1),
            "librosa": lambda paths=paths: librosa_loop(paths),
            "torchaudio": lambda paths=paths: torchaudio_loop(paths),
            "decoding": lambda paths=paths: [audio.read(path) for path in paths],
            "soundfile": lambda paths=paths: [soundfile.read(path, dtype="float32") for path in paths],
        }
        found = benching.turns({key: benching.seconds(work, 0.2) for key, work in works.items()}, given.turns)
        name = f"log-mel of {total_of(paths):,.0f} s of {kind.upper()}"
        several = f"{name}, {given.workers} threads"
        for other in ("librosa", "torchaudio"):
            yield benching.row(several, found["ours"], found[other], f"a {other} loop")
            yield benching.row(f"{name}, one thread", found["one"], found[other], f"a {other} loop")
        name = f"decoding {total_of(paths):,.0f} s of {kind.upper()} with all checks"
        yield benching.row(name, found["decoding"], found["soundfile"], "soundfile.read", how=benching.COST)
    paths = written(scratch / "mp3", music(given.seconds), MUSIC_RATE, "mp3")
    corpus = corpus_of(paths)
    works = {
        "ours": lambda: extract(LogMel(), corpus, scratch, given.workers),
        "decoding": lambda: decode(paths, given.workers),
    }
    found = benching.turns({key: benching.seconds(work, 0.2) for key, work in works.items()}, given.turns)
    name = f"log-mel of {total_of(paths):,.0f} s of stereo MP3"
    against = f"decoding alone, {given.workers} threads too"
    yield benching.row(name, found["ours"], found["decoding"], against, how=benching.COST)


def total_of(paths: Sequence[Path]) -> float:
    """Seconds of sound."""
    return sum(audio.probe(path, check_end=False).seconds for path in paths)


def extract(mel: LogMel, corpus: Corpus, scratch: Path, workers: int) -> int:
    """Extraction as a run does it, into a fresh folder on the disk."""
    with tempfile.TemporaryDirectory(dir=scratch) as fresh:
        hardware = Hardware(accelerator="cpu", workers=workers, progress=False)
        return len(mel.extract(corpus, Path(fresh) / "features", hardware))


def librosa_loop(paths: Sequence[Path]) -> int:
    """The same spectrograms, file by file."""
    import librosa

    frames = 0
    for path in paths:
        sound, _ = soundfile.read(path, dtype="float32")
        power = librosa.feature.melspectrogram(
            y=sound, sr=RATE, n_fft=512, hop_length=256, n_mels=96, fmax=8000.0, pad_mode="constant"
        )
        frames += librosa.power_to_db(power, top_db=None).shape[1]
    return frames


def torchaudio_loop(paths: Sequence[Path]) -> int:
    """The same spectrograms by torchaudio's transform, file by file."""
    import torch
    from torchaudio.transforms import MelSpectrogram

    transform = MelSpectrogram(
        RATE, n_fft=512, hop_length=256, f_max=8000.0, n_mels=96, pad_mode="constant", norm="slaney", mel_scale="slaney"
    )
    frames = 0
    with torch.inference_mode():
        for path in paths:
            sound, _ = soundfile.read(path, dtype="float32")
            frames += transform(torch.from_numpy(sound)).clamp_(min=1e-10).log10_().mul_(10.0).shape[1]
    return frames


def decode(paths: Sequence[Path], workers: int) -> int:
    """Decoding and nothing else."""
    with ThreadPoolExecutor(workers) as pool:
        return sum(len(sound) for sound, _ in pool.map(lambda path: soundfile.read(path, dtype="float32"), paths))


def corpus_of(paths: Sequence[Path]) -> Corpus:
    """Whole files as clips."""
    names = [path.name for path in paths]
    columns = {
        "clip_id": names,
        "path": [str(path) for path in paths],
        "start_s": [0.0] * len(names),
        "end_s": [audio.probe(path, check_end=False).seconds for path in paths],
        "labels": [(0,)] * len(names),
        "digest": names,
    }
    return build("bench", columns, LabelSet(("any",)), "other")


def speech(folder: Path | None, seconds: float) -> list[np.ndarray]:
    """Utterances at 16 kHz, about so many seconds in all."""
    if folder is None:
        rng = np.random.default_rng(0)
        lengths = rng.uniform(1.0, 8.0, size=max(1, round(seconds / 4.5)))
        return [rendered(rng, length, RATE) for length in lengths]
    sounds, total = [], 0.0
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in audio.SUFFIXES):
        sounds.append(audio.read(path, RATE))
        total += len(sounds[-1]) / RATE
        if total >= seconds:
            break
    if not sounds:
        raise SystemExit(f"{folder}: no sound files")
    return sounds


def music(seconds: float) -> list[np.ndarray]:
    """Stereo pieces of 30 s at 44.1 kHz."""
    rng = np.random.default_rng(1)
    return [np.stack([rendered(rng, 30.0, MUSIC_RATE)] * 2) for _ in range(max(1, round(seconds / 30)))]


def rendered(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    """Gliding harmonics in noise: what lossless and lossy coders have to work at."""
    time_s = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(rng.uniform(100, 300) * (1 + 0.1 * np.sin(3 * time_s))) / rate
    sound = sum(np.sin(k * phase) / k for k in range(1, 12)) * (1 + np.sin(2 * np.pi * 3 * time_s)) / 2
    return (0.1 * sound + rng.normal(scale=0.005, size=len(time_s))).astype(np.float32)


def written(folder: Path, sounds: Sequence[np.ndarray], rate: int, kind: str) -> list[Path]:
    """The sounds as files of one kind."""
    folder.mkdir()
    paths = [folder / f"{number:04d}.{kind}" for number in range(len(sounds))]
    for path, sound in zip(paths, sounds, strict=True):
        audio.write(path, sound, rate)
    return paths


def jamendo(root: Path, tracks: int = TRACKS) -> Path:
    """Tracks in the layout and the grammar of MTG-Jamendo, all of them links to one short file."""
    root.mkdir()
    one = root / "one.wav"
    soundfile.write(one, np.zeros(800, np.int16), RATE)
    rows: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for number in range(tracks):
        part = ("train", "train", "validation", "test")[number % 4]
        tags = [f"mood/theme---tag{(number + step) % 56:02d}" for step in range(0, 1 + number % 3)]
        path = f"{number % 100:02d}/{number}.mp3"
        row = [f"track_{number:07d}", f"artist_{number // 5:06d}", f"album_{number // 5:06d}", path, "0.05", *tags]
        rows[part].append("\t".join(row))
        place = root / "audio" / f"{number % 100:02d}" / f"{number}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(one, place)
    for part, lines in rows.items():
        text = "\n".join(["\t".join(HEADER), *lines]) + "\n"
        (root / f"autotagging_moodtheme-{part}.tsv").write_text(text)
    return root


def iemocap(root: Path) -> Path:
    """IEMOCAP's layout: 5 sessions, 10,039 utterances, label lines in its grammar."""
    one = root / "one.wav"
    root.mkdir()
    soundfile.write(one, np.zeros(RATE, np.int16), RATE)
    labels = ["neu", "ang", "sad", "hap", "exc", "fru", "xxx"]
    made = 0
    for session, count in enumerate((1819, 1811, 2136, 2103, 2170), 1):
        for dialog in range(30):
            name = f"Ses0{session}{'FM'[dialog % 2]}_impro{dialog:02d}"
            audio_folder = root / f"Session{session}" / "sentences" / "wav" / name
            audio_folder.mkdir(parents=True)
            lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
            for turn in range(dialog, count, 30):
                utterance = f"{name}_{'FM'[turn // 30 % 2]}{turn // 30:03d}"
                label = labels[made % len(labels)]
                made += 1
                lines += [f"[0.0000 - 1.0000]\t{utterance}\t{label}\t[2.5000, 2.5000, 2.5000]"]
                lines += ["C-E2:\tNeutral;\t()", "A-E3:\tval 3; act 2; dom  2;\t()", ""]
                os.link(one, audio_folder / f"{utterance}.wav")
            place = root / f"Session{session}" / "dialog" / "EmoEvaluation"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


if __name__ == "__main__":
    main()
