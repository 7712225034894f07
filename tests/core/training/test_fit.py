"""The training loop: exact resume, atomic checkpoints, truthful interrupts, silence."""

from __future__ import annotations

import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Hardware, Job
from augrun.core.seeding import derive_seed
from augrun.core.training.batching import EpochSampler
from augrun.core.training.fit import fit, read_weights, reseed
from tests.processes import restore_signals

EPOCHS = 4


pytestmark = pytest.mark.usefixtures("one_thread")


class Net(pl.LightningModule):
    """A small convolutional net with every kind of randomness; `stop` raises in the middle of an epoch."""

    channels_last = True

    def __init__(self, stop: tuple[int, int] | None = None, error: BaseException | None = None) -> None:
        super().__init__()
        reseed(1, "init")
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Linear(200, 1),
        )
        self.stop, self.error = stop, error
        self.seen: list[torch.Tensor] = []
        self.starts: list[int] = []

    def on_train_epoch_start(self) -> None:
        self.starts.append(self.current_epoch)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        if self.stop == (self.current_epoch, index):
            assert self.error is not None
            raise self.error
        x, y = batch
        self.seen.append(y.flatten())
        noise = float(np.random.default_rng(np.random.randint(2**31)).normal())
        loss = (self.layers(x + 0.1 * torch.randn_like(x) + 0.01 * noise) - y).square().mean()
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        self.log("validation/loss", (self.layers(batch[0]) - batch[1]).square().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), 0.01)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)]


class Adversaries(pl.LightningModule):
    """Two optimisers, stepped by hand."""

    def __init__(self, stop: int | None = None) -> None:
        super().__init__()
        reseed(2, "init")
        self.automatic_optimization = False
        self.one, self.two, self.stop = nn.Linear(75, 4), nn.Linear(4, 75), stop

    def training_step(self, batch: list[torch.Tensor], index: int) -> None:
        if self.stop == self.current_epoch:
            raise RuntimeError("cut")
        x = batch[0].flatten(1)
        for optimizer in self.optimizers():
            loss = (self.two(self.one(x) + torch.randn(4)) - x).square().mean()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        self.log("train/loss", loss, on_step=False, on_epoch=True)

    def configure_optimizers(self):
        return [torch.optim.Adam(self.one.parameters(), 1e-3), torch.optim.Adam(self.two.parameters(), 2e-3)]


def examples(count: int = 22) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3, 5, 5, generator=generator)
    return TensorDataset(x, x.mean((1, 2, 3), keepdim=False)[:, None] + torch.arange(count)[:, None] / count)


def train(folder: Path, net: pl.LightningModule | None = None, **changes):
    settings_ = {"epochs": EPOCHS, "batch_size": 4, "monitor": "validation/loss"} | changes
    net = net or Net()
    job = Job(folder, seed=3, hardware=Hardware(accelerator="cpu"), title="toy")
    return net, fit(net, examples(), examples(6), job, **settings_)


def differences(one: Path, other: Path) -> float:
    """Largest absolute difference over every parameter, buffer and optimiser state of two checkpoints."""
    a, b = (torch.load(path, weights_only=True) for path in (one, other))
    pairs = [(a["state_dict"][name], b["state_dict"][name]) for name in a["state_dict"]]
    for mine, theirs in zip(a["optimizer_states"], b["optimizer_states"], strict=True):
        for key in mine["state"]:
            pairs += [(mine["state"][key][name], theirs["state"][key][name]) for name in mine["state"][key]]
    return max(float((p.double() - q.double()).abs().max()) for p, q in pairs)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory):
    return train(tmp_path_factory.mktemp("undisturbed"))


def test_result_names_files_history_and_best(undisturbed) -> None:
    _, result = undisturbed
    assert [entry["epoch"] for entry in result.history] == [1, 2, 3, 4]
    assert all(set(entry) == {"epoch", "train/loss", "validation/loss"} for entry in result.history)
    losses = [entry["validation/loss"] for entry in result.history]
    assert result.best_epoch == 1 + int(np.argmin(losses))
    assert json.loads((result.last.parent / "history.json").read_text()) == result.history
    left = {path.name for path in result.last.parent.iterdir()}
    assert left == {"last.ckpt", "best.ckpt", "history.json", "finished.json"}


def test_module_ends_with_the_best_parameters(undisturbed) -> None:
    net, result = undisturbed
    best = read_weights(result.best)
    assert all(torch.equal(value, best[name]) for name, value in net.state_dict().items())
    with torch.no_grad():
        x, y = examples(6)[:]
        losses = [float((net.eval().layers(a) - b).square().mean()) for a, b in ((x[:4], y[:4]), (x[4:], y[4:]))]
    assert (4 * losses[0] + 2 * losses[1]) / 6 == pytest.approx(
        result.history[result.best_epoch - 1]["validation/loss"]
    )


@pytest.mark.parametrize("stops", [[(0, 2)], [(1, 0)], [(1, 5), (3, 3)], [(1, 2), (1, 2), (2, 1)]])
def test_resume_is_exact(tmp_path: Path, undisturbed, stops: list[tuple[int, int]]) -> None:
    starts: list[int] = []
    for stop in stops:
        net = Net(stop, RuntimeError("cut"))
        with pytest.raises(RuntimeError, match="cut"):
            train(tmp_path, net)
        torch.rand(3)  # the state of global generators must not matter
        starts += net.starts[:-1]
    net, result = train(tmp_path)
    assert starts + net.starts == list(range(EPOCHS))
    assert result.history == undisturbed[1].history
    assert result.best_epoch == undisturbed[1].best_epoch
    assert differences(result.last, undisturbed[1].last) == 0
    assert differences(result.best, undisturbed[1].best) == 0


def test_resume_without_validation_and_with_manual_optimisation_is_exact(tmp_path: Path) -> None:
    def run(folder: str, stop: int | None = None):
        job = Job(tmp_path / folder, seed=5, hardware=Hardware(accelerator="cpu", progress=False))
        return fit(Adversaries(stop), examples(), None, job, epochs=3, batch_size=8, samples_per_epoch=12)

    whole = run("whole")
    with pytest.raises(RuntimeError, match="cut"):
        run("cut", stop=1)
    again = run("cut")
    assert again.history == whole.history
    assert again.best_epoch == 3
    assert differences(again.last, whole.last) == 0


KILLED = """
import sys, os
from pathlib import Path
from tests.core.training.test_fit import Net, train
class Deadly(Net):
    def training_step(self, batch, index):
        if (self.current_epoch, index) == (2, 3):
            {death}
        return super().training_step(batch, index)
if __name__ == "__main__":
    train(Path(sys.argv[1]), Deadly())
"""


def run_script(tmp_path: Path, death: str) -> subprocess.CompletedProcess:
    script = tmp_path / "deadly.py"
    script.write_text(KILLED.format(death=death))
    root = Path(__file__).resolve().parents[3]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, str(script), str(tmp_path / "fit")]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, preexec_fn=restore_signals
    )


def test_sigkill_then_again_is_exact(tmp_path: Path, undisturbed) -> None:
    done = run_script(tmp_path, "os.kill(os.getpid(), 9)")
    assert done.returncode == -signal.SIGKILL
    lines = done.stderr.splitlines()
    assert [line.split(":")[1] for line in lines] == [" epoch 1/4", " epoch 2/4"], done.stderr
    assert done.stdout == ""
    _, result = train(tmp_path / "fit")
    assert result.history == undisturbed[1].history
    assert differences(result.last, undisturbed[1].last) == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_signals_end_the_process_truthfully(tmp_path: Path, number: int, code: int) -> None:
    done = run_script(tmp_path, f"os.kill(os.getpid(), {int(number)})")
    assert done.returncode == code
    assert not (tmp_path / "fit" / "finished.json").exists()


def test_ctrl_c_stays_keyboard_interrupt_and_the_handler_comes_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Net((1, 1), KeyboardInterrupt()))
    assert signal.getsignal(signal.SIGINT) is before
    assert len(json.loads((tmp_path / "history.json").read_text())) == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel's account of handlers is Linux's")
def test_a_training_leaves_what_tells_of_crashes_alone(tmp_path: Path) -> None:
    def handled() -> set[str]:
        (caught,) = re.findall(r"SigCgt:\s*(\w+)", Path("/proc/self/status").read_text())
        return {one.name for one in signal.Signals if int(caught, 16) >> one - 1 & 1}

    if not faulthandler.is_enabled():
        faulthandler.enable(sys.__stderr__)
    before = handled()
    train(tmp_path)
    assert "SIGSEGV" in before and handled() >= before


def test_a_kill_while_saving_keeps_the_previous_checkpoint(
    tmp_path: Path,
    undisturbed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, calls = torch.save, []

    def dies_half_way(content, file):
        calls.append(content)
        if len(calls) == 3:
            file.write(b"half a checkpoint")
            raise KeyboardInterrupt
        real(content, file)

    monkeypatch.setattr(torch, "save", dies_half_way)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path)
    monkeypatch.undo()
    assert len(torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]["Record"]["history"]) == 2
    _, result = train(tmp_path)
    assert result.history == undisturbed[1].history
    assert differences(result.last, undisturbed[1].last) == 0


def test_a_kill_between_best_and_last_is_healed(
    tmp_path: Path,
    undisturbed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = os.replace

    def dies_before_last(source, target):
        if Path(target).name == "last.ckpt" and (tmp_path / "last.ckpt").exists():
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", dies_before_last)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path)
    monkeypatch.undo()
    _, result = train(tmp_path)
    assert differences(result.best, undisturbed[1].best) == 0
    assert differences(result.last, undisturbed[1].last) == 0


def test_killed_after_the_last_epoch_trains_no_more(tmp_path: Path, undisturbed) -> None:
    train(tmp_path)
    (tmp_path / "finished.json").unlink()
    net, result = train(tmp_path)
    assert net.starts == []
    assert result.history == undisturbed[1].history


def test_a_finished_fit_returns_at_once_and_alike(tmp_path: Path) -> None:
    first_net, first = train(tmp_path)
    state = torch.get_rng_state()
    stamp = first.last.stat().st_mtime_ns
    torch.rand(7)
    second_net, second = train(tmp_path, Net((0, 0), AssertionError("it trained")))
    assert second == first
    assert second.last.stat().st_mtime_ns == stamp
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first_net.parameters(), second_net.parameters(), strict=True))


def test_another_seed_gives_other_parameters(tmp_path: Path, undisturbed) -> None:
    job = Job(tmp_path, seed=4, hardware=Hardware(accelerator="cpu"))
    other = fit(Net(), examples(), examples(6), job, epochs=EPOCHS, batch_size=4)
    assert differences(other.last, undisturbed[1].last) > 1e-3


def test_progress_does_not_change_the_result(tmp_path: Path, undisturbed) -> None:
    job = Job(tmp_path, seed=3, hardware=Hardware(accelerator="cpu", progress=False, workers=1))
    quiet = fit(Net(), examples(), examples(6), job, epochs=EPOCHS, batch_size=4, monitor="validation/loss")
    assert differences(quiet.last, undisturbed[1].last) == 0


def test_mode_max_picks_the_largest(tmp_path: Path) -> None:
    _, result = train(tmp_path, mode="max")
    losses = [entry["validation/loss"] for entry in result.history]
    assert result.best_epoch == 1 + int(np.argmax(losses))


def test_epochs_differ_and_see_every_example_once(tmp_path: Path) -> None:
    net, _ = train(tmp_path, epochs=2)
    targets = torch.cat(net.seen).view(2, -1)
    assert not torch.equal(targets[0], targets[1])
    assert torch.equal(targets[0].sort().values, targets[1].sort().values)


def test_set_epoch_reaches_the_dataset_before_each_epoch(tmp_path: Path) -> None:
    class Epochal(Dataset):
        epochs: list[int] = []  # noqa: RUF012

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            self.epochs.append(self.epoch)
            return examples()[index]

    data = Epochal()
    job = Job(tmp_path, hardware=Hardware(accelerator="cpu"))
    with pytest.raises(RuntimeError, match="cut"):
        fit(Net((2, 0), RuntimeError("cut")), data, None, job, epochs=4, batch_size=4)
    assert data.epochs == [0] * 4 + [1] * 4 + [2] * 4
    fit(Net(), data, None, job, epochs=4, batch_size=4)
    assert data.epochs[12:] == [2] * 4 + [3] * 4


class Diverging(Net):
    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        loss = super().training_step(batch, index)
        return loss * float("nan") if self.current_epoch == 1 else loss


def test_nan_names_the_epoch_and_a_mend_and_keeps_the_sound_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(
        AugrunError, match=r"toy: (train|validation)/loss became nan in epoch [23] .*\nLower the learning rate"
    ):
        train(tmp_path, Diverging())
    assert all(bool(value.isfinite().all()) for value in read_weights(tmp_path / "last.ckpt").values())


def test_a_monitor_that_is_not_logged_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"logs no 'validation/uar', only \['epoch', 'train/loss', 'validation/loss'\]"
    ):
        train(tmp_path, monitor="validation/uar")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accelerator": "abacus"}, r"trainer.accelerator=abacus .* Use trainer=cpu"),
        ({"precision": "7-bit"}, r"trainer.precision=7-bit .* trainer.precision=32-true"),
    ],
)
def test_hardware_that_is_not_there_is_a_request_error(tmp_path: Path, changes: dict, message: str) -> None:
    hardware = replace(Hardware(accelerator="cpu"), **changes)
    with pytest.raises(RequestError) as caught:
        fit(Net(), examples(), None, Job(tmp_path, hardware=hardware), epochs=1, batch_size=4)
    text = " ".join(str(caught.value).split())
    assert re.search(message, text), text


def test_an_empty_training_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AugrunError, match="the training set is empty"):
        fit(Net(), examples(0), None, Job(tmp_path), epochs=1, batch_size=4)


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(AugrunError, match=r"last.ckpt cannot be read .* Delete its folder"):
        train(tmp_path)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(1, 70), st.integers(0, 2**31), st.integers(1, 6))
def test_sampler_visits_examples_equally_often(length: int, samples: int, seed: int, epochs: int) -> None:
    sampler = EpochSampler(length, samples, seed)
    drawn: list[int] = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert len(order) == len(sampler) == samples
        assert order == list(EpochSampler(length, samples, seed, epoch))
        drawn += order
    counts = np.bincount(drawn, minlength=length)
    assert counts.max() - counts.min() <= 1


def test_seeds_depend_on_every_part_and_are_stable() -> None:
    assert derive_seed(0, "epoch", 1) == derive_seed(0, "epoch", 1)
    seeds = {derive_seed(*parts) for parts in [(0,), (1,), (-1,), (0, "a"), (0, "a", 1), (0, "a", "1"), (0, 1, "a")]}
    assert len(seeds) == 7
    assert all(0 <= seed < 2**63 for seed in seeds)
    reseed(9, "x")
    first = (torch.rand(1).item(), np.random.rand())
    reseed(9, "x")
    assert (torch.rand(1).item(), np.random.rand()) == first


def test_keep_memory_makes_large_blocks_stay() -> None:
    script = """
import resource, torch
from augrun.core.runtime.malloc import keep_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(4 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
fresh = faults()
keep_memory()
faults()
print(fresh, faults())
"""
    root = Path(__file__).resolve().parents[3]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    fresh, kept = map(int, done.stdout.split())
    if sys.platform != "linux":
        pytest.skip("only glibc has this allocator")
    assert kept < fresh / 10
