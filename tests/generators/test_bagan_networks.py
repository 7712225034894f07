"""The networks of both balancing GANs, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
import torch
from torch import nn

from augrun.generators.bagan import BAGAN
from augrun.generators.bagan.networks import Generator, Judge, OriginalGenerator, OriginalTrunk, Trunk
from augrun.generators.bagan.original import BAGANOriginal

pytestmark = pytest.mark.usefixtures("one_thread")

WIDTHS = (10, 9, 8, 7, 6, 5, 4, 3)


def sizes_after(layers: Iterable[nn.Module], run: nn.Module, given: torch.Tensor) -> list[tuple[int, ...]]:
    """Channels and size after each of `layers` when `run` sees `given`."""
    seen: list[tuple[int, ...]] = []
    hooks = [layer.register_forward_hook(lambda *a: seen.append(tuple(a[2].shape[1:]))) for layer in layers]
    run(given)
    for hook in hooks:
        hook.remove()
    return seen


def of_kind(module: nn.Module, *kinds: type) -> list:
    return [layer for layer in module.modules() if isinstance(layer, kinds)]


def test_generator_doubles_in_every_second_of_eight_transposed_convolutions() -> None:
    """From 8 × 8 to 128 × 128, then a convolution and tanh."""
    network = Generator(100, (128, 128), 20, 12, WIDTHS, 3, 4, 0.3, 0.2)
    transposed = of_kind(network, nn.ConvTranspose2d)
    assert [layer.stride for layer in transposed] == [(1, 1), (2, 2)] * 4
    assert [layer.kernel_size for layer in transposed] == [(3, 3), (4, 4)] * 4
    dense = of_kind(network, nn.Linear)
    assert [(layer.in_features, layer.out_features) for layer in dense] == [(100, 20), (20, 12 * 8 * 8)]
    after = sizes_after(transposed, network, torch.randn(2, 100))
    edges = [8, 16, 16, 32, 32, 64, 64, 128]
    assert after == [(width, edge, edge) for width, edge in zip(WIDTHS, edges, strict=True)]
    assert isinstance(network.out[0], nn.Conv2d) and isinstance(network.out[1], nn.Tanh)
    made = network(torch.randn(2, 100) * 50)
    assert made.shape == (2, 1, 128, 128)
    assert made.abs().max() <= 1


def test_trunk_halves_on_the_same_way_back() -> None:
    trunk = Trunk((128, 128), WIDTHS, 3, 0.3, 0.2)
    convolutions = of_kind(trunk, nn.Conv2d)
    assert [layer.stride for layer in convolutions] == [(2, 2), (1, 1)] * 4
    after = sizes_after(convolutions, trunk, torch.randn(2, 1, 128, 128))
    edges = [64, 64, 32, 32, 16, 16, 8, 8]
    assert after == [(width, edge, edge) for width, edge in zip(WIDTHS, edges, strict=True)]
    judge = Judge(trunk, 6)
    assert judge.head.in_features == trunk.features == 3 * 8 * 8
    assert judge(torch.randn(4, 1, 128, 128)).shape == (4, 6)


def test_each_convolution_has_its_norm_activation_and_dropout() -> None:
    networks = [Generator(5, (32, 32), 4, 4, WIDTHS, 3, 4, 0.3, 0.2), Trunk((32, 32), WIDTHS, 3, 0.3, 0.2)]
    for network in networks:
        for block, width in zip(network.layers, WIDTHS, strict=True):
            convolution, norm, activation, dropout = block
            assert isinstance(convolution, nn.ConvTranspose2d | nn.Conv2d) and convolution.bias is None
            assert isinstance(norm, nn.BatchNorm2d) and norm.num_features == width
            assert isinstance(activation, nn.LeakyReLU) and activation.negative_slope == 0.3
            assert isinstance(dropout, nn.Dropout) and dropout.p == 0.2
    assert [layer.negative_slope for layer in of_kind(networks[0].dense, nn.LeakyReLU)] == [0.3, 0.3]
    assert not any(isinstance(layer, nn.ReLU | nn.Upsample) for network in networks for layer in network.modules())


@pytest.mark.parametrize("stride_kernel", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_kernels_leave_the_sizes_alone(kernel: int, stride_kernel: int) -> None:
    network = Generator(5, (48, 32), 4, 4, WIDTHS, kernel, stride_kernel, 0.3, 0.0)
    assert network(torch.randn(2, 5)).shape == (2, 1, 48, 32)


def test_a_stride_kernel_that_is_a_multiple_of_the_stride_makes_no_checkerboard() -> None:
    """Of equal inputs, equal outputs (away from the edge)."""
    network = Generator(5, (32, 32), 4, 1, (1,) * 8, 3, 4, 0.3, 0.0)
    for kernel, even in ((4, True), (3, False)):
        layer = nn.ConvTranspose2d(1, 1, kernel, 2, 1, output_padding=4 - kernel, bias=False)
        nn.init.ones_(layer.weight)
        inner = layer(torch.ones(1, 1, 8, 8))[0, 0, 4:-4, 4:-4]
        assert (inner.unique().numel() == 1) == even
    assert network.layers[1].convolution.kernel_size == (4, 4)


def test_original_generator_upsamples_before_each_convolution() -> None:
    network = OriginalGenerator(100, (128, 128), 20, 12, (10, 9, 8, 7), 5)
    upsampled = of_kind(network, nn.Upsample)
    assert [(layer.scale_factor, layer.mode) for layer in upsampled] == [(2.0, "nearest")] * 4
    assert sizes_after(upsampled, network, torch.randn(2, 100)) == [
        (12, 16, 16), (10, 32, 32), (9, 64, 64), (8, 128, 128)
    ]  # fmt: skip
    made = network(torch.randn(2, 100))
    assert made.shape == (2, 1, 128, 128)
    assert [layer.kernel_size for layer in of_kind(network, nn.Conv2d)] == [(5, 5)] * 4 + [(2, 2)]
    assert all(layer.bias is None for layer in of_kind(network, nn.Conv2d, nn.Linear))
    assert not of_kind(network, nn.BatchNorm2d, nn.Dropout, nn.LeakyReLU, nn.ConvTranspose2d)


def test_original_sizes_are_those_of_the_authors_code() -> None:
    """Parameters of their Keras models at 128 × 128 and one channel, counted by hand."""
    generator, trunk = BAGANOriginal().networks((128, 128))
    dense = 100 * 1024 + 1024 * 128 * 64
    convolutions = 25 * (128 * 256 + 256 * 256 + 256 * 256 + 256 * 128) + 4 * 128
    assert sum(parameter.numel() for parameter in generator.parameters()) == dense + convolutions
    widths = (1, 32, 64, 128, 256, 256, 256, 256, 256)
    expected = sum(9 * before * after + after for before, after in pairwise(widths))
    assert sum(parameter.numel() for parameter in trunk.parameters()) == expected
    assert trunk.features == 256 * 8 * 8
    assert [layer.p for layer in of_kind(trunk, nn.Dropout)] == [0.3] * 8
    assert [layer.negative_slope for layer in of_kind(trunk, nn.LeakyReLU)] == [0.3] * 8
    assert not of_kind(trunk, nn.BatchNorm2d)


def test_original_initial_values_are_glorots() -> None:
    generator, trunk = OriginalGenerator(100, (64, 64), 400, 32, (40, 40, 40, 40), 5), OriginalTrunk(
        (64, 64), (32, 64, 64, 64, 64, 64, 64, 64), 3, 0.3, 0.3
    )  # fmt: skip
    convolution = of_kind(generator, nn.Conv2d)[1].weight  # normal: some beyond any uniform's bound
    spread = (2 / (25 * (40 + 40))) ** 0.5
    assert convolution.std().item() == pytest.approx(spread, rel=0.05)
    assert convolution.abs().max() > 2.5 * spread
    for weight, fans in ((of_kind(generator, nn.Linear)[0].weight, 500), (trunk.layers[1][0].weight, 9 * 96)):
        bound = (6 / fans) ** 0.5
        assert 0.97 * bound < weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert trunk.layers[0][0].bias.abs().max() == 0


def test_last_kernel_of_the_original_looks_right_and_down() -> None:
    generator = OriginalGenerator(4, (16, 16), 4, 3, (3, 3, 3, 2), 3)
    image = torch.zeros(1, 2, 16, 16)
    image[0, 0, 5, 7] = 1.0
    with torch.no_grad():
        made = generator.out(image)
    assert {tuple(place) for place in made[0, 0].nonzero().tolist()} == {(4, 6), (4, 7), (5, 6), (5, 7)}


def test_paper_sizes_are_about_equal_work() -> None:
    """Multiplications of a forward pass of one segment: the generator's are within a third of the discriminator's."""
    work = []
    for network, given in zip(
        BAGAN().networks((128, 128)), (torch.randn(1, 100), torch.randn(1, 1, 128, 128)), strict=True
    ):
        counted = 0

        def count(layer: nn.Module, _: tuple, made: torch.Tensor) -> None:
            nonlocal counted
            transposed = isinstance(layer, nn.ConvTranspose2d)
            taps = layer.weight[0].numel() if not transposed else layer.weight[:, 0].numel()  # type: ignore[index]
            counted += made.numel() * taps // (layer.stride[0] ** 2 if transposed else 1)  # type: ignore[index,operator]

        for layer in of_kind(network, nn.Conv2d, nn.ConvTranspose2d):
            layer.register_forward_hook(count)
        network.eval()(given)
        work.append(counted)
    assert 0.75 < work[0] / work[1] < 1.33
