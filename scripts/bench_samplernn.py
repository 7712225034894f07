"""Times SampleRNN's sampling at paper size: samples a second against batch size, and the share of the arithmetic floor.

    python scripts/bench_samplernn.py [--batches 1 16 64 128] [--samples 256] [--device cuda]

Three things are timed turn by turn in one process, over the same random weights:
- the products: nothing but the matrix products that sampling cannot do without, each at its own shape, through
  torch.nn.functional.linear and, on a processor, with packed weights too; the faster of both is the machine's rate;
- fast: augrun.generators.samplernn_sampling;
- plain: a PyTorch loop that runs the network's own layers for every sample (also at batch 1).

Medians of the turns count. Waiting threads sleep rather than spin: beside other work on the same cores, spinning costs
several times the arithmetic.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import parametrize

from augrun.allocator import keep_memory
from augrun.generators.samplernn_model import SampleRNN
from augrun.generators.samplernn_sampling import Sampler

RATE = 16000
V100 = 24.0  # seconds of audio a second at batch 100, a known implementation on a V100


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64, 128])
    parser.add_argument("--samples", type=int, default=256, help="made of each in a turn (plain: a quarter)")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    module = SampleRNN(classes=4, dim=options.dim).to(options.device).eval()
    flops = sum(2 * outputs * inputs * times for outputs, inputs, times in products(module)) / module.context
    says = f"{sum(p.numel() for p in module.parameters()):,} parameters, {flops / 1e6:.2f} MFLOP a sample"
    print(f"dim {options.dim}, {says} ({flops * RATE / 1e9:.0f} GFLOP a second of audio)")
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{options.device}, {options.threads} threads, torch {torch.__version__}, {load}")
    heads = ("batch", "fast/s", "audio s/s", "GFLOPS", "machine", "share", "plain/s", "fast/plain", "load")
    print(" ".join(f"{head:>10s}" for head in heads), flush=True)
    single = 0.0
    for rows in sorted({1, *options.batches}):
        fast, plain_rate, machine = measured(module, rows, options.samples, options.turns)
        single = single or plain_rate
        gflops = fast * flops / 1e9
        cells = [f"{rows:10d}", f"{fast:10.0f}", f"{fast / RATE:10.3f}", f"{gflops:10.1f}", f"{machine:10.1f}"]
        cells += [f"{gflops / machine:10.2f}", f"{plain_rate:10.0f}", f"{fast / plain_rate:10.1f}"]
        print(*cells, f"{os.getloadavg()[0]:10.1f}" if load else "", flush=True)
        print(f"           {fast / single:.0f} times the plain loop at batch 1")
    if options.device != "cpu":
        print(f"a V100 at batch 100 is known to make {V100:g} s of audio a second")


def measured(module: SampleRNN, rows: int, samples: int, turns: int) -> tuple[float, float, float]:
    """Medians: samples a second of fast and of plain over all rows, GFLOPS of the bare products."""
    classes = np.eye(module.classes, dtype=np.float32)[np.arange(rows) % module.classes]
    primes, seeds = [np.zeros(0, np.int16)] * rows, range(rows)
    fast = Sampler(module, device=module.device)
    bare = [bare_products(module, rows, packed) for packed in (False, True)]
    fewer = max(module.context, samples // 4)
    fast(primes, classes, seeds, module.context)
    plain(module, primes, classes, seeds, module.context)
    speeds: list[tuple[float, ...]] = []
    for _ in range(turns):
        machine = max(run() for run in bare)
        one = rows * samples / seconds_of(lambda: fast(primes, classes, seeds, samples), module.device)
        other = rows * fewer / seconds_of(lambda: plain(module, primes, classes, seeds, fewer), module.device)
        speeds.append((one, other, machine))
    first, second, third = (statistics.median(each) for each in zip(*speeds, strict=True))
    return first, second, third


def products(module: SampleRNN) -> list[tuple[int, int, int]]:
    """(outputs, inputs, times) of each product in one frame of the topmost tier."""
    dim, context = module.dim, module.context
    shapes = [(dim, dim, context), (module.levels, dim, context)]
    for size, tier in zip(module.frame_sizes, module.tiers, strict=True):
        times = context // size
        shapes += [(dim, size, times), (tier.ratio * dim, dim, times)]
        shapes += [(3 * dim, dim, 2 * tier.recurrent.num_layers * times)]
    return shapes


def bare_products(module: SampleRNN, rows: int, packed: bool) -> Callable[[], float]:
    """A function that runs one frame's products and returns their GFLOPS."""
    device, works = module.device, []
    shapes = products(module)
    for outputs, inputs, times in shapes:
        x, weight = torch.randn(rows, inputs, device=device), torch.randn(outputs, inputs, device=device)
        bias = torch.randn(outputs, device=device)
        if packed and device.type == "cpu":
            order = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
            works.append((torch.ops.mkldnn._linear_pointwise, (x, order, bias, "none", [], ""), times))
        else:
            works.append((functional.linear, (x, weight, bias), times))
    total = sum(2 * rows * outputs * inputs * times for outputs, inputs, times in shapes)

    @torch.inference_mode()
    def run() -> float:
        def frame() -> None:
            for product, given, times in works:
                for _ in range(times):
                    product(*given)

        frame()
        return 2 * total / seconds_of(lambda: (frame(), frame()), device) / 1e9

    return run


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    """How long a piece of work takes."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


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
