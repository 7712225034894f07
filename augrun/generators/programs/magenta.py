"""Trains the autoencoder of Google Magenta's `ddsp` 3.7.0 and reconstructs sounds with it.

Runs in the environment that scripts/setup_ddsp_env.sh makes, started by augrun.generators.ddsp.magenta:

    python magenta.py fit SETTINGS.json
    python magenta.py generate SETTINGS.json

Model, losses and synthesisers are the package's, put together by its own `ae.gin` and the bindings in the settings. The
loop is its trainer's (Adam, falling rate, clipped gradients), written out so that a killed training continues to the
same weights: the windows and the noise of a step depend on the seed and the step alone.
"""

import json
import os
import sys
import types
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.modules.setdefault("crepe", types.ModuleType("crepe"))  # imported by ddsp, used only to extract f0

WEIGHTS, HISTORY = "weights.npz", "history.jsonl"


def main(verb, settings_path):
    settings = json.loads(Path(settings_path).read_text(encoding="utf-8"))
    {"fit": fit, "generate": generate}[verb](settings)


def fit(settings):
    """Trains on windows of sound, and leaves `weights.npz` and `history.jsonl`."""
    import numpy as np
    import tensorflow as tf

    folder = Path(settings["fitted"])
    model, noise = build(settings)
    rates = tf.keras.optimizers.schedules.ExponentialDecay(
        settings["learning_rate"], settings["decay_steps"], settings["decay"]
    )
    optimizer = tf.keras.optimizers.legacy.Adam(rates)
    done = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, done=done)
    manager = tf.train.CheckpointManager(checkpoint, str(Path(settings["folder"]) / "checkpoints"), max_to_keep=1)
    variables = model.trainable_variables

    @tf.function
    def step(audio, f0_hz, white):
        noise.give(white)
        with tf.GradientTape() as tape:
            _, losses = model(features_of(audio, f0_hz), return_losses=True, training=True)
        noise.require_taken()
        gradients = tape.gradient(losses["total_loss"], variables)
        gradients, _ = tf.clip_by_global_norm(gradients, settings["gradient_clip"])
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return losses["total_loss"]

    if manager.latest_checkpoint:
        optimizer._create_all_weights(variables)
        checkpoint.restore(manager.latest_checkpoint).assert_consumed()
        print(f"going on after step {int(done):,}")
    windows = Windows(settings)
    print(f"{len(windows):,} windows, {sum(int(np.prod(v.shape)) for v in variables):,} parameters")
    history = kept_history(folder / HISTORY, int(done))
    losses = []
    while int(done) < settings["steps"]:
        now = int(done)
        white = np.random.default_rng([settings["seed"], 2, now]).uniform(-1, 1, (settings["batch_size"], windows.size))
        losses.append(float(step(*windows.batch(now), white.astype(np.float32))))
        done.assign_add(1)
        if (now + 1) % settings["steps_per_save"] == 0 or now + 1 == settings["steps"]:
            if not np.isfinite(losses).all():
                sys.exit(f"the loss is not finite before step {now + 1}; lower generator.learning_rate")
            history.append({"step": now + 1, "loss": float(np.mean(losses))})
            losses.clear()
            replace(folder / HISTORY, "".join(f"{json.dumps(entry)}\n" for entry in history).encode())
            manager.save()
            print(f"step {now + 1:,} of {settings['steps']:,}: loss {history[-1]['loss']:.3f}")
    fresh = folder / f".new.{WEIGHTS}"
    np.savez(fresh, **{f"{place:03d}": variable.numpy() for place, variable in enumerate(model.weights)})
    os.replace(fresh, folder / WEIGHTS)


def generate(settings):
    """Reconstructs the prime of each request, one at a time, so that no sample depends on another."""
    import numpy as np
    import soundfile
    import tensorflow as tf

    model, noise = build(settings)
    with np.load(Path(settings["fitted"]) / WEIGHTS) as weights:
        model.set_weights([weights[f"{place:03d}"] for place in range(len(model.weights))])
    folder, size = Path(settings["folder"]), settings["samples"]

    @tf.function
    def sound_of(audio, f0_hz, white):
        noise.give(white)
        outputs = model(features_of(audio, f0_hz), training=False)
        noise.require_taken()
        return model.get_audio_from_outputs(outputs)

    lines = Path(settings["requests"]).read_text(encoding="utf-8").splitlines()
    with open(settings["reply"], "a", encoding="utf-8") as reply:
        for number, request in enumerate(map(json.loads, lines), 1):
            audio = np.zeros((1, size), np.float32)
            prime = soundfile.read(request["prime"], dtype="float32")[0][:size]
            audio[0, : len(prime)] = prime
            white = np.random.default_rng(request["seed"]).uniform(-1, 1, (1, size)).astype(np.float32)
            sound = sound_of(audio, np.load(request["f0_hz"])[None], white).numpy()[0]
            path = folder / request["file"]
            sound = np.clip(sound[: request["samples"]], -1, 1)
            soundfile.write(path, sound, request["sample_rate"], subtype="PCM_16")
            reply.write(json.dumps({"sample_id": request["sample_id"], "file": request["file"]}) + "\n")
            reply.flush()
            if number % 50 == 0 or number == len(lines):
                print(f"{number:,} of {len(lines):,} samples")


def build(settings):
    """The model of ae.gin with the settings' bindings, its weights drawn from the seed, and the source of its noise."""
    import ddsp
    import gin
    import numpy as np
    import tensorflow as tf
    from ddsp.training import models

    if settings["threads"]:
        tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
    tf.keras.utils.set_random_seed(settings["seed"] % 2**31)
    tf.config.experimental.enable_op_determinism()
    folder = Path(ddsp.__file__).parent / "training" / "gin"
    gin.add_config_file_search_path(str(folder))
    gin.parse_config_files_and_bindings([str(folder / "models" / "ae.gin")], settings["bindings"], skip_unknown=True)
    model = models.Autoencoder()
    silence = np.zeros((1, settings["samples"]), np.float32)
    model(features_of(silence, np.full((1, settings["frames"]), 200, np.float32)), training=True)  # makes the weights
    noise = Noise()
    ddsp.synths.tf.random.uniform = noise.uniform  # from now on only `FilteredNoise` asks for it
    return model, noise


class Noise:
    """Gives the noise of the step at hand in the place of TensorFlow's, which depends on all that was drawn before."""

    def give(self, white):
        self.given, self.taken = white, False

    def uniform(self, shape, minval=0, maxval=None, **_):
        if self.taken or (minval, maxval) != (-1.0, 1.0) or list(shape) != list(self.given.shape):
            raise ValueError(f"noise of shape {shape} from {minval} to {maxval} was not expected")
        self.taken = True
        return self.given

    def require_taken(self):
        if not self.taken:
            raise ValueError("nothing asked for the noise of this step: the package draws it in another way")


def features_of(audio, f0_hz):
    """What the model takes; it computes loudness itself, so the values given only have the right shape."""
    import tensorflow as tf

    return {"audio": audio, "f0_hz": f0_hz, "loudness_db": tf.zeros_like(f0_hz)}


class Windows:
    """The windows that augrun cut and analysed: a row each, beginning with the sound (16 bit) and the fundamental."""

    def __init__(self, settings):
        import numpy as np

        self.size, self.frames = settings["samples"], settings["frames"]
        self.batch_size, self.seed = settings["batch_size"], settings["seed"]
        self.rows = np.memmap(settings["windows"], dtype="<f4", mode="r").reshape(-1, settings["width"])
        self.order = lru_cache(maxsize=2)(self.shuffled)

    def __len__(self):
        return len(self.rows)

    def shuffled(self, epoch):
        import numpy as np

        return np.random.default_rng([self.seed, 1, epoch]).permutation(len(self))

    def batch(self, step):
        """Sound (batch, samples) and fundamental in Hz (batch, frames): every window once before any comes again."""
        import numpy as np

        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        rows = [np.array(self.rows[self.order(place // len(self))[place % len(self)]]) for place in places]
        at = (self.size + 1) // 2
        audio = np.stack([row[:at].view("<i2")[: self.size].astype(np.float32) / np.float32(32767) for row in rows])
        return audio, np.stack([row[at : at + self.frames] for row in rows])


def kept_history(path, step):
    """The entries up to the step that training goes on from."""
    if not path.exists():
        return []
    entries = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [entry for entry in entries if entry["step"] <= step]


def replace(path, content):
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    os.replace(fresh, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
