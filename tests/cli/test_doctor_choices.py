"""The doctor on every shipped choice: no line is FAIL but for a reason that is named here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from augrun.cli.doctor import checks, lock_probe
from augrun.corpora import standin

CONF = Path(__file__).resolve().parents[2] / "conf"
CHOICES = [
    f"{path.parent.name}={path.stem}" for path in sorted(CONF.glob("*/*.yaml")) if path.parent.name != "experiment"
]
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))

#: Stand-ins as small as the protocols allow.
SIZES: dict[str, dict[str, Any]] = {
    "esc50": {"categories": 2, "recordings": 1, "seconds": 1.0},
    "feel": {"sessions": 3, "test_sessions": 1, "utterances": 2, "ambiguous": 1, "seconds": [1.0, 1.1]},
    "fma": {"train": 8, "validation": 8, "test": 8, "seconds": [3.0, 3.1]},
    "iemocap": {"utterances": 1, "others": 1, "seconds": [1.0, 1.1]},
    "jamendo": {"train": 14, "validation": 14, "test": 14, "seconds": [1.0, 1.1]},
    "msp_improv": {"utterances": 1, "others": 1, "seconds": [1.0, 1.1]},
    "tedlium": {"train": 3, "dev": 1, "test": 1, "seconds": [4.0, 4.1]},
}

SPEECH = ("dataset=feel",)
VECTORS = ("dataset=feel", "representation=is10")
OF_VECTORS = (*VECTORS, "classifier=dnn", "policy=real_synthetic")

#: What a choice wants beside the default ones.
PARTNERS: dict[str, tuple[str, ...]] = {
    "representation=is10": ("dataset=feel", "classifier=svm"),
    "protocol=cross_corpus": ("dataset=iemocap", "dataset@target=msp_improv"),
    "protocol=imbalance": ("dataset=iemocap",),
    "protocol=loso": ("dataset=iemocap",),
    "protocol=holdout": SPEECH,
    "protocol=speaker_folds": SPEECH,
    "policy=none": ("generator=none",),
    "policy=real": ("generator=none",),
    "policy=undersample": (*SPEECH, "generator=none"),
    "generator=oracle": ("controls=true",),
    **{f"generator={name}": OF_VECTORS for name in ("cyclegan", "mixup_gan", "sahu_gan", "sahu_cgan")},
    **{f"generator={name}": SPEECH for name in ("bagan", "bagan_original")},
    **{
        choice: (*VECTORS, "classifier=svm", "generator=none") if choice.startswith("reducer") else VECTORS
        for choice in CHOICES
        if choice.startswith(("classifier=dnn", "classifier=svm", "reducer=")) and choice != "reducer=none"
    },
}

#: The beginnings of the lines that a choice fails with where nothing is installed or downloaded beside the packages.
REASONS: dict[str, tuple[str, ...]] = {
    "dataset=tedlium": (
        "FAIL  configuration: dataset: tedlium has no classes; it serves as dataset@source=tedlium",
        "FAIL  folds: protocol=official: tedlium has no given validation and no test part; choose protocol=holdout, ",
    ),
    "generator=ddsp_magenta": (
        "FAIL  components: generator=ddsp_magenta runs Google's ddsp 3.7.0 in an environment of its own: ",
    ),
    "generator=jukebox": (
        "FAIL  components: generator.weights=openai/jukebox-1b-lyrics is neither a folder nor in the Hugging Face ",
    ),
    "trainer=ddp": ("FAIL  devices: trainer.devices=auto takes every GPU, but there is none; give a number",),
    "trainer=gpu": ("FAIL  devices: trainer.accelerator=gpu: No supported gpu backend found!; Use trainer=cpu or ",),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One output root for all choices, so that each stand-in is rendered once."""
    return tmp_path_factory.mktemp("doctor")


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """A machine without GPU, environments and downloads, and stand-ins of a few seconds."""
    import torch
    from huggingface_hub import constants

    for name in [name for name in os.environ if name.startswith(("AUGRUN_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(root)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root / "no-downloads"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(lock_probe, "tried", lambda *_: "")  # starts a process each time; test_doctor.py has it
    render = standin.render

    def small(dataset: str, folder: Path, **settings: Any) -> Path:
        return render(dataset, folder, **(settings | SIZES[dataset]))

    monkeypatch.setattr(standin, "render", small)


def failures(*overrides: str) -> list[str]:
    return [finding.line for finding in checks.examine(overrides) if finding.level == "FAIL"]


@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_fails_for_named_reasons_alone(choice: str) -> None:
    words = (choice, *PARTNERS.get(choice, ()))
    if "representation=is10" in words:
        pytest.importorskip("opensmile", reason="openSMILE is not installed: pip install 'augrun[functionals]'")
    if choice == "generator=jukebox":
        pytest.importorskip("transformers", reason="transformers is not installed: pip install 'augrun[jukebox]'")
    found, reasons = failures(*words), REASONS.get(choice, ())
    assert len(found) == len(reasons), found
    for line, reason in zip(found, reasons, strict=True):
        assert line.startswith(reason)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_published_table_is_refused_as_one_condition_and_nothing_else_is_wrong(name: str) -> None:
    (line,) = failures(f"experiment={name}")
    assert line.startswith("FAIL  configuration: this experiment is a published table with rows of its own: ")
