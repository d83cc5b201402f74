"""Spectrograms within networks, and the names of networks of waveforms."""

from __future__ import annotations

import pytest
import torch
import torchaudio

from tutelage import models
from tutelage.errors import ConfigError, ModelError
from tutelage.models.front_ends import FLOOR, LogMel, LogSpectrogram
from tutelage.nn.model_profile import profile_model
from tutelage.structures import Batch


def test_mel_bands_are_those_of_torchaudio_normalised_in_each_waveform():
    x = torch.randn(3, 1, 2000)
    settings = {"n_fft": 256, "win_length": 256, "hop_length": 128, "pad_mode": "constant"}
    power = torchaudio.transforms.MelSpectrogram(8000, n_mels=20, **settings)(x)
    level = (power / power.mean((1, 2, 3), keepdim=True) + FLOOR).log()
    expected = (level - level.mean((1, 2, 3), keepdim=True)) / level.std((1, 2, 3), keepdim=True, correction=0)
    assert torch.allclose(LogMel(8000, 20)(x), expected, atol=1e-3)
    assert LogSpectrogram(8000)(x).shape == (3, 1, 129, 16)


def test_loudness_changes_nothing_and_silence_is_finite():
    x = torch.randn(2, 1, 1500)
    for front_end in (LogMel(8000), LogSpectrogram(8000)):
        assert torch.allclose(front_end(x), front_end(x / 50), atol=1e-3)
        assert front_end(torch.zeros(1, 1, 1500)).abs().max() == 0
        assert front_end.window_length == 256


@pytest.mark.parametrize("name", ["mel:8000:resnet8", "mel:8000:24:cnn4", "spectrogram:8000:cnn4", "mel:2000:8:seg4"])
def test_any_network_of_images_takes_waveforms(name):
    if "seg" in name:
        with pytest.raises(ConfigError, match="is a network for segmentation"):
            models.create(name, classes=5, channels=1, size=(2000,))
        return
    loaded = models.create(name, classes=5, channels=1, size=(2000,))
    profile = profile_model(loaded.model, Batch(torch.randn(2, 1, 2000)))
    assert profile.response.shape == (2, 5)
    assert all(stage.name.startswith("network.") for stage in profile.stages), "the spectrogram is none"
    assert profile.embedding == "network.fc:in"
    x = torch.randn(2, 1, 2000, requires_grad=True)
    loaded.model(x).square().sum().backward()
    assert x.grad.abs().sum() > 0
    assert models.create(name, classes=0, channels=1, size=(2000,)).model(x).dim() == 2


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("mel:resnet8", (2000,), "expected mel:RATE"),
        ("mel:8000", (2000,), "expected mel:RATE"),
        ("spectrogram:8000:40:cnn4", (2000,), "expected spectrogram:RATE:NAME"),
        ("mel:100:cnn4", (2000,), "expected 1,000 or more samples a second"),
        ("mel:8000:0:cnn4", (2000,), "one band or more"),
        ("mel:8000:100:cnn4", (2000,), "expected at most 64 bands at 8000"),
        ("mel:8000:cnn4", (200,), "the waveforms have 200 samples, fewer than a window's 256"),
        ("mel:8000:cnn4", (16, 16), "a network for series or points, and the inputs are images"),
        ("mel:8000:conv1d-2-4", (2000,), "takes|can't be made|Expected"),
        ("mel:8000:nothing", (2000,), "unknown model 'nothing'"),
    ],
)
def test_names_that_dont_fit_are_refused(name, size, message):
    with pytest.raises((ConfigError, ModelError), match=message):
        models.create(name, classes=5, channels=1, size=size)
