"""A plan names every stage before any work, and keys hold what each step depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from augrun.experiment import keys
from augrun.experiment.plan import ConditionPlan
from tests.experiment.test_leakage import condition, write

VECTORS = ("generator=none", "policy=none", "representation=is10", "classifier=dnn")
OTHERS = ("generator", "policy", "representation", "classifier")


def plan_of(root: Path, *words: str, without: tuple[str, ...] = ()) -> ConditionPlan:
    corpus = root / "corpus"
    return condition(corpus if corpus.is_dir() else write(corpus, 0), root / "out", *words, without=without).plan


def test_a_plan_names_every_stage_and_computes_none(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "protocol=loso", "protocol.limit=2")
    kinds = [[stage.kind for stage in one.stages] for one in plan.fold_trials]
    assert kinds == [["generator", "samples", "classifier", "predictions", "embedded", "judged", "quality"]] * 2
    fingerprints = {stage.fingerprint for one in plan.fold_trials for stage in one.stages}
    assert len(fingerprints) == 14 and plan.stage.fingerprint not in fingerprints
    assert not any(stage.done for one in plan.fold_trials for stage in one.stages) and not plan.stage.done
    assert plan.store.computed == plan.store.reused == []
    assert {path.name for path in plan.store.root.iterdir()} <= {"index", "locks"}
    assert plan.baseline is not None and plan.baseline.baseline is None
    reference = plan.baseline.fold_trial(plan.folds[1], 0)
    assert reference.samples is None and reference.generator is None
    judged = plan.fold_trials[1].label_validity
    assert judged is not None and judged.content["inputs"]["classifier"] == reference.classifier.fingerprint
    assert plan.stage.content["inputs"]["judged/session2/0"] == judged.fingerprint


def test_a_policy_s_composition_makes_no_other_samples(tmp_path: Path) -> None:
    both, alone = (plan_of(tmp_path, *words) for words in ((), ("policy.composition=synthetic",)))
    assert keys.policy_key(both.config) == keys.policy_key(alone.config)
    one, other = both.fold_trials[0], alone.fold_trials[0]
    assert one.samples is not None and other.samples is not None
    assert one.samples.fingerprint == other.samples.fingerprint
    assert one.classifier.fingerprint != other.classifier.fingerprint
    assert [each.classifier.content["settings"]["composition"] for each in (one, other)] == ["both", "synthetic"]


def test_keys_hold_what_each_step_depends_on(tmp_path: Path) -> None:
    spectrograms = plan_of(tmp_path).config
    assert keys.normalisation_key(spectrograms) == keys.mixup_key(spectrograms) == {}
    assert keys.generator_input_key(spectrograms) == {}  # it is given sounds
    assert keys.representation_key(spectrograms) == keys.features_key(spectrograms)
    cut = keys.representation_key(plan_of(tmp_path, "segments.seconds=0.5", "segments.frames=32").config)
    assert cut["segments"]["frames"] == 32 and cut["max_frames"] is None
    assert keys.features_key(spectrograms)["max_frames"] == 96
    vote = [
        keys.prediction_key(plan_of(tmp_path, f"segments.vote={v}").config, None)["vote"] for v in ("mean", "majority")
    ]
    assert vote == ["mean", "majority"]


def test_another_corpus_is_in_the_keys_of_vectors_alone(tmp_path: Path) -> None:
    pytest.importorskip("opensmile", reason="openSMILE is not installed: pip install 'augrun[functionals]'")
    vectors = plan_of(tmp_path, *VECTORS, "mixup.ratio=0.5", without=OTHERS)
    spectrograms = plan_of(tmp_path)
    target = vectors.corpus
    assert keys.classifier_input_key(vectors.config, target)["other"] == target.digest
    assert "other" not in keys.classifier_input_key(vectors.config, None)
    assert "other" not in keys.classifier_input_key(spectrograms.config, target)
    assert keys.normalisation_key(vectors.config)["normalise"]["scale"] == "z"
    assert keys.mixup_key(vectors.config)["mixup"]["ratio"] == 0.5
