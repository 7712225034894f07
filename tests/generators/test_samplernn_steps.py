"""SampleRNN's unrolled steps: parts of a batch, layouts, precision, and what a GPU would be asked to do."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from augrun.generators.samplernn.model import SampleRNN
from augrun.generators.samplernn.sampling import Sampler, split
from augrun.generators.samplernn.steps import Form, Stepper, Weights
from tests.generators.test_samplernn_sampling import bench, network, primes_for, told  # noqa: F401

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")


def forced_logits(module: SampleRNN, codes: torch.Tensor, classes: torch.Tensor, form: Form) -> torch.Tensor:
    """(B, T, Q) of steps that are told what comes, (B, T) codes of whole frames."""
    step, seen = Stepper(Weights(module, form), len(codes)), []
    context = module.context

    def forced(at: int, condition: torch.Tensor) -> None:
        seen.append(step.logits(at, condition).clone())
        step.recent[:, at] = codes[:, len(seen) - 1]

    with torch.inference_mode():
        step.begin(classes)
        step.restart(torch.arange(len(codes)))
        for _ in range(codes.shape[1] // context):
            step._tier(len(step.tiers) - 1, context, None, forced)
            step.recent[:, :context] = step.recent[:, context:].clone()
    return torch.stack(seen, 1)


def test_parts_of_a_batch_equal_the_plain_loop(bench: ModuleType) -> None:  # noqa: F811
    module = network(dim=480)
    primes, classes = primes_for(module, [20] * 75), told(module, 75)
    torch.set_num_threads(2)
    assert split(75, 480, CPU) == ([slice(0, 37), slice(37, 75)], 1)
    made = Sampler(module)(primes, classes, range(75), 40)
    assert torch.get_num_threads() == 2
    assert np.array_equal(made, bench.plain(module, primes, classes, range(75), 40))


def test_one_part_tells_for_all_how_far_it_is() -> None:
    module = network(dim=480)
    lengths = [5] * 74 + [100]
    primes, classes = primes_for(module, lengths), told(module, 75)
    alone = Sampler(module)(primes, classes, range(75), 20)
    torch.set_num_threads(2)
    told_how_far: list[int] = []
    assert np.array_equal(Sampler(module)(primes, classes, range(75), 20, told_how_far.append), alone)
    assert sum(told_how_far) == 112 + 32


@pytest.mark.parametrize(
    ("threads", "rows", "dim", "parts", "each"),
    [
        (1, 128, 1024, [128], 1),
        (2, 1, 1024, [1], 1),  # a second thread would wait more than it works
        (2, 16, 1024, [16], 2),
        (2, 63, 1024, [31, 32], 1),
        (2, 128, 64, [128], 1),
        (8, 64, 1024, [16] * 4, 2),
        (16, 256, 1024, [64] * 4, 4),
    ],
)
def test_split(monkeypatch: pytest.MonkeyPatch, threads: int, rows: int, dim: int, parts: list[int], each: int) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    slices, within = split(rows, dim, CPU)
    assert [part.stop - part.start for part in slices] == parts
    assert (slices[0].start, slices[-1].stop, within) == (0, rows, each)
    assert split(rows, dim, torch.device("cuda"))[0] == [slice(0, rows)]


def test_an_interrupted_batch_stops_in_all_its_parts() -> None:
    module = network(dim=480)
    torch.set_num_threads(2)
    calls: list[int] = []

    def interrupt(count: int) -> None:
        calls.append(count)
        if len(calls) == 3:
            raise KeyboardInterrupt

    start = time.process_time()
    with pytest.raises(KeyboardInterrupt):  # to the end it would take minutes
        Sampler(module)(primes_for(module, [0] * 75), told(module, 75), range(75), 300_000, interrupt)
    assert time.process_time() - start < 60  # seconds of CPU time, which other programs do not lengthen
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("samplernn")]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("rows", "columns"), [(15, False), (16, True)])
def test_layouts_compute_the_same(rows: int, columns: bool) -> None:
    module = network(dim=272)
    form = Form(CPU, rows)
    assert form.columns is columns
    assert form.zeros(3, 5).is_contiguous() is not columns
    codes = torch.randint(0, 32, (rows, 32))
    classes = torch.from_numpy(told(module, rows))
    with torch.no_grad():
        expected, _ = module(torch.nn.functional.pad(codes, (16, 0), value=16), classes)
    assert torch.allclose(forced_logits(module, codes, classes, form), expected, atol=2e-5)


def test_float32_is_float32_whatever_is_allowed() -> None:
    """Where torch may round products, to TF32 or bfloat16, sampling in float32 does not."""
    module = network(dim=272)
    given = (primes_for(module, [20] * 20), told(module, 20), range(20), 48)
    exact = Sampler(module)(*given)
    before = torch.get_float32_matmul_precision()
    reduced = torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    try:
        torch.set_float32_matmul_precision("medium")
        assert np.array_equal(Sampler(module)(*given), exact)
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        assert torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction == reduced
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("rows", [4, 20])
def test_bfloat16_predicts_what_float32_does(rows: int) -> None:
    """Bits a sample under teacher forcing within 0.002 on average; distributions within 0.005 (half the sum of absolute
    differences) on average; and the state, kept in float32, does not drift over 25 frames or more."""
    module = network(dim=272)
    codes = torch.randint(0, 32, (rows, 640 if rows < 10 else 400), generator=torch.Generator().manual_seed(2))
    classes = torch.from_numpy(told(module, rows))
    exact = forced_logits(module, codes, classes, Form(CPU, rows)).double().log_softmax(2)
    rough = forced_logits(module, codes, classes, Form(CPU, rows, torch.bfloat16)).double().log_softmax(2)
    off = 0.5 * (exact.exp() - rough.exp()).abs().sum(2)
    assert 1e-4 < float(off.mean()) < 0.005
    assert float(off[:, -160:].mean()) < 1.5 * float(off[:, :160].mean())
    bits = [-logs.gather(2, codes[..., None]).mean() / np.log(2) for logs in (exact, rough)]
    assert abs(float(bits[0] - bits[1])) < 0.002


def test_bfloat16_sampling_is_deterministic_and_draws_alike() -> None:
    """Two samplers make the same codes, and the levels are as frequent as those of float32."""
    module = network(dim=272)
    given = (primes_for(module, [20] * 20), told(module, 20), range(20), 480)
    one, other = (Sampler(module, precision="bfloat16")(*given) for _ in range(2))
    exact = Sampler(module)(*given)
    assert np.array_equal(one, other)
    assert not np.array_equal(one, exact)
    counts = [np.bincount(codes.ravel(), minlength=32) / codes.size for codes in (one, exact)]
    assert np.abs(counts[0] - counts[1]).sum() / 2 < 0.05


def test_bfloat16_is_kept_where_it_matters_not() -> None:
    weights = Weights(network(dim=272), Form(CPU, 20, torch.bfloat16))
    step = Stepper(weights, 20)
    low = [
        weights.table,
        weights.hidden.weight,
        *(layer.weight for layers in weights.tiers[0].layers for layer in layers),
    ]
    assert {tensor.dtype for tensor in low} == {torch.bfloat16}
    full = [weights.out, step.scores, *step.tiers[0].state, step.tiers[0].gates, step.tiers[0].candidate]
    assert {tensor.dtype for tensor in full} == {torch.float32}


class _Operations(TorchDispatchMode):
    """Counts what is computed, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        view = any(result.alias_info and not result.alias_info.is_write for result in function._schema.returns)
        if not view and function.namespace == "aten":
            self.counts[function._overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_frame_on_a_gpu_asks_nothing_of_the_host(kind: torch.dtype) -> None:
    """Shapes and devices alone, as no GPU is needed for them: all lies on the GPU, and nothing depends on data, which
    no CUDA graph could record. What makes a sample is few kernels: at a hundred rows a GPU waits for their starts."""
    with FakeTensorMode(), torch.device("cuda"):
        module = SampleRNN(classes=3, dim=64)
        step = Stepper(Weights(module, Form(torch.device("cuda"), 6, kind)), 6)
        with torch.no_grad():
            step.begin(torch.eye(3).repeat(2, 1))
            step.restart(torch.arange(6))
        found = []
        frames: list[Callable[[], None]] = [step._heard, step._sampled, lambda: step._sample(70, step.x)]
        for frame in frames:
            with torch.no_grad(), _Operations() as operations:
                frame()
            found.append(sum(operations.counts.values()))
        assert step.logits(70, step.x).device.type == "cuda"
    assert found[2] == (11 if kind == torch.float32 else 12)
    assert found[0] < 250
    assert found[1] < found[0] + 64 * found[2] + 10


def test_sampling_with_numbers_that_are_not_makes_levels_that_are() -> None:
    """Weights gone wrong end in noise, not in a level outside the table."""
    module = network()
    with torch.no_grad():
        module.perceptron.out.bias.fill_(float("nan"))
    made = Sampler(module)(primes_for(module, [5]), told(module, 1), [0], 40)
    assert made.min() >= 0
    assert made.max() < module.levels


def test_the_benchmark_really_makes_what_it_times(
    bench: ModuleType,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = (
        "--threads 1 --dim 16 --batches 1 100 --samples 64 --turns 1 --hours 0.0005 --seconds .5 --prime .1 --rows 3"
    )
    monkeypatch.setattr("sys.argv", ["bench_samplernn.py", *words.split()])
    bench.main()
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    assert [line[:2] for line in lines if line[1].startswith(("float", "bfloat"))] == [
        [rows, precision] for rows in ("1", "100") for precision in ("float32", "bfloat16")
    ]
    assert said.count("a V100 makes 24 s of audio a second at batch 100") == 1
    assert said.count("3 samples made and written") == said.count("1 samples made and written") == 2
    assert said.count("4 samples, 0.001 h of sound in") == 2
    whole, new = (float(figure) for figure in re.findall(r"([\d.]+) s a second counting whole.* ([\d.]+) cou", said)[0])
    assert new / whole == pytest.approx(0.8, abs=0.03)


@pytest.fixture
def gpu() -> Iterator[str]:
    """A GPU that computes in float32 what is float32, the plain loop too."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    places = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    for place in places:
        place.allow_tf32 = False
    yield "cuda"
    for place, allowed in zip(places, before, strict=True):
        place.allow_tf32 = allowed


@pytest.mark.parametrize("changes", [{}, {"classes": 0}, {"frame_sizes": (2, 4, 8), "layers": 1}, {"dim": 272}])
@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.7, 5)])
def test_graphs_on_a_gpu_equal_the_plain_loop(
    gpu: str,
    bench: ModuleType,  # noqa: F811
    changes: dict[str, Any],
    temperature: float,
    top_k: int | None,
) -> None:
    module = network(**changes).to(gpu)
    primes, classes = primes_for(module, [70] * 4), told(module, 4)
    given = (primes, classes, range(4), 333)
    plain = bench.plain(module, *given, temperature, top_k)
    for graphs in (True, False):
        assert np.array_equal(Sampler(module, temperature, top_k, gpu, graphs)(*given), plain)


def test_graphs_on_a_gpu_serve_batch_after_batch(gpu: str) -> None:
    """Primes of any length, more blocks of numbers than are drawn ahead, other batches in between, both precisions."""
    module = network()
    primes, classes = primes_for(module, [0, 5, 16, 17, 160]), told(module, 5)
    for precision in ("float32", "bfloat16"):
        sampler = Sampler(module, device=gpu, precision=precision)
        first = sampler(primes, classes, range(5), 1500)
        assert np.array_equal(
            first, Sampler(module, device=gpu, graphs=False, precision=precision)(primes, classes, range(5), 1500)
        )
        sampler(primes[:2], classes[:2], range(2), 20)
        assert np.array_equal(sampler(primes, classes, range(5), 1500), first)
        assert not np.array_equal(sampler(primes, classes, range(5, 10), 1500), first)
