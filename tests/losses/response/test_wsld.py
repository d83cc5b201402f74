"""WSLD against a slow reading."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.special import log_softmax, softmax

from tutelage.losses.response.wsld import WSLD


@pytest.mark.parametrize("options", [{}, {"temperature": 2.0}])
def test_reads_like_the_paper(options: dict[str, float]) -> None:
    s, t, y = torch.randn(7, 5).double() * 2, torch.randn(7, 5).double() * 2, torch.randint(5, (7,))
    values, temperature = WSLD(**options)(s, t, targets=y), options.get("temperature", 4.0)
    for b in range(7):
        student_loss, teacher_loss = (-log_softmax(z[b].numpy())[y[b]] for z in (s, t))
        weight = 1 - math.exp(-student_loss / (teacher_loss + 1e-7))
        ce = -(softmax(t[b].numpy() / temperature) * log_softmax(s[b].numpy() / temperature)).sum()
        assert values[b].item() == pytest.approx(weight * temperature**2 * ce, rel=1e-9)


def test_the_weight_has_no_gradient() -> None:
    """A sample that the student classifies with certainty has no weight, whatever the teacher predicts."""
    s = torch.tensor([[60.0, 0.0, 0.0]], requires_grad=True)
    WSLD()(s, torch.randn(1, 3), targets=torch.tensor([0])).sum().backward()
    assert s.grad is not None
    assert s.grad.abs().max() < 1e-6
