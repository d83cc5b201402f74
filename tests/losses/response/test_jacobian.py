"""Jacobian matching: values by loops, gradients by differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tutelage.errors import ConfigError
from tutelage.losses.response.jacobian import JacobianMatching, input_gradient


@pytest.mark.parametrize("normalise", [True, False])
def test_reads_like_the_paper(normalise: bool) -> None:
    s, t = torch.randn(3, 2, 4).double(), torch.randn(3, 2, 4).double()
    values = JacobianMatching(normalise)(s, t, inputs=torch.zeros(3, 2, 4))
    for b in range(3):
        a, c = (x[b].numpy() / (np.linalg.norm(x[b].numpy()) if normalise else 1) for x in (s, t))
        np.testing.assert_allclose(values[b].numpy(), (a - c) ** 2, rtol=1e-9)


def test_the_student_is_trained_through_its_input_gradient() -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    x, y, target = torch.randn(4, 3).double(), torch.randint(2, (4,)), torch.randn(4, 3).double()

    def loss() -> torch.Tensor:
        inputs = x.clone().requires_grad_()
        gradient = input_gradient(net(inputs).gather(1, y[:, None]), inputs)
        return JacobianMatching()(gradient, target, inputs=inputs).mean()

    weight = net[0].weight
    (slope,) = torch.autograd.grad(loss(), weight)
    around = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            weight[1, 2] += step
        around.append(loss().item())
    assert slope[1, 2].item() == pytest.approx((around[0] - around[1]) / 2e-6, rel=1e-4)


def test_refuses_responses_and_missing_graphs() -> None:
    with pytest.raises(ConfigError, match="input_gradient"):
        JacobianMatching()(torch.randn(4, 5), torch.randn(4, 5), inputs=torch.randn(4, 3, 8, 8))
    x = torch.randn(4, 3)
    with pytest.raises(ConfigError, match="no graph"):
        input_gradient(nn.Linear(3, 2)(x), x)
