"""PKD is 1 minus the correlation of each channel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ConfigError
from tutelage.losses.dense.pkd import PKD


def test_equals_the_formula() -> None:
    s, t = torch.randn(3, 2, 4, 5).double(), torch.randn(3, 2, 4, 5).double()
    for channel, value in enumerate(PKD()(s, 4 * t - 7).mean((0, 2, 3))):
        rho = np.corrcoef(s[:, channel].flatten(), t[:, channel].flatten())[0, 1]
        n = 3 * 4 * 5
        assert value.item() == pytest.approx(
            (1 - rho) * (n - 1) / n, rel=1e-5
        )  # unbiased deviation; 1e-6 in the divisor


@pytest.mark.parametrize("resize_student", [True, False])
def test_one_side_is_resized(resize_student: bool) -> None:
    s, t = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 6, 8)
    values = PKD(resize_student=resize_student)(s, t)
    at = (6, 8) if resize_student else (4, 4)
    resized = [F.interpolate(x, at, mode="bilinear", align_corners=False) if x.shape[2:] != at else x for x in (s, t)]
    torch.testing.assert_close(values, PKD()(*resized))


def test_raises_for_different_channels() -> None:
    with pytest.raises(ConfigError, match="connector"):
        PKD()(torch.randn(3, 2, 4, 4), torch.randn(3, 3, 4, 4))
