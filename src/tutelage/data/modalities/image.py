"""Images (C, H, W), with masks that move with them."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.data.alter import IMAGE_CROPS, sized_crop
from tutelage.data.augment import crop_flip, crop_flip_draws, window_flip
from tutelage.data.boxes import crop_boxes, flip_boxes
from tutelage.data.modalities.base import Modality
from tutelage.data.splits import IGNORE, ViewSeed
from tutelage.structures import Objects


class Image(Modality):
    """Images, uint8 or floats; photos are cropped at random where they are read (augment=resized-crop)."""

    name = "image"
    positions = 2
    crops: ClassVar[tuple[str, ...]] = IMAGE_CROPS
    takes_policies = True

    def augment(
        self, x: Tensor, mask: Tensor | None, index: Tensor, view: ViewSeed, words: Collection[str]
    ) -> tuple[Tensor, Tensor | None]:
        """Shift images and masks by up to an eighth of their shorter side (the usual 4 of 32 pixels), and flip them."""
        if not {"shift", "crop-flip"} & {*words}:
            return x, mask
        pad, flip = min(x.shape[-2:]) // 8, "crop-flip" in words
        x = crop_flip(x, index, view.seed, view.view, pad, flip=flip)
        if mask is not None:
            mask = crop_flip(mask[:, None], index, view.seed, view.view, pad, flip=flip, fill=IGNORE)[:, 0]
        return x, mask

    def move_objects(
        self, objects: Objects, size: tuple[int, ...], index: Tensor, view: ViewSeed, words: Collection[str]
    ) -> Objects:
        """Shift and flip boxes with their images; what is cut off is left out (`data.boxes`)."""
        if not {"shift", "crop-flip"} & {*words}:
            return objects
        height, width = size
        pad = min(size) // 8
        top, left, flipped = crop_flip_draws(index, view.seed, view.view, pad)
        moved = []
        for each, y, x, flip in zip(
            objects, (top - pad).tolist(), (left - pad).tolist(), flipped.tolist(), strict=True
        ):
            cropped = crop_boxes(each, (x, y, x + width, y + height), (height, width))
            moved.append(flip_boxes(cropped, width) if flip and "crop-flip" in words else cropped)
        return moved

    def resize_objects(self, objects: Objects, size: tuple[int, ...], target: tuple[int, ...]) -> Objects:
        """Resize boxes with their images."""
        return [crop_boxes(each, (0, 0, size[1], size[0]), (target[0], target[1])) for each in objects]

    def cut(
        self, x: Tensor, mask: Tensor | None, index: Tensor, view: ViewSeed, words: Collection[str]
    ) -> tuple[Tensor, Tensor | None]:
        """Cut images and masks to a crop of a size of its own, and flip them (augment=crop-flip-SIDE)."""
        size = sized_crop(words)
        if size is None:
            return x, mask
        x = window_flip(x, index, view.seed, view.view, size)
        if mask is not None:
            mask = window_flip(mask[:, None], index, view.seed, view.view, size, fill=IGNORE)[:, 0]
        return x, mask

    def resize(self, x: Tensor, mask: Tensor | None, size: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
        """Resize images bilinearly, and masks to the nearest class."""
        if x.shape[-2:] == size:
            return x, mask
        x = F.interpolate(x, size, mode="bilinear", antialias=True)
        if mask is not None:
            mask = F.interpolate(mask[:, None].float(), size, mode="nearest-exact")[:, 0].long()
        return x, mask

    def resized(self, size: tuple[int, ...], sides: tuple[int, ...]) -> tuple[int, ...]:
        """Return the height and width."""
        return sides

    def variation_floor(self, mean: Tensor, top: float) -> Tensor:
        """Return a millionth of the range of pixels."""
        return torch.full_like(mean, 1e-6 * top)
