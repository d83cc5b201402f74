"""AFD against a plain implementation, per channel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.feature.afd import AFD


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_equals_the_formula(ratio: float) -> None:
    student, teacher = (torch.randn(2, 4, 3, 3).double() for _ in range(2))
    loss = AFD(ratio=ratio)
    loss.build(student, teacher, 0)
    assert loss.attention[0].out_channels == int(4 * ratio)
    w1, b1, w2, b2 = (p.detach().flatten(1).numpy() if p.dim() > 1 else p.detach().numpy() for p in loss.parameters())
    for s, t, value in zip(student.numpy(), teacher.numpy(), loss(student, teacher), strict=True):
        rho = 1 / (1 + np.exp(-(w2 @ np.maximum(w1 @ t.mean((1, 2)) + b1, 0) + b2)))
        unit_s, unit_t = ([c / (np.linalg.norm(c) + 1e-6) for c in x] for x in (s, t))
        errors = [np.mean((a - b) ** 2) for a, b in zip(unit_s, unit_t, strict=True)]
        assert value.item() == pytest.approx(float(rho @ np.array(errors) / rho.sum()))


def test_the_attention_learns() -> None:
    student, teacher = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    loss = AFD()
    loss.build(student, teacher, 0)
    loss(student, teacher).mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in loss.parameters())
    with pytest.raises(ConfigError, match="ratio=0"):
        AFD(ratio=0)
