"""SemCKD against a plain implementation, per pair."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ConfigError
from tutelage.losses.feature.semckd import SemCKD


def build(size: int, **options: float) -> tuple[SemCKD, list[torch.Tensor], list[torch.Tensor]]:
    student = [torch.randn(size, 2, 4, 4).double(), torch.randn(size, 3, 2, 2).double()]
    teacher = [
        torch.randn(size, 3, 4, 4).double(),
        torch.randn(size, 4, 2, 2).double(),
        torch.randn(size, 2, 1, 1).double(),
    ]
    loss = SemCKD(**options)
    loss.build(student, teacher, 0)
    return loss.eval(), student, teacher


def pooled(x: torch.Tensor, side: int) -> torch.Tensor:
    return F.avg_pool2d(x, x.shape[2] // side)


@pytest.mark.parametrize("options", [{"batch_size": 6}, {"batch_size": 9, "factor": 2, "temperature": 0.5}])
def test_equals_the_formula(options: dict[str, float]) -> None:
    loss, student, teacher = build(6, **options)
    expected = torch.zeros(6).double()
    for b in range(6):
        for i, s in enumerate(student):
            scores, errors = [], []
            for j, t in enumerate(teacher):
                vectors = []
                for net, x in ((loss.queries[i], s), (loss.keys[j], t)):
                    row = torch.zeros(loss.batch_size).double()
                    row[:6] = torch.stack([(x[b] * sample).sum() for sample in x])
                    v = net(row)
                    vectors.append(v / v.norm())
                scores.append(vectors[0] @ vectors[1] / loss.temperature)
                side = min(s.shape[2], t.shape[2])
                errors.append((loss.projectors[f"{i}_{j}"](pooled(s, side))[b] - pooled(t, side)[b]).pow(2).mean())
            expected[b] += (torch.stack(scores).softmax(0) * torch.stack(errors)).sum() / 2
    torch.testing.assert_close(loss(student, teacher), expected)


def test_a_smaller_batch_is_padded_and_a_larger_raises() -> None:
    loss, student, teacher = build(6, batch_size=6)
    assert loss([x[:2] for x in student], [x[:2] for x in teacher]).shape == (2,)
    with pytest.raises(ConfigError, match="got a batch of 12"):
        loss([x.repeat(2, 1, 1, 1) for x in student], [x.repeat(2, 1, 1, 1) for x in teacher])
    with pytest.raises(ConfigError, match="factor=0"):
        SemCKD(factor=0)
