"""Configurations are checked against the components' own fields."""

from __future__ import annotations

import pytest

from augrun.core.config import schema, type_check, validation
from augrun.core.errors import RequestError


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (1, "int", None),
        (1.5, "int", "a whole number"),
        (True, "int", "a whole number"),
        (1, "float", None),
        ("1", "float", "a number"),
        (None, "float | None", None),
        ("x", "float | None", "a number or null"),
        (0.05, 'Annotated[float, "(0, 1]"]', None),
        (0, 'Annotated[float, "(0, 1]"]', "in (0, 1]"),
        (1.0, 'Annotated[float, "(0, 1]"]', None),
        (1.01, 'Annotated[float, "(0, 1]"]', "in (0, 1]"),
        (None, 'Annotated[float, "(0, inf)"] | None', None),
        ("all", 'Literal["drawn", "all"]', None),
        ("al", 'Literal["drawn", "all"]', "one of drawn, all"),
        ([1, 2], "tuple[int, ...]", None),
        ([1, "2"], "list[int]", "a list of which each is a whole number"),
        (3, "list[int]", "a list"),
        ({}, "dict[str, Any]", None),
        ("yes", "bool", "true or false"),
        ("anything", "Any", None),
    ],
)
def test_mismatch(value, annotation, expected):
    assert type_check.mismatch(value, annotation) == expected


def test_nearest_offers_close_words_or_all():
    assert schema.nearest("fracton", ["fraction", "inherit"]) == "; did you mean fraction?"
    assert schema.nearest("zzz", ["fraction", "inherit"]) == "; legal are fraction, inherit"


def section(**keys):
    return {"_target_": "augrun.policies.equal_duration.EqualDuration", "name": "equal_duration", **keys}


def test_settings_fill_in_defaults_and_leave_the_name_out():
    settings = schema.settings_of(section(fraction=0.1))
    assert settings["fraction"] == 0.1
    assert settings["inherit"] == "drawn"
    assert "name" not in settings
    assert schema.settings_of(section(name="other", fraction=0.1)) == settings


def test_every_mistake_of_a_configuration_is_listed():
    with pytest.raises(RequestError) as caught:
        validation.check({"scale": "big", "sed": 1, "policy": section(fracton=0.1, inherit="al")})
    text = str(caught.value)
    assert "sed: no such key; did you mean seed?" in text
    assert "scale: 'big' is not one of paper, demo" in text
    assert "policy.fracton: no such key; did you mean fraction?" in text
    assert "policy.inherit: 'al' is not one of drawn, all" in text
    assert "generator: its YAML names no class" in text


def test_a_named_file_enters_the_settings_by_its_content(tmp_path):
    weights = {"_target_": "augrun.classifiers.mobilenetv2_attention.MobileNetV2Attention", "frames": 256}
    one, two = tmp_path / "one.pt", tmp_path / "two.pt"
    one.write_bytes(b"weights")
    two.write_bytes(b"weights")
    settings = schema.settings_of({**weights, "weights": str(one)})
    assert settings == schema.settings_of({**weights, "weights": str(two)})
    two.write_bytes(b"other weights")
    assert settings != schema.settings_of({**weights, "weights": str(two)})
    with pytest.raises(RequestError, match="this file is named in the configuration"):
        schema.settings_of({**weights, "weights": str(tmp_path / "none.pt")})


def whole(**changes):
    """A configuration of small sections."""
    config = {
        "scale": "demo",
        "dataset": {"_target_": "augrun.corpora.feel.Feel", "name": "feel", "input_frames": 256},
        "protocol": {"_target_": "augrun.protocols.official.Official", "name": "official"},
        "representation": {"_target_": "augrun.features.logmel.LogMel", "name": "logmel"},
        "reducer": {"_target_": "augrun.reducers.none.NoReducer", "name": "none"},
        "generator": {"_target_": "augrun.generators.copy.Copy", "name": "copy", "prime_s": 1.0, "sample_s": 1.0},
        "policy": section(),
        "classifier": {
            "_target_": "augrun.classifiers.mobilenetv2_attention.MobileNetV2Attention",
            "name": "mobilenetv2_attention",
            "frames": 256,
        },
        "trainer": {"_target_": "augrun.core.job.Hardware", "name": "cpu"},
        "tracking": {"_target_": "augrun.tracking.Tracking", "name": "sqlite"},
    }
    return {**config, **changes}


def problems_of(**changes):
    with pytest.raises(RequestError) as caught:
        validation.check(whole(**changes))
    return str(caught.value).splitlines()


FEEL = {"_target_": "augrun.corpora.feel.Feel", "name": "other"}
ACROSS = {"_target_": "augrun.protocols.cross_corpus.CrossCorpus", "name": "cross_corpus"}


def test_a_corpus_in_a_role_needs_somebody_who_uses_it():
    assert problems_of(noise=FEEL) == [
        "noise: background sounds that the generator adds, but generator=copy and protocol=official want none; "
        "leave out dataset@noise"
    ]
    signal = {"_target_": "augrun.generators.signal.Signal", "name": "signal"}
    assert problems_of(generator=signal) == ["generator=signal needs another corpus; give dataset@noise=NAME"]
    for others in ({}, {"music": FEEL}):  # it takes music, and does not need it
        validation.check(whole(generator=signal, noise=FEEL, **others))
    assert problems_of(music=FEEL) == [
        "music: background music that the generator adds, beside noise, but generator=copy and protocol=official want "
        "none; leave out dataset@music"
    ]
    assert problems_of(protocol=ACROSS) == ["protocol=cross_corpus needs another corpus; give dataset@target=NAME"]
    validation.check(whole(protocol=ACROSS, target=FEEL))
    assert problems_of(target={**FEEL, "labls": []}, protocol=ACROSS) == [
        "target.labls: no such key; did you mean labels?"
    ]


def test_segments_are_checked_and_inputs_must_have_been_kept():
    assert problems_of(segments={"seconds": 0, "vote": "all"}) == [
        "segments.seconds: 0 is not in (0, inf) or null",
        "segments.vote: 'all' is not one of majority, mean",
    ]
    wide = {**whole()["classifier"], "frames": 512}
    assert problems_of(classifier=wide) == [
        "classifier.frames=512 is more than the dataset.input_frames=256 that are kept of a clip; "
        "give dataset.input_frames=512"
    ]
    assert problems_of(segments={"hop": 1.0, "rest": "drop"}) == [
        "segments.hop=1.0 does nothing without segments.seconds",
        "segments.rest=drop does nothing without segments.seconds",
    ]
    frames = {"_target_": "augrun.features.logmel.LogMel", "name": "logmel", "sample_rate": 16000, "hop": 400}
    validation.check(whole(segments={"seconds": 3.0}, representation=frames))
    short = {"seconds": 5.0, "frames": 128}
    assert problems_of(segments=short, representation=frames) == [
        "segments.frames=128 is fewer than the 201 that segments.seconds=5 has, and segments.fit=reflect would leave "
        "the rest unheard; give shorter segments, or segments.fit=stretch or hop"
    ]
    for fit in ("stretch", "hop"):
        validation.check(whole(segments={**short, "fit": fit}, representation=frames))
    assert problems_of(segments={"seconds": 10.0}, representation=frames) == [
        "segments.seconds=10 has 401 frames, of which classifier.frames=256 would be seen; give shorter segments, or "
        "more frames with dataset.input_frames="
    ]
    assert problems_of(segments={"seconds": 0.01}, representation=frames) == [
        "segments: 0.01 s are too short for frames every 0.025 s"
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["reducer=pca"],
            "reducer=pca works on vectors, and representation=logmel_jamendo gives none; choose representation=is10",
        ),
        (["mixup.ratio=0.5"], "mixup.ratio=0.5 works on vectors, and representation=logmel_jamendo gives none"),
        (
            ["dataset=feel", "representation=is10", "generator=cyclegan", "policy=synthetic"],
            "generator=cyclegan makes functionals, classifier=mobilenetv2_attention takes logmel: choose a classifier",
        ),
    ],
)
def test_what_works_on_vectors_wants_vectors(words: list[str], message: str) -> None:
    from augrun.core.config import compose

    with pytest.raises(RequestError) as caught:
        validation.check(compose.compose(words))
    assert message in str(caught.value)
