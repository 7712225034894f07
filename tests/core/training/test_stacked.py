"""Networks trained as one are what they would be alone; Adam is torch's; batches visit every example."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from augrun.core.training.stacked import Adam, Batches, Chunks, Draws, Perceptrons, replica

SEEDS = (3, 11, 4)


def test_each_replica_draws_what_it_would_alone() -> None:
    together = Draws(SEEDS)
    together.begin("steps", 50)
    drawn = [together.uniform(3, 2), together.normal(5), together.kept(0.25, 4, 100)]
    for number, seed in enumerate(SEEDS):
        alone = Draws([seed])
        alone.begin("steps", 50)
        for of_all, own in zip(drawn, (alone.uniform(3, 2), alone.normal(5), alone.kept(0.25, 4, 100)), strict=True):
            assert torch.equal(of_all[number], own[0])
    assert not torch.equal(drawn[0][0], drawn[0][1])
    assert drawn[2].unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert 0.15 < (drawn[2] == 0).float().mean() < 0.35
    together.begin("rest")
    with together.of([True, False, True]):
        some = together.kept(0.5, 40)
    assert (some[1] == 2).all() and (some[0] == 0).any()
    alone = Draws([SEEDS[1]])
    alone.begin("rest")
    assert torch.equal(together.normal(7)[1], alone.normal(7)[0])  # its stream stayed where it was
    together.begin("steps", 100)
    assert not torch.equal(together.uniform(3, 2), drawn[0])


def test_layers_begin_as_torch_s_do_and_compute_what_they_compute() -> None:
    stack = Perceptrons([30, 200, 5], Draws(SEEDS), slope=0.2)
    bound = 1 / 30**0.5
    weight = stack.layers[0].weight.detach()
    assert weight.shape == (3, 30, 200) and weight.abs().max() <= bound and weight.abs().max() > 0.99 * bound
    reference = nn.Linear(30, 200)
    assert weight.std() == pytest.approx(float(reference.weight.detach().std()), rel=0.05)
    vectors = torch.randn(3, 7, 30)
    made = stack(vectors)
    for number in range(3):
        one = nn.Sequential(nn.Linear(30, 200), nn.LeakyReLU(0.2), nn.Linear(200, 5))
        for mine, layer in zip(stack.layers, (one[0], one[2]), strict=True):
            layer.weight.data, layer.bias.data = mine.weight[number].T.contiguous(), mine.bias[number, 0]
        assert torch.allclose(made[number], one(vectors[number]), atol=1e-5)


def test_dropout_is_of_training_alone_and_keeps_the_mean() -> None:
    stack = Perceptrons([4, 2000, 1], Draws([0]), slope=1.0, dropout=0.5)
    vectors = torch.ones(1, 1, 4)
    draws = Draws([1])
    with torch.no_grad():
        still = float(stack(vectors))
        noisy = torch.tensor([float(stack(vectors, draws)) for _ in range(300)])
    assert noisy.std() > 0.01
    assert float(noisy.mean()) == pytest.approx(still, abs=4 * float(noisy.std()) / 300**0.5)


def descend(stack: Perceptrons, rates: list[list[float | None]], data: torch.Tensor) -> None:
    adam = Adam(stack)
    for at_step in rates:
        adam.step(stack(data).square().mean(dim=(1, 2)).sum(), at_step)


def test_adam_is_torch_s_and_a_replica_without_a_rate_rests() -> None:
    data = torch.randn(3, 9, 6)
    stack = Perceptrons([6, 8, 2], Draws(SEEDS), slope=0.1)
    start = {name: value.clone() for name, value in stack.state_dict().items() if name.startswith("layers")}
    # The second one joins later, the third one's rate falls and then it rests.
    rates = [[0.01, None if step < 4 else 0.02, 0.03 if step < 6 else 0.01 if step < 9 else None] for step in range(12)]
    descend(stack, rates, data)
    for number in range(3):
        one = Perceptrons([6, 8, 2], Draws([SEEDS[number]]), slope=0.1)
        one.load_state_dict({name: value[number : number + 1] for name, value in start.items()})
        optimizer = torch.optim.Adam(one.parameters(), lr=1.0)
        for at_step in rates:
            if at_step[number] is None:
                continue
            optimizer.param_groups[0]["lr"] = at_step[number]
            optimizer.zero_grad()
            one(data[number : number + 1]).square().mean().backward()
            optimizer.step()
        for name, value in one.state_dict().items():
            assert torch.allclose(stack.state_dict()[name][number], value[0], atol=2e-6), (number, name)


def test_a_checkpoint_holds_the_moments() -> None:
    data = torch.randn(2, 9, 6)
    whole, halves = (Perceptrons([6, 8, 2], Draws([1, 2]), slope=0.1) for _ in range(2))
    descend(whole, [[0.01, 0.02]] * 8, data)
    descend(halves, [[0.01, 0.02]] * 4, data)
    state = halves.state_dict()
    fresh = Perceptrons([6, 8, 2], Draws([5, 6]), slope=0.1)
    adam = Adam(fresh)
    fresh.load_state_dict(state)
    for _ in range(4):
        adam.step(fresh(data).square().mean(dim=(1, 2)).sum(), [0.01, 0.02])
    for name, value in whole.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name
    of_second = replica(whole.state_dict(), 1, "layers.")
    assert of_second["0.weight"].shape == (1, 6, 8)
    assert torch.equal(of_second["0.weight"][0], whole.layers[0].weight[1])


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4), batch=st.integers(1, 17), first=st.integers(0, 60))
def test_every_pass_visits_every_example_once_in_an_order_of_its_own(sizes: list[int], batch: int, first: int) -> None:
    seeds = list(range(len(sizes)))
    batches = Batches(sizes, batch, seeds)
    rows, there = batches.draw(0, 3 * max(batches.steps))
    for number, (size, steps) in enumerate(zip(sizes, batches.steps, strict=True)):
        for turn in range(3):
            of_pass = slice(turn * steps, (turn + 1) * steps)
            seen = rows[of_pass, number][there[of_pass, number] > 0]
            assert sorted(seen.tolist()) == list(range(size))
        alone, weights = Batches([size], batch, [number]).draw(first, 5)
        part, of_it = batches.draw(first, 5)
        assert torch.equal(part[:, number], alone[:, 0]) and torch.equal(of_it[:, number], weights[:, 0])


def test_orders_change_from_pass_to_pass_and_seed_to_seed() -> None:
    rows, _ = Batches([50, 50], 50, [1, 2]).draw(0, 2)
    orders = {tuple(rows[step, number].tolist()) for step in range(2) for number in range(2)}
    assert len(orders) == 4


@pytest.mark.parametrize("steps", [1, 49, 50, 51, 999, 1001, 12345])
def test_all_steps_are_taken_in_about_twenty_pieces(steps: int) -> None:
    chunks = Chunks(steps)
    assert chunks.epochs * len(chunks) * 50 >= steps
    assert (chunks.epochs - 1) * len(chunks) * 50 < steps
    assert chunks.epochs <= 21
    assert [chunks[place] for place in (0, len(chunks) - 1)] == [0, len(chunks) - 1]
    assert np.ndim(chunks[0]) == 0
