"""One window of Jukebox: codes that continue codes, by one of its transformers; `sampling` lines windows up.

The layers and embeddings are those of `transformers.JukeboxPrior`. Its own loop is left out because all samples of a
batch draw from one generator there; here each code has a number that decides it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from augrun.core.errors import AugrunError

_CHUNK = 128  # codes of a beginning read at once; the authors read 32


@torch.inference_mode()
def sample_window(
    prior: Any,
    given: Tensor,
    above: Tensor | None,
    metadata: Tensor,
    draws: Tensor,
    temperature: float,
    advance: Callable[[int], None] = lambda count: None,
) -> Tensor:
    """Continues a beginning within one window.

    Args:
        prior: a `JukeboxPrior`.
        given: the beginning, (samples, codes), none to all but one of a window.
        above: the codes of the level above for the whole window, (samples, window / 4); None at the top.
        metadata: (samples, 4 + genres + lyrics), as `JukeboxPrior.get_metadata` has it.
        draws: numbers in [0, 1), (samples, new codes); each decides one code.
        temperature: divides the logits.
        advance: called with the number of codes sampled at once for all samples.

    Returns:
        The new codes, (samples, new codes).
    """
    core, count = prior.prior, len(given)
    conditions, begin, lyrics = prior.get_cond(None if above is None else [above], metadata)
    first = 0  # id of the first music code
    states = None
    if prior.is_encoder_decoder:  # one transformer reads lyrics, then music
        first = int(prior.embed_dim_shift[1])
        given = torch.cat([lyrics, given + first], dim=1)
        if conditions is not None:
            blank = conditions.new_zeros(count, prior.nb_relevant_lyric_tokens, core.width)
            conditions = torch.cat([blank, conditions], dim=1)
    else:
        states = prior.get_encoder_states(lyrics, sample=True)
    dtype = core.embed_tokens.weight.dtype
    if conditions is None:
        conditions = torch.zeros(count, 1, core.width, device=given.device)
    else:
        require(conditions.shape, (count, core.n_ctx, core.width), "steps of the conditioning")
    conditions = conditions.to(dtype)
    begin = core.start_token.expand(count, -1) if begin is None else begin.reshape(count, core.width)
    if states is not None:
        states = states.to(dtype)

    def step(at: int, inputs: Tensor) -> Tensor:
        """Hidden states (samples, length, width) from `inputs` at positions `at` and on."""
        until = at + inputs.shape[1]
        told = conditions[:, at:until] if conditions.shape[1] > 1 else conditions
        hidden = core.transformer(
            inputs + core.pos_emb()[at:until] + told, last_encoder_hidden_states=states, sample=True
        )
        return hidden + told if core.add_cond_after_transformer else hidden

    try:
        # The input at each position is the code before it. All but the last known code only fill the caches.
        inputs = torch.cat([begin[:, None].to(dtype), core.embed_tokens(given)], dim=1)
        known = inputs.shape[1] - 1
        for at in range(0, known, _CHUNK):
            step(at, inputs[:, at : min(at + _CHUNK, known)])
        last, sampled = inputs[:, known:], []
        finite = torch.ones((), dtype=torch.bool, device=given.device)
        for place in range(draws.shape[1]):
            logits = core.fc_proj_out(step(known + place, last))[:, 0, first:]
            code = _draw(logits, temperature, draws[:, place])
            sampled.append(code)
            finite &= logits.isfinite().all()  # looked at once, at the end: a GPU need not wait here
            last = core.embed_tokens(code[:, None] + first)
            advance(count)
    finally:
        core.transformer.del_cache()
    if not finite:
        raise AugrunError("jukebox: the network's output is not finite; use generator.precision=float32")
    return torch.stack(sampled, dim=1)


def _draw(logits: Tensor, temperature: float, draws: Tensor) -> Tensor:
    """Codes (samples,) from logits (samples, codes) by inversion: one number in [0, 1) picks one code."""
    summed = torch.softmax(logits.double() / temperature, dim=-1).cumsum(-1)
    return (summed <= draws[:, None] * summed[:, -1:]).sum(-1).clamp(max=logits.shape[-1] - 1)


def require(shape: Sequence[int], expected: Sequence[int], what: str) -> None:
    """Raises where the classes return another number of codes, steps or samples than they should."""
    if tuple(shape) != tuple(expected):
        raise AugrunError(f"jukebox: {what} are {tuple(shape)} where {tuple(expected)} belong; another checkpoint?")
