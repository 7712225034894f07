"""Several ranks for one training, and pieces of a batch: they leave what one rank and whole batches leave."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import Dataset

from augrun.classifiers.mobilenetv2_attention.training import Clips, network_of, phases_of
from augrun.classifiers.mobilenetv2_attention.training import Training as MobileNetTraining
from augrun.classifiers.vgg19.training import Segments, Training
from augrun.classifiers.vgg19.training import network_of as vgg19_of
from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Hardware, Job
from augrun.core.training import distributed
from augrun.core.training.batching import EpochSampler, Parted, Share
from augrun.core.training.fit import Course, _train, fit, read_weights, reseed
from augrun.generators.ddsp.analysis import MFCCS
from tests import toy_jobs
from tests.classifiers.test_mobilenetv2_attention import TINY as TINY_MOBILENET
from tests.classifiers.test_mobilenetv2_attention import examples as mobilenet_examples
from tests.classifiers.test_vgg19 import TINY as TINY_VGG19
from tests.classifiers.test_vgg19 import examples
from tests.experiment.test_run import augrun
from tests.generators.test_bagan_training import TINY as TINY_BAGAN
from tests.generators.test_bagan_training import adversaries, batch_of
from tests.generators.test_ddsp import TINY as TINY_DDSP
from tests.generators.test_samplernn import TINY as TINY_SAMPLERNN

pytestmark = pytest.mark.usefixtures("one_thread")

ONE = Hardware(accelerator="cpu", progress=False, precision="64-true")
TWO = replace(ONE, devices=2)

#: Two ranks add in another order than one. In float32 Adam makes whole steps of what rounding leaves of a gradient that
#: is none, so that the networks are compared in float64.
CLOSE = 1e-7


class Rows(Dataset):
    """What a list holds."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


def vgg19() -> tuple[pl.LightningModule, Dataset, Dataset]:
    """Without dropout, which draws anew on each rank, and batch normalisation, which sees what is on its rank."""
    settings = replace(TINY_VGG19, batch_norm=False, dropout=0.0)
    train, validation = examples(21, seed=0), examples(9, seed=1)
    reseed(0, "network")
    shape = {"frames": 32, "bands": 40, "classes": 3, "low": -90.0, "high": -10.0, "multilabel": False}
    return Training(vgg19_of(settings, shape), False, settings), Segments(train), Segments(validation)


def ddsp() -> tuple[pl.LightningModule, Dataset, Dataset]:
    random = np.random.default_rng(0)
    rows = [
        {
            "audio": random.normal(0, 0.1, 8192).astype(np.float32),
            "f0_hz": np.full(32, 200 + 10 * row, np.float32),
            "loudness_db": random.uniform(-60, -10, 32).astype(np.float32),
            "mfcc": random.normal(size=(32, MFCCS)).astype(np.float32),
        }
        for row in range(12)
    ]
    reseed(0, "network")
    return TINY_DDSP.autoencoder(), Rows(rows[:9]), Rows(rows[9:])


def samplernn() -> tuple[pl.LightningModule, Dataset, Dataset]:
    """Windows of different lengths, so that shares hold different numbers of samples, and ranks different of steps."""
    random = np.random.default_rng(0)
    rows = [
        {
            "codes": random.integers(20, 44, 192).astype(np.int16),
            "length": int(random.integers(40, 192)) if row % 3 else 192,
            "classes": np.eye(2, dtype=np.float32)[row % 2],
        }
        for row in range(14)
    ]
    reseed(0, "network")
    return replace(TINY_SAMPLERNN, dim=12).network(2), Rows(rows[:9]), Rows(rows[9:])


def bagan() -> tuple[pl.LightningModule, Dataset, Dataset]:
    """Two networks, optimised by hand, with batch normalisation."""
    batch = batch_of(28)
    rows = [{name: tensor[row] for name, tensor in batch.items()} for row in range(28)]
    return adversaries(replace(TINY_BAGAN, batch_size=4)), Rows(rows), Rows([])


def autoencoder() -> tuple[pl.LightningModule, Dataset, Dataset]:
    _, train, _ = bagan()
    reseed(0, "network")
    return TINY_BAGAN.autoencoder((32, 32)), train, train


def mobilenet() -> tuple[pl.LightningModule, Dataset, Dataset]:
    settings = TINY_MOBILENET
    train, validation = mobilenet_examples(21, 0), mobilenet_examples(9, 1)
    reseed(0, "network")
    shape = {"bands": train.features.bands, "classes": train.targets.shape[1], "multilabel": train.multilabel}
    network = network_of(settings, shape, pretrained=False)
    sets = [Clips(part, settings.frames, settings.divide_by) for part in (train, validation)]
    return MobileNetTraining(network, train.multilabel, phases_of(settings)[0][2], settings), sets[0], sets[1]


KINDS: dict[str, Callable[[], tuple[pl.LightningModule, Dataset, Dataset]]] = {
    "vgg19": vgg19,
    "ddsp": ddsp,
    "samplernn": samplernn,
}

#: With batch normalisation, and with what is drawn on each rank: ranks do not take the steps of one.
OTHERS = {"bagan": bagan, "autoencoder": autoencoder, "mobilenet": mobilenet}

#: Batches of 4: the last one of each epoch has a single example, so that one rank of two has none.
COURSE = Course(2, 4, 4, "validation/loss", "min", None, False, None, None, None)


def all_kinds(folder: Path, hardware: Hardware) -> None:
    """Trains one of each, as one process or as a rank."""
    torch.set_num_threads(1)
    for kind, make in {**KINDS, **OTHERS}.items():
        module, train, validation = make()
        course = replace(COURSE, monitor=COURSE.monitor if len(validation) else None)
        (folder / kind).mkdir(exist_ok=True)
        own = replace(hardware, precision="32-true") if kind in OTHERS else hardware
        _train(module, train, validation, Job(folder / kind, 7, own), course, int(hardware.devices))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Where one rank and where two have left their trainings."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    all_kinds(one, ONE)
    distributed.spawn(all_kinds, two, TWO, ranks=2, folder=two, title="both")
    return one, two


@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_leave_what_one_leaves(both: tuple[Path, Path], kind: str) -> None:
    start = KINDS[kind]()[0].state_dict()
    one, two = (read_weights(folder / kind / "last.ckpt") for folder in both)
    assert one.keys() == two.keys()
    for name, weights in one.items():
        assert (weights - two[name]).abs().max() < CLOSE, name
        constant = name in ("network.low", "network.high")
        assert constant or (weights - start[name]).abs().max() > 1e-3, name


@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_tell_the_curves_of_one(both: tuple[Path, Path], kind: str) -> None:
    one, two = (json_of(folder / kind / "history.json") for folder in both)
    assert len(one) == len(two) == 2
    for first, second in zip(one, two, strict=True):
        assert first.keys() == second.keys()
        for name, value in first.items():
            # The noise that ddsp is validated with is another for each batch of a rank.
            other_noise = (kind, name) == ("ddsp", "validation/loss")
            assert second[name] == pytest.approx(value, rel=0.05 if other_noise else 1e-6), name


@pytest.mark.parametrize("kind", OTHERS)
def test_others_have_curves_near_those_of_one_rank(both: tuple[Path, Path], kind: str) -> None:
    """Within a quarter, and all of both networks moves."""
    one, two = (json_of(folder / kind / "history.json") for folder in both)
    assert one[-1].keys() == two[-1].keys()
    losses = [name for name in one[-1] if name.endswith("loss")]
    assert losses
    for name in losses:
        assert two[-1][name] == pytest.approx(one[-1][name], rel=0.25), name
    weights, start = read_weights(both[1] / kind / "last.ckpt"), OTHERS[kind]()[0].state_dict()
    still = [name for name, tensor in weights.items() if torch.equal(tensor, start[name].to(tensor))]
    assert not [name for name in still if name.endswith(("weight", "bias"))]


def json_of(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())


class Toy(pl.LightningModule):
    """A linear layer; `at` calls `act` on a rank at an epoch's second step."""

    def __init__(self, at: tuple[int, int] | None = None, act: Callable[[], Any] | None = None) -> None:
        super().__init__()
        reseed(1, "init")
        self.layer = nn.Linear(3, 1)
        self.at, self.act = at, act

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        if self.act is not None and (distributed.number(), self.current_epoch) == self.at and index:
            self.act()
        loss = (self.layer(batch) - batch.sum(1, keepdim=True)).square().mean()
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.05)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def toy(folder: Path, module: Toy, hardware: Hardware = TWO, **changes: Any) -> Any:
    rows = torch.randn(16, 3, generator=torch.Generator().manual_seed(0)).double()
    how = {"epochs": 3, "batch_size": 4} | changes
    return fit(module, Rows(list(rows)), None, Job(folder, 3, hardware, "toy"), **how)


def test_a_killed_rank_ends_the_job_which_then_goes_on(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(AugrunError) as caught:
        toy(tmp_path / "killed", Toy((1, 1), kill))
    assert time.monotonic() - began < 300
    assert str(caught.value) == (
        "toy: rank 1 of 2 was killed by SIGKILL, and the others were stopped. The same command goes on from the last "
        "whole epoch. If memory was short, trainer.accumulate=2 takes less."
    )
    assert [entry["epoch"] for entry in json_of(tmp_path / "killed" / "history.json")] == [1]
    went_on = toy(tmp_path / "killed", Toy(), ONE)  # on as many devices as there are now
    alone = toy(tmp_path / "alone", Toy(), ONE)
    assert [entry["epoch"] for entry in went_on.history] == [1, 2, 3]
    first, second = (read_weights(result.last)["layer.weight"] for result in (went_on, alone))
    assert torch.allclose(first, second, rtol=0, atol=CLOSE)
    assert not list((tmp_path / "killed").glob(".ranks*"))


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc")
def test_ranks_end_with_a_killed_job_also_where_ctrl_c_is_ignored(tmp_path: Path) -> None:
    """As in a shell script's `augrun … &`; else they would write beside the job that takes the work up."""
    script = (
        "import signal, sys; from pathlib import Path\n"
        "from augrun.core.training import distributed; from tests import toy_jobs\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "distributed.spawn(toy_jobs.sleep, sys.argv[1], ranks=2, folder=Path(sys.argv[1]), title='toy', apart=True)"
    )
    job = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).resolve().parents[3])
    deadline = time.monotonic() + 300
    while len(told := list(tmp_path.glob("rank-*"))) < 2:
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    pids = [path.name.removeprefix("rank-") for path in told]
    job.kill()
    job.wait()
    deadline = time.monotonic() + 300
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (tmp_path / distributed.PASSED).exists()
    toy(tmp_path, Toy(), ONE)
    assert not list(tmp_path.glob(f"{distributed.PASSED}*")), "what a killed job has passed to ranks is no result"


def test_what_a_rank_says_is_what_the_job_says(tmp_path: Path) -> None:
    with pytest.raises(AugrunError, match=r"^the cup is empty; fill it$"):
        distributed.spawn(toy_jobs.give_up, 1, ranks=2, folder=tmp_path, title="toy", apart=True)
    assert not list(tmp_path.iterdir())


# Pieces of a batch.


@pytest.mark.parametrize("kind", ["vgg19", "samplernn"])
def test_pieces_leave_what_whole_batches_leave(both: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    module, train, validation = KINDS[kind]()
    _train(module, train, validation, Job(tmp_path, 7, replace(ONE, accumulate=3)), COURSE, 1)
    whole, pieces = read_weights(both[0] / kind / "last.ckpt"), read_weights(tmp_path / "last.ckpt")
    for name, weights in whole.items():
        assert (weights - pieces[name]).abs().max() < CLOSE, name
    for first, second in zip(json_of(both[0] / kind / "history.json"), json_of(tmp_path / "history.json"), strict=True):
        assert second == pytest.approx(first, rel=1e-6)


def test_pieces_of_a_gan_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without batch normalisation, which would see other batches."""
    module = adversaries()
    judge, given, truth = nn.Linear(5, 4), torch.randn(7, 5), torch.arange(7) % 4
    gradients, losses = [], []
    for module.accumulate in (1, 3):
        judge.zero_grad()
        loss, logits = module._judged(judge, given, truth, torch.Tensor.backward)
        gradients.append(judge.weight.grad.clone())
        losses.append(float(loss))
        assert logits.shape == (7, 4)
    assert torch.allclose(*gradients, atol=1e-6)
    assert losses[0] == pytest.approx(losses[1])
    assert losses[0] == pytest.approx(float(nn.functional.cross_entropy(judge(given), truth).detach()))


@given(
    length=st.integers(1, 40),
    size=st.integers(1, 9),
    ranks=st.integers(1, 4),
    pieces=st.integers(1, 3),
    drop=st.booleans(),
)
def test_ranks_and_pieces_see_each_example_of_a_batch_once(
    length: int, size: int, ranks: int, pieces: int, drop: bool
) -> None:
    def parted(rank: int, ranks: int, pieces: int) -> list[tuple[list[int], Share]]:
        sampler = Parted(EpochSampler(length, length, seed=5), size, drop, rank, ranks, pieces)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        return [(batch, sampler.share(place)) for place, batch in enumerate(batches)]

    whole = [batch for batch, _ in parted(0, 1, 1)]
    assert list(chain(*whole)) == list(EpochSampler(length, length, seed=5))[: sum(map(len, whole))]
    of_ranks = [parted(rank, ranks, pieces) for rank in range(ranks)]
    for number, batch in enumerate(whole):
        shares = [of[number * pieces + piece] for of in of_ranks for piece in range(pieces)]
        assert list(chain(*(rows for rows, share in shares if not share.fills))) == batch
        assert all(len(rows) == 1 and share.weight == 0 for rows, share in shares if share.fills)
        assert sum(share.weight for _, share in shares) == pytest.approx(ranks * pieces)
        for rows, share in shares:
            assert share.weight == pytest.approx(ranks * pieces * (0 if share.fills else len(rows)) / len(batch))


def test_a_share_s_random_numbers_are_its_rows_of_the_batch_s() -> None:
    def draw(count: int) -> torch.Tensor:
        return torch.arange(count)

    assert Share(2, 5, 8, 3).of(draw, 3).tolist() == [2, 3, 4]
    assert Share().of(draw, 3).tolist() == [0, 1, 2]


# What cannot be.


@pytest.mark.parametrize(
    ("hardware", "changes", "text"),
    [
        (replace(ONE, accumulate=5), {}, "toy: a batch of 4 cannot be parted among trainer.devices=1 in "
         "trainer.accumulate=5 each; use fewer of them"),
        (replace(ONE, devices="auto"), {}, "trainer.devices=auto takes every GPU, but there is none; give a number"),
    ],
)  # fmt: skip
def test_what_cannot_be_parted_is_refused(tmp_path: Path, hardware: Hardware, changes: dict, text: str) -> None:
    with pytest.raises(RequestError) as caught:
        toy(tmp_path, Toy(), hardware, **changes)
    assert str(caught.value) == text


def test_more_devices_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    hardware = Hardware(accelerator="gpu", devices=3)
    with pytest.raises(RequestError, match=r"^trainer.devices=3: there are 2 GPUs; use trainer.devices=2$"):
        distributed.count(hardware)
    assert distributed.count(replace(hardware, devices="auto")) == 2


def test_what_changes_results_is_told_apart() -> None:
    assert ONE.changes == replace(TWO, workers=7).changes == {"precision": "64-true"}
    assert replace(ONE, accumulate=2, compile="eager").changes == {
        "precision": "64-true",
        "accumulate": 2,
        "compile": "eager",
    }


def test_compiled_networks_keep_their_names_and_learn_the_same(tmp_path: Path) -> None:
    plain = toy(tmp_path / "plain", Toy(), ONE)
    compiled = toy(tmp_path / "compiled", Toy(), replace(ONE, compile="aot_eager"))
    first, second = read_weights(plain.last), read_weights(compiled.last)
    assert first.keys() == second.keys()
    assert torch.allclose(first["layer.weight"], second["layer.weight"], rtol=0, atol=1e-6)
    with pytest.raises(RequestError, match=r"trainer.compile=steam: .*\nUse trainer.compile=false."):
        toy(tmp_path / "steam", Toy(), replace(ONE, compile="steam"))


@pytest.mark.slow
def test_a_sweep_on_two_ranks_has_the_results_of_one(tmp_path: Path) -> None:
    """In float32: the scores of a network without dropout and batch normalisation agree to a thousandth."""
    sweep = [
        "-m",
        "seed=0,1",
        "generator=none",
        "dataset=feel",
        "protocol=holdout",
        "classifier=vgg19",
        "scale=demo",
        "trials.count=1",
    ]
    sweep += ["segments.seconds=3", "segments.frames=128", "classifier.dropout=0", "classifier.epochs=2"]
    sweep += ["classifier.width=0.0625", "trainer.accelerator=cpu", "trainer.progress=false"]
    done = augrun(tmp_path / "one", *sweep)
    assert done.returncode == 0, done.stderr
    for kind in ("standin", "features"):  # what there is nothing to train of
        shutil.copytree(tmp_path / "one" / "store" / kind, tmp_path / "two" / "store" / kind)
    done = augrun(tmp_path / "two", *sweep, "trainer=ddp", "trainer.devices=2")
    assert done.returncode == 0, done.stderr
    stored = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one/store/predictions").glob("*/*.npz"))
    assert len(stored) == 2
    for path in stored:  # devices are no part of a fingerprint
        with np.load(tmp_path / "one" / path) as one, np.load(tmp_path / "two" / path) as two:
            assert np.abs(one["test_scores"] - two["test_scores"]).max() < 1e-3
            assert np.abs(one["test_scores"] - one["test_scores"].mean(0)).max() > 1e-3
    runs = [list((tmp_path / folder / "mlartifacts").rglob("results.json")) for folder in ("one", "two")]
    assert len(runs[0]) == len(runs[1]) == 2  # one run and one artifact, whatever the number of ranks
