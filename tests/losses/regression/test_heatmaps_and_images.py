"""FPD and the output's L1, value by value."""

from __future__ import annotations

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.regression.charbonnier import Charbonnier
from tutelage.losses.regression.fpd import FPD
from tutelage.losses.regression.output_l1 import OutputL1


@pytest.mark.parametrize(("alpha", "weighed"), [(0.5, False), (0.2, True)])
def test_fpd_reads_like_the_paper(alpha: float, weighed: bool) -> None:
    s, t, y = (torch.randn(2, 3, 4, 5).double() for _ in range(3))
    weight = torch.rand(2, 3).double() if weighed else None
    values = FPD(alpha)(s, t, targets=y, joint_weight=weight)
    for b in range(2):
        for j in range(3):
            w = 1.0 if weight is None else weight[b, j].item()
            for name, fraction, target in (("teacher", alpha, t), ("truth", 1 - alpha, y)):
                squares = [(s[b, j, h, k] - target[b, j, h, k]).item() ** 2 for h in range(4) for k in range(5)]
                assert values[name][b, j].item() == pytest.approx(0.5 * fraction * w * sum(squares) / 20, rel=1e-9)


def test_fpd_refuses_weights_of_another_shape() -> None:
    maps = torch.randn(2, 3, 4, 5)
    with pytest.raises(ConfigError, match=r"\(2, 1\)"):
        FPD()(maps, maps, targets=maps, joint_weight=torch.ones(2, 1))
    with pytest.raises(ConfigError, match="alpha=2"):
        FPD(2)


def test_output_l1_is_the_absolute_difference() -> None:
    s, t = torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, -2.5]])
    assert OutputL1()(s, t).tolist() == [[2.0, 0.5]]


def test_points_that_arent_known_count_as_0() -> None:
    student, teacher, targets = (torch.rand(2, 3, 4, 4) for _ in range(3))
    targets[0, 1] = torch.nan
    parts = FPD()(student, teacher, targets=targets)
    assert all(part[0, 1] == 0 and part.isfinite().all() for part in parts.values())


def test_charbonnier_is_the_absolute_difference_away_from_0() -> None:
    s, y = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 1.0]])
    assert torch.allclose(Charbonnier()(s, targets=y), torch.tensor([[2.0, 1e-3]]))
