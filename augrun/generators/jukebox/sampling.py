"""Primed sampling from Jukebox, window by window, on the classes of `transformers` (`JukeboxModel`, below version 5).

Dhariwal et al., "Jukebox: A Generative Model for Music", 2020. Sound becomes three rows of codes, one each 128, 32 and
8 samples; a transformer (a prior) continues the coarsest row, two more refine it. Here as in `JukeboxModel.priors`,
level 0 is the coarsest (top); the codec counts its levels the other way round.

The sampling loop of the classes is not used, for what it does at 4.57:
- `primed_sample` hands the prime's codes over as the codec gives them, fine to coarse, to priors that stand coarse to
  fine: the top level gets the finest codes, finds itself long finished and returns them;
- `get_music_tokens_conds` cuts the coarser codes to the window and then drops the cut, so that a window is conditioned
  on all codes from the beginning; its padding of a short row serves one sample only;
- `sample_partial_window` takes the whole length for the number of new codes;
- the song's length is overwritten by the sample's, and the embedding of lengths begins at 18 seconds;
- all samples draw from one generator, so that a sample depends on its batch.
The layers, embeddings and conditioners are the classes' own; every call is checked by the counts of codes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from augrun.core.errors import AugrunError, RequestError
from augrun.core.seeding import derive_seed
from augrun.generators.jukebox.window import require, sample_window

LEVELS = 3
_LARGEST_BATCH = 64
_MARGIN = 1.5  # buffers beside the cache of keys and values


@dataclass(frozen=True)
class Song:
    """What the priors are told about the song that a sample is from.

    Attributes:
        artist: a name of the model's vocabulary; `unknown` is one.
        genre: likewise.
        total_s: seconds of the whole song.
        offset_s: where in the song the sample begins.
    """

    artist: str = "unknown"
    genre: str = "unknown"
    total_s: float = 180.0
    offset_s: float = 0.0


@dataclass
class Batch:
    """Samples that are made together.

    Attributes:
        songs: of each sample.
        seeds: of each sample.
        codes: per level, top first: (samples, codes so far), int64.
        length: codes of the finished top level.
    """

    songs: Sequence[Song]
    seeds: Sequence[int]
    codes: list[Tensor]
    length: int


class Jukebox:
    """A checkpoint, ready to sample from.

    Attributes:
        sample_rate: Hz.
        hops: samples of sound per code at each level, top first.
    """

    def __init__(self, folder: Path, levels: int, device: torch.device, half: bool = False) -> None:
        """Reads a checkpoint.

        Args:
            folder: with `config.json`, the weights and the tokenizer's files.
            levels: how many to sample, from the top; priors below are not read.
            device: where to compute. One prior at a time is moved there.
            half: let the transformers compute in 16 bits; codec and conditioners never do.

        Raises:
            AugrunError: the checkpoint cannot be read or does not hold what it should.
        """
        self.device = device
        self.model, self.tokenizer = _read(folder, levels)
        self.sample_rate = int(self.model.config.sampling_rate)
        codec = self.model.vqvae.to(device)
        self.hops = [int(hop) for hop in reversed(codec.hop_lengths)][:levels]
        for level, prior in enumerate(self.model.priors):
            if int(prior.raw_to_tokens) != self.hops[level]:
                raise AugrunError(
                    f"{folder}: prior {level} works on codes of {prior.raw_to_tokens} samples, the codec makes such of "
                    f"{self.hops[level]}; they do not belong together"
                )
            if half:
                prior.prior.half()
            for layer in prior.prior.transformer._attn_mods:
                layer.attn.mask = True  # a beginning read at once must look like one read code by code
        self._here: int | None = None

    # Sound and codes.

    @property
    def hop(self) -> int:
        """Samples of sound per code of the top level."""
        return self.hops[0]

    def encode(self, sound: np.ndarray) -> list[Tensor]:
        """The codes (codes,) of each level, top first, of a sound (samples,); what fills no top code is left out."""
        count = len(sound) // self.hop
        if not count:
            return [torch.zeros(0, dtype=torch.long) for _ in self.hops]
        cut = torch.from_numpy(sound[: count * self.hop]).float().to(self.device)
        rows = self.model.vqvae.encode(cut[None, :, None])[::-1][: len(self.hops)]  # the codec goes fine to coarse
        for row, hop in zip(rows, self.hops, strict=True):
            require(row.shape, (1, len(cut) // hop), "codes of the prime")
        return [row[0].cpu() for row in rows]

    def decode(self, codes: Tensor, level: int) -> np.ndarray:
        """The sound (codes · hop,), float32, of the codes (codes,) of one level."""
        at = self.model.vqvae.levels - 1 - level
        sound = self.model.vqvae.decode([codes[None].to(self.device)], start_level=at, end_level=at + 1)
        require(sound.shape, (1, len(codes) * self.hops[level], 1), "samples of the decoded sound")
        return sound[0, :, 0].float().cpu().numpy()

    # What the priors are told.

    def ids(self, song: Song) -> list[Tensor]:
        """The ids (1, 1 + genres) of artist and genres for each level.

        Raises:
            RequestError: the top level does not know a name. (The two below may have other vocabularies: what they do
                not know is `unknown` to them, as it was to the authors'.)
        """
        found = self.tokenizer(song.artist, song.genre, "")["input_ids"]
        ids = [row[:, 3 : 4 + self.tokenizer.n_genres] for row in found[: len(self.hops)]]
        for what, name, known in (("artist", song.artist, ids[0][0, :1]), ("genre", song.genre, ids[0][0, 1:])):
            if name.lower() != "unknown" and (known == 0).any():
                words = [word.removesuffix(".v2") for word in getattr(self.tokenizer, f"{what}s_encoder")]
                near = _nearest(name.lower().replace(" ", "_"), name.lower(), words=words)
                raise RequestError(f"generator.metadata: the model knows no {what} {name!r}{near}")
        return ids

    def check(self, song: Song, length: int) -> None:
        """Refuses times outside of what the model has embeddings for.

        Args:
            song: whose times.
            length: codes of the top level.

        Raises:
            RequestError: naming the legal times.
        """
        config, sample_s = self.model.config, length * self.hop / self.sample_rate
        low, high = float(config.min_duration), float(config.max_duration)
        low = max(low, sample_s)
        if not low <= song.total_s < high:
            raise RequestError(f"generator.metadata: total_s={song.total_s:g} must lie in [{low:g}, {high:g})")
        window = self.model.priors[0].n_ctx * self.hop / self.sample_rate
        latest = min(song.total_s - sample_s, high - max(window, sample_s))
        if not 0 <= song.offset_s <= latest:
            raise RequestError(
                f"generator.metadata: offset_s={song.offset_s:g} must lie in [0, {latest:g}], for a sample of "
                f"{sample_s:g} s within total_s={song.total_s:g}"
            )

    def _metadata(self, batch: Batch, level: int, start: int) -> Tensor:
        """(samples, 4 + genres + lyrics): times in samples of sound, artist, genres, and no lyrics."""
        prior = self.model.priors[level]
        rows = []
        for song in batch.songs:
            begin = round(song.offset_s * self.sample_rate) + start * self.hops[level]
            times = [round(song.total_s * self.sample_rate), begin, int(prior.sample_length)]
            rows.append(torch.cat([torch.tensor(times), self.ids(song)[level][0]]))
        silent = torch.zeros(len(rows), prior.nb_relevant_lyric_tokens, dtype=torch.long)
        return torch.cat([torch.stack(rows), silent], dim=1).to(self.device)

    # Sampling.

    def continue_level(
        self,
        batch: Batch,
        level: int,
        temperature: float,
        keep: Callable[[], None] = lambda: None,
        advance: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Continues one level of a batch to its full length; the level above is finished.

        As in the authors' `sample_level`, a window is as long as the prior's context and the next one begins a hop
        later (`hop_fraction` of the checkpoint: an eighth of a window at the top, a half below).

        Args:
            batch: its `codes[level]` grow.
            level: top is 0.
            temperature: divides the logits.
            keep: called after each window.
            advance: called with the number of codes sampled at once for all samples.
        """
        prior, total = self._bring(level), batch.length * (self.hop // self.hops[level])
        coarser = int(prior.cond_downsample or 1)
        if level:
            require(batch.codes[level - 1].shape[1:], (total // coarser,), "codes of the level above")
        # One number a code, drawn ahead: a sample depends neither on its batch nor on the windows.
        draws = torch.stack([_uniforms(seed, level, total) for seed in batch.seeds]).to(self.device)
        hop = max(1, int(self.model.config.hop_fraction[level] * prior.n_ctx) // coarser) * coarser
        for start in _starts(total, prior.n_ctx, hop):
            end = min(start + prior.n_ctx, total)
            have = batch.codes[level].shape[1]
            if end <= have:
                continue
            above = None
            if level:
                above = batch.codes[level - 1][:, start // coarser : -(-end // coarser)]
                missing = prior.n_ctx // coarser - above.shape[1]
                above = torch.nn.functional.pad(above, (0, missing)).to(self.device)
            fresh = sample_window(
                prior,
                batch.codes[level][:, start:].to(self.device),
                above,
                self._metadata(batch, level, start),
                draws[:, have:end],
                temperature,
                advance,
            )
            require(fresh.shape, (len(batch.seeds), end - have), "sampled codes")
            batch.codes[level] = torch.cat([batch.codes[level], fresh.cpu()], dim=1)
            keep()
        require(batch.codes[level].shape, (len(batch.seeds), total), "codes of a level")

    def _bring(self, level: int) -> Any:
        """The prior of a level, on the device alone."""
        if self._here != level:
            if self._here is not None:
                self.model.priors[self._here].cpu()
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
            self.model.priors[level].to(self.device)
            self._here = level
        return self.model.priors[level]

    def batch_size(self) -> int:
        """How many samples fit into the memory of the device, by what their keys and values take.

        It follows from the machine and the checkpoint, not from what else runs: a killed run finds its batches again.
        """
        sizes = [sum(p.numel() * p.element_size() for p in prior.parameters()) for prior in self.model.priors]
        if self.device.type == "cuda":
            free = 0.85 * torch.cuda.get_device_properties(self.device).total_memory - max(sizes)
        else:
            free = 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") - sum(sizes)
        needed = max(_MARGIN * _bytes_per_sample(prior) for prior in self.model.priors)
        return int(min(_LARGEST_BATCH, max(1, free // needed)))


def _bytes_per_sample(prior: Any) -> int:
    """Caches and conditioning of one sample in a full window."""
    core, total = prior.prior, 0
    item = core.embed_tokens.weight.element_size()
    for layer in core.transformer._attn_mods:
        attention = layer.attn
        block = attention.block_ctx if attention.blocks is not None else core.n_ctx
        kept = {"block_attn": block, "prev_block_attn": 2 * block, "cross_attention": attention.encoder_len}
        total += 2 * kept.get(layer.attn_func, core.n_ctx) * attention.hidden_dim * item
    return total + 4 * core.n_ctx * core.width * 4


def _read(folder: Path, levels: int) -> tuple[Any, Any]:
    """Model and tokenizer of a checkpoint; only so many priors, from the top."""
    from transformers import JukeboxConfig, JukeboxModel, JukeboxTokenizer

    try:
        with _hushed():
            config = JukeboxConfig.from_pretrained(str(folder), local_files_only=True)
            if config.nb_priors < levels:
                raise AugrunError(f"{folder}: holds {config.nb_priors} of {LEVELS} priors; use generator.levels=top")
            config.nb_priors = levels
            model, report = JukeboxModel.from_pretrained(
                str(folder), config=config, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
            tokenizer = JukeboxTokenizer.from_pretrained(str(folder), local_files_only=True)
    except AugrunError:
        raise
    except Exception as error:  # whatever a damaged file makes its reader raise
        said = " ".join(str(error).split())[:300]
        raise AugrunError(
            f"{folder}: cannot be read as a Jukebox checkpoint ({type(error).__name__}: {said})"
        ) from error
    named = {name: id(weight) for name, weight in model.named_parameters(remove_duplicate=False)}
    read = {weight for name, weight in named.items() if name not in report["missing_keys"]}
    lacking = [name for name in report["missing_keys"] if named.get(name) not in read]  # tied weights have two names
    lacking += [name for name, *_ in report["mismatched_keys"]]
    if lacking:
        raise AugrunError(f"{folder}: {len(lacking)} weights are missing or misshapen, the first is {lacking[0]}")
    return model.eval().requires_grad_(False), tokenizer


@contextmanager
def _hushed() -> Any:
    """Keeps the reader's remarks (on the priors that are left out) off the console."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _starts(total: int, window: int, hop: int) -> list[int]:
    """Where windows begin: each a hop after the one before, the last as far back as it still ends at the end."""
    if total <= window:
        return [0]
    return [*range(0, total - window, hop), total - window]


def _uniforms(seed: int, level: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(derive_seed(seed, "jukebox", level))
    return torch.rand(count, generator=generator, dtype=torch.float64)


def _nearest(*names: str, words: Sequence[str]) -> str:
    import difflib

    close = [word for name in names for word in difflib.get_close_matches(name, words, n=3)]
    return f"; did you mean {' or '.join(dict.fromkeys(close))}?" if close else "; use unknown"
