"""What looks at a request imports nothing heavy: refusals come at once, and stages bear their own cost."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {"generators": "generator", "protocols": "protocol"}
PARTS = sorted(
    f"augrun.{folder}.{path.stem}"
    for folder, group in GROUPS.items()
    for path in (ROOT / "augrun" / folder).glob("*.py")
    if (ROOT / "conf" / group / f"{path.stem}.yaml").is_file()
)
OTHERS = [
    *(f"augrun.classifiers.{name}" for name in ("dnn", "mobilenetv2_attention", "svm", "vgg19")),
    "augrun.features.logmel",
    "augrun.reducers.autoencoder",
]


@pytest.mark.parametrize("modules", [PARTS, OTHERS])
def test_settings_come_without_torch(modules: list[str]) -> None:
    assert len(modules) > 2
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'pytorch_lightning', 'mlflow', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "    assert not heavy, (name, heavy)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
