"""The mood classifier: what it learns, what it makes of clips of any length, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.metrics import roc_auc_score
from torchvision.models import mobilenet_v2

from augrun.classifiers.mobilenetv2_attention import MobileNetV2Attention
from augrun.classifiers.mobilenetv2_attention.training import Clips, Training, network_of, phases_of
from augrun.core.config import resolvers
from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Hardware, Job
from augrun.features.cache import Features
from augrun.features.examples import Examples

ROOT = Path(__file__).resolve().parents[2]
CPU = Hardware(accelerator="cpu", progress=False)
TINY = MobileNetV2Attention(
    frames=130,
    slice_frames=65,
    blocks=[[1, 8, 1, 2], [2, 8, 1, 2], [2, 16, 1, 2], [2, 16, 1, 2]],
    width=0.5,
    pretrained=False,
    batch_size=4,
    adam_epochs=2,
    adam_rate=2e-3,
    sgd_epochs=1,
    sgd_rates=[1e-3, 1e-4],
    mixup_alpha=0.2,
)


pytestmark = pytest.mark.usefixtures("one_thread")


def examples(count: int, seed: int, multilabel: bool = True, bands: int = 70, classes: int = 3) -> Examples:
    """Decibel-like noise; each class raises a band of its own, beginning anywhere, in clips of 100 to 160 frames."""
    rng = np.random.default_rng(seed)
    first = rng.permutation(np.arange(count) % classes)
    targets = np.eye(classes, dtype=np.float32)[first]
    if multilabel:
        targets = np.maximum(targets, rng.random((count, classes)) < 0.2).astype(np.float32)
    clips = []
    for target in targets:
        clip = rng.normal(-60, 8, (rng.integers(100, 161), bands))
        for label in np.flatnonzero(target):
            clip[:, 10 + 20 * label : 14 + 20 * label] += 25
        clips.append(clip.astype(np.float32))
    return Examples(Features.from_arrays(clips), targets, multilabel)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    TINY.fit(examples(14, 0), examples(8, 1), Job(folder, seed=7, hardware=CPU))
    return folder


def test_leaves_a_model_and_one_history_of_all_phases(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {"model.pt", "history.json"}
    history = json.loads((trained / "history.json").read_text())
    assert [(entry["epoch"], entry["phase"]) for entry in history] == [
        (1, "adam"),
        (2, "adam"),
        (3, "sgd1"),
        (4, "sgd2"),
    ]
    curves = {"epoch", "phase", "train/loss", "validation/loss", "validation/roc_auc_macro"}
    assert all(set(entry) == curves for entry in history)


def test_the_model_is_the_best_epoch_of_all_phases(trained: Path) -> None:
    validation = examples(8, 1)
    scores = TINY.predict(validation.features, trained, Job(trained, hardware=CPU))
    history = json.loads((trained / "history.json").read_text())
    best = max(entry["validation/roc_auc_macro"] for entry in history)
    assert roc_auc_score(validation.targets, scores) == pytest.approx(best, abs=1e-6)


def test_predictions_are_probabilities_alike_each_time_and_alone(learnt: Path) -> None:
    features = examples(20, 2).features
    job = Job(learnt, hardware=CPU)
    scores = TINY.predict(features, learnt, job)
    assert scores.shape == (20, 3) and scores.dtype == np.float32
    assert scores.min() > 0 and scores.max() < 1 and np.ptp(scores, 0).min() > 0.05
    assert np.array_equal(scores, TINY.predict(features, learnt, replace(job, seed=99)))
    alone = np.concatenate([TINY.predict(features.select([row]), learnt, job) for row in range(3)])
    assert alone == pytest.approx(scores[:3], abs=1e-5)
    assert TINY.predict(features.select([]), learnt, job).shape == (0, 3)


def test_short_clips_are_tiled_and_long_ones_cropped() -> None:
    rng = np.random.default_rng(5)
    lengths = [1, 50, 130, 400]
    arrays = [rng.normal(-60, 8, (length, 70)).astype(np.float32) for length in lengths]
    data = Clips(Examples(Features.from_arrays(arrays), np.eye(4, dtype=np.float32), True), 130, 100.0)
    for index, array in enumerate(arrays):
        clip, target = data[index]
        assert clip.shape == (1, 70, 130) and clip.dtype == torch.float32
        expected = np.concatenate([array] * 130)[:130].T / np.float32(100)
        assert np.array_equal(clip[0].numpy(), expected)
        assert target.tolist() == np.eye(4)[index].tolist()


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that tells its classes apart."""
    folder = tmp_path_factory.mktemp("learnt")
    classifier = replace(TINY, adam_epochs=8, sgd_rates=[1e-3])
    classifier.fit(examples(48, 0), examples(12, 1), Job(folder, seed=1, hardware=CPU))
    return folder


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_last_layers_of_an_embedding_give_the_predictions(multilabel: bool, tmp_path: Path) -> None:
    """Both heads' with one slice; with several the attention head's half, and the plain head's mean logits."""
    torch.manual_seed(0)
    features, job = examples(10, 2).features, Job(tmp_path, hardware=CPU)
    for slices in (1, 2):
        classifier = replace(TINY, frames=65 * slices)
        shape = {"bands": 70, "classes": 3, "multilabel": multilabel}
        network = network_of(classifier, shape, pretrained=False).eval()
        state = {f"network.{name}": value for name, value in network.state_dict().items()}
        torch.save({"shape": shape, "state": state}, tmp_path / "model.pt")
        embedded = classifier.embed(features, tmp_path, job)
        assert embedded.shape == (10, 512) and embedded.dtype == np.float32
        clips = torch.stack([torch.from_numpy(np.resize(clip, (65 * slices, 70)).T / 100) for clip in features])[
            :, None
        ]
        with torch.inference_mode():
            attention = network.attention.classify(torch.from_numpy(embedded[:, :256]))
            plain = network.plain[-1](torch.from_numpy(embedded[:, 256:]))
            vectors = network.vectors(clips)
            assert torch.allclose(attention, network.attention(vectors), atol=1e-5)
            assert torch.allclose(plain, network.plain(vectors).mean(1), atol=1e-5)
            if slices == 1:
                heads = [of.sigmoid() if multilabel else of.softmax(1) for of in (attention, plain)]
                scores = (sum(heads) / 2).numpy()
                assert scores == pytest.approx(classifier.predict(features, tmp_path, job), abs=1e-5)
    assert classifier.embed(features.select([]), tmp_path, job).shape == (0, 512)


def test_learns_several_classes_a_clip(learnt: Path) -> None:
    test = examples(30, 2)
    scores = TINY.predict(test.features, learnt, Job(learnt, hardware=CPU))
    assert roc_auc_score(test.targets, scores) > 0.9


def test_learns_one_class_a_clip_from_any_number_of_bands(tmp_path: Path) -> None:
    classifier = replace(TINY, adam_epochs=8, sgd_epochs=0)
    train, test = examples(48, 0, False, 128), examples(30, 2, False, 128)
    classifier.fit(train, examples(12, 1, False, 128), Job(tmp_path, seed=1, hardware=CPU))
    scores = classifier.predict(test.features, tmp_path, Job(tmp_path, hardware=CPU))
    assert roc_auc_score(test.targets, scores) > 0.9
    assert scores.sum(1) == pytest.approx(np.ones(30), abs=1e-5)


def test_a_tiled_clip_scores_as_its_tiles_and_a_cropped_one_as_its_beginning(learnt: Path) -> None:
    loud, quiet = (np.array(examples(3, seed).features[0]) for seed in (5, 6))
    tiles = np.concatenate([loud[:50]] * 3)
    given = Features.from_arrays([loud[:50], tiles, np.concatenate([tiles, quiet]), quiet])
    scores = TINY.predict(given, learnt, Job(learnt, hardware=CPU))
    assert scores[1:3] == pytest.approx(np.stack([scores[0]] * 2), abs=1e-6)
    assert np.abs(scores[3] - scores[0]).max() > 1e-3


def test_another_seed_gives_another_model(tmp_path: Path, trained: Path) -> None:
    TINY.fit(examples(14, 0), examples(8, 1), Job(tmp_path, seed=8, hardware=CPU))
    assert (tmp_path / "history.json").read_text() != (trained / "history.json").read_text()


def test_the_same_seed_gives_the_same_model_whatever_is_drawn_around_it(tmp_path: Path, trained: Path) -> None:
    torch.manual_seed(12345)
    np.random.seed(54321)
    TINY.fit(examples(14, 0), examples(8, 1), Job(tmp_path, seed=7, hardware=CPU))
    assert (tmp_path / "history.json").read_text() == (trained / "history.json").read_text()
    assert models_equal(tmp_path, trained)


def test_without_a_validation_part_the_last_epoch_counts(tmp_path: Path) -> None:
    train = examples(8, 0)
    nothing = Examples(train.features.select([]), train.targets[:0], True)
    TINY.fit(train, nothing, Job(tmp_path, seed=7, hardware=CPU))
    history = json.loads((tmp_path / "history.json").read_text())
    assert [set(entry) for entry in history] == [{"epoch", "phase", "train/loss"}] * 4


def models_equal(one: Path, other: Path) -> bool:
    a, b = (torch.load(folder / "model.pt", weights_only=True) for folder in (one, other))
    return a["shape"] == b["shape"] and all(torch.equal(a["state"][name], b["state"][name]) for name in a["state"])


KILLED = """
import os, sys, torch
from pathlib import Path
from augrun.classifiers.mobilenetv2_attention.training import Training
from augrun.core.job import Job
from tests.classifiers.test_mobilenetv2_attention import CPU, TINY, examples
torch.set_num_threads(int(sys.argv[3]))
steps, step = int(sys.argv[2]), Training.training_step
def deadly(self, batch, index):
    global steps
    steps -= 1
    if steps < 0:
        os.kill(os.getpid(), 9)
    return step(self, batch, index)
Training.training_step = deadly
TINY.fit(examples(14, 0), examples(8, 1), Job(Path(sys.argv[1]), seed=7, hardware=CPU))
"""


@pytest.mark.slow
def test_killed_twice_and_run_again_gives_the_undisturbed_model(tmp_path: Path, trained: Path) -> None:
    """Once in the middle of the first phase's second epoch, once in the middle of the second phase."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    folder = tmp_path / "fit"
    folder.mkdir()
    found = []
    for steps in (6, 6):
        command = [sys.executable, str(script), str(folder), str(steps), str(torch.get_num_threads())]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=600)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        found.append(sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.is_file()))
    assert found[0] == ["adam/best.ckpt", "adam/history.json", "adam/last.ckpt"]
    assert "adam/finished.json" in found[1] and not any("sgd1/" in path for path in found[1])
    TINY.fit(examples(14, 0), examples(8, 1), Job(folder, seed=7, hardware=CPU))
    assert models_equal(folder, trained)
    assert (folder / "history.json").read_text() == (trained / "history.json").read_text()
    features = examples(9, 3).features
    again, before = (TINY.predict(features, f, Job(f, hardware=CPU)) for f in (folder, trained))
    assert np.array_equal(again, before)


def test_a_finished_fit_is_left_alone(trained: Path) -> None:
    stamp = (trained / "model.pt").stat().st_mtime_ns
    TINY.fit(examples(14, 0), examples(8, 1), Job(trained, seed=7, hardware=CPU))
    assert (trained / "model.pt").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 200}, r"frames=200 is no multiple of classifier.slice_frames=65.*dataset.input_frames=260"),
        ({"frames": 128, "slice_frames": 64}, r"slice_frames=64 is too short .* at least 65"),
        ({"blocks": [[1, 2, 3]]}, r"classifier.blocks=\[\[1, 2, 3\]\] is no table of MobileNetV2"),
        ({"pretrained": True}, r"width=0.5: .*classifier.pretrained=false"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        replace(TINY, **changes).check()


def test_weights_that_cannot_be_downloaded_name_the_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(
        AugrunError, match=r"no route to host(.|\n)*classifier.pretrained=false.*classifier.weights=FILE"
    ):
        MobileNetV2Attention(frames=4096).check()


@pytest.mark.parametrize("content", [None, b"no weights", "other model"])
def test_weights_that_cannot_be_read_are_named(tmp_path: Path, content: object) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        torch.save({"features.0.0.weight": torch.zeros(3)}, path)
    with pytest.raises(AugrunError, match=r"weights.pth \((.|\n)*classifier.pretrained=false"):
        MobileNetV2Attention(frames=4096, weights=str(path)).check()


def test_weights_of_a_local_file_are_where_training_starts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = mobilenet_v2()
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    classifier = MobileNetV2Attention(frames=256, weights=str(tmp_path / "weights.pth"))
    classifier.check()
    network = network_of(classifier, {"bands": 96, "classes": 3, "multilabel": True}, pretrained=True)
    expected = reference.features.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.mobilenet.state_dict().items())


def test_a_validation_part_of_one_kind_is_refused(tmp_path: Path) -> None:
    one = examples(3, 0)
    same = Examples(one.features, np.tile(np.float32([1, 0, 1]), (3, 1)), True)
    with pytest.raises(AugrunError, match="all 3 validation clips carry the same classes"):
        TINY.fit(examples(8, 0), same, Job(tmp_path, hardware=CPU))


def test_no_training_clips_are_refused(tmp_path: Path) -> None:
    some = examples(4, 0)
    with pytest.raises(AugrunError, match="the training part has no clips"):
        TINY.fit(Examples(some.features.select([]), some.targets[:0], True), some, Job(tmp_path, hardware=CPU))


def test_nan_in_the_features_ends_in_one_clear_error(tmp_path: Path) -> None:
    train = examples(8, 0)
    arrays = [np.array(clip) for clip in train.features]
    arrays[3][:] = np.nan
    with pytest.raises(AugrunError, match=r"train/loss became nan in epoch 1"):
        TINY.fit(
            Examples(Features.from_arrays(arrays), train.targets, True), examples(6, 1), Job(tmp_path, hardware=CPU)
        )


def configured(scale: str, frames: int) -> dict:
    resolvers.register()
    choice = OmegaConf.load(ROOT / "conf" / "classifier" / "mobilenetv2_attention.yaml")
    whole = OmegaConf.create({"scale": scale, "dataset": {"input_frames": frames}, "classifier": choice})
    return OmegaConf.to_container(whole, resolve=True)["classifier"]


@pytest.mark.parametrize(("scale", "frames"), [("paper", 4096), ("demo", 512)])
def test_the_yaml_holds_every_setting_and_the_paper_s_are_the_defaults(scale: str, frames: int) -> None:
    settings = configured(scale, frames)
    assert settings.pop("_target_") == "augrun.classifiers.mobilenetv2_attention.MobileNetV2Attention"
    assert settings.pop("name") == "mobilenetv2_attention"
    assert set(settings) == {field.name for field in fields(MobileNetV2Attention)}
    classifier = MobileNetV2Attention(**settings)
    if scale == "paper":
        assert classifier == MobileNetV2Attention(frames=4096)
    else:
        classifier.check()


def test_the_paper_s_schedule() -> None:
    phases = phases_of(MobileNetV2Attention(frames=4096))
    assert [(name, epochs, optimizer["lr"]) for name, epochs, optimizer in phases] == [
        ("adam", 60, 1e-4),
        ("sgd1", 20, 1e-3),
        ("sgd2", 20, 1e-4),
        ("sgd3", 20, 1e-5),
    ]
    assert phases[1][2] == {"name": "sgd", "lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4, "nesterov": True}


def test_the_attention_head_has_a_rate_of_its_own_and_no_parameter_is_left_out() -> None:
    classifier = replace(TINY, adam_rate=1e-3, attention_rate=1e-4)
    network = network_of(classifier, {"bands": 70, "classes": 3, "multilabel": True}, pretrained=False)
    rates = {"adam": (1e-3, 1e-4), "sgd1": (1e-3, 1e-3), "sgd2": (1e-4, 1e-4)}
    for name, _, settings in phases_of(classifier):
        groups = Training(network, True, settings, classifier).configure_optimizers().param_groups
        assert tuple(group["lr"] for group in groups) == rates[name]
        assert {id(p) for p in groups[1]["params"]} == {id(p) for p in network.attention.parameters()}
        assert sorted(id(p) for group in groups for p in group["params"]) == sorted(id(p) for p in network.parameters())
