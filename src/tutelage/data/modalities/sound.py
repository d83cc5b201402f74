"""Waveforms (1, T) of sound, and spectrograms (C, bands, T)."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.data import sound_effects
from tutelage.data.augment import shift
from tutelage.data.modalities.base import Modality
from tutelage.data.splits import ViewSeed


class Sound(Modality):
    """Waveforms of one length.

    augment=time-crop reads a random part of each recording, shift moves it by up to an eighth; gain, noise, time-mask
    and band-mask may follow, in this order.
    """

    name = "sound"
    positions = 1
    has_pictures = True
    picture_note = " Time runs to the right, frequency upwards."
    crops = ("none", "shift", "time-crop")
    effects = ("gain", "noise", "time-mask", "band-mask")

    def augment(
        self, x: Tensor, mask: Tensor | None, index: Tensor, view: ViewSeed, words: Collection[str]
    ) -> tuple[Tensor, Tensor | None]:
        """Shift the waveforms, then change their loudness, add noise and hide times and frequencies."""
        x, mask = super().augment(x, mask, index, view, words)
        for word, effect in sound_effects.WAVEFORM_EFFECTS.items():
            x = effect(x, index, view.seed, view.view) if word in words else x
        return x, mask

    def pictures(self, x: Tensor) -> Tensor:
        """Return the logarithms of the first channel's spectrogram, high frequencies on top."""
        window = torch.hann_window(max(16, min(256, x.shape[-1] // 16)), device=x.device)
        spectrum = torch.stft(F.pad(x[:, 0], (0, len(window))), len(window), window=window, return_complex=True)
        return grey(spectrum.abs().square().add(1e-3).log()[:, None])


class Spectrogram(Modality):
    """Spectrograms of one size; augment=shift moves them in time by up to an eighth, with zeros at the ends.

    time-mask and band-mask may follow.
    """

    name = "spectrogram"
    positions = 2
    has_pictures = True
    picture_note = " Time runs to the right, frequency upwards."
    crops = ("none", "shift")
    effects = ("time-mask", "band-mask")

    def augment(
        self, x: Tensor, mask: Tensor | None, index: Tensor, view: ViewSeed, words: Collection[str]
    ) -> tuple[Tensor, Tensor | None]:
        """Shift the spectrograms in time, then hide times and bands."""
        if "shift" in words:
            x = shift(x.flatten(1, 2), index, view.seed, view.view, x.shape[-1] // 8).view_as(x)
        for word, effect in sound_effects.SPECTROGRAM_EFFECTS.items():
            x = effect(x, index, view.seed, view.view) if word in words else x
        return x, mask

    def pictures(self, x: Tensor) -> Tensor:
        """Return the first channel, high bands on top."""
        return grey(x[:, :1])


def grey(x: Tensor) -> Tensor:
    """Return maps (B, 1, F, T) in [0, 1], each from its lowest value to its highest, the first row below."""
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return ((x - low) / (high - low).clamp(min=1e-6)).flip(2)
