"""The files that augrun and another program's generator exchange: requests out, sounds and a reply back.

In the folder of the samples, while they are made:

    exchange/primes/<sample_id>.wav    the primes: mono, 16 bit
    exchange/<attempt>/requests.jsonl  one JSON object a line, one line a sample to make (`Exchange.ask`)
    exchange/<attempt>/reply.jsonl     the program's: {"sample_id": …, "file": …} once a file is whole, or
                                       {"sample_id": …, "error": "why not"}
    exchange/<attempt>/output.log      what it printed

What is whole and as it was asked for becomes `<sample_id>.wav`, also after a kill. Every attempt has a folder of its
own, so that a program that outlived the process which started it spoils nothing.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from augrun.core import audio
from augrun.core.errors import AugrunError
from augrun.core.files import atomic_path
from augrun.corpora.corpus import Corpus
from augrun.generators.exchange.process import end_orphan

EXCHANGE, PRIMES, REQUESTS, REPLY = "exchange", "primes", "requests.jsonl", "reply.jsonl"
FULL_SCALE = 2.0  # floating-point samples beyond this are no overshoot but another scale, e.g. that of 16-bit integers
_NAMED = 3  # samples that an error names of each fault


@dataclass
class Faults:
    """What is wrong with the samples of an attempt, by fault: a list of (sample_id, particulars)."""

    by_kind: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, kind: str, sample_id: str, particulars: str = "") -> None:
        self.by_kind.setdefault(kind, []).append((sample_id, particulars))

    def __len__(self) -> int:
        return sum(map(len, self.by_kind.values()))

    def __str__(self) -> str:
        """Each fault with its count and the first few samples."""
        parts = []
        for kind, entries in self.by_kind.items():
            named = "; ".join(f"{name}: {what}" if what else name for name, what in entries[:_NAMED])
            more = f"; and {len(entries) - _NAMED} more" if len(entries) > _NAMED else ""
            parts.append(f"{len(entries)} {kind} ({named}{more})")
        return ", ".join(parts)


@dataclass(frozen=True)
class Exchange:
    """The exchange for one table of requests.

    Attributes:
        folder: where the samples go.
        requests: the table, with `augrun.generators.requests.REQUEST_COLUMNS`.
        sample_rate: Hz, of primes and samples.
        silence_db: a sample whose peak is below this (dB of full scale) is silent.
        tolerance_s: a sample may be shorter than asked by this.
    """

    folder: Path
    requests: pd.DataFrame
    sample_rate: int
    silence_db: float = -80.0
    tolerance_s: float = 0.05

    def waiting(self) -> pd.DataFrame:
        """The requests of which there is no sample yet, once all that earlier attempts finished is taken over."""
        for attempt in self._attempts():
            end_orphan(attempt)
            self.collect(attempt)
            shutil.rmtree(attempt, ignore_errors=True)
        return self._unmade()

    def ask(
        self,
        waiting: pd.DataFrame,
        label_names: tuple[str, ...],
        *,
        reconstruct: bool,
        workers: int = 1,
        beside: Callable[[np.ndarray, Path], dict[str, Any]] | None = None,
    ) -> Path:
        """Writes primes and requests into the folder of a new attempt, which it returns.

        Args:
            waiting: the rows to ask for.
            label_names: the class names.
            reconstruct: whether a sample is its prime made anew.
            workers: threads that decode.
            beside: gets a prime's samples, float32 (n,), and the path of its file without suffix, may write more files
                beside it, and returns further keys of the request.
        """
        primes = self.folder / EXCHANGE / PRIMES
        primes.mkdir(parents=True, exist_ok=True)

        def line(request: Any) -> str:
            path = primes / f"{request.sample_id}.wav"
            sound = audio.read(request.prime_path, self.sample_rate, request.prime_start_s, request.prime_s)
            further = beside(sound, path.with_suffix("")) if beside else {}
            audio.write(path, sound, self.sample_rate)
            content = {
                "sample_id": request.sample_id,
                "file": f"{request.sample_id}.wav",
                "label": label_names[request.label],
                "labels": [label_names[label] for label in request.labels],
                "seconds": float(request.seconds),
                "samples": self._samples(request),
                "sample_rate": self.sample_rate,
                "seed": int(request.seed),
                "prime": str(path),
                "prime_seconds": len(sound) / self.sample_rate,
                "reconstruct": reconstruct,
            }
            return json.dumps({**content, **further}, ensure_ascii=False)

        with ThreadPoolExecutor(max(1, workers)) as pool:
            lines = list(pool.map(line, waiting.itertuples(index=False)))
        numbers = [int(path.name) for path in self._attempts()]
        attempt = self.folder / EXCHANGE / str(max(numbers, default=0) + 1)
        attempt.mkdir()
        write_lines(attempt / REQUESTS, lines)
        return attempt

    def collect(self, attempt: Path) -> Faults:
        """Takes over what an attempt made, and says what of it cannot be used or is not there."""
        faults = Faults()
        asked = {request.sample_id: request for request in self.requests.itertuples(index=False)}
        answered: set[str] = set()
        files: dict[Path, str] = {}
        for number, text in enumerate(_lines(attempt / REPLY), 1):
            answer = _answer(text)
            if answer is None:
                faults.add("unreadable lines in the reply", f"line {number}", text[:60])
                continue
            sample_id = answer["sample_id"]
            if sample_id not in asked:
                faults.add("never asked for", repr(sample_id)[:60])
                continue
            answered.add(sample_id)
            target = self.folder / f"{sample_id}.wav"
            if target.exists():
                continue
            if "error" in answer:
                faults.add("given up by the program", sample_id, str(answer["error"])[:200])
                continue
            path = _within(attempt, answer.get("file"))
            if path is None:
                faults.add("outside the folder", sample_id, repr(answer.get("file"))[:100])
                continue
            if files.setdefault(path, sample_id) != sample_id:
                faults.add("in the file of another sample", sample_id, files[path])
                continue
            self._take(path, asked[sample_id], target, faults)
        for sample_id in self._unmade()["sample_id"]:
            if sample_id not in answered:
                faults.add("not answered", sample_id)
        return faults

    def close(self) -> None:
        """Removes what was only needed on the way."""
        shutil.rmtree(self.folder / EXCHANGE, ignore_errors=True)

    def made(self) -> int:
        """How many samples there are."""
        return len(self.requests) - len(self._unmade())

    def _take(self, path: Path, request: Any, target: Path, faults: Faults) -> None:
        """Checks one sound file, and copies its first channels' mean, cut to what was asked, to `target`."""
        sample_id, wanted = request.sample_id, self._samples(request)
        if not path.exists():
            faults.add("missing", sample_id, f"{path.name} is not there")
            return
        try:
            rate = audio.probe(path).sample_rate
            sound = audio.read(path)
        except AugrunError as error:
            faults.add("unreadable", sample_id, str(error).removeprefix(f"{path}: "))
            return
        peak = float(np.abs(sound).max())
        if rate != self.sample_rate:
            faults.add("at another rate", sample_id, f"{rate} Hz instead of {self.sample_rate} Hz")
        elif len(sound) < wanted - self.tolerance_s * rate:
            faults.add("too short", sample_id, f"{len(sound) / rate:.3f} s of {wanted / rate:.3f} s")
        elif peak > FULL_SCALE:
            faults.add("beyond full scale", sample_id, f"up to {peak:.4g}")
        elif peak < 10 ** (self.silence_db / 20) and not self._silent_prime(sample_id):
            faults.add("silent", sample_id, f"no sample above {self.silence_db:g} dB")
        else:
            audio.write(target, sound[:wanted], rate)

    def _silent_prime(self, sample_id: str) -> bool:
        """Whether there was silence to go on from: then silence is an answer."""
        prime = audio.read(self.folder / EXCHANGE / PRIMES / f"{sample_id}.wav")
        return bool(np.abs(prime).max() < 10 ** (self.silence_db / 20))

    def _samples(self, request: Any) -> int:
        return max(1, round(float(request.seconds) * self.sample_rate))

    def _unmade(self) -> pd.DataFrame:
        there = [(self.folder / f"{sample_id}.wav").exists() for sample_id in self.requests["sample_id"]]
        return self.requests[~np.array(there, dtype=bool)]

    def _attempts(self) -> list[Path]:
        paths = (self.folder / EXCHANGE).glob("*")
        return sorted((path for path in paths if path.name.isdigit()), key=lambda path: int(path.name))


def manifest(part: Corpus) -> Iterator[str]:
    """The clips of a part as JSON lines: where each lies within its file, and its classes by name."""
    names = part.label_set.names
    for clip in part.clips.itertuples(index=False):
        content = {
            "clip_id": clip.clip_id,
            "path": str(clip.path),
            "start_s": _number(clip.start_s),
            "end_s": _number(clip.end_s),
            "seconds": _number(clip.duration_s),
            "labels": [names[label] for label in clip.labels],
            "speaker": str(clip.speaker),
        }
        yield json.dumps(content, ensure_ascii=False)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes a file of lines whole or not at all."""
    with atomic_path(path) as fresh, open(fresh, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _number(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(float(value)) else None


def _lines(path: Path) -> list[str]:
    """The lines of a reply; one that a killed program left half written has no end and is not taken."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines = text.split("\n")
    if lines[-1] and _answer(lines[-1]) is None:
        lines.pop()
    return [line for line in lines if line.strip()]


def _answer(text: str) -> dict[str, Any] | None:
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and isinstance(answer.get("sample_id"), str) else None


def _within(folder: Path, name: Any) -> Path | None:
    """The file `name` of a folder; None where that leads out of it, through a link too."""
    if not isinstance(name, str) or not name or "\0" in name:
        return None
    root = folder.resolve()
    path = (root / name).resolve()
    return path if path != root and path.is_relative_to(root) else None
