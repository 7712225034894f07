"""Times SampleRNN's sampling at paper size: samples a second against batch size, and the share of the arithmetic floor.

    python scripts/bench_samplernn.py [--batches 1 16 64 128] [--samples 256] [--hours 0.01]
    python scripts/bench_samplernn.py --device cuda --batches 1 100 512 1440 --hours 8

Timed turn by turn in one process, over the same random weights:
- machine: nothing but the matrix products that sampling cannot do without, each at its own shape: as
  torch.nn.functional.linear, with packed weights, and as the sampler does them (on a GPU as a CUDA graph); the fastest
  is the machine's rate;
- fast: augrun.generators.samplernn.sampling, in float32 and in bfloat16, a line each;
- plain: a PyTorch loop in float32 that runs the network's own layers for every sample, at the same batch and at 1.

Medians of the turns count. Waiting threads sleep rather than spin: beside other work on the same cores, spinning costs
several times the arithmetic.

`--hours` then makes so many hours of sound with the generator itself, from recordings (noise) to files: samples of
`--seconds`, each with a prime of `--prime` seconds in it, as Godwin et al. 2021 (Table II) count their eight.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import benching
import numpy as np
import pandas as pd
import soundfile
import torch
from benching import Row
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import parametrize

from augrun.core.job import Hardware, Job
from augrun.core.runtime.malloc import keep_memory
from augrun.generators import samplernn
from augrun.generators.requests import REQUEST_COLUMNS, GenerationInputs
from augrun.generators.samplernn.model import SampleRNN
from augrun.generators.samplernn.sampling import Sampler, split
from augrun.generators.samplernn.steps import Form, Layer, packs, record

RATE = 16000
V100 = 24.0  # seconds of audio a second at batch 100, a known implementation on a V100
KINDS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
COLUMNS = ("batch", "precision", "fast/s", "audio s/s", "GFLOPS", "machine", "share", "plain/s", "/plain", "/plain 1")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 16, 64, 128])
    parser.add_argument(
        "--samples", type=int, help="made of each in a turn (plain: a quarter, 256 at most); 256, on a GPU 4096"
    )
    parser.add_argument("--turns", type=int, default=benching.TURNS)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--precisions", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--hours", type=float, default=0.0, help="of sound to make with the generator itself")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a sample, its prime included")
    parser.add_argument("--prime", type=float, default=4.0, help="seconds of it")
    parser.add_argument("--rows", type=int, help="samples made at once; the generator's own choice")
    benching.options(parser)
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    module = SampleRNN(classes=4, dim=options.dim).to(options.device).eval()
    flops = sum(2 * outputs * inputs * times for outputs, inputs, times in products(module)) / module.context
    says = f"{sum(p.numel() for p in module.parameters()):,} parameters, {flops / 1e6:.2f} MFLOP a sample"
    print(f"dim {options.dim}, random weights, {says} ({flops * RATE / 1e9:.0f} GFLOP a second of audio)")
    name = torch.cuda.get_device_name() if options.device.startswith("cuda") else f"{options.threads} threads"
    print(f"{options.device}: {name}, torch {torch.__version__}, load {load()}")
    if options.batches:
        benching.leave(list(table(module, flops, options)), options.json)
    for precision in options.precisions if options.hours else ():
        long_run(options, precision)


def load() -> str:
    """Of the machine, where it says."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"


def table(module: SampleRNN, flops: float, options: argparse.Namespace) -> Iterator[Row]:
    """Prints a line for each batch size and precision; yields them as rows."""
    samples = options.samples or (256 if options.device == "cpu" else 4096)
    print(*(f"{head:>9s}" for head in COLUMNS), "     load", flush=True)
    for rows in sorted(set(options.batches)):
        found = measured(module, rows, samples, options.turns, options.precisions)
        plain_rate, single = (statistics.median(found[name]) for name in ("plain", "plain 1"))
        for precision in options.precisions:
            each, bare = found[precision], found[f"{precision} products"]
            fast, machine = statistics.median(each), statistics.median(bare)
            gflops = fast * flops / 1e9
            cells = [f"{rows:9d}", f"{precision:>9s}", f"{fast:9.0f}", f"{fast / RATE:9.3f}", f"{gflops:9.1f}"]
            cells += [f"{machine:9.1f}", f"{gflops / machine:9.2f}", f"{plain_rate:9.0f}"]
            cells += [f"{fast / plain_rate:9.1f}", f"{fast / single:9.1f}", f"{load():>9s}"]
            print(*cells, flush=True)
            size = "the paper's size" if options.dim == 1024 else f"{options.dim} units"
            what = f"SampleRNN of {size} sampling {rows} at once, {precision}"
            spoken = [rate / RATE for rate in each]
            loop = [rate / RATE for rate in found["plain"]]
            floor = [rate * 1e9 / flops / RATE for rate in bare]
            unit = "s of sound a s"
            yield benching.row(what, spoken, loop, "a plain loop, float32, as many at once", unit=unit, rates=True)
            against = "nothing but its matrix products"
            yield benching.row(what, spoken, floor, against, unit=unit, rates=True, how=benching.COST)
        if rows == 100:
            print(f"          a known implementation on a V100 makes {V100:g} s of audio a second at batch 100")


def measured(
    module: SampleRNN, rows: int, samples: int, turns: int, precisions: Sequence[str]
) -> dict[str, list[float]]:
    """Of each turn: samples a second of plain over all rows and at one, and of each precision; GFLOPS of the bare
    products."""
    classes = np.eye(module.classes, dtype=np.float32)[np.arange(rows) % module.classes]
    primes, seeds = [np.zeros(0, np.int16)] * rows, range(rows)
    fewer = min(256, max(module.context, samples // 4))
    fast = {name: Sampler(module, device=module.device, precision=name) for name in precisions}
    bare = {name: bare_products(module, rows, KINDS[name]) for name in precisions}
    for sampler in fast.values():
        sampler(primes, classes, seeds, module.context)
    plain(module, primes, classes, seeds, module.context)

    def rate(work: Callable[..., np.ndarray], count: int, *which: Any) -> float:
        rows = len(which[-1])
        return rows * count / seconds_of(lambda: work(*which, count), module.device)

    def plainly(*given: Any) -> np.ndarray:
        return plain(module, *given)

    works: dict[str, Callable[[], float]] = {
        "plain": lambda: rate(plainly, fewer, primes, classes, seeds),
        "plain 1": lambda: rate(plainly, 256, primes[:1], classes[:1], seeds[:1]),
    }
    for name, sampler in fast.items():
        works[name] = lambda sampler=sampler: rate(sampler, samples, primes, classes, seeds)  # type: ignore[misc]
        works[f"{name} products"] = lambda name=name: max(run() for run in bare[name])  # type: ignore[misc]
    return benching.turns(works, turns, warm=0)


def products(module: SampleRNN) -> list[tuple[int, int, int]]:
    """(outputs, inputs, times) of each product in one frame of the topmost tier."""
    dim, context = module.dim, module.context
    shapes = [(dim, dim, context), (module.levels, dim, context)]
    for size, tier in zip(module.frame_sizes, module.tiers, strict=True):
        times = context // size
        shapes += [(dim, size, times), (tier.ratio * dim, dim, times)]
        shapes += [(3 * dim, dim, 2 * tier.recurrent.num_layers * times)]
    return shapes


def bare_products(module: SampleRNN, rows: int, kind: torch.dtype) -> list[Callable[[], float]]:
    """Functions that run one frame's products, each in its own way, and return their GFLOPS."""
    device, shapes = module.device, products(module)
    total = sum(2 * rows * outputs * inputs * times for outputs, inputs, times in shapes)
    parts, threads = split(rows, module.dim, device)
    whole = torch.get_num_threads()

    def frame(count: int, way: str) -> Callable[[], None]:
        works: list[tuple[Callable[..., Any], tuple[Any, ...], int]] = []
        for outputs, inputs, times in shapes:
            form = Form(device, count, kind)
            x = form.zeros(count, inputs).normal_() if way == "sampler" else torch.randn(count, inputs).to(device, kind)
            weight, bias = torch.randn(outputs, inputs).to(device, kind), torch.randn(outputs).to(device, kind)
            if way == "sampler":
                works.append((Layer(weight, bias, form).product(count), (x,), times))
            elif way == "packed":
                order = torch.ops.mkldnn._reorder_linear_weight(weight, count)
                works.append((torch.ops.mkldnn._linear_pointwise, (x, order, bias, "none", [], ""), times))
            else:
                works.append((functional.linear, (x, weight, bias), times))

        @torch.inference_mode()
        def run() -> None:
            for product, given, times in works:
                for _ in range(times):
                    product(*given)

        if device.type == "cuda":
            with torch.inference_mode():
                graph = record(run)
            return lambda kept=works: graph.replay()  # the graph reads what `works` holds
        return run

    def timed(frames: Sequence[Callable[[], None]], each: int) -> Callable[[], float]:
        def run() -> float:
            with ThreadPoolExecutor(len(frames), initializer=torch.set_num_threads, initargs=(each,)) as pool:
                both = lambda: list(pool.map(lambda one: [one() for _ in range(2)], frames))  # noqa: E731
                both()
                rate = 2 * total / seconds_of(both, device) / 1e9
            torch.set_num_threads(whole)
            return rate

        return run

    if device.type == "cuda":
        return [timed([frame(rows, "linear")], whole)]
    split_up = [frame(part.stop - part.start, "sampler") for part in parts]
    ways = ("linear", "packed") if packs(kind) else ("linear",)
    return [*(timed([frame(rows, way)], whole) for way in ways), timed(split_up, threads)]


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    """How long a piece of work takes."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


@dataclass(frozen=True)
class Told(samplernn.SampleRNN):
    """The generator, which says how far it is."""

    def _continue(
        self, sampler: Any, group: pd.DataFrame, classes: int, job: Job, advance: Callable[[int], Any]
    ) -> None:
        total, begun = self._steps(group), time.perf_counter()
        done, said = 0, begun

        def tell(count: int) -> None:
            nonlocal done, said
            done += count
            if time.perf_counter() > said + 10:
                said = time.perf_counter()
                print(f"  {len(group)} samples: {done / total:.0%} after {said - begun:.0f} s", flush=True)

        super()._continue(sampler, group, classes, job, tell)
        print(f"  {len(group)} samples made and written in {time.perf_counter() - begun:.1f} s", flush=True)


def long_run(options: argparse.Namespace, precision: str) -> None:
    """Makes `--hours` of sound with the generator and says how long that took."""
    generator = Told(
        dim=options.dim, sample_s=options.seconds, prime_s=options.prime, precision=precision, batch_size=options.rows
    )
    count, names = max(1, round(options.hours * 3600 / options.seconds)), ("a", "b", "c", "d")
    print(f"{options.hours:g} h with the generator, {precision}, random weights, noise for primes:", flush=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "out").mkdir()
        torch.manual_seed(0)
        torch.save(generator.network(len(names)).state_dict(), folder / samplernn.MODEL)
        (folder / samplernn.SETTINGS).write_text(json.dumps(asdict(generator) | {"classes": names}))
        noise = np.random.default_rng(0).normal(0, 0.1, round(RATE * (options.prime + 8))).astype(np.float32)
        soundfile.write(folder / "noise.wav", noise, RATE)
        rows = [
            (f"{k:06d}", k % 4, (k % 4,), options.seconds, "n", str(folder / "noise.wav"), k % 64 / 8, options.prime, k)
            for k in range(count)
        ]
        requests = pd.DataFrame(rows, columns=list(REQUEST_COLUMNS))
        accelerator = "cpu" if options.device == "cpu" else "gpu"
        hardware = Hardware(accelerator=accelerator, workers=os.cpu_count() or 1, progress=False)
        start = time.perf_counter()
        generator.generate(GenerationInputs(requests, names, folder, Job(folder / "out", hardware=hardware)))
        wall = time.perf_counter() - start
        made = sum(soundfile.info(path).frames for path in (folder / "out").glob("*.wav")) / RATE
    new = made - count * options.prime
    print(f"  {count} samples, {made / 3600:.3f} h of sound in {wall:.1f} s of wall time, from files to files:")
    print(
        f"  {made / wall:.2f} s a second counting whole samples, {new / wall:.2f} counting only what follows the primes"
    )


@torch.inference_mode()
def plain(
    module: SampleRNN,
    primes: Sequence[np.ndarray],
    classes: np.ndarray,
    seeds: Sequence[int],
    samples: int,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> np.ndarray:
    """What `Sampler` does, written down plainly: the network's own layers, one sample after the other.

    All primes are of one length. Returns codes (B, samples).
    """
    context, rows, device = module.context, len(primes), module.device
    given = np.stack(primes)
    before = context + -given.shape[1] % context
    codes = torch.full((rows, before + given.shape[1] + samples), module.silence, device=device)
    codes[:, before : before + given.shape[1]] = torch.from_numpy(given)
    begin = before + given.shape[1]
    told = torch.from_numpy(classes).to(device)
    drawn = np.stack([np.random.default_rng(seed).random(samples, np.float32) for seed in seeds])
    uniforms = torch.from_numpy(drawn).to(device)
    with parametrize.cached():  # weights are normalised once
        state: list[Tensor | None] = [None] * len(module.tiers)
        if given.size:
            state = list(module(codes[:, :begin], told)[1])
        conditions: list[Tensor | None] = [None] * len(module.tiers)
        for sample in range(samples):
            now = begin + sample
            for level in reversed(range(len(module.tiers))):
                tier, size = module.tiers[level], module.frame_sizes[level]
                if sample % size == 0:
                    frame, above = module.scaled(codes[:, None, now - size : now]), None
                    if level + 1 < len(module.tiers):
                        step = sample % module.frame_sizes[level + 1] // size
                        above = conditions[level + 1][:, step : step + 1]
                    hidden, state[level] = tier.recur(frame, above, told, state[level])
                    conditions[level] = tier.spread(hidden)
            size = module.frame_sizes[0]
            step = sample % size
            first = module.perceptron.convolved(codes[:, now - size : now])
            logits = module.perceptron.rest(first, conditions[0][:, step : step + 1])[:, 0]
            chances = (logits / temperature).softmax(1)
            if top_k is not None:
                likeliest, places = chances.topk(top_k, 1)
                chances = torch.zeros_like(chances).scatter(1, places, likeliest)
            rising = chances.cumsum(1)
            threshold = uniforms[:, sample : sample + 1] * rising[:, -1:]
            codes[:, now] = torch.searchsorted(rising, threshold, right=True)[:, 0]
    return codes[:, begin:].cpu().numpy()


if __name__ == "__main__":
    main()
