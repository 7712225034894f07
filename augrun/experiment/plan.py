"""A condition's plan: its corpora, folds and trials, and every stage by name, before any work.

Every step with a cost is a stage: it has a fingerprint before it has a result, so that the whole way is known,
and what is done already is found, before anything heavy is imported. `augrun.experiment.condition` does the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any, Self

from augrun.core.config import schema
from augrun.core.config.component import build, describe
from augrun.core.data_kinds import DATA_KINDS
from augrun.core.errors import AugrunError
from augrun.core.job import Hardware
from augrun.core.seeding import trial_seed
from augrun.core.store.code_digest import code_digest
from augrun.core.store.stages import Stage, Store
from augrun.corpora.corpus import Corpus
from augrun.experiment.baseline import baseline_of
from augrun.experiment.fold_trial import Cell
from augrun.experiment.role_corpora import Recordings, real_root
from augrun.features.mixup import Mixup
from augrun.features.normalise import Normalise
from augrun.features.segments import Segments
from augrun.policies.base import Needs
from augrun.protocols.base import Fold, check_apart

#: The groups that make a condition, in the order of a run's name.
CONDITION = ("dataset", "generator", "policy", "classifier", "protocol", "representation")


class Plan:
    """What a condition will do, from its resolved configuration.

    Attributes:
        config: plain data, as `augrun.core.config.compose.resolve` leaves it.
        store: where stages live.
        hardware: where to compute.
    """

    def __init__(self, config: Mapping[str, Any], store: Store) -> None:
        self.config = config
        self.store = store
        self.hardware: Hardware = build(config["trainer"])

    @cached_property
    def recordings(self) -> Recordings:
        """The recorded corpora by role."""
        return Recordings(self.config, self.store, self.hardware)

    @property
    def corpus(self) -> Corpus:
        """The recorded clips of the dataset."""
        return self.recordings.corpus()

    @cached_property
    def folds(self) -> list[Fold]:
        """The corpus, parted by the protocol."""
        others = self.others("protocol")
        folds: list[Fold] = build(self.config["protocol"]).folds(self.corpus, self.config["seed"], **others)
        for fold in folds:  # what cannot be voted on is refused before any work
            fold.validation.by_utterance()
            fold.test.by_utterance()
        for role, corpus in self.others("generator").items():
            check_apart(folds, role, corpus, str(self.config["generator"].get("name")))
        return folds

    def others(self, group: str) -> dict[str, Corpus]:
        """The corpora in other roles that a component uses."""
        section = self.config[group]
        given = [role for role in schema.may_use(section) if self.config.get(role)]
        return {role: self.recordings.corpus(role) for role in (*schema.uses(section), *given)}

    @cached_property
    def names(self) -> dict[str, str]:
        """The condition, as `results.json` and the tags have it."""
        names = {group: str(self.config[group].get("name")) for group in CONDITION}
        if not self.generates and not self.thins:
            names["policy"] = "none"  # nothing is generated, so no policy makes a difference
        if self.tested is not None:
            names["dataset"] += f"_to_{self.tested.name}"
        if self.reduces:
            names["reducer"] = str(self.config["reducer"].get("name"))
        if self.mixup.ratio:
            names["mixup"] = f"{self.mixup.ratio:g}"
        if share := self.config["protocol"].get("reserve"):
            names["reserve"] = f"{share:g}"
        return {**names, "scale": self.config["scale"], "data": self._data}

    @property
    def tested(self) -> Corpus | None:
        """The other corpus that clips are tested on, where the protocol has one."""
        return self.others("protocol").get("target")

    @property
    def _data(self) -> str:
        """What the corpora are: one stand-in makes all of it a stand-in's result.

        Whether background sounds are as published is no matter of what is learned from and tested on.
        """
        kinds = {
            self.recordings.corpus(role).data
            for role in self.recordings.roles
            if role not in ("noise", "music") or self.recordings.corpus(role).data == "standin"
        }
        return next(kind for kind in DATA_KINDS if kind in kinds)

    @property
    def generates(self) -> bool:
        return self.domain is not None

    @property
    def thins(self) -> bool:
        """Whether the policy leaves recorded clips out of the training set."""
        return bool(self._constant("policy", "thins"))

    @property
    def reduces(self) -> bool:
        """Whether vectors become shorter before the classifier sees them."""
        return schema.reduces(self.config)

    @property
    def domain(self) -> str | None:
        """What the generator makes: `waveform`, or features of clips as the classifier sees them."""
        return self._constant("generator", "domain")

    @property
    def needs(self) -> Needs:
        """What the generator wants of a request."""
        constants = describe(self.config["generator"]["_target_"]).constants
        settings = schema.settings_of(self.config["generator"])
        sample = settings.get("sample_s")
        prime = settings.get("prime_s", sample)
        source = self.others("generator").get("source") if constants.get("turns") == "source" else None
        return Needs(bool(constants.get("primed")), prime, sample, bool(constants.get("reconstructs")), source)

    def needs_in(self, fold: Fold) -> Needs:
        """The same in a fold, whose reserve some generators draw from."""
        if not self.draws_from_reserve:
            return self.needs
        if fold.reserve is None:  # the train part must not serve in its place
            raise AugrunError(f"fold {fold.name} of {self.corpus.name} has no reserve for the generator to draw from")
        return replace(self.needs, pool=fold.reserve)

    @property
    def draws_from_reserve(self) -> bool:
        """Whether the generator's primes are of the fold's reserve instead of its train part."""
        return bool(self._constant("generator", "draws_from") == "reserve")

    @cached_property
    def cells(self) -> list[Cell]:
        """Every fold and trial, trial by trial."""
        return [self._cell(fold, trial) for trial in range(self.config["trials"]["count"]) for fold in self.folds]

    def _cell(self, fold: Fold, trial: int) -> Cell:
        seed = trial_seed(self.config["seed"], trial, fold.name)
        generator = samples = None
        recorded = {"train": fold.train.digest, "validation": fold.validation.digest}
        others = {role: corpus.digest for role, corpus in self.others("generator").items()} if self.generates else {}
        if self.generates:
            if self._constant("generator", "trained"):
                first = trial_seed(self.config["seed"], 0, fold.name)
                reseed = self.config["trials"]["reseed_generator"]
                settings = self._trained("generator") | self._learned_from
                generator = self._stage(
                    "generator", recorded | others, seed=seed if reseed else first, settings=settings
                )
            made_from = {"train": fold.train.digest} | others
            made_from |= {"generator": generator.fingerprint} if generator else {}
            made_from |= (
                {"reserve": fold.reserve.digest} if self.draws_from_reserve and fold.reserve is not None else {}
            )
            plan = {**schema.settings_of(self.config["generator"]), "policy": self._drawn, **self._learned_from}
            samples = self._stage("samples", made_from, seed=seed, group="generator", settings=plan)
        composition = self.config["policy"].get("composition", "both")
        trained_on = {"train": self.thinned(fold, seed).digest} if self.thins else {}
        trained_on |= {"scaled_by": fold.train.digest} if self.thins and self._scaled else {}
        seen = {"representation": self._seen, **self._scaled}
        reducer = self._reducer({"train": fold.train.digest} | trained_on, seen, seed) if self.reduces else None
        fed = recorded | trained_on | ({"samples": samples.fingerprint} if samples else {})
        fed |= {"reducer": reducer.fingerprint} if reducer else {}
        settings = {**self._trained("classifier"), **seen, **self._mixed}
        if samples:
            settings |= {"composition": composition, "composed_by": self._drawn["code"]}
        classifier = self._stage("classifier", fed, seed=seed, settings=settings)
        asked = {"classifier": classifier.fingerprint, "test": fold.test.digest, "validation": fold.validation.digest}
        predictions = self._stage("predictions", asked, group="classifier", settings=self._decided)
        embedded = self._embedded(fold, classifier)
        judged, quality = self._judged(fold, trial, samples), self._quality(fold, trial, samples)
        return Cell(fold, trial, seed, generator, samples, reducer, classifier, predictions, embedded, judged, quality)

    def thinned(self, fold: Fold, seed: int) -> Corpus:
        """The recorded clips that the classifier may be trained on."""
        train: Corpus = build(self.config["policy"]).thin(fold.train, seed) if self.thins else fold.train
        return train

    def _reducer(self, inputs: Mapping[str, str], seen: Mapping[str, Any], seed: int) -> Stage:
        """What makes vectors shorter, learned from the recordings that the classifier is trained on."""
        drawn = self._mixed or self._constant("reducer", "seeded") is not False
        settings = {**self._trained("reducer"), **seen, **self._mixed}
        return self._stage("reducer", inputs, seed=seed if drawn else None, settings=settings)

    @property
    def _learned_from(self) -> dict[str, Any]:
        """What a generator of features depends on beside the clips: how they become features."""
        return {} if self.domain == "waveform" else {"representation": self._seen}

    def _judged(self, fold: Fold, trial: int, samples: Stage | None) -> Stage | None:
        """What the baseline's classifier says of the samples (Godwin et al. 2021, section VI)."""
        if samples is None or self.baseline is None:
            return None
        asked = {"classifier": self.baseline.cell(fold, trial).classifier.fingerprint, "samples": samples.fingerprint}
        return self._stage("judged", asked, group="classifier", settings=self._decided)

    def _embedded(self, fold: Fold, classifier: Stage) -> Stage | None:
        """Recordings in the classifier's embedding: once for all conditions that have this baseline."""
        if not self._constant("classifier", "embeds"):
            return None
        asked = {"classifier": classifier.fingerprint, "train": fold.train.digest, "test": fold.test.digest}
        return self._stage("embedded", asked, group="classifier", settings=self._placed)

    def _quality(self, fold: Fold, trial: int, samples: Stage | None) -> Stage | None:
        """How near the samples are to recordings in the embedding of the baseline's classifier."""
        heard = None if samples is None or self.baseline is None else self.baseline.cell(fold, trial)
        if samples is None or heard is None or heard.embedded is None:
            return None
        asked = {"classifier": heard.classifier.fingerprint, "embedded": heard.embedded.fingerprint}
        asked |= {"samples": samples.fingerprint, "train": fold.train.digest, "test": fold.test.digest}
        return self.store.stage("quality", settings=self._placed, inputs=asked, code="augrun.evaluation.quality")

    @cached_property
    def _decided(self) -> dict[str, Any]:
        """What scores depend on beside the classifier and the clips."""
        return {**self._put_in, "vote": self.segments.vote, "by": code_digest("augrun.evaluation.decisions")}

    @cached_property
    def _placed(self) -> dict[str, Any]:
        """What embeddings depend on beside the classifier and the clips."""
        return {**self._put_in, "by": code_digest("augrun.evaluation.embeddings")}

    @cached_property
    def _put_in(self) -> dict[str, Any]:
        """What a trained classifier's input depends on beside the clips."""
        other = {"other": self.tested.digest} if self._scaled and self.tested is not None else {}
        return {"representation": self._seen, **self._scaled, **other}

    def cell(self, fold: Fold, trial: int) -> Cell:
        """The cell of a fold and trial."""
        return next(cell for cell in self.cells if (cell.fold.name, cell.trial) == (fold.name, trial))

    @cached_property
    def baseline(self) -> Self | None:
        """The same condition on all recordings alone; None for that itself, and where no baseline is wanted."""
        if not self.config["baseline"] or not (self.generates or self.thins):
            return None
        return type(self)(baseline_of(self.config), self.store)

    def _stage(
        self,
        kind: str,
        inputs: Mapping[str, str],
        *,
        seed: int | None = None,
        group: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Stage:
        section = self.config[group or kind]
        return self.store.stage(
            kind,
            settings=schema.settings_of(section) if settings is None else settings,
            inputs=inputs,
            code=describe(section["_target_"]).module,
            version=describe(section["_target_"]).constants.get("version", 1),
            seed=seed,
        )

    def _trained(self, group: str) -> dict[str, Any]:
        """A trained component's settings, and what of the hardware changes results; devices do not."""
        return {**schema.settings_of(self.config[group]), **self.hardware.changes}

    @cached_property
    def _drawn(self) -> dict[str, Any]:
        """What requests depend on beside the generator: the policy, its code, what reads samples back."""
        section = self.config["policy"]
        settings = schema.settings_of(section)
        settings.pop("composition", None)  # what is done with the samples afterwards makes no other samples
        module = describe(section["_target_"]).module
        code = [code_digest(module), code_digest("augrun.generators.samples")]
        return {**settings, "code": code, "version": describe(section["_target_"]).constants.get("version", 1)}

    def _constant(self, group: str, name: str) -> Any:
        return describe(self.config[group]["_target_"]).constants.get(name)

    @cached_property
    def representation(self) -> dict[str, Any]:
        """The representation's section; with the hop that gives segments their frames, where that is asked for."""
        section = dict(self.config["representation"])
        hop = self.segments.hop_for(section["sample_rate"]) if "sample_rate" in section else None
        return section if hop is None else {**section, "hop": hop}

    @cached_property
    def representation_settings(self) -> dict[str, Any]:
        """What the features of a clip depend on, beside the clip."""
        section = self.representation
        known = describe(section["_target_"])
        return {
            **schema.settings_of(section),
            "max_frames": self._max_frames,
            "code": code_digest(known.module),
            "version": known.constants.get("version", 1),
        }

    @property
    def _max_frames(self) -> int | None:
        """What is kept of a clip's features: all of them where segments are cut."""
        return None if self.segments.seconds is not None else self.config["dataset"].get("input_frames")

    @cached_property
    def segments(self) -> Segments:
        """How clips are cut and voted on."""
        return Segments(**self.config["segments"])

    @property
    def _seen(self) -> dict[str, Any]:
        """What a classifier's input depends on, beside the clip."""
        if self.segments.seconds is None:
            return self.representation_settings
        cut = {key: getattr(self.segments, key) for key in ("seconds", "hop", "rest", "frames", "fit")}
        return {**self.representation_settings, "segments": {**cut, "code": code_digest("augrun.features.segments")}}

    @cached_property
    def normalise(self) -> Normalise | None:
        """How vectors come to one scale before the classifier; None for spectrograms."""
        if self._constant("representation", "domain") != "functionals":
            return None
        return Normalise(**self.config["normalise"])

    @cached_property
    def _scaled(self) -> dict[str, Any]:
        """What a classifier's input depends on beside the features."""
        if self.normalise is None:
            return {}
        return {"normalise": {**asdict(self.normalise), "code": code_digest("augrun.features.normalise")}}

    @cached_property
    def mixup(self) -> Mixup:
        """How recorded vectors are mixed for the training set."""
        return Mixup(**self.config["mixup"])

    @cached_property
    def _mixed(self) -> dict[str, Any]:
        """What a training set depends on beside the vectors; nothing where none are mixed."""
        if not self.mixup.ratio:
            return {}
        return {"mixup": {**asdict(self.mixup), "code": code_digest("augrun.features.mixup")}}

    def _features_of(self, inputs: Mapping[str, str]) -> Stage:
        return self._stage("features", inputs, group="representation", settings=self.representation_settings)

    @property
    def used(self) -> list[str]:
        """Stages that the results' fingerprints do not name, but that would be missed: features, the stand-in."""
        named = [{"corpus": corpus.digest} for corpus in self._parted]
        named += [{"samples": cell.samples.fingerprint} for cell in self.cells if cell.samples]
        used = [self._features_of(inputs).fingerprint for inputs in named]
        roles = [role for role in self.recordings.roles if real_root(self.config, role) is None]
        return used + [self.recordings.standin(role).fingerprint for role in roles]

    def costs(self) -> list[dict[str, Any]]:
        """The manifests of the stages that are this condition's own and are done."""
        named = [stage for cell in self.cells for stage in cell.stages]
        named += [self._features_of({"samples": cell.samples.fingerprint}) for cell in self.cells if cell.samples]
        return [stage.manifest for stage in {one.fingerprint: one for one in named}.values() if stage.done]

    @property
    def _parted(self) -> list[Corpus]:
        """The corpora whose clips are in the folds."""
        return [self.corpus] if self.tested is None else [self.corpus, self.tested]

    @cached_property
    def stage(self) -> Stage:
        """The whole condition: the stage that holds its results."""
        inputs = {f"{cell.fold.name}/{cell.trial}": cell.predictions.fingerprint for cell in self.cells}
        for cell in self.cells:
            further = {"samples": cell.samples, "judged": cell.judged, "quality": cell.quality}
            inputs |= {f"{kind}/{cell.fold.name}/{cell.trial}": s.fingerprint for kind, s in further.items() if s}
        settings = {"names": self.names, "confidence": self.config["confidence"], "seed": self.config["seed"]}
        return self.store.stage("condition", settings=settings, inputs=inputs, code="augrun.experiment.results_folder")

    @property
    def title(self) -> str:
        """The condition in one word a group."""
        words = [self.names[group] for group in (*CONDITION[:4], "reducer") if group in self.names]
        words += [f"mixup_{self.names['mixup']}"] if "mixup" in self.names else []
        # A simulated imbalance is another experiment on the same corpus.
        return "/".join([*words, self.names["protocol"]] if self.config["protocol"].get("minority") else words)
