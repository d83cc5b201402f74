"""ViTKD against a plain implementation, per token."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ConfigError
from tutelage.losses.feature.vitkd import ViTKD


def maps(width: int, count: int = 3) -> list[torch.Tensor]:
    return [torch.randn(2, width, 3, 3).double() for _ in range(count)]


@pytest.mark.parametrize("masked", [0.5, 0.2])
def test_equals_the_formula(masked: float) -> None:
    student, teacher, rand = maps(4), maps(5), torch.rand(2, 9)
    loss = ViTKD(masked=masked, alpha=2.0, beta=3.0)
    loss.build(student, teacher, 0)
    torch.nn.init.normal_(loss.mask_token)
    parts = loss(student, teacher, rand=rand)
    x = [
        torch.einsum("dc,bchw->bdhw", a.weight, s) + a.bias[:, None, None]
        for a, s in zip(loss.align, student, strict=True)
    ]
    mimic = sum(((x[i] - teacher[i]) ** 2).sum((1, 2, 3)) for i in (0, 1))
    torch.testing.assert_close(parts["mimic"], 2 * mimic)

    kept = int(9 * (1 - masked))
    last = x[2].clone()
    hidden = torch.zeros(2, 3, 3, dtype=torch.bool)
    for b in range(2):
        for number in rand[b].argsort()[kept:].tolist():
            hidden[b, number // 3, number % 3] = True
            last[b, :, number // 3, number % 3] = loss.mask_token[0, 0]
    first, _, second = loss.generation
    y = F.conv2d(
        F.conv2d(last, first.weight, first.bias, padding=1).clamp_min(0), second.weight, second.bias, padding=1
    )
    expected = torch.stack([((y - teacher[2]) ** 2)[b][:, hidden[b]].sum() for b in range(2)])
    torch.testing.assert_close(parts["generate"], 3 / masked * expected)


def test_equal_widths_need_no_alignment() -> None:
    loss = ViTKD()
    loss.build(maps(4), maps(4), 0)
    assert not list(loss.align.parameters())


def test_raises_for_invalid_arguments() -> None:
    with pytest.raises(ConfigError, match="masked=1"):
        ViTKD(masked=1)
    loss = ViTKD()
    loss.build(maps(4), maps(4), 0)
    with pytest.raises(ConfigError, match="expected equal shapes"):
        loss(maps(4), [F.avg_pool2d(x, 3) for x in maps(4)])
