"""Programs as generators: what they are asked, how they are run, and what becomes of what they answer."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from augrun.core.config import schema
from augrun.core.config.component import describe
from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Hardware, Job
from augrun.core.store.code_digest import code_modules
from augrun.corpora.corpus import COLUMNS, Corpus, LabelSet
from augrun.generators.exchange import process
from augrun.generators.exchange.files import Exchange, Faults
from augrun.generators.external import External, fill, placeholders
from augrun.generators.requests import REQUEST_COLUMNS, GenerationInputs, PrimeRequirements
from augrun.policies.equal_duration import EqualDuration
from tests.processes import restore_signals

ROOT = Path(__file__).parent.parent.parent
RATE = 8000
LABELS = ("happy", "très triste")

#: What the small programs below begin with: requests read, and two ways to answer.
HEAD = """
import array, json, os, random, sys, time, wave
requests = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
folder = os.path.dirname(sys.argv[2])
def sound(request, file=None, samples=None, rate=None, level=8000):
    file = request["file"] if file is None else file
    chance = random.Random(request["seed"])
    n = request["samples"] if samples is None else samples
    with wave.open(os.path.join(folder, file), "wb") as out:
        out.setparams((1, 2, rate or request["sample_rate"], 0, "NONE", ""))
        out.writeframes(array.array("h", (chance.randint(-level, level) for _ in range(n))).tobytes())
    return file
def reply(sample_id, **more):
    with open(sys.argv[2], "a") as out:
        out.write(json.dumps({"sample_id": sample_id, **more}) + "\\n")
"""
GOOD = "for request in requests:\n    reply(request['sample_id'], file=sound(request))\n"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Three seconds of a rising tone in stereo at another rate."""
    path = tmp_path / "recording.wav"
    time_s = np.arange(3 * 22050) / 22050
    tone = 0.4 * np.sin(2 * np.pi * (200 + 100 * time_s) * time_s)
    soundfile.write(path, np.stack([tone, tone], 1), 22050)
    return path


def requests_for(recording: Path, count: int = 4, seconds: float = 0.5) -> pd.DataFrame:
    rows = [
        (f"001-{place:05d}", 1, (1, 0), seconds, "clip", str(recording), 0.25 * place, 0.25, 100 + place)
        for place in range(count)
    ]
    return pd.DataFrame(rows, columns=list(REQUEST_COLUMNS))


def job_in(folder: Path, progress: bool = False) -> Job:
    folder.mkdir(exist_ok=True, parents=True)
    return Job(folder, seed=7, hardware=Hardware(accelerator="cpu", progress=progress))


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., External]:
    """Makes a generator of the body of a program."""

    def make(body: str, **settings: Any) -> External:
        path = tmp_path / "program.py"
        path.write_text(HEAD + body)
        return External(**{"program": path, "sample_rate": RATE, "sample_s": 0.5, "prime_s": 0.25, **settings})

    return make


def failure(generator: External, requests: pd.DataFrame, folder: Path) -> str:
    with pytest.raises(AugrunError) as caught:
        generator.generate(GenerationInputs(requests, LABELS, None, job_in(folder)))
    return str(caught.value)


def corpus_of(path: Path, clips: int = 2) -> Corpus:
    rows = []
    for clip in range(clips):
        values = {"clip_id": f"c{clip}", "path": str(path), "start_s": 0.5, "end_s": 2.0, "duration_s": 1.5}
        values |= {"labels": (1, 0), "origin": "recorded", "digest": f"{clip}", "speaker": "s1"}
        rows.append([values.get(column, "") for column in COLUMNS])
    return Corpus("few", pd.DataFrame(rows, columns=list(COLUMNS)), LabelSet(LABELS, True))


# What is asked, and what comes back.


def test_a_request_holds_all_there_is_to_know(program, recording, tmp_path: Path) -> None:
    body = GOOD + f"open({str(tmp_path / 'seen')!r}, 'w', encoding='utf-8').write(json.dumps(requests))\n"
    job = job_in(tmp_path / "out")
    body += f"import shutil; shutil.copytree(os.path.dirname(requests[0]['prime']), {str(tmp_path / 'primes')!r})\n"
    program(body).generate(GenerationInputs(requests_for(recording, 2), LABELS, None, job))
    first, second = json.loads((tmp_path / "seen").read_text(encoding="utf-8"))
    assert Path(first.pop("prime")).name == "001-00000.wav"
    assert first == {
        "sample_id": "001-00000",
        "file": "001-00000.wav",
        "label": "très triste",
        "labels": ["très triste", "happy"],
        "seconds": 0.5,
        "samples": 4000,
        "sample_rate": RATE,
        "seed": 100,
        "prime_seconds": 0.25,
        "reconstruct": False,
    }
    assert second["seed"] == 101
    prime, rate = soundfile.read(tmp_path / "primes" / "001-00001.wav")
    assert (rate, prime.shape) == (RATE, (2000,))
    crossings = np.sum(np.diff(np.signbit(prime)))  # the window from 0.25 s on, whose pitch rises from 250 to 300 Hz
    assert crossings == pytest.approx(2 * 0.25 * 275, abs=2)
    assert sorted(path.name for path in job.folder.iterdir()) == ["001-00000.wav", "001-00001.wav"]


def test_samples_are_cut_to_the_length_that_was_asked(program, recording, tmp_path: Path) -> None:
    body = "lengths = [4000, 5000, 3601, 4000]\n"
    body += "for request, n in zip(requests, lengths): reply(request['sample_id'], file=sound(request, samples=n))\n"
    program(body).generate(GenerationInputs(requests_for(recording), LABELS, None, job_in(tmp_path / "out")))
    frames = [soundfile.info(path).frames for path in sorted((tmp_path / "out").iterdir())]
    assert frames == [4000, 4000, 3601, 4000]


def test_reconstruction_is_asked_where_a_sample_has_no_length_of_its_own(program, recording, tmp_path: Path) -> None:
    needs = describe("augrun.generators.external.External").constants
    plan = EqualDuration(total_hours=1 / 3600).plan(
        corpus_of(recording), PrimeRequirements(bool(needs["primed"]), 0.25, None, bool(needs["reconstructs"])), 0
    )
    assert set(plan.requests["seconds"]) == {0.25}
    example = External(sample_rate=RATE, sample_s=None, prime_s=0.25)  # hands back the prime where it is told to
    example.generate(GenerationInputs(plan.requests, LABELS, None, job_in(tmp_path / "out")))
    for request in plan.requests.itertuples():
        sound, _ = soundfile.read(tmp_path / "out" / f"{request.sample_id}.wav", dtype="int16")
        assert len(sound) == 2000
    body = "assert all(request['reconstruct'] for request in requests)\n" + GOOD
    program(body, sample_s=None).generate(GenerationInputs(plan.requests, LABELS, None, job_in(tmp_path / "again")))


def test_the_example_program_goes_on_with_the_prime(recording, tmp_path: Path) -> None:
    generator = External(sample_rate=RATE, sample_s=2.0, prime_s=0.7)
    generator.check()
    requests = requests_for(recording, 2, seconds=2.0).assign(prime_s=0.7, prime_start_s=0.5)
    generator.generate(GenerationInputs(requests, LABELS, None, job_in(tmp_path / "one")))
    generator.generate(GenerationInputs(requests, LABELS, None, job_in(tmp_path / "two")))
    sounds = [soundfile.read(path)[0] for path in sorted((tmp_path / "one").iterdir())]
    assert [len(sound) for sound in sounds] == [16000, 16000]
    assert np.array_equal(sounds[0][:5600], sounds[1][:5600])  # one prime
    assert not np.array_equal(sounds[0], sounds[1])  # two seeds
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    prime = np.sqrt(np.mean(sounds[0][:5600] ** 2))
    assert np.sqrt(np.mean(sounds[0][6000:] ** 2)) > 0.4 * prime


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (
            "sound(requests[0], samples=2400); reply(requests[0]['sample_id'], file=requests[0]['file'])",
            "1 too short (001-00000: 0.300 s of 0.500 s)",
        ),
        (
            "reply(requests[0]['sample_id'], file=sound(requests[0], rate=16000))",
            "1 at another rate (001-00000: 16000 Hz instead of 8000 Hz)",
        ),
        (
            "reply(requests[0]['sample_id'], file=sound(requests[0], level=1))",
            "1 silent (001-00000: no sample above -80 dB)",
        ),
        (
            "reply(requests[0]['sample_id'], file='nowhere.wav')",
            "1 missing (001-00000: nowhere.wav is not there)",
        ),
        (
            "open(os.path.join(folder, 'a.wav'), 'w').write('no sound'); reply(requests[0]['sample_id'], file='a.wav')",
            "1 unreadable (001-00000: is no sound file that can be decoded (Format not recognised))",
        ),
        (
            "reply(requests[0]['sample_id'], error='out of ideas')",
            "1 given up by the program (001-00000: out of ideas)",
        ),
        ("pass", "1 not answered (001-00000)"),
        (
            "reply(requests[0]['sample_id'])",
            "1 outside the folder (001-00000: None)",
        ),
        (
            "reply(requests[0]['sample_id'], file=sound(requests[0], '../../../escaped.wav'))",
            "1 outside the folder (001-00000: '../../../escaped.wav')",
        ),
        (
            "reply(requests[0]['sample_id'], file='/etc/passwd')",
            "1 outside the folder (001-00000: '/etc/passwd')",
        ),
        (
            "os.symlink('/etc/passwd', os.path.join(folder, 'l.wav')); reply(requests[0]['sample_id'], file='l.wav')",
            "1 outside the folder (001-00000: 'l.wav')",
        ),
        (
            "reply(requests[0]['sample_id'], file=requests[1]['file'])",
            "1 in the file of another sample (001-00000: 001-00001)",
        ),
        (
            "reply(requests[0]['sample_id'].replace('0', 'x'), file='a.wav')",
            "1 never asked for ('xx1-xxxxx'), 1 not answered (001-00000)",
        ),
        (
            "open(sys.argv[2], 'a').write('{oops}\\n')",
            "1 unreadable lines in the reply (line 4: {oops}), 1 not answered (001-00000)",
        ),
    ],
)
def test_what_cannot_be_used_is_told_by_sample(program, recording, tmp_path: Path, body: str, fault: str) -> None:
    generator = program(GOOD.replace("requests:", "requests[1:]:") + body)
    text = failure(generator, requests_for(recording), tmp_path / "out")
    assert text.splitlines()[0] == f"external: 1 of 4 samples cannot be used: {fault}"
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.wav")) == ["001-00001", "001-00002", "001-00003"]


def test_floating_point_on_the_scale_of_integers_is_refused(recording, tmp_path: Path) -> None:
    exchange = Exchange(job_in(tmp_path / "out").folder, requests_for(recording, 2), RATE)
    attempt = exchange.ask(exchange.waiting(), LABELS, reconstruct=False)
    for name, level in (("001-00000", 12345.0), ("001-00001", 1.2)):
        soundfile.write(attempt / f"{name}.wav", np.full(4000, level), RATE, subtype="FLOAT")
    lines = [json.dumps({"sample_id": f"001-0000{n}", "file": f"001-0000{n}.wav"}) for n in range(2)]
    (attempt / "reply.jsonl").write_text("\n".join(lines))
    assert str(exchange.collect(attempt)) == "1 beyond full scale (001-00000: up to 1.234e+04)"
    assert soundfile.read(tmp_path / "out" / "001-00001.wav")[0].max() == pytest.approx(1.0, abs=1e-4)  # an overshoot


def test_silence_answers_a_silent_prime(program, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "still.wav", np.zeros(30000), 22050)
    body = "for r in requests: reply(r['sample_id'], file=sound(r, level=0))\n"
    program(body).generate(
        GenerationInputs(requests_for(tmp_path / "still.wav", 1), LABELS, None, job_in(tmp_path / "out"))
    )
    assert not soundfile.read(tmp_path / "out" / "001-00000.wav")[0].any()


def test_many_faults_are_counted_and_the_first_few_named() -> None:
    faults = Faults()
    for place in range(5):
        faults.add("silent", f"s{place}")
    faults.add("missing", "s5", "s5.wav is not there")
    assert str(faults) == "5 silent (s0; s1; s2; and 2 more), 1 missing (s5: s5.wav is not there)"
    assert len(faults) == 6


# How it is run.


def test_an_argument_is_never_read_by_a_shell(program, recording, tmp_path: Path) -> None:
    words = [
        "; touch pwned",
        "$(touch pwned)",
        "`touch pwned`",
        "a b",
        "*",
        "> pwned",
        '{"x": 1}',
        "{{reply}}",
        "{seed}",
    ]
    seen = tmp_path / "seen.json"
    generator = program(f"json.dump(sys.argv[3:], open({str(seen)!r}, 'w'))\n" + GOOD)
    command = [*generator.command, *words]
    generator = dataclasses.replace(generator, command=command, work_dir=str(tmp_path))
    generator.generate(GenerationInputs(requests_for(recording, 1), LABELS, None, job_in(tmp_path / "out")))
    assert json.loads(seen.read_text()) == [*words[:-2], "{reply}", "7"]
    assert not list(tmp_path.glob("**/pwned"))


def test_what_takes_the_place_of_a_word_is_not_replaced_again() -> None:
    assert fill(["{a}-{b}", "{{a}}", "{", "{}"], {"a": "{b}", "b": "2"}) == ["{b}-2", "{a}", "{", "{}"]
    assert placeholders(["{a}{{b}}", "{c}"]) == ["a", "c"]


def test_lines_are_passed_on_with_the_name_before_them(program, recording, tmp_path: Path, capfd) -> None:
    body = "print('one'); print('two', file=sys.stderr); print('\\x1b[31mred\\x1b[0m')\n"
    body += "for n in range(2000): print(f'{n} %', end='\\r')\nprint('done')\n" + GOOD
    program(body).generate(
        GenerationInputs(requests_for(recording, 1), LABELS, None, job_in(tmp_path / "out", progress=True))
    )
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("external | ")]
    assert [line for line in lines if "%" not in line] == [
        "external | one", "external | two", "external | red", "external | done",
    ]  # fmt: skip
    assert 1 <= sum("%" in line for line in lines) < 20  # a bar that repaints itself does not flood
    program(body).generate(GenerationInputs(requests_for(recording, 1), LABELS, None, job_in(tmp_path / "quiet")))
    assert "external |" not in capfd.readouterr().err


def test_a_failing_program_is_told_with_its_last_lines(program, recording, tmp_path: Path) -> None:
    body = "reply(requests[0]['sample_id'], file=sound(requests[0]))\n"
    body += "for n in range(50): print(f'line {n}')\nprint(10 * '%', end='\\r')\nsys.exit(3)\n"
    text = failure(program(body), requests_for(recording), tmp_path / "out")
    log = tmp_path / "out" / "exchange" / "1" / "output.log"
    shown = "".join(f"  line {n}\n" for n in range(39, 50))
    assert text == (
        f"external: the program ended with status 3; its last lines:\n{shown}  %%%%%%%%%%\nAll of them: {log}\n"
        "1 of 4 samples are there and kept; run again for the rest"
    )
    assert log.read_text().startswith("line 0\n")


def test_a_program_ended_by_a_signal(program, recording, tmp_path: Path) -> None:
    text = failure(program("os.kill(os.getpid(), 9)"), requests_for(recording), tmp_path / "out")
    assert text.splitlines()[0] == "external: the program was ended by signal 9 (SIGKILL); it printed nothing"


def test_a_program_that_cannot_be_started(recording, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    text = failure(External(command=[str(plain)], sample_rate=RATE), requests_for(recording, 1), tmp_path / "out")
    assert text.splitlines()[0] == f"external: {str(plain)!r} cannot be started (Permission denied)"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def eventually(condition: Callable[[], bool], seconds: float = 300.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def stubborn(pids: Path) -> str:
    """A program that ignores the request to end, with a child and a grandchild that do so too."""
    return f"""
import signal, subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = "import os, subprocess, sys, time; open({str(pids)!r}, 'a').write(f'{{os.getpid()}} ');"
code += "sys.argv[1:] and subprocess.Popen([sys.executable, '-c', sys.argv[1]]); time.sleep(600)"
print("waiting")
reply(requests[0]['sample_id'], file=sound(requests[0]))
open({str(pids)!r}, 'a').write(f'{{os.getpid()}} ')
subprocess.Popen([sys.executable, "-c", code, code])
time.sleep(600)
"""


def test_a_timeout_ends_grandchildren_too(program, recording, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.3)
    pids = tmp_path / "pids"
    real = subprocess.Popen.wait

    def wait(self: subprocess.Popen, timeout: float | None = None) -> int:
        """The five seconds are over when all three have said who they are, however long that takes."""
        if timeout != 5.0:
            return real(self, timeout)
        assert eventually(lambda: pids.exists() and len(pids.read_text().split()) == 3)
        return real(self, 0.1)

    monkeypatch.setattr(subprocess.Popen, "wait", wait)
    text = failure(program(stubborn(pids), timeout_s=5.0), requests_for(recording), tmp_path / "out")
    assert text.splitlines()[:2] == [
        "external: the program took more than 5 s and was ended; its last lines:",
        "  waiting",
    ]
    assert text.splitlines()[-1] == "1 of 4 samples are there and kept; run again for the rest"
    numbers = [int(pid) for pid in pids.read_text().split()]
    assert len(numbers) == 3
    assert eventually(lambda: not any(map(alive, numbers)))


def test_what_a_program_leaves_running_is_ended_with_it(program, recording, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    body = "import subprocess\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    body += f"open({str(pids)!r}, 'w').write(str(child.pid))\n" + GOOD
    program(body).generate(GenerationInputs(requests_for(recording, 1), LABELS, None, job_in(tmp_path / "out")))
    assert eventually(lambda: not alive(int(pids.read_text())))


def run_elsewhere(tmp_path: Path, recording: Path) -> subprocess.Popen:
    """Generates in another process, with the program of the fixture."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from tests.generators.test_external import *\n"
        "here = Path(sys.argv[2])\n"
        "generator = External(program=here / 'program.py', sample_rate=RATE, sample_s=0.5, prime_s=0.25)\n"
        "generator.generate(GenerationInputs(requests_for(Path(sys.argv[3])), LABELS, None, job_in(here / 'out')))\n"
    )
    words = [sys.executable, "-c", code, str(ROOT), str(tmp_path), str(recording)]
    return subprocess.Popen(words, stderr=subprocess.PIPE, preexec_fn=restore_signals)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_ends_the_program(program, recording, tmp_path: Path, number: int) -> None:
    pids = tmp_path / "pids"
    program(f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} ')\ntime.sleep(600)\n")
    ours = run_elsewhere(tmp_path, recording)
    assert eventually(lambda: pids.exists() and pids.read_text().endswith(" "))
    ours.send_signal(number)
    _, said = ours.communicate(timeout=300)
    assert not alive(int(pids.read_text()))
    assert ours.returncode == (143 if number == signal.SIGTERM else -signal.SIGINT), said.decode()


def test_a_flood_of_output_blocks_nobody(program, recording, tmp_path: Path) -> None:
    body = "for _ in range(200): sys.stdout.write('x' * 100_000); sys.stderr.write('y' * 100_000)\n"
    body += "print(); print('end')\n" + GOOD + "sys.exit(1)\n"
    text = failure(program(body), requests_for(recording, 1), tmp_path / "out")
    assert (tmp_path / "out" / "exchange" / "1" / "output.log").stat().st_size > 40_000_000
    assert len(text) < 2000
    assert "\n  end\n" in text


def test_variables_and_folder(program, recording, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("KEPT", "kept")
    monkeypatch.setenv("DROPPED", "dropped")
    seen = tmp_path / "seen.json"
    body = "found = {name: os.environ.get(name) for name in ('KEPT', 'DROPPED', 'SET')}\n"
    body += f"json.dump([os.getcwd(), found], open({str(seen)!r}, 'w'))\n"
    (tmp_path / "there").mkdir()
    generator = program(body + GOOD, env={"SET": 3, "DROPPED": None}, work_dir=str(tmp_path / "there"))
    generator.check()
    generator.generate(GenerationInputs(requests_for(recording, 1), LABELS, None, job_in(tmp_path / "out")))
    assert json.loads(seen.read_text()) == [
        str(tmp_path / "there"),
        {"KEPT": "kept", "DROPPED": None, "SET": "3"},
    ]


# Going on after a kill.


def test_what_is_there_is_not_asked_for_again(program, recording, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    once = f"open({str(asked)!r}, 'a').write(' '.join(r['sample_id'][-1] for r in requests) + '|')\n"
    program(GOOD).generate(GenerationInputs(requests_for(recording), LABELS, None, job_in(tmp_path / "whole")))
    # Dies after two samples, a third one without an answer, a fourth answered by half a line.
    dying = "for r in requests[:2]: reply(r['sample_id'], file=sound(r))\nsound(requests[2], samples=9)\n"
    dying += "open(sys.argv[2], 'a').write('{\"sample_id\": \"001-00')\nsys.exit(1)\n"
    text = failure(program(once + dying), requests_for(recording), tmp_path / "out")
    assert text.endswith("2 of 4 samples are there and kept; run again for the rest")
    kept = (tmp_path / "out" / "001-00000.wav").stat().st_mtime_ns
    program(once + GOOD).generate(GenerationInputs(requests_for(recording), LABELS, None, job_in(tmp_path / "out")))
    assert asked.read_text() == "0 1 2 3|2 3|"
    assert (tmp_path / "out" / "001-00000.wav").stat().st_mtime_ns == kept
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"001-0000{n}.wav" for n in range(4)]
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    program("sys.exit('started again')").generate(
        GenerationInputs(requests_for(recording), LABELS, None, job_in(tmp_path / "out"))
    )


def test_a_killed_run_goes_on_with_what_its_program_had_finished(program, recording, tmp_path: Path) -> None:
    """SIGKILL leaves no time to end the program, nor to take its samples over: the next run does both."""
    pids, asked = tmp_path / "pids", tmp_path / "asked"
    slow = "for r in requests[:3]: reply(r['sample_id'], file=sound(r))\n"
    slow += f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} ')\ntime.sleep(600)\n"
    program(slow)
    ours = run_elsewhere(tmp_path, recording)
    assert eventually(lambda: pids.exists() and pids.read_text().endswith(" "))
    ours.kill()
    ours.communicate()
    orphan = int(pids.read_text())
    assert alive(orphan)
    assert not list((tmp_path / "out").glob("*.wav"))
    once = f"open({str(asked)!r}, 'a').write(' '.join(r['sample_id'][-1] for r in requests))\n"
    program(once + GOOD).generate(GenerationInputs(requests_for(recording), LABELS, None, job_in(tmp_path / "out")))
    assert asked.read_text() == "3"
    assert eventually(lambda: not alive(orphan))
    program(GOOD).generate(GenerationInputs(requests_for(recording), LABELS, None, job_in(tmp_path / "whole")))
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_another_process_of_the_same_number_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        noted = {**process._identity(other.pid), "started": "1"}
        (tmp_path / process.PROCESS).write_text(json.dumps(noted))
        process.end_orphan(tmp_path)
        assert other.poll() is None
        (tmp_path / process.PROCESS).write_text(json.dumps(process._identity(other.pid)))
        process.end_orphan(tmp_path)
        assert other.wait(10) == -signal.SIGKILL
    finally:
        other.kill()
        other.wait()


# Training.

TRAINER = """
import json, os, sys
train, validation, folder, seed = sys.argv[1:]
clips = [json.loads(line) for line in open(train, encoding="utf-8")]
json.dump([clips, len(list(open(validation))), seed], open(os.path.join(folder, "model.json"), "w"))
"""


def trained(tmp_path: Path, body: str = TRAINER, **settings: Any) -> External:
    (tmp_path / "train.py").write_text(body)
    words = [sys.executable, str(tmp_path / "train.py"), "{train}", "{validation}", "{fitted}", "{seed}"]
    return External(**{"fit_command": words, "sample_rate": RATE, "sample_s": 0.5, "prime_s": 0.25, **settings})


def test_training_gets_the_parts_and_leaves_its_model(program, recording, tmp_path: Path) -> None:
    corpus, job = corpus_of(recording), job_in(tmp_path / "fit")
    generator = trained(tmp_path)
    generator.check()
    generator.fit(corpus, corpus.select([0]), job)
    clips, validation, seed = json.loads((job.folder / "model" / "model.json").read_text())
    assert (len(clips), validation, seed) == (2, 1, "7")
    assert clips[1] == {
        "clip_id": "c1",
        "path": str(recording),
        "start_s": 0.5,
        "end_s": 2.0,
        "seconds": 1.5,
        "labels": ["très triste", "happy"],
        "speaker": "s1",
    }
    assert sorted(path.name for path in job.folder.iterdir()) == ["fitted.json", "model"]
    before = (job.folder / "model" / "model.json").stat().st_mtime_ns
    generator.fit(corpus, corpus, job)  # done already
    assert (job.folder / "model" / "model.json").stat().st_mtime_ns == before
    body = "assert json.load(open(os.path.join(sys.argv[3], 'model.json')))[2] == '7'\n" + GOOD
    command = ["{python}", "{program}", "{requests}", "{reply}", "{fitted}"]
    made = program(body, command=command, fit_command=generator.fit_command)
    made.generate(GenerationInputs(requests_for(recording, 1), LABELS, job.folder, job_in(tmp_path / "out")))


def test_training_that_fails_keeps_what_it_had(recording, tmp_path: Path) -> None:
    body = "import os, sys\nplace = os.path.join(sys.argv[3], 'half')\n"
    body += "if os.path.exists(place):\n    open(os.path.join(sys.argv[3], 'whole'), 'w').close()\n    sys.exit()\n"
    body += "open(place, 'w').close()\nprint('out of memory')\nsys.exit(9)\n"
    corpus, job, generator = corpus_of(recording), job_in(tmp_path / "fit"), trained(tmp_path, body)
    with pytest.raises(
        AugrunError, match="external: training: the program ended with status 9; its last lines:\n  out"
    ):
        generator.fit(corpus, corpus, job)
    generator.fit(corpus, corpus, job)
    assert sorted(path.name for path in (job.folder / "model").iterdir()) == ["half", "whole"]


def test_training_must_leave_something_and_end_in_time(recording, tmp_path: Path) -> None:
    corpus = corpus_of(recording)
    with pytest.raises(AugrunError, match=r"left nothing in \{fitted\}, .*/fit/model"):
        trained(tmp_path, "").fit(corpus, corpus, job_in(tmp_path / "fit"))
    slow = trained(tmp_path, "import time; time.sleep(600)", fit_timeout_s=0.5)
    with pytest.raises(AugrunError, match=r"external: training: the program took more than 0\.5 s and was ended"):
        slow.fit(corpus, corpus, job_in(tmp_path / "slow"))


def test_without_a_training_command_nothing_is_trained(recording, tmp_path: Path) -> None:
    External().fit(corpus_of(recording), corpus_of(recording), job_in(tmp_path / "fit"))
    assert not list((tmp_path / "fit").iterdir())


# Requests that cannot be carried out, and what makes a result stale.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"command": []}, "generator.command is empty; give the program and its arguments, e.g. [./sing, -q]"),
        (
            {"command": ["sing", "{train}"]},
            "generator.command: {train} means nothing; legal are {accelerator}, {fitted}, {folder}, {program}, "
            "{python}, {reply}, {requests}, {sample_rate}, {seed}, {workers}; {{train}} is the plain text",
        ),
        (
            {"fit_command": ["sing", "{reply}"]},
            "generator.fit_command: {reply} means nothing; legal are {accelerator}, {fitted}, {folder}, {program}, "
            "{python}, {sample_rate}, {seed}, {train}, {validation}, {workers}; {{reply}} is the plain text",
        ),
        (
            {"command": ["sing", "{fitted}"]},
            "generator.command has {fitted}, but nothing is fitted; give generator.fit_command",
        ),
        ({"command": ["no-such-program"]}, "generator.command: 'no-such-program' is no program that can be run"),
        ({"fit_command": ["./no-such"]}, "generator.fit_command: './no-such' is no program that can be run"),
        ({"python": "/no/python"}, "generator.command: '/no/python' is no program that can be run; give its path"),
        ({"program": Path("/no/file.py")}, "generator.program=/no/file.py: no such file"),
        ({"work_dir": "/no/folder"}, "generator.work_dir=/no/folder: no such folder"),
    ],
)
def test_settings_that_cannot_work(settings: dict, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        External(**settings).check()
    assert str(caught.value).startswith(message)


def test_the_programs_content_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    section = {"_target_": "augrun.generators.external.External", "name": "external"}
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("print(1)")
    two.write_text("print(1)")
    settings = schema.settings_of({**section, "program": str(one)})
    assert settings == schema.settings_of({**section, "program": str(two)})
    two.write_text("print(2)")
    assert settings != schema.settings_of({**section, "program": str(two)})
    assert "augrun.generators.programs.example" in code_modules("augrun.generators.external")


def test_finding_a_finished_stage_imports_no_torch() -> None:
    code = "import sys, augrun.generators.external; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_yaml_has_every_setting() -> None:
    content = yaml.safe_load((ROOT / "conf" / "generator" / "external.yaml").read_text())
    assert content.pop("_target_") == "augrun.generators.external.External"
    assert content.pop("name") == "external"
    assert content == dataclasses.asdict(External())
