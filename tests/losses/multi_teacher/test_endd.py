"""EnD² against scipy's density, and the schedule of its temperature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import dirichlet

from tutelage.errors import ConfigError
from tutelage.losses.multi_teacher.endd import EnDD


@pytest.mark.parametrize(
    ("options", "epoch", "temperature"),
    [
        ({}, None, 10.0),
        ({}, 0.0, 10.0),
        ({}, 15.0, 5.5),
        ({}, 60.0, 1.0),
        ({"temperature": 2.5, "anneal": 0.0, "eps": 0.01}, 7.0, 2.5),
        ({"square": False}, 15.0, 5.5),
    ],
)
def test_equals_the_formula(options: dict[str, float], epoch: float | None, temperature: float) -> None:
    s, teachers = torch.randn(5, 4).double() * 3, [torch.randn(5, 4).double() * 3 for _ in range(3)]
    loss = EnDD(**options, smoothing=0)  # scipy's density has none
    values, eps = loss(s, teachers, epoch=epoch), options.get("eps", 1e-3)
    square = temperature**2 if loss.square else 1
    for b in range(5):
        alpha = np.exp(s[b].numpy() / temperature)
        probabilities = [(1 - eps) * softmax(t[b].numpy() / temperature) + eps / 4 for t in teachers]
        expected = -square * np.mean([dirichlet.logpdf(p / p.sum(), alpha) for p in probabilities])
        assert values[b].item() == pytest.approx(expected, rel=1e-8)


def test_smoothing_keeps_values_finite_and_changes_little() -> None:
    s, teachers = torch.randn(5, 4).double() * 3, [torch.randn(5, 4).double() for _ in range(3)]
    torch.testing.assert_close(EnDD()(s, teachers), EnDD(smoothing=0)(s, teachers), rtol=1e-6, atol=1e-6)
    assert EnDD(temperature=1.0)(torch.full((2, 4), -60.0), torch.randn(3, 2, 4)).isfinite().all()


@pytest.mark.parametrize("options", [{"eps": 0}, {"smoothing": -1.0}, {"anneal": -1.0}])
def test_raises_for_numbers_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        EnDD(**options)


def test_raises_for_different_classes() -> None:
    with pytest.raises(ConfigError, match=r"\(5, 4\)"):
        EnDD()(torch.randn(5, 4), [torch.randn(5, 3)])
