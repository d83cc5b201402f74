"""Networks of waveforms: a spectrogram, computed within the network, and any network of images."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.base import LoadedModel, ModelRequest
from tutelage.models.providers import import_required, refuse_dense, refuse_other_inputs

WINDOW_SECONDS = 0.032
"""The length of a window, before it is rounded to a power of two samples."""

FLOOR = 1e-5
"""The part of a waveform's mean power below which times and bands look alike."""

SOUND = "pip install 'tutelage[sound]'"


class LogSpectrogram(nn.Module):
    """The logarithm of the power at each frequency and time, with mean 0 and deviation 1 in each waveform.

    Its normalisation makes it independent of the waveform's loudness. It has no parameters.
    Shapes: (B, C, T) → (B, C, F, T'), F half the window and one, T' the times, half a window apart.

    Args:
        rate: samples a second.
    """

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.rate = rate
        self.window_length = 2 ** round(math.log2(WINDOW_SECONDS * rate))
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(self.window_length))

    def power(self, x: Tensor) -> Tensor:
        """Return the power, (B, C, F, T')."""
        audio = import_required("torchaudio", SOUND)
        length = self.window_length
        spectrogram: Tensor = audio.functional.spectrogram(
            x.float(), 0, self.window, length, length // 2, length, 2.0, False, pad_mode="constant"
        )
        return spectrogram

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) → (B, C, F, T')."""
        power = self.power(x)
        mean = power.mean((1, 2, 3), keepdim=True).clamp(min=torch.finfo(power.dtype).tiny)
        level = (power / mean + FLOOR).log()
        variance, centre = torch.var_mean(level, (1, 2, 3), keepdim=True, correction=0)
        return (level - centre) / (variance + FLOOR).sqrt()


class LogMel(LogSpectrogram):
    """The logarithm of the power in mel bands, with mean 0 and deviation 1 in each waveform.

    Shapes: (B, C, T) → (B, C, bands, T').

    Args:
        rate: samples a second.
        bands: the number of bands.
    """

    def __init__(self, rate: int, bands: int = 40) -> None:
        super().__init__(rate)
        audio = import_required("torchaudio", SOUND)
        frequencies = self.window_length // 2 + 1
        if bands > frequencies // 2:
            raise ConfigError(
                f"mel:{rate}:{bands}: expected at most {frequencies // 2} bands at {rate} samples a second."
            )
        filters = audio.functional.melscale_fbanks(frequencies, 0.0, rate / 2, bands, rate)
        self.filters: Tensor
        self.register_buffer("filters", filters.T.contiguous())

    def power(self, x: Tensor) -> Tensor:
        """Return the power in each band, (B, C, bands, T')."""
        return self.filters @ super().power(x)


class SoundNetwork(nn.Module):
    """A network of images that gets the spectrograms of waveforms: (B, C, T) → the network's output.

    Args:
        front_end: the spectrogram.
        network: the network.
    """

    def __init__(self, front_end: LogSpectrogram, network: nn.Module) -> None:
        super().__init__()
        self.front_end, self.network = front_end, network

    def forward(self, x: Tensor) -> Any:
        """(B, C, T) → the network's output."""
        return self.network(self.front_end.forward(x))  # no hooks: the spectrogram is no stage of the network


def refuse_other_rate(network: nn.Module, name: str, rate: int) -> None:
    """Refuse a network whose front end is for other recordings than those of this rate; name: the data's.

    Raises: ConfigError.
    """
    rates = {module.rate for module in network.modules() if isinstance(module, LogSpectrogram)}
    if other := rates - {rate}:
        raise ConfigError(
            f"a network's spectrogram is for {min(other):,} samples a second, and {name} has {rate:,}: name the "
            f"network with the data's rate (mel:{rate}:…), or convert the recordings, reading={{rate: {min(other)}, "
            "resample: true}."
        )


def with_mel(request: ModelRequest) -> LoadedModel:
    """Any network of images after 40 mel bands of a waveform, as in mel:8000:resnet8; RATE is in samples a second."""
    return _with_front_end("mel", request)


def with_spectrogram(request: ModelRequest) -> LoadedModel:
    """Any network of images after the spectrogram of a waveform, as in spectrogram:8000:resnet8."""
    return _with_front_end("spectrogram", request)


def _with_front_end(kind: str, request: ModelRequest) -> LoadedModel:
    """Return the network after the front end of that kind.

    Raises: ConfigError for a name of another form.
    """
    from tutelage.models.loading import create

    most = 2 if kind == "mel" else 1
    match = re.fullmatch(rf"(?P<numbers>\d{{1,7}}(:\d{{1,4}}){{0,{most - 1}}}):(?P<network>\D.*)", request.name)
    if match is None:
        form = "mel:RATE[:BANDS]:NAME" if kind == "mel" else "spectrogram:RATE:NAME"
        raise ConfigError(f"{kind}:{request.name}: expected {form}, such as {kind}:8000:resnet8.")
    name = f"{kind}:{request.name}"
    refuse_other_inputs(name, 1, request)
    refuse_dense(kind, request)
    rate, *bands = map(int, match["numbers"].split(":"))
    if rate < 1000 or 0 in bands:
        raise ConfigError(f"{name}: expected 1,000 or more samples a second, and one band or more.")
    front_end = LogMel(rate, *bands) if kind == "mel" else LogSpectrogram(rate)
    if request.size is not None and request.size[0] < front_end.window_length:
        raise ConfigError(
            f"{name}: the waveforms have {request.size[0]} samples, fewer than a window's {front_end.window_length}: "
            "use longer ones."
        )
    loaded = create(match["network"], classes=request.classes, channels=request.channels, pretrained=request.pretrained)
    network = SoundNetwork(front_end, loaded.model)
    return replace(loaded, model=network, mean=None, std=None)
