"""Clips (C, T, H, W): the frames of a video over time."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from tutelage.data.modalities.image import Image
from tutelage.data.splits import ViewSeed

SHOWN = 4
"""The most frames of a clip that the report shows."""


class Clip(Image):
    """Clips of one length and size; what is done to images is done to all frames of a clip alike.

    augment=time-crop reads a window at a random time.
    """

    name = "clip"
    positions = 3
    crops = (*Image.crops, "time-crop")
    has_pictures = True
    picture_note = "The frames of a clip follow each other from left to right."

    def takes(self, word: str) -> bool:
        """Return whether an augmentation is defined for clips; augmix would mix each frame otherwise."""
        return word != "augmix" and super().takes(word)

    def augment(
        self, x: Tensor, mask: Tensor | None, index: Tensor, view: ViewSeed, words: Collection[str]
    ) -> tuple[Tensor, Tensor | None]:
        """Shift and flip clips (B, C, T, H, W) as images of C · T channels."""
        return super().augment(x.flatten(1, 2), mask, index, view, words)[0].unflatten(1, x.shape[1:3]), mask

    def cut(
        self, x: Tensor, mask: Tensor | None, index: Tensor, view: ViewSeed, words: Collection[str]
    ) -> tuple[Tensor, Tensor | None]:
        """Cut clips as images of C · T channels."""
        return super().cut(x.flatten(1, 2), mask, index, view, words)[0].unflatten(1, x.shape[1:3]), mask

    def resize(self, x: Tensor, mask: Tensor | None, size: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
        """Resize the frames bilinearly."""
        return super().resize(x.flatten(1, 2), mask, size[-2:])[0].unflatten(1, x.shape[1:3]), mask

    def resized(self, size: tuple[int, ...], sides: tuple[int, ...]) -> tuple[int, ...]:
        """Return as many frames, of that height and width."""
        return (size[0], *sides)

    def pictures(self, x: Tensor) -> Tensor:
        """Return some frames of each clip side by side, from its lowest value to its highest, (B, 1 or 3, H, W)."""
        x = x if x.shape[1] in (1, 3) else x[:, :1]
        low, high = x.amin((1, 2, 3, 4), keepdim=True), x.amax((1, 2, 3, 4), keepdim=True)
        numbers = torch.linspace(0, x.shape[2] - 1, min(SHOWN, x.shape[2])).round().long()
        return torch.cat((((x - low) / (high - low).clamp(min=1e-6))[:, :, numbers]).unbind(2), -1)
