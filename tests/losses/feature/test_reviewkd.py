"""ReviewKD: cases that the reference vectors don't cover."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ConfigError
from tutelage.losses.feature.hcl import HCL
from tutelage.losses.feature.reviewkd import ReviewKD

SIDES = (8, 4, 1)


def maps(channels: tuple[int, ...], sides: tuple[int, ...] = SIDES, size: int = 3) -> list[torch.Tensor]:
    return [torch.randn(size, c, side, side).double() for c, side in zip(channels, sides, strict=True)]


def test_equals_the_formula_with_other_sizes_and_channels() -> None:
    """Review one level at a time, in evaluation, in which batch norm is a fixed map."""
    s, t = maps((2, 3, 4), (8, 4, 2)), maps((5, 6, 7), (8, 8, 1))
    loss = ReviewKD(mid_channels=4)
    loss.build(s, t, 0)
    loss.eval()
    deeper, total = None, torch.zeros(3).double()
    for level in (2, 1, 0):
        abf = loss.abfs[level]
        x = abf.conv1(s[level])
        if deeper is not None:
            y = F.interpolate(deeper, s[level].shape[2:], mode="nearest")
            z = torch.sigmoid(abf.att_conv[0](torch.cat([x, y], 1)))
            x = x * z[:, 0:1] + y * z[:, 1:2]
        deeper = F.interpolate(x, t[level].shape[2:], mode="nearest")
        total = total + HCL()(abf.conv2(deeper), t[level])
    torch.testing.assert_close(loss(s, t), total)


def test_each_stage_depends_on_the_deeper_ones() -> None:
    s, t = maps((2, 2, 2)), maps((2, 2, 2))
    loss = ReviewKD()
    loss.build(s, t, 0)
    assert loss.abfs[0].conv1[0].out_channels == 64
    assert loss.abfs[2].att_conv is None
    deepest = s[2].requires_grad_()
    (HCL()(loss.abfs[2](deepest, None, t[2].shape[2:])[0], t[2]).sum()).backward()
    alone = deepest.grad.clone()
    deepest.grad = None
    loss(s, t).sum().backward()
    assert not torch.allclose(alone, deepest.grad)


def test_raises_for_lists_that_do_not_pair() -> None:
    with pytest.raises(ConfigError, match="2 student layers and 3 teacher layers"):
        ReviewKD().build(maps((2, 2), (4, 2)), maps((2, 2, 2)), 0)
    with pytest.raises(ConfigError, match="mid_channels=0"):
        ReviewKD(mid_channels=0)
