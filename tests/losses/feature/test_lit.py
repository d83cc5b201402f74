"""LIT against its formula."""

from __future__ import annotations

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.feature.lit import LIT


def test_equals_the_formula() -> None:
    student, teacher = torch.randn(3, 4, 2, 2).double(), torch.randn(3, 4, 2, 2).double()
    by_hand = [(s - t) ** 2 for s, t in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True)]
    assert LIT()(student, teacher).flatten().tolist() == pytest.approx(by_hand)
    assert LIT.default_weight == 0.125


def test_raises_for_invalid_arguments() -> None:
    with pytest.raises(ConfigError, match="expected equal shapes"):
        LIT()(torch.zeros(2, 3, 2, 2), torch.zeros(2, 4, 2, 2))
