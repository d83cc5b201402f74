"""AB against a plain implementation, per element."""

from __future__ import annotations

import itertools

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.feature.ab import AB


@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_equals_the_formula(margin: float) -> None:
    student, teacher = ([torch.randn(3, 2, side, side).double() for side in (4, 2, 1)] for _ in range(2))
    expected = torch.zeros(3).double()
    for layer, weight in ((0, 0.25), (1, 0.5), (2, 1.0)):
        s, t = student[layer], teacher[layer]
        for at in itertools.product(*map(range, s.shape)):
            if t[at] > 0 and s[at] <= margin:
                expected[at[0]] += weight * (s[at] - margin) ** 2
            if t[at] <= 0 and s[at] > -margin:
                expected[at[0]] += weight * (s[at] + margin) ** 2
    torch.testing.assert_close(AB(margin=margin)(student, teacher), expected)


def test_is_zero_beyond_the_margin_on_the_teachers_side() -> None:
    teacher = torch.randn(2, 3, 4, 4)
    assert AB()([teacher.sign() * 5], [teacher]).sum() == 0


def test_raises_for_lists_that_do_not_pair() -> None:
    x = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ConfigError, match="1 student layers and 2 teacher layers"):
        AB()([x], [x, x])
    with pytest.raises(ConfigError, match="expected equal shapes"):
        AB()([x], [x[:, :1]])
    with pytest.raises(ConfigError, match="margin=0"):
        AB(margin=0)
