"""Bad input ends in a clear error or a counted skip: never a traceback, never a half-written artifact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from tests.experiment.test_run import SMALL, results, runs
from tests.here import here

RATE = 16000
LABELS = ("angry", "happy", "neutral", "sad")


def tone(frequency: float, seconds: float = 0.7) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A manifest corpus of four speakers, two utterances a class each."""
    root = tmp_path / "corpus"
    root.mkdir()
    lines = ["path,label,speaker"]
    for speaker in range(4):
        for label, name in enumerate(LABELS):
            for take in range(2):
                path = f"s{speaker}-{name}-{take}.flac"
                sf.write(root / path, tone(200 + 100 * label + 10 * speaker + take), RATE)
                lines.append(f"{path},{name},s{speaker}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def feel(root: Path, output: Path, *arguments: str):
    small = [argument for argument in SMALL if not argument.startswith(("generator.", "trials.", "dataset."))]
    return here(
        "generator=none",
        "dataset=feel",
        f"dataset.root={root}",
        "scale=demo",
        "trials.count=1",
        "protocol.count=2",
        "protocol.limit=1",
        *small,
        *arguments,
        cwd=output.parent,
        AUGRUN_OUTPUT=str(output),
    )


def truncated(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def not_a_number(path: Path) -> None:
    samples = tone(300)
    samples[100] = np.nan
    path.unlink()
    sf.write(path, samples, RATE, format="WAV", subtype="FLOAT")


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [truncated, empty, gone])
def test_a_bad_file_is_named_or_skipped_with_a_count(harm, speech, tmp_path):
    harm(speech / "s1-happy-0.flac")
    output = tmp_path / "outputs"
    refused = feel(speech, output)
    assert refused.returncode != 0
    assert "s1-happy-0.flac" in refused.stderr
    assert "dataset.on_bad_clip=skip" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list((output / "store").glob("c*/*"))  # no classifier, no condition

    if harm is truncated:  # what is skipped is the same from here on
        skipped = feel(speech, output, "dataset.on_bad_clip=skip")
        assert skipped.returncode == 0, skipped.stderr
        assert "31 clips" in skipped.stderr
        assert "s1-happy-0.flac" in skipped.stderr


def test_a_clip_shorter_than_one_window_is_named_or_skipped_with_a_count(speech, tmp_path):
    path, output = speech / "s1-happy-0.flac", tmp_path / "outputs"
    sf.write(path, tone(200)[: RATE // 25], RATE)  # 40 ms, of which no frame of 50 ms could be filled
    refused = feel(speech, output)
    assert refused.returncode != 0
    said = "feel: 1 of 32 clips cannot be used: 1 shorter than one window of logmel_ser, 50 ms (s1-happy-0"
    assert said in refused.stderr
    assert "leave them out with dataset.on_bad_clip=skip" in refused.stderr
    assert "Traceback" not in refused.stderr and not list((output / "store").glob("c*/*"))

    skipped = feel(speech, output, "dataset.on_bad_clip=skip")
    assert skipped.returncode == 0, skipped.stderr
    assert "31 clips" in skipped.stderr
    assert "skipped 1 shorter than one window of logmel_ser, 50 ms" in skipped.stderr


def test_a_class_of_one_clip_is_named(speech, tmp_path):
    manifest = (speech / "manifest.csv").read_text().splitlines()
    kept = [line for line in manifest if ",happy," not in line or line.startswith("s1-happy-0")]
    (speech / "manifest.csv").write_text("\n".join(kept) + "\n")
    refused = feel(speech, tmp_path / "outputs")
    assert refused.returncode != 0
    assert "of feel: the train part" in refused.stderr and "has no clip of happy" in refused.stderr
    assert "give it more clips, leave these classes out of the dataset" in refused.stderr
    assert "Traceback" not in refused.stderr and not list((tmp_path / "outputs" / "store").glob("c*/*"))


def test_a_file_with_nan_is_named_when_it_is_read(speech, tmp_path):
    not_a_number(speech / "s1-happy-0.flac")
    output = tmp_path / "outputs"
    refused = feel(speech, output)
    assert refused.returncode == 1
    assert "s1-happy-0.flac" in refused.stderr
    assert "NaN" in refused.stderr or "not finite" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list((output / "store").glob("classifier/*[!l]"))
    assert [run.info.status for run in runs(output, "feel")] == ["FAILED"]


@pytest.mark.slow
def test_a_stereo_eight_bit_wav_of_another_rate_is_read(speech, tmp_path):
    path = speech / "s1-happy-0.flac"
    path.unlink()
    stereo = np.stack([tone(300), tone(310)], axis=1)
    sf.write(path, stereo, 11025, format="WAV", subtype="PCM_U8")
    result = feel(speech, tmp_path / "outputs")
    assert result.returncode == 0, result.stderr
    assert "32 clips" in result.stderr
    (entry,) = results(tmp_path / "outputs").values()
    assert 0.0 <= entry["summary"]["uar"]["mean"] <= 1.0


def test_a_missing_column_and_an_unknown_label_are_named(speech, tmp_path):
    manifest = speech / "manifest.csv"
    whole = manifest.read_text()
    manifest.write_text(whole.replace("path,label,speaker", "path,emotion,speaker"))
    result = feel(speech, tmp_path / "outputs")
    assert result.returncode == 1
    assert "manifest.csv" in result.stderr
    assert "label" in result.stderr
    assert "emotion" in result.stderr
    assert "Traceback" not in result.stderr

    manifest.write_text(whole.replace("s0-sad-0.flac,sad", "s0-sad-0.flac,joyous"))
    result = feel(speech, tmp_path / "outputs", "dataset.labels=[angry,happy,neutral,sad]")
    assert result.returncode == 1
    assert "joyous" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_jamendo_tsv_without_a_column_is_named(tmp_path):
    from augrun.corpora import standin

    root = tmp_path / "jamendo"
    standin.render("jamendo", root, train=14, validation=14, test=14, seconds=[1.0, 1.2])
    tsv = next(root.rglob("autotagging_moodtheme-train.tsv"))
    tsv.write_text(tsv.read_text().replace("DURATION", "LENGTH"))
    result = here(f"dataset.root={root}", "scale=demo", cwd=tmp_path, AUGRUN_OUTPUT=str(tmp_path / "outputs"))
    assert result.returncode == 1
    assert "autotagging_moodtheme-train.tsv" in result.stderr
    assert "DURATION" in result.stderr
    assert "Traceback" not in result.stderr
