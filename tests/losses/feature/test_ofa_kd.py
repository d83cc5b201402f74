"""OFA-KD against a plain implementation: the enhanced target per class, and the stages' classifiers."""

from __future__ import annotations

import math

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.feature.ofa_kd import OFAKD, OFAResponse


def softmax(z: list[float], temperature: float) -> list[float]:
    powers = [math.exp(x / temperature) for x in z]
    return [p / sum(powers) for p in powers]


def plain_ofa(s: torch.Tensor, t: torch.Tensor, y: int, power: float, temperature: float) -> float:
    p, q = (softmax(z.tolist(), temperature) for z in (s, t))
    return -sum(((q[c] + (c == y)) ** power - (c == y)) * math.log(p[c]) for c in range(len(p)))


@pytest.mark.parametrize("options", [{}, {"power": 1.5, "temperature": 2.0}])
def test_equals_the_formula(options: dict[str, float]) -> None:
    s, t, y = torch.randn(4, 5).double(), torch.randn(4, 5).double(), torch.tensor([0, 4, 2, 2])
    power, temperature = options.get("power", 1.0), options.get("temperature", 1.0)
    expected = [plain_ofa(*row, power, temperature) for row in zip(s, t, y.tolist(), strict=True)]
    torch.testing.assert_close(OFAResponse(**options)(s, t, targets=y), torch.tensor(expected).double())


def test_stages_add_up() -> None:
    student = [torch.randn(3, c, side, side).double() for c, side in ((2, 8), (3, 4), (4, 2))]
    z, y = torch.randn(3, 5).double(), torch.tensor([1, 0, 4])
    loss = OFAKD(classes=5, power=1.3)
    loss.build(student, [*student[:2], torch.randn(3, 6, 2, 2)], 0)  # the teacher's last stage is wider
    loss.double().eval()
    sizes = [[tuple(m.weight.shape) for m in head if isinstance(m, torch.nn.Conv2d)] for head in loss.heads]
    assert sizes == [
        [
            (2, 1, 3, 3),
            (2, 2, 1, 1),
            (2, 1, 3, 3),
            (4, 2, 1, 1),
            (4, 1, 3, 3),
            (4, 4, 1, 1),
            (4, 1, 3, 3),
            (6, 4, 1, 1),
        ],
        [(3, 1, 3, 3), (3, 3, 1, 1), (3, 1, 3, 3), (6, 3, 1, 1)],
        [(6, 4, 1, 1)],
    ]
    assert [m.stride[0] for m in loss.heads[0] if isinstance(m, torch.nn.Conv2d)] == [2, 1, 1, 1, 2, 1, 1, 1]
    pooled = torch.einsum("dc,bc->bd", loss.heads[2][0].weight[..., 0, 0], student[2].mean((2, 3)))
    last = (pooled + loss.heads[2][0].bias) @ loss.heads[2][-1].weight.T + loss.heads[2][-1].bias
    torch.testing.assert_close(loss.heads[2](student[2]), last)
    exits = [head(x) for head, x in zip(loss.heads, student, strict=True)]
    expected = [sum(plain_ofa(e[i], z[i], int(y[i]), 1.3, 1.0) for e in exits) for i in range(3)]
    values = loss(student, [], teacher_response=z, targets=y)
    torch.testing.assert_close(values, torch.tensor(expected).double())


def test_raises_for_invalid_arguments() -> None:
    x = [torch.randn(2, 3, 4, 4)]
    loss = OFAKD()
    loss.build(x, x, 0)
    with pytest.raises(ConfigError, match="use classes=7"):
        loss(x, x, teacher_response=torch.randn(2, 7), targets=torch.tensor([0, 1]))
    with pytest.raises(ConfigError, match="power=0"):
        OFAResponse(power=0)
