"""Maps give memory back: reading a corpus that is larger than the memory leaves room for everything else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from augrun.features import mapped
from augrun.features.mapped import Block

MIB = 1 << 20

READ = """
import sys
from pathlib import Path
from augrun.features.mapped import KEPT_BYTES, Block

def resident():
    status = Path("/proc/self/status").read_text()
    lines = [line.split() for line in status.splitlines() if line.startswith(("VmHWM", "VmRSS"))]
    return {name: int(kib) << 10 for name, kib, _ in lines}

rows, bands, blocks = int(sys.argv[2]), 96, int(sys.argv[3])
parts = [Block(Path(sys.argv[1]), rows, bands) for _ in range(blocks)]
before = resident()["VmRSS:"]
total = 0.0
for start in range(0, rows - 4096, 4096):
    for part in parts:
        total += float(part.read(start, start + 4096).sum())
print(resident()["VmHWM:"] - before, KEPT_BYTES)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not tell a process's peak memory")
@pytest.mark.parametrize("blocks", [1, 3])
def test_reading_more_than_may_be_kept_keeps_no_more(tmp_path: Path, blocks: int) -> None:
    rows = 1280 * MIB // 96 // 4 // blocks
    with open(tmp_path / "sparse.f32", "wb") as file:
        os.truncate(file.fileno(), 4 * 96 * rows)
    command = [sys.executable, "-c", READ, str(tmp_path / "sparse.f32"), str(rows), str(blocks)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[2])
    grown, kept = map(int, done.stdout.split())
    assert kept / 2 < grown < kept + 32 * MIB  # of 1,280 MiB that were read


def test_views_stay_good_when_memory_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(40_000, dtype=np.float32).reshape(-1, 4)
    (tmp_path / "rows.f32").write_bytes(rows.tobytes())
    monkeypatch.setattr(mapped, "KEPT_BYTES", 64)
    block = Block(tmp_path / "rows.f32", len(rows), 4)
    views = [(start, block.read(start, start + 10)) for start in range(0, len(rows) - 10, 10)]
    for start, view in views:
        np.testing.assert_array_equal(view, rows[start : start + 10])
    with pytest.raises(ValueError, match="read-only"):
        views[0][1][0, 0] = 1.0


def test_a_file_without_rows_is_read(tmp_path: Path) -> None:
    (tmp_path / "none.f32").touch()
    assert Block(tmp_path / "none.f32", 0, 4).read(0, 0).shape == (0, 4)
