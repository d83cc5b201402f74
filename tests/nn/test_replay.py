"""Outputs of modules, recorded in one forward and replayed in another."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage.errors import ModelError
from tutelage.nn.replay import record_outputs, replay_outputs
from tutelage.nn.tail import Tail

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


def test_outputs_come_in_order_and_further_calls_run_the_module():
    layer = nn.Linear(4, 4)
    with record_outputs({layer: 1}) as recording:
        first, second = layer(X), layer(2 * X)
    assert [x is first for x in recording[layer]] == [True]
    with replay_outputs(recording):
        assert layer(0 * X) is first
        assert torch.equal(layer(2 * X), second)
    assert "forward" not in vars(layer)


class Skipping(nn.Module):
    """A network that skips its first layer where its inputs are zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.fc = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(self.stem(x) if x.any() else x))


def test_a_module_that_is_called_less_often_is_named():
    layer = nn.Linear(4, 4)
    with pytest.raises(ModelError, match="a forward calls Linear less often than"), replay_outputs({layer: [X]}):
        pass
    with pytest.raises(ModelError, match="a forward calls Linear less often than"):
        Tail(Skipping(), "body", X)
