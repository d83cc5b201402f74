"""RelativeTeacher against loops over pairs, AbsoluteTeacher sample by sample."""

from __future__ import annotations

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.relation.relative_teacher import AbsoluteTeacher, RelativeTeacher


def test_reads_like_the_paper() -> None:
    s, t = torch.randn(5, 3).double(), torch.randn(5, 4).double()
    expected = [sum(abs((s[i] - s[j]).norm() - (t[i] - t[j]).norm()) for j in range(5)) / 5 for i in range(5)]
    torch.testing.assert_close(RelativeTeacher()(s, t), torch.stack(expected), rtol=0, atol=1e-6)
    assert RelativeTeacher()(s[:1], t[:1]).item() == 0


def test_the_authors_codes_is_the_norm_of_the_batchs_differences() -> None:
    s, t = torch.randn(5, 3).double(), torch.randn(5, 4).double()
    total = sum(((s[i] - s[j]).norm() - (t[i] - t[j]).norm()) ** 2 for i in range(5) for j in range(5))
    torch.testing.assert_close(RelativeTeacher(frobenius=True)(s, t), total.sqrt(), rtol=1e-6, atol=1e-6)


def test_the_absolute_teachers_distance_is_not_squared() -> None:
    s, t = torch.randn(5, 3).double(), torch.randn(5, 3).double()
    torch.testing.assert_close(AbsoluteTeacher()(s, t), ((s - t) ** 2).sum(1).sqrt(), rtol=1e-5, atol=1e-5)
    same = t.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(AbsoluteTeacher()(same, t).sum(), same)
    assert gradient.isfinite().all()
    with pytest.raises(ConfigError, match=r"\(5, 4\)"):
        AbsoluteTeacher()(s, torch.randn(5, 4))


def test_gradient() -> None:
    s, t = torch.randn(5, 3).double().requires_grad_(), torch.randn(5, 4).double()
    assert torch.autograd.gradcheck(lambda x: RelativeTeacher()(x, t), s)
