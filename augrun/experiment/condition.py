"""A condition's work, step by step, each done once.

`augrun.experiment.plan` names the stages that these steps fill, `augrun.experiment.inputs` has what classifiers see of
clips,
`augrun.experiment.sample_evaluation` what is asked of samples beside, and `augrun.experiment.run` tells the story that
they make.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core.config.component import build
from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Job
from augrun.core.store import garbage_collection
from augrun.core.store.stages import Stage
from augrun.corpora.corpus import RECORDED, Corpus
from augrun.evaluation.results import PREDICTIONS, FoldTrialResult, GeneratedSamples, Predictions
from augrun.experiment import sample_evaluation, scheduling
from augrun.experiment.fold_trial import Cell
from augrun.experiment.inputs import Seeing


class Condition(Seeing):
    """One condition, from its resolved configuration."""

    def kept(self) -> AbstractContextManager[None]:
        """Within it `augrun store gc` leaves its stages alone, however long ago they were done."""
        if self.stage.done:
            return nullcontext()
        return garbage_collection.needed(
            self.store, self.stage, [stage for cell in self.cells for stage in cell.stages]
        )

    def check_components(self, *groups: str) -> None:
        """Lets each component that has work to do look for what it needs (weights, programs) first.

        Args:
            groups: of `generator`, `reducer` and `classifier`; all by default.

        Raises:
            RequestError: something is missing, or the corpus has no sound for a generator that wants it.
        """
        self._check_sound()
        self._check_folds()
        asked: dict[str, list[Stage | None]] = {
            "reducer": [cell.reducer for cell in self.cells],
            "generator": [cell.generator or cell.samples for cell in self.cells],
            "classifier": [cell.classifier for cell in self.cells],
        }
        for group, stages in asked.items():
            if group in (groups or asked) and any(stage is not None and not stage.done for stage in stages):
                parts = [build(self.config[group])]
                if group == "classifier" or self.domain != "waveform":
                    parts.append(build(self.representation))
                for component in parts:
                    if hasattr(component, "check"):
                        component.check()

    def _check_folds(self) -> None:
        """Lets reducer and classifier look at the folds' parts, where they have work to do."""
        for group in ("reducer", "classifier"):
            stages = [(cell, cell.reducer if group == "reducer" else cell.classifier) for cell in self.cells]
            waiting = [cell for cell, stage in stages if stage is not None and not stage.done]
            component = build(self.config[group]) if waiting else None  # which imports all that it needs
            if component is not None and hasattr(component, "check_fold"):
                for cell in waiting:
                    component.check_fold(cell.fold, build(self.representation).bands)

    def _check_sound(self) -> None:
        """Spectrograms on disk serve those alone who look at spectrograms."""
        vectors, roles = self.normalise is not None, self.recordings.roles
        for role in (role for role in roles if role in ("dataset", "source") or (role == "target" and vectors)):
            corpus = self.recordings.corpus(role)
            spectra = int(corpus.clips["path"].str.endswith(".npy").sum())
            if spectra and (vectors or self.domain == "waveform"):
                who = f"generator={self.names['generator']} works on"
                who = f"representation={self.names['representation']} wants" if vectors else who
                raise RequestError(
                    f"{who} sound, but {spectra} of {len(corpus)} clips of {self.recordings.root(role)} are "
                    f"spectrograms (.npy); give a {role}.root that has the audio"
                )
            if spectra:
                build(self.representation).check_official()

    def fitted_together(self) -> None:
        """Trains the generators of all folds (and trials) at once, where they can be; `fitted` then finds them."""
        if not self._constant("generator", "together"):
            return
        # Trials share their fold's generator, where it is not trained anew for each.
        waiting = [cell for cell in self.cells if cell.generator and not cell.generator.done]
        cells = list({cell.generator.fingerprint: cell for cell in waiting[::-1] if cell.generator}.values())[::-1]

        def fit(jobs: list[Job], group: list[Cell]) -> None:
            parts = {cell.fold.name: self.recorded(cell.fold.train)[0] for cell in group}
            build(self.config["generator"]).fit_together([parts[cell.fold.name] for cell in group], jobs, **self.given)

        for group in self.groups(cells):
            self._at_once("generator", fit, group)

    def fitted(self, cell: Cell) -> Path | None:
        """The fold's generator, trained on its train part and selected on its validation part."""
        if cell.generator is None:
            return None

        def fit(folder: Path) -> None:
            generator = build(self.config["generator"])
            job = self.job(folder, cell.generator, "training")
            parts: list[Any] = [cell.fold.train, cell.fold.validation]
            if self.domain != "waveform":
                parts = [self.recorded(part)[0] for part in parts]
            generator.fit(*parts, job, **self.given)

        return cell.generator.get(fit, f"{self.config['generator']['name']}: training, {cell.title}")

    def generated(self, cell: Cell) -> Corpus | None:
        """The samples of a fold and trial."""
        if cell.samples is None:
            return None
        from augrun.generators import samples

        fitted = self.fitted(cell)
        name = self.config["generator"]["name"]

        def generate(folder: Path) -> dict[str, Any]:
            generator = build(self.config["generator"])
            policy = build(self.config["policy"])
            needs = self.needs_in(cell.fold)
            plan = policy.plan(cell.fold.train, needs, cell.seed, self._units(cell.fold.train))
            job, names = self.job(folder, cell.samples, "generating"), cell.fold.train.label_set.names
            others = dict(self.given)
            if self.domain != "waveform" and needs.primed:
                others["primes"] = self._primes(plan.requests["prime_clip"])
            if self._constant("generator", "told_classes"):
                drawn_from = cell.fold.train if needs.pool is None else needs.pool
                others["classes"] = dict(drawn_from.clips[["clip_id", "labels"]].itertuples(index=False))
            generator.generate(plan.requests, names, fitted, job, **others)
            if self.domain == "waveform":
                summary = samples.commit(folder, plan, name, needs)
            else:
                seconds_of = self._seconds_of if self.domain == "logmel" else None
                summary = samples.commit_features(folder, plan, name, needs, seconds_of)
            return summary | {"notes": generator.notes()}

        folder = cell.samples.get(generate, f"{name}: generating, {cell.title}")
        return samples.load(folder, name, cell.fold.train)

    @property
    def given(self) -> dict[str, Any]:
        """What a generator gets of the corpora in other roles: clips, or features where it makes features."""
        if self.domain == "waveform":
            return dict(self.others("generator"))
        return {role: self._examples_of(corpus) for role, corpus in self.others("generator").items()}

    def _examples_of(self, corpus: Corpus) -> Any:
        """A whole corpus of another role as a generator of features sees it."""
        features = self.features(corpus, {"corpus": corpus.digest}, f"{corpus.name}: features")
        return self.examples(corpus, features)[0]

    def _primes(self, clips: Iterable[str]) -> Any:
        """The recorded features of each clip, in their order."""
        source = self.needs.source
        if source is None:
            features, places = self.recorded_features
        else:
            features = self.features(source, {"corpus": source.digest}, f"{source.name}: features")
            places = {clip: row for row, clip in enumerate(source.clips["clip_id"])}
        return features.select([places[clip] for clip in clips])

    def _units(self, train: Corpus) -> Any:
        """How many examples each clip is for the generator; None where that is one."""
        if self.domain == "waveform" or self.segments.seconds is None:
            return None
        _, rows = self.recorded(train)
        return np.bincount(rows, minlength=len(train))

    def _seconds_of(self, frames: int) -> float:
        """Seconds of an example of so many frames."""
        if self.segments.seconds is not None and frames == self.segments.frames:
            return self.segments.seconds
        return frames * float(build(self.representation).seconds_per_frame)

    def training_set(self, cell: Cell) -> Any:
        """What the classifier is trained on: recorded and generated clips, as the policy has it.

        Raises:
            AugrunError: a class has no example, so that no classifier could learn it.
        """
        from augrun.features.examples import Examples

        recorded, samples = self.thinned(cell.fold, cell.seed), self.generated(cell)
        if samples is None or cell.samples is None or not len(samples):
            return self.mixed(cell, recorded)
        from augrun.generators.samples import replaced

        composed = build(self.config["policy"]).compose(recorded, samples, replaced(cell.samples.folder))
        from_recordings = (composed.clips["origin"] == RECORDED).to_numpy()
        parts = []
        if from_recordings.any():
            parts.append(self.mixed(cell, composed.select(from_recordings)))
        if not from_recordings.all():
            parts.append(self.seen(cell, samples, self.heard(cell, samples)[0]))
        examples = Examples.concatenate(parts)
        lacking = [
            name for name, some in zip(examples.names, np.any(examples.targets > 0, axis=0), strict=True) if not some
        ]
        if lacking:
            raise AugrunError(
                f"{cell.title}: the training set has no example of {', '.join(lacking)}, as "
                f"policy={self.names['policy']} makes no samples of it and leaves the recordings out; give "
                "policy.composition=both, or a policy that makes samples of every class"
            )
        return examples

    def classified_together(self) -> None:
        """Trains the classifiers of all folds and trials at once, where they can be; `classified` then finds them."""
        waiting = [cell for cell in self.cells if not cell.classifier.done]
        if not self._constant("classifier", "together") or len(waiting) < 2:
            return
        scheduling.take(waiting, [("generator", self.fitted), ("samples", self.generated)])

        def fit(jobs: list[Job], cells: list[Cell]) -> None:
            sets: dict[str, Any] = {}
            for cell in cells:  # what differs in the classifier's seed alone is read and kept once
                if self._fed(cell) not in sets:
                    sets[self._fed(cell)] = self.training_set(cell)
            build(self.config["classifier"]).fit_together([sets[self._fed(cell)] for cell in cells], jobs)

        for cells in self.groups(waiting, self._bytes_of):
            self._at_once("classifier", fit, cells)

    def _bytes_of(self, cell: Cell) -> int:
        """Memory of a cell's training set, if no other cell had the same, about."""
        made = cell.samples.manifest["summary"]["clips"] if cell.samples else 0
        vectors = len(cell.fold.train) * (1 + self.mixup.ratio) + made
        return int(4 * vectors * build(self.representation).bands)

    def _fed(self, cell: Cell) -> str:
        """What a cell's classifier is trained on, in a word."""
        seed = cell.seed if self.mixup.ratio else None
        return repr((sorted(cell.classifier.content["inputs"].items()), seed))

    def classified(self, cell: Cell) -> Path:
        """The trained classifier of a fold and trial."""
        if not cell.classifier.done:
            self.generated(cell)  # before the lock: other jobs may want these stages while this one trains

        def fit(folder: Path) -> None:
            job = self.job(folder, cell.classifier, "training")
            validation = self.seen(cell, cell.fold.validation, self.recorded(cell.fold.validation)[0])
            build(self.config["classifier"]).fit(self.training_set(cell), validation, job)

        return cell.classifier.get(fit, f"{self.config['classifier']['name']}: training, {cell.title}")

    def scored(self, cell: Cell) -> Predictions:
        """The scores of a fold and trial on its validation and test parts."""

        def predict(folder: Path) -> None:
            from augrun.evaluation import decisions

            classifier, fitted = build(self.config["classifier"]), self.classified(cell)
            job = self.job(folder, cell.predictions, "predicting")
            content: dict[str, Any] = {}
            for name, part in (("validation", cell.fold.validation), ("test", cell.fold.test)):
                examples, rows = self.recorded(part)
                examples = self.seen(cell, part, examples)
                scores = classifier.predict(examples.features, fitted, job)
                content |= decisions.content(name, part, scores, rows, self.segments.vote)
            decisions.write(folder / PREDICTIONS, content)

        if not cell.predictions.done:
            self.classified(cell)
        folder = cell.predictions.get(predict, f"{self.config['classifier']['name']}: predicting, {cell.title}")
        validation, test = (part.by_utterance()[0] for part in (cell.fold.validation, cell.fold.test))
        return Predictions(cell.fold.name, cell.trial, cell.seed, folder / PREDICTIONS, validation, test)

    def made(self, cell: Cell) -> GeneratedSamples | None:
        """The samples of a fold and trial, and the account of them."""
        samples = self.generated(cell)
        if cell.samples is None or samples is None:
            return None
        return GeneratedSamples(samples, cell.samples.manifest["summary"], cell.fold.train.seconds)

    def left(self, cell: Cell) -> FoldTrialResult:
        """All that a fold and trial leave behind."""
        history = self.classified(cell) / "history.json"
        judged, quality = sample_evaluation.judged(self, cell), sample_evaluation.measured(self, cell)
        return FoldTrialResult(self.scored(cell), history, self.fitted(cell), self.made(cell), judged, quality)
