"""Writes tests/golden/ddsp.npz: numbers of the package `ddsp` 3.7.0 that the tests hold augrun's DDSP against.

Runs in the environment that scripts/setup_ddsp_env.sh makes:

    .venv-ddsp/bin/python scripts/ddsp_golden.py [OUT.npz]

Keys are `<case>/<what>`; `in_` starts the inputs. The networks' weights and gradients carry the names, the layout and
the order of gates of augrun's module.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.modules.setdefault("crepe", types.ModuleType("crepe"))  # imported by ddsp, used only to extract f0

import ddsp  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from ddsp import core, effects, losses, processors, spectral_ops, synths  # noqa: E402
from ddsp.training import decoders, encoders, models, preprocessing  # noqa: E402

RATE = 16000
OUT = Path(__file__).resolve().parent.parent / "tests" / "golden" / "ddsp.npz"


def main(out: Path) -> None:
    """Computes all cases and writes them."""
    random = np.random.default_rng(20200426)
    tf.keras.utils.set_random_seed(20200426)
    golden: dict[str, np.ndarray] = {"version": np.array(ddsp.__version__)}
    for case in (envelopes, upsampling, harmonic, noise, reverb, loudness, timbre, loss):
        golden |= {f"{case.__name__}/{name}": np.asarray(value) for name, value in case(random).items()}
    golden |= {f"ae/{name}": value for name, value in autoencoder(random, z_dims=4, reverb_taps=0).items()}
    golden |= {f"solo/{name}": value for name, value in autoencoder(random, z_dims=0, reverb_taps=300).items()}
    for name, value in golden.items():
        if value.dtype == np.float64:
            golden[name] = value.astype(np.float32)
    np.savez_compressed(out, **golden)
    print(f"{out}: {len(golden)} arrays, {out.stat().st_size / 1024:.0f} KiB")


def coarse(x: np.ndarray) -> np.ndarray:
    """Rounded to 1/128, so that random inputs compress."""
    return (np.round(x * 128) / 128).astype(np.float32)


def envelopes(random: np.random.Generator) -> dict:
    """The outputs of a decoder made into controls, with fundamentals whose harmonics cross half the sample rate."""
    x = np.linspace(-30, 30, 241, dtype=np.float32)
    amplitude, shares = coarse(random.normal(size=(2, 25, 1)) * 3), coarse(random.normal(size=(2, 25, 100)) * 3)
    f0 = np.exp(random.uniform(np.log(40), np.log(9000), (2, 25, 1)))
    bands = coarse(random.normal(size=(2, 25, 65)) * 3)
    given = [value.astype(np.float32) for value in (amplitude, shares, f0, bands)]
    controls = synths.Harmonic(n_samples=1600, sample_rate=RATE).get_controls(*given[:3])
    return {
        "in_x": x,
        "exp_sigmoid": core.exp_sigmoid(x),
        "in_amplitude": given[0],
        "in_distribution": given[1],
        "in_f0": given[2],
        "amplitude": controls["amplitudes"],
        "distribution": controls["harmonic_distribution"],
        "in_noise": given[3],
        "noise": synths.FilteredNoise(window_size=0).get_controls(given[3])["magnitudes"],
    }


def upsampling(random: np.random.Generator) -> dict:
    """Both methods, and the resampling of 1,001 frames to 1,000."""
    x = random.normal(size=(2, 20, 3)).astype(np.float32)
    long = random.normal(size=(1, 1001, 1)).astype(np.float32)
    return {
        "in_x": x,
        "window": core.resample(x, 640, method="window"),
        "linear": core.resample(x, 640),
        "uneven": core.resample(x, 333),
        "in_long": long,
        "frames": core.resample(long, 1000),
    }


def harmonic(random: np.random.Generator) -> dict:
    """Half a second of a gliding, trembling tone with 40 harmonics, some above half the sample rate."""
    frames = 125
    time = np.arange(frames) / frames / 2
    f0 = (180 + 220 * time + 8 * np.sin(2 * np.pi * 6 * time))[None, :, None].astype(np.float32)
    synth = synths.Harmonic(n_samples=RATE // 2, sample_rate=RATE)
    raw = random.normal(size=(1, frames, 41)).astype(np.float32)
    controls = synth.get_controls(raw[..., :1] + 1, raw[..., 1:] - np.linspace(0, 4, 40, dtype=np.float32), f0)
    accurate = synths.Harmonic(n_samples=RATE // 2, sample_rate=RATE, use_angular_cumsum=True)
    return {
        "in_f0": f0,
        "in_amplitudes": controls["amplitudes"] * controls["harmonic_distribution"],
        "sound": synth.get_signal(**controls),
        "angular": accurate.get_signal(**controls),
    }


def noise(random: np.random.Generator) -> dict:
    """Noise through a filter that changes at every frame of 64 samples, and at every frame of 160."""
    white = coarse(random.uniform(-1, 1, (2, 3200)))
    fast = coarse(np.exp(random.normal(size=(2, 50, 65))))
    slow = coarse(np.exp(random.normal(size=(2, 20, 33))))
    return {
        "in_white": white,
        "in_fast": fast,
        "fast": core.frequency_filter(white, fast, window_size=0),
        "in_slow": slow,
        "slow": core.frequency_filter(white, slow, window_size=0),
    }


def reverb(random: np.random.Generator) -> dict:
    """A convolution whose first tap is masked."""
    sound = coarse(random.normal(size=(2, 2000)))
    response = (random.normal(size=700) * np.exp(-np.arange(700) / 100)).astype(np.float32)
    effect = effects.Reverb(trainable=False)
    return {"in_sound": sound, "in_response": response, "wet": effect.get_signal(sound, np.tile(response, (2, 1)))}


def loudness(random: np.random.Generator) -> dict:
    """Half a second with noise, a fading tone and silence."""
    time = np.arange(RATE // 2) / RATE
    sound = np.sin(2 * np.pi * 700 * time) * np.exp(-12 * time) + random.normal(size=len(time)) * np.exp(-40 * time)
    sound[6000:] = 0
    sound = coarse(np.stack([sound, random.uniform(-1, 1, len(time))]))
    decibels = spectral_ops.compute_loudness(sound, RATE, 250)
    prepared = preprocessing.F0LoudnessPreprocessor(time_steps=125)
    scaled = prepared({"loudness_db": decibels[:, :125], "f0_hz": np.full((2, 125), 440, "f4"), "audio": sound})
    return {"in_sound": sound, "decibels": decibels, "frames": scaled["loudness_db"][..., 0]}


def timbre(random: np.random.Generator) -> dict:
    """MFCCs as the encoder of z takes them, silence included."""
    sound = random.normal(size=(1, 8000)) * np.sin(np.arange(8000) / 300)
    sound[:, 6500:] = 0
    sound = coarse(sound)
    mfcc = spectral_ops.compute_mfcc(sound, 20.0, 8000.0, 1024, 128, 30, overlap=0.5, pad_end=True)
    return {"in_sound": sound, "mfcc": mfcc}


def loss(random: np.random.Generator) -> dict:
    """The spectral loss with each weight alone and with both, and the gradient of the latter."""
    target, sound = coarse(random.normal(size=(2, 2, 3000)) * 0.1)
    target[0, 1500:] = 0
    results = {"in_target": target, "in_sound": sound}
    variable = tf.Variable(sound)
    with tf.GradientTape() as tape:
        both = losses.SpectralLoss(mag_weight=1.0, logmag_weight=1.0).call(target, variable)
    results["gradient"] = tape.gradient(both, variable)
    for name, weights in {"magnitude": (1.0, 0.0), "logarithm": (0.0, 1.0), "both": (1.0, 1.0)}.items():
        results[name] = losses.SpectralLoss(mag_weight=weights[0], logmag_weight=weights[1]).call(target, sound)
    return results


def autoencoder(random: np.random.Generator, z_dims: int, reverb_taps: int) -> dict:
    """A small autoencoder of the same make as ae.gin or solo_instrument.gin: sound, loss and every gradient.

    The gradients are those of the magnitudes alone: the logarithm's, which divide by magnitudes near zero, amplify
    rounding a hundredfold. `loss` has them for a given sound.
    """
    samples, frames, harmonics, bands = 4800, 75, 20, 17
    encoder = encoders.MfccTimeDistributedRnnEncoder(8, "gru", z_dims, z_time_steps=125) if z_dims else None
    splits = (("amps", 1), ("harmonic_distribution", harmonics), ("noise_magnitudes", bands))
    keys = ("ld_scaled", "f0_scaled", "z")[: 3 if z_dims else 2]
    decoder = decoders.RnnFcDecoder(12, "gru", 10, 3, input_keys=keys, output_splits=splits)
    # angular: exact phases, so that the gradients compare
    tone = synths.Harmonic(n_samples=samples, sample_rate=RATE, use_angular_cumsum=True, name="harmonic")
    hiss = synths.FilteredNoise(n_samples=samples, window_size=0, name="filtered_noise")
    chain = [
        (tone, ["amps", "harmonic_distribution", "f0_hz"]),
        (hiss, ["noise_magnitudes"]),
        (processors.Add(name="add"), ["filtered_noise/signal", "harmonic/signal"]),
    ]
    room = effects.Reverb(trainable=True, reverb_length=reverb_taps, name="reverb")
    if reverb_taps:
        chain.append((room, ["add/signal"]))
    model = models.Autoencoder(
        preprocessor=preprocessing.F0LoudnessPreprocessor(time_steps=frames),
        encoder=encoder,
        decoder=decoder,
        processor_group=processors.ProcessorGroup(dag=chain),
        losses=[losses.SpectralLoss(loss_type="L1", mag_weight=1.0, logmag_weight=1.0)],
    )
    sound = coarse(random.normal(size=(2, samples)) * 0.1)
    f0 = (np.linspace(200, 900, frames) * np.array([[1.0], [0.5]])).astype(np.float32)
    white = coarse(random.uniform(-1, 1, (2, samples)))
    features = {"audio": sound, "f0_hz": f0, "loudness_db": np.zeros((2, frames), "f4")}
    synths.tf.random.uniform = lambda *_, **__: tf.constant(white)  # the noise injected; `tf` is another module there
    model(dict(features), training=True)
    for variable in model.trainable_variables:
        scale = 0.05 if "ir" in variable.name else 0.3
        variable.assign(variable + (random.normal(size=variable.shape) * scale).astype(np.float32))
    with tf.GradientTape() as tape:
        outputs, parts = model(dict(features), return_losses=True, training=True)
        magnitudes = losses.SpectralLoss(mag_weight=1.0, logmag_weight=0.0).call(sound, outputs["audio_synth"])
    variables = named(model, room if reverb_taps else None)
    gradients = tape.gradient(magnitudes, [variable for variable, _ in variables.values()])
    mfcc = spectral_ops.compute_mfcc(sound, 20.0, 8000.0, 1024, 128, 30, overlap=0.5, pad_end=True)
    results = {
        "in_audio": sound,
        "in_f0": f0,
        "in_noise": white,
        "mfcc": mfcc.numpy(),
        "loudness": outputs["loudness_db"].numpy()[..., 0],
        "sound": outputs["audio_synth"].numpy(),
        "loss": parts["total_loss"].numpy(),
    }
    for (name, (variable, turn)), gradient in zip(variables.items(), gradients, strict=True):
        results[f"weight/{name}"] = turn(variable.numpy())
        results[f"gradient/{name}"] = turn(tf.convert_to_tensor(gradient).numpy())
    assert len(variables) == len(model.trainable_variables) + extra_biases(variables)
    return results


def named(model: models.Autoencoder, room: effects.Reverb | None) -> dict:
    """Variables by augrun's names, each with what turns its layout into torch's."""
    found: dict = {}

    def dense(name: str, layer: tf.keras.layers.Dense) -> None:
        found[f"{name}.weight"] = layer.kernel, np.transpose
        found[f"{name}.bias"] = layer.bias, np.array

    def gru(name: str, layer: tf.keras.layers.GRU) -> None:
        cell = layer.cell
        found[f"{name}.weight_ih_l0"] = cell.kernel, gates
        found[f"{name}.weight_hh_l0"] = cell.recurrent_kernel, gates
        found[f"{name}.bias_ih_l0"] = cell.bias, lambda value: gates(value[:1])[:, 0]
        found[f"{name}.bias_hh_l0"] = cell.bias, lambda value: gates(value[1:])[:, 0]

    def stack(name: str, layers: tf.keras.Sequential) -> None:
        for place, block in enumerate(layers.layers):
            dense(f"{name}.{3 * place}", block.layers[0])
            found[f"{name}.{3 * place + 1}.weight"] = block.layers[1].gamma, np.array
            found[f"{name}.{3 * place + 1}.bias"] = block.layers[1].beta, np.array

    if model.encoder is not None:
        found["encoder.norm.weight"] = model.encoder.z_norm.scale, np.ravel
        found["encoder.norm.bias"] = model.encoder.z_norm.shift, np.ravel
        gru("encoder.recurrent", model.encoder.rnn.rnn)
        dense("encoder.out", model.encoder.dense_out)
    for place, layers in enumerate(model.decoder.input_stacks):
        stack(f"decoder.stacks.{place}", layers)
    gru("decoder.recurrent", model.decoder.rnn.rnn)
    stack("decoder.last", model.decoder.out_stack)
    dense("decoder.out", model.decoder.dense_out)
    if room is not None:
        found["reverb"] = room._ir, np.array
    return found


def gates(value: np.ndarray) -> np.ndarray:
    """Keras's update, reset, candidate in columns to torch's reset, update, candidate in rows."""
    update, reset, candidate = np.split(value, 3, axis=1)
    return np.concatenate([reset, update, candidate], axis=1).T


def extra_biases(variables: dict) -> int:
    """Keras keeps a GRU's two biases in one variable."""
    return sum(name.endswith("bias_hh_l0") for name in variables)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT)
