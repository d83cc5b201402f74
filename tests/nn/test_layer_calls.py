"""Names of parts of outputs and of repeated calls: `fpn:0`, `head:call=2`."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from tutelage.errors import ModelError, TutelageError
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.nn.model_profile import profile_model
from tutelage.structures import Batch

X = torch.arange(24.0).reshape(2, 3, 2, 2)


class Levels(nn.Module):
    """Outputs as feature pyramids have them: a mapping, and a list."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return OrderedDict([("0", x + 1), ("pool", x + 2)])


class Pair(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [x + 3, x + 4]


class Detector(nn.Module):
    """A head that runs once a level."""

    def __init__(self) -> None:
        super().__init__()
        self.fpn, self.pair, self.head, self.once = Levels(), Pair(), nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        levels = self.fpn(self.once(x))
        outputs = [self.head(level) for level in levels.values()]
        return torch.cat([*outputs, *self.pair(x)], 1)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("fpn:0", X + 1),
        ("fpn:pool", X + 2),
        ("pair:1", X + 4),
        ("head:call=1", X + 1),
        ("head:call=2", X + 2),
        ("head:call=2:in", X + 2),
        ("once:call=1", X),
    ],
)
def test_parts_and_calls_are_captured(layer, expected):
    extractor = FeatureExtractor(Detector(), [layer])
    for _ in range(2):  # the calls are counted anew in each forward
        assert torch.equal(extractor(X)[layer], expected)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("fpn:7", "7"),
        ("fpn", "fpn"),
        ("head", "call=1"),
        ("head:call=3", "call=3"),
        ("head:call=0", "call=0"),
        ("nowhere:0", "nowhere"),
    ],
)
def test_names_that_mean_nothing_are_refused(layer, message):
    with pytest.raises(TutelageError, match=message):
        FeatureExtractor(Detector(), [layer])(X)


def test_layers_are_listed_with_their_parts_and_the_number_of_calls():
    calls = {layer.name: layer.calls for layer in profile_model(Detector(), Batch(X)).layers}
    assert {"fpn:0": 1, "fpn:pool": 1, "once": 1, "head": 2}.items() <= calls.items()


def test_a_listed_layer_can_be_captured():
    profile = profile_model(Detector(), Batch(X))
    for layer in profile.layers:
        for name in [layer.name] if layer.calls == 1 else [f"{layer.name}:call={n}" for n in (1, 2)]:
            assert profile.feature(name).shape[1:] == layer.shape


def test_the_message_names_what_a_mapping_has():
    with pytest.raises(ModelError, match="pool"):
        FeatureExtractor(Detector(), ["fpn:9"])(X)
