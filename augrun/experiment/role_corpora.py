"""The corpora that a condition names: where each lies, its stand-in where there is none, and its table.

A condition has a `dataset` and may have others in the roles of `augrun.core.config.schema.ROLES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from augrun.core.config.component import build, describe
from augrun.core.config.schema import ROLES
from augrun.core.errors import RequestError
from augrun.core.job import Hardware
from augrun.core.store.stages import Stage, Store
from augrun.corpora.checks import BadClips
from augrun.corpora.corpus import Corpus
from augrun.corpora.index import Index

#: The roles whose clips a classifier is given.
CLASSIFIED = ("dataset", "target")


class RoleCorpora:
    """The recorded corpora of a condition, read once each.

    Args:
        config: the resolved configuration.
        store: where stand-ins and the index of files live.
        hardware: how many workers look at files.
    """

    def __init__(self, config: Mapping[str, Any], store: Store, hardware: Hardware) -> None:
        self.config, self.store, self.hardware = config, store, hardware
        self._read: dict[str, Corpus] = {}

    @property
    def roles(self) -> list[str]:
        """`dataset`, and the other roles that are given."""
        return ["dataset", *(role for role in ROLES if self.config.get(role))]

    def corpus(self, role: str = "dataset") -> Corpus:
        """Return the clips of the corpus in a role.

        Raises:
            AugrunError: it cannot be read, or clips that a classifier is to see cannot be used and are not skipped.
        """
        if role not in self._read:
            reader = build(self.config[role])
            index = Index(self.store.root / "index", workers=self.hardware.workers, progress=self.hardware.progress)
            corpus = reader.read(self.root(role), index)
            has_features = role in CLASSIFIED or (role == "source" and self._source_has_features)
            self._read[role] = self._without_short_clips(corpus, role) if has_features else corpus
        return self._read[role]

    @property
    def _source_has_features(self) -> bool:
        """Whether the generator wants the features of its source corpus, not the sounds."""
        return describe(self.config["generator"]["_target_"]).constants.get("domain") not in (None, "waveform")

    def _without_short_clips(self, corpus: Corpus, role: str) -> Corpus:
        """Return the corpus without clips shorter than one window of the representation, which has no frame."""
        section = self.config["representation"]
        shortest = describe(section["_target_"]).constants.get("shortest_s")
        if shortest is None and {"window", "sample_rate"} <= section.keys():
            shortest = section["window"] / section["sample_rate"]
        if shortest is None:
            return corpus
        clips = corpus.clips
        short = ((clips["duration_s"] < shortest) & ~clips["path"].str.endswith(".npy")).to_numpy()
        bad = BadClips(corpus.name)
        for clip in clips["clip_id"][short]:
            bad.add(
                f"shorter than one window of {section.get('name', 'the representation')}, {1000 * shortest:g} ms", clip
            )
        notes = bad.settle(self.config[role].get("on_bad_clip", "fail"), len(corpus))
        if not notes:
            return corpus
        data = "other" if corpus.data == "published" else corpus.data
        return replace(corpus.select(~short), data=data, notes=(*corpus.notes, *notes))

    def root(self, role: str = "dataset") -> Path:
        """Return the real corpus's folder, or that of its stand-in, rendered when nobody has done so."""
        root = real_root(self.config, role)
        if root is not None:
            return root
        stage = self.standin_stage(role)

        def render(folder: Path) -> None:
            from augrun.corpora import standin

            standin.render(folder=folder / "corpus", **stage.content["settings"])

        name = stage.content["settings"]["dataset"]
        return stage.get(render, f"stand-in for {name}: rendering a miniature corpus") / "corpus"

    def standin_stage(self, role: str = "dataset") -> Stage:
        """Return the stage that holds the stand-in of a role."""
        # Not seeded by `seed`: another seed is another experiment on the same corpus.
        section = self.config[role]
        settings = {"dataset": section["standin"], "seed": 0, **(section.get("standin_options") or {})}
        code = f"augrun.corpora.standin.{section['standin']}"
        return self.store.stage("standin", settings=settings, inputs={}, code=code)


def _usual_folder(base: Path, section: Mapping[str, Any]) -> Path:
    """Return a corpus's folder under the data root: the one that is named, else one of its usual names."""
    usual = [str(section.get("folder") or section["name"]), *describe(section["_target_"]).constants.get("folders", ())]
    return next((base / folder for folder in usual if (base / folder).is_dir()), base / usual[0])


def real_root(config: Mapping[str, Any], role: str = "dataset") -> Path | None:
    """Return the folder of the real corpus in a role; None where the stand-in serves.

    Raises:
        RequestError: a named folder is not there, or nothing is named and there is no stand-in.
    """
    section = config[role]
    name = section["name"]
    if section.get("root"):
        root = Path(section["root"]).expanduser()
        if not root.is_dir():
            raise RequestError(f"{role}.root: no folder {root}; give the folder that holds {name}")
        return root.resolve()
    if config["data"]["root"]:
        base = Path(config["data"]["root"]).expanduser()
        root = _usual_folder(base, section)
        if not root.is_dir():
            chosen = f"dataset={name}" if role == "dataset" else f"dataset@{role}={name}"
            raise RequestError(f"no folder {root} for {chosen} under the data root {base}; give {role}.root=DIR")
        return root.resolve()
    if not section.get("standin"):
        raise RequestError(f"dataset={name} has no stand-in; give {role}.root=DIR, the folder that holds the corpus")
    return None
