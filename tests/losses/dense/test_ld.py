"""LD against loops over boxes and sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.dense.ld import LD


@pytest.mark.parametrize("temperature", [10.0, 2.0])
def test_equals_the_formula(temperature: float) -> None:
    s, t, weight = torch.randn(3, 4 * 5).double(), torch.randn(3, 4 * 5).double(), torch.rand(3).double()
    values = LD(temperature=temperature)(s, t, weight=weight)
    for box in range(3):
        for side in range(4):
            bins = slice(5 * side, 5 * side + 5)
            q, p = (np.exp(x[box, bins].numpy() / temperature) for x in (s, t))
            q, p = q / q.sum(), p / p.sum()
            expected = weight[box] * temperature**2 * (p * np.log(p / q)).sum()
            assert values[box, side].item() == pytest.approx(expected.item())
    torch.testing.assert_close(LD(temperature=temperature)(s, t) * weight[:, None], values)


def test_default_is_ten() -> None:
    s, t = torch.randn(3, 8), torch.randn(3, 8)
    torch.testing.assert_close(LD()(s, t), LD(temperature=10.0)(s, t))


def test_raises_for_logits_that_are_not_for_four_sides() -> None:
    with pytest.raises(ConfigError, match="4·bins"):
        LD()(torch.randn(3, 6), torch.randn(3, 6))
