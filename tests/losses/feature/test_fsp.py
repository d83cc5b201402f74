"""FSP and TokenMMD against a plain implementation from their Gram matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ConfigError
from tutelage.losses.feature.fsp import FSP, TokenMMD


def test_fsp_equals_the_formula_with_three_sizes() -> None:
    student, teacher = (
        [torch.randn(2, c, side, side).double() for c, side in ((3, 4), (4, 4), (5, 2))] for _ in range(2)
    )
    expected = np.zeros(2)
    for level in (0, 1):
        grams = []
        for x, y in ((f[level], f[level + 1]) for f in (student, teacher)):
            x = F.avg_pool2d(x, x.shape[2] // y.shape[2])
            grams.append(sum(np.einsum("bc,bd->bcd", x[..., i, j], y[..., i, j]) for i, j in np.ndindex(*x.shape[2:])))
        positions = student[level + 1].shape[2] ** 2
        expected += (((grams[0] - grams[1]) / positions) ** 2).mean((1, 2))
    np.testing.assert_allclose(FSP()(student, teacher).numpy(), expected)


def test_fsp_of_tokens_leaves_out_masked_tokens() -> None:
    student, teacher = ([torch.randn(2, 4, 3).double() for _ in range(2)] for _ in range(2))
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    value = FSP()(student, teacher, mask=mask)
    for b, n in ((0, 3), (1, 1)):
        cut = [[x[b : b + 1, :n] for x in side] for side in (student, teacher)]
        torch.testing.assert_close(value[b : b + 1], FSP()(*cut))
    assert FSP()(student, teacher, mask=torch.zeros(2, 4)).sum() == 0


def test_token_mmd_equals_the_formula() -> None:
    student = [torch.randn(2, 4, 3).double() for _ in range(3)]
    teacher = [torch.randn(2, 4, 6).double() for _ in range(3)]
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 1]])
    for kept in (None, mask):
        expected = 0.0
        for level in (0, 1):
            squares = [
                (
                    student[level][b, i] @ student[level + 1][b, j] / 3
                    - teacher[level][b, i] @ teacher[level + 1][b, j] / 6
                )
                ** 2
                for b, i, j in np.ndindex(2, 4, 4)
                if kept is None or (kept[b, i] and kept[b, j])
            ]
            expected += np.mean(squares)
        assert TokenMMD()(student, teacher, mask=kept).mean().item() == pytest.approx(expected)


def test_raises_for_invalid_arguments() -> None:
    x = torch.randn(2, 3, 4, 4)
    for kind in (FSP, TokenMMD):
        with pytest.raises(ConfigError, match="two or more"):
            kind()([x], [x])
    with pytest.raises(ConfigError, match="widths 3 and 2"):
        TokenMMD()([x, x[:, :2]], [x, x[:, :2]])
    with pytest.raises(ConfigError, match="expected equal shapes"):
        FSP()([x, x], [x, x[:, :2]])
