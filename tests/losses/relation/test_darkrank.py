"""HardDarkRank against the paper's product of choices."""

from __future__ import annotations

import math

import pytest
import torch

from tutelage.losses.relation.darkrank import HardDarkRank


@pytest.mark.parametrize("options", [{}, {"alpha": 1.0, "beta": 1.5, "permute_len": 2}])
@pytest.mark.parametrize("size", [7, 3, 1])
def test_reads_like_the_paper(options: dict[str, float], size: int) -> None:
    s, t = torch.randn(size, 3).double() / 2, torch.randn(size, 5).double()
    alpha, beta, length = (options.get(k, v) for k, v in (("alpha", 3), ("beta", 3), ("permute_len", 4)))
    values = HardDarkRank(**options)(s, t)
    for i in range(size):
        neighbours = sorted((j for j in range(size) if j != i), key=lambda j: float((t[i] - t[j]).norm()))[
            : int(length)
        ]
        score = [math.exp(-alpha * float((s[i] - s[j]).norm()) ** beta) for j in neighbours]
        chance = math.prod(score[k] / sum(score[k:]) for k in range(len(score)))
        assert values[i].item() == pytest.approx(-math.log(chance), rel=1e-8, abs=1e-12)


def test_gradient() -> None:
    s, t = torch.randn(6, 3).double().requires_grad_(), torch.randn(6, 5).double()
    assert torch.autograd.gradcheck(lambda x: HardDarkRank()(x, t), s)
