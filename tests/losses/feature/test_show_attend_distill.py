"""Show, attend and distill against a plain implementation, per layer."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ConfigError
from tutelage.losses.feature.show_attend_distill import ShowAttendDistill


def energy(x: torch.Tensor, side: int) -> torch.Tensor:
    """Return the energy of one sample (C, H, W), pooled to side × side, of unit length."""
    squares = F.avg_pool2d((x**2).mean(0)[None, None], x.shape[1] // side).flatten()
    return squares / squares.norm()


@pytest.mark.parametrize("options", [{}, {"dim": 3}])
def test_equals_the_formula(options: dict[str, int]) -> None:
    student = [torch.randn(4, c, side, side).double() for c, side in ((2, 8), (3, 4), (5, 4))]
    teacher = [torch.randn(4, c, side, side).double() for c, side in ((3, 4), (4, 2))]
    loss = ShowAttendDistill(**options)
    loss.build(student, teacher, 0)
    loss.eval()
    d = loss.dim
    expected = torch.zeros(4).double()
    for b in range(4):
        for i, t in enumerate(teacher):
            query = loss.queries[i](t[b].mean((1, 2))[None])[0]
            scores, errors = [], []
            for j, s in enumerate(student):
                key = loss.keys[j](s[b].mean((1, 2))[None]).clamp_min(0)
                bilinear = loss.bilinear(key)[0, i * d : (i + 1) * d]
                scores.append((query @ bilinear + loss.teacher_places[i] @ loss.student_places[j]) / math.sqrt(d))
                side = t.shape[2]
                errors.append((energy(s[b], side) - energy(t[b], side)).pow(2).mean())
            expected[b] += (torch.stack(scores).softmax(0) * torch.stack(errors)).sum()
    torch.testing.assert_close(loss(student, teacher), expected)


def test_raises_for_invalid_arguments() -> None:
    with pytest.raises(ConfigError, match="dim=0"):
        ShowAttendDistill(dim=0)
