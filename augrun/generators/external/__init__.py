"""Any program as a generator: augrun asks through files, the program answers with files.

The program runs in its own interpreter with its own libraries, and needs none of augrun's. What it is asked and what it
answers is described in `augrun.generators.exchange.files`; `augrun/generators/programs/example.py` is a whole one in
plain Python, to be copied.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Job
from augrun.corpora.corpus import Corpus
from augrun.generators.base import Generator
from augrun.generators.exchange import process
from augrun.generators.exchange.files import REPLY, REQUESTS, Exchange, manifest, write_lines
from augrun.generators.programs import example
from augrun.generators.requests import GenerationInputs

log = logging.getLogger(__name__)

MODEL, FITTED = "model", "fitted.json"

#: Words in braces that a command may hold, and what takes their place.
ALWAYS = {
    "python": "the interpreter `generator.python`, or the one that runs augrun",
    "program": "the file `generator.program`, or the example that comes with augrun",
    "fitted": "the folder that `fit_command` leaves its model in",
    "folder": "the folder to write into",
    "seed": "the seed of the work at hand; each sample has its own in its request",
    "sample_rate": "Hz",
    "accelerator": "`trainer.accelerator`: auto, cpu, gpu",
    "workers": "`trainer.workers`",
}
GENERATING = {**ALWAYS, "requests": "the file with the requests", "reply": "the file to write the reply to"}
FITTING = {**ALWAYS, "train": "the list of the train part", "validation": "the list of the validation part"}

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}|\{(\w+)\}")


@dataclass(frozen=True)
class External(Generator):
    """A program that makes samples, and perhaps learns first.

    `trained` is a constant of the class, so without a `fit_command` there is still a stage of training: it is done in
    no time and leaves nothing. Its fingerprint, and with it that of the samples, covers the train and the validation
    part, all settings below, and the content of `program`. What else the program reads (modules beside it, weights,
    its interpreter's packages) is not seen: say in `revision` when it changes.

    Attributes:
        command: the program and its arguments, one word each; no shell sees them. `{words}` of `GENERATING` are
            replaced; `{{word}}` is a plain `{word}`.
        program: the program's file, for `{program}`; null takes the example that comes with augrun.
        python: the interpreter for `{python}`; null takes the one that runs augrun.
        fit_command: trains, before anything is generated; words of `FITTING`. Null for a program that needs none.
        revision: any text; another one makes everything anew.
        sample_rate: Hz, of the primes given and the samples wanted.
        sample_s: seconds of one finished sample; null where a sample is its prime made anew and exactly as long.
        prime_s: seconds of prime; null gives whole clips.
        timeout_s: seconds that `command` may take for all samples together; null sets no limit.
        fit_timeout_s: seconds that `fit_command` may take; null sets no limit.
        work_dir: the folder that both start in; null is the one that augrun was started in.
        env: variables to set for both; a null value takes one away.
        silence_db: a sample that stays below this, in dB of full scale, is refused; a silent prime excuses it.
        tolerance_s: a sample may be shorter than asked by this.
    """

    domain: ClassVar[str] = "waveform"
    trained: ClassVar[bool] = True
    primed: ClassVar[bool] = True
    reconstructs: ClassVar[bool] = False
    version: ClassVar[int] = 1

    command: list[str] = field(default_factory=lambda: ["{python}", "{program}", "{requests}", "{reply}"])
    program: Path | None = None
    python: str | None = None
    fit_command: list[str] | None = None
    revision: str = ""
    sample_rate: Annotated[int, "[1000, inf)"] = 16000
    sample_s: Annotated[float, "(0, inf)"] | None = 10.0
    prime_s: Annotated[float, "(0, inf)"] | None = 4.0
    timeout_s: Annotated[float, "(0, inf)"] | None = None
    fit_timeout_s: Annotated[float, "(0, inf)"] | None = None
    work_dir: str | None = None
    env: dict[str, Any] | None = None
    silence_db: Annotated[float, "(-inf, 0)"] = -80.0
    tolerance_s: Annotated[float, "[0, inf)"] = 0.05

    def __post_init__(self) -> None:
        """Checks what can be checked without looking at files.

        Raises:
            RequestError: a command is empty, or holds a word in braces that means nothing.
        """
        for name, command, legal in (
            ("command", self.command, GENERATING),
            ("fit_command", self.fit_command, FITTING),
        ):
            if command is None:
                continue
            if not command or not command[0]:
                raise RequestError(f"generator.{name} is empty; give the program and its arguments, e.g. [./sing, -q]")
            for word in placeholders(command):
                if word not in legal:
                    raise RequestError(
                        f"generator.{name}: {{{word}}} means nothing; legal are "
                        f"{', '.join(f'{{{known}}}' for known in sorted(legal))}; {{{{{word}}}}} is the plain text"
                    )
        if "fitted" in placeholders(self.command) and self.fit_command is None:
            raise RequestError("generator.command has {fitted}, but nothing is fitted; give generator.fit_command")

    def check(self) -> None:
        """Looks for the programs before any work.

        Raises:
            RequestError: one is not there.
        """
        if self.work_dir is not None and not Path(self.work_dir).is_dir():
            raise RequestError(f"generator.work_dir={self.work_dir}: no such folder")
        if self.program is not None and not Path(self.program).is_file():
            raise RequestError(f"generator.program={self.program}: no such file")
        for name, command in (("command", self.command), ("fit_command", self.fit_command)):
            if command is not None:
                program = fill(command[:1], self._values(Path(), Path(), Job(Path())))[0]
                if self._which(program) is None:
                    raise RequestError(f"generator.{name}: {program!r} is no program that can be run; give its path")

    def fit(self, train: Corpus, validation: Corpus, job: Job) -> None:
        """Runs `fit_command` with lists of the fold's train and validation part; see `Generator.fit`.

        The lists hold one JSON object a line: `clip_id`, `path`, `start_s`, `end_s`, `seconds`, `labels`, `speaker`. A
        command that is killed is started again with what it left in `{fitted}` and `{folder}`.

        Raises:
            AugrunError: the command failed, took too long or left nothing in `{fitted}`.
        """
        if self.fit_command is None or (job.folder / FITTED).exists():
            return
        title = "external: training"
        model, scratch = job.folder / MODEL, job.folder / "training"
        for folder in (model, scratch):
            folder.mkdir(exist_ok=True)
        process.end_orphan(scratch)
        lists = {}
        for name, part in (("train", train), ("validation", validation)):
            lists[name] = str(scratch / f"{name}.jsonl")
            write_lines(Path(lists[name]), manifest(part))
        started = time.time()
        self._run(self.fit_command, {**self._values(model, scratch, job), **lists}, scratch, title, job)
        if not any(model.iterdir()):
            raise AugrunError(f"{title}: the program ended well, but left nothing in {{fitted}}, {model}")
        shutil.rmtree(scratch)
        content = {"command": self.fit_command, "seconds": round(time.time() - started, 1)}
        write_lines(job.folder / FITTED, [json.dumps(content)])

    def generate(self, inputs: GenerationInputs) -> None:
        """Run `command` for all samples that are not there yet; see `Generator.generate`.

        Raises:
            AugrunError: the command failed or took too long, or some of its samples cannot be used.
        """
        if self.program is None and "program" in placeholders(self.command):
            log.info("external: the example program, which goes on with pieces of the prime; yours: generator.program=")
        job = inputs.job
        exchange = Exchange(job.folder, inputs.requests, self.sample_rate, self.silence_db, self.tolerance_s)
        waiting = exchange.waiting()
        if len(waiting):
            attempt = exchange.ask(
                waiting, inputs.label_names, reconstruct=self.sample_s is None, workers=job.hardware.workers
            )
            values = self._values((inputs.fitted or job.folder) / MODEL, attempt, job)
            values |= {"requests": str(attempt / REQUESTS), "reply": str(attempt / REPLY)}
            answer(exchange, attempt, "external", lambda: self._run(self.command, values, attempt, "external", job))
        exchange.close()

    def _run(self, command: list[str], values: Mapping[str, str], folder: Path, title: str, job: Job) -> None:
        process.run(
            fill(command, values),
            folder=folder,
            title=title,
            work_dir=Path(self.work_dir) if self.work_dir else None,
            env=self.env or {},
            timeout_s=self.fit_timeout_s if command is self.fit_command else self.timeout_s,
            show=job.hardware.progress,
        )

    def _values(self, fitted: Path, folder: Path, job: Job) -> dict[str, str]:
        return {
            "python": self.python or sys.executable,
            "program": str(Path(self.program or example.__file__).absolute()),
            "fitted": str(fitted),
            "folder": str(folder),
            "seed": str(job.seed),
            "sample_rate": str(self.sample_rate),
            "accelerator": job.hardware.accelerator,
            "workers": str(job.hardware.workers),
        }

    def _which(self, program: str) -> str | None:
        """Where the program is, as the system will look for it."""
        if os.sep in program and self.work_dir:
            program = str(Path(self.work_dir) / program)
        return shutil.which(program, path=process.environment(self.env or {}).get("PATH"))


def answer(exchange: Exchange, attempt: Path, title: str, work: Any) -> None:
    """Lets `work` run the program, then takes over its samples, those of a program that failed too.

    Raises:
        AugrunError: it failed, or some samples cannot be used.
    """
    total = len(exchange.requests)
    try:
        work()
    except process.ProgramError as error:
        exchange.collect(attempt)
        kept = exchange.made()
        raise AugrunError(f"{error}\n{kept} of {total} samples are there and kept; run again for the rest") from None
    faults = exchange.collect(attempt)
    if missing := total - exchange.made():
        raise AugrunError(
            f"{title}: {missing} of {total} samples cannot be used: {faults}\n"
            f"The program answered in {attempt / REPLY}; mend it, or run again to ask for these once more"
        )
    if faults:
        log.warning("%s: all samples are there, but the reply is odd: %s", title, faults)


def placeholders(command: Sequence[str]) -> list[str]:
    """The words in braces of a command; those in double braces are plain text."""
    return [match[2] for text in command for match in _PLACEHOLDER.finditer(text) if match[2]]


def fill(command: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The command with its words in braces replaced, once: what takes their place is not looked at again."""
    return [_PLACEHOLDER.sub(lambda m: f"{{{m[1]}}}" if m[1] else values[m[2]], text) for text in command]
