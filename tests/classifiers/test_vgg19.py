"""VGG19: that it is VGG19, how it normalises, what it learns, and what it refuses."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.metrics import recall_score, roc_auc_score
from torch import nn
from torchvision.models import VGG, vgg19, vgg19_bn
from torchvision.models.vgg import cfgs, make_layers

from augrun.classifiers.vgg19 import VGG19
from augrun.classifiers.vgg19.network import VGG19 as Network
from augrun.classifiers.vgg19.training import Training, macro_recall, network_of, value_range
from augrun.core.config import resolvers
from augrun.core.errors import AugrunError
from augrun.core.job import Hardware, Job
from augrun.features.cache import Features, build, one_by_one
from augrun.features.examples import Examples

ROOT = Path(__file__).resolve().parents[2]
CPU = Hardware(accelerator="cpu", progress=False)
TINY = VGG19(
    width=0.0625, batch_norm=True, pooled=1, dropout=0.1, batch_size=8, epochs=3, rate=2e-3, shrink=1, select="uar"
)

pytestmark = pytest.mark.usefixtures("one_thread")


def examples(count: int, seed: int, multilabel: bool = False, frames: int = 32, classes: int = 3) -> Examples:
    """Decibel-like noise, (frames, 40); each class raises a band of its own."""
    rng = np.random.default_rng(seed)
    first = rng.permutation(np.arange(count) % classes)
    targets = np.eye(classes, dtype=np.float32)[first]
    if multilabel:
        targets = np.maximum(targets, rng.random((count, classes)) < 0.2).astype(np.float32)
    segments = rng.normal(-60, 8, (count, frames, 40)).astype(np.float32)
    for segment, target in zip(segments, targets, strict=True):
        for label in np.flatnonzero(target):
            segment[:, 4 + 12 * label : 10 + 12 * label] += 25
    return Examples(Features.from_arrays(list(segments)), targets, multilabel)


def network(**changes: Any) -> Network:
    torch.manual_seed(0)
    given: dict[str, Any] = {
        "frames": 32,
        "bands": 40,
        "classes": 3,
        "low": -80.0,
        "high": 20.0,
        "width": 0.0625,
        "pooled": 1,
    }
    return Network(**(given | changes)).eval()


# What it is.


@pytest.mark.parametrize(("batch_norm", "reference"), [(False, vgg19), (True, vgg19_bn)])
def test_the_paper_s_network_is_torchvision_s(batch_norm: bool, reference: Callable[..., nn.Module]) -> None:
    """Layer by layer; only the colours are missing."""
    with torch.device("meta"):  # shapes alone
        theirs = reference(num_classes=4)
        settings = VGG19(batch_norm=batch_norm)
        shape = {"frames": 128, "bands": 128, "classes": 4, "multilabel": False, "low": -1.0, "high": 1.0}
        ours = network_of(settings, shape)
    assert repr(ours.features).replace("Conv2d(1, 64", "Conv2d(3, 64", 1) == repr(theirs.features)
    assert repr(ours.classifier) == repr(theirs.classifier)
    assert repr(ours.pool).replace("7", "(7, 7)") == repr(theirs.avgpool)


def test_torchvision_s_weights_give_torchvision_s_logits() -> None:
    """With the three colours' kernels added up, a grey image gives what it gives there."""
    ours = network(frames=64, bands=96, low=-1.0, high=1.0, width=0.125, pooled=7, batch_norm=True)
    with torch.device("meta"):
        theirs = VGG(nn.Identity())  # its forward; the layers follow
    plan = [count if isinstance(count, str) else count // 8 for count in cfgs["E"]]
    theirs.features, theirs.classifier = make_layers(plan, batch_norm=True), ours.classifier
    for layer in theirs.features:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            layer.running_mean = torch.empty_like(layer.weight.detach()).uniform_(-0.1, 0.1)
    state = theirs.features.state_dict()
    state["0.weight"] = state["0.weight"].sum(1, keepdim=True)
    ours.features.load_state_dict(state)
    grey = torch.rand(2, 64, 96) * 2 - 1
    with torch.no_grad():
        expected, measured = theirs.eval()(grey[:, None].expand(-1, 3, -1, -1)), ours(grey)
    assert expected.std() > 1e-3
    assert torch.allclose(measured, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_it_begins_as_torchvision_s_does_at_any_width() -> None:
    """He et al. 2015 for the convolutions; a standard deviation of 0.01 with 25,088, 4,096 and 4,096 inputs."""
    ours = network(width=0.25, pooled=2)
    convolutions = [layer for layer in ours.features if isinstance(layer, nn.Conv2d)]
    linear = [layer for layer in ours.classifier if isinstance(layer, nn.Linear)]
    expected = [(2 / (9 * layer.out_channels)) ** 0.5 for layer in convolutions]
    expected += [0.01 * (25088 / 512) ** 0.5, 0.01 * (4096 / 1024) ** 0.5, 0.01 * (4096 / 1024) ** 0.5]
    layers = convolutions + linear
    assert len(layers) == len(expected) == 19
    for layer, deviation in zip(layers, expected, strict=True):
        assert layer.weight.detach().std().item() == pytest.approx(deviation, rel=0.2)
        assert layer.bias is not None and not layer.bias.any()


def test_width_scales_every_layer() -> None:
    wide, narrow = network(width=1.0), network(width=0.25)
    channels = [
        [layer.out_channels for layer in each.features if isinstance(layer, nn.Conv2d)] for each in (wide, narrow)
    ]
    assert channels[0] == [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8
    assert channels[1] == [count // 4 for count in channels[0]]
    assert [layer.out_features for layer in narrow.classifier if isinstance(layer, nn.Linear)] == [1024, 1024, 3]
    assert network(width=0.01).features[0].out_channels == 4


@pytest.mark.parametrize(("frames", "bands", "pooled"), [(32, 32, 7), (33, 100, 2), (128, 128, 4), (200, 64, 1)])
def test_any_size_of_32_or_more(frames: int, bands: int, pooled: int) -> None:
    assert network(frames=frames, bands=bands, pooled=pooled)(torch.zeros(2, frames, bands)).shape == (2, 3)


@pytest.mark.parametrize(("frames", "bands", "shrink"), [(31, 40, 1), (40, 31, 1), (63, 128, 2)])
def test_smaller_ones_are_refused(frames: int, bands: int, shrink: int) -> None:
    with pytest.raises(AugrunError, match=rf"{frames} frames of {bands} bands are too few .* takes {32 * shrink} or"):
        network(frames=frames, bands=bands, shrink=shrink)


def test_shrinking_averages_squares_of_the_normalised_spectrogram() -> None:
    fine = torch.randn(2, 64, 80, generator=torch.Generator().manual_seed(2)) * 10 - 60
    coarse = fine.view(2, 32, 2, 40, 2).mean((2, 4))
    with torch.no_grad():
        shrunk, given = network(frames=64, bands=80, shrink=2)(fine), network()(coarse)
    assert torch.allclose(shrunk, given, atol=1e-6)


# Normalisation.


def test_the_train_part_s_range_becomes_minus_one_to_one_and_nothing_is_cut_off() -> None:
    given = torch.tensor([-80.0, -30.0, 20.0, -105.0, 45.0])
    assert network().normalise(given).tolist() == pytest.approx([-1.0, 0.0, 1.0, -1.5, 1.5], abs=1e-6)


def test_the_range_is_the_train_part_s_alone_and_kept_with_the_model(trained: Path) -> None:
    train = examples(24, 0)
    values = np.concatenate([segment.ravel() for segment in train.features])
    state = torch.load(trained / "model.pt", weights_only=True)["state"]
    assert float(state["network.low"]) == values.min() and float(state["network.high"]) == values.max()


def test_the_unit_of_the_features_does_not_matter(tmp_path: Path, trained: Path) -> None:
    """Minimum and maximum go with it: in hundredths of decibels the same model comes out."""

    def rescaled(given: Examples) -> Examples:
        arrays = [np.array(segment) / np.float32(64) + np.float32(2) for segment in given.features]
        return Examples(Features.from_arrays(arrays), given.targets, given.multilabel)

    TINY.fit(rescaled(examples(24, 0)), rescaled(examples(9, 1)), Job(tmp_path, seed=7, hardware=CPU))
    test = examples(9, 2)
    ours = TINY.predict(rescaled(test).features, tmp_path, Job(tmp_path, hardware=CPU))
    assert ours == pytest.approx(TINY.predict(test.features, trained, Job(trained, hardware=CPU)), abs=2e-3)


def test_the_range_is_read_one_segment_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = [np.array(segment) for segment in examples(5, 0).features]
    features = build(tmp_path, list("abcde"), 40, one_by_one(lambda row: arrays[row]), key="k")
    sizes: list[int] = []
    read = Features.__getitem__

    def watched(self: Features, item: int) -> np.ndarray:
        sizes.append(1)
        return read(self, item)

    monkeypatch.setattr(Features, "__getitem__", watched)
    assert value_range(features) == (min(a.min() for a in arrays), max(a.max() for a in arrays))
    assert len(sizes) == 5


# Training.


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    TINY.fit(examples(24, 0), examples(9, 1), Job(folder, seed=7, hardware=CPU))
    return folder


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that tells its classes apart."""
    folder = tmp_path_factory.mktemp("learnt")
    replace(TINY, epochs=12).fit(examples(60, 0), examples(30, 1), Job(folder, seed=1, hardware=CPU))
    return folder


def test_leaves_a_model_and_a_history(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {"model.pt", "history.json"}
    history = json.loads((trained / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert all(set(entry) == {"epoch", "train/loss", "validation/loss", "validation/uar"} for entry in history)


def test_the_last_layer_of_an_embedding_gives_the_predictions(learnt: Path) -> None:
    features, job = examples(70, 2).features, Job(learnt, hardware=CPU)
    embedded = TINY.embed(features, learnt, job)
    assert embedded.shape == (70, 256) and embedded.dtype == np.float32 and embedded.min() == 0
    state = torch.load(learnt / "model.pt", weights_only=True)["state"]
    weight, bias = (state[f"network.classifier.6.{name}"] for name in ("weight", "bias"))
    scores = (torch.from_numpy(embedded) @ weight.T + bias).softmax(1).numpy()
    assert scores == pytest.approx(TINY.predict(features, learnt, job), abs=1e-5)
    assert TINY.embed(features.select([]), learnt, job).shape == (0, 256)


def test_learns_one_class_a_segment(learnt: Path) -> None:
    test = examples(60, 2)
    scores = TINY.predict(test.features, learnt, Job(learnt, hardware=CPU))
    assert scores.dtype == np.float32 and scores.sum(1) == pytest.approx(np.ones(60), abs=1e-5)
    assert recall_score(test.targets.argmax(1), scores.argmax(1), average="macro") > 0.9


def test_a_network_that_never_leaves_its_plateau_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Without batch normalisation, and at a rate of nothing, every segment is taken for one and the same class.
    stuck = replace(TINY, batch_norm=False, rate=1e-12)
    with caplog.at_level(logging.WARNING):
        stuck.fit(examples(24, 0), examples(9, 1), Job(tmp_path / "stuck", hardware=CPU, title="fold 1"))
    (warning,) = (record.getMessage() for record in caplog.records)
    assert warning.startswith("fold 1: in all 3 epochs the macro recall of the validation part stayed at 0.333:")
    assert "classifier.batch_norm=true" in warning
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        replace(TINY, epochs=6).fit(examples(60, 0), examples(30, 1), Job(tmp_path / "well", seed=1, hardware=CPU))
    assert not caplog.records


def test_learns_several_classes_a_segment(tmp_path: Path) -> None:
    classifier, test = replace(TINY, epochs=16), examples(60, 2, multilabel=True)
    classifier.fit(examples(60, 0, True), examples(30, 1, True), Job(tmp_path, seed=1, hardware=CPU))
    scores = classifier.predict(test.features, tmp_path, Job(tmp_path, hardware=CPU))
    assert roc_auc_score(test.targets, scores) > 0.9
    assert np.ptp(scores.sum(1)) > 0.5  # probabilities of their own, no shares of one


def test_predictions_are_alike_each_time_and_alone(learnt: Path) -> None:
    features, job = examples(70, 2).features, Job(learnt, hardware=CPU)
    scores = TINY.predict(features, learnt, job)
    assert np.array_equal(scores, TINY.predict(features, learnt, replace(job, seed=99)))
    alone = np.concatenate([TINY.predict(features.select([row]), learnt, job) for row in (0, 69)])
    assert alone == pytest.approx(scores[[0, 69]], abs=1e-5)
    assert TINY.predict(features.select([]), learnt, job).shape == (0, 3)


@pytest.mark.parametrize(("select", "best"), [("uar", max), ("loss", min)])
def test_the_model_is_the_best_epoch_s(
    tmp_path: Path, select: Literal["uar", "loss"], best: Callable[..., float]
) -> None:
    validation = examples(9, 1)
    classifier = replace(TINY, epochs=5, batch_size=4, select=select)
    classifier.fit(examples(36, 0), validation, Job(tmp_path, seed=3, hardware=CPU))
    history = json.loads((tmp_path / "history.json").read_text())
    scores = classifier.predict(validation.features, tmp_path, Job(tmp_path, hardware=CPU))
    truth = validation.targets.argmax(1)
    measured = {
        "uar": recall_score(truth, scores.argmax(1), average="macro"),
        "loss": float(-np.log(scores[np.arange(9), truth]).mean()),
    }
    curve = [entry[f"validation/{select}"] for entry in history]
    assert len(set(curve)) > 1
    assert measured[select] == pytest.approx(best(curve), abs=1e-5)


def test_without_a_validation_part_the_last_epoch_counts(tmp_path: Path) -> None:
    train = examples(12, 0)
    nothing = Examples(train.features.select([]), train.targets[:0], False)
    TINY.fit(train, nothing, Job(tmp_path, seed=7, hardware=CPU))
    history = json.loads((tmp_path / "history.json").read_text())
    assert [set(entry) for entry in history] == [{"epoch", "train/loss"}] * 3


def test_the_same_seed_gives_the_same_model_whatever_is_drawn_around_it(tmp_path: Path, trained: Path) -> None:
    torch.manual_seed(12345)
    np.random.seed(54321)
    TINY.fit(examples(24, 0), examples(9, 1), Job(tmp_path, seed=7, hardware=CPU))
    assert (tmp_path / "history.json").read_text() == (trained / "history.json").read_text()
    assert models_equal(tmp_path, trained)


def test_another_seed_gives_another_model(tmp_path: Path, trained: Path) -> None:
    TINY.fit(examples(24, 0), examples(9, 1), Job(tmp_path, seed=8, hardware=CPU))
    assert (tmp_path / "history.json").read_text() != (trained / "history.json").read_text()


def models_equal(one: Path, other: Path) -> bool:
    a, b = (torch.load(folder / "model.pt", weights_only=True) for folder in (one, other))
    return a["shape"] == b["shape"] and all(torch.equal(a["state"][name], b["state"][name]) for name in a["state"])


KILLED = """
import os, sys, torch
from pathlib import Path
from augrun.classifiers.vgg19.training import Training
from augrun.core.job import Job
from tests.classifiers.test_vgg19 import CPU, TINY, examples
torch.set_num_threads(int(sys.argv[3]))
steps, step = int(sys.argv[2]), Training.training_step
def deadly(self, batch, index):
    global steps
    steps -= 1
    if steps < 0:
        os.kill(os.getpid(), 9)
    return step(self, batch, index)
Training.training_step = deadly
TINY.fit(examples(24, 0), examples(9, 1), Job(Path(sys.argv[1]), seed=7, hardware=CPU))
"""


@pytest.mark.slow
def test_killed_and_run_again_gives_the_undisturbed_model(tmp_path: Path, trained: Path) -> None:
    """In the middle of the second epoch."""
    script, folder = tmp_path / "killed.py", tmp_path / "fit"
    script.write_text(KILLED)
    folder.mkdir()
    command = [sys.executable, str(script), str(folder), "4", str(torch.get_num_threads())]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=600)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.is_file())
    assert left == ["fit/best.ckpt", "fit/history.json", "fit/last.ckpt"]
    assert len(json.loads((folder / "fit" / "history.json").read_text())) == 1
    TINY.fit(examples(24, 0), examples(9, 1), Job(folder, seed=7, hardware=CPU))
    assert models_equal(folder, trained)
    assert (folder / "history.json").read_text() == (trained / "history.json").read_text()


def test_a_finished_fit_is_left_alone(trained: Path) -> None:
    stamp = (trained / "model.pt").stat().st_mtime_ns
    TINY.fit(examples(24, 0), examples(9, 1), Job(trained, seed=7, hardware=CPU))
    assert (trained / "model.pt").stat().st_mtime_ns == stamp


def test_losses_take_soft_targets_and_weigh_no_class() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    soft = torch.tensor([[0.7, 0.2, 0.1]] * 5 + [[0.0, 0.1, 0.9]])  # one class is frequent, one rare
    one, several = Training(network(), False, TINY), Training(network(), True, TINY)
    expected = -(soft * logits.log_softmax(1)).sum(1).mean()
    assert one.loss(logits, soft).item() == pytest.approx(expected.item(), rel=1e-6)
    expected = -(soft * logits.sigmoid().log() + (1 - soft) * (1 - logits.sigmoid()).log()).mean()
    assert several.loss(logits, soft).item() == pytest.approx(expected.item(), rel=1e-6)


def test_every_segment_is_seen_once_an_epoch_however_rare_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    step = Training.training_step

    def watched(self: Training, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        seen.append(batch[1])
        return step(self, batch, index)

    monkeypatch.setattr(Training, "training_step", watched)
    given = examples(24, 0)
    targets = np.eye(3, dtype=np.float32)[[0] * 18 + [1] * 5 + [2]]
    imbalanced = Examples(given.features, targets, False)
    replace(TINY, epochs=1).fit(imbalanced, examples(6, 1), Job(tmp_path, hardware=CPU))
    assert torch.cat(seen).sum(0).tolist() == [18.0, 5.0, 1.0]


@pytest.mark.parametrize("multilabel", [False, True])
def test_macro_recall_is_scikit_learn_s(multilabel: bool) -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(40, 5)).astype(np.float32)
    targets = (rng.random((40, 5)) < 0.4).astype(np.float32) if multilabel else np.eye(5)[rng.integers(0, 5, 40)]
    truth, taken = (targets, logits > 0) if multilabel else (targets.argmax(1), logits.argmax(1))
    expected = recall_score(truth, taken, average="macro")
    measured = macro_recall(torch.from_numpy(logits), torch.from_numpy(targets), multilabel)
    assert measured == pytest.approx(expected, abs=1e-6)


def test_macro_recall_leaves_out_classes_without_segments() -> None:
    logits = torch.tensor([[3.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    targets = torch.eye(3)[[0, 1, 1]]
    assert macro_recall(logits, targets, False) == pytest.approx((1.0 + 0.5) / 2)


# What is refused.


def test_segments_of_several_lengths_are_refused(tmp_path: Path, learnt: Path) -> None:
    train, longer = examples(8, 0), examples(4, 1, frames=48)
    mixed = Examples(
        Features.concatenate([train.features, longer.features]), np.concatenate([train.targets, longer.targets]), False
    )
    message = r"4 of 12 have other than the 32 frames .*e\.g\. 48\. Give segments\.seconds and segments\.frames"
    with pytest.raises(AugrunError, match=message):
        TINY.fit(mixed, examples(6, 2), Job(tmp_path, hardware=CPU))
    with pytest.raises(AugrunError, match=r"4 of 4 have other than the 32 frames .*segments\.frames"):
        TINY.fit(train, longer, Job(tmp_path, hardware=CPU))
    with pytest.raises(AugrunError, match=r"4 of 4 have other than the 32 frames that the classifier was trained on"):
        TINY.predict(longer.features, learnt, Job(learnt, hardware=CPU))


@pytest.mark.parametrize(("multilabel", "row"), [(False, [0, 1, 0]), (True, [1, 0, 1])])
def test_a_train_part_of_one_kind_is_refused(tmp_path: Path, multilabel: bool, row: list[float]) -> None:
    same = Examples(examples(8, 0).features, np.tile(np.array(row, dtype=np.float32), (8, 1)), multilabel)
    with pytest.raises(AugrunError, match="all 8 training segments carry the same class"):
        TINY.fit(same, examples(6, 1), Job(tmp_path, hardware=CPU))


def test_no_training_segments_are_refused(tmp_path: Path) -> None:
    some = examples(4, 0)
    nothing = Examples(some.features.select([]), some.targets[:0], False)
    with pytest.raises(AugrunError, match="the training part has no segments"):
        TINY.fit(nothing, some, Job(tmp_path, hardware=CPU))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    train = examples(8, 0)
    arrays = [np.array(segment) for segment in train.features]
    arrays[2][5, 7] = value
    spoilt = Examples(Features.from_arrays(arrays), train.targets, False)
    with pytest.raises(AugrunError, match=r"segment 3 of the 8 training segments holds values that are NaN or inf"):
        TINY.fit(spoilt, examples(6, 1), Job(tmp_path, hardware=CPU))


def test_nan_in_the_validation_part_ends_in_one_clear_error(tmp_path: Path) -> None:
    validation = examples(6, 1)
    arrays = [np.array(segment) for segment in validation.features]
    arrays[0][0, 0] = np.nan
    spoilt = Examples(Features.from_arrays(arrays), validation.targets, False)
    with pytest.raises(AugrunError, match=r"validation/loss became nan in epoch 1"):
        TINY.fit(examples(8, 0), spoilt, Job(tmp_path, hardware=CPU))


def test_silence_alone_is_refused(tmp_path: Path) -> None:
    silence = Examples(Features.from_arrays([np.full((32, 40), -100.0)] * 4), np.eye(3)[[0, 1, 2, 0]], False)
    with pytest.raises(AugrunError, match="all values of the 4 training segments are -100: silence alone"):
        TINY.fit(silence, silence, Job(tmp_path, hardware=CPU))


# Its configuration.


def configured(scale: str) -> dict[str, Any]:
    resolvers.register()
    choice = OmegaConf.load(ROOT / "conf" / "classifier" / "vgg19.yaml")
    whole = OmegaConf.create({"scale": scale, "classifier": choice})
    settings: Any = OmegaConf.to_container(whole["classifier"], resolve=True)
    return settings


@pytest.mark.parametrize("scale", ["paper", "demo"])
def test_the_yaml_holds_every_setting_and_the_paper_s_are_the_defaults(scale: str) -> None:
    settings = configured(scale)
    assert settings.pop("_target_") == "augrun.classifiers.vgg19.VGG19"
    assert settings.pop("name") == "vgg19"
    assert set(settings) == {field.name for field in fields(VGG19)}
    assert (VGG19(**settings) == VGG19()) == (scale == "paper")
