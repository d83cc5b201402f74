"""Manifold distillation against a plain implementation, per patch."""

from __future__ import annotations

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.feature.manifold import Manifold


def mismatch(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """The mismatch of (student's, teacher's) patches."""
    cos = torch.nn.functional.cosine_similarity
    return torch.stack([(cos(a, b, dim=0) - cos(p, q, dim=0)) ** 2 for a, p in pairs for b, q in pairs]).mean()


@pytest.mark.parametrize(
    "options", [{}, {"intra_weight": 2.0, "inter_weight": 3.0, "random_weight": 5.0, "sampled": 4}]
)
def test_equals_the_formula(options: dict[str, float]) -> None:
    student = [torch.randn(3, 2, 2, 2).double() for _ in range(2)]
    teacher = [torch.randn(3, 4, 2, 2).double() for _ in range(2)]
    rand = torch.rand(12)
    loss = Manifold(**options)
    values = loss(student, teacher, rand=rand)
    drawn = sorted(range(12), key=lambda n: float(rand[n]))[: loss.sampled]
    for layer in range(2):
        s, t = student[layer].flatten(2).mT, teacher[layer].flatten(2).mT
        everyone = [(s[n // 4, n % 4], t[n // 4, n % 4]) for n in range(12)]
        intra = torch.stack([mismatch(everyone[4 * b : 4 * b + 4]) for b in range(3)]).mean()
        inter = torch.stack([mismatch(everyone[n::4]) for n in range(4)]).mean()
        torch.testing.assert_close(values["intra"][layer], loss.intra_weight * intra)
        torch.testing.assert_close(values["inter"][layer], loss.inter_weight * inter)
        random = mismatch([everyone[n] for n in drawn])
        torch.testing.assert_close(values["random"][layer], loss.random_weight * random)


def test_each_call_draws_tokens_again() -> None:
    student, teacher = [torch.randn(4, 3, 4, 4)], [torch.randn(4, 3, 4, 4)]
    loss = Manifold(sampled=5)
    draws = torch.stack([loss(student, teacher)["random"] for _ in range(3)])
    assert len(draws.unique()) == 3
    with pytest.raises(ConfigError, match="sampled=0"):
        Manifold(sampled=0)
