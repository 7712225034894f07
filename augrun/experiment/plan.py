"""A condition's plan: its corpora, folds and trials, and every stage by name, before any work.

Every step with a cost is a stage: it has a fingerprint before it has a result, so that the whole way is known,
and what is done already is found, before anything heavy is imported. `augrun.experiment.keys` says what fingerprints
are made of, `augrun.experiment.run` does the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from augrun.core.config import schema
from augrun.core.config.component import build, describe
from augrun.core.data_kinds import DATA_KINDS
from augrun.core.errors import AugrunError
from augrun.core.job import Hardware
from augrun.core.seeding import trial_seed
from augrun.core.store.stages import Stage, Store
from augrun.corpora.corpus import Corpus
from augrun.experiment import keys
from augrun.experiment.baseline import baseline_config
from augrun.experiment.fold_trial import FoldTrial
from augrun.experiment.role_corpora import RoleCorpora, real_root
from augrun.experiment.sections import (
    component_constant,
    mixup_of_recordings,
    representation_section,
    segments_of_clips,
    vector_scale,
)
from augrun.features.mixup import Mixup
from augrun.features.normalise import Normalise
from augrun.features.segments import Segments
from augrun.generators.requests import PrimeRequirements
from augrun.protocols.base import Fold, check_apart

#: The groups that make a condition, in the order of a run's name.
CONDITION = ("dataset", "generator", "policy", "classifier", "protocol", "representation")


class ConditionPlan:
    """What a condition will do, from its resolved configuration.

    Attributes:
        config: plain data, as `augrun.core.config.compose.resolve` returns it.
        store: where stages live.
        hardware: where to compute.
    """

    def __init__(self, config: Mapping[str, Any], store: Store) -> None:
        self.config = config
        self.store = store
        self.hardware: Hardware = build(config["trainer"])

    @cached_property
    def corpora(self) -> RoleCorpora:
        """The recorded corpora by role."""
        return RoleCorpora(self.config, self.store, self.hardware)

    @property
    def corpus(self) -> Corpus:
        """The recorded clips of the dataset."""
        return self.corpora.corpus()

    @property
    def target_corpus(self) -> Corpus | None:
        """The other corpus that clips are tested on, where the protocol has one."""
        return self.role_corpora("protocol").get("target")

    @property
    def split_corpora(self) -> list[Corpus]:
        """The corpora whose clips are in the folds."""
        return [self.corpus] if self.target_corpus is None else [self.corpus, self.target_corpus]

    def role_corpora(self, group: str) -> dict[str, Corpus]:
        """Return the corpora in other roles that the component of a group uses, by role."""
        section = self.config[group]
        optional = [role for role in schema.may_use(section) if self.config.get(role)]
        return {role: self.corpora.corpus(role) for role in (*schema.uses(section), *optional)}

    @cached_property
    def folds(self) -> list[Fold]:
        """The protocol's folds of the corpus."""
        folds: list[Fold] = build(self.config["protocol"]).folds(
            self.corpus, self.config["seed"], **self.role_corpora("protocol")
        )
        for fold in folds:  # what cannot be voted on is refused before any work
            fold.validation.by_utterance()
            fold.test.by_utterance()
        for role, corpus in self.role_corpora("generator").items():
            check_apart(folds, role, corpus, str(self.config["generator"].get("name")))
        return folds

    @cached_property
    def names(self) -> dict[str, str]:
        """The condition, as `results.json` and the tags have it."""
        names = {group: str(self.config[group].get("name")) for group in CONDITION}
        if not self.generates and not self.drops_recordings:
            names["policy"] = "none"  # nothing is generated, so no policy makes a difference
        if self.target_corpus is not None:
            names["dataset"] += f"_to_{self.target_corpus.name}"
        if self.reduces:
            names["reducer"] = str(self.config["reducer"].get("name"))
        if self.mixup.ratio:
            names["mixup"] = f"{self.mixup.ratio:g}"
        if share := self.config["protocol"].get("reserve"):
            names["reserve"] = f"{share:g}"
        return {**names, "scale": self.config["scale"], "data": self._data_kind}

    @property
    def title(self) -> str:
        """The condition in one word a group."""
        words = [self.names[group] for group in (*CONDITION[:4], "reducer") if group in self.names]
        words += [f"mixup_{self.names['mixup']}"] if "mixup" in self.names else []
        # A simulated imbalance is another experiment on the same corpus.
        return "/".join([*words, self.names["protocol"]] if self.config["protocol"].get("minority") else words)

    @property
    def _data_kind(self) -> str:
        """What the corpora are: one stand-in makes all of it a stand-in's result.

        Whether background sounds are as published is no matter of what is learned from and tested on.
        """
        kinds = {
            self.corpora.corpus(role).data
            for role in self.corpora.roles
            if role not in ("noise", "music") or self.corpora.corpus(role).data == "standin"
        }
        return next(kind for kind in DATA_KINDS if kind in kinds)

    @property
    def domain(self) -> str | None:
        """What the generator makes: `waveform`, or features of clips as the classifier takes them."""
        return component_constant(self.config, "generator", "domain")

    @property
    def generates(self) -> bool:
        """Whether there are samples at all."""
        return self.domain is not None

    @property
    def drops_recordings(self) -> bool:
        """Whether the policy leaves recorded clips out of the training set."""
        return bool(component_constant(self.config, "policy", "drops_recordings"))

    @property
    def reduces(self) -> bool:
        """Whether vectors become shorter before the classifier takes them."""
        return schema.reduces(self.config)

    @property
    def draws_from_reserve(self) -> bool:
        """Whether the generator's primes are of the fold's reserve instead of its train part."""
        return bool(component_constant(self.config, "generator", "draws_from") == "reserve")

    @property
    def prime_requirements(self) -> PrimeRequirements:
        """What the generator wants of a request."""
        constants = describe(self.config["generator"]["_target_"]).constants
        settings = schema.settings_of(self.config["generator"])
        sample = settings.get("sample_s")
        prime = settings.get("prime_s", sample)
        from_source = constants.get("transforms_role") == "source"
        source = self.role_corpora("generator").get("source") if from_source else None
        primed, reconstructs = bool(constants.get("primed")), bool(constants.get("reconstructs"))
        return PrimeRequirements(primed, prime, sample, reconstructs, source)

    def prime_requirements_in(self, fold: Fold) -> PrimeRequirements:
        """Return the same in a fold, whose reserve some generators draw from.

        Raises:
            AugrunError: the fold has no such reserve.
        """
        if not self.draws_from_reserve:
            return self.prime_requirements
        if fold.reserve is None:  # the train part must not serve in its place
            raise AugrunError(f"fold {fold.name} of {self.corpus.name} has no reserve for the generator to draw from")
        return replace(self.prime_requirements, pool=fold.reserve)

    def kept_recordings(self, fold: Fold, seed: int) -> Corpus:
        """Return the recorded clips of a fold's train part that the policy leaves in the training set."""
        train: Corpus = build(self.config["policy"]).thin(fold.train, seed) if self.drops_recordings else fold.train
        return train

    @cached_property
    def representation(self) -> dict[str, Any]:
        """The representation's section, as features are extracted by it."""
        return representation_section(self.config)

    @cached_property
    def segments(self) -> Segments:
        """How clips are cut and voted on."""
        return segments_of_clips(self.config)

    @cached_property
    def normalise(self) -> Normalise | None:
        """How vectors are scaled for the classifier; None for spectrograms."""
        return vector_scale(self.config)

    @cached_property
    def mixup(self) -> Mixup:
        """How recorded vectors are mixed for the training set."""
        return mixup_of_recordings(self.config)

    @cached_property
    def baseline(self) -> ConditionPlan | None:
        """The same condition on all recordings alone; None for that itself, and where no baseline is wanted."""
        if not self.config["baseline"] or not (self.generates or self.drops_recordings):
            return None
        return ConditionPlan(baseline_config(self.config), self.store)

    @cached_property
    def fold_trials(self) -> list[FoldTrial]:
        """Every fold and trial, trial by trial; set to some of them for a job that does only these."""
        return [self._plan(fold, trial) for trial in range(self.config["trials"]["count"]) for fold in self.folds]

    def fold_trial(self, fold: Fold, trial: int) -> FoldTrial:
        """Return the planned stages of a fold and trial."""
        return next(one for one in self.fold_trials if (one.fold.name, one.trial) == (fold.name, trial))

    @cached_property
    def stage(self) -> Stage:
        """The whole condition: the stage that holds its results."""
        inputs = {f"{one.fold.name}/{one.trial}": one.predictions.fingerprint for one in self.fold_trials}
        for one in self.fold_trials:
            further = {"samples": one.samples, "judged": one.label_validity, "quality": one.quality}
            inputs |= {f"{kind}/{one.fold.name}/{one.trial}": s.fingerprint for kind, s in further.items() if s}
        settings = {"names": self.names, "confidence": self.config["confidence"], "seed": self.config["seed"]}
        return self.store.stage("condition", settings=settings, inputs=inputs, code="augrun.experiment.results_folder")

    def features_stage(self, inputs: Mapping[str, str]) -> Stage:
        """Return the stage that holds the features of a corpus or of samples.

        Args:
            inputs: the corpus's digest, or the samples' fingerprint.
        """
        return self._stage("features", inputs, group="representation", settings=keys.features_key(self.config))

    @property
    def extra_stages_to_keep(self) -> list[str]:
        """Stages that the results' fingerprints do not name, but that would be missed: features, the stand-in."""
        inputs = [{"corpus": corpus.digest} for corpus in self.split_corpora]
        inputs += [{"samples": one.samples.fingerprint} for one in self.fold_trials if one.samples]
        stages = [self.features_stage(named).fingerprint for named in inputs]
        roles = [role for role in self.corpora.roles if real_root(self.config, role) is None]
        return stages + [self.corpora.standin_stage(role).fingerprint for role in roles]

    def stage_manifests(self) -> list[dict[str, Any]]:
        """Return the manifests of the stages that are this condition's own and are done."""
        stages = [stage for one in self.fold_trials for stage in one.stages]
        stages += [self.features_stage({"samples": one.samples.fingerprint}) for one in self.fold_trials if one.samples]
        return [stage.manifest for stage in {one.fingerprint: one for one in stages}.values() if stage.done]

    def _plan(self, fold: Fold, trial: int) -> FoldTrial:
        """Name the stages of a fold and trial."""
        seed = trial_seed(self.config["seed"], trial, fold.name)
        kept = {"train": self.kept_recordings(fold, seed).digest} if self.drops_recordings else {}
        kept |= {"scaled_by": fold.train.digest} if kept and self.normalise is not None else {}
        generator = self._generator_stage(fold, seed)
        samples = self._samples_stage(fold, seed, generator)
        reducer = self._reducer_stage(fold, seed, kept)
        classifier = self._classifier_stage(fold, seed, kept, samples, reducer)
        clips = {"test": fold.test.digest, "validation": fold.validation.digest}
        predictions = self._stage(
            "predictions",
            {"classifier": classifier.fingerprint, **clips},
            group="classifier",
            settings=keys.prediction_key(self.config, self.target_corpus),
        )
        return FoldTrial(
            fold,
            trial,
            seed,
            generator,
            samples,
            reducer,
            classifier,
            predictions,
            self._embeddings_stage(fold, classifier),
            self._label_validity_stage(fold, trial, samples),
            self._quality_stage(fold, trial, samples),
        )

    def _generator_stage(self, fold: Fold, seed: int) -> Stage | None:
        """The trained generator; one for all trials of a fold where it is not trained anew for each."""
        if not self.generates or not component_constant(self.config, "generator", "trained"):
            return None
        if not self.config["trials"]["reseed_generator"]:
            seed = trial_seed(self.config["seed"], 0, fold.name)
        inputs = {"train": fold.train.digest, "validation": fold.validation.digest}
        inputs |= {role: corpus.digest for role, corpus in self.role_corpora("generator").items()}
        settings = self._trained("generator") | keys.generator_input_key(self.config)
        return self._stage("generator", inputs, seed=seed, settings=settings)

    def _samples_stage(self, fold: Fold, seed: int, generator: Stage | None) -> Stage | None:
        """What the generator makes of the policy's requests."""
        if not self.generates:
            return None
        inputs = {"train": fold.train.digest}
        inputs |= {role: corpus.digest for role, corpus in self.role_corpora("generator").items()}
        inputs |= {"generator": generator.fingerprint} if generator else {}
        inputs |= {"reserve": fold.reserve.digest} if self.draws_from_reserve and fold.reserve is not None else {}
        settings = {**schema.settings_of(self.config["generator"]), "policy": keys.policy_key(self.config)}
        settings |= keys.generator_input_key(self.config)
        return self._stage("samples", inputs, seed=seed, group="generator", settings=settings)

    def _reducer_stage(self, fold: Fold, seed: int, kept: Mapping[str, str]) -> Stage | None:
        """What makes vectors shorter, learned from the recordings that the classifier is trained on."""
        if not self.reduces:
            return None
        mixup = keys.mixup_key(self.config)
        seeded = mixup or component_constant(self.config, "reducer", "seeded") is not False
        settings = {**self._trained("reducer"), **self._scaled_representation_key, **mixup}
        return self._stage(
            "reducer", {"train": fold.train.digest, **kept}, seed=seed if seeded else None, settings=settings
        )

    def _classifier_stage(
        self, fold: Fold, seed: int, kept: Mapping[str, str], samples: Stage | None, reducer: Stage | None
    ) -> Stage:
        """The classifier, trained on the training set and selected on the validation part."""
        inputs = {"train": fold.train.digest, "validation": fold.validation.digest, **kept}
        inputs |= {"samples": samples.fingerprint} if samples else {}
        inputs |= {"reducer": reducer.fingerprint} if reducer else {}
        settings = self._trained("classifier") | self._scaled_representation_key | keys.mixup_key(self.config)
        if samples:
            settings["composition"] = self.config["policy"].get("composition", "both")
            settings["composed_by"] = keys.policy_key(self.config)["code"]
        return self._stage("classifier", inputs, seed=seed, settings=settings)

    def _embeddings_stage(self, fold: Fold, classifier: Stage) -> Stage | None:
        """Recordings in the classifier's embedding: once for all conditions that have this baseline."""
        if not component_constant(self.config, "classifier", "embeds"):
            return None
        inputs = {"classifier": classifier.fingerprint, "train": fold.train.digest, "test": fold.test.digest}
        settings = keys.embedding_key(self.config, self.target_corpus)
        return self._stage("embedded", inputs, group="classifier", settings=settings)

    def _label_validity_stage(self, fold: Fold, trial: int, samples: Stage | None) -> Stage | None:
        """What the baseline's classifier takes the samples for (Godwin et al. 2021, section VI)."""
        if samples is None or self.baseline is None:
            return None
        classifier = self.baseline.fold_trial(fold, trial).classifier
        inputs = {"classifier": classifier.fingerprint, "samples": samples.fingerprint}
        settings = keys.prediction_key(self.config, self.target_corpus)
        return self._stage("judged", inputs, group="classifier", settings=settings)

    def _quality_stage(self, fold: Fold, trial: int, samples: Stage | None) -> Stage | None:
        """How near the samples are to recordings in the embedding of the baseline's classifier."""
        if samples is None or self.baseline is None:
            return None
        reference = self.baseline.fold_trial(fold, trial)
        if reference.embeddings is None:
            return None
        inputs = {"classifier": reference.classifier.fingerprint, "embedded": reference.embeddings.fingerprint}
        inputs |= {"samples": samples.fingerprint, "train": fold.train.digest, "test": fold.test.digest}
        settings = keys.embedding_key(self.config, self.target_corpus)
        return self.store.stage("quality", settings=settings, inputs=inputs, code="augrun.evaluation.quality")

    @property
    def _scaled_representation_key(self) -> dict[str, Any]:
        return {"representation": keys.representation_key(self.config), **keys.normalisation_key(self.config)}

    def _trained(self, group: str) -> dict[str, Any]:
        return keys.trained_component_key(self.config, group, self.hardware)

    def _stage(
        self,
        kind: str,
        inputs: Mapping[str, str],
        *,
        seed: int | None = None,
        group: str | None = None,
        settings: Mapping[str, Any],
    ) -> Stage:
        """Name a stage whose code and version are those of the component of a group."""
        component = describe(self.config[group or kind]["_target_"])
        version = component.constants.get("version", 1)
        return self.store.stage(
            kind, settings=settings, inputs=inputs, code=component.module, version=version, seed=seed
        )
