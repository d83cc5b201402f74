"""Boundary samples: for a linear teacher each step is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tutelage.errors import ConfigError
from tutelage.losses.adversarial.boundary import boundary_samples, other_classes


@pytest.mark.parametrize("options", [{}, {"steps": 3, "step_size": 0.9, "eps": 0.1, "low": -1.0, "high": 1.5}])
def test_reads_like_the_paper(options: dict[str, float]) -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).double()
    weight, bias = (p.detach().numpy() for p in teacher[1].parameters())
    x, towards = torch.rand(6, 2, 2).double(), torch.randint(3, (6,))
    moved = boundary_samples(teacher, x, towards, **options)
    for b in range(6):
        at, k = x[b].flatten().numpy(), int(towards[b])
        first = (weight @ at + bias).argmax()
        for _ in range(int(options.get("steps", 10))):
            t = weight @ at + bias
            if t.argmax() != first or k == first:
                break
            slope = weight[first] - weight[k]
            step = options.get("step_size", 0.3) * (t[first] - t[k] + options.get("eps", 1e-4))
            at = np.clip(at - step * slope / np.linalg.norm(slope), options.get("low", -2.5), options.get("high", 2.5))
        np.testing.assert_allclose(moved[b].flatten().numpy(), at, rtol=1e-9)
    assert all(p.grad is None for p in teacher.parameters())
    assert not moved.requires_grad
    assert not x.requires_grad


def test_most_end_near_the_boundary() -> None:
    teacher = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
    x = torch.randn(40, 4)
    towards = teacher(x).topk(2).indices[:, 1]
    before, after = (teacher(z).softmax(1).topk(2).values for z in (x, boundary_samples(teacher, x, towards)))
    assert (after[:, 0] - after[:, 1]).mean() < 0.5 * (before[:, 0] - before[:, 1]).mean()


def test_other_classes_are_drawn_by_the_teacher() -> None:
    logits = torch.tensor([[5.0, 0.0, np.log(3.0)]]).expand(4000, 3)
    drawn = other_classes(logits, torch.zeros(4000, dtype=torch.long))
    assert (drawn > 0).all()
    assert (drawn == 2).float().mean().item() == pytest.approx(0.75, abs=0.04)


def test_refuses_no_steps() -> None:
    with pytest.raises(ConfigError, match="steps=0"):
        boundary_samples(nn.Identity(), torch.randn(2, 3), torch.zeros(2, dtype=torch.long), steps=0)
