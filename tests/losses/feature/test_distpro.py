"""DistPro against a plain implementation, per path."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tutelage.losses.feature.distpro import DistPro


def test_equals_the_formula() -> None:
    student = [torch.randn(6, 2, 4, 4).double(), torch.randn(6, 3, 2, 2).double()]
    teacher = [torch.randn(6, c, side, side).double() for c, side in ((3, 4), (4, 1))]
    loss = DistPro()
    loss.build(student, teacher, 0)
    assert set(loss.regressors) == {"0_0", "1_0", "1_1"}
    weights = torch.rand(6, 2, 2).double()
    expected = torch.zeros(6).double()
    for b in range(6):
        for i, s in enumerate(student):
            for j, t in enumerate(teacher[: i + 1]):
                side = min(s.shape[2], t.shape[2])
                student_map, teacher_map = (F.avg_pool2d(x, x.shape[2] // side)[b : b + 1] for x in (s, t))
                error = loss.regressors[f"{i}_{j}"](student_map) - teacher_map
                levels = [error, *(F.adaptive_avg_pool2d(error, k) for k in (4, 2, 1) if k < side)]
                halves = [0.5**k for k in range(len(levels))]
                hcl = sum(h * (x**2).sum() / x.numel() for h, x in zip(halves, levels, strict=True)) / sum(halves)
                expected[b] += weights[b, i, j] * hcl
    torch.testing.assert_close(loss(student, teacher, pair_weights=weights), expected)
