"""Writes a Jukebox checkpoint of a few thousand random weights, to try `generator=jukebox` without the real ones.

    python scripts/tiny_jukebox.py DIR
    augrun generator=jukebox generator.weights=DIR
    AUGRUN_JUKEBOX=DIR augrun -m generator=none,jukebox,ddsp

The folder is laid out as the published checkpoints are and is read by the same classes (transformers 4.57). What it
generates is noise: it shows that everything runs, and nothing about the model.
"""

from __future__ import annotations

import json
import string
import sys
from pathlib import Path
from typing import Any

#: As in the published models, the top level's transformer reads lyrics and music, the other two are told of the level
#: above; three layers show each of the three sparse attentions once. Windows are short, so that even half a second of
#: sound takes several at every level.
_SHARED: dict[str, Any] = {
    "hidden_size": 16,
    "num_layers": 3,
    "n_heads": 1,
    "music_vocab_size": 32,
    "metadata_dims": [3, 3],
    "res_conv_width": 8,
    "res_conv_depth": 1,
    "init_scale": 4.0,  # logits that differ from token to token
}
_TOP: dict[str, Any] = {
    "level": 0,
    "n_ctx": 56,
    "blocks": 8,
    "nb_relevant_lyric_tokens": 8,
    "lyric_vocab_size": 80,
    "mask": True,
}
_UPSAMPLER: dict[str, Any] = {
    "n_ctx": 128,
    "blocks": 8,
    "attention_pattern": "raw_column_previous_row_attention",
    "nb_relevant_lyric_tokens": 0,
    "is_encoder_decoder": False,
    "merged_decoder": False,
    "mask": True,
}
_CODEC: dict[str, Any] = {
    "nb_discrete_codes": 32,
    "embed_dim": 8,
    "res_conv_width": 4,
    "res_conv_depth": 1,
    "sample_length": 56 * 128,
    "init_scale": 4.0,
}
#: Kept in config.json; every table with results of this checkpoint says it.
REMARK = "a tiny checkpoint of RANDOM weights (scripts/tiny_jukebox.py), not the published Jukebox."

_ARTISTS = {"unknown": 0, "the band": 1, "the_band.v2": 1}
_GENRES = {"unknown": 0, "rock": 1, "rock.v2": 1, "ambient": 2, "ambient.v2": 2}


def build(folder: Path, seed: int = 0) -> Path:
    """Writes the checkpoint.

    Args:
        folder: where to; made where it is not there.
        seed: of the weights.

    Returns:
        The folder.
    """
    import torch
    from transformers import JukeboxConfig, JukeboxModel, JukeboxTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    priors = [_SHARED | _TOP, *(_SHARED | _UPSAMPLER | {"level": level} for level in (1, 2))]
    sizes: dict[str, Any] = {"vqvae_config": _CODEC, "prior_config_list": priors}
    config = JukeboxConfig(**sizes, max_nb_genres=5, min_duration=17.84, remark=REMARK)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = JukeboxModel(config).eval()
        for name, parameter in model.named_parameters():  # some are left as the memory was
            parameter.data.normal_(mean=float("layer_norm" in name and name.endswith("weight")), std=0.25)
        for block in model.vqvae.bottleneck.level_blocks:
            block.codebook.normal_(std=0.2)
    # The upsamplers' embeddings serve as their output layers too, which the safetensors format refuses.
    model.save_pretrained(folder, safe_serialization=False)
    characters = string.ascii_letters + string.digits + ".,:;!?-+'\"()[] \t\n"
    names = {"artists": _ARTISTS, "genres": _GENRES, "lyrics": {c: i for i, c in enumerate(characters, 1)}}
    for name, ids in names.items():
        (folder / f"{name}.json").write_text(json.dumps(ids))
    files = {f"{name}_file": str(folder / f"{name}.json") for name in names}
    JukeboxTokenizer(**files, version=["v3", "v2", "v2"]).save_pretrained(str(folder))
    return folder


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    print(build(Path(sys.argv[1])))
