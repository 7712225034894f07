"""Times DDSP at the size of ae.gin: Magenta's ddsp 3.7.0 against augrun's, turn by turn in one run.

    python scripts/bench_ddsp.py [--env .venv-ddsp] [--turns 5] [--batch 4]

Magenta's runs as a process of its own in the environment that scripts/setup_ddsp_env.sh makes, and waits while augrun's
has its turn. A step is: synthesise, loss, gradients, clip, Adam. Synthesis is of 100 harmonics and 65 bands of noise,
from their amplitudes. Of Python it needs nothing beyond its own library and numpy, as Magenta's process runs this file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

# Threads that wait sleep instead of spinning (torch's OpenMP; TensorFlow's own threads do so anyway): beside other
# work on the same cores, spinning costs several times the arithmetic.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

RATE, SECONDS, FRAMES = 16000, 4, 1000


def main() -> None:
    """Takes turns and prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", type=Path, default=Path(".venv-ddsp"), help="Magenta's environment")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4, help="4-second examples in a step")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads that each may use")
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    parser.add_argument("--magenta", action="store_true", help=argparse.SUPPRESS)  # the process that is waited for
    options = parser.parse_args()
    if options.magenta:
        serve(magenta_works(options.batch, options.threads))
        return
    import benching

    python = options.env / "bin" / "python"
    if not python.exists():
        why = "Magenta's ddsp is not installed beside augrun (make env-ddsp)"
        names = ("DDSP synthesis", "a DDSP training step")
        benching.leave([benching.Row(name, note=why) for name in names], options.json)
        return
    command = [str(python), __file__, "--magenta", f"--batch={options.batch}", f"--threads={options.threads}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        into, out = other.stdin, other.stdout
        parameters = int(ask(into, out, "parameters"))
        rows = []
        for what, ours in augrun_works(options.batch, options.threads).items():
            works = {"ours": ours, "theirs": lambda what=what: float(ask(into, out, what))}
            found = benching.turns(works, options.turns, warm=2)
            note = f"ae.gin, {options.batch} × {SECONDS} s, {options.threads} threads"
            name = {"step": f"a DDSP training step of {parameters:,} parameters", "synthesis": "DDSP synthesis"}[what]
            rows.append(benching.row(name, found["ours"], found["theirs"], "Magenta's ddsp 3.7.0", note=note))
        other.stdin.close()
    benching.leave(rows, options.json)


def ask(questions: IO[str], answers: IO[str], question: str) -> str:
    """One turn of the other process."""
    questions.write(f"{question}\n")
    questions.flush()
    answer = answers.readline()
    if not answer:
        sys.exit("Magenta's process ended early; its message is above")
    return answer


def batch(size: int) -> dict[str, np.ndarray]:
    """A gliding tone in noise."""
    random = np.random.default_rng(0)
    time_s = np.arange(FRAMES) / FRAMES * SECONDS
    f0 = np.tile(220 * 2 ** (np.sin(2 * np.pi * 0.3 * time_s) / 2), (size, 1)).astype(np.float32)
    sound = (random.normal(size=(size, RATE * SECONDS)) * 0.1).astype(np.float32)
    return {"audio": sound, "f0_hz": f0, "loudness_db": np.full((size, FRAMES), -30, np.float32)}


def controls(size: int) -> dict[str, np.ndarray]:
    """What steers the synthesis: amplitudes of 100 harmonics and of 65 bands of noise, float32."""
    random = np.random.default_rng(1)
    harmonics = random.random((size, FRAMES, 100)).astype(np.float32)
    harmonics /= harmonics.sum(-1, keepdims=True)
    noise = (random.random((size, FRAMES, 65)) * 1e-3).astype(np.float32)
    return {"harmonics": harmonics, "noise": noise, "f0_hz": batch(size)["f0_hz"][..., None]}


def serve(works: dict[str, Any]) -> None:
    """Answers each line on stdin: the number of parameters, or the seconds that the work of this name takes now."""
    for line in sys.stdin:
        asked = works[line.strip()]
        print(asked() if callable(asked) else asked, flush=True)


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """A work that returns its own seconds."""

    def run() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return run


def magenta_works(size: int, threads: int) -> dict[str, Any]:
    """The package's model from its own gin file, compiled, and its trainer's step; its synthesisers, compiled."""
    import types

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.modules.setdefault("crepe", types.ModuleType("crepe"))
    import ddsp
    import gin
    import tensorflow as tf
    from ddsp.training import models

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    folder = Path(ddsp.__file__).parent / "training" / "gin"
    gin.add_config_file_search_path(str(folder))
    gin.parse_config_file(str(folder / "models" / "ae.gin"), skip_unknown=True)
    model, optimizer, features = models.Autoencoder(), tf.keras.optimizers.legacy.Adam(3e-4), batch(size)

    @tf.function
    def step(given: dict) -> tf.Tensor:
        with tf.GradientTape() as tape:
            _, parts = model(given, return_losses=True, training=True)
        gradients = tape.gradient(parts["total_loss"], model.trainable_variables)
        gradients, _ = tf.clip_by_global_norm(gradients, 3.0)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return parts["total_loss"]

    step(features)  # the variables come with it
    given = controls(size)
    harmonic = ddsp.synths.Harmonic(n_samples=RATE * SECONDS, sample_rate=RATE)
    noise = ddsp.synths.FilteredNoise(n_samples=RATE * SECONDS, window_size=0)

    @tf.function
    def sound(harmonics: tf.Tensor, bands: tf.Tensor, f0_hz: tf.Tensor) -> tf.Tensor:
        return harmonic.get_signal(tf.ones_like(f0_hz), harmonics, f0_hz) + noise.get_signal(bands)

    tensors = [tf.constant(given[name]) for name in ("harmonics", "noise", "f0_hz")]
    return {
        "parameters": sum(int(np.prod(variable.shape)) for variable in model.trainable_variables),
        "step": timed(lambda: float(step(features))),
        "synthesis": timed(lambda: sound(*tensors).numpy()),
    }


def augrun_works(size: int, threads: int) -> dict[str, Callable[[], float]]:
    """The same step of augrun's module; loudness and MFCCs are computed in it, as in Magenta's. And the same sounds."""
    import torch

    from augrun.core.runtime.malloc import keep_memory
    from augrun.generators.ddsp.analysis import loudness, mfcc
    from augrun.generators.ddsp.model import DDSPAutoencoder
    from augrun.generators.ddsp.synthesis import filter_noise, harmonic_sound, upsample_linear

    keep_memory()
    torch.set_num_threads(threads)
    module = DDSPAutoencoder()
    optimizer = module.configure_optimizers()["optimizer"]
    given = {name: torch.from_numpy(array) for name, array in batch(size).items()}

    steering = {name: torch.from_numpy(array) for name, array in controls(size).items()}

    def step() -> None:
        audio = given["audio"]
        heard = loudness(audio, RATE, RATE * SECONDS // FRAMES)[..., None]
        given["loudness_db"] = upsample_linear(heard, FRAMES)[..., 0]
        given["mfcc"] = mfcc(audio, RATE, 1024, 512)
        loss = module.loss(given, torch.rand_like(audio) * 2 - 1)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 3.0)
        optimizer.step()
        loss.item()

    @torch.inference_mode()
    def synthesis() -> None:
        white = torch.rand(size, RATE * SECONDS) * 2 - 1
        sound = harmonic_sound(steering["harmonics"], steering["f0_hz"], RATE * SECONDS, RATE)
        (sound + filter_noise(white, steering["noise"])).numpy()

    return {"synthesis": timed(synthesis), "step": timed(step)}


if __name__ == "__main__":
    main()
