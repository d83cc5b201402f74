"""OFD against a plain implementation, per element, with margins by quadrature."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.feature.ofd import OFD, expected_negative, mean_negative


def test_equals_the_formula() -> None:
    """In evaluation, in which batch norm is a fixed map."""
    student = [torch.randn(2, 3, 4, 4).double(), torch.randn(2, 4, 2, 2).double()]
    teacher = [torch.randn(2, 2, 4, 4).double(), torch.randn(2, 5, 2, 2).double()]
    weight, bias = ([torch.randn(c).double() for c in (2, 5)] for _ in range(2))
    loss = OFD()
    loss.build(student, teacher, 0)
    loss.eval()
    expected = torch.zeros(2).double()
    for level, stage_weight in ((0, 0.5), (1, 1.0)):
        x, t, m = loss.connectors[level](student[level]), teacher[level], expected_negative(weight[level], bias[level])
        for at in itertools.product(*map(range, t.shape)):
            target = max(t[at], m[at[1]])
            if x[at] > target or target > 0:
                expected[at[0]] += stage_weight * (x[at] - target) ** 2
    value = loss(student, teacher, teacher_bn_weight=weight, teacher_bn_bias=bias)
    torch.testing.assert_close(value, expected)


def test_margins_are_the_mean_of_the_negative_half() -> None:
    z = np.linspace(-30, 0, 300_001)
    weight, bias = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([0.3, -1.0, 0.0]).double()
    for scale, mean, margin in zip(weight.abs(), bias, expected_negative(weight, bias), strict=True):
        density = np.exp(-((z - mean.item()) ** 2) / 2 / scale.item() ** 2)
        assert margin.item() == pytest.approx((z * density).sum() / density.sum(), rel=1e-3)
    rare = expected_negative(torch.tensor([2.0, 0.0, 0.0]), torch.tensor([20.0, 1.0, -1.0]))
    torch.testing.assert_close(rare, torch.tensor([-6.0, 0.0, -1.0]))


def test_without_statistics_the_margin_is_the_batchs() -> None:
    x = torch.tensor([[1.0, -1.0], [-3.0, 2.0]]).reshape(2, 1, 1, 2)
    assert mean_negative(x).tolist() == [-2.0]
    assert mean_negative(x.abs()).tolist() == [0.0]
    with pytest.raises(ConfigError, match="2 teacher layers"):
        OFD().build([x], [x, x], 0)
