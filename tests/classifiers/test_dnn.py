"""The perceptron: alone and together, killed and resumed, what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import recall_score

from augrun.classifiers.dnn import DNN, training
from augrun.core.config import compose
from augrun.core.config.component import build
from augrun.core.errors import AugrunError
from augrun.core.job import Hardware, Job
from augrun.features.cache import Features
from augrun.features.examples import Examples

CPU = Hardware(accelerator="cpu", progress=False)
TINY = DNN(hidden=[24, 16], dropout=0.2, batch_size=16, epochs=12, rate=3e-3)
NAMES = ("a", "b", "c")
CENTRES = np.random.default_rng(7).normal(size=(3, 20))

pytestmark = pytest.mark.usefixtures("one_thread")


def examples(count: int, seed: int, multilabel: bool = False) -> Examples:
    rng = np.random.default_rng(seed)
    targets = np.eye(3, dtype=np.float32)[rng.permutation(np.arange(count) % 3)]
    if multilabel:
        targets = np.maximum(targets, rng.random((count, 3)) < 0.2).astype(np.float32)
    rows = targets @ CENTRES + 0.8 * rng.normal(size=(count, 20))
    features = Features.from_rows(rows.astype(np.float32), np.ones(count, dtype=np.int64))
    return Examples(features, targets, multilabel, NAMES)


def job(folder: Path, seed: int = 0) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    return Job(folder, seed, CPU)


def history(folder: Path) -> list[dict[str, float]]:
    return json.loads((folder / "history.json").read_text())


def test_together_is_as_alone(tmp_path: Path) -> None:
    """Sizes, and so steps and ends, differ; two share their training set."""
    first, second, third = examples(100, 1), examples(131, 2), examples(77, 3)
    train, seeds = [first, second, third, first], [5, 6, 7, 8]
    TINY.fit_together(train, [job(tmp_path / f"together{k}", seed) for k, seed in enumerate(seeds)])
    test = examples(90, 9)
    scores = []
    for k, (part, seed) in enumerate(zip(train, seeds, strict=True)):
        TINY.fit(part, part, job(tmp_path / f"alone{k}", seed))
        one, other = tmp_path / f"together{k}", tmp_path / f"alone{k}"
        assert {path.name for path in one.iterdir()} == {"model.pt", "history.json"}
        state, expected = (torch.load(folder / "model.pt", weights_only=True)["state"] for folder in (one, other))
        for name, value in expected.items():
            assert torch.allclose(state[name], value, atol=1e-5), (k, name)
        assert len(history(one)) == 12
        losses = [[entry["train/loss"] for entry in history(folder)] for folder in (one, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        scores.append(TINY.predict(test.features, one, job(tmp_path / "out")))
        assert scores[-1] == pytest.approx(TINY.predict(test.features, other, job(tmp_path / "out")), abs=1e-5)
    assert np.abs(scores[0] - scores[3]).max() > 1e-3  # another seed


def test_it_learns_and_the_loss_is_that_of_whole_passes(tmp_path: Path) -> None:
    train, test = examples(100, 1), examples(90, 2)
    TINY.fit(train, test, job(tmp_path))
    scores = TINY.predict(test.features, tmp_path, job(tmp_path))
    assert scores.dtype == np.float32 and scores.sum(1) == pytest.approx(np.ones(90), abs=1e-5)
    assert recall_score(test.targets.argmax(1), scores.argmax(1), average="macro") > 0.9
    curve = [entry["train/loss"] for entry in history(tmp_path)]
    assert curve[0] == pytest.approx(np.log(3), abs=0.15) and curve[-1] < 0.3 * curve[0]


def test_several_classes_a_clip(tmp_path: Path) -> None:
    train, test = (examples(120, seed, multilabel=True) for seed in (1, 2))
    TINY.fit(train, test, job(tmp_path))
    scores = TINY.predict(test.features, tmp_path, job(tmp_path))
    assert ((scores > 0.5) == (test.targets > 0.5)).mean() > 0.9
    assert np.ptp(scores.sum(1)) > 0.5


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_last_layer_of_an_embedding_gives_the_predictions(multilabel: bool, tmp_path: Path) -> None:
    train, test = examples(60, 1, multilabel), examples(30, 2, multilabel)
    TINY.fit(train, test, job(tmp_path))
    embedded = TINY.embed(test.features, tmp_path, job(tmp_path))
    assert embedded.shape == (30, 16) and embedded.dtype == np.float32
    state = torch.load(tmp_path / "model.pt", weights_only=True)["state"]
    logits = torch.from_numpy(embedded) @ state["2.weight"][0] + state["2.bias"][0]
    scores = logits.sigmoid() if multilabel else logits.softmax(1)
    assert scores.numpy() == pytest.approx(TINY.predict(test.features, tmp_path, job(tmp_path)), abs=1e-5)
    assert TINY.embed(test.features.select([]), tmp_path, job(tmp_path)).shape == (0, 16)


class Kill(Exception):
    pass


def test_killed_and_taken_up_ends_as_undisturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = replace(TINY, epochs=200)  # 1,400 and 1,000 steps, kept every 100
    train = [examples(100, 1), examples(77, 2)]
    long.fit_together(train, [job(tmp_path / f"whole{k}", k) for k in range(2)])
    step, taken = training.Training.training_step, []

    def until(self: training.Training, batch: torch.Tensor, index: int) -> None:
        if len(taken) == 9:
            raise Kill
        taken.append(int(self.taken))
        step(self, batch, index)

    monkeypatch.setattr(training.Training, "training_step", until)
    jobs = [job(tmp_path / f"killed{k}", k) for k in range(2)]
    with pytest.raises(Kill):
        long.fit_together(train, jobs)
    monkeypatch.setattr(training.Training, "training_step", step)
    begun = []
    monkeypatch.setattr(training.Training, "on_train_start", lambda self: begun.append(int(self.taken)))
    long.fit_together(train, jobs)
    assert begun == [400]
    for k in range(2):
        one, other = (
            torch.load(tmp_path / f"{name}{k}" / "model.pt", weights_only=True) for name in ("whole", "killed")
        )
        assert all(torch.equal(value, other["state"][name]) for name, value in one["state"].items())
        assert history(tmp_path / f"whole{k}") == history(tmp_path / f"killed{k}")


def test_soft_targets_and_no_class_weights() -> None:
    logits = torch.tensor([[[2.0, 0.0, -1.0]]])
    soft = torch.tensor([[[0.7, 0.3, 0.0]]])
    expected = torch.nn.functional.cross_entropy(logits[0], soft[0])
    assert training.loss(logits, soft, multilabel=False)[0, 0] == pytest.approx(float(expected))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[0], soft[0])
    assert training.loss(logits, soft, multilabel=True)[0, 0] == pytest.approx(float(expected))


def test_what_it_cannot_learn_is_refused(tmp_path: Path) -> None:
    train = examples(30, 0)
    one = Examples(train.features, np.tile([[1.0, 0.0, 0.0]], (30, 1)).astype(np.float32), False)
    with pytest.raises(AugrunError, match="all 30 training clips carry the same class"):
        TINY.fit(one, one, job(tmp_path))
    none = Examples(train.features.select([]), train.targets[:0], False)
    with pytest.raises(AugrunError, match="the training part has no clips"):
        TINY.fit(none, none, job(tmp_path))


def test_the_yaml_and_the_class_have_the_same_defaults() -> None:
    words = ["dataset=feel", "representation=is10", "classifier=dnn", "generator=none", "policy=none", "scale=paper"]
    built = build(compose.compose(words)["classifier"])
    assert replace(built, hidden=list(built.hidden)) == DNN()
