"""Classifiers of functionals through a whole condition: scales, training at once, predictions."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from augrun.core.errors import AugrunError, RequestError
from augrun.experiment import run
from augrun.experiment.classification import (
    compose_training_set,
    fit_classifiers_jointly,
    predict,
    trained_classifier,
    training_set_bytes,
)
from augrun.experiment.component_checks import check_components
from augrun.experiment.condition import Condition
from augrun.experiment.generation import fit_generator, fit_generators_jointly, generate_samples
from augrun.experiment.joint_fits import joint_training_groups
from tests.experiment.test_leakage import condition, write

pytest.importorskip("opensmile", reason="openSMILE is not installed: pip install 'augrun[functionals]'")

DNN = [
    *("generator=none", "policy=none", "representation=is10", "classifier=dnn", "classifier.hidden=[8]"),
    *("classifier.epochs=8", "classifier.rate=1e-3", "classifier.batch_size=16", "protocol.count=3", "trials.count=2"),
]


def of(corpus: Path, output: Path, *overrides: str) -> Condition:
    words = [*DNN, *overrides]
    return condition(corpus, output, *words, without=("generator", "policy", "classifier", "representation", "trials"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tones") / "corpus", 0)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "model.pt", weights_only=True)["state"]


def test_folds_and_trials_are_trained_at_once_into_stages_of_their_own(corpus: Path, tmp_path: Path) -> None:
    together, alone = of(corpus, tmp_path / "a"), of(corpus, tmp_path / "b")
    assert len(together.plan.fold_trials) == 4  # two of three folds at this scale, two trials
    fit_classifiers_jointly(together, compose_training_set)
    trained = [entry for entry in together.plan.store.computed if entry[0] == "classifier"]
    assert [fingerprint for _, fingerprint in trained] == [
        cell.classifier.fingerprint for cell in together.plan.fold_trials
    ]
    for one, other in zip(together.plan.fold_trials, alone.plan.fold_trials, strict=True):
        assert one.classifier.fingerprint == other.classifier.fingerprint
        mine, theirs = weights(trained_classifier(together, one)), weights(trained_classifier(alone, other))
        assert all(torch.allclose(mine[name], value, atol=1e-5) for name, value in theirs.items())
        assert one.classifier.manifest["summary"]["trained_together"] == 4
        assert {path.name for path in one.classifier.folder.iterdir()} == {"model.pt", "history.json", "stage.json"}
        scores = predict(together, one).load("test")
        assert scores == pytest.approx(predict(alone, other).load("test"), abs=1e-5)
    assert not list((tmp_path / "a" / "store" / "together").iterdir())
    fit_classifiers_jointly(together, compose_training_set)
    assert len([entry for entry in together.plan.store.computed if entry[0] == "classifier"]) == 4  # nothing anew


@pytest.mark.slow
def test_two_devices_train_half_of_them_each(corpus: Path, tmp_path: Path) -> None:
    one, two = of(corpus, tmp_path / "one"), of(corpus, tmp_path / "two", "trainer.devices=2")
    fit_classifiers_jointly(one, compose_training_set)
    fit_classifiers_jointly(two, compose_training_set)
    for mine, theirs in zip(one.plan.fold_trials, two.plan.fold_trials, strict=True):
        assert mine.classifier.fingerprint == theirs.classifier.fingerprint
        theirs_state = weights(theirs.classifier.folder)
        for name, value in weights(mine.classifier.folder).items():
            assert torch.allclose(value, theirs_state[name], atol=1e-5), name
    assert len([entry for entry in two.plan.store.computed if entry[0] == "classifier"]) == 4


def test_a_whole_run_tells_tones_apart(corpus: Path, tmp_path: Path) -> None:
    folder = run.run(of(corpus, tmp_path, "trials.count=1").plan.config)
    results = json.loads((folder / "results.json").read_text())
    assert results["condition"]["representation"] == "is10"
    assert results["summary"]["uar"]["mean"] > 0.9
    assert (folder / "figures" / "learning_curves.png").stat().st_size > 5000


GANS = {
    "mixup_gan": ["generator=mixup_gan", "generator.pretraining=2", "generator.epochs=2"],
    "sahu_gan": ["generator=sahu_gan", "generator.pretraining=2", "generator.epochs=2"],
    "sahu_cgan": ["generator=sahu_cgan", "generator.pretraining=2", "generator.epochs=2"],
    "cyclegan": ["generator=cyclegan", "generator.pretraining=2", "generator.epochs=2", "source.name=talks"],
}
LEFT_OUT = ("generator", "policy", "classifier", "representation", "trials", "protocol")


def through(corpus: Path, source: Path, output: Path, name: str) -> Condition:
    words = [word for word in DNN if not word.startswith(("generator", "policy", "protocol", "trials"))]
    words += [*GANS[name], "policy=real_synthetic", "trials.count=1", "protocol=loso", "protocol.limit=2"]
    if name == "cyclegan":
        words += ["dataset@source=feel", f"source.root={source}"]
    return condition(corpus, output, *words, without=LEFT_OUT)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A corpus, the same with noise and random labels in session 1, and another one; features are kept, by kind."""
    root = tmp_path_factory.mktemp("both")
    return {
        "clean": write(root / "clean", 0),
        "poisoned": write(root / "poisoned", 0, "1"),
        "source": write(root / "source", 9),
        "output": root / "output",
    }


@pytest.mark.parametrize("name", list(GANS))
def test_no_generator_sees_a_test_clip_of_its_fold(name: str, both: dict[str, Path]) -> None:
    """Noise with random labels in session 1 changes nothing of the fold that tests on it, and all of the other one."""
    seen = {}
    for kind in ("clean", "poisoned"):
        whole = through(both[kind], both["source"], both["output"] / kind, name)
        fit_generators_jointly(whole)
        fit_classifiers_jointly(whole, compose_training_set)
        states = []
        for cell in whole.plan.fold_trials:
            fitted, samples = fit_generator(whole, cell), generate_samples(whole, cell)
            assert fitted is not None and samples is not None
            model = torch.load(fitted / "model.pt", weights_only=True)
            networks = [model[part] for part in ("encoder", "generator") if part in model]
            networks = model["forth"] if name == "cyclegan" else networks
            made = whole.inputs.sample_features(cell, samples).rows()
            states.append([*(value for state in networks for value in state.values()), torch.from_numpy(made)])
            states[-1] += weights(trained_classifier(whole, cell)).values()
            asked = (
                2 * len(whole.plan.role_corpora("generator")["source"]) if name == "cyclegan" else len(cell.fold.train)
            )
            assert len(samples) == asked
            composed = compose_training_set(whole, cell)
            assert len(composed) == len(cell.fold.train) + asked
            scaled = composed.features.rows()[len(cell.fold.train) :]
            assert np.abs(scaled.mean(axis=0)).max() < 1e-3  # samples have a scale of their own
        seen[kind] = states
    (first, second), (first_poisoned, second_poisoned) = seen["clean"], seen["poisoned"]
    assert all(
        torch.allclose(one, other, rtol=1e-4, atol=1e-4) for one, other in zip(first, first_poisoned, strict=True)
    )
    assert not all(
        one.shape == other.shape and torch.allclose(one, other, rtol=1e-2, atol=1e-2)
        for one, other in zip(second, second_poisoned, strict=True)
    )


def statistics(examples: Any) -> tuple[np.ndarray, np.ndarray]:
    rows = examples.features.rows()
    return rows.mean(axis=0), rows.std(axis=0)


def test_the_train_part_alone_sets_the_scale(corpus: Path, tmp_path: Path) -> None:
    whole = of(corpus, tmp_path)
    cell = whole.plan.fold_trials[0]
    mean, deviation = statistics(compose_training_set(whole, cell))
    varying = deviation > 0
    assert 1000 < varying.sum() < 1582  # tones leave some functionals constant
    assert np.abs(mean).max() < 1e-4 and deviation[varying] == pytest.approx(np.ones(varying.sum()), abs=1e-3)
    raw = whole.inputs.recording_inputs(cell.fold.test)[0]
    train = whole.inputs.recording_inputs(cell.fold.train)[0].features.rows().astype(np.float64)
    scaled = whole.inputs.scale(cell, cell.fold.test, raw).features.rows()
    expected = (raw.features.rows() - train.mean(axis=0))[:, varying] / train.std(axis=0)[varying]
    assert scaled[:, varying] == pytest.approx(expected, rel=1e-3, abs=1e-3)
    assert (scaled[:, ~varying] == 0).all()


def test_another_corpus_has_a_scale_of_its_own_where_asked_for(corpus: Path, tmp_path: Path) -> None:
    target = write(tmp_path / "other", 5)
    words = ["protocol=cross_corpus", "dataset@target=feel", f"target.root={target}", "trials.count=1"]
    words += ["target.name=other"]
    base = [word for word in DNN if not word.startswith("protocol.")]

    def scale_of(*more: str) -> tuple[np.ndarray, np.ndarray, Condition]:
        whole = condition(
            corpus,
            tmp_path / "out",
            *base,
            *words,
            *more,
            without=("generator", "policy", "classifier", "representation", "trials"),
        )
        (cell,) = whole.plan.fold_trials
        return *statistics(
            whole.inputs.scale(cell, cell.fold.test, whole.inputs.recording_inputs(cell.fold.test)[0])
        ), whole

    mean, deviation, own = scale_of()
    assert own.plan.target_corpus is not None
    assert np.abs(mean).max() < 0.5 and abs(np.median(deviation[deviation > 0]) - 1) < 0.1  # a part of all its clips
    others_mean, _, train = scale_of("normalise.other=train")
    assert not np.allclose(mean, others_mean, atol=1e-3)
    assert own.plan.fold_trials[0].predictions.fingerprint != train.plan.fold_trials[0].predictions.fingerprint


def test_spectrograms_are_left_alone_and_scales_are_part_of_the_fingerprint(corpus: Path, tmp_path: Path) -> None:
    first, second = of(corpus, tmp_path), of(corpus, tmp_path, "normalise.scale=minmax")
    assert first.plan.fold_trials[0].classifier.fingerprint != second.plan.fold_trials[0].classifier.fingerprint
    assert first.plan.fold_trials[0].fold.train.digest == second.plan.fold_trials[0].fold.train.digest
    plain = [condition(corpus, tmp_path, *more) for more in ((), ("normalise.scale=minmax",))]
    assert plain[0].plan.fold_trials[0].classifier.fingerprint == plain[1].plan.fold_trials[0].classifier.fingerprint
    lowest = compose_training_set(second, second.plan.fold_trials[0]).features.rows()
    assert lowest.min() == 0.0 and lowest.max() == 1.0


def test_a_source_of_spectrograms_is_refused_before_any_work(corpus: Path, tmp_path: Path) -> None:
    whole = through(corpus, write(tmp_path / "source", 9), tmp_path, "cyclegan")
    clips = whole.plan.corpora.corpus("source").clips
    spectra = clips.assign(path=[str(Path(path).with_suffix(".npy")) for path in clips["path"]])
    whole.plan.corpora._read["source"] = replace(whole.plan.corpora.corpus("source"), clips=spectra)
    said = (
        rf"representation=is10 wants sound, but {len(clips)} of {len(clips)} clips of .* are spectrograms \(\.npy\); "
    )
    with pytest.raises(RequestError, match=said + r"give a source\.root that has the audio"):
        check_components(whole.plan)
    assert not whole.plan.store.computed


def test_a_source_that_holds_the_test_clips_is_refused(corpus: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(corpus, tmp_path / "copied")  # other paths, the same sounds
    for source in (corpus, copied):
        whole = through(corpus, source, tmp_path, "cyclegan")
        said = (
            r"source: \d+ validation clips of fold session1 are in talks as well .* generator=cyclegan would learn from"
        )
        with pytest.raises(AugrunError, match=said):
            _ = whole.plan.folds


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["classifier=svm", "protocol=loso", "protocol.validation=none"], "svm chooses C and γ on the validation part"),
        (["reducer=pca", "reducer.dimensions=900"], r"pca: 900 dimensions want as many train vectors .*there are \d+ "),
        (["reducer=smacof_mds", "reducer.dimensions=900"], "smacof_mds: 900 dimensions want as many train vectors"),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_any_work(
    corpus: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    base = [word for word in DNN if not word.startswith(("protocol", "classifier") if "svm" in words[0] else "-")]
    left = ("generator", "policy", "classifier", "representation", "trials", "protocol")
    whole = condition(corpus, tmp_path, *base, *words, without=left)
    with pytest.raises(AugrunError, match=message):
        run.run(whole.plan.config)
    assert {path.name for path in (tmp_path / "store").iterdir()} <= {"index", "locks"}


def test_groups_are_bounded_in_number_and_in_memory(corpus: Path, tmp_path: Path) -> None:
    whole = of(corpus, tmp_path, "trainer.at_once=3")
    fold_trials = whole.plan.fold_trials
    assert len(fold_trials) == 4
    assert [len(group) for group in joint_training_groups(whole.plan, fold_trials)] == [3]  # one alone is no group
    sizes = dict(zip(map(id, fold_trials), (3, 4, 3, 2), strict=True))
    grouped = joint_training_groups(whole.plan, fold_trials, lambda cell: sizes[id(cell)] << 30)
    assert grouped == [fold_trials[:2], fold_trials[2:]]  # 8 GiB each at most
    assert training_set_bytes(whole, fold_trials[0]) == 4 * 1582 * len(fold_trials[0].fold.train)


def test_functionals_without_opensmile_are_refused_before_any_work(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opensmile", None)
    config = of(corpus, tmp_path).plan.config
    with pytest.raises(RequestError, match=r"functionals IS10 need openSMILE; pip install 'augrun\[functionals\]'"):
        run.run(config)
    assert not list((tmp_path / "store").glob("features/*"))


REDUCERS = {
    "pca": [],
    "smacof_mds": [],
    "autoencoder": ["reducer.hidden=[16]", "reducer.epochs=2"],
    "mixup_gan": ["reducer.hidden=[16]", "reducer.critic=[8]", "reducer.pretraining=2", "reducer.epochs=2"],
}


@pytest.mark.parametrize("name", list(REDUCERS))
def test_reducers_learn_from_the_train_part_and_its_mixtures_alone(name: str, both: dict[str, Path]) -> None:
    """Noise with random labels in session 1 changes nothing of the fold that tests on it, and all of the other one."""
    words = [word for word in DNN if not word.startswith(("protocol", "trials"))]
    words += [f"reducer={name}", *REDUCERS[name], "reducer.dimensions=3", "mixup.ratio=0.5"]
    words += ["protocol=loso", "protocol.limit=2", "trials.count=2"]
    seen = {}
    for kind in ("clean", "poisoned"):
        whole = condition(both[kind], both["output"] / kind, *words, without=LEFT_OUT)
        assert whole.plan.names["reducer"] == name and whole.plan.title.endswith(f"/dnn/{name}/mixup_0.5")
        fit_classifiers_jointly(whole, compose_training_set)
        first, second = whole.plan.fold_trials[:2]
        train = compose_training_set(whole, first)
        recorded = len(first.fold.train)
        assert len(train) == recorded + round(0.5 * recorded) and train.features.bands == 3
        assert (train.targets[:recorded].max(axis=1) == 1).all() and (train.targets[recorded:].max(axis=1) < 1).any()
        assert len(weights(trained_classifier(whole, first))["0.weight"][0]) == 3
        # Each repeat has mixtures of its own.
        again = compose_training_set(whole, whole.plan.fold_trials[2]).targets[recorded:]
        assert whole.plan.fold_trials[2].fold is first.fold and not np.array_equal(train.targets[recorded:], again)
        assert predict(whole, first).load("test").shape == (len(first.fold.test), 2)
        seen[kind] = [compose_training_set(whole, cell).features.rows() for cell in (first, second)]
    assert np.allclose(seen["clean"][0], seen["poisoned"][0], rtol=1e-4, atol=1e-4)
    assert seen["clean"][1].shape != seen["poisoned"][1].shape or not np.allclose(
        seen["clean"][1], seen["poisoned"][1], rtol=1e-2, atol=1e-2
    )


def test_mixtures_and_reducers_are_part_of_the_fingerprint(corpus: Path, tmp_path: Path) -> None:
    plain, mixed, pca = (of(corpus, tmp_path, *more) for more in ((), ("mixup.ratio=1",), ("reducer=pca",)))
    other = of(corpus, tmp_path, "reducer=pca", "reducer.dimensions=4")
    prints = [whole.plan.fold_trials[0].classifier.fingerprint for whole in (plain, mixed, pca, other)]
    assert len(set(prints)) == 4
    unmixed = of(corpus, tmp_path, "mixup.alpha=0.3")  # of which nothing is mixed
    assert unmixed.plan.fold_trials[0].classifier.fingerprint == prints[0]
    # Without mixtures all repeats have one PCA; a network's weights differ.
    assert len({cell.reducer.fingerprint for cell in pca.plan.fold_trials if cell.reducer}) == 2
    network = of(corpus, tmp_path, "reducer=autoencoder")
    assert len({cell.reducer.fingerprint for cell in network.plan.fold_trials if cell.reducer}) == 4
