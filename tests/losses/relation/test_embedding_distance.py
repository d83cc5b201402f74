"""Distances of embeddings against their formulas."""

from __future__ import annotations

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.relation.embedding_distance import EmbeddingCosine, EmbeddingL2, EmbeddingSmoothL1


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(4, 5).double(), 3 * torch.randn(4, 5).double()


def test_cosine_and_l2_compare_directions() -> None:
    s, t = pair()
    cosine = (s * t).sum(1) / s.norm(dim=1) / t.norm(dim=1)
    torch.testing.assert_close(EmbeddingCosine()(s, t), 1 - cosine)
    torch.testing.assert_close(EmbeddingL2()(s, t), 2 - 2 * cosine)
    torch.testing.assert_close(EmbeddingL2()(7 * s, t), EmbeddingL2()(s, t))


@pytest.mark.parametrize("beta", [2.0, 0.3])
def test_smooth_l1_compares_with_the_standardised_teacher(beta: float) -> None:
    s, t = pair()
    targets = (t - t.mean(1, keepdim=True)) / (t.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    gap = (s - targets).abs()
    expected = torch.where(gap < beta, gap.square() / (2 * beta), gap - beta / 2).mean(1)
    torch.testing.assert_close(EmbeddingSmoothL1(beta=beta)(s, t), expected)


@pytest.mark.parametrize(
    "loss", [EmbeddingCosine(), EmbeddingL2(), EmbeddingSmoothL1()], ids=lambda x: type(x).__name__
)
def test_other_shapes_are_refused(loss: EmbeddingCosine) -> None:
    with pytest.raises(ConfigError, match="expected equal shapes"):
        loss(torch.randn(4, 5), torch.randn(4, 6))
    with pytest.raises(ConfigError, match="expected vectors"):
        loss(torch.randn(4, 5, 2, 2), torch.randn(4, 5, 2, 2))
