"""ICKD against a plain implementation, per channel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.losses.feature.ickd import ICKD


@pytest.mark.parametrize("normalised", [True, False])
def test_equals_the_formula(normalised: bool) -> None:
    """In evaluation, in which batch norm is a fixed map; the two maps differ in size."""
    student, teacher = torch.randn(2, 3, 4, 4).double(), torch.randn(2, 5, 2, 2).double()
    loss = ICKD(normalised=normalised)
    loss.build(student, teacher, 0)
    loss.eval()
    x = torch.einsum("dc,bchw->bdhw", loss.embed[0].weight[:, :, 0, 0], student) / (1 + 1e-5) ** 0.5
    for b, value in enumerate(loss(student, teacher)):
        grams = [[[(c * d).sum().item() for d in f[b]] for c in f[b]] for f in (x, teacher)]
        s, t = (np.array(g) / np.linalg.norm(g, axis=1, keepdims=True) if normalised else np.array(g) for g in grams)
        assert value.mean().item() == pytest.approx(((s - t) ** 2).sum() / 5)


def test_is_zero_for_the_teachers_own_correlations() -> None:
    x = torch.randn(4, 3, 4, 4).double()
    loss = ICKD()
    loss.build(x, x, 0)
    assert loss(x, loss.embed(x)).sum().item() < 1e-20
