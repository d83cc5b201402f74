"""Splits whose samples are image files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from tutelage.data.augment import random_crop_box
from tutelage.data.decode import Box, ImageFile, LoadedImage, max_shrink, pil_edges, resize_box, to_tensor
from tutelage.data.masks import MaskFiles
from tutelage.data.splits import InMemorySplit, LazySplit, Sample, ViewSeed
from tutelage.errors import DataError, plain

MAX_ASPECT = 16
"""In evaluation a photo may be this many times longer than the target aspect; the rest is cut off."""


class ImageFileSplit(LazySplit):
    """Images read from files on demand, with their classes, masks, targets (N, T) of floats, or without labels.

    Targets of floats (values, label sets) are of whole images, which are therefore resized and not cropped in
    evaluation. groups: (N,) the group of each image.
    """

    can_crop = True

    def __init__(
        self,
        paths: Sequence[Path],
        channels: int,
        size: tuple[int, int],
        *,
        labels: Tensor | None = None,
        masks: MaskFiles | None = None,
        targets: Tensor | None = None,
        groups: Tensor | None = None,
    ) -> None:
        self.paths, self.channels, self.size = tuple(paths), channels, size
        self.labels, self.masks, self.targets, self.groups = labels, masks, targets, groups

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def image_size(self) -> tuple[int, int]:
        """The height and width of all images."""
        return self.size

    @property
    def values(self) -> Tensor | None:
        """The targets of floats."""
        return self.targets

    def take(self, rows: Tensor) -> Self:
        """Select other files."""
        numbers = rows.tolist()
        masks = self.masks and MaskFiles(tuple(self.masks.paths[i] for i in numbers), self.masks.legend)
        columns = {"labels": self.labels, "targets": self.targets, "groups": self.groups}
        chosen = {name: None if column is None else column[rows] for name, column in columns.items()}
        selected = type(self)([self.paths[i] for i in numbers], self.channels, self.size, masks=masks, **chosen)
        selected.content = self.content
        return selected

    def item(self, number: int, augmentation: ViewSeed) -> Sample:
        """Decode an image and bring it to `size`: photos by cropping, images with masks by resizing both."""
        picture = ImageFile(self.paths[number])
        box, flip = (0, 0, picture.height, picture.width), False
        if augmentation.crop:
            *box, flip = random_crop_box(augmentation.seed, number, augmentation.view, picture.height, picture.width)  # type: ignore[assignment]
        if self.masks is not None:
            return self._with_mask(picture, number, box, flip)
        targets = self.labels if self.targets is None else self.targets
        target = None if targets is None else targets[number]
        if augmentation.crop or self.targets is not None:
            return to_tensor(crop_and_resize(picture, self.channels, box, self.size, flip)), target
        return to_tensor(centre_crop(picture, self.channels, self.size)), target

    def fingerprint(self) -> str:
        """Hash the files' names, sizes and classes or masks; their contents only if `content` is set."""
        digest = hashlib.sha256(str(None if self.labels is None else self.labels.tolist()).encode())
        for path in (*self.paths, *(self.masks.paths if self.masks else ())):
            name = f"{path.parent.name}/{path.name} {path.stat().st_size}\n"
            digest.update(name.encode(errors="surrogateescape"))
            if self.content:
                digest.update(file_digest(path))
        for column in (self.targets, self.groups):
            if column is not None:
                digest.update(column.numpy().data)
        if self.masks:
            digest.update(self.masks.legend.identity.encode())
        return digest.hexdigest()

    def stored(self, shape: tuple[int, int]) -> InMemorySplit:
        """Load all images into memory at this height and width."""
        from torchvision.transforms import functional as TF

        images = torch.empty(len(self), self.channels, *shape, dtype=torch.uint8)
        known = self.labels if self.targets is None else self.targets
        targets = known if self.masks is None else torch.empty(len(self), *shape, dtype=torch.uint8)
        for number, path in enumerate(self.paths):
            picture = ImageFile(path)
            image, _ = picture.rgb_or_grey(self.channels)
            images[number] = TF.resize(to_tensor(image), list(shape), antialias=True)
            if self.masks is not None and targets is not None:
                targets[number] = self._mask(number, picture)[0]
        return InMemorySplit(images, targets, groups=self.groups)

    def _with_mask(self, picture: ImageFile, number: int, box: Box, flip: bool) -> tuple[Tensor, Tensor]:
        from torchvision.transforms import functional as TF

        top, left, height, width = box
        mask = self._mask(number, picture)[..., top : top + height, left : left + width]
        image, times = picture.rgb_or_grey(self.channels, max_shrink(box, self.size))
        if times == 1:
            x = to_tensor(image)[..., top : top + height, left : left + width]
            x = TF.resize(x.flip(-1) if flip else x, list(self.size), antialias=True)
        else:
            x = to_tensor(resize_box(image, box, times, self.size))
            x = x.flip(-1) if flip else x
        mask = mask.flip(-1) if flip else mask
        return x, TF.resize(mask, list(self.size), TF.InterpolationMode.NEAREST_EXACT)[0].long()

    def _mask(self, number: int, picture: ImageFile) -> Tensor:
        assert self.masks is not None
        mask = self.masks.read(number)
        if mask.shape != (picture.height, picture.width):
            rotated = ", rotated by its EXIF orientation" if picture.rotated else ""
            raise DataError(
                f"{plain(self.masks.paths[number])}: is {tuple(mask.shape)}, but its image {plain(picture.path)} is "
                f"{(picture.height, picture.width)}{rotated}: expected a mask of the image's height and width."
            )
        return mask[None]


def file_digest(path: Path) -> bytes:
    """Return the sha256 of a file's content."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(f"{plain(path)}: can't be read ({error.strerror}): restore or remove it.") from error


def crop_and_resize(picture: ImageFile, channels: int, box: Box, size: tuple[int, int], flip: bool) -> Any:
    """Decode a box of an image, bring it to that height and width, and flip it left-right if `flip`."""
    from torchvision.transforms import functional as TF

    image, times = picture.rgb_or_grey(channels, max_shrink(box, size))
    x = TF.resized_crop(image, *box, list(size)) if times == 1 else resize_box(image, box, times, size)
    return TF.hflip(x) if flip else x


def centre_crop(picture: ImageFile | LoadedImage, channels: int, size: tuple[int, int]) -> Any:
    """Resize the shorter side to 256/224 of the size and crop the centre: the usual 224 of 256 pixels."""
    from torchvision.transforms import functional as TF

    if (picture.height, picture.width) == size:
        return picture.rgb_or_grey(channels)[0]
    box = middle_box(picture.height, picture.width, size)
    sides = box[2:]
    scale = 256 / 224 * max(target / side for target, side in zip(size, sides, strict=True))
    shape = max(size[0], round(scale * sides[0])), max(size[1], round(scale * sides[1]))
    image, times = picture.rgb_or_grey(channels, max_shrink(box, shape))
    x = TF.resize(image.crop(pil_edges(box)), list(shape)) if times == 1 else resize_box(image, box, times, shape)
    return TF.center_crop(x, list(size))


def middle_box(height: int, width: int, size: tuple[int, int]) -> Box:
    """Return the box of the whole image, or of its middle if it is many times longer than `size`.

    The rest of so long an image would take gigabytes.
    """
    h = min(height, -(-MAX_ASPECT * width * size[0] // size[1]))
    w = min(width, -(-MAX_ASPECT * height * size[1] // size[0]))
    return (height - h) // 2, (width - w) // 2, h, w
