"""The jukebox generator: sampling held against the classes' own forward pass, lengths, primes, resuming, refusals."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml

from augrun.core.config.component import describe
from augrun.core.config.type_check import mismatch
from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Hardware, Job
from augrun.generators.jukebox import _SONG, Jukebox, sampling
from augrun.generators.jukebox import window as jukebox_window
from augrun.generators.jukebox.sampling import Batch, Song
from augrun.generators.jukebox.sampling import Jukebox as Model
from augrun.generators.jukebox.window import sample_window
from augrun.generators.requests import REQUEST_COLUMNS, GenerationInputs
from tests.generators import tiny_jukebox

ROOT = Path(__file__).parents[2]
RATE = 44100
HOPS = [128, 32, 8]
NEEDS = "the extra jukebox is not installed (pip install 'augrun[jukebox]')"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip(NEEDS)
    return tiny_jukebox.build(tmp_path_factory.mktemp("jukebox") / "tiny")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Model:
    return Model(checkpoint, 3, torch.device("cpu"))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a chirp, stereo, at another rate than the model's."""
    path = tmp_path_factory.mktemp("recording") / "chirp.wav"
    time = np.arange(2 * 22050) / 22050
    sound = 0.4 * np.sin(2 * np.pi * (200 + 300 * time) * time)
    soundfile.write(path, np.stack([sound, sound], axis=1), 22050)
    return path


def requests_for(path: Path, count: int, seconds: float = 0.3, prime_s: float = 0.1, **changes: Any) -> pd.DataFrame:
    rows = [
        (f"000-{place:05d}", 0, (0,), seconds, "c", str(path), round(0.13 * place, 2), prime_s, place)
        for place in range(count)
    ]
    return pd.DataFrame(rows, columns=list(REQUEST_COLUMNS)).assign(**changes)


def job_in(folder: Path, seed: int = 0) -> Job:
    folder.mkdir(exist_ok=True)
    return Job(folder, seed=seed, hardware=Hardware(accelerator="cpu", progress=False))


def tiny(checkpoint: Path, **changes: Any) -> Jukebox:
    settings: dict[str, Any] = {"weights": str(checkpoint), "sample_s": 0.3, "prime_s": 0.1, "batch_size": 4}
    return Jukebox(**(settings | changes))


def made(folder: Path) -> dict[str, np.ndarray]:
    """Samples by name, as integers."""
    return {path.stem: soundfile.read(path, dtype="int16")[0] for path in sorted(folder.glob("*.wav"))}


# Sampling, one window.


def _prior(level: int, **changes: Any) -> Any:
    """A prior of the real classes, small and random."""
    if importlib.util.find_spec("transformers") is None:
        pytest.skip(NEEDS)
    from transformers.models.deprecated.jukebox.configuration_jukebox import JukeboxPriorConfig
    from transformers.models.deprecated.jukebox.modeling_jukebox import JukeboxPrior

    settings: dict[str, Any] = {"n_ctx": 64, "blocks": 8, "hidden_size": 16, "n_heads": 1, "music_vocab_size": 32}
    settings |= {"metadata_dims": [3, 3], "max_nb_genres": 5, "res_conv_width": 8, "res_conv_depth": 1}
    settings |= {"mask": True, "max_duration": 600.0} | changes
    torch.manual_seed(1)
    prior = JukeboxPrior(JukeboxPriorConfig(level=level, **settings), level).eval().requires_grad_(False)
    for parameter in prior.parameters():
        parameter.normal_(std=0.25)
    return prior


def _lyrics(layers: int) -> dict[str, Any]:
    """As the 1b model: one transformer for lyrics and music; the sixteenth layer looks at the lyrics alone."""
    return {"num_layers": layers, "nb_relevant_lyric_tokens": 8, "n_ctx": 56}


def _upsampler() -> dict[str, Any]:
    pattern = "raw_column_previous_row_attention"
    plain = {"nb_relevant_lyric_tokens": 0, "is_encoder_decoder": False, "merged_decoder": False}
    return plain | {"num_layers": 3, "attention_pattern": pattern}


def _separate() -> dict[str, Any]:
    """As the 5b model: a second transformer reads the lyrics; the nineteenth layer attends to it."""
    reader = {"hidden_size": 16, "num_layers": 3, "n_heads": 1, "blocks": 4, "nb_relevant_lyric_tokens": 0}
    reader |= {"attention_pattern": "raw_column_previous_row_attention", "is_encoder_decoder": False}
    own = {"num_layers": 19, "attention_pattern": "large_separated_enc_dec_w_lyrics", "nb_relevant_lyric_tokens": 8}
    return own | {"is_encoder_decoder": False, "merged_decoder": True, "encoder_config": reader}


def _teacher_forced(
    prior: Any, codes: torch.Tensor, above: torch.Tensor | None, metadata: torch.Tensor
) -> torch.Tensor:
    """Logits of a whole window by the classes' own forward pass."""
    if prior.is_encoder_decoder:
        return prior.forward_tokens(codes.clone(), [], metadata, get_preds=True)[1]["preds"]
    conditions, begin, lyrics = prior.get_cond(None if above is None else [above], metadata)
    states = prior.get_encoder_states(lyrics)
    return prior.prior(codes, conditions, begin, states, get_preds=True)[1]


@pytest.mark.parametrize("given", [0, 1, 7, 23, 50])
@pytest.mark.parametrize(
    ("level", "kind"),
    [(0, _lyrics(3)), (0, _lyrics(17)), (0, _separate()), (1, _upsampler()), (2, _upsampler())],
    ids=["top", "1b", "5b", "middle", "bottom"],
)
def test_sampled_codes_are_those_of_the_teacher_forced_network(
    level: int, kind: dict[str, Any], given: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classes' own forward pass over a whole window draws, code for code, what sampling with caches drew."""
    prior = _prior(level, **kind)
    monkeypatch.setattr(jukebox_window, "_CHUNK", 5)  # beginnings are read in pieces that fit no block
    generator = torch.Generator().manual_seed(given)
    beginning = torch.randint(32, (2, given), generator=generator)
    above = torch.randint(32, (2, prior.n_ctx // 4), generator=generator) if level else None
    draws = torch.rand(2, prior.n_ctx - given, dtype=torch.float64, generator=generator)
    metadata = torch.tensor(
        [[7938000, 44100, int(prior.sample_length), 1, 2, -1, -1, -1, -1], [7938000, 0, 9, 0, *[0] * 5]]
    )
    metadata = torch.cat([metadata, torch.zeros(2, prior.nb_relevant_lyric_tokens, dtype=torch.long)], dim=1)
    metadata[:, 2] = int(prior.sample_length)
    counted: list[int] = []
    fresh = sample_window(prior, beginning, above, metadata, draws, 0.9, counted.append)
    assert fresh.shape == draws.shape and sum(counted) == fresh.numel()
    whole = torch.cat([beginning, fresh], dim=1)
    first = 80 if prior.is_encoder_decoder else 0
    logits = _teacher_forced(prior, whole, above, metadata)[:, -draws.shape[1] :, first:]
    for place in range(draws.shape[1]):
        assert torch.equal(jukebox_window._draw(logits[:, place], 0.9, draws[:, place]), fresh[:, place]), place
    assert len(whole.unique()) > 8 and len(fresh.unique()) > 3  # the network does not say one thing only
    assert all(not layer.attn.cache and layer.attn.sample_t == 0 for layer in prior.prior.transformer._attn_mods)


def test_overflow_is_reported() -> None:
    prior = _prior(0, **_lyrics(3))
    prior.prior.fc_proj_out.weight[100] = float("inf")
    metadata = torch.tensor([[7938000, 0, 8192, 0, *[0] * 5, *[0] * 8]])
    with pytest.raises(AugrunError, match=r"not finite; use generator.precision=float32"):
        sample_window(prior, torch.zeros(1, 0).long(), None, metadata, torch.rand(1, 3).double(), 1.0)


def test_draws_follow_the_distribution() -> None:
    logits = torch.log(torch.tensor([0.1, 0.0, 0.6, 0.3])).expand(5, 4)
    draws = torch.tensor([0.0, 0.0999, 0.1001, 0.6999, 0.9999], dtype=torch.float64)
    assert jukebox_window._draw(logits, 1.0, draws).tolist() == [0, 0, 2, 2, 3]
    assert jukebox_window._draw(logits, 0.05, draws).tolist() == [0, 2, 2, 2, 2]  # cold: the likeliest


@pytest.mark.parametrize(
    ("total", "window", "hop", "starts"),
    [
        (30, 50, 20, [0]),
        (50, 50, 20, [0]),
        (51, 50, 20, [0, 1]),
        (100, 50, 20, [0, 20, 40, 50]),
        (90, 50, 20, [0, 20, 40]),
    ],
)
def test_windows_of_a_level(total: int, window: int, hop: int, starts: list[int]) -> None:
    assert sampling._starts(total, window, hop) == starts


# Levels.


def batch_of(model: Model, recording: Path, count: int = 2, length: int = 150, **changes: Any) -> Batch:
    sound = soundfile.read(recording)[0][:10000, 0].astype(np.float32)
    codes = [torch.stack([row] * count) for row in model.encode(sound)]
    values: dict[str, Any] = {"songs": [Song()] * count, "seeds": range(count), "codes": codes, "length": length}
    return Batch(**(values | changes))


def test_encoding_is_coarse_to_fine_and_counted(model: Model, recording: Path) -> None:
    codes = model.encode(soundfile.read(recording)[0][:10000, 0])
    assert [len(row) for row in codes] == [78, 78 * 4, 78 * 16]  # 10,000 samples hold 78 top codes of 128
    assert [len(model.decode(row, level)) for level, row in enumerate(codes)] == [78 * 128] * 3
    direct = model.model.vqvae.encode(torch.tensor(soundfile.read(recording)[0][None, :9984, :1]).float())
    assert all(torch.equal(own, other[0]) for own, other in zip(codes, reversed(direct), strict=True))
    assert [len(row) for row in model.encode(np.zeros(127, np.float32))] == [0, 0, 0]


def test_every_level_is_continued_to_its_length_over_several_windows(
    model: Model, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batch_of(model, recording)
    primes = [row.clone() for row in batch.codes]
    calls: list[tuple[int, int, int | None]] = []

    def spied(prior: Any, given: Any, above: Any, metadata: Any, draws: Any, *rest: Any) -> Any:
        calls.append((prior.level, int(metadata[0, 1]), None if above is None else int(above[0, 0])))
        return sample_window(prior, given, above, metadata, draws, *rest)

    monkeypatch.setattr(sampling, "sample_window", spied)
    for level in range(3):
        model.continue_level(batch, level, 0.98)
    assert [tuple(row.shape) for row in batch.codes] == [(2, 150), (2, 600), (2, 2400)]
    for prime, row in zip(primes, batch.codes, strict=True):
        assert torch.equal(row[:, : prime.shape[1]], prime)
        assert not torch.equal(row[0], row[1])  # one prime, two seeds
    assert len({level for level, *_ in calls}) == 3
    for level, begin, above in calls:
        assert begin % HOPS[level] == 0  # where the window begins, in samples of sound
        if level:  # and the codes above are those of that place
            assert above == batch.codes[level - 1][0, begin // HOPS[level - 1]]
    begins = [begin for level, begin, _ in calls if level == 0]
    assert begins == [start * 128 for start in (28, 35, 42, 49, 56, 63, 70, 77, 84, 91, 94)]  # hop 56 / 8


def test_a_sample_shorter_than_a_window(model: Model, recording: Path) -> None:
    batch = batch_of(model, recording, length=20)
    batch.codes = [row[:, : 10 * 4**level] for level, row in enumerate(batch.codes)]
    for level in range(3):
        model.continue_level(batch, level, 0.98)
    assert [tuple(row.shape) for row in batch.codes] == [(2, 20), (2, 80), (2, 320)]


def test_codes_depend_on_seed_and_song_not_on_the_batch(model: Model, recording: Path) -> None:
    songs = [Song(), Song(genre="Rock"), Song(artist="The Band"), Song(total_s=100.0), Song(offset_s=60.0), Song()]
    batch = batch_of(model, recording, 6, 100, songs=songs, seeds=[5, 5, 5, 5, 5, 6])
    model.continue_level(batch, 0, 0.98)
    alone = batch_of(model, recording, 1, 100, seeds=[5])
    model.continue_level(alone, 0, 0.98)
    assert torch.equal(alone.codes[0][0], batch.codes[0][0])
    for other in range(1, 6):
        assert not torch.equal(batch.codes[0][0], batch.codes[0][other]), songs[other]
    longer = batch_of(model, recording, 1, 120, seeds=[5])
    model.continue_level(longer, 0, 0.98)
    assert torch.equal(longer.codes[0][0, :85], alone.codes[0][0, :85])  # before the windows differ


def test_priors_out_of_order_are_refused(model: Model, recording: Path) -> None:
    batch = batch_of(model, recording)
    with pytest.raises(AugrunError, match=r"codes of the level above are \(78,\) where \(150,\) belong"):
        model.continue_level(batch, 1, 0.98)


def test_priors_of_another_codec_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "mixed")
    config = json.loads((tmp_path / "mixed" / "config.json").read_text())
    config["prior_config_list"][0]["res_downs_t"] = [3, 2, 1]
    (tmp_path / "mixed" / "config.json").write_text(json.dumps(config))
    with pytest.raises(AugrunError, match=r"prior 0 works on codes of 64 samples, the codec makes such of 128"):
        Model(tmp_path / "mixed", 1, torch.device("cpu"))


def test_batch_size_follows_from_memory(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert model.batch_size() == 64
    monkeypatch.setattr(sampling, "_bytes_per_sample", lambda prior: 1 << 60)
    assert model.batch_size() == 1


def test_memory_of_a_sample_at_the_published_size() -> None:
    """About 400 MB of keys and values in 16 bits, says the README of openai/jukebox of the 1b model."""
    if importlib.util.find_spec("transformers") is None:
        pytest.skip(NEEDS)
    from transformers.models.deprecated.jukebox.configuration_jukebox import JukeboxPriorConfig
    from transformers.models.deprecated.jukebox.modeling_jukebox import JukeboxPrior

    with torch.device("meta"):
        prior = JukeboxPrior(JukeboxPriorConfig(level=0), 0).half()
    assert 350e6 < sampling._bytes_per_sample(prior) < 700e6


# The generator.


@pytest.mark.parametrize(("levels", "finest"), [("top", 0), ("full", 2)])
def test_samples_begin_with_the_prime_and_last_to_the_sample(
    checkpoint: Path, model: Model, recording: Path, tmp_path: Path, levels: str, finest: int
) -> None:
    seconds = 0.3013
    job = job_in(tmp_path / "out")
    tiny(checkpoint, levels=levels).generate(GenerationInputs(requests_for(recording, 3, seconds), ("a",), None, job))
    samples = made(job.folder)
    assert sorted(path.name for path in job.folder.iterdir()) == [f"{name}.wav" for name in samples]
    assert len(samples) == 3 and all(len(sound) == round(seconds * RATE) == 13287 for sound in samples.values())
    assert {soundfile.info(path).samplerate for path in job.folder.iterdir()} == {RATE}
    from augrun.core import audio

    for place, sound in enumerate(samples.values()):
        prime = audio.read(recording, RATE, round(0.13 * place, 2), 0.1)
        rendered = model.decode(model.encode(prime)[finest], finest)
        assert len(rendered) == 34 * 128
        within = slice(0, len(rendered) - 2000)  # the decoder looks ahead over the end of the prime
        error = sound[within] / 32768 - np.clip(rendered[within], -1, 1)
        assert np.abs(error).max() < 1e-3
        assert np.abs(rendered[within]).std() > 0.01
    first, second, _ = samples.values()
    assert np.abs(first[5000:].astype(float) - second[5000:]).max() > 100


def test_the_prime_can_be_cut_off(checkpoint: Path, recording: Path, tmp_path: Path) -> None:
    """What is left is the continuation of a sample that is longer by its prime."""
    short, long = job_in(tmp_path / "short"), job_in(tmp_path / "long")
    tiny(checkpoint, keep_prime=False, sample_s=0.2).generate(
        GenerationInputs(requests_for(recording, 2, 0.2), ("a",), None, short)
    )
    tiny(checkpoint).generate(GenerationInputs(requests_for(recording, 2, 0.3), ("a",), None, long))
    for name, sound in made(short.folder).items():
        assert len(sound) == 8820
        codes = -(-round(0.3 * RATE) // 128)
        begin = codes * 128 - 8820  # the last samples that were decoded
        assert begin >= 34 * 128
        other = made(long.folder)[name]
        assert np.array_equal(sound[: len(other) - begin], other[begin:])


def test_same_seeds_same_bytes_whatever_the_batch(checkpoint: Path, recording: Path, tmp_path: Path) -> None:
    requests = requests_for(recording, 3)
    for name, size, seed in (("a", 4, 0), ("b", 4, 7), ("c", 1, 0)):
        tiny(checkpoint, batch_size=size).generate(
            GenerationInputs(requests, ("a",), None, job_in(tmp_path / name, seed))
        )
    for path in (tmp_path / "a").iterdir():  # the job's seed plays no part, each request has its own
        assert (
            path.read_bytes() == (tmp_path / "b" / path.name).read_bytes() == (tmp_path / "c" / path.name).read_bytes()
        )
    reseeded = requests.assign(seed=requests["seed"] + 100)
    tiny(checkpoint).generate(GenerationInputs(reseeded, ("a",), None, job_in(tmp_path / "d")))
    for name, sound in made(tmp_path / "d").items():
        same = sound == made(tmp_path / "a")[name]
        assert same[:2000].all() and not same[5000:].all()


def test_primes_of_all_lengths(checkpoint: Path, recording: Path, tmp_path: Path) -> None:
    """A clip shorter than a prime gives all it has, even less than one code; one sample does not change another."""
    requests = requests_for(recording, 4, 0.15).assign(prime_s=[0.1, 0.05, 0.001, 0.1])
    tiny(checkpoint, levels="full").generate(GenerationInputs(requests, ("a",), None, job_in(tmp_path / "out")))
    tiny(checkpoint, levels="full").generate(
        GenerationInputs(requests.iloc[[1]], ("a",), None, job_in(tmp_path / "one"))
    )
    samples = made(tmp_path / "out")
    assert [len(sound) for sound in samples.values()] == [6615] * 4
    assert np.array_equal(samples["000-00001"], made(tmp_path / "one")["000-00001"])


@pytest.mark.parametrize("stop_at", [2, 6, 9])
def test_a_killed_run_keeps_what_it_has_and_ends_alike(
    checkpoint: Path, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    generator, requests = tiny(checkpoint, levels="full", batch_size=2, sample_s=0.17), requests_for(recording, 4, 0.17)
    calls: list[int] = []
    stop = [0]

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == stop[0]:
            raise KeyboardInterrupt
        return sample_window(*arguments)

    monkeypatch.setattr(sampling, "sample_window", counted)
    undisturbed, broken = job_in(tmp_path / "undisturbed"), job_in(tmp_path / "broken")
    generator.generate(GenerationInputs(requests, ("a",), None, undisturbed))
    needed = len(calls)
    calls.clear()
    stop[0] = needed // 2 + stop_at  # in the second batch, at each of its levels
    with pytest.raises(KeyboardInterrupt):
        generator.generate(GenerationInputs(requests, ("a",), None, broken))
    assert len(list(broken.folder.glob("*.wav"))) == 2
    kept = {path.name: path.stat().st_mtime_ns for path in broken.folder.glob("*.wav")}
    generator.generate(GenerationInputs(requests, ("a",), None, broken))
    assert len(calls) == needed + 1  # the window that was interrupted, and no other, was sampled twice
    assert sorted(path.name for path in broken.folder.iterdir()) == [f"000-0000{place}.wav" for place in range(4)]
    for path in undisturbed.folder.iterdir():
        assert (broken.folder / path.name).read_bytes() == path.read_bytes()
    assert {name: (broken.folder / name).stat().st_mtime_ns for name in kept} == kept
    monkeypatch.setattr(sampling, "Jukebox", lambda *_: pytest.fail("read the weights again"))
    generator.generate(GenerationInputs(requests, ("a",), None, broken))


def test_codes_of_other_primes_are_not_taken_up(checkpoint: Path, recording: Path, tmp_path: Path) -> None:
    job = job_in(tmp_path / "out")
    (job.folder / "codes").mkdir()
    strange = [torch.zeros(1, 60 * 4**level, dtype=torch.long) for level in range(1)]
    torch.save({"seeds": [0], "codes": strange}, job.folder / "codes" / "000-00000.pt")
    tiny(checkpoint).generate(GenerationInputs(requests_for(recording, 1), ("a",), None, job))
    tiny(checkpoint).generate(GenerationInputs(requests_for(recording, 1), ("a",), None, job_in(tmp_path / "clean")))
    assert np.array_equal(made(job.folder)["000-00000"], made(tmp_path / "clean")["000-00000"])


def test_metadata_reach_their_class(checkpoint: Path, recording: Path, tmp_path: Path) -> None:
    requests = requests_for(recording, 2, seed=1, prime_start_s=0.0, label=[0, 1])
    tiny(checkpoint).generate(GenerationInputs(requests, ("calm", "wild"), None, job_in(tmp_path / "same")))
    same = made(tmp_path / "same")
    assert np.array_equal(same["000-00000"], same["000-00001"])
    wild = {"default": {"artist": "The Band"}, "wild": {"genre": "rock"}}
    tiny(checkpoint, metadata=wild).generate(
        GenerationInputs(requests, ("calm", "wild"), None, job_in(tmp_path / "told"))
    )
    told = made(tmp_path / "told")
    assert not np.array_equal(told["000-00000"], told["000-00001"])
    assert not np.array_equal(told["000-00000"], same["000-00000"])
    songs = tiny(checkpoint, metadata=wild)._songs(("calm", "wild"))
    assert songs == [Song(artist="The Band"), Song(artist="The Band", genre="rock")]


def test_names_become_the_ids_of_each_level(model: Model) -> None:
    ids = model.ids(Song(artist="The Band", genre="Ambient"))
    assert [row.tolist() for row in ids] == [[[1, 2, -1, -1, -1, -1]]] * 3
    assert [row.tolist() for row in model.ids(Song())] == [[[0, 0, -1, -1, -1, -1]]] * 3


@pytest.mark.parametrize(
    ("song", "message"),
    [
        ({"genre": "ambiant"}, r"generator.metadata: the model knows no genre 'ambiant'; did you mean ambient\?"),
        ({"artist": "Mozart"}, r"the model knows no artist 'Mozart'; use unknown"),
        ({"total_s": 10.0}, r"total_s=10 must lie in \[17.84, 600\)"),
        ({"total_s": 600.0}, r"total_s=600 must lie in \[17.84, 600\)"),
        (
            {"offset_s": 179.8},
            r"offset_s=179.8 must lie in \[0, 179.698\], for a sample of 0.301859 s within total_s=180",
        ),
    ],
)
def test_songs_that_the_model_cannot_be_told_of(
    checkpoint: Path, recording: Path, tmp_path: Path, song: dict[str, Any], message: str
) -> None:
    generator = tiny(checkpoint, metadata={"default": song})
    with pytest.raises(RequestError, match=message):
        generator.generate(GenerationInputs(requests_for(recording, 1), ("a",), None, job_in(tmp_path / "out")))
    assert not list((tmp_path / "out").iterdir())


# Refusals.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prime_s": 24.0}, "generator.prime_s=24 leaves nothing to generate of generator.sample_s=24"),
        (
            {"metadata": {"happy": "pop"}},
            "generator.metadata.happy='pop' is no mapping of artist, genre, total_s, offset_s",
        ),
        ({"metadata": {"happy": {"mood": "pop"}}}, "is no mapping of artist, genre, total_s, offset_s"),
        ({"metadata": {"happy": {"genre": 3}}}, "generator.metadata.happy.genre=3 is not a text"),
        (
            {"metadata": {"happy": {"total_s": "long"}}},
            "generator.metadata.happy.total_s='long' is not a number of seconds",
        ),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Jukebox(**settings)


def test_a_class_that_the_corpus_has_not(tmp_path: Path) -> None:
    generator, message = (
        Jukebox(metadata={"hapy": {"genre": "pop"}}),
        r"hapy: no class .*; legal are default, happy, sad",
    )
    with pytest.raises(RequestError, match=message):
        generator.generate(
            GenerationInputs(requests_for(tmp_path, 1), ("happy", "sad"), None, job_in(tmp_path / "out"))
        )


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (
            None,
            r"transformers \(from 4.57, below 5\), which is not installed; pip install 'augrun\[jukebox\]'\n.*30 GB",
        ),
        ("5.0.0", r"below 5 \(which dropped the model\), not 5.0.0; pip install 'augrun\[jukebox\]'"),
        ("4.30.2", r"needs transformers from 4.57, .* not 4.30.2"),
    ],
)
def test_check_asks_for_the_package(monkeypatch: pytest.MonkeyPatch, version: str | None, message: str) -> None:
    from augrun.generators import jukebox

    def said(name: str) -> str:
        if version is None:
            raise jukebox.packages.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(jukebox.packages, "version", said)
    with pytest.raises(RequestError, match=message):
        Jukebox().check()


def test_check_names_sizes_licence_and_mend(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RequestError) as caught:
        Jukebox().check()
    said = str(caught.value)
    assert "generator.weights=openai/jukebox-1b-lyrics is neither a folder nor in the Hugging Face cache" in said
    assert "`hf download openai/jukebox-1b-lyrics`" in said and "generator.weights=FOLDER" in said
    assert "12 GB (1b) or 30 GB (5b)" in said
    assert "non-commercial use alone, of them and of all that they generate" in said
    assert len(said.splitlines()) == 2
    with pytest.raises(RequestError, match=r"generator.weights=/no/such/folder: no such folder"):
        Jukebox(weights="/no/such/folder").check()


def test_weights_in_the_cache_are_found(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "models--openai--jukebox-1b-lyrics"
    shutil.copytree(checkpoint, place / "snapshots" / "0123abc")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0123abc")
    assert Jukebox().folder() == place / "snapshots" / "0123abc"


@pytest.mark.parametrize("missing", ["config.json", "pytorch_model.bin", "artists.json", "genres.json"])
def test_half_a_checkpoint_is_refused(checkpoint: Path, tmp_path: Path, missing: str) -> None:
    shutil.copytree(checkpoint, tmp_path / "half")
    (tmp_path / "half" / missing).unlink()
    with pytest.raises(
        RequestError, match=rf"half: no whole Jukebox checkpoint, it lacks .*{missing}; give generator.weights"
    ):
        Jukebox(weights=str(tmp_path / "half")).check()


def test_shards_are_looked_for(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    shutil.copytree(checkpoint, folder)
    (folder / "pytorch_model.bin").rename(folder / "pytorch_model-00001-of-00002.bin")
    shards = {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    with pytest.raises(RequestError, match=r"it lacks pytorch_model-00002-of-00002\.bin;"):
        Jukebox(weights=str(folder)).check()


def test_another_model_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text('{"model_type": "musicgen"}')
    with pytest.raises(RequestError, match=r"config\.json: model_type is musicgen, not jukebox"):
        Jukebox(weights=str(tmp_path / "other")).check()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.write_bytes(b"nothing"), "cannot be read as a Jukebox checkpoint"),
        (lambda file: torch.save({}, file), r"weights are missing or misshapen, the first is"),
    ],
)
def test_damaged_weights(checkpoint: Path, tmp_path: Path, damage: Any, message: str) -> None:
    shutil.copytree(checkpoint, tmp_path / "bad")
    damage(tmp_path / "bad" / "pytorch_model.bin")
    with pytest.raises(AugrunError, match=message):
        Model(tmp_path / "bad", 1, torch.device("cpu"))


def test_half_precision_needs_a_gpu(checkpoint: Path, recording: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"generator.precision=float16 needs a GPU; use generator.precision=float32"):
        tiny(checkpoint, precision="float16").generate(
            GenerationInputs(requests_for(recording, 1), ("a",), None, job_in(tmp_path / "o"))
        )


def test_half_precision_samples_most_of_the_same_codes(checkpoint: Path, model: Model, recording: Path) -> None:
    """Transformers in 16 bits, codec and conditioners in 32, through every level."""
    half = Model(checkpoint, 3, torch.device("cpu"), half=True)
    assert {p.dtype for prior in half.model.priors for p in prior.prior.parameters()} == {torch.float16}
    assert {p.dtype for p in half.model.priors[1].conditioner_blocks.parameters()} == {torch.float32}
    assert {p.dtype for p in half.model.vqvae.parameters()} == {torch.float32}
    batches = [batch_of(each, recording, length=90) for each in (model, half)]
    for level in range(3):
        for each, batch in zip((model, half), batches, strict=True):
            batch.codes[:level] = [row.clone() for row in batches[0].codes[:level]]
            each.continue_level(batch, level, 0.98)
        begin = 78 * 4**level
        own, other = (batch.codes[level][:, begin : begin + 12] for batch in batches)
        assert (own == other).float().mean() > 0.8


def test_another_sample_rate_is_refused(checkpoint: Path, recording: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"the checkpoint's is 44100; give generator.sample_rate=44100"):
        tiny(checkpoint, sample_rate=16000).generate(
            GenerationInputs(requests_for(recording, 1), ("a",), None, job_in(tmp_path / "o"))
        )


def test_a_prime_as_long_as_the_sample_is_refused(checkpoint: Path, recording: Path, tmp_path: Path) -> None:
    with pytest.raises(AugrunError, match=r"000-00000: its prime of 0\.5 s leaves nothing to generate of 0\.3 s"):
        tiny(checkpoint).generate(
            GenerationInputs(requests_for(recording, 1, prime_s=0.5), ("a",), None, job_in(tmp_path / "o"))
        )


# The configuration.


def test_yaml_has_every_setting_and_the_published_values() -> None:
    content = yaml.safe_load((ROOT / "conf" / "generator" / "jukebox.yaml").read_text())
    assert content.pop("_target_") == "augrun.generators.jukebox.Jukebox"
    assert content.pop("name") == "jukebox"
    defaults = Jukebox()
    parameters = describe("augrun.generators.jukebox.Jukebox").parameters
    assert list(content) == [each.name for each in dataclasses.fields(Jukebox)] == list(parameters)
    for name, value in content.items():
        choices = [value]
        if isinstance(value, str) and value.startswith("${by_scale:"):
            choices = [yaml.safe_load(part) for part in value.removeprefix("${by_scale:").rstrip("}").split(",")]
        elif isinstance(value, str):
            choices = [value.removeprefix("${oc.env:AUGRUN_JUKEBOX,").rstrip("}")]
        assert all(mismatch(choice, parameters[name].annotation) is None for choice in choices), name
        if name != "metadata":
            assert choices[0] == getattr(defaults, name), name
    assert Song(**content["metadata"]["default"]) == Song()
    assert tuple(each.name for each in dataclasses.fields(Song)) == _SONG
    assert (defaults.sample_s, defaults.prime_s, defaults.sample_rate) == (24.0, 8.0, 44100)
    assert (Jukebox.trained, Jukebox.primed, Jukebox.reconstructs) == (False, True, False)
