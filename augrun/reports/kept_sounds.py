"""The primes and samples that a condition keeps to listen to, and how a comparison finds them again.

audio/<class>[-2]-prime.wav, -sample.wav    and the spectrogram of each beside it, as PNG
audio/heard.json                            what each of them is
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core import audio
from augrun.core.errors import AugrunError
from augrun.core.files import write_text
from augrun.corpora.corpus import Corpus
from augrun.evaluation.results import SamplePredictions
from augrun.generators import samples
from augrun.reports.listening import Heard, pick

log = logging.getLogger(__name__)

FOLDER, INDEX = "audio", "heard.json"

#: Samples kept in all; one of each class where there are more classes.
MOST = 8


def keep(
    folder: Path, made: Corpus, recorded: Corpus, judged: SamplePredictions | None = None, holds_prime: bool = False
) -> list[Heard]:
    """Writes some samples of every class beside the windows that primed them, as WAV.

    The primes are looked up by clip, not by the path they once had: a corpus may have moved since.

    Args:
        folder: the condition's.
        made: its samples, those of one fold and trial.
        recorded: the recorded clips.
        judged: what the baseline's classifier takes these samples for.
        holds_prime: whether a sample begins with its prime.
    """
    if not len(made) or not made.clips["path"].iat[0]:  # nothing to hear: spectrograms
        return []
    source = Path(made.clips["path"].iat[0]).parent
    table = samples.requests(source)
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    paths = dict(zip(recorded.clips["clip_id"], recorded.clips["path"], strict=True))
    scores = None if judged is None else judged.load()
    names, heard = made.label_set.names, []
    used: dict[str, int] = {}
    for row, request in pick(table, len(names), MOST).iterrows():
        name = names[int(request["label"])]
        stem = re.sub(r"[^\w.-]", "_", name)
        used[stem] = used.get(stem, 0) + 1
        stem += f"-{used[stem]}" if used[stem] > 1 else ""
        sample = place / f"{stem}-sample.wav"
        shutil.copyfile(source / f"{request['sample_id']}.wav", sample)
        prime = _prime(place / f"{stem}-prime.wav", sample, request, paths)
        kept = float(request["prime_s"]) if holds_prime and prime is not None else 0.0
        taken, score = (None, None) if scores is None else _best(scores[table.index.get_loc(row)], names)
        clip, start = str(request["prime_clip"]), float(request["prime_start_s"])
        heard.append(Heard(name, sample, prime, clip, start, kept, taken, score))
    write_text(place / INDEX, json.dumps([_entry(one) for one in heard], indent=1, ensure_ascii=False))
    return heard


def _best(scores: np.ndarray, names: Sequence[str]) -> tuple[str, float]:
    """The likeliest class and its probability."""
    best = int(np.argmax(scores))
    return names[best], float(scores[best])


def _prime(path: Path, sample: Path, request: Any, paths: dict[str, str]) -> Path | None:
    """Writes the window that primed a sample, at the sample's rate; None where there is none to be had."""
    if request["prime_clip"] not in paths:
        return None
    rate = audio.probe(sample).sample_rate
    try:
        sound = audio.read(paths[request["prime_clip"]], rate, request["prime_start_s"], request["prime_s"])
    except AugrunError as error:  # only something to listen to: no reason to lose the results
        log.warning("no prime kept beside a sample: %s", error)
        return None
    audio.write(path, sound, rate)
    return path


def _entry(one: Heard) -> dict[str, Any]:
    files = {"sample": one.sample.name, "prime": one.prime.name if one.prime else None}
    told = ("label", "prime_clip", "prime_start_s", "kept_prime_s", "taken_for", "score")
    return files | {key: getattr(one, key) for key in told}


def load(folder: Path) -> list[Heard]:
    """What `keep` left in a condition's folder; nothing where nothing was generated."""
    index = folder / FOLDER / INDEX
    return list(_read(index)) if index.is_file() else []


def _read(index: Path) -> Iterator[Heard]:
    for entry in json.loads(index.read_text(encoding="utf-8")):
        prime = index.parent / entry["prime"] if entry["prime"] else None
        yield Heard(**{**entry, "sample": index.parent / entry["sample"], "prime": prime})


def pairs(heard: Sequence[Heard]) -> list[tuple[str, Path, Path]]:
    """Class name, prime and sample of those that have a prime, the first of each class."""
    first = {one.label: one for one in reversed(heard) if one.prime is not None}
    return [(label, one.prime, one.sample) for label, one in reversed(first.items()) if one.prime is not None]
