"""Nothing that is fitted, drawn or chosen depends on a fold's test part: it is poisoned, and all stays as it was."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from augrun.core.config import compose as config_compose
from augrun.core.config import resolvers
from augrun.core.errors import RequestError
from augrun.core.store import stages
from augrun.experiment import checks
from augrun.experiment.classification import predict, trained_classifier
from augrun.experiment.condition import Condition, open_condition
from augrun.experiment.generation import fit_generator, generate_samples
from augrun.reports import kept_sounds

ROOT = Path(__file__).resolve().parents[2]
RATE = 16000
SMALL = [
    "scale=demo",
    "trainer=cpu",
    "trials.count=1",
    "dataset=feel",
    "representation.bands=80",
    "dataset.input_frames=96",
    "classifier.slice_frames=96",
    "classifier.width=0.1",
    "classifier.adam_epochs=2",
    "classifier.sgd_epochs=1",
    "generator=ddsp",
    "generator.prime_s=1.0",
    "generator.sample_s=1.0",
    "generator.frame_rate=50",
    "generator.units=8",
    "generator.channels=8",
    "generator.layers=1",
    "generator.z_units=8",
    "generator.harmonics=4",
    "generator.fft_sizes=[512,128]",
    "generator.steps=4",
    "generator.steps_per_epoch=2",
    "generator.batch_size=2",
    "policy.fraction=0.2",
]


def write(folder: Path, seed: int, poisoned: str | None = None) -> Path:
    """Three sessions of two speakers each, tones of two classes; a poisoned session is noise with random labels."""
    rng, other = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    (folder / "audio").mkdir(parents=True)
    rows = []
    for number in range(72):
        session, label = str(number % 3 + 1), number // 6 % 2
        pitch = (150 if label else 300) * rng.uniform(0.8, 1.2)
        seconds = rng.uniform(1.0, 1.6)
        sound = 0.3 * np.sin(2 * np.pi * pitch * np.arange(round(RATE * seconds)) / RATE)
        sound += rng.normal(scale=0.01, size=len(sound))
        name = ("angry", "sad")[label]
        if session == poisoned:
            sound = other.normal(scale=0.3, size=len(sound))
            name = ("angry", "sad")[int(other.integers(2))]
        soundfile.write(folder / "audio" / f"{number:02d}.wav", sound, RATE)
        rows.append([f"audio/{number:02d}.wav", name, f"speaker{number % 6}", session])
    with open(folder / "manifest.csv", "w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "speaker", "session"], *rows])
    return folder


def condition(root: Path, output: Path, *overrides: str, without: tuple[str, ...] = ()) -> Condition:
    """A small condition; `without` leaves this module's own settings of some groups out."""
    from hydra import compose, initialize_config_dir

    resolvers.register()
    own = [word for word in SMALL if not word.startswith(without)] if without else SMALL
    told = [*own, f"dataset.root={root}", f"output.root={output}", *overrides]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = config_compose.resolve(compose("config", overrides=told))
    checks.check_config(config)
    return open_condition(config, stages.open_store(config))


def fitted(root: Path, output: Path, *overrides: str) -> list[dict[str, str]]:
    """Digests of all that is fitted, drawn or made of each fold's train and validation parts."""
    made = condition(root, output, *overrides)
    folds = []
    for cell in made.plan.fold_trials:
        generator, samples, classifier = (
            fit_generator(made, cell),
            generate_samples(made, cell),
            trained_classifier(made, cell),
        )
        assert generator is not None
        assert samples is not None
        folder = Path(samples.clips["path"].iat[0]).parent
        scores = predict(made, cell).load("validation")
        model = torch.load(classifier / "model.pt", weights_only=True)["state"]
        folds.append(
            {
                "generator": digest(torch.load(generator / "model.ckpt", weights_only=True)),
                "requests": hashlib.sha256(samples.clips[["clip_id", "primed_by"]].to_csv().encode()).hexdigest(),
                "samples": hashlib.sha256(b"".join(p.read_bytes() for p in sorted(folder.glob("*.wav")))).hexdigest(),
                "classifier": digest(model),
                "validation scores": hashlib.sha256(scores.tobytes()).hexdigest(),
                "fingerprint": cell.classifier.fingerprint,
            }
        )
    return folds


def digest(state: dict[str, torch.Tensor]) -> str:
    total = hashlib.sha256()
    for name, value in sorted(state.items()):
        total.update(name.encode() + value.contiguous().numpy().tobytes())
    return total.hexdigest()


@pytest.mark.parametrize(
    "protocol",
    [
        ["protocol=loso", "protocol.limit=2"],
        ["protocol=imbalance", "protocol.limit=1", "protocol.minority=sad", "protocol.validation=speaker"],
        ["protocol=loso", "protocol.limit=1", "segments.seconds=0.5"],
    ],
    ids=["loso", "imbalance", "segments"],
)
def test_a_poisoned_test_part_changes_nothing_that_is_fitted(tmp_path: Path, protocol: list[str]) -> None:
    clean = fitted(write(tmp_path / "clean", 0), tmp_path / "a", *protocol)
    poisoned = fitted(write(tmp_path / "poisoned", 0, poisoned="1"), tmp_path / "b", *protocol)
    assert poisoned[0] == clean[0]  # session 1 is the test part of the first fold only
    for other_fold, before in zip(poisoned[1:], clean[1:], strict=True):
        assert all(other_fold[name] != before[name] for name in before)  # the poison is felt where it is trained on


def test_a_poisoned_target_corpus_changes_nothing_but_what_is_selected_on_it(tmp_path: Path) -> None:
    """Of the target only the development part is seen before the test."""
    corpus, target = write(tmp_path / "corpus", 0), write(tmp_path / "target", 7)
    across = ["protocol=cross_corpus", "dataset@target=feel", "target.name=other", f"target.root={target}"]
    first = condition(corpus, tmp_path / "a", *across)
    (fold,) = first.plan.folds
    clean = fitted(corpus, tmp_path / "a", *across)
    rng = np.random.default_rng(3)
    for path in fold.test.clips["path"]:
        soundfile.write(path, rng.normal(scale=0.3, size=soundfile.info(path).frames), RATE)
    assert fitted(corpus, tmp_path / "b", *across) == clean
    for path in fold.validation.clips["path"]:
        soundfile.write(path, rng.normal(scale=0.3, size=soundfile.info(path).frames), RATE)
    (after,) = fitted(corpus, tmp_path / "c", *across)
    assert after["validation scores"] != clean[0]["validation scores"]
    assert after["fingerprint"] != clean[0]["fingerprint"]


def test_the_reserve_is_nowhere_but_in_the_oracle_s_samples(tmp_path: Path) -> None:
    corpus, output = write(tmp_path / "corpus", 0), tmp_path / "out"
    words = ["protocol=loso", "protocol.limit=1", "policy.fraction=0.1", "generator.prime_s=1.0"]
    conditions = {
        name: condition(corpus, output, *words, f"generator={name}", share, without=("generator",))
        for name, share in (("oracle", "controls=true"), ("copy", "controls=true"), ("shuffled", "controls=true"))
    }
    (cell,) = conditions["oracle"].plan.fold_trials
    fold = cell.fold
    assert fold.reserve is not None and len(fold.reserve) == round(0.2 * len(fold.train) / 0.8)
    kept = {column: set(fold.reserve.clips[column]) for column in ("clip_id", "utterance", "digest", "path")}
    for part in (fold.train, fold.validation, fold.test):
        assert not any(set(part.clips[column]) & values for column, values in kept.items())
    primes = {}
    for name, made in conditions.items():
        samples = generate_samples(made, made.plan.fold_trials[0])
        assert samples is not None and len(samples)
        primes[name] = set(samples.clips["primed_by"].str.split("@").str[0])
        (tmp_path / name).mkdir()
        heard = kept_sounds.keep(tmp_path / name, samples, made.plan.corpus)
        assert heard and all(one.prime is not None and one.prime.is_file() for one in heard)
    assert primes["oracle"] <= kept["clip_id"]
    assert primes["copy"] | primes["shuffled"] <= set(fold.train.clips["clip_id"])
    # The part that samples are drawn from is in their name: another reserve makes other samples.
    other = condition(corpus, output, *words, "generator=oracle", "protocol.reserve=0.4", without=("generator",))
    assert other.plan.fold_trials[0].samples is not None and cell.samples is not None
    assert cell.samples.content["inputs"]["reserve"] == fold.reserve.digest
    assert other.plan.fold_trials[0].samples.fingerprint != cell.samples.fingerprint
    assert conditions["oracle"].plan.names["reserve"] == "0.2"


def test_an_oracle_without_a_reserve_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        RequestError, match=r"^generator=oracle draws .* give controls=true, or protocol\.reserve=0\.2$"
    ):
        condition(tmp_path, tmp_path / "out", "generator=oracle", without=("generator",))
