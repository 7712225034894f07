"""What classifiers and generators are given of clips: features, whole or in segments, and scaled.

Nothing here is trained. What needs training to become an input, reducers, is in `augrun.experiment.reduction`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from augrun.core.config.component import build
from augrun.core.store import sharded_stages
from augrun.corpora.corpus import RECORDED, Corpus
from augrun.experiment.fold_trial import FoldTrial
from augrun.experiment.plan import ConditionPlan
from augrun.experiment.sections import max_frames


class ClassifierInputs:
    """Features of a condition's clips and samples, and the classifier's examples made of them.

    Args:
        plan: the condition.
    """

    def __init__(self, plan: ConditionPlan) -> None:
        self.plan = plan

    def features(self, corpus: Corpus, inputs: Mapping[str, str], title: str) -> Any:
        """Return the features of a corpus's clips, in its order; of a large one in parts, which several jobs can make.

        Args:
            corpus: the clips.
            inputs: what they are of in the stage's fingerprint: a corpus's digest, or the samples' fingerprint.
            title: what to call this on the console.
        """
        from augrun.features.cache import Features, join

        plan, parts = self.plan, sharded_stages.parted(corpus.clips["duration_s"].to_numpy())

        def extract(folder: Path, part: int) -> None:
            clips, part_title = corpus, title
            if len(parts) > 1:
                clips, part_title = corpus.select(parts[part]), f"{title}, part {part + 1} of {len(parts)}"
            extractor, frames = build(plan.representation), max_frames(plan.config)
            extractor.extract(clips, folder, plan.hardware, frames, title=part_title)

        stage = plan.features_stage(inputs)
        return Features.open(sharded_stages.get(stage, len(parts), extract, join, title))

    def corpus_features(self, corpus: Corpus) -> Any:
        """Return the features of a whole corpus of recordings."""
        return self.features(corpus, {"corpus": corpus.digest}, f"{corpus.name}: features")

    @cached_property
    def recorded_features(self) -> tuple[Any, dict[str, int]]:
        """The features of all recorded clips, in which nothing is fitted, and each clip's row."""
        from augrun.features.cache import Features

        corpora, target = self.plan.split_corpora, self.plan.target_corpus
        features = [self.corpus_features(corpus) for corpus in corpora]
        named = [corpus.prefixed() if corpus is target else corpus for corpus in corpora]
        clips = [clip for corpus in named for clip in corpus.clips["clip_id"]]
        return Features.concatenate(features), {clip: row for row, clip in enumerate(clips)}

    def clip_features(self, part: Corpus) -> Any:
        """Return the features of a part's recorded clips."""
        features, rows = self.recorded_features
        return features.select([rows[clip] for clip in part.clips["clip_id"]])

    def sample_features(self, fold_trial: FoldTrial, samples: Corpus) -> Any:
        """Return the features of a fold trial's samples."""
        from augrun.features.cache import Features
        from augrun.generators.samples import FEATURES

        assert fold_trial.samples is not None
        if self.plan.domain != "waveform":
            return Features.open(fold_trial.samples.folder / FEATURES)
        inputs = {"samples": fold_trial.samples.fingerprint}
        return self.features(samples, inputs, f"{samples.name}: features, {fold_trial.title}")

    def examples(self, part: Corpus, features: Any) -> tuple[Any, Any]:
        """Return the examples of clips, whole or in segments, and the row of the clip that each is from.

        Args:
            part: the clips.
            features: of each clip.
        """
        from augrun.features.examples import Examples

        segments = self.plan.segments
        frame_s = None if segments.seconds is None else build(self.plan.representation).seconds_per_frame
        cut, rows = segments.cut(features, frame_s)
        return Examples(cut, part.targets()[rows], part.label_set.multilabel, part.label_set.names), rows

    def recording_inputs(self, part: Corpus) -> tuple[Any, Any]:
        """Return the unscaled examples of recorded clips, and the row of the clip that each is from."""
        return self.examples(part, self.clip_features(part))

    def sample_inputs(self, fold_trial: FoldTrial, samples: Corpus) -> tuple[Any, Any]:
        """Return the unscaled examples of samples, and the row of the sample that each is from."""
        from augrun.features.examples import Examples

        features = self.sample_features(fold_trial, samples)
        if self.plan.domain == "waveform":
            return self.examples(samples, features)
        label_set = samples.label_set  # what generates features generates them as the classifier takes them
        return Examples(features, samples.targets(), label_set.multilabel, label_set.names), np.arange(len(samples))

    def scale(self, fold_trial: FoldTrial, part: Corpus, examples: Any) -> Any:
        """Return examples on the classifier's scale: as they are for spectrograms.

        Args:
            fold_trial: whose train part sets the scale.
            part: the clips or samples that the examples are of.
            examples: as the features have them.
        """
        normalise, target = self.plan.normalise, self.plan.target_corpus
        if normalise is None or not len(examples):
            return examples
        reference = self.recording_inputs(fold_trial.fold.train)[0].features
        if (part.clips["origin"] != RECORDED).all():
            reference = examples.features if normalise.samples == "own" else reference
        elif target is not None and part.clips["clip_id"].iloc[0] in set(target.prefixed().clips["clip_id"]):
            reference = self.clip_features(target.prefixed()) if normalise.other == "own" else reference
        return replace(examples, features=normalise.fit(reference)(examples.features))
