"""The command line as a person meets it: help, lists, messages, exit codes, an installed wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import yaml

from augrun.cli import main
from augrun.core.config import compose as config_compose
from augrun.core.config import schema, validation
from augrun.core.config.component import build, describe
from augrun.core.errors import RequestError
from tests.here import here

ROOT = Path(__file__).resolve().parents[2]
CHOICES = sorted(path for path in (ROOT / "conf").glob("*/*.yaml") if path.parent.name != "experiment")


def augrun(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AUGRUN_", "HYDRA_"))}
    return subprocess.run(
        [sys.executable, "-m", "augrun", *arguments],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_help_names_every_group_and_verb():
    result = augrun("--help")
    assert result.returncode == 0
    for group, purpose in schema.GROUPS.items():
        assert group in result.stdout
        assert purpose in result.stdout
    for verb in main.VERBS:
        assert verb in result.stdout


def test_list_shows_every_choice_with_its_description():
    result = augrun("list")
    assert result.returncode == 0
    for path in CHOICES:
        line = next(line for line in result.stdout.splitlines() if line.startswith(f"  {path.stem}"))
        assert len(line.split()) > 3, f"{path}: no description in its first comment"
    assert "no such group; did you mean generator?" in augrun("list", "generater").stderr


def names(group: str, pattern: str) -> list[str]:
    return [path.stem for path in (ROOT / "conf" / group).glob(f"{pattern}.yaml")]


_VECTORS = ["dataset=feel", "representation=is10"]

#: What else a choice needs, and the corpora that cannot be a condition's only one.
PARTNERS = {
    "cross_corpus": ["dataset@target=feel"],
    "policy/none": ["generator=none"],
    "undersample": ["generator=none"],
    "is10": ["dataset=feel", "classifier=svm"],
    "svm": _VECTORS,
    **{f"classifier/{name}": _VECTORS for name in names("classifier", "dnn*")},
    **{name: [*_VECTORS, "classifier=dnn", "policy=real_synthetic"] for name in ("mixup_gan", "cyclegan")},
    **{name: [*_VECTORS, "classifier=dnn", "policy=real_synthetic"] for name in ("sahu_gan", "sahu_cgan")},
    **{f"reducer/{name}": [*_VECTORS, "classifier=svm", "generator=none"] for name in names("reducer", "[!n]*")},
    "real": ["generator=none"],
    "oracle": ["controls=true"],
}
UNLABELLED = ("tedlium",)


@pytest.mark.parametrize("path", CHOICES, ids=lambda path: f"{path.parent.name}={path.stem}")
@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_every_choice_composes_and_fits_its_class(path, scale):
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig

    from augrun.core.config import resolvers

    resolvers.register()
    group, name = path.parent.name, path.stem
    partners = PARTNERS.get(f"{group}/{name}", PARTNERS.get(name, []))
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", overrides=[f"{group}={name}", f"scale={scale}", *partners])
        plain = config_compose.resolve(config)
    assert HydraConfig is not None
    if name in UNLABELLED:
        with pytest.raises(RequestError, match=f"^dataset: {name} has no classes; it serves as dataset@source={name}$"):
            validation.check(plain)
    else:
        validation.check(plain)
    section = plain[group]
    assert section["name"].startswith(name)  # some tell a setting as well, as imbalance_happy
    fields = set(describe(section["_target_"]).parameters)
    assert fields <= set(section) | {"name"}, f"{path} leaves out {fields - set(section)}"
    component = build(section)
    for field in fields & set(section):
        value = getattr(component, field)
        assert value == section[field] or list(value) == list(section[field])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generator=coppy"], "generator=coppy: no such choice; did you mean copy?"),
        (["generator=null"], "generator=null: choose one, as `augrun list generator` has them"),
        (["dataset@music=null"], "dataset@music=null: write '~dataset@music' to leave it out"),
        (["generater=copy"], "generater: no such key; did you mean generator?"),
        (["policy.fracton=3"], "policy.fracton: no such key; did you mean fraction?"),
        (["+policy.fracton=3"], "policy.fracton: no such key; did you mean fraction?"),
        (["trials.cont=3"], "trials.cont: no such key; did you mean count?"),
        (["policy.fraction=-1"], "policy.fraction: -1 is not in (0, inf)"),
        (["policy.inherit=some"], "policy.inherit: 'some' is not one of drawn, all"),
        (["trials.count=two"], "trials.count: 'two' is not a whole number"),
        (["scale=big"], "scale: 'big' is not one of paper, demo"),
        (["dataset.root=/nowhere/at/all"], "dataset.root: no folder /nowhere/at/all"),
        (["dataset=feel", "dataset.standin=null"], "dataset=feel has no stand-in; give dataset.root=DIR"),
        (
            ["dataset=feel", "dataset.root=.", "dataset@target=iemocap", "protocol=cross_corpus"],
            "target would be a rendered stand-in beside the real dataset; give target.root=DIR",
        ),
        (["segments.hop=1"], "segments.hop=1 does nothing without segments.seconds"),
        (["protocol.minority=sad"], "protocol.minority=sad loses nothing; give protocol.remove=SHARE, as 0.8"),
        (["generator=none,copy"], "Ambiguous value for argument 'generator=none,copy'"),
        (["stroe", "ls"], "stroe: no such verb; did you mean store?"),
        (["generator", "copy"], "generator: no such verb; did you mean generator=…?"),
        (["-m", "generator=none,coppy"], "1 of 2 rows cannot work, nothing was started"),
        (["-m", "generator=none,copy", "policy.fraction=0.1,-1"], "2 of 4 rows cannot work, nothing was started"),
    ],
)
def test_a_wrong_request_is_answered_in_a_line_with_exit_code_2(arguments, message, tmp_path):
    result = here(*arguments, cwd=tmp_path)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.returncode == 2
    assert not (tmp_path / "outputs" / "store").exists()


def test_the_rows_that_cannot_work_are_named(tmp_path):
    result = augrun("-m", "generator=none,coppy", "trials.count=1,0", cwd=tmp_path)
    assert result.returncode == 2
    assert "3 of 4 rows cannot work" in result.stderr
    assert "generator=none trials.count=0: trials.count: 0 is not in [1, inf)" in result.stderr
    assert "sweep.skip_invalid=true would run the others" in result.stderr


def test_an_unwritable_output_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    result = augrun("generator=none", cwd=tmp_path, AUGRUN_OUTPUT=str(tmp_path / "file" / "outputs"))
    assert result.returncode == 2
    assert "cannot write" in result.stderr
    assert "choose another AUGRUN_OUTPUT" in result.stderr
    assert "Traceback" not in result.stderr


def test_cfg_job_shows_both_values_and_resolves_by_scale():
    shown = augrun("--cfg", "job")
    assert shown.returncode == 0
    assert "${by_scale:" in shown.stdout
    demo = yaml.safe_load(augrun("--cfg", "job", "--resolve", "-p", "dataset").stdout)
    paper = yaml.safe_load(augrun("--cfg", "job", "--resolve", "-p", "dataset", "scale=paper").stdout)
    assert paper["input_frames"] == 4096
    assert demo["input_frames"] < 4096


@pytest.mark.parametrize("word", ["controls=true", "+controls=true"])
def test_controls_keep_a_reserve_with_a_plus_and_without(word):
    assert yaml.safe_load(augrun("--cfg", "job", "--resolve", "-p", "protocol", word).stdout)["reserve"] == 0.2


def test_naming_a_real_corpus_makes_the_scale_paper(tmp_path):
    resolved = yaml.safe_load(augrun("--cfg", "job", "--resolve", f"dataset.root={tmp_path}").stdout)
    assert resolved["scale"] == "paper"
    resolved = yaml.safe_load(augrun("--cfg", "job", "--resolve", AUGRUN_DATA=str(tmp_path)).stdout)
    assert resolved["scale"] == "paper"
    assert yaml.safe_load(augrun("--cfg", "job", "--resolve").stdout)["scale"] == "demo"


def test_a_dataset_brings_its_protocol_and_representation_and_the_command_line_wins():
    speech = yaml.safe_load(augrun("--cfg", "job", "dataset=feel").stdout)
    assert speech["protocol"]["name"] == "speaker_folds"
    assert speech["representation"]["name"] == "logmel_ser"
    asked = yaml.safe_load(augrun("--cfg", "job", "dataset=feel", "protocol=holdout").stdout)
    assert asked["protocol"]["name"] == "holdout"


def test_info_and_completion_work():
    shown = augrun("--info", "defaults")
    assert "generator/ddsp" in shown.stdout + shown.stderr
    script = augrun("-sc", "install=bash").stdout
    assert "complete" in script
    completed = augrun("-sc", "query=bash", COMP_LINE="augrun generator=", COMP_POINT="17")
    assert "generator=none" in completed.stdout.split()


def test_starting_is_light():
    script = (
        "import sys; from augrun.cli import main; "
        "code = main.run(['--cfg', 'job', 'generator=copy']); "
        "heavy = {'torch', 'pytorch_lightning', 'mlflow', 'pandas', 'matplotlib', 'torchaudio'} & set(sys.modules); "
        "print('heavy:', sorted(heavy), code)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert "heavy: [] 0" in result.stdout, result.stdout[-300:] + result.stderr


def test_an_installed_wheel_finds_its_configuration(tmp_path):
    """Built, installed into a fresh environment, run from an empty folder."""
    wheels = tmp_path / "wheels"
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = wheels.glob("*.whl")
    fresh = tmp_path / "venv"
    venv.create(fresh, with_pip=True)
    python = fresh / "bin" / "python"
    # The dependencies are this environment's: gigabytes need not be installed twice. augrun itself is the wheel's.
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    site = next((fresh / "lib").glob("python*")) / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    found = subprocess.run(
        [python, "-c", "from augrun.core.config import paths; print(paths.conf_dir())"],
        cwd=empty,
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == str(site / "augrun" / "conf")
    shown = subprocess.run([fresh / "bin" / "augrun", "--cfg", "job"], cwd=empty, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert yaml.safe_load(shown.stdout)["generator"]["name"] == "ddsp"
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(("given", "told"), [({}, True), ({"PYTHONFAULTHANDLER": ""}, False)])
def test_a_crash_in_machine_code_says_where_it_was(given: dict[str, str], told: bool) -> None:
    """Also in a process that a job starts; PYTHONFAULTHANDLER, set to nothing, is Python's way to ask for silence."""
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    code = (
        "import subprocess, sys; from augrun.cli import main\n"
        f"main.run = lambda _: subprocess.run([sys.executable, '-c', {crash!r}]) and exec({crash!r})\n"
        "main.main([])"
    )
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONFAULTHANDLER"}
    result = subprocess.run([sys.executable, "-c", code], env=clean | given, capture_output=True, text=True)
    assert result.returncode == -11
    assert result.stderr.count("Fatal Python error: Segmentation fault") == (2 if told else 0)
    assert result.stderr.count("most recent call first") == (2 if told else 0)
