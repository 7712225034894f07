"""A condition and its stages.

Every step with a cost is a stage: it has a fingerprint before it has a result, so that the whole way is known,
and what is done already is found, before anything heavy is imported. `augrun.experiment` tells the story that
these steps make.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from augrun import schema
from augrun.code import code_digest, describe
from augrun.corpora.corpus import Corpus
from augrun.errors import RequestError
from augrun.evaluation.results import PREDICTIONS, Scored, trial_seed
from augrun.features.segments import Segments
from augrun.job import Hardware, Job
from augrun.policies import Needs
from augrun.protocols.base import Fold
from augrun.recordings import Recordings, build, real_root
from augrun.stages import Stage, Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cell:
    """One fold and trial of a condition, as stages yet to be done or found."""

    fold: Fold
    trial: int
    seed: int
    generator: Stage | None
    samples: Stage | None
    classifier: Stage
    predictions: Stage

    @property
    def title(self) -> str:
        return f"fold {self.fold.name}, trial {self.trial + 1}"


class Condition:
    """One condition, from its resolved configuration.

    Attributes:
        config: plain data, as `augrun.experiment.resolve` leaves it.
        store: where stages live.
        hardware: where to compute.
    """

    def __init__(self, config: Mapping[str, Any], store: Store) -> None:
        self.config = config
        self.store = store
        self.hardware: Hardware = build(config["trainer"])

    # What there is to know before any work.

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
        return folds

    def others(self, group: str) -> dict[str, Corpus]:
        """The corpora in other roles that a component uses."""
        return {role: self.recordings.corpus(role) for role in schema.uses(self.config[group])}

    @cached_property
    def names(self) -> dict[str, str]:
        """The condition, as `results.json` and the tags have it."""
        names = {group: str(self.config[group].get("name")) for group in CONDITION}
        if not self.generates:
            names["policy"] = "none"  # nothing is generated, so no policy makes a difference
        if self.tested is not None:
            names["dataset"] += f"_to_{self.tested.name}"
        return {**names, "scale": self.config["scale"], "data": self._data}

    @property
    def tested(self) -> Corpus | None:
        """The other corpus that clips are tested on, where the protocol has one."""
        return self.others("protocol").get("target")

    @property
    def _data(self) -> str:
        """What the corpora are: one stand-in makes all of it a stand-in's result."""
        kinds = {self.recordings.corpus(role).data for role in self.recordings.roles}
        return next(kind for kind in ("standin", "other", "published") if kind in kinds)

    @property
    def generates(self) -> bool:
        return describe(self.config["generator"]["_target_"]).constants.get("domain") is not None

    @property
    def needs(self) -> Needs:
        """What the generator wants of a request."""
        constants = describe(self.config["generator"]["_target_"]).constants
        settings = schema.settings_of(self.config["generator"])
        sample = settings.get("sample_s")
        prime = settings.get("prime_s", sample)
        return Needs(bool(constants.get("primed")), prime, sample, bool(constants.get("reconstructs")))

    @cached_property
    def cells(self) -> list[Cell]:
        """Every fold and trial, trial by trial."""
        return [self._cell(fold, trial) for trial in range(self.config["trials"]["count"]) for fold in self.folds]

    def _cell(self, fold: Fold, trial: int) -> Cell:
        seed = trial_seed(self.config["seed"], trial)
        generator = samples = None
        recorded = {"train": fold.train.digest, "validation": fold.validation.digest}
        others = {role: corpus.digest for role, corpus in self.others("generator").items()} if self.generates else {}
        if self.generates:
            if self._constant("generator", "trained"):
                first = trial_seed(self.config["seed"], 0)
                reseed = self.config["trials"]["reseed_generator"]
                generator = self._stage(
                    "generator", recorded | others, seed=seed if reseed else first, settings=self._trained("generator")
                )
            made_from = (
                {"train": fold.train.digest} | others | ({"generator": generator.fingerprint} if generator else {})
            )
            plan = {**schema.settings_of(self.config["generator"]), "policy": self._drawn}
            samples = self._stage("samples", made_from, seed=seed, group="generator", settings=plan)
        composition = self.config["policy"].get("composition", "both")
        fed = recorded | ({"samples": samples.fingerprint} if samples else {})
        settings = {**self._trained("classifier"), "representation": self._seen}
        if samples:
            settings |= {"composition": composition, "composed_by": self._drawn["code"]}
        classifier = self._stage("classifier", fed, seed=seed, settings=settings)
        asked = {"classifier": classifier.fingerprint, "test": fold.test.digest, "validation": fold.validation.digest}
        decided = {
            "representation": self._seen,
            "vote": self.segments.vote,
            "by": code_digest("augrun.evaluation.decisions"),
        }
        predictions = self._stage("predictions", asked, group="classifier", settings=decided)
        return Cell(fold, trial, seed, generator, samples, classifier, predictions)

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
        """A trained component's settings, and the precision it trains with: that changes results, devices do not."""
        return {**schema.settings_of(self.config[group]), "precision": self.hardware.precision}

    @cached_property
    def _drawn(self) -> dict[str, Any]:
        """What requests depend on beside the generator: the policy, its code, what reads samples back."""
        section = self.config["policy"]
        settings = schema.settings_of(section)
        settings.pop("composition", None)  # what is done with the samples afterwards makes no other samples
        module = describe(section["_target_"]).module
        code = [code_digest(module), code_digest("augrun.samples")]
        return {**settings, "code": code, "version": describe(section["_target_"]).constants.get("version", 1)}

    def _constant(self, group: str, name: str) -> Any:
        return describe(self.config[group]["_target_"]).constants.get(name)

    @cached_property
    def representation_settings(self) -> dict[str, Any]:
        """What the features of a clip depend on, beside the clip."""
        section = self.config["representation"]
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
        cut = {"seconds": self.segments.seconds, "hop": self.segments.hop, "rest": self.segments.rest}
        return {**self.representation_settings, "segments": {**cut, "code": code_digest("augrun.features.segments")}}

    # The work itself, each step done once.

    def check_components(self) -> None:
        """Lets each component that has work to do look for what it needs (weights, programs) first.

        Raises:
            RequestError: something is missing, or the corpus has no sound for a generator that wants it.
        """
        spectra = self.corpus.clips["path"].str.endswith(".npy").sum()
        if spectra and self._constant("generator", "domain") == "waveform":
            raise RequestError(
                f"generator={self.names['generator']} works on sound, but {spectra} of {len(self.corpus)} clips of "
                f"{self.recordings.root()} are spectrograms (.npy); give a dataset.root that has the audio"
            )
        if spectra:
            build(self.config["representation"]).check_official()
        asked: dict[str, list[Stage | None]] = {
            "generator": [cell.generator or cell.samples for cell in self.cells],
            "classifier": [cell.classifier for cell in self.cells],
        }
        for group, stages in asked.items():
            if any(stage is not None and not stage.done for stage in stages):
                component = build(self.config[group])
                if hasattr(component, "check"):
                    component.check()

    def fitted(self, cell: Cell) -> Path | None:
        """The fold's generator, trained on its train part and selected on its validation part."""
        if cell.generator is None:
            return None

        def fit(folder: Path) -> None:
            generator = build(self.config["generator"])
            job = self._job(folder, cell.generator, "training")
            generator.fit(cell.fold.train, cell.fold.validation, job, **self.others("generator"))

        return cell.generator.get(fit, f"{self.config['generator']['name']}: training, {cell.title}")

    def generated(self, cell: Cell) -> Corpus | None:
        """The samples of a fold and trial."""
        if cell.samples is None:
            return None
        from augrun import samples

        fitted = self.fitted(cell)
        name = self.config["generator"]["name"]

        def generate(folder: Path) -> dict[str, Any]:
            generator = build(self.config["generator"])
            policy = build(self.config["policy"])
            plan = policy.plan(cell.fold.train, self.needs, cell.seed)
            job, names = self._job(folder, cell.samples, "generating"), cell.fold.train.label_set.names
            generator.generate(plan.requests, names, fitted, job, **self.others("generator"))
            return samples.commit(folder, plan, name)

        folder = cell.samples.get(generate, f"{name}: generating, {cell.title}")
        return samples.load(folder, name, cell.fold.train)

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

    @property
    def _parted(self) -> list[Corpus]:
        """The corpora whose clips are in the folds."""
        return [self.corpus] if self.tested is None else [self.corpus, self.tested]

    def features(self, corpus: Corpus, inputs: Mapping[str, str], title: str) -> Any:
        """The features of a corpus's clips, in its order."""
        from augrun.features.cache import Features

        stage = self._features_of(inputs)

        def extract(folder: Path) -> None:
            build(self.config["representation"]).extract(corpus, folder, self.hardware, self._max_frames, title=title)

        return Features.open(stage.get(extract, title))

    @cached_property
    def recorded_features(self) -> tuple[Any, dict[str, int]]:
        """The features of all recorded clips, in which nothing is fitted, and each clip's row."""
        from augrun.features.cache import Features

        of = [self.features(corpus, {"corpus": corpus.digest}, f"{corpus.name}: features") for corpus in self._parted]
        named = [corpus.prefixed() if corpus is self.tested else corpus for corpus in self._parted]
        clips = [clip for corpus in named for clip in corpus.clips["clip_id"]]
        return Features.concatenate(of), {clip: row for row, clip in enumerate(clips)}

    def whole(self, part: Corpus) -> Any:
        """The features of a part's recorded clips."""
        features, places = self.recorded_features
        return features.select([places[clip] for clip in part.clips["clip_id"]])

    def examples(self, part: Corpus, features: Any) -> tuple[Any, Any]:
        """Clips as the classifier sees them, whole or in segments, and the row of the clip that each is from."""
        from augrun.classifiers.base import Examples

        frame = None if self.segments.seconds is None else build(self.config["representation"]).seconds_per_frame
        cut, rows = self.segments.cut(features, frame)
        return Examples(cut, part.targets()[rows], part.label_set.multilabel), rows

    def training_set(self, cell: Cell) -> Any:
        """What the classifier is trained on: recorded and generated clips, as the policy has it."""
        from augrun.features.cache import Features

        recorded, samples = self.whole(cell.fold.train), self.generated(cell)
        if samples is None or cell.samples is None:
            return self.examples(cell.fold.train, recorded)[0]
        made = self.features(samples, {"samples": cell.samples.fingerprint}, f"{samples.name}: features, {cell.title}")
        both = Corpus.concatenate([cell.fold.train, samples])
        features = Features.concatenate([recorded, made])
        composed = build(self.config["policy"]).compose(cell.fold.train, samples)
        places = {clip: row for row, clip in enumerate(both.clips["clip_id"])}
        rows = [places[clip] for clip in composed.clips["clip_id"]]
        return self.examples(composed, features.select(rows))[0]

    def classified(self, cell: Cell) -> Path:
        """The trained classifier of a fold and trial."""
        if not cell.classifier.done:
            self.generated(cell)  # before the lock: other jobs may want these stages while this one trains

        def fit(folder: Path) -> None:
            job = self._job(folder, cell.classifier, "training")
            validation, _ = self.examples(cell.fold.validation, self.whole(cell.fold.validation))
            build(self.config["classifier"]).fit(self.training_set(cell), validation, job)

        return cell.classifier.get(fit, f"{self.config['classifier']['name']}: training, {cell.title}")

    def scored(self, cell: Cell) -> Scored:
        """The scores of a fold and trial on its validation and test parts."""

        def predict(folder: Path) -> None:
            from augrun.evaluation import decisions

            classifier, fitted = build(self.config["classifier"]), self.classified(cell)
            job = self._job(folder, cell.predictions, "predicting")
            content: dict[str, Any] = {}
            for name, part in (("validation", cell.fold.validation), ("test", cell.fold.test)):
                examples, rows = self.examples(part, self.whole(part))
                scores = classifier.predict(examples.features, fitted, job)
                content |= decisions.content(name, part, scores, rows, self.segments.vote)
            decisions.write(folder / PREDICTIONS, content)

        if not cell.predictions.done:
            self.classified(cell)
        folder = cell.predictions.get(predict, f"{self.config['classifier']['name']}: predicting, {cell.title}")
        validation, test = (part.by_utterance()[0] for part in (cell.fold.validation, cell.fold.test))
        return Scored(cell.fold.name, cell.trial, cell.seed, folder / PREDICTIONS, validation, test)

    @cached_property
    def stage(self) -> Stage:
        """The whole condition: the stage that holds its results."""
        inputs = {f"{cell.fold.name}/{cell.trial}": cell.predictions.fingerprint for cell in self.cells}
        for cell in self.cells:
            if cell.samples:
                inputs[f"samples/{cell.fold.name}/{cell.trial}"] = cell.samples.fingerprint
        settings = {"names": self.names, "confidence": self.config["confidence"], "seed": self.config["seed"]}
        return self.store.stage("condition", settings=settings, inputs=inputs, code="augrun.record")

    @property
    def title(self) -> str:
        """The condition in one word a group."""
        return "/".join(self.names[group] for group in CONDITION[:4])

    def _job(self, folder: Path, stage: Stage | None, doing: str) -> Job:
        seed = (stage.content.get("seed") if stage else None) or 0
        return Job(folder, seed, self.hardware, doing)


#: The groups that make a condition, in the order of a run's name.
CONDITION = ("dataset", "generator", "policy", "classifier", "protocol", "representation")
