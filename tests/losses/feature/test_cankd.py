"""CanKD against a plain implementation, per position."""

from __future__ import annotations

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.feature.cankd import CanKD


def at(conv: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Apply a 1×1 convolution to one position, (C,)."""
    y = conv.weight[:, :, 0, 0] @ x
    return y if conv.bias is None else y + conv.bias


def windows(conv: torch.nn.Conv2d, x: torch.Tensor) -> list[torch.Tensor]:
    """Return the maximum of each 2×2 window, per channel, of one sample (C, 4, 4)."""
    cells = [(i, j) for i in (0, 2) for j in (0, 2)]
    return [torch.stack([at(conv, x[:, i + a, j + b]) for a in (0, 1) for b in (0, 1)]).amax(0) for i, j in cells]


def whitened(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([(c - c.mean()) / (c.var(correction=0) + 1e-5).sqrt() for c in x])


@pytest.mark.parametrize("ratio", [2.0, 4.0])
def test_equals_the_formula(ratio: float) -> None:
    student, teacher = torch.randn(2, 4, 4, 4).double(), torch.randn(2, 4, 4, 4).double()
    loss = CanKD(ratio=ratio)
    loss.build(student, teacher, 0)
    assert loss.query.out_channels == 4 // ratio
    torch.nn.init.normal_(loss.out[1].weight)
    loss.eval()  # batch norm with mean 0 and variance 1
    for s, t, values in zip(student, teacher, loss(student, teacher), strict=True):
        keys, window_values = windows(loss.key, t), windows(loss.value, t)
        z = s.clone()
        for i in range(4):
            for j in range(4):
                attention = [at(loss.query, s[:, i, j]) @ key / len(keys) for key in keys]
                y = sum(a * v for a, v in zip(attention, window_values, strict=True))
                z[:, i, j] += at(loss.out[0], y) / (1 + 1e-5) ** 0.5 * loss.out[1].weight
        torch.testing.assert_close(values, (whitened(z) - whitened(t)) ** 2 / 2)


def test_initially_the_attention_adds_nothing() -> None:
    student, teacher = torch.randn(2, 4, 1, 5), torch.randn(2, 4, 1, 5)
    loss = CanKD()
    loss.build(student, teacher, 0)
    expected = torch.stack([(whitened(s) - whitened(t)) ** 2 / 2 for s, t in zip(student, teacher, strict=True)])
    torch.testing.assert_close(loss(student, teacher), expected)
    with pytest.raises(ConfigError, match="equal shapes"):
        loss(student[:, :2], teacher)
    with pytest.raises(ConfigError, match="ratio=0"):
        CanKD(ratio=0)
