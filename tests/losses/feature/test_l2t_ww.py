"""L2T-ww against a plain implementation, per sample, pair and channel."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tutelage.losses.feature.l2t_ww import L2TWW


def test_equals_the_formula() -> None:
    student = [torch.randn(6, 2, 4, 4).double(), torch.randn(6, 3, 2, 2).double()]
    teacher = [torch.randn(6, c, side, side).double() for c, side in ((3, 4), (4, 2), (2, 1))]
    loss = L2TWW()
    loss.build(student, teacher, 0)
    pairs = torch.rand(6, 2, 3).double()
    channels = [torch.rand(6, 2, t.shape[1]).double() for t in teacher]
    expected = torch.zeros(6).double()
    for b in range(6):
        for i, s in enumerate(student):
            for j, t in enumerate(teacher):
                net, side, student_map = loss.regressors[f"{i}_{j}"], s.shape[2], s[b]
                teacher_map = (
                    t[b] if t.shape[2] == side else F.interpolate(t[b : b + 1], (side, side), mode="bilinear")[0]
                )
                for c in range(t.shape[1]):
                    projected = (
                        sum(net.weight[c, k, 0, 0] * student_map[k] for k in range(len(student_map))) + net.bias[c]
                    )
                    square = ((projected - teacher_map[c]) ** 2).sum() / (side * side)
                    expected[b] += pairs[b, i, j] * channels[j][b, i, c] * square
    torch.testing.assert_close(loss(student, teacher, pair_weights=pairs, channel_weights=channels), expected)
