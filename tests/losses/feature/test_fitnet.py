"""FitNet by hand; its regressor is tested with the connectors."""

from __future__ import annotations

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.feature.fitnet import FitNet


def test_squares_each_difference() -> None:
    s, t = torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1), torch.tensor([3.0, -1.0]).reshape(1, 2, 1, 1)
    assert FitNet()(s, t).flatten().tolist() == [4.0, 9.0]


def test_raises_for_maps_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="put a connector"):
        FitNet()(torch.randn(2, 3, 4, 4), torch.randn(2, 3, 1, 1))
