"""MGD against its formula with fixed draws, and the masks of its own draws."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ConfigError
from tutelage.losses.feature.mgd import MGD


@pytest.mark.parametrize("shape", [(2, 4, 1, 1), (2, 1, 3, 3)])
def test_equals_the_formula(shape: tuple[int, ...]) -> None:
    student, teacher, rand = torch.randn(2, 3, 3, 3), torch.randn(2, 4, 3, 3), torch.rand(shape)
    loss = MGD(masked=0.4)
    loss.build(student, teacher, 0)
    x = F.conv2d(student, loss.align.weight, loss.align.bias)
    x = torch.where(rand.expand_as(x) < 0.4, 0.0, x)
    first, _, second = loss.generation
    x = F.conv2d(F.conv2d(x, first.weight, first.bias, padding=1).clamp_min(0), second.weight, second.bias, padding=1)
    expected = torch.stack([((a - b) ** 2).sum() for a, b in zip(x, teacher, strict=True)])
    torch.testing.assert_close(loss(student, teacher, rand=rand), expected)


@pytest.mark.parametrize(("mask", "dims"), [("channels", (2, 3)), ("positions", (1,))])
def test_masks_entire_channels_or_positions(mask: str, dims: tuple[int, ...]) -> None:
    x = torch.ones(64, 8, 4, 4)
    loss = MGD(mask=mask, masked=0.3)
    loss.build(x, x, 0)
    assert isinstance(loss.align, torch.nn.Identity)
    seen: list[torch.Tensor] = []
    loss.generation.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    loss(x, x)
    kept = seen[0].mean(dims)
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert kept.mean().item() == pytest.approx(0.7, abs=0.1)


def test_nothing_masked_is_plain_generation() -> None:
    x, t = torch.randn(2, 4, 4, 4), torch.randn(2, 4, 4, 4)
    loss = MGD(masked=0.0)
    loss.build(x, t, 0)
    torch.testing.assert_close(loss(x, t), (loss.generation(x) - t).pow(2).sum((1, 2, 3)))


def test_raises_for_invalid_arguments() -> None:
    with pytest.raises(ConfigError, match="masked=1"):
        MGD(masked=1)
    with pytest.raises(ConfigError, match="mask='pixels'"):
        MGD(mask="pixels")
