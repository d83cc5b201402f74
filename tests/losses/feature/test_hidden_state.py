"""HiddenState against a plain implementation, per token."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.feature.hidden_state import HiddenState


def layers(width: int, count: int = 2) -> list[torch.Tensor]:
    return [torch.randn(3, 4, width).double() for _ in range(count)]


@pytest.mark.parametrize("kind", ["mse", "cosine"])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_formula(kind: str, masked: bool) -> None:
    student, teacher = layers(5), layers(5)
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]) if masked else None
    expected = []
    for s, t in zip(student, teacher, strict=True):
        tokens = []
        for b in range(3):
            for n in range(4):
                if mask is not None and mask[b, n] == 0:
                    continue
                x, y = s[b, n].numpy(), t[b, n].numpy()
                cosine = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
                tokens.append(np.mean((x - y) ** 2) if kind == "mse" else 1 - cosine)
        expected.append(np.mean(tokens))
    loss = HiddenState(kind=kind, projection="none")
    loss.build(student, teacher, 0)
    assert loss(student, teacher, mask=mask).mean().item() == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(("projection", "learned"), [("each", 2), ("shared", 1)])
def test_projects_to_the_teachers_width(projection: str, learned: int) -> None:
    student, teacher = layers(3), layers(5)
    loss = HiddenState(projection=projection)
    loss.build(student, teacher, 0)
    assert len(loss.projections) == learned
    w = [loss.projections[i % learned] for i in range(2)]
    expected = torch.stack([(w[i](student[i]) - teacher[i]).pow(2).mean((1, 2)) for i in range(2)])
    torch.testing.assert_close(loss(student, teacher), expected)


def test_maps_and_vectors_are_tokens() -> None:
    student, teacher = torch.randn(2, 5, 3, 3), torch.randn(2, 5, 3, 3)
    loss = HiddenState(projection="none")
    loss.build([student], [teacher], 0)
    torch.testing.assert_close(loss([student], [teacher])[0], (student - teacher).pow(2).mean((1, 2, 3)))
    s, t = student[:, :, 0, 0], teacher[:, :, 0, 0]
    torch.testing.assert_close(loss([s], [t])[0], (s - t).pow(2).mean(1))


def test_an_empty_mask_gives_zero() -> None:
    student, teacher = layers(5), layers(5)
    loss = HiddenState(projection="none")
    loss.build(student, teacher, 0)
    assert loss(student, teacher, mask=torch.zeros(3, 4)).sum() == 0


def test_raises_for_invalid_arguments() -> None:
    with pytest.raises(ConfigError, match="expected 'mse' or 'cosine'"):
        HiddenState(kind="cosin")
    with pytest.raises(ConfigError, match="expected 'each', 'shared' or 'none'"):
        HiddenState(projection="both")
    with pytest.raises(ConfigError, match="differ in width"):
        HiddenState(projection="shared").build([*layers(3, 1), *layers(4, 1)], layers(5), 0)
    loss = HiddenState(projection="none")
    loss.build(layers(3), layers(5), 0)
    with pytest.raises(ConfigError, match="expected equal shapes"):
        loss(layers(3), layers(5))
