"""Regression losses against slow readings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.losses.regression.attentive_imitation import AttentiveImitation
from tutelage.losses.regression.teacher_bounded_regression import TeacherBoundedRegression

B, D = 6, 4


def estimates() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(B, D).double(), torch.randn(B, D).double(), torch.randn(B, D).double()


@pytest.mark.parametrize(("alpha", "eta"), [(0.5, None), (0.2, 9.0)])
def test_attentive_imitation(alpha: float, eta: float | None) -> None:
    s, t, y = estimates()
    parts = AttentiveImitation(alpha, eta)(s, t, targets=y)
    errors = [float(np.sum((t[b].numpy() - y[b].numpy()) ** 2)) for b in range(B)]
    span = max(errors) - min(errors) if eta is None else eta
    for b in range(B):
        task_loss = alpha * float(np.sum((s[b].numpy() - y[b].numpy()) ** 2))
        imitation = (1 - alpha) * (1 - errors[b] / span) * float(np.sum((s[b].numpy() - t[b].numpy()) ** 2))
        assert parts["truth"][b].item() == pytest.approx(task_loss, rel=1e-9)
        assert parts["imitation"][b].item() == pytest.approx(imitation, rel=1e-9)


def test_a_single_sample_is_imitated_whole() -> None:
    s, t, y = (x[:1] for x in estimates())
    parts = AttentiveImitation(0.0)(s, t, targets=y)
    torch.testing.assert_close(parts["imitation"], (s - t).pow(2).sum(1))


@pytest.mark.parametrize(("nu", "margin"), [(0.5, 0.0), (2.0, 3.0)])
def test_teacher_bounded(nu: float, margin: float) -> None:
    s, t, y = estimates()
    s[0] = y[0] + 0.01  # better than the teacher
    parts = TeacherBoundedRegression(nu, margin)(s, t, targets=y)
    for b in range(B):
        off = np.abs(s[b].numpy() - y[b].numpy())
        task_loss = sum(0.5 * x**2 if x < 1 else x - 0.5 for x in off)
        student_error, teacher_error = float((off**2).sum()), float(((t[b] - y[b]) ** 2).sum())
        assert parts["truth"][b].item() == pytest.approx(task_loss, rel=1e-9)
        assert parts["bounded"][b].item() == pytest.approx(
            nu * student_error if student_error + margin > teacher_error else 0.0, rel=1e-9
        )
    if margin == 0:
        assert parts["bounded"][0] == 0


@pytest.mark.parametrize("loss", [AttentiveImitation(), TeacherBoundedRegression()])
def test_refuses_targets_of_another_shape(loss: Loss) -> None:
    with pytest.raises(ConfigError, match=r"\(6, 4\) and the teacher's is \(6, 1\)"):
        loss(torch.randn(B, D), torch.randn(B, D), targets=torch.randn(B, 1))


def test_refuses_options() -> None:
    with pytest.raises(ConfigError, match="alpha=2"):
        AttentiveImitation(2)
    with pytest.raises(ConfigError, match="eta=0"):
        AttentiveImitation(eta=0)
    with pytest.raises(ConfigError, match="nu=-1"):
        TeacherBoundedRegression(-1)
