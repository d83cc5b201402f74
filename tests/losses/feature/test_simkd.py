"""SimKD: its comparison, and its predictions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ConfigError
from tutelage.losses.feature.simkd import SimKD


def test_compares_the_projected_map_at_the_smaller_size() -> None:
    student, teacher = torch.randn(3, 5, 4, 4).double(), torch.randn(3, 6, 2, 2).double()
    loss = SimKD(factor=3)
    loss.build(student, teacher, 0)
    loss.eval()
    x = F.avg_pool2d(student, 2)
    for number, padding in ((0, 0), (3, 1), (6, 0)):
        x = (F.conv2d(x, loss.transfer[number].weight, padding=padding) / (1 + 1e-5) ** 0.5).clamp_min(0)
    assert loss.transfer[0].out_channels == 2
    torch.testing.assert_close(loss(student, teacher), (x - teacher) ** 2)

    weight, bias = torch.randn(7, 6).double(), torch.randn(7).double()
    expected = x.mean((2, 3)) @ weight.T + bias
    torch.testing.assert_close(loss.respond(student, (weight, bias)), expected)


def test_raises_for_a_factor_that_leaves_no_channel() -> None:
    x = torch.randn(2, 3, 2, 2)
    with pytest.raises(ConfigError, match="3 channels"):
        SimKD(factor=4).build(x, x, 0)
