"""The network against what it is defined by, and the augmentation of its training clips."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch import nn
from torchvision.models import mobilenet_v2

from augrun.classifiers.mobilenetv2_attention.network import EncoderLayer, Network, mixup, spec_augment
from augrun.classifiers.mobilenetv2_attention.settings import PAPER_BLOCKS, smallest
from augrun.classifiers.mobilenetv2_attention.training import cross_entropy, macro_roc_auc
from augrun.core.errors import AugrunError

SMALL = {"slice_frames": 65, "blocks": [[1, 8, 1, 2], [2, 8, 1, 2], [2, 8, 1, 2], [2, 8, 1, 2]], "width": 0.5}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small lose more by waiting for a second thread than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(bands: int = 70, slices: int = 3, classes: int = 4, multilabel: bool = True) -> Network:
    torch.manual_seed(0)
    return Network(bands, slices * 65, classes=classes, multilabel=multilabel, **SMALL).eval()


def clips(count: int = 2, bands: int = 70, frames: int = 195) -> torch.Tensor:
    return torch.randn(count, 1, bands, frames, generator=torch.Generator().manual_seed(1))


def test_the_paper_s_network_is_torchvision_s_and_takes_its_weights() -> None:
    network = Network(96, 512, 256, 56, True)
    reference = mobilenet_v2(num_classes=2)
    network.mobilenet.load_state_dict(reference.features.state_dict())
    with torch.no_grad():
        colours = torch.rand(1, 3, 96, 256)
        assert torch.equal(network.eval().mobilenet(colours), reference.eval().features(colours))
    shapes = [tuple(layer.weight.shape) for layer in network.describe if isinstance(layer, nn.Conv2d)]
    assert shapes == [(512, 1280, 3, 3), (256, 512, 1, 1)]
    assert network(torch.rand(2, 1, 96, 512))[0].shape == (2, 56)


def test_width_scales_every_layer_before_the_vectors() -> None:
    network = Network(96, 256, 256, 4, True, width=0.5)
    assert [layer.out_channels for layer in network.describe if isinstance(layer, nn.Conv2d)] == [256, 256]
    assert network.mobilenet[-1][0].out_channels == 640
    assert network.mobilenet[0][0].out_channels == 16


def test_colouring_is_a_pair_of_1x1_convolutions() -> None:
    network = small()
    first, _, second, _ = network.colour
    slices = clips()
    expected = nn.functional.relu(nn.functional.conv2d(slices, first.weight[:, :, None, None], first.bias))
    expected = nn.functional.relu(nn.functional.conv2d(expected, second.weight[:, :, None, None], second.bias))
    measured = network.colour(slices.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert torch.allclose(measured, expected, atol=1e-6)


def test_slices_are_consecutive_spans_of_the_clip() -> None:
    network, clip = small(), clips(1)
    with torch.no_grad():
        together = network.vectors(clip)
        network.slices = 1
        alone = [network.vectors(clip[..., start : start + 65]) for start in (0, 65, 130)]
    assert together.shape == (1, 3, 256)
    assert torch.allclose(together, torch.cat(alone, 1), atol=1e-5)


def test_the_order_of_slices_matters_to_the_attention_head_only() -> None:
    network, clip = small(), clips(1)
    swapped = torch.cat([clip[..., 65:130], clip[..., :65], clip[..., 130:]], -1)
    vectors = torch.randn(1, 3, 256, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.allclose(network(clip)[1], network(swapped)[1], atol=1e-6)
        moved = network.attention(vectors) - network.attention(vectors[:, [0, 2, 1]])
    assert moved.abs().max() > 1e-3


@pytest.mark.parametrize("multilabel", [True, False])
def test_heads_give_probabilities_and_the_plain_one_their_mean_over_slices(multilabel: bool) -> None:
    network, clip = small(multilabel=multilabel), clips(3)
    with torch.no_grad():
        attention, plain = network(clip)
        logits = network.plain(network.vectors(clip))
    expected = (logits.sigmoid() if multilabel else logits.softmax(-1)).mean(1)
    assert torch.allclose(plain, expected, atol=1e-6)
    for probabilities in (attention, plain):
        assert probabilities.min() > 0 and probabilities.max() < 1
        if not multilabel:
            assert torch.allclose(probabilities.sum(1), torch.ones(3), atol=1e-5)


@pytest.mark.parametrize("multilabel", [True, False])
def test_training_starts_from_the_classes_frequencies(multilabel: bool) -> None:
    network = small(multilabel=multilabel)
    frequencies = torch.tensor([0.1, 0.2, 0.3, 0.4])
    network.start_from(frequencies)
    for layer in (network.attention.classify[-1], network.plain[-1]):
        nn.init.zeros_(layer.weight)
    with torch.no_grad():
        for probabilities in network(clips(2)):
            assert torch.allclose(probabilities, frequencies.expand(2, -1), atol=1e-6)
    network.start_from(torch.tensor([0.0, 1.0, 0.5, 0.5]))
    assert network.plain[-1].bias.isfinite().all()


def test_encoder_layer_is_bert_s() -> None:
    """PyTorch's post-norm layer with exact GELU is BERT's, but for the places of the dropout."""
    torch.manual_seed(3)
    layer = EncoderLayer().eval()
    reference = nn.TransformerEncoderLayer(256, 4, 1024, activation="gelu", layer_norm_eps=1e-12, batch_first=True)
    reference.self_attn.load_state_dict(layer.attend.state_dict())
    for theirs, ours in [
        (reference.linear1, layer.feed[0]),
        (reference.linear2, layer.feed[2]),
        (reference.norm1, layer.norms[0]),
        (reference.norm2, layer.norms[1]),
    ]:
        theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, 256)
    with torch.no_grad():
        assert torch.allclose(layer(x), reference.eval()(x), atol=1e-5)
    assert (layer.attend.dropout, layer.dropout.p) == (0.1, 0.2)


def test_positions_are_sinusoids_and_the_first_is_zero() -> None:
    positions = small(slices=5).attention.positions
    assert positions.shape == (5, 256)
    assert (positions[0] == 0).all()
    for position, pair in [(1, 0), (3, 17), (4, 127)]:
        angle = position / 10000 ** (2 * pair / 256)
        assert positions[position, 2 * pair].item() == pytest.approx(np.sin(angle), abs=1e-6)
        assert positions[position, 2 * pair + 1].item() == pytest.approx(np.cos(angle), abs=1e-6)


@pytest.mark.parametrize("bands", [65, 96, 128])
def test_any_number_of_bands_that_leaves_a_map_to_convolve(bands: int) -> None:
    assert small(bands)(clips(bands=bands))[0].shape == (2, 4)


def test_too_few_bands_are_refused() -> None:
    assert smallest(PAPER_BLOCKS) == smallest(SMALL["blocks"]) == 65
    with pytest.raises(AugrunError, match=r"64 bands are too few .* takes 65 or more"):
        small(64)


def test_masks_are_filled_with_the_minimum_and_leave_the_input_alone() -> None:
    torch.manual_seed(0)
    given_ = clips(64, 40, 100)
    before = given_.clone()
    masked = spec_augment(given_, 1.0, 2, 0.15, 0.20)
    assert torch.equal(given_, before)
    changed = masked != given_
    assert torch.equal(masked[changed], given_.amin((1, 2, 3), keepdim=True).expand_as(given_)[changed])
    filled = changed | (given_ == given_.amin((1, 2, 3), keepdim=True))
    for clip in filled[:, 0]:
        bands, frames = clip.all(1), clip.all(0)
        assert int(bands.sum()) <= 2 * 0.15 * 40
        assert int(frames.sum()) <= 2 * 0.20 * 100
        assert int(clip[~bands][:, ~frames].sum()) <= 1  # whole bands, whole frames, and where the minimum was
    assert len({tuple(clip.flatten().tolist()) for clip in changed}) > 60  # each clip has masks of its own


def test_mask_probability_counts_clips() -> None:
    torch.manual_seed(0)
    ramp = torch.arange(1.0, 40 * 100 + 1).view(1, 1, 40, 100).expand(2000, -1, -1, -1)
    assert torch.equal(spec_augment(ramp, 0.0, 2, 0.15, 0.2), ramp)
    touched = (spec_augment(ramp, 0.5, 2, 0.15, 0.2) != ramp).flatten(1).any(1).float().mean().item()
    always = (spec_augment(ramp, 1.0, 2, 0.15, 0.2) != ramp).flatten(1).any(1).float().mean().item()
    assert touched == pytest.approx(0.5 * always, abs=0.04)
    assert always > 0.95


@pytest.mark.parametrize(("masks", "most"), [(1, 1), (2, 2), (3, 3)])
def test_one_to_the_given_number_of_masks(masks: int, most: int) -> None:
    torch.manual_seed(0)
    ramp = torch.arange(1.0, 401).view(1, 1, 1, 400).expand(3000, 1, 2, 400)
    covered = (spec_augment(ramp, 1.0, masks, 0.0, 0.05) != ramp)[:, 0].all(1)
    stripes = (covered[:, 1:] & ~covered[:, :-1]).sum(1) + covered[:, 0]
    assert int(stripes.max()) == most
    assert (covered.sum(1) <= masks * 0.05 * 400).all()


def test_mixup_mixes_inputs_and_targets_alike() -> None:
    torch.manual_seed(0)
    count = 500
    targets = torch.eye(count)
    inputs = torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(-1, 1, 2, 3)
    mixed, soft = mixup(inputs, targets, 1.0)
    assert torch.allclose(soft.sum(1), torch.ones(count))
    assert torch.allclose(mixed[:, 0, 0, 0], soft @ torch.arange(count, dtype=torch.float32), atol=1e-2)
    assert (mixed == mixed[:, :1, :1, :1]).all()
    others = soft.clone().fill_diagonal_(0).sum(1)
    share = soft.diagonal()[others > 0]
    assert stats.kstest(share.numpy(), "uniform").pvalue > 0.01  # Beta(1, 1), one draw a clip


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), alpha=st.floats(0.05, 8.0))
def test_mixup_keeps_means_within_the_batch(seed: int, alpha: float) -> None:
    torch.manual_seed(seed)
    inputs, targets = torch.rand(6, 1, 4, 5), torch.rand(6, 3)
    mixed, soft = mixup(inputs, targets, alpha)
    assert mixed.min() >= inputs.min() - 1e-6 and mixed.max() <= inputs.max() + 1e-6
    assert soft.min() >= targets.min() - 1e-6 and soft.max() <= targets.max() + 1e-6


def test_mixup_with_alpha_zero_mixes_nothing() -> None:
    inputs, targets = clips(4), torch.eye(4)
    assert all(a is b for a, b in zip(mixup(inputs, targets, 0.0), (inputs, targets), strict=True))


def test_cross_entropy_is_torch_s() -> None:
    torch.manual_seed(0)
    logits, soft = torch.randn(5, 4), torch.rand(5, 4)
    expected = nn.functional.binary_cross_entropy_with_logits(logits, soft)
    assert cross_entropy(logits.sigmoid(), soft, True).item() == pytest.approx(expected.item(), abs=1e-6)
    soft = soft / soft.sum(1, keepdim=True)
    expected = nn.functional.cross_entropy(logits, soft)
    assert cross_entropy(logits.softmax(1), soft, False).item() == pytest.approx(expected.item(), abs=1e-6)


def test_cross_entropy_of_certain_mistakes_is_finite() -> None:
    wrong, targets = torch.tensor([[1.0, 0.0]], requires_grad=True), torch.tensor([[0.0, 1.0]])
    for multilabel in (True, False):
        loss = cross_entropy(wrong, targets, multilabel)
        assert 10 < loss.item() < 20


def test_macro_roc_auc_leaves_out_classes_it_cannot_tell_apart() -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.random((30, 5)).astype(np.float32), (rng.random((30, 5)) < 0.4).astype(np.float32)
    targets[:, 1], targets[:, 3] = 0, 1
    rest = [0, 2, 4]
    measured = macro_roc_auc(torch.from_numpy(scores), torch.from_numpy(targets))
    assert measured == pytest.approx(roc_auc_score(targets[:, rest], scores[:, rest]), abs=1e-6)
