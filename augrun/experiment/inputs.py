"""What classifiers and generators see of clips: features, on one scale, made shorter, mixed.

A part of what `augrun.experiment.condition` does; none of it trains what a condition is about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core.config.component import build
from augrun.core.job import Job
from augrun.core.store import joint_stages, sharded_stages
from augrun.core.store.stages import Stage
from augrun.corpora.corpus import RECORDED, Corpus
from augrun.experiment.fold_trial import Cell
from augrun.experiment.plan import Plan

#: Of the training sets of networks that are trained as one: they lie on the device, and in memory before that.
AT_ONCE_BYTES = 8 << 30


class Seeing(Plan):
    """A plan whose clips can be looked at."""

    def features(self, corpus: Corpus, inputs: Mapping[str, str], title: str) -> Any:
        """The features of a corpus's clips, in its order; of a large one in parts, which several jobs can make."""
        from augrun.features.cache import Features, join

        parts = sharded_stages.parted(corpus.clips["duration_s"].to_numpy())

        def extract(folder: Path, part: int) -> None:
            some, told = corpus, title
            if len(parts) > 1:
                some, told = corpus.select(parts[part]), f"{title}, part {part + 1} of {len(parts)}"
            build(self.representation).extract(some, folder, self.hardware, self._max_frames, title=told)

        return Features.open(sharded_stages.get(self._features_of(inputs), len(parts), extract, join, title))

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

    def made_features(self, cell: Cell, samples: Corpus) -> Any:
        """The features of a cell's samples."""
        from augrun.features.cache import Features
        from augrun.generators import samples as stored

        assert cell.samples is not None
        if self.domain != "waveform":
            return Features.open(cell.samples.folder / stored.FEATURES)
        inputs = {"samples": cell.samples.fingerprint}
        return self.features(samples, inputs, f"{samples.name}: features, {cell.title}")

    def examples(self, part: Corpus, features: Any) -> tuple[Any, Any]:
        """Clips as the classifier sees them, whole or in segments, and the row of the clip that each is from."""
        from augrun.features.examples import Examples

        frame = None if self.segments.seconds is None else build(self.representation).seconds_per_frame
        cut, rows = self.segments.cut(features, frame)
        return Examples(cut, part.targets()[rows], part.label_set.multilabel, part.label_set.names), rows

    def recorded(self, part: Corpus) -> tuple[Any, Any]:
        """Recorded clips as the classifier sees them, and the row of the clip that each is from."""
        return self.examples(part, self.whole(part))

    def heard(self, cell: Cell, samples: Corpus) -> tuple[Any, Any]:
        """A cell's samples as the classifier sees them, and the row of the sample that each is from."""
        from augrun.features.examples import Examples

        features = self.made_features(cell, samples)
        if self.domain == "waveform":
            return self.examples(samples, features)
        label_set = samples.label_set  # what makes features makes them as the classifier wants them
        return Examples(features, samples.targets(), label_set.multilabel, label_set.names), np.arange(len(samples))

    def seen(self, cell: Cell, part: Corpus, examples: Any) -> Any:
        """Examples as the classifier sees them: scaled, and made shorter."""
        return self.reduced(cell, self.scaled(cell, part, examples))

    def scaled(self, cell: Cell, part: Corpus, examples: Any) -> Any:
        """Examples on the scale that the classifier sees them on.

        Args:
            cell: the fold and trial.
            part: the clips or samples that the examples are of.
            examples: as the features have them.
        """
        if self.normalise is None or not len(examples):
            return examples
        of = self.recorded(cell.fold.train)[0].features
        if (part.clips["origin"] != RECORDED).all():
            of = examples.features if self.normalise.samples == "own" else of
        elif self.tested is not None and part.clips["clip_id"].iloc[0] in set(self.tested.prefixed().clips["clip_id"]):
            of = self.whole(self.tested.prefixed()) if self.normalise.other == "own" else of
        return replace(examples, features=self.normalise.fit(of)(examples.features))

    def reduced(self, cell: Cell, examples: Any) -> Any:
        """Scaled examples, made shorter where the condition has a reducer."""
        if cell.reducer is None:
            return examples
        fitted = self.fitted_reducer(cell)
        job = self.job(fitted, cell.reducer, "reducing")
        return replace(examples, features=build(self.config["reducer"]).transform(examples.features, fitted, job))

    def reducers_together(self) -> None:
        """Trains the reducers of all folds and trials at once, where they can be; `fitted_reducer` then finds them."""
        if not self._constant("reducer", "together"):
            return
        waiting = [cell for cell in self.cells if cell.reducer and not cell.reducer.done]
        cells = list({cell.reducer.fingerprint: cell for cell in waiting[::-1] if cell.reducer}.values())[::-1]

        def fit(jobs: list[Job], group: list[Cell]) -> None:
            parts: dict[str, Any] = {}
            for cell in group:  # what differs in the seed alone is read and kept once
                train = self.thinned(cell.fold, cell.seed)
                if train.digest not in parts:
                    parts[train.digest] = self.scaled(cell, train, self.recorded(train)[0])
            trains = [parts[self.thinned(cell.fold, cell.seed).digest] for cell in group]
            build(self.config["reducer"]).fit_together(trains, jobs, self.mixup)

        for group in self.groups(cells):
            self._at_once("reducer", fit, group)

    def fitted_reducer(self, cell: Cell) -> Path:
        """What makes vectors shorter, learned from the recordings of the training set and their mixtures."""
        assert cell.reducer is not None

        def fit(folder: Path) -> None:
            train = self.thinned(cell.fold, cell.seed)
            scaled = self.scaled(cell, train, self.recorded(train)[0])
            build(self.config["reducer"]).fit(scaled, self.job(folder, cell.reducer, "training"), self.mixup)

        return cell.reducer.get(fit, f"{self.config['reducer']['name']}: training, {cell.title}")

    def mixed(self, cell: Cell, part: Corpus) -> Any:
        """Recorded clips of the training set as the classifier sees them, with their mixtures."""
        return self.reduced(cell, self.mixup.of(self.scaled(cell, part, self.recorded(part)[0]), cell.seed))

    def groups(self, cells: Sequence[Cell], bytes_of: Callable[[Cell], int] = lambda _: 0) -> list[list[Cell]]:
        """Cells whose networks are trained as one; none where there is one alone.

        Args:
            cells: all that are to be trained.
            bytes_of: memory of what a cell's network is trained on, of which a group has `AT_ONCE_BYTES` at most.
        """
        groups: list[list[Cell]] = []
        taken = 0
        for cell in cells:
            size = bytes_of(cell)
            if not groups or len(groups[-1]) == self.hardware.at_once or taken + size > AT_ONCE_BYTES:
                groups.append([])
                taken = 0
            groups[-1].append(cell)
            taken += size
        return [group for group in groups if len(group) > 1]

    def _at_once(self, what: str, fit: Callable[[list[Job], list[Cell]], None], cells: Sequence[Cell]) -> None:
        """Trains the networks of those cells as one that no other job is at."""
        stages: list[Stage] = [getattr(cell, what) for cell in cells]

        def title(places: list[int]) -> str:
            first, last = (cells[place].title for place in (places[0], places[-1]))
            return f"{self.config[what]['name']}: training {len(places)} at once, {first} to {last}"

        def train(jobs: list[Job], places: list[int]) -> None:
            from augrun.core.training import distributed

            own = [cells[place] for place in places]
            devices = min(distributed.count(self.hardware), len(jobs))
            if devices == 1:
                fit(jobs, own)
            else:  # each device trains some of them as one
                given = (devices, fit, jobs, own)
                where = jobs[0].folder.parent
                distributed.spawn(_some, *given, ranks=devices, folder=where, title=title(places), apart=True)

        joint_stages.train(stages, lambda folder, stage: self.job(folder, stage, "training"), train, title)

    def job(self, folder: Path, stage: Stage | None, doing: str) -> Job:
        """What a component is told about the work of a stage."""
        seed = (stage.content.get("seed") if stage else None) or 0
        return Job(folder, seed, self.hardware, doing)


def _some(
    number: int, devices: int, fit: Callable[[list[Job], list[Cell]], None], jobs: list[Job], cells: list[Cell]
) -> None:
    """Trains every so-manieth of the networks."""
    mine = slice(number, None, devices)
    hardware = replace(jobs[0].hardware.alone, progress=jobs[0].hardware.progress and not number)
    fit([replace(job, hardware=hardware) for job in jobs[mine]], cells[mine])
