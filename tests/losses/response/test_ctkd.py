"""CTKD: KD at a temperature that is trained to increase the loss."""

from __future__ import annotations

import math

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.response.ctkd import CTKD
from tutelage.losses.response.kd import KD


def built(**options: float) -> CTKD:
    loss = CTKD(**options)
    loss.build(torch.zeros(1, 5).double(), torch.zeros(1, 5), 0)
    return loss


def test_is_kd_at_its_temperature() -> None:
    s, t = torch.randn(4, 5).double(), torch.randn(4, 5).double()
    loss = built(t_start=2.0, t_end=5.0)
    temperature = 2 + 5 / (1 + math.exp(-1))
    torch.testing.assert_close(loss(s, t), KD(temperature)(s, t))


@pytest.mark.parametrize(("epoch", "factor"), [(0.0, 0.0), (5.0, -0.5), (2.5, (math.sqrt(0.5) - 1) / 2), (30.0, -1.0)])
def test_the_gradient_of_the_temperature_is_turned_by_and_by(epoch: float, factor: float) -> None:
    s, t = torch.randn(4, 5).double(), torch.randn(4, 5).double()
    loss = built()
    h = 1e-4
    with torch.no_grad():
        around = []
        for step in (h, -h):
            loss.temperature.theta.fill_(1 + step)
            around.append(loss(s, t, epoch=epoch).mean().item())
        loss.temperature.theta.fill_(1)
    (grad,) = torch.autograd.grad(loss(s, t, epoch=epoch).mean(), [loss.temperature.theta])
    assert grad.item() == pytest.approx(factor * (around[0] - around[1]) / (2 * h), rel=1e-4, abs=1e-12)


def test_refuses_a_temperature_of_zero() -> None:
    with pytest.raises(ConfigError, match="t_start=0"):
        CTKD(t_start=0)
    with pytest.raises(ConfigError, match="ramp=-1"):
        CTKD(ramp=-1)
