"""Which GPUs jobs take: no two at once have the same, whatever ends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from augrun.core.errors import RequestError
from augrun.core.job import Hardware
from augrun.core.runtime import gpu_slots, gpus

GPU = Hardware(accelerator="gpu")

#: A job that takes a GPU, says which, holds it for a while, and says when it has given it back. `in pairs`: the first
#: and the third to come hold theirs until the next one has one as well.
JOB = """
import sys, time
from pathlib import Path
from augrun.core.runtime import gpu_slots, gpus
from augrun.core.job import Hardware
gpu_slots.folder = lambda: Path(sys.argv[1])
gpus.visible = lambda: sys.argv[2].split(",")
with gpu_slots.job():
    gpu_slots.need(Hardware(accelerator="gpu", devices=int(sys.argv[3])))
    import os
    print(time.time(), os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    if sys.argv[4] == "in pairs":
        took = Path(sys.argv[1], "took")
        took.mkdir(exist_ok=True)
        (took / str(os.getpid())).touch()
        pairs = (len(list(took.iterdir())) + 1) // 2
        while len(list(took.iterdir())) < 2 * pairs:
            time.sleep(0.02)
    else:
        time.sleep(float(sys.argv[4]))
    print(time.time(), flush=True)
"""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of this test's own, and no scheduler."""
    monkeypatch.setattr(gpu_slots, "folder", lambda: tmp_path)
    for name in (gpus.VISIBLE, gpu_slots.SETTING, "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)


def start(folder: Path, names: str, devices: int, seconds: float | str) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if name != gpus.VISIBLE}
    arguments = [sys.executable, "-c", JOB, str(folder), names, str(devices), str(seconds)]
    return subprocess.Popen(arguments, env=clean, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_jobs_side_by_side_never_have_the_same_gpu(tmp_path: Path) -> None:
    jobs = [start(tmp_path, "0,1", 1, "in pairs") for _ in range(4)]
    held = []
    for job in jobs:
        out, err = job.communicate(timeout=600)
        assert job.returncode == 0, err
        (began, name), (ended,) = (line.split() for line in out.splitlines())
        held.append((name, float(began), float(ended)))
    assert Counter(name for name, _, _ in held) == {"0": 2, "1": 2}
    for place, (name, began, ended) in enumerate(held):
        for other, other_began, other_ended in held[:place]:
            assert name != other or ended <= other_began or other_ended <= began


def test_a_job_of_two_waits_until_both_are_free_and_a_killed_one_frees_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "visible", lambda: ["0", "1"])
    other = start(tmp_path, "1", 1, 600)
    assert other.stdout is not None and other.stdout.readline().split()[1] == "1"
    os.environ[gpus.VISIBLE] = "0,1"  # of the person's

    def kill_when_waited_for() -> None:
        deadline = time.monotonic() + 300
        while "waiting" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        other.kill()

    killer = threading.Thread(target=kill_when_waited_for)
    killer.start()
    with caplog.at_level("INFO", logger="augrun"), gpu_slots.job():
        gpu_slots.need(Hardware(accelerator="auto", devices=2))
        assert os.environ[gpus.VISIBLE] == "0,1"
        gpu_slots.need(GPU)  # a second need is met by what is there
        assert os.environ[gpus.VISIBLE] == "0,1"
    assert "no GPU is free for this job (2 here, 2 wanted), waiting" in caplog.text
    killer.join()
    assert other.wait() == -signal.SIGKILL
    with gpu_slots.job():
        gpu_slots.need(GPU)
        assert os.environ[gpus.VISIBLE] == "0"
    assert os.environ.pop(gpus.VISIBLE) == "0,1"


def test_what_needs_no_gpu_or_has_been_given_one_takes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "visible", lambda: ["0", "1"])
    with gpu_slots.job():
        gpu_slots.need(Hardware(accelerator="cpu", devices=2))
        assert gpus.VISIBLE not in os.environ
    gpu_slots.need(GPU)  # outside of a job
    assert gpus.VISIBLE not in os.environ
    with gpu_slots.job():
        gpu_slots.need(Hardware(accelerator="auto", devices="auto"))
        assert os.environ[gpus.VISIBLE] == "0,1"
    for lock in tmp_path.iterdir():
        lock.unlink()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with gpu_slots.job():
        gpu_slots.need(Hardware(accelerator="gpu", devices=2))  # Slurm's two are this job's
        assert gpus.VISIBLE not in os.environ
    with gpu_slots.job():
        gpu_slots.need(GPU)  # one of the two that Slurm gave to several
        assert os.environ[gpus.VISIBLE] == "0"
    assert [path.name for path in tmp_path.iterdir()] == ["slurm-7-0.lock"]
    monkeypatch.setenv(gpu_slots.SETTING, "as_is")
    with gpu_slots.job():
        gpu_slots.need(GPU)
        assert gpus.VISIBLE not in os.environ
    monkeypatch.delenv(gpu_slots.SETTING)
    with gpu_slots.job(), pytest.raises(RequestError, match=r"trainer\.devices=3, but of GPUs there are 2"):
        gpu_slots.need(Hardware(accelerator="gpu", devices=3))


def test_gpus_are_named_as_cuda_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.visible() == []
    listed = ["GPU 0: A100 (UUID: GPU-1)", "GPU 1: A100 (UUID: GPU-2)"]
    program.write_text("#!/bin/sh\n" + "\n".join(f"echo '{line}'" for line in listed))
    program.chmod(0o755)
    assert gpus.visible() == ["0", "1"]
    program.write_text(program.read_text() + "\necho '  MIG 3g.20gb Device 0: (UUID: MIG-a)'\n")
    assert gpus.visible() == ["MIG-a"]
    for given, names in (("", []), ("3,5", ["3", "5"]), ("1,-1,2", ["1"]), ("GPU-2", ["GPU-2"])):
        monkeypatch.setenv(gpus.VISIBLE, given)
        assert gpus.visible() == names
