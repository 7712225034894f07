"""Lightning comes without what torchmetrics would load for texts."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
import augrun.core.training.fit
import torch
from torchmetrics.functional.classification import binary_auroc
assert float(binary_auroc(torch.tensor([0.1, 0.9]), torch.tensor([0, 1]))) == 1.0
assert "transformers" not in sys.modules, "torchmetrics has loaded it"
assert not [finder for finder in sys.meta_path if type(finder).__module__ == "augrun.core.runtime.import_hooks"]
import transformers
assert transformers.GPT2Config
"""


def test_training_loads_no_transformers_and_who_wants_them_gets_them() -> None:
    pytest.importorskip("transformers", reason="transformers is not installed: pip install 'augrun[jukebox]'")
    subprocess.run([sys.executable, "-c", CODE], check=True, cwd=Path(__file__).resolve().parents[3])
