"""The doctor's lines, word for word, where all is well and where it is not."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pytest
import soundfile as sf

from augrun.cli import main
from augrun.cli.doctor import checks, lock_probe, machine
from augrun.core.errors import AugrunError
from augrun.core.runtime import filesystems
from augrun.corpora import index as index_module
from augrun.corpora.corpus import Corpus, LabelSet
from augrun.corpora.index import Index
from augrun.corpora.reader import Reader, build

ROOT = Path(__file__).resolve().parents[2]
RATE = 16000
TRAIN = "track_0000001\tartist_000001\talbum_000001\t01/1.mp3\t1.0\tmood/theme---{}"
HEADER = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"


@dataclass(frozen=True)
class Murmur(Reader):
    """Recordings without classes, read by a program that nobody has."""

    labelled: ClassVar[bool] = False
    requires: ClassVar[tuple[str, ...]] = ("no_such_module.inside", "transformers")

    name: str = "murmur"
    hum: Annotated[float, "(0, 1]"] = 0.5

    def read(self, root: Path, index: Index | None) -> Corpus:
        """One clip."""
        columns = {"clip_id": ["a"], "path": [str(root / "s0-angry-0.flac")], "start_s": [0.0], "end_s": [0.5]}
        return build(self.name, columns | {"labels": [()], "digest": ["a"]}, LabelSet(()), "other")

    def check(self) -> None:
        """Nobody calls this of a corpus."""
        raise AugrunError("never asked")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the environment, and a folder of its own for the output."""
    for name in [name for name in os.environ if name.startswith(("AUGRUN_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A manifest corpus: four speakers with two utterances of half a second in each of two classes."""
    root = tmp_path / "speech"
    root.mkdir()
    lines = ["path,label,speaker"]
    for speaker in range(4):
        for label in ("angry", "sad"):
            for take in range(2):
                path = f"s{speaker}-{label}-{take}.flac"
                sf.write(root / path, 0.1 * np.sin(np.arange(RATE // 2) * (0.1 + 0.01 * take)), RATE)
                lines.append(f"{path},{label},s{speaker}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how much of the disk is free, 50 GB to begin with."""
    usage = namedtuple("usage", "total used free")

    def free(size: float) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12 - size, size))

    free(50e9)
    return free


@pytest.fixture
def port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server() -> Iterator[str]:
    """A server that says it is well at /health, and nothing elsewhere."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 403)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return None

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def small(root: Path, *others: str) -> list[str]:
    """A request that could start."""
    request = [
        "dataset=feel",
        f"dataset.root={root}",
        "scale=demo",
        "generator=none",
        "protocol.count=2",
        "trainer=cpu",
    ]
    return [*request, *others]


def lines(*overrides: str) -> list[str]:
    return [finding.line for finding in checks.examine(overrides)]


def about(subject: str, *overrides: str) -> list[str]:
    """The lines about one subject."""
    return [line for line in lines(*overrides) if line[6:].startswith(subject)]


def test_a_request_that_could_start(speech: Path, tmp_path: Path, roomy: object, capsys: pytest.CaptureFixture) -> None:
    assert main.run(["doctor", *small(speech)]) == 0
    said = capsys.readouterr().out.splitlines()
    outputs = tmp_path / "outputs"
    assert said[:6] == [
        "ok    configuration: dataset=feel generator=none policy=equal_duration classifier=mobilenetv2_attention "
        "protocol=speaker_folds representation=logmel_ser, scale demo",
        f"ok    dataset: feel, 16 clips, 0.0 h, 2 classes, not the published corpus ({speech})",
        "ok    dataset sample rates: 16,000 Hz (16 files)",
        "ok    folds: protocol=speaker_folds, 2 folds: train 4, validation 4, test 8 clips",
        # 16 clips of 0.5 s at 40 frames a second and one more, 128 bands of four bytes
        f"ok    disk: the features need 172.0 KB, 50.0 GB free for the store ({outputs}/store)",
        f"ok    output: {outputs} can be written",
    ]
    assert said[6].startswith("ok    locks: flock on ")
    assert said[6].endswith(f" ({outputs}/store): two processes exclude each other")
    assert said[7].startswith(f"ok    packages: torch {metadata.version('torch')}, pytorch-lightning ")
    assert said[7].endswith(f"as augrun {metadata.version('augrun')} needs them")
    assert said[8].startswith("ok    extras: dev ")
    assert "functionals " in said[8] and "jukebox " in said[8]
    assert said[9] == "ok    components: representation, policy, generator, classifier have what they need"
    assert said[10].startswith("ok    devices: trainer.accelerator=cpu takes the CPU, ")
    assert said[-2:] == [f"ok    tracking: sqlite:///{outputs}/mlflow.db can be written", "the run could start"]
    assert {line[:6] for line in said[:-1]} <= {"ok    ", "warn  "}
    assert not any("\x1b" in line for line in said)


def test_nothing_is_trained_and_mlflow_is_not_even_imported(speech: Path, tmp_path: Path) -> None:
    code = "import sys; from augrun.cli.doctor import checks; print(checks.run(sys.argv[1:]), 'mlflow' in sys.modules)"
    command = [sys.executable, "-c", code, *small(speech)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
    assert done.stdout.splitlines()[-1] == "0 False"
    assert sorted(path.name for path in (tmp_path / "outputs").iterdir()) == ["store"]
    assert [path.name for path in (tmp_path / "outputs" / "store").iterdir()] == ["index"]


def test_functionals_need_a_vector_a_clip(speech: Path, tmp_path: Path, roomy: object) -> None:
    (said,) = about("disk", *small(speech, "representation=is10", "classifier=svm"))
    # 16 clips of one vector, 1,582 functionals of four bytes
    assert said == f"ok    disk: the features need 101.2 KB, 50.0 GB free for the store ({tmp_path}/outputs/store)"


def test_a_second_look_opens_no_file(speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lines(*small(speech))

    def look(*_: object) -> None:
        raise AssertionError("looked at again")

    monkeypatch.setattr(index_module, "_look", look)
    assert lines(*small(speech)) == first


def test_a_missing_root_hides_nothing_else(tmp_path: Path, port: int, roomy: object) -> None:
    request = ["generator=none", "classifier.pretrained=false", "dataset.root=/nowhere", "trainer=cpu"]
    said = lines(*request, "tracking=server", f"tracking.uri=http://127.0.0.1:{port}")
    assert said[0].startswith("ok    configuration: dataset=jamendo_mood generator=none ")
    assert said[1:4] == [
        "FAIL  dataset: dataset.root: no folder /nowhere; give the folder that holds jamendo_mood",
        "warn  folds: protocol=official is not tried, since its corpus cannot be read",
        f"ok    disk: 50.0 GB free for the store ({tmp_path}/outputs/store); how much the features need is not known",
    ]
    assert "ok    components: representation, policy, generator, classifier have what they need" in said
    assert said[-1] == (
        f"warn  tracking: http://127.0.0.1:{port} does not answer (Connection refused); "
        "a run goes on without it, and `augrun store sync` sends what is missing"
    )


@pytest.mark.parametrize(
    ("mount", "kind", "said"),
    [
        ("nfs4 files:/x rw,vers=4.2,local_lock=none", "", "ok    locks: flock on nfs4 "),
        ("lustre files:/x rw,flock", "", "ok    locks: flock on lustre "),
        ("nfs files:/x rw,vers=3,nolock,local_lock=all", "folder", "ok    locks: folder on nfs "),
    ],
)
def test_locks_that_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speech: Path, mount: str, kind: str, said: str
) -> None:
    mount_at(tmp_path, mount, kind, monkeypatch)
    (found,) = about("locks", *small(speech))
    assert found.startswith(said)
    assert found.endswith(": two processes exclude each other")


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ("nfs files:/x rw,vers=3,nolock", "mounted with nolock, flock holds on this machine alone; where jobs run on"),
        ("lustre files:/x rw,localflock", "mounted with localflock, flock holds on this machine alone; where jobs run"),
        ("beegfs files rw", "two processes here exclude each other; of other machines this is not known; if they do"),
    ],
)
def test_locks_that_may_not_hold_between_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speech: Path, mount: str, said: str
) -> None:
    mount_at(tmp_path, mount, "", monkeypatch)
    (found,) = about("locks", *small(speech))
    assert found.startswith(f"warn  locks: flock on {mount.split()[0]} ({tmp_path}/outputs/store): {said}")
    assert found.endswith("give AUGRUN_LOCKS=folder to all jobs, before the first")


def test_locks_that_do_not_hold_stop_a_run(speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_probe, "tried", lambda *_: "two processes hold one at once")
    (found,) = about("locks", *small(speech))
    assert found.startswith("FAIL  locks: flock on ")
    assert found.endswith(": two processes hold one at once; give AUGRUN_LOCKS=folder to all jobs, before the first")


def mount_at(folder: Path, mount: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes believe that a file system is mounted at a folder, and asks for a kind of lock."""
    lines = f"21 1 8:1 / / rw - ext4 /dev/sda rw\n22 21 0:50 / {folder} rw,relatime shared:1 - {mount}\n"
    (folder / "mountinfo").write_text(lines)
    monkeypatch.setattr(filesystems, "MOUNTS", folder / "mountinfo")
    if kind:
        monkeypatch.setenv("AUGRUN_LOCKS", kind)


def test_exit_code_2_and_how_many_problems(capsys: pytest.CaptureFixture) -> None:
    request = ["doctor", "generator=none", "scale=demo", "dataset.root=/nowhere", "trainer.devices=auto", "trainer=cpu"]
    assert main.run(request) == 2
    said = capsys.readouterr().out.splitlines()
    assert "FAIL  devices: trainer.devices=auto takes every GPU, but there is none; give a number" in said
    assert said[-1] == "the run could not start: 2 problems (1 warning)"


def test_an_unreachable_server_does_not_stop_a_run(speech: Path, port: int, capsys: pytest.CaptureFixture) -> None:
    assert checks.run([*small(speech), "tracking=server", f"tracking.uri=http://127.0.0.1:{port}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "the run could start (1 warning)"


def test_servers_that_answer(speech: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "TIMEOUT_S", 300)
    assert about("tracking", *small(speech, "tracking=server", f"tracking.uri={server}")) == [
        f"ok    tracking: {server} answers"
    ]
    (refused,) = about("tracking", *small(speech, "tracking=server", f"tracking.uri={server}/elsewhere"))
    assert refused.startswith(f"warn  tracking: {server}/elsewhere answers 403 (Forbidden); a run goes on without it")
    address = server.removeprefix("http://")
    (database,) = about("tracking", *small(speech, f"tracking.uri=postgresql://me:secret@{address}/runs"))
    assert database == f"ok    tracking: postgresql://me:…@{address}/runs answers"


def test_a_database_that_is_none_or_locked(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "TIMEOUT_S", 0.1)
    path = tmp_path / "runs.db"
    request = small(speech, f"tracking.uri=sqlite:///{path}")
    path.write_text("these are no runs, but a long text about something else")
    assert about("tracking", *request)[0].startswith(
        f"warn  tracking: sqlite:///{path} cannot be written (file is not a"
    )
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE runs (id TEXT)")
    before = path.read_bytes()
    assert about("tracking", *request) == [f"ok    tracking: sqlite:///{path} can be written"]
    assert path.read_bytes() == before
    holder = sqlite3.connect(path)
    holder.execute("BEGIN IMMEDIATE")
    assert "(database is locked); a run goes on" in about("tracking", *request)[0]
    holder.close()


def test_counts_beside_the_published_ones(tmp_path: Path) -> None:
    root = tmp_path / "jamendo"
    (root / "01").mkdir(parents=True)
    sf.write(root / "01/1.flac", np.zeros(8000) + 0.1, 8000)
    for number, part in enumerate(("train", "validation", "test"), 1):
        row = TRAIN.format("calm").replace("0000001", f"000000{number}").replace("01/1", f"01/{number}")
        sf.write(root / f"01/{number}.flac", np.zeros(8000) + 0.1, 8000)
        (root / f"autotagging_moodtheme-{part}.tsv").write_text(f"{HEADER}\n{row}\n")
    said = about("dataset", f"dataset.root={root}", "generator=none", "scale=demo")
    assert said[0].startswith("ok    dataset: jamendo_mood, 3 clips, 0.0 h, ")
    assert said[0].endswith(f"not the published corpus ({root})")
    assert said[1] == (
        "warn  dataset counts: 60 of 60 differ from the published ones: clips 3, not 17,982; split train 1, not 9,949; "
        "split validation 1, not 3,802; split test 1, not 4,231; and 56 more; "
        "complete the corpus, or take its results for what they are: those of another corpus"
    )
    assert said[2] == (
        "warn  dataset sample rates: 8,000 Hz (3 files); 3 files are below the representation's 12,000 Hz; "
        "their upper bands will be empty; choose a representation of a lower rate"
    )


def test_metadata_without_audio(shared_data: Path) -> None:
    said = about("dataset", f"dataset.root={shared_data / 'jamendo'}", "generator=none", "scale=demo")
    assert len(said) == 1
    assert said[0].startswith(
        f"FAIL  dataset: jamendo_mood: no audio in {shared_data / 'jamendo'}; looked for 48/948.mp3"
    )
    assert said[0].endswith("; name the folder that holds 00 to 99 with dataset.audio_root=")


def test_real_recordings_pass(shared_data: Path) -> None:
    root = shared_data / "ravdess-feel"
    said = lines("dataset=feel", f"dataset.root={root}", "generator=none", "scale=demo", "trainer=cpu")
    assert said[1] == f"ok    dataset: feel, 336 clips, 0.3 h, 4 classes, not the published corpus ({root})"
    assert not [line for line in said if line.startswith("FAIL")]


def test_several_rates_are_told(speech: Path) -> None:
    sf.write(speech / "s0-sad-1.flac", np.zeros(22050) + 0.1, 44100)
    assert about("dataset sample", *small(speech)) == [
        "warn  dataset sample rates: 2 rates: 16,000 Hz (15 files), 44,100 Hz (1 files); "
        "all are resampled, but their bandwidths differ"
    ]


def test_clips_that_are_left_out_are_told(speech: Path) -> None:
    (speech / "s0-sad-1.flac").unlink()
    (refused,) = about("dataset", *small(speech))
    assert refused == (
        "FAIL  dataset: feel: 1 of 16 clips cannot be used: 1 missing files (s0-sad-1.flac); "
        "mend them, or leave them out with dataset.on_bad_clip=skip"
    )
    said = about("dataset", *small(speech, "dataset.on_bad_clip=skip"))
    assert said[1] == "warn  dataset: skipped 1 missing files (s0-sad-1.flac)"


def test_folds_that_cannot_be_drawn(speech: Path) -> None:
    said = lines(*small(speech, "protocol.count=5"))
    (refused,) = [line for line in said if line.startswith("FAIL")]
    assert refused.startswith("FAIL  folds: protocol=speaker_folds: 5 folds and a validation speaker need 6 speakers")
    assert "ok    components: representation, policy, generator, classifier have what they need" in said


def test_a_full_disk(speech: Path, roomy: Callable[[float], None], tmp_path: Path) -> None:
    store = tmp_path / "outputs/store"
    mend = "free some, or put the store elsewhere with AUGRUN_STORE"
    roomy(100e3)
    (said,) = about("disk", *small(speech))
    assert said == f"FAIL  disk: the features need 172.0 KB, 100.0 KB free for the store ({store}); {mend}"
    roomy(9e8)
    (said,) = about("disk", *small(speech))
    left = "which leaves little for models and samples"
    assert said == f"warn  disk: the features need 172.0 KB, 900.0 MB free for the store ({store}), {left}; {mend}"


def test_an_output_that_cannot_be_written(speech: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = lines(*small(speech, f"output.root={tmp_path}/file/out", f"output.store={tmp_path}/store"))
    assert (
        f"FAIL  output: {tmp_path}/file/out cannot be written (Not a directory); "
        "choose another AUGRUN_OUTPUT (or output.root=)"
    ) in said
    assert f"ok    store: {tmp_path}/store can be written" in said
    assert not (tmp_path / "outputs").exists()


def test_the_mistakes_of_a_request_leave_the_rest_to_be_checked(speech: Path) -> None:
    said = lines(*small(speech, "generatr=copy", "policy.fracton=1", "policy.fraction=-1"))
    assert said[:3] == [
        "FAIL  configuration: generatr: no such key; did you mean generator?; left out of what follows",
        "FAIL  configuration: policy.fracton: no such key; did you mean fraction? (keys of policy); "
        "left out of what follows",
        "FAIL  configuration: policy.fraction: -1 is not in (0, inf)",
    ]
    assert said[3].startswith("ok    dataset: feel, 16 clips")
    said = lines(*small(speech, "trials.count=two"))
    assert said[0] == "FAIL  configuration: trials.count: 'two' is not a whole number"
    assert "warn  components: not checked, because of the configuration" in said
    assert said[-1].startswith("ok    tracking: ")


def test_a_broken_check_hides_no_other(speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def teapot(examined: object) -> Iterator[checks.Finding]:
        yield checks.ok("teapot: short")
        raise ZeroDivisionError("stout")

    monkeypatch.setattr(checks, "CHECKS", (teapot, checks.folds, machine.output))
    said = lines(*small(speech))
    assert said[:2] == ["ok    teapot: short", "FAIL  teapot: this check broke (ZeroDivisionError: stout)"]
    assert said[-1].startswith("ok    output: ")


def test_a_corpus_without_classes_and_what_it_requires(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    conf = tmp_path / "conf"
    (conf / "dataset").mkdir(parents=True)
    (conf / "dataset/murmur.yaml").write_text(
        f"_target_: {__name__}.Murmur\nname: murmur\nroot: {speech}\nfolder: null\non_bad_clip: fail\n"
        "input_frames: 256\nstandin: null\nstandin_options: {}\nhum: 0.5\n"
    )
    find = machine.importlib.util.find_spec
    monkeypatch.setattr(
        machine.importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name)
    )
    assert main.run(["doctor", "-cd", str(conf), "dataset=murmur", "generator=none", "scale=demo", "trainer=cpu"]) == 2
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "FAIL  configuration: dataset: murmur has no classes; it serves as dataset@source=murmur"
    assert said[1] == f"ok    dataset: murmur, 1 clips, 0.0 h, no classes, not the published corpus ({speech})"
    assert "FAIL  packages: dataset=murmur needs no_such_module.inside; pip install no-such-module" in said
    assert "FAIL  packages: dataset=murmur needs transformers; pip install 'augrun[jukebox]'" in said


def test_packages_that_do_not_fit(speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "torchmetrics" else real(name))
    (said,) = about("packages", *small(speech))
    assert said == "FAIL  packages: torchmetrics 0.1 is not <2,>=1.8; pip install --upgrade augrun"


def test_devices_that_are_not_there(speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi" if name == "nvidia-smi" else None)
    missing, driver = about("devices", *small(speech, "trainer=gpu", "trainer.workers=1"))
    assert missing.startswith("FAIL  devices: trainer.accelerator=gpu: ")
    assert missing.endswith("; Use trainer=cpu or trainer=auto")
    seen = f"torch {torch.__version__} sees no GPU"
    assert driver == f"warn  devices: there is an NVIDIA driver, but {seen}; install a build of torch with CUDA"
    (said, *_) = about("devices", *small(speech, "trainer.accelerator=gppu"))
    assert said.startswith("FAIL  devices: trainer.accelerator=gppu: ")
    cores = len(os.sched_getaffinity(0))
    said = about("devices", *small(speech, "trainer.workers=999"))[-1]
    assert said == f"warn  devices: trainer.workers=999 on {cores} cores; use trainer.workers={cores}"


def test_a_gpu_that_is_there(speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from augrun.core.training import device

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"H20{number}")
    monkeypatch.setattr(device, "device", lambda hardware: torch.device("cuda", 1))
    (said, *_) = about("devices", *small(speech, "trainer=auto"))
    assert said == f"ok    devices: trainer.accelerator=auto takes H201; torch {torch.__version__} sees H200, H201"


def test_weights_that_cannot_be_had(speech: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_text("no weights")
    weights = ["scale=paper", "protocol.limit=1", f"classifier.weights={tmp_path / 'weights.pt'}"]
    said = [line for line in lines(*small(speech, *weights)) if line.startswith("FAIL")]
    assert len(said) == 1
    assert said[0].startswith(
        f"FAIL  components: the ImageNet weights of MobileNetV2 cannot be had from {tmp_path}/weights.pt ("
    )
    assert "; Use classifier.pretrained=false, or classifier.weights=FILE" in said[0]


def test_the_stand_in_is_rendered_and_said_so(tmp_path: Path) -> None:
    sizes = "train:14,validation:14,test:14,seconds:[1.0,1.1]"
    request = [f"++dataset.standin_options={{{sizes}}}", "generator=none"]
    said = about("dataset", *request)
    assert said[0] == "ok    dataset: no corpus is named, so the stand-in for jamendo_mood is rendered now, once"
    assert said[1].startswith(
        "ok    dataset: jamendo_mood, 42 clips, 0.0 h, 14 classes, a rendered stand-in, NOT the real"
    )
    assert said[2].startswith("ok    dataset sample rates: ")
    assert about("dataset", *request) == said[1:]
    (manifest,) = (tmp_path / "outputs/store/standin").glob("*/stage.json")
    assert json.loads(manifest.read_text())["kind"] == "standin"
