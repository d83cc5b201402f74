"""The map of a series is told from tokens by the model's modules."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tutelage import Batch, models
from tutelage.errors import ConfigError
from tutelage.nn.feature_extractor import run_once
from tutelage.nn.layouts import is_series
from tutelage.nn.model_profile import profile_model

T, N, C = 12, 7, 6


class Residual(nn.Module):
    """A convolutional block of a series whose sum and activation are functions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(C, C, 3, padding=1), nn.BatchNorm1d(C)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) → (B, C, T)."""
        return (x + self.norm(self.conv(x))).relu()


class Next(nn.Module):
    """A block as in ConvNeXt: its norm and linear layers work on transposed tensors within."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.mlp = nn.Conv1d(C, C, 7, padding=3, groups=C), nn.LayerNorm(C), nn.Linear(C, C)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) → (B, C, T)."""
        return x + self.mlp(self.norm(self.conv(x).mT)).mT


class Speech(nn.Module):
    """Convolutions of a waveform, then a transformer's blocks, one of which has a convolution within."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(2, C, 5, 2, 2), nn.BatchNorm1d(C), nn.ReLU())
        self.res, self.next, self.act = Residual(), Next(), nn.GELU()
        self.block = nn.TransformerEncoderLayer(C, 2, 12, batch_first=True)
        self.mix, self.norm = nn.Conv1d(C, C, 3, padding=1), nn.LayerNorm(C)
        self.rnn = nn.GRU(C, 5, batch_first=True, bidirectional=True)
        self.drop, self.fc = nn.Dropout(), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2, T) → (B, 3)."""
        tokens = self.block(self.act(self.next(self.res(self.stem(x)))).mT)
        tokens = self.norm(tokens + self.mix(tokens.mT).mT)
        return self.fc(self.drop(self.rnn(tokens)[0]).mean(1))


SERIES = ["stem", "stem.0", "stem.1", "stem.2", "res", "res.conv", "next", "next.conv", "act", "mix"]
TOKENS = ["next.norm", "next.mlp", "block", "block.norm2", "norm", "rnn", "drop"]


@pytest.fixture
def speech() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Speech().eval(), torch.randn(4, 2, 2 * T)


@pytest.mark.parametrize("layer", SERIES + TOKENS)
def test_the_layout_is_the_modules(speech: tuple[nn.Module, Tensor], layer: str) -> None:
    model, x = speech
    plain, mapped_or_tokens = run_once(model, x, [layer, f"{layer}:patches"]).features.values()
    profile = profile_model(model, Batch(x))
    assert profile.is_series(layer) == (layer in SERIES)
    if layer in SERIES:
        assert plain.shape == (4, C, T)
        assert torch.equal(mapped_or_tokens, plain.mT)
        assert torch.equal(run_once(model, x, [f"{layer}:map"])[f"{layer}:map"], plain)
        assert (profile.name_with_form(layer, "map"), profile.name_with_form(layer, "")) == (layer, f"{layer}:patches")
    else:
        assert plain.shape[1] == T
        assert torch.equal(mapped_or_tokens, plain)
        assert (profile.name_with_form(layer, "map"), profile.name_with_form(layer, "")) == (f"{layer}:map", layer)


@pytest.mark.parametrize(("layer", "series"), [("res", True), ("mix", True), ("block", False), ("fc", False)])
def test_inputs_have_a_layout_too(speech: tuple[nn.Module, Tensor], layer: str, series: bool) -> None:
    model, x = speech
    assert profile_model(model, Batch(x)).is_series(f"{layer}:in") == series


def test_stages_are_those_of_the_series() -> None:
    """Also where a block's sum and activation are functions, and its submodules are wider than the block."""

    def stage(stride: int) -> nn.Module:
        return nn.Sequential(nn.Conv1d(C, C, 3, stride, 1), Residual(), Residual())

    model = nn.Sequential(nn.Conv1d(2, C, 1), stage(1), stage(2), stage(2), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    profile = profile_model(model, Batch(torch.randn(2, 2, T)))
    assert [(x.name, x.shape) for x in profile.stages] == [("1", (C, T)), ("2", (C, T // 2)), ("3", (C, T // 4))]


def test_an_image_network_with_a_convolution_over_channels_has_images() -> None:
    """Efficient channel attention convolves a vector; that is no stage of an image."""
    import timm

    model = timm.create_model("ecaresnet26t", num_classes=4)
    assert all(len(stage.shape) == 3 for stage in profile_model(model, Batch(torch.randn(2, 3, 64, 64))).stages)


def test_channels_last_voxels_come_channels_first() -> None:
    class Swin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.fc = nn.LayerNorm(5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.norm(x.movedim(1, -1)).mean((1, 2, 3)))

    model, x = Swin(), torch.randn(2, 5, 4, 3, 2)
    assert run_once(model, x, ["norm"])["norm"].shape == x.shape
    assert next(iter(profile_model(model, Batch(x)).layers)).shape == (5, 4, 3, 2)


def test_forms_that_no_series_has_are_refused() -> None:
    model = models.create("conv1d-2-4", classes=3, channels=2).model
    x = torch.randn(4, 2, T)
    with pytest.raises(ConfigError, match=r"4x3 is a grid of tokens"):
        run_once(model, x, ["layer1:4x3"])
    profile = profile_model(model, Batch(x))
    with pytest.raises(ConfigError, match=r"'layer1:patches' is tokens \(2, 12, 4\), and a map is compared"):
        profile.name_with_form("layer1:patches", "map")


def test_only_two_dimensions_are_a_series() -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 1))
    assert is_series(model, "0", (3, 8))
    assert not is_series(model, "0", (3,))
    assert not is_series(model, "0", (3, 8, 8))
