"""Augmentations of waveforms (B, C, T) and spectrograms (B, C, F, T), drawn at each sample's address.

Masks are those of SpecAugment. Park, Chan, Zhang, Chiu, Zoph, Cubuk, Le. Interspeech 2019. arXiv:1904.08779. For
waveforms they hide the same times and bands before any front end, so that a teacher of spectrograms and a student of
waveforms get the same augmented sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tutelage.data.augment import stream_uniform

LOUDEST = 6.0
"""The largest change of loudness, in decibels."""

NOISE = (10.0, 40.0)
"""The lowest and the highest ratio of signal to noise, in decibels."""

WIDEST = 0.2
"""The largest part of the times, or of the bands, that a mask hides."""

STREAMS = {"gain": 1, "noise": 2, "time-mask": 3, "band-mask": 4}
"""A number for each effect, which separates its draws from the others' at the same address."""

Effect = Callable[[Tensor, Tensor, int, int], Tensor]
"""(inputs, sample numbers, seed, view) -> inputs."""


def gain(x: Tensor, index: Tensor, seed: int, view: int) -> Tensor:
    """Make each waveform louder or quieter by up to `LOUDEST` decibels."""
    decibels = LOUDEST * (2 * _uniform("gain", index, seed, view, 1)[:, 0] - 1)
    return x * _per_sample(10 ** (decibels / 20), x)


def noise(x: Tensor, index: Tensor, seed: int, view: int) -> Tensor:
    """Add uniform white noise to each waveform, at a random ratio of signal to noise from `NOISE`."""
    positions = x[0].numel()
    draws = _uniform("noise", index, seed, view, positions + 1)
    decibels = NOISE[0] + (NOISE[1] - NOISE[0]) * draws[:, 0]
    white = 12**0.5 * (draws[:, 1:].view_as(x) - 0.5)  # of variance 1
    level = x.flatten(1).square().mean(1).sqrt() * 10 ** (-decibels / 20)
    return x + _per_sample(level, x) * white


def time_mask(x: Tensor, index: Tensor, seed: int, view: int) -> Tensor:
    """Replace a random span of times by each sample's mean."""
    hidden = _span("time-mask", x.shape[-1], index, seed, view)
    return torch.where(_per_sample(hidden, x), _mean(x), x)


def band_mask(x: Tensor, index: Tensor, seed: int, view: int) -> Tensor:
    """Replace a random span of a spectrogram's bands by each sample's mean."""
    hidden = _span("band-mask", x.shape[-2], index, seed, view)
    return torch.where(_per_sample(hidden, x[..., 0])[..., None], _mean(x), x)


def frequency_mask(x: Tensor, index: Tensor, seed: int, view: int) -> Tensor:
    """Remove a random band of frequencies from each waveform."""
    spectrum = torch.fft.rfft(x)
    hidden = _span("band-mask", spectrum.shape[-1], index, seed, view)
    return torch.fft.irfft(spectrum.masked_fill(_per_sample(hidden, x), 0), n=x.shape[-1])


WAVEFORM_EFFECTS: Mapping[str, Effect] = {
    "gain": gain, "noise": noise, "time-mask": time_mask, "band-mask": frequency_mask,
}  # fmt: skip
SPECTROGRAM_EFFECTS: Mapping[str, Effect] = {"time-mask": time_mask, "band-mask": band_mask}


def _uniform(effect: str, index: Tensor, seed: int, view: int, draws: int) -> Tensor:
    """Return numbers in [0, 1), (B, draws), of an effect."""
    return stream_uniform(STREAMS[effect], index, seed, view, draws)


def _span(effect: str, length: int, index: Tensor, seed: int, view: int) -> Tensor:
    """Return which of `length` places are hidden, (B, length): a span of up to `WIDEST` of them."""
    draws = _uniform(effect, index, seed, view, 2)
    width = draws[:, :1] * (WIDEST * length + 1)
    start = draws[:, 1:] * (length - width.floor())
    places = torch.arange(length, device=index.device)
    return (places >= start.floor()) & (places < start.floor() + width.floor())


def _per_sample(values: Tensor, x: Tensor) -> Tensor:
    """Return values (B,) or (B, T) in the dimensions of inputs (B, …, T)."""
    return values.view(len(x), *[1] * (x.dim() - values.dim()), *values.shape[1:])


def _mean(x: Tensor) -> Tensor:
    return x.mean(tuple(range(1, x.dim())), keepdim=True)
