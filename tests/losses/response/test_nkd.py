"""NKD against a slow reading."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from tutelage.losses.response.nkd import NKD


@pytest.mark.parametrize("options", [{}, {"gamma": 3.5, "temperature": 3.0}])
def test_reads_like_the_paper(options: dict[str, float]) -> None:
    s, t, y = torch.randn(7, 5).double() * 2, torch.randn(7, 5).double() * 2, torch.randint(5, (7,))
    parts = NKD(**options)(s, t, targets=y)
    gamma, temperature = options.get("gamma", 1.5), options.get("temperature", 1.0)
    for b in range(7):
        target = -softmax(t[b].numpy())[y[b]] * log_softmax(s[b].numpy())[y[b]]
        s_others, t_others = (np.delete(z[b].numpy(), y[b]) / temperature for z in (s, t))
        non_target = -gamma * temperature**2 * (softmax(t_others) * log_softmax(s_others)).sum()
        assert parts["target"][b].item() == pytest.approx(target, rel=1e-9)
        assert parts["non_target"][b].item() == pytest.approx(non_target, rel=1e-9)
