"""The feature pyramid against its formula, at any sizes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ConfigError
from tutelage.nn.feature_pyramid import FeaturePyramid, WeightedFusion


def features(*shapes: tuple[int, int]) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(4, channels, side, side) for channels, side in shapes]


def normalised(x, bn):
    """Batch normalisation in training, written out."""
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
    scale, shift = (p.view(1, -1, 1, 1) for p in (bn.weight, bn.bias))
    return (x - mean) / (var + bn.eps).sqrt() * scale + shift


def point(x, block):
    """A 1×1 convolution, batch norm and ReLU."""
    ((conv, bn), _) = block
    return normalised(torch.einsum("oc,bchw->bohw", conv.weight[:, :, 0, 0], x), bn).clamp(min=0)


def fused(fuse, *maps):
    kept = [max(w, 0.0) for w in fuse.weight.tolist()]
    x = sum(w * m for w, m in zip(kept, maps, strict=True)) / (sum(kept) + 1e-6)
    for channelwise, over, bn in fuse.convs:
        x = F.conv2d(x, channelwise.weight, padding=1, groups=x.shape[1])
        x = normalised(F.conv2d(x, over.weight), bn).clamp(min=0)
    return x


def test_three_levels_by_hand():
    f1, f2, f3 = inputs = [f.requires_grad_() for f in features((3, 8), (4, 4), (5, 2))]
    pyramid = FeaturePyramid([f1, f2, f3], 7, width=2, depth=2).train()
    with torch.no_grad():
        for fuse in (*pyramid.fuse, *pyramid.fuse_back):
            fuse.weight.copy_(torch.tensor([0.5, 2.0, -1.0])[: len(fuse.weight)])
    up, down, back = pyramid.up, pyramid.down, pyramid.lateral_back
    l1, l2, l3 = (point(f, block) for f, block in zip((f1, f2, f3), pyramid.lateral, strict=True))
    p2 = fused(pyramid.fuse[1], l2, point(l3.repeat_interleave(2, 2).repeat_interleave(2, 3), up[1]))
    p1 = fused(pyramid.fuse[0], l1, point(p2.repeat_interleave(2, 2).repeat_interleave(2, 3), up[0]))
    r2 = fused(pyramid.fuse_back[0], point(f2, back[0]), p2, point(F.max_pool2d(p1, 2), down[0]))
    r3 = fused(pyramid.fuse_back[1], point(f3, back[1]), point(F.max_pool2d(r2, 2), down[1]))
    refined, logits = pyramid([f1, f2, f3])
    assert [x.shape[1:] for x in refined] == [(6, 8, 8), (8, 4, 4), (10, 2, 2)]
    for actual, expected in zip(refined, (p1, r2, r3), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    expected = r3.mean((2, 3)) @ pyramid.fc.weight.T + pyramid.fc.bias
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    actual, expected = (torch.autograd.grad(z.pow(2).sum(), inputs) for z in (logits, expected))
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "shapes", [[(3, 8), (4, 4)], [(4, 7), (4, 7), (4, 3)], [(2, 32), (4, 8), (8, 1)], [(4, 4), (8, 4)]]
)
def test_any_sizes_and_every_parameter_learns(shapes):
    inputs = features(*shapes)
    pyramid = FeaturePyramid(inputs, 5, width=1, depth=1)
    refined, logits = pyramid(inputs)
    assert [x.shape for x in refined] == [x.shape for x in inputs]
    (logits.pow(2).sum() + sum(x.pow(2).sum() for x in refined)).backward()
    assert all(p.grad is not None for p in pyramid.parameters())


def test_a_feature_that_is_not_a_map_is_refused():
    with pytest.raises(ConfigError, match="isn't a map"):
        FeaturePyramid([torch.randn(2, 6)] * 2, classes=3)


@pytest.mark.parametrize("sizes", [(8,), (4, 4, 4)])
def test_refines_series_and_voxels(sizes):
    features = [torch.randn(2, 4, *sizes), torch.randn(2, 6, *[side // 2 for side in sizes])]
    refined, logits = FeaturePyramid(features, classes=3)(features)
    assert [x.shape[2:] for x in refined] == [x.shape[2:] for x in features]
    assert logits.shape == (2, 3)


def test_weights_that_fall_below_zero_count_nothing():
    torch.manual_seed(0)
    fuse, (a, b) = WeightedFusion(2, 2, 3, 1), torch.randn(2, 4, 3, 5, 5)
    with torch.no_grad():
        fuse.weight.copy_(torch.tensor([3.0, -3.0]))
    torch.testing.assert_close(fuse(a, b), fuse(a, 100 * b))
