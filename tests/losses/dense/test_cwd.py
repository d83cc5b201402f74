"""CWD against loops over samples and channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.losses.dense.cwd import CWD


@pytest.mark.parametrize("temperature", [4.0, 1.0, 0.3])
def test_equals_the_formula(temperature: float) -> None:
    s, t = torch.randn(2, 3, 4, 5).double(), torch.randn(2, 3, 4, 5).double()
    values = CWD(temperature=temperature)(s, t)
    assert values.shape == (2, 3)
    for b in range(2):
        for c in range(3):
            p, q = (np.exp(x[b, c].numpy() / temperature) for x in (s, t))
            p, q = p / p.sum(), q / q.sum()
            assert values[b, c].item() == pytest.approx(temperature**2 * (q * np.log(q / p)).sum(), rel=1e-9)


def test_default_is_the_papers_temperature() -> None:
    s, t = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(CWD()(s, t), CWD(temperature=4.0)(s, t))


def test_a_shift_of_a_channel_changes_nothing() -> None:
    s, t = torch.randn(2, 3, 4, 5).double(), torch.randn(2, 3, 4, 5).double()
    torch.testing.assert_close(CWD()(s + torch.randn(2, 3, 1, 1), t), CWD()(s, t))
