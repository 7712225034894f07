"""SampleRNN's numbers: quantiser, network, and fast sampling against a plain loop over the network's own layers."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augrun.generators.samplernn.data import Quantiser, window_starts
from augrun.generators.samplernn.model import SampleRNN
from augrun.generators.samplernn.sampling import Sampler, rows_by_memory
from augrun.generators.samplernn.steps import draw

pytestmark = pytest.mark.usefixtures("one_thread")

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "bench_samplernn.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The benchmark's module, which holds the plain loop."""
    spec = importlib.util.spec_from_file_location("bench_samplernn", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def network(seed: int = 0, **changes: object) -> SampleRNN:
    """A small network that is sure of something: larger weights than it starts with, a state that is not zero."""
    torch.manual_seed(seed)
    arguments = {"classes": 3, "frame_sizes": (4, 16), "dim": 24, "layers": 2, "levels": 32, "silence": 16}
    module = SampleRNN(**(arguments | {"truncation": 64} | changes))  # type: ignore[arg-type]
    with torch.no_grad():
        for tier in module.tiers:
            tier.start.normal_()
        module.perceptron.out.bias.normal_()
    return module


def primes_for(module: SampleRNN, lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, module.levels, length).astype(np.int16) for length in lengths]


def told(module: SampleRNN, rows: int) -> np.ndarray:
    return np.eye(max(1, module.classes), module.classes, dtype=np.float32)[np.arange(rows) % max(1, module.classes)]


@pytest.mark.parametrize("scale", ["mu-law", "linear"])
@settings(max_examples=30, deadline=None)
@given(levels=st.integers(4, 1024), seed=st.integers(0, 99))
def test_quantiser_round_trip(scale: str, levels: int, seed: int) -> None:
    quantiser = Quantiser(levels, scale)  # type: ignore[arg-type]
    codes = np.arange(levels - 2 * ((levels - 1) // 2), levels)  # every code that is made
    assert np.array_equal(quantiser.encode(quantiser.decode(codes)), codes)
    assert int(quantiser.encode(np.zeros(1))[0]) == quantiser.silence
    assert float(quantiser.decode(np.array([quantiser.silence]))[0]) == 0.0
    sound = np.random.default_rng(seed).uniform(-1, 1, 100).astype(np.float32)
    made = quantiser.encode(sound)
    assert made.min() >= 0
    assert made.max() < levels
    assert np.array_equal(quantiser.decode(quantiser.encode(-sound)), -quantiser.decode(made))
    if scale == "linear":
        assert np.abs(quantiser.decode(made) - sound).max() <= 0.5 / ((levels - 1) // 2) + 1e-6


def test_quantiser_reaches_the_ends_and_clips() -> None:
    for scale in ("mu-law", "linear"):
        quantiser = Quantiser(256, scale)  # type: ignore[arg-type]
        assert quantiser.encode(np.array([-3.0, -1.0, 1.0, 7.0])).tolist() == [1, 1, 255, 255]
        assert quantiser.decode(np.array([0, 1, 255])).tolist() == [-1.0, -1.0, 1.0]
    quiet = np.full(5, 0.002, np.float32)  # -54 dB: half of a linear level, but one of mu-law's
    assert not Quantiser(256, "linear").decode(Quantiser(256, "linear").encode(quiet)).any()
    assert Quantiser(256).decode(Quantiser(256).encode(quiet)) == pytest.approx(quiet, rel=0.2)


def test_paper_size_has_52_million_parameters() -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in SampleRNN().parameters()) == 51_867_136


def test_table_equals_embedding_and_convolution() -> None:
    module = network()
    codes = torch.randint(0, 32, (3, 20))
    parameters = [module.perceptron.embedding.weight, *module.perceptron.first.parameters()]
    results = []
    for layer in (module.perceptron.convolved, module.perceptron.looked_up):
        made = layer(codes)
        assert made.shape == (3, 17, 24)
        results.append([made, *torch.autograd.grad(made.square().sum(), parameters)])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_state_carries_over_pieces() -> None:
    """One pass over 64 samples equals four over 16, and differs from four that forget."""
    module = network()
    codes = torch.randint(0, 32, (2, 16 + 64))
    classes = torch.eye(3)[:2]
    with torch.no_grad():
        whole, last = module(codes, classes)
        state, pieces, forgotten = None, [], []
        for start in range(0, 64, 16):
            logits, state = module(codes[:, start : start + 32], classes, state)
            pieces.append(logits)
            forgotten.append(module(codes[:, start : start + 32], classes)[0])
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=1e-5)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(state, last, strict=True))
    assert not torch.allclose(torch.cat(forgotten, 1), whole, atol=1e-2)


def test_nothing_is_seen_before_its_time() -> None:
    """A changed sample changes no prediction up to its own, and, through the tiers, all later frames."""
    module = network()
    codes = torch.randint(0, 32, (1, 16 + 64))
    changed = codes.clone()
    changed[0, 16 + 37] = (changed[0, 16 + 37] + 9) % 32
    with torch.no_grad():
        one, other = (module(given, torch.eye(3)[:1])[0][0] for given in (codes, changed))
    differs = (one - other).abs().amax(1) > 1e-6
    assert not differs[:38].any()
    assert differs[38:].all()


def test_teacher_forced_bits_equal_step_by_step_probabilities() -> None:
    """The likelihood of a sequence by the tiers at once, and by steps of the sampler that are told what comes."""
    module = network()
    codes = torch.randint(0, 32, (2, 48), generator=torch.Generator().manual_seed(1))
    classes = torch.eye(3)[:2]
    padded = torch.nn.functional.pad(codes, (16, 0), value=16)
    with torch.no_grad():
        logits, _ = module(padded, classes)
        at_once = float(module.bits(logits, codes, torch.ones_like(codes)))
    step = Sampler(module)._steppers([2])[0]
    seen: list[torch.Tensor] = []

    def forced(at: int, condition: torch.Tensor) -> None:
        seen.append(step.logits(at, condition).clone())
        step.recent[:, at] = codes[:, len(seen) - 1]

    with torch.inference_mode():
        step.begin(classes)
        step.restart(torch.arange(2))
        for _ in range(3):
            step._tier(1, 16, None, forced)
            step.recent[:, :16] = step.recent[:, 16:].clone()
        chances = torch.stack(seen, 1).double().softmax(2).gather(2, codes[..., None])
    assert at_once == pytest.approx(float(-chances.log2().sum()), rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"classes": 0},
        {"frame_sizes": (2, 4, 8), "layers": 1},
        {"frame_sizes": (4,)},
        {"dim": 272},  # large enough for packed products
    ],
)
@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.7, 5)])
def test_fast_equals_plain(bench: ModuleType, changes: dict, temperature: float, top_k: int | None) -> None:
    module = network(**changes)
    primes, classes = primes_for(module, [70] * 5), told(module, 5)
    given = (primes, classes, range(5), 333)
    fast = Sampler(module, temperature, top_k)(*given)
    plain = bench.plain(module, *given, temperature, top_k)
    assert fast.shape == (5, 333)
    assert np.array_equal(fast, plain)
    assert all(len(Counter(row.tolist())) > 3 for row in fast)  # a sampler that is stuck would prove nothing


def test_primes_of_any_length_share_a_batch(bench: ModuleType) -> None:
    module = network()
    lengths = [0, 5, 16, 17, 160]
    primes, classes = primes_for(module, lengths), told(module, 5)
    told_how_far: list[int] = []
    together = Sampler(module)(primes, classes, range(5), 100, told_how_far.append)
    for row in range(5):
        alone = bench.plain(module, primes[row : row + 1], classes[row : row + 1], [row], 100)
        assert np.array_equal(together[row], alone[0]), lengths[row]
    assert sum(told_how_far) == 160 + 112


def test_a_sampler_serves_batch_after_batch() -> None:
    """Nothing of a batch is left in the next one, whatever its size."""
    module = network()
    primes, classes = primes_for(module, [40] * 4), told(module, 4)
    sampler = Sampler(module)
    first = sampler(primes, classes, range(4), 60)
    sampler(primes[:2], classes[:2], range(2), 20)
    assert np.array_equal(sampler(primes, classes, range(4), 60), first)
    assert np.array_equal(sampler(primes[2:], classes[2:], [2, 3], 60), first[2:])
    assert np.array_equal(sampler(primes, classes, range(4), 33), first[:, :33])
    assert not np.array_equal(sampler(primes, classes, range(4, 8), 60), first)
    assert not np.array_equal(sampler(primes, classes[::-1], range(4), 60), first)
    assert sampler(primes, classes, range(4), 0).shape == (4, 0)


def test_the_whole_prime_is_heard() -> None:
    """What lies longer ago than the largest frame still tells."""
    module = network()
    one = primes_for(module, [160])[0]
    other = one.copy()
    other[:100] = primes_for(module, [100], seed=1)[0]
    made = Sampler(module)([one, other], told(module, 1).repeat(2, 0), [0, 0], 64)
    assert not np.array_equal(made[0], made[1])


def test_draw_follows_the_distribution() -> None:
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().expand(10_000, 4)
    uniforms = torch.arange(10_000)[:, None] / 10_000
    assert torch.bincount(draw(logits, uniforms)[:, 0]).tolist() == pytest.approx([1000, 2000, 3000, 4000], abs=2)
    sharper = torch.bincount(draw(logits, uniforms, temperature=0.5)[:, 0]) / 10_000
    assert sharper.tolist() == pytest.approx([1 / 30, 4 / 30, 9 / 30, 16 / 30], abs=1e-3)
    kept = torch.bincount(draw(logits, uniforms, top_k=2)[:, 0], minlength=4)
    assert kept.tolist() == pytest.approx([0, 0, 4286, 5714], abs=2)
    almost_one = torch.full((1, 1), 1 - 2**-24)
    assert int(draw(torch.tensor([[0.0, 0.0, -1e9, -1e9]]), almost_one, top_k=2)) == 1


def test_gradient_reaches_every_parameter() -> None:
    module = network()
    batch = {"codes": torch.randint(0, 32, (3, 128)), "length": torch.tensor([128, 100, 70]), "classes": torch.eye(3)}
    state = None
    total = torch.zeros(())
    pieces = list(module._pieces(batch, 128))
    assert [int(heard.sum()) for _, heard in pieces] == [192, 64 + 36 + 6]
    for codes, heard in pieces:
        logits, state = module(codes, batch["classes"], state)
        total = total + module.bits(logits, codes[:, 16:], heard)
    total.backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_an_update_a_piece_clipped_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    module = network(gradient_clip=1e-3)
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    logged: dict[str, float] = {}
    monkeypatch.setattr(module, "optimizers", lambda: torch.optim.SGD(module.parameters(), 1.0))
    monkeypatch.setattr(module, "manual_backward", lambda loss: loss.backward())
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: float(value)}))
    batch = {"codes": torch.randint(0, 32, (3, 192)), "length": torch.tensor([192, 9, 70]), "classes": torch.eye(3)}
    module.training_step(batch, 0)
    moved = torch.cat([(p.detach() - before[name]).flatten().abs() for name, p in module.named_parameters()])
    assert float(moved.max()) == pytest.approx(3e-3, rel=1e-3)  # three pieces, each at most 1e-3
    assert 3.0 < logged["train/loss"] < 9.0


def test_filling_is_not_learned() -> None:
    """What follows a short clip changes nothing."""
    module = network()
    codes = torch.randint(0, 32, (1, 128))
    other = codes.clone()
    other[:, 50:] = 3
    sums = []
    for given_codes in (codes, other):
        batch = {"codes": given_codes, "length": torch.tensor([50]), "classes": torch.eye(3)[:1]}
        ((piece, heard),) = module._pieces(batch, 50)
        with torch.no_grad():
            sums.append(float(module.bits(module(piece, batch["classes"])[0], piece[:, 16:], heard)))
    assert sums[0] == sums[1]
    assert sums[0] / 50 == pytest.approx(math.log2(32), rel=0.5)


def test_rows_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    module = network()
    assert rows_by_memory(module, 160_000, "cpu") == 128
    monkeypatch.setattr("augrun.generators.samplernn.sampling.os.sysconf", lambda name: 4096)  # 16 MiB
    assert 1 <= rows_by_memory(module, 160_000, "cpu") < 10


@settings(max_examples=40, deadline=None)
@given(duration=st.floats(0.1, 100), start=st.floats(0, 50), limit=st.one_of(st.none(), st.integers(1, 8)))
def test_window_starts(duration: float, start: float, limit: int | None) -> None:
    starts = window_starts(start, duration, 4.0, limit)
    assert starts == sorted(set(starts))
    assert len(starts) <= (limit or 1000)
    assert starts[0] >= start
    assert starts[-1] <= max(start, start + duration - 4.0) + 1e-9
