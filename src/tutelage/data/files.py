"""Images in files: which there are, what they look like, and how one becomes a tensor."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tutelage.data.augment import crop_box
from tutelage.data.samples import Listed, Look, Stored
from tutelage.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
GREY = ("1", "L")
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
MEMORY = 2 * 1024**3
"""Small images are held in memory up to so many bytes."""


def folders(path: Path) -> list[Path]:
    """The visible folders in a folder, by name."""
    try:
        return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}): expected a folder that you may list.") from error


def images_in(path: Path) -> list[Path]:
    """The image files in a folder and the folders below it, by name."""

    def stop(error: OSError) -> None:
        raise DataError(f"{error.filename}: can't be read ({error.strerror}): allow it, or leave it out.") from error

    found = (Path(at) / name for at, _, names in os.walk(path, onerror=stop, followlinks=True) for name in names)
    return sorted(p for p in found if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def opened(path: Path) -> Any:
    """The decoded PIL image; DataError naming the file if it can't be."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return image
    except Exception as error:  # a broken file makes its decoder raise almost anything
        raise DataError(f"{path}: can't be read as an image ({error}): repair or remove it.") from error


def rgb_or_grey(path: Path, channels: int) -> Any:
    """The PIL image in mode RGB (3 channels) or L (1)."""
    image = opened(path)
    if image.mode in DEEP:
        raise DataError(f"{path}: has pixels of mode {image.mode}: expected 8 bits a channel; convert it.")
    if image.mode == "P":  # its transparency, if any, is only understood on the way to RGBA
        image = image.convert("RGBA")
    return image.convert("RGB" if channels == 3 else "L")


def tensor_of(image: Any) -> Tensor:
    """A PIL image of mode RGB or L as (C, H, W) uint8."""
    array = torch.from_numpy(np.array(image))
    return array[None] if array.dim() == 2 else array.permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class Probe:
    """What the headers of some images say: channels (1 if all are grey), and the heights and widths there are."""

    channels: int
    sizes: frozenset[tuple[int, int]]

    @property
    def largest(self) -> tuple[int, int]:
        """The largest height and the largest width."""
        return max(h for h, _ in self.sizes), max(w for _, w in self.sizes)

    def fits(self, side: int, count: int) -> bool:
        """Whether `count` images of at most `side` pixels can be held in memory."""
        height, width = self.largest
        return max(height, width) <= side and count * self.channels * height * width < MEMORY


def probe(paths: Sequence[Path], most: int = 5000) -> Probe:
    """Reads the headers of all images, or of `most` evenly spaced ones."""
    from PIL import Image

    sizes, grey = set(), True
    for path in paths[:: -(-len(paths) // most)]:
        try:
            with Image.open(path) as image:
                sizes.add((image.height, image.width))
                grey = grey and image.mode in GREY
        except Exception as error:  # as in opened()
            raise DataError(f"{path}: can't be read as an image ({error}): repair or remove it.") from error
    return Probe(1 if grey else 3, frozenset(sizes))


@dataclass(frozen=True)
class Masks:
    """Masks in files, beside the images: integer images whose value v means class `meaning[v]` (-1: nothing)."""

    paths: tuple[Path, ...]
    meaning: tuple[int, ...]

    def read(self, number: int) -> Tensor:
        """(H, W) uint8 classes, 255 where nothing is known; DataError for values without a meaning."""
        path = self.paths[number]
        values = mask_values(path)
        meant = np.array(self.meaning, dtype=np.int16)[values]
        if (meant < 0).any():
            wrong = np.unique(values[meant < 0]).tolist()
            known = [v for v, c in enumerate(self.meaning) if c >= 0]
            raise DataError(
                f"{path}: has the values {wrong}, but only {known} mean something: correct the mask, or name "
                'the class in classes.json ("void" if it doesn\'t count).'
            )
        return torch.from_numpy(meant.astype(np.uint8))


def mask_values(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The values of an integer image, (H, W) in 0 … 255."""
    image = opened(path)
    values = np.array(image)
    if values.ndim != 2 or values.dtype.kind not in "bui" or values.min() < 0 or values.max() > 255:
        raise DataError(f"{path}: mode {image.mode}: expected a mask of one integer from 0 to 255 a pixel.")
    return values.astype(np.uint8)


class Files(Listed):
    """Images read from files when asked for; their classes, or their masks."""

    photos = True

    def __init__(
        self,
        paths: Sequence[Path],
        channels: int,
        size: tuple[int, int],
        *,
        labels: Tensor | None = None,
        masks: Masks | None = None,
    ) -> None:
        self.paths, self.channels, self.size = tuple(paths), channels, size
        self.labels, self.masks = labels, masks

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: Tensor) -> Self:
        """Other files."""
        pick = rows.tolist()
        masks = self.masks and Masks(tuple(self.masks.paths[i] for i in pick), self.masks.meaning)
        labels = None if self.labels is None else self.labels[rows]
        return type(self)([self.paths[i] for i in pick], self.channels, self.size, labels=labels, masks=masks)

    def item(self, number: int, look: Look) -> tuple[Tensor, Tensor]:
        """Decoded and brought to `size`: photos by crops, images with masks by resizing both."""
        from torchvision.transforms import functional as TF

        image = rgb_or_grey(self.paths[number], self.channels)
        if self.masks is None:
            assert self.labels is not None
            x = self._cropped(image, number, look) if look.crop else self._centred(image)
            return tensor_of(x), self.labels[number]
        x, mask = tensor_of(image), self._mask(number, image)
        if look.crop:
            top, left, height, width, flip = crop_box(look.seed, number, look.view, image.height, image.width)
            x, mask = (v[..., top : top + height, left : left + width] for v in (x, mask))
            x, mask = (v.flip(-1) if flip else v for v in (x, mask))
        x = TF.resize(x, list(self.size), antialias=True)
        return x, TF.resize(mask, list(self.size), TF.InterpolationMode.NEAREST_EXACT)[0].long()

    def fingerprint(self) -> str:
        """Over the files' names, sizes and classes or masks; not over what is in them."""
        digest = hashlib.sha256(str(None if self.labels is None else self.labels.tolist()).encode())
        for path in (*self.paths, *(self.masks.paths if self.masks else ())):
            digest.update(f"{path.parent.name}/{path.name} {path.stat().st_size}\n".encode())
        return digest.hexdigest()

    def stored(self, shape: tuple[int, int]) -> Stored:
        """All of them in memory, of this height and width."""
        from torchvision.transforms import functional as TF

        images = torch.empty(len(self), self.channels, *shape, dtype=torch.uint8)
        targets = torch.empty(len(self), *shape, dtype=torch.uint8) if self.labels is None else self.labels
        for number, path in enumerate(self.paths):
            image = rgb_or_grey(path, self.channels)
            images[number] = TF.resize(tensor_of(image), list(shape), antialias=True)
            if self.masks is not None:
                targets[number] = self._mask(number, image)[0]
        return Stored(images, targets)

    def _mask(self, number: int, image: Any) -> Tensor:
        assert self.masks is not None
        mask = self.masks.read(number)
        if mask.shape != (image.height, image.width):
            raise DataError(
                f"{self.masks.paths[number]}: {tuple(mask.shape)}, its image {self.paths[number]} is "
                f"{(image.height, image.width)}: expected a mask of the image's height and width."
            )
        return mask[None]

    def _cropped(self, image: Any, number: int, look: Look) -> Any:
        from torchvision.transforms import functional as TF

        top, left, height, width, flip = crop_box(look.seed, number, look.view, image.height, image.width)
        image = TF.resized_crop(image, top, left, height, width, list(self.size))
        return TF.hflip(image) if flip else image

    def _centred(self, image: Any) -> Any:
        """The shorter side to 256/224 of the size, then its centre: of 256 pixels the middle 224, as is usual."""
        from torchvision.transforms import functional as TF

        if (image.height, image.width) == self.size:
            return image
        scale = 256 / 224 * max(self.size[0] / image.height, self.size[1] / image.width)
        shape = [max(s, round(scale * v)) for s, v in zip(self.size, (image.height, image.width), strict=True)]
        return TF.center_crop(TF.resize(image, shape), list(self.size))
