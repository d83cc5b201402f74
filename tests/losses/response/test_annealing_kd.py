"""The temperature steps of Annealing-KD."""

from __future__ import annotations

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.response.annealing_kd import AnnealingKD


@pytest.mark.parametrize(
    ("options", "epoch", "tau"),
    [({}, 19.9, 10), ({}, 20.0, 9), ({}, 190.5, 1), ({}, 400.0, 1), ({"max_temperature": 4, "epochs": 2.5}, 5.1, 2)],
)
def test_reads_like_the_paper(options: dict[str, float], epoch: float, tau: int) -> None:
    s, t = torch.randn(3, 5).double(), torch.randn(3, 5).double()
    phi = 1 - (tau - 1) / options.get("max_temperature", 10)
    values = AnnealingKD(**options)(s, t, epoch=epoch)
    for b in range(3):
        for c in range(5):
            assert values[b, c].item() == pytest.approx((s[b, c] - phi * t[b, c]).item() ** 2, rel=1e-9)


def test_refuses_no_steps() -> None:
    with pytest.raises(ConfigError, match="max_temperature=0"):
        AnnealingKD(0)
