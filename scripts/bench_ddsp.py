"""Times a training step at the size of ae.gin: Magenta's ddsp 3.7.0 against augrun's, turn by turn in one run.

    python scripts/bench_ddsp.py [--env .venv-ddsp] [--steps 5] [--batch 4]

Magenta's runs as a process of its own in the environment that scripts/setup_ddsp_env.sh makes, and waits while augrun's
has its turn. A step is: synthesise, loss, gradients, clip, Adam. Prints the median seconds of both and their ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import numpy as np

# Threads that wait sleep instead of spinning (torch's OpenMP; TensorFlow's own threads do so anyway): beside other
# work on the same cores, spinning costs several times the arithmetic.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

RATE, SECONDS, FRAMES = 16000, 4, 1000


def main() -> None:
    """Takes turns and prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", type=Path, default=Path(".venv-ddsp"), help="Magenta's environment")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each")
    parser.add_argument("--batch", type=int, default=4, help="4-second examples in a step")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads that each may use")
    parser.add_argument("--magenta", action="store_true", help=argparse.SUPPRESS)  # the process that is waited for
    options = parser.parse_args()
    if options.magenta:
        serve(magenta_step(options.batch, options.threads))
        return
    python = options.env / "bin" / "python"
    if not python.exists():
        sys.exit(f"{python} is not there: run scripts/setup_ddsp_env.sh {options.env}")
    command = [str(python), __file__, "--magenta", f"--batch={options.batch}", f"--threads={options.threads}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        parameters = int(ask(other.stdin, other.stdout))
        ours = augrun_step(options.batch, options.threads)
        print(f"{'step':>6s} {'magenta s':>10s} {'augrun s':>10s}")
        pairs = []
        for step in range(options.steps):
            pairs.append((float(ask(other.stdin, other.stdout)), ours()))
            print(f"{step + 1:6d} {pairs[-1][0]:10.2f} {pairs[-1][1]:10.2f}", flush=True)
        other.stdin.close()
    magenta, augrun = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"{'median':>6s} {magenta:10.2f} {augrun:10.2f}   ratio {augrun / magenta:.2f}")
    print(f"ae.gin, {parameters:,} parameters, batch {options.batch} of {SECONDS} s, {options.threads} threads")


def ask(questions: IO[str], answers: IO[str]) -> str:
    """One turn of the other process."""
    questions.write("\n")
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


def serve(step: tuple[int, object]) -> None:
    """Answers the first line on stdin with the number of parameters, each further one with the seconds of a step."""
    parameters, run = step
    sys.stdin.readline()
    print(parameters, flush=True)
    for _ in sys.stdin:
        print(run(), flush=True)  # type: ignore[operator]


def magenta_step(size: int, threads: int) -> tuple[int, object]:
    """The package's model from its own gin file, compiled, and its trainer's step."""
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

    def run() -> float:
        start = time.perf_counter()
        float(step(features))
        return time.perf_counter() - start

    run(), run()
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables), run


def augrun_step(size: int, threads: int):  # type: ignore[no-untyped-def]
    """The same step of augrun's module; loudness and MFCCs are computed in it, as in Magenta's."""
    import torch

    from augrun.allocator import keep_memory
    from augrun.generators.ddsp_analysis import loudness, mfcc
    from augrun.generators.ddsp_model import DDSPAutoencoder
    from augrun.generators.ddsp_synthesis import upsample_linear

    keep_memory()
    torch.set_num_threads(threads)
    module = DDSPAutoencoder()
    optimizer = module.configure_optimizers()["optimizer"]
    given = {name: torch.from_numpy(array) for name, array in batch(size).items()}

    def run() -> float:
        start = time.perf_counter()
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
        return time.perf_counter() - start

    run(), run()
    return run


if __name__ == "__main__":
    main()
