"""A condition and its stages.

Every step with a cost is a stage: it has a fingerprint before it has a result, so that the whole way is known,
and what is done already is found, before anything heavy is imported. `augrun.experiment` tells the story that
these steps make.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from augrun import schema
from augrun.code import code_digest, describe
from augrun.corpora.corpus import Corpus
from augrun.corpora.index import Index
from augrun.errors import RequestError
from augrun.evaluation.results import Scored, trial_seed
from augrun.job import Hardware, Job
from augrun.policies import Needs
from augrun.protocols import Fold
from augrun.stages import Stage, Store

log = logging.getLogger(__name__)


def build(section: Mapping[str, Any]) -> Any:
    """The component that a section of the configuration describes."""
    module, _, name = section["_target_"].rpartition(".")
    fields = describe(section["_target_"]).parameters
    return getattr(importlib.import_module(module), name)(**{k: v for k, v in section.items() if k in fields})


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
    def corpus(self) -> Corpus:
        """The recorded clips."""
        reader = build(self.config["dataset"])
        index = Index(self.store.root / "index", workers=self.hardware.workers, progress=self.hardware.progress)
        return reader.read(self.corpus_root, index)

    @cached_property
    def corpus_root(self) -> Path:
        """The real corpus's folder, or that of its stand-in, rendered when nobody has done so."""
        dataset = self.config["dataset"]
        root = real_root(self.config)
        if root is not None:
            return root

        def render(folder: Path) -> None:
            from augrun.corpora import standin

            standin.render(folder=folder / "corpus", **self._standin.content["settings"])

        return self._standin.get(render, f"stand-in for {dataset['standin']}: rendering a miniature corpus") / "corpus"

    @cached_property
    def _standin(self) -> Stage:
        # Not seeded by `seed`: another seed is another experiment on the same corpus.
        dataset = self.config["dataset"]
        settings = {"dataset": dataset["standin"], "seed": 0, **(dataset.get("standin_options") or {})}
        return self.store.stage("standin", settings=settings, inputs={}, code=f"augrun.corpora.standin.{dataset['standin']}")

    @cached_property
    def folds(self) -> list[Fold]:
        """The corpus, parted by the protocol."""
        return build(self.config["protocol"]).folds(self.corpus, self.config["seed"])

    @cached_property
    def names(self) -> dict[str, str]:
        """The condition, as `results.json` and the tags have it."""
        names = {group: str(self.config[group].get("name")) for group in CONDITION}
        if not self.generates:
            names["policy"] = "none"  # nothing is generated, so no policy makes a difference
        return {**names, "scale": self.config["scale"], "data": self.corpus.data}

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
        represented = self.representation_settings
        if self.generates:
            if self._constant("generator", "trained"):
                first = trial_seed(self.config["seed"], 0)
                reseed = self.config["trials"]["reseed_generator"]
                generator = self._stage(
                    "generator", recorded, seed=seed if reseed else first, settings=self._trained("generator")
                )
            made_from = {"train": fold.train.digest} | ({"generator": generator.fingerprint} if generator else {})
            plan = {**schema.settings_of(self.config["generator"]), "policy": self._drawn}
            samples = self._stage("samples", made_from, seed=seed, group="generator", settings=plan)
        composition = self.config["policy"].get("composition", "both")
        fed = recorded | ({"samples": samples.fingerprint} if samples else {})
        settings = {**self._trained("classifier"), "representation": represented}
        if samples:
            settings |= {"composition": composition, "composed_by": self._drawn["code"]}
        classifier = self._stage("classifier", fed, seed=seed, settings=settings)
        asked = {"classifier": classifier.fingerprint, "test": fold.test.digest, "validation": fold.validation.digest}
        predictions = self._stage("predictions", asked, group="classifier", settings={"representation": represented})
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
            "max_frames": self.config["dataset"].get("input_frames"),
            "code": code_digest(known.module),
            "version": known.constants.get("version", 1),
        }

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
                f"{self.corpus_root} are spectrograms (.npy); give a dataset.root that has the audio"
            )
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
            generator.fit(cell.fold.train, cell.fold.validation, self._job(folder, cell.generator, "training"))

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
            generator.generate(
                plan.requests, cell.fold.train.label_set.names, fitted, self._job(folder, cell.samples, "generating")
            )
            return samples.commit(folder, plan, name)

        folder = cell.samples.get(generate, f"{name}: generating, {cell.title}")
        return samples.load(folder, name, cell.fold.train)

    def _features_of(self, inputs: Mapping[str, str]) -> Stage:
        return self._stage("features", inputs, group="representation", settings=self.representation_settings)

    @property
    def used(self) -> list[str]:
        """Stages that the results' fingerprints do not name, but that would be missed: features, the stand-in."""
        named = [{"corpus": self.corpus.digest}]
        named += [{"samples": cell.samples.fingerprint} for cell in self.cells if cell.samples]
        used = [self._features_of(inputs).fingerprint for inputs in named]
        if real_root(self.config) is None:
            used.append(self._standin.fingerprint)
        return used

    def features(self, corpus: Corpus, inputs: Mapping[str, str], title: str) -> Any:
        """The features of a corpus's clips, in its order."""
        from augrun.features.cache import Features

        stage = self._features_of(inputs)

        def extract(folder: Path) -> None:
            build(self.config["representation"]).extract(
                corpus, folder, self.hardware, self.config["dataset"].get("input_frames"), title=title
            )

        return Features.open(stage.get(extract, title))

    @cached_property
    def recorded_features(self) -> Any:
        """The features of all recorded clips; nothing in them is fitted."""
        return self.features(self.corpus, {"corpus": self.corpus.digest}, f"{self.corpus.name}: features")

    def examples(self, part: Corpus) -> Any:
        """A part of the recorded clips as the classifier sees it."""
        from augrun.classifiers.base import Examples

        places = {clip: row for row, clip in enumerate(self.corpus.clips["clip_id"])}
        rows = [places[clip] for clip in part.clips["clip_id"]]
        return Examples(self.recorded_features.select(rows), part.targets(), part.label_set.multilabel)

    def training_set(self, cell: Cell) -> Any:
        """What the classifier is trained on: recorded and generated clips, as the policy has it."""
        from augrun.classifiers.base import Examples
        from augrun.features.cache import Features

        recorded = self.examples(cell.fold.train)
        samples = self.generated(cell)
        if samples is None or cell.samples is None:
            return recorded
        made = self.features(samples, {"samples": cell.samples.fingerprint}, f"{samples.name}: features, {cell.title}")
        both = Corpus.concatenate([cell.fold.train, samples])
        features = Features.concatenate([recorded.features, made])
        composed = build(self.config["policy"]).compose(cell.fold.train, samples)
        places = {clip: row for row, clip in enumerate(both.clips["clip_id"])}
        rows = [places[clip] for clip in composed.clips["clip_id"]]
        return Examples(features.select(rows), composed.targets(), composed.label_set.multilabel)

    def classified(self, cell: Cell) -> Path:
        """The trained classifier of a fold and trial."""
        if not cell.classifier.done:
            self.generated(cell)  # before the lock: other jobs may want these stages while this one trains

        def fit(folder: Path) -> None:
            job = self._job(folder, cell.classifier, "training")
            build(self.config["classifier"]).fit(self.training_set(cell), self.examples(cell.fold.validation), job)

        return cell.classifier.get(fit, f"{self.config['classifier']['name']}: training, {cell.title}")

    def scored(self, cell: Cell) -> Scored:
        """The scores of a fold and trial on its validation and test parts."""

        def predict(folder: Path) -> None:
            import numpy as np

            classifier = build(self.config["classifier"])
            fitted = self.classified(cell)
            job = self._job(folder, cell.predictions, "predicting")
            scores = {
                f"{part}_scores": classifier.predict(self.examples(corpus).features, fitted, job)
                for part, corpus in (("validation", cell.fold.validation), ("test", cell.fold.test))
            }
            np.savez(folder / "predictions.npz", **scores, test_clips=cell.fold.test.clips["clip_id"].to_numpy(str))

        if not cell.predictions.done:
            self.classified(cell)
        folder = cell.predictions.get(predict, f"{self.config['classifier']['name']}: predicting, {cell.title}")
        return Scored(
            cell.fold.name, cell.trial, cell.seed, folder / "predictions.npz", cell.fold.validation, cell.fold.test
        )

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


def real_root(config: Mapping[str, Any]) -> Path | None:
    """The folder of the real corpus that the request names; None where the stand-in serves.

    Raises:
        RequestError: a named folder is not there, or nothing is named and there is no stand-in.
    """
    dataset = config["dataset"]
    name = dataset["name"]
    if dataset.get("root"):
        root = Path(dataset["root"]).expanduser()
        if not root.is_dir():
            raise RequestError(f"dataset.root: no folder {root}; give the folder that holds {name}")
        return root.resolve()
    if config["data"]["root"]:
        base = Path(config["data"]["root"]).expanduser()
        root = base / (dataset.get("folder") or name)
        if not root.is_dir():
            raise RequestError(f"no folder {root} for dataset={name} under the data root {base}; give dataset.root=DIR")
        return root.resolve()
    if not dataset.get("standin"):
        raise RequestError(f"dataset={name} has no stand-in; give dataset.root=DIR, the folder that holds the corpus")
    return None
