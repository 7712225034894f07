"""A generator of features, not of sounds: what it learns from, how much it makes, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from augrun.core.config.component import describe
from augrun.core.errors import AugrunError, RequestError
from augrun.experiment import run
from augrun.experiment.classification import compose_training_set
from augrun.experiment.component_checks import check_components
from augrun.experiment.condition import Condition
from augrun.experiment.generation import fit_generator, generate_samples
from tests.experiment.test_leakage import condition, write
from tests.here import here

MEANS = [
    "generator=none",
    "generator._target_=tests.toy_generators.ClassMeans",
    "generator.name=means",
    "+generator.sample_s=0.5",
    "policy=balance_to_majority",
    "protocol=imbalance",
    "protocol.limit=1",
    "protocol.minority=sad",
    "segments.seconds=0.5",
    "segments.frames=32",
]


def made(tmp_path: Path, *overrides: str) -> Condition:
    """The condition of `tests.experiment.test_leakage` with this generator in the place of its own."""
    return condition(
        write(tmp_path / "corpus", 0), tmp_path / "out", *MEANS, *overrides, without=("generator", "policy")
    )


def test_segments_are_learned_from_balanced_and_joined(tmp_path: Path) -> None:
    whole = made(tmp_path)
    (cell,) = whole.plan.fold_trials
    recorded, rows = whole.inputs.recording_inputs(cell.fold.train)
    labels = cell.fold.train.first_labels()[rows]
    counts = np.bincount(labels)
    assert counts[1] < 0.5 * counts[0]  # sad was made rare
    assert set(recorded.features.frames) == {32}
    fitted = fit_generator(whole, cell)
    assert fitted is not None
    seen = json.loads((fitted / "seen.json").read_text())
    assert seen["train"] == len(recorded) and seen["names"] == ["angry", "sad"]
    assert seen["shape"] == [32, 80]
    samples = generate_samples(whole, cell)
    assert samples is not None
    assert np.bincount(samples.first_labels(), minlength=2).tolist() == [0, counts[0] - counts[1]]
    assert set(samples.clips["duration_s"]) == {0.5}
    assert set(samples.clips["path"]) == {""} and set(samples.clips["primed_by"]) == {""}
    trained = compose_training_set(whole, cell)
    assert np.bincount(trained.targets.argmax(1)).tolist() == [counts[0], counts[0]]
    means = np.load(fitted / "means.npy")
    joined = trained.features[len(recorded)]
    assert joined.shape == (32, 80)
    assert np.abs(joined - means[1]).mean() == pytest.approx(np.sqrt(2 / np.pi), rel=0.05)  # its noise


def test_a_training_set_without_a_class_is_refused(tmp_path: Path) -> None:
    """Balancing makes no samples of the largest class, which samples alone would then leave out."""
    whole = made(tmp_path, "policy.composition=synthetic")
    with pytest.raises(AugrunError, match="the training set has no example of angry, as policy=balance_to_majority"):
        compose_training_set(whole, whole.plan.fold_trials[0])


def test_its_results_say_what_it_made_and_show_it(tmp_path: Path) -> None:
    whole = made(tmp_path)
    folder = run.run(whole.plan.config)
    results = json.loads((folder / "results.json").read_text())
    assert results["condition"]["protocol"] == "imbalance_sad"
    generated = results["generated"]
    assert generated["type"] == "unprimed" and generated["sample_rates"] == []
    assert generated["clips_per_class"]["angry"] == 0 and generated["clips_per_class"]["sad"] > 0
    assert generated["notes"] == ["means of classes, nothing more."]
    assert results["label_validity"]["validity"]["mean"] is not None
    quality = json.loads((folder / "quality.json").read_text())
    sad, angry = quality["per_class"]["sad"], quality["per_class"]["angry"]
    train = whole.plan.fold_trials[0].fold.train  # of clips, whatever the number of their segments
    assert [of["train_clips"] for of in (angry, sad)] == np.bincount(train.first_labels()).tolist()
    assert sad["samples"] == generated["clips_per_class"]["sad"] and sad["frechet"] > 0 and sad["nearest"] > 0
    assert angry["frechet"] is None and angry["frechet_recorded"] > 0
    assert quality["summary"]["frechet"]["mean"] == sad["frechet"]
    assert quality["summary"]["frechet_recorded"]["mean"] == sad["frechet_recorded"]
    assert (folder / "figures" / "generated_spectrograms.png").stat().st_size > 5000
    assert not (folder / "listen.html").exists()  # nothing to hear
    with np.load(folder / "spectra.npz") as file:
        assert file["recorded"].shape == (2, 2, 32, 80)
        assert np.isfinite(file["generated"]).all()
        # The larger class needs no samples; those of the picture are of it, and are no part of the results.
        likes = [[np.abs(of - mean).mean() for mean in file["recorded"].mean(1)] for of in file["generated"].mean(1)]
        assert np.argmin(likes, axis=1).tolist() == [0, 1]
    assert not (folder / ".shown").exists()


def test_a_generator_of_the_former_interface_is_refused_before_any_work(tmp_path: Path) -> None:
    whole = made(tmp_path, "generator._target_=tests.toy_generators.FormerClassMeans")
    with pytest.raises(RequestError) as refused:
        run.run(whole.plan.config)
    assert str(refused.value) == (
        "tests.toy_generators.FormerClassMeans.generate(requests, label_names, fitted, job, others): generate now "
        "takes one argument, inputs (augrun.generators.requests.GenerationInputs), whose fields are the former "
        "arguments; write\n    def generate(self, inputs: GenerationInputs) -> None:"
    )
    stages = [stage for cell in whole.plan.fold_trials for stage in (cell.generator, cell.samples, cell.classifier)]
    assert len(stages) == 3 and not any(stage is None or stage.done for stage in stages)
    assert whole.plan.baseline is not None and not whole.plan.baseline.fold_trials[0].classifier.done
    check_components(whole.plan, "classifier")  # which asks nothing of the generator


def test_a_classifier_without_an_embedding_leaves_quality_out(tmp_path: Path) -> None:
    (cell,) = made(tmp_path, "classifier._target_=tests.toy_generators.Unembedded").plan.fold_trials
    assert cell.label_validity is not None and cell.quality is None and cell.embeddings is None
    assert describe("augrun.classifiers.svm.SVM").constants["embeds"] is False


def test_another_fit_is_another_generator(tmp_path: Path) -> None:
    one, other = made(tmp_path), made(tmp_path / "b", "segments.fit=stretch")
    assert one.plan.fold_trials[0].generator is not None and other.plan.fold_trials[0].generator is not None
    assert one.plan.fold_trials[0].generator.fingerprint != other.plan.fold_trials[0].generator.fingerprint
    assert one.plan.fold_trials[0].classifier.fingerprint != other.plan.fold_trials[0].classifier.fingerprint


def test_a_run_of_an_undersampled_corpus_ends_with_its_differences_from_the_whole(tmp_path: Path) -> None:
    """As `0.4 Balanced` of Table 3 of Chatziagapi et al. 2019 does: neither of the two rows has a generator."""
    corpus = write(tmp_path / "corpus", 0)
    about = ["protocol=imbalance", "protocol.limit=1", "protocol.minority=sad", "protocol.remove=0.5", "trainer=cpu"]
    thin = ["generator=none", "policy=undersample", "policy.ratio=0.8", "trials.count=1", "significance.resamples=50"]
    nearest = ["~classifier", "+classifier._target_=tests.toy_generators.Nearest", "+classifier.name=nearest"]
    words = ["dataset=feel", f"dataset.root={corpus}", "dataset.test_manifest=null", "scale=demo"]
    ended = here(*words, *about, *thin, *nearest, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "undersample_0.8" in ended.stdout
    found = list((tmp_path / "outputs").rglob("tables/differences.json"))
    assert found
    for path in found:
        rows = json.loads(path.read_text())["rows"]
        assert [row["row"].split(": ")[0] for row in rows] == [
            "uar",
            "war",
            "f1_macro",
            "pr_auc_macro",
            "roc_auc_macro",
        ]
        assert {row["condition"]["generator"] for row in rows} == {"none"}


def test_undersampling_needs_no_generator_and_keeps_the_baseline(tmp_path: Path) -> None:
    corpus = write(tmp_path / "corpus", 0)
    words = [word for word in MEANS if not word.startswith(("generator", "+generator", "policy"))]
    thin = ["generator=none", "policy=undersample", "policy.ratio=0.5"]
    whole = condition(corpus, tmp_path / "out", *words, *thin, without=("generator", "policy"))
    assert whole.plan.names["policy"] == "undersample_0.5"
    (cell,) = whole.plan.fold_trials
    labels = compose_training_set(whole, cell).targets.argmax(1)
    of_all = whole.inputs.recording_inputs(cell.fold.train)[0].targets.argmax(1)
    assert np.bincount(labels)[0] < np.bincount(of_all)[0] and np.bincount(labels)[1] == np.bincount(of_all)[1]
    assert whole.baseline is not None
    assert whole.baseline.plan.names["policy"] == "none"
    assert whole.baseline.baseline is None
    assert whole.baseline.plan.fold_trials[0].classifier.fingerprint != cell.classifier.fingerprint
    with pytest.raises(RequestError, match=r"policy=undersample_0.5 plans no samples for generator=copy"):
        condition(corpus, tmp_path / "out", *words, "generator=copy", *thin[1:], without=("generator", "policy"))
