"""Both balancing GANs as components: fitting in three steps, resuming, generating."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from augrun.core.config import resolvers, type_check
from augrun.core.config.component import build, describe
from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Hardware, Job
from augrun.features.cache import Features
from augrun.features.examples import Examples
from augrun.generators.bagan import BAGAN, base
from augrun.generators.bagan.base import BalancingGAN
from augrun.generators.bagan.original import BAGANOriginal
from augrun.generators.bagan.training import Adversaries, Autoencoder
from augrun.generators.requests import REQUEST_COLUMNS, GenerationInputs

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).parent.parent.parent
NAMES = ("low", "middle", "high")

#: Segments of 32 × 32, and networks of a few thousand parameters.
TINY = BAGAN(
    latent=6, dense=16, seed_width=4, generator_widths=(6,) * 8, discriminator_widths=(6,) * 8, dropout=0.05,
    batch_size=8, updates_per_epoch=12, autoencoder_updates=36, autoencoder_rate=5e-3, gan_updates=24, gan_rate=1e-4,
)  # fmt: skip
ORIGINAL = BAGANOriginal(
    latent=6, dense=16, seed_width=4, generator_widths=(6,) * 4, discriminator_widths=(6,) * 8, kernel=3, dropout=0.05,
    batch_size=8, updates_per_epoch=12, autoencoder_updates=36, autoencoder_rate=5e-3, gan_updates=24, gan_rate=1e-4,
)  # fmt: skip
BOTH = pytest.mark.parametrize("generator", [TINY, ORIGINAL], ids=["bagan", "original"])


def examples_of(counts: tuple[int, ...] = (9, 8, 4), edge: int = 32, seed: int = 0) -> Examples:
    """Noise in dB with a bright band, in another place for each class, that comes and goes."""
    random = np.random.default_rng(seed)
    arrays, labels = [], []
    for label, count in enumerate(counts):
        for _ in range(count):
            matrix = random.normal(-60, 4, (edge, edge))
            first = (1 + 5 * label) * edge // 16
            envelope = random.random() + np.sin(np.arange(edge) * (0.1 + 0.3 * random.random()) + random.random() * 6)
            matrix[:, first : first + edge // 6] += 20 * envelope[:, None].clip(0)
            arrays.append(matrix.clip(-80, 0).astype(np.float32))
            labels.append(label)
    order = random.permutation(len(labels))
    targets = np.eye(len(counts), dtype=np.float32)[labels]
    return Examples(Features.from_arrays([arrays[place] for place in order]), targets[order], False)


def job_in(folder: Path, seed: int = 0, precision: str = "32-true") -> Job:
    folder.mkdir(exist_ok=True)
    return Job(folder, seed=seed, hardware=Hardware(accelerator="cpu", precision=precision, progress=False))


def requests_for(labels: list[int], first_seed: int = 7) -> pd.DataFrame:
    rows = [(f"{c:03d}-{k:05d}", c, (c,), 3.0, "", "", 0.0, 0.0, first_seed + k) for k, c in enumerate(labels)]
    return pd.DataFrame(rows, columns=list(REQUEST_COLUMNS))


def made_in(folder: Path) -> np.ndarray:
    return np.stack(list(Features.open(folder / "features")))


@pytest.fixture(scope="module", params=[TINY, ORIGINAL], ids=["bagan", "original"])
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[BalancingGAN, Path]:
    """A generator, and the folder that its undisturbed fit left."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("bagan")
    request.param.fit(examples_of(), examples_of((2, 2, 2), seed=1), job_in(folder))
    return request.param, folder


def test_fit_leaves_its_account(fitted: tuple[BalancingGAN, Path]) -> None:
    generator, folder = fitted
    left = ["classes.npz", "health.json", "history.json", "model.ckpt", "settings.json"]
    assert sorted(path.name for path in folder.iterdir()) == left
    history = json.loads((folder / "history.json").read_text())
    assert [(entry["phase"], entry["epoch"]) for entry in history] == [
        ("autoencoder", 1), ("autoencoder", 2), ("autoencoder", 3), ("gan", 4), ("gan", 5)
    ]  # fmt: skip
    assert history[2]["validation/loss"] < history[0]["validation/loss"]
    assert {"train/diversity", "train/extreme_share", "train/one_verdict"} <= history[4].keys()
    settings = json.loads((folder / "settings.json").read_text())
    whole = np.stack(list(examples_of().features))
    assert settings["normalisation"] == {"minimum": float(whole.min()), "maximum": float(whole.max())}
    assert (settings["classes"], settings["frames"], settings["bands"]) == (3, 32, 32)
    assert settings["covariance"] == "oas" and settings["batches"] == generator.batches
    health = json.loads((folder / "health.json").read_text())
    assert health["diversity"] == history[4]["train/diversity"]
    assert health["recorded_extreme_share"] < 0.01 and isinstance(health["warnings"], list)


def test_latents_are_those_of_the_trained_encoder(
    fitted: tuple[BalancingGAN, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoded as a trained network encodes, and each class by its own segments."""
    generator, folder = fitted
    encoded: list[np.ndarray] = []
    plain = base._encode
    monkeypatch.setattr(base, "_encode", lambda *a: encoded.append(plain(*a)) or encoded[-1])
    networks: list[Autoencoder] = []
    start = Adversaries.start_from
    monkeypatch.setattr(Adversaries, "start_from", lambda s, a: networks.append(a) or start(s, a))
    examples = examples_of()
    generator.fit(examples, examples_of((2, 2, 2), seed=1), job_in(tmp_path / "fit"))
    whole = np.stack(list(examples.features))
    scaled = (whole - whole.min()) / (whole.max() - whole.min()) * 2 - 1
    with torch.no_grad():
        expected = networks[0].encoder.eval()(torch.from_numpy(scaled)[:, None]).numpy()
    assert np.abs(encoded[0] - expected).max() < 1e-4
    with np.load(folder / "classes.npz") as known:
        for label in range(3):
            own = expected[examples.targets[:, label] == 1]
            assert np.abs(known["means"][label] - own.mean(axis=0)).max() < 1e-4


def test_finished_fit_returns_at_once(fitted: tuple[BalancingGAN, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    generator, folder = fitted
    monkeypatch.setattr(BalancingGAN, "_train", lambda *_: pytest.fail("trained again"))
    before = (folder / "model.ckpt").stat().st_mtime_ns
    generator.fit(examples_of(), examples_of(), job_in(folder))
    assert (folder / "model.ckpt").stat().st_mtime_ns == before


@pytest.mark.parametrize(("step", "call"), [(Autoencoder, 15), (Adversaries, 14)], ids=["autoencoder", "gan"])
def test_killed_fit_continues_to_the_same_bits(
    fitted: tuple[BalancingGAN, Path], step: type, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the second epoch of a step: that epoch and what follows are done again, and nothing else."""
    generator, folder = fitted
    counted = {Autoencoder: 0, Adversaries: 0}
    killed = False

    def counting(kind: Any) -> None:
        plain = kind.training_step

        def count(self: Any, batch: Any, index: int) -> Any:
            nonlocal killed
            counted[kind] += 1
            if kind is step and counted[kind] == call and not killed:
                killed = True
                raise KeyboardInterrupt
            return plain(self, batch, index)

        monkeypatch.setattr(kind, "training_step", count)

    for kind in counted:
        counting(kind)
    job, parts = job_in(tmp_path / "fit"), (examples_of(), examples_of((2, 2, 2), seed=1))
    with pytest.raises(KeyboardInterrupt):
        generator.fit(*parts, job)
    assert not (job.folder / "model.ckpt").exists()
    assert (job.folder / "classes.npz").exists() == (step is Adversaries)
    encoded: list[int] = []
    plain = base._encode
    monkeypatch.setattr(base, "_encode", lambda *a: encoded.append(1) or plain(*a))
    generator.fit(*parts, job)
    assert len(encoded) == (step is Autoencoder)  # the second step is not done twice
    again = {Autoencoder: {Autoencoder: 15 + 24, Adversaries: 24}, Adversaries: {Autoencoder: 36, Adversaries: 14 + 12}}
    assert counted == again[step]
    for name in ("model.ckpt", "classes.npz", "history.json", "health.json"):
        if name == "model.ckpt":
            one, other = (torch.load(place / name, weights_only=True) for place in (folder, job.folder))
            assert all(torch.equal(value, other[key]) for key, value in one.items()) and one.keys() == other.keys()
        else:
            assert (folder / name).read_bytes() == (job.folder / name).read_bytes(), name


def test_seed_decides_the_weights(tmp_path: Path) -> None:
    short = dataclasses.replace(TINY, autoencoder_updates=6, gan_updates=6)
    jobs = [job_in(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    for job in jobs:
        short.fit(examples_of(), examples_of(), job)
    one, same, different = (torch.load(job.folder / "model.ckpt", weights_only=True) for job in jobs)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["generator.dense.0.weight"], different["generator.dense.0.weight"])
    assert not torch.equal(one["discriminator.head.weight"], different["discriminator.head.weight"])


def test_without_validation_the_last_autoencoder_is_taken(tmp_path: Path) -> None:
    nobody = Examples(examples_of().features.select([]), examples_of().targets[:0], False)
    TINY.fit(examples_of(), nobody, job_in(tmp_path / "fit"))
    history = json.loads((tmp_path / "fit" / "history.json").read_text())
    assert not any("validation/loss" in entry for entry in history)
    assert len(history) == 5


def test_half_precision_trains(tmp_path: Path) -> None:
    TINY.fit(examples_of(), examples_of((2, 2, 2)), job_in(tmp_path / "half", precision="bf16-mixed"))
    TINY.fit(examples_of(), examples_of((2, 2, 2)), job_in(tmp_path / "full"))
    half, full = (json.loads((tmp_path / name / "history.json").read_text()) for name in ("half", "full"))
    losses = [[entry["train/loss"] for entry in history if "train/loss" in entry] for history in (half, full)]
    # The two drift apart from epoch to epoch, on some processors by more than a twentieth.
    assert losses[0][0] == pytest.approx(losses[1][0], rel=0.02)
    assert all(one != other for one, other in zip(*losses, strict=True))
    assert losses[0][-1] < 0.8 * losses[0][0]
    assert all(np.isfinite(list(entry.values())[2:]).all() for entry in half)


def test_segments_depend_on_their_request_alone(fitted: tuple[BalancingGAN, Path], tmp_path: Path) -> None:
    generator, folder = fitted
    requests = requests_for([0, 1, 2] * 12)  # two batches and a part
    generator.generate(GenerationInputs(requests, NAMES, folder, job_in(tmp_path / "all")))
    generator.generate(GenerationInputs(requests.iloc[[30, 4, 35]], NAMES, folder, job_in(tmp_path / "few", seed=5)))
    everything, few = made_in(tmp_path / "all"), made_in(tmp_path / "few")
    assert everything.shape == (36, 32, 32) and everything.dtype == np.float32
    assert np.abs(few - everything[[30, 4, 35]]).max() < 1e-4  # dB
    assert np.abs(everything[0] - everything[3]).max() > 0.1  # one class, two seeds
    other = requests.assign(label=1)
    generator.generate(GenerationInputs(other, NAMES, folder, job_in(tmp_path / "other")))
    assert np.array_equal(made_in(tmp_path / "other")[1], everything[1])
    assert np.abs(made_in(tmp_path / "other")[0] - everything[0]).max() > 0.1  # one seed, two classes
    whole = np.stack(list(examples_of().features))
    assert everything.min() >= whole.min() and everything.max() <= whole.max()  # de-normalised


def test_generation_continues_after_a_kill(
    fitted: tuple[BalancingGAN, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, folder = fitted
    requests = requests_for([0, 1, 2] * 12)
    generator.generate(GenerationInputs(requests, NAMES, folder, job_in(tmp_path / "whole")))
    plain, batches = base._decode, []

    def stumble(*given: Any) -> np.ndarray:
        batches.append(len(given[1]))
        if len(batches) == 2:
            raise KeyboardInterrupt
        return plain(*given)

    monkeypatch.setattr(base, "_decode", stumble)
    job = job_in(tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        generator.generate(GenerationInputs(requests, NAMES, folder, job))
    with pytest.raises(AugrunError, match="holds no finished features"):
        Features.open(job.folder / "features")
    batches[:] = [0, 0]
    generator.generate(GenerationInputs(requests, NAMES, folder, job))
    assert batches[2:] == [16, 16]  # the first batch is kept; the last one is filled up
    for path in (tmp_path / "whole" / "features").iterdir():
        assert (job.folder / "features" / path.name).read_bytes() == path.read_bytes(), path.name
    generator.generate(
        GenerationInputs(requests_for([0] * 36), NAMES, folder, job)
    )  # other requests: nothing is mistaken for theirs
    assert not np.array_equal(made_in(job.folder)[1], made_in(tmp_path / "whole")[1])


def test_no_model_and_other_classes_are_errors(fitted: tuple[BalancingGAN, Path], tmp_path: Path) -> None:
    generator, folder = fitted
    with pytest.raises(AugrunError, match=f"holds no trained {generator.called} model"):
        generator.generate(GenerationInputs(requests_for([0]), NAMES, tmp_path, job_in(tmp_path / "out")))
    with pytest.raises(AugrunError, match="trained on 3 classes, asked for are low, high"):
        generator.generate(GenerationInputs(requests_for([0]), ("low", "high"), folder, job_in(tmp_path / "out")))


@BOTH
def test_a_class_with_too_few_segments_is_refused_before_training(
    generator: BalancingGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Autoencoder, "training_step", lambda *_: pytest.fail("trained"))
    for counts, text in (((9, 1, 4), r"class 1 .* has 1\b"), ((9, 8, 0), "class 2 .* has none")):
        with pytest.raises(AugrunError, match=f"generator={generator.called} .*{text}.*\nGive it more clips"):
            generator.fit(examples_of(counts), examples_of(), job_in(tmp_path / "fit"))
    assert not list((tmp_path / "fit").iterdir())


def test_two_segments_of_a_class_are_enough(tmp_path: Path) -> None:
    """Fewer than a batch in all, too."""
    one = dataclasses.replace(TINY, autoencoder_updates=6, gan_updates=6, batch_size=8)
    one.fit(examples_of((2, 2, 2)), examples_of((2, 2, 2)), job_in(tmp_path / "fit"))
    one.generate(GenerationInputs(requests_for([0, 1, 2] * 4), NAMES, tmp_path / "fit", job_in(tmp_path / "out")))
    assert np.isfinite(made_in(tmp_path / "out")).all()
    with np.load(tmp_path / "fit" / "classes.npz") as known:
        assert (known["shrinkage"] > 0.5).all()
        assert (np.linalg.matrix_rank(known["factors"]) == 6).all()  # not all on the line through the two


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"generator_widths": (4, 4)}, r"generator\.generator_widths=\[4, 4\] must have 8 widths, one a layer"),
        ({"discriminator_widths": (4,) * 9}, r"generator\.discriminator_widths=.* must have 8 widths"),
        ({"kernel": 4}, r"generator\.kernel=4 must be odd"),
        ({"discriminator_kernel": 2}, r"generator\.discriminator_kernel=2 must be odd"),
    ],
)
def test_settings_that_do_not_fit(settings: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        BAGAN(**settings)


def demo(name: str, **changes: Any) -> BalancingGAN:
    """The component under the settings of its YAML at demonstration scale."""
    from omegaconf import OmegaConf

    resolvers.register()
    section = OmegaConf.load(ROOT / "conf" / "generator" / f"{name}.yaml")
    plain = OmegaConf.to_container(OmegaConf.create({"scale": "demo", "generator": section}), resolve=True)
    return build({**plain["generator"], **changes})  # type: ignore[index,call-overload,dict-item]


@pytest.mark.parametrize("name", ["bagan", "bagan_original"])
def test_yaml_has_every_setting_and_the_papers_values(name: str) -> None:
    content = yaml.safe_load((ROOT / "conf" / "generator" / f"{name}.yaml").read_text())
    target = content.pop("_target_")
    assert content.pop("name") == name
    component = {"bagan": BAGAN, "bagan_original": BAGANOriginal}[name]
    assert target == f"{component.__module__}.{component.__name__}"
    assert list(content) == [field.name for field in dataclasses.fields(component)]
    for key, value in content.items():
        if isinstance(value, str) and value.startswith("${by_scale:"):
            value = yaml.safe_load(f"[{value.removeprefix('${by_scale:').removesuffix('}')}]")[0]
        expected = getattr(component(), key)
        assert value == (list(expected) if isinstance(expected, tuple) else expected), key
    known = describe(target)
    assert {name: known.constants[name] for name in ("domain", "trained", "primed")} == {
        "domain": "logmel", "trained": True, "primed": False
    }  # fmt: skip
    for key, value in dataclasses.asdict(demo(name)).items():
        assert type_check.mismatch(value, known.parameters[key].annotation) is None, key


def nearest_and_extreme(generator: BalancingGAN, folder: Path) -> tuple[np.ndarray, tuple[float, float]]:
    """Trains on 128 × 128, and says of each class's segments which mean they are closest to, and the extreme shares."""
    train = examples_of((40, 30, 8), edge=128)
    generator.fit(train, examples_of((4, 4, 4), edge=128, seed=1), job_in(folder / "fit"))
    generator.generate(
        GenerationInputs(requests_for([0] * 10 + [1] * 10 + [2] * 10), NAMES, folder / "fit", job_in(folder / "out"))
    )
    made, labels = made_in(folder / "out").reshape(3, 10, 128, 128), train.targets.argmax(axis=1)
    recorded = np.stack(list(train.features))
    means = np.stack([recorded[labels == label].mean(axis=0) for label in range(3)])
    nearest = np.square(made[:, :, None] - means).sum(axis=(3, 4)).argmin(axis=2)
    low, high = recorded.min(), recorded.max()
    made_share, share = ((np.abs((values - low) / (high - low) * 2 - 1) > 0.99).mean() for values in (made, recorded))
    return nearest, (float(made_share), float(share))


def test_demonstration_tells_classes_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At a quarter of the demonstration's updates: own class nearest, no extreme values, nothing to warn of."""
    with caplog.at_level(logging.WARNING):
        generator = demo("bagan", updates_per_epoch=20, autoencoder_updates=60, gan_updates=20)
        nearest, (made, recorded) = nearest_and_extreme(generator, tmp_path)
    assert (nearest == np.arange(3)[:, None]).mean() > 0.8
    assert made <= recorded + 0.01
    assert not [record.getMessage() for record in caplog.records if record.name.startswith("augrun")]
    assert json.loads((tmp_path / "fit" / "health.json").read_text())["warnings"] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bagan_original"])
def test_whole_demonstration_tells_classes_apart(name: str, tmp_path: Path) -> None:
    nearest, (made, recorded) = nearest_and_extreme(demo(name), tmp_path)
    assert (nearest == np.arange(3)[:, None]).mean() > 0.9
    assert made <= recorded + 0.01
