"""Launchers: rows side by side, each shared stage done once, and what becomes of rows whose process dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from augrun.cli import main
from augrun.core.config import resolvers
from augrun.core.errors import AugrunError, RequestError
from augrun.core.store.stages import JOURNAL
from augrun.sweeps import launchers
from augrun.sweeps.launchers import settings as launcher_settings
from augrun.sweeps.launchers.base import ManyJobs, Trace
from augrun.sweeps.launchers.worker import JobError, Result
from tests import toy_jobs
from tests.processes import restore_signals

ROOT = Path(__file__).resolve().parents[2]


def launcher(name: str, output: Path, *words: str, job: Callable[[DictConfig], Any] = toy_jobs.job) -> ManyJobs:
    """A launcher as Hydra makes it."""
    from hydra._internal.callbacks import Callbacks
    from hydra.core.plugins import Plugins

    resolvers.register()
    launchers.keep_names()
    told = [f"hydra/launcher={name}", f"output.root={output}", f"hydra.sweep.dir={output}/runs", *words]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        config = hydra.compose_config("config", told, run_mode=RunMode.MULTIRUN)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
        made = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=job, config=config)
    assert isinstance(made, ManyJobs)
    return made


def launched(name: str, output: Path, seeds: list[int], *words: str) -> list[JobReturn]:
    rows = [[f"seed={seed}", f"output.root={output}"] for seed in seeds]
    made = launcher(name, output, *words)
    try:
        return list(made.launch(rows, initial_job_idx=0))
    finally:
        made.close()


def computations(store: Path) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in (store / JOURNAL).read_text().splitlines()]
    return sorted((line["kind"], line["fingerprint"]) for line in lines)


def folders(store: Path) -> list[tuple[str, str]]:
    return sorted((path.parent.name, path.name) for path in store.glob("*/*") if (path / "stage.json").is_file())


def check_once(output: Path, jobs: int) -> None:
    """Every stage was done once, and all of them by these jobs."""
    store = output / "store"
    assert computations(store) == folders(store)
    assert len(computations(store)) == toy_jobs.SHARED + jobs


def of_job(output: Path, number: int) -> str:
    return (output / "runs" / str(number) / "output.log").read_text()


def test_eight_jobs_of_two_workers_do_each_shared_stage_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level("INFO", logger="augrun"):
        returns = launched("joblib", tmp_path, list(range(8)), "hydra.launcher.jobs=2", "hydra.launcher.threads=1")
    assert [result.status for result in returns] == [JobStatus.COMPLETED] * 8
    check_once(tmp_path, 8)
    processes = {(Path(result.return_value) / "process").read_text() for result in returns}
    assert len(processes) == 2 and str(os.getpid()) not in processes, "two processes, used again"
    assert caplog.text.count("ended, 0 failed") == 8
    assert "8 of 8 ended, 0 failed; none runs, 0 wait" in caplog.text
    shown = capfd.readouterr().err
    for number in range(8):
        said = of_job(tmp_path, number)
        assert "threads 1\nof a program\n" in said
        assert f"{number} | threads 1\n" in shown and f"{number} | of a program\n" in shown


def test_what_goes_wrong_in_one_job_is_its_own_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seeds = [0, toy_jobs.KILLED, toy_jobs.KILLED_ONCE, toy_jobs.REFUSED, toy_jobs.BROKEN, toy_jobs.UNSENDABLE, 1]
    with caplog.at_level("INFO", logger="augrun"):
        returns = launched("joblib", tmp_path, seeds, "hydra.launcher.jobs=2")
    done = [result.status == JobStatus.COMPLETED for result in returns]
    assert done == [True, False, True, False, False, False, True]
    check_once(tmp_path, 3)
    killed, refused, broken, unsendable = (returns[place]._return_value for place in (1, 3, 4, 5))
    assert isinstance(killed, JobError)
    said = r"its process was ended before it was done \(SIGKILL\(-9\)\), .* memory runs out; what it said is in (.*)"
    found = re.fullmatch(said, str(killed))
    assert found is not None and Path(found[1]).read_text() == "about to be killed\n" * 2  # once more, alone
    assert "job 2: its process is gone (SIGKILL(-9)); once more, with no other beside it" in caplog.text
    assert type(refused) is AugrunError and str(refused) == "no such corpus"
    assert type(broken) is KeyError and broken.args == ("nothing",)
    assert isinstance(broken.__cause__, Trace) and "in special\n    raise KeyError" in str(broken.__cause__)
    assert type(unsendable) is JobError and str(unsendable) == "Unsendable: a and b"


def test_submitit_runs_jobs_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'augrun[launchers]'")
    monkeypatch.chdir(ROOT)  # its processes find the tests there
    seeds = [0, 1, toy_jobs.KILLED, toy_jobs.REFUSED]
    returns = launched("submitit_local", tmp_path, seeds, "hydra.launcher.jobs=2")
    assert [result.status == JobStatus.COMPLETED for result in returns] == [True, True, False, False]
    check_once(tmp_path, 2)
    assert "its process was ended before it was done (it ended without an answer" in str(returns[2]._return_value)
    assert type(returns[3]._return_value) is AugrunError
    assert len(list((tmp_path / "runs").glob("submitit/*/*_result.pkl"))) == 3
    assert "of a program" in of_job(tmp_path, 1)


@pytest.mark.slow
def test_ray_runs_jobs_on_a_cluster_of_this_machine(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'augrun[launchers]'")
    seeds = [*range(8), toy_jobs.KILLED, toy_jobs.REFUSED, toy_jobs.BROKEN]
    returns = launched("ray", tmp_path, seeds, "hydra.launcher.jobs=2", "hydra.launcher.cpus=0.5")
    assert not ray.is_initialized()
    assert [result.status == JobStatus.COMPLETED for result in returns] == [True] * 8 + [False] * 3
    check_once(tmp_path, 8)
    assert "its process was ended before it was done (it died)" in str(returns[8]._return_value)
    assert [type(returns[place]._return_value) for place in (9, 10)] == [AugrunError, KeyError]
    assert "of a program" in of_job(tmp_path, 7)


def test_slurm_is_asked_for_what_the_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sbatch of this test's own takes the script and says that it has it."""
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'augrun[launchers]'")
    words = ["partition=gpu", "timeout_min=90", "gpus_per_node=2", "cpus_per_task=8", "mem_gb=32", "account=music"]
    words += ["qos=low", "jobs=3", "setup=[module load cuda]", "additional={constraint: a100}"]
    made = launcher("submitit_slurm", tmp_path, *(f"hydra.launcher.{word}" for word in words))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestError, match="there is no sbatch here; run it where jobs are submitted"):
        made.launch([["seed=0"]], initial_job_idx=0)
    for name, does in (("srun", ""), ("sbatch", f'cp "$1" {tmp_path}/script; echo Submitted batch job 12')):
        (tmp_path / name).write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{does}\n")
        (tmp_path / name).chmod(0o755)
    assert made.config is not None
    tasks = [made._task([f"seed={seed}"], seed) for seed in range(4)]
    executor = made.executor(made.config, tmp_path / "submitted")  # type: ignore[attr-defined]
    jobs = made._submitted(executor, tasks)  # type: ignore[attr-defined]
    assert [job.job_id for job in jobs] == ["12_0", "12_1", "12_2", "12_3"]
    script = (tmp_path / "script").read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", script, re.M))
    expected = {"partition": "gpu", "time": "90", "gpus-per-node": "2", "cpus-per-task": "8", "mem": "32GB"}
    expected |= {"account": "music", "qos": "low", "array": "0-3%3", "constraint": "a100", "job-name": "augrun"}
    expected |= {"signal": "USR2@90", "open-mode": "append"}
    assert {key: options.get(key) for key in expected} == expected
    assert script.index("\nmodule load cuda\n") < script.index("\nsrun ")
    assert f"-m submitit.core._submit {tmp_path}/submitted" in script
    assert tasks[0].threads == 8 and tasks[0].environment == {"SLURM_NTASKS": None}


def test_rows_that_want_more_gpus_are_submitted_with_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'augrun[launchers]'")
    from augrun.sweeps.launchers.submitit import SubmititLauncher

    submitted: list[tuple[int, list[int]]] = []

    def took(self: Any, executor: Any, tasks: list[Any]) -> list[Any]:
        submitted.append((executor["gpus_per_node"], [task.number for task in tasks]))
        return [SimpleNamespace(done=lambda: True)] * len(tasks)

    made: Any = launcher("submitit_slurm", tmp_path, "trainer=auto")
    monkeypatch.setattr(made, "executor", lambda config, folder: made.parameters(config))
    monkeypatch.setattr(SubmititLauncher, "_submitted", took)
    monkeypatch.setattr(made, "_result", lambda task, job: Result(task.number))
    tasks = [made._task([f"trainer.devices={devices}"], 7 * devices) for devices in (1, 4, 1)]
    assert sorted(result.number for result in made.run(tasks)) == [7, 7, 28]
    assert submitted == [(1, [7, 7]), (4, [28])]


def test_jobs_have_the_numbers_that_they_are_given(tmp_path: Path) -> None:
    pytest.importorskip("joblib", reason="joblib is not installed: pip install 'augrun[launchers]'")
    made = launcher("joblib", tmp_path)
    rows = [[f"seed={seed}", f"output.root={tmp_path}"] for seed in (1, 3)]
    try:
        assert len(made.launch(rows, initial_job_idx=0, numbers=[1, 3])) == 2
    finally:
        made.close()
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["1", "3"]


def test_a_process_that_dies_with_nothing_to_do_costs_nothing(tmp_path: Path) -> None:
    pytest.importorskip("joblib", reason="joblib is not installed: pip install 'augrun[launchers]'")
    made: Any = launcher("joblib", tmp_path, "hydra.launcher.jobs=2")
    try:
        for seeds in ([0, 1], [2, 3]):
            rows = [[f"seed={seed}", f"output.root={tmp_path}"] for seed in seeds]
            results = made.launch(rows, initial_job_idx=seeds[0])
            assert [result.status for result in results] == [JobStatus.COMPLETED] * 2
            for place in made._idle:
                (worker,) = place._processes
                os.kill(worker, signal.SIGKILL)
            deadline = time.time() + 300
            while not all(place._flags.broken for place in made._idle) and time.time() < deadline:
                time.sleep(0.05)
    finally:
        made.close()
    check_once(tmp_path, jobs=4)


def test_a_job_that_has_to_go_is_asked_for_once_more() -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'augrun[launchers]'")
    from augrun.sweeps.launchers.submitit import Work

    again = Work().checkpoint(b"task")
    assert isinstance(again.function, Work) and again.args == (b"task",)


def test_gpus_are_asked_for_unless_the_cpu_is_chosen(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'augrun[launchers]'")
    for words, gpus in ((["trainer=auto"], 1), (["trainer=gpu", "trainer.devices=4"], 4), (["trainer=cpu"], None)):
        made = launcher("submitit_slurm", tmp_path, *words)
        assert made.config is not None
        assert made.parameters(made.config).get("gpus_per_node") == gpus  # type: ignore[attr-defined]
    made = launcher("submitit_slurm", tmp_path, "trainer=auto", "trainer.devices=auto")
    assert made.config is not None
    assert made.parameters(made.config).get("gpus_per_node") == 1  # type: ignore[attr-defined]
    ours = launcher("ray", tmp_path, "trainer=gpu", "trainer.devices=2", "hydra.launcher.address=auto")
    assert ours.config is not None
    assert ours.resources(ours.config, {"GPU": 8.0}) == {"num_cpus": 1, "num_gpus": 2}  # type: ignore[attr-defined]
    assert ours.resources(ours.config, {}) == {"num_cpus": 1, "num_gpus": 0}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("cores", "gpus", "jobs", "threads"), [(1, 0, 1, 1), (2, 0, 2, 1), (16, 0, 4, 4), (16, 3, 3, 5)]
)
def test_as_many_jobs_as_there_is_room_for(
    cores: int, gpus: int, jobs: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from augrun.sweeps.launchers import base

    monkeypatch.setattr(base, "cores", lambda: cores)
    monkeypatch.setattr("augrun.core.runtime.gpus.visible", lambda: [str(number) for number in range(gpus)])
    made = launcher("joblib", tmp_path)
    assert made.config is not None
    assert (made.jobs(made.config), made.threads(made.config)) == (jobs, threads)


def test_wrong_settings_and_missing_engines_are_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match=r"^hydra\.launcher\.jobs: 'many' is not a whole number or null$"):
        launcher("joblib", tmp_path, "hydra.launcher.jobs=many")
    with pytest.raises(RequestError, match=r"^hydra\.launcher\.jobs: 0 is not in \[1, inf\)"):
        launcher("ray", tmp_path, "hydra.launcher.jobs=0")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = r"^hydra/launcher=ray needs ray: pip install 'augrun\[launchers\]'$"
    with pytest.raises(RequestError, match=said):
        launcher("ray", tmp_path)


def test_plugins_of_the_same_names_are_left_aside(tmp_path: Path) -> None:
    """Hydra would merge ours with their settings, and refuse what it does not find there."""
    for name in launchers.SETTINGS:
        theirs = OmegaConf.structured(launcher_settings.Joblib) if name == "joblib" else {"_target_": "theirs"}
        ConfigStore.instance().store(group="hydra/launcher", name=name, node=theirs, provider="theirs")
    made = {name: launcher(name, tmp_path) for name in launchers.SETTINGS}
    assert {type(one).__module__ for one in made.values()} == {"hydra_plugins.augrun_launchers"}
    assert {one.name for one in made.values()} == set(launchers.SETTINGS)


def test_every_setting_has_its_default_in_the_yaml() -> None:
    from augrun.core.config.component import describe

    for name, target in launchers.SETTINGS.items():
        given = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "hydra" / "launcher" / f"{name}.yaml"))
        assert isinstance(given, dict)
        fields = {key: parameter.default for key, parameter in describe(target).parameters.items()}
        assert {key: value for key, value in given.items() if key != "_target_"} == fields


def test_choosing_none_imports_no_engine() -> None:
    script = (
        "import sys; from augrun.cli import main; "
        "code = main.run(['--cfg', 'hydra', '-p', 'hydra.launcher', *sys.argv[1:]]); "
        "print('engines:', sorted({'joblib', 'submitit', 'ray', 'torch'} & set(sys.modules)), code)"
    )
    for words in ([], ["hydra/launcher=ray"]):
        found = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, cwd=ROOT)
        assert "engines: [] 0" in found.stdout, found.stdout + found.stderr
    assert "_target_: hydra_plugins.augrun_launchers.AugrunRay" in found.stdout


def test_a_misspelt_launcher_or_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["-m", "hydra/launcher=joblab"]) == 2
    assert "hydra/launcher=joblab: no such choice; did you mean joblib?" in capsys.readouterr().err
    assert main.run(["-m", "hydra/launcher=joblib", "hydra.launcher.job=2"]) == 2
    assert "hydra.launcher.job: no such key; did you mean jobs?" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc")
@pytest.mark.parametrize("ended", [signal.SIGINT, signal.SIGKILL])
def test_jobs_end_with_their_sweep(ended: signal.Signals, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests import toy_jobs\n"
        "from tests.sweeps import test_launchers as t\n"
        "t.launched('joblib', Path(sys.argv[1]), [toy_jobs.SLEEPER, toy_jobs.SLEEPER], 'hydra.launcher.jobs=2')"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=restore_signals)
    deadline = time.time() + 300
    while not (tmp_path / "asleep").exists():
        assert process.poll() is None and time.time() < deadline
        time.sleep(0.05)
    pids = _children(process.pid)
    assert pids
    process.send_signal(ended)
    process.communicate(timeout=300)
    assert process.returncode == -ended
    deadline = time.time() + 300
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.time() < deadline
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [below for child in found for below in _children(child)]
