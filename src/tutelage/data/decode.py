"""Decoding of image files: upright, three channels or one, no larger than needed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tutelage.data.listing import summarise
from tutelage.errors import DataError, plain

GREY = ("1", "L")
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
MEMORY = 2 * 1024**3
"""Small images are held in memory up to this many bytes."""
PIXELS = 178_956_970
"""The largest image that is decoded, half a gigabyte: PIL's own limit, which other code may have lifted."""
SCALES = (8, 4, 2)
"""Factors by which a JPEG can be decoded smaller, which is cheaper."""
ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)

Box = tuple[int, int, int, int]
"""Top, left, height, width."""


@contextmanager
def _naming_file(path: Path) -> Iterator[None]:
    """Turn any exception inside into a DataError that names the file, and hide PIL's warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except Exception as error:  # on a broken file a decoder raises almost anything
        raise DataError(f"{plain(path)}: can't be read as an image ({plain(error)}): repair or remove it.") from error


class ImageFile:
    """An image file whose header was read: its upright height and width; its pixels are decoded on demand.

    Raises: DataError naming the file if it can't be read, or has more pixels than the limit.
    """

    def __init__(self, path: Path) -> None:
        from PIL import Image

        self.path = path
        with _naming_file(path), Image.open(path) as image:
            self.format, self.mode = image.format, image.mode
            tags = getattr(
                image, "tag_v2", {}
            )  # PIL may report the rotated size of a TIFF; its tags hold the stored one
            width, height = tags.get(256, image.width), tags.get(257, image.height)
            orientation = _orientation(image)
        self.rotated = orientation != 1
        self.height, self.width = (width, height) if orientation in SIDEWAYS else (height, width)
        if width * height > PIXELS:
            raise DataError(f"{plain(path)}: {width} × {height} pixels: expected at most {PIXELS:,}; shrink it.")

    def decode(self, shrink: float = 1) -> tuple[Any, int]:
        """Return the PIL image, upright, and how many times smaller it was decoded: at most `shrink` times, else 1."""
        from PIL import Image

        with _naming_file(self.path), Image.open(self.path) as image:
            times = next((scale for scale in SCALES if scale <= shrink), 1)
            colours = "YCbCr" if _in_ycbcr(image) else None  # the stored mode: converting the small image is cheaper
            if times == 1 or image.draft(colours, (image.width // times, image.height // times)) is None:
                times = 1
            image.load()
            return _upright(image), times

    def rgb_or_grey(self, channels: int, shrink: float = 1) -> tuple[Any, int]:
        """Decode in mode RGB (3 channels) or L (1); a JPEG decoded smaller stays YCbCr, which `resize_box` converts."""
        self.refuse_deep()
        image, times = self.decode(shrink)
        return image if times > 1 and channels == 3 else to_mode(image, channels), times

    def refuse_deep(self) -> None:
        """Reject more than 8 bits per channel, since it isn't known which of them to keep.

        Raises: DataError.
        """
        if self.mode in DEEP:
            raise DataError(
                f"{plain(self.path)}: has pixels of mode {self.mode}: expected 8 bits per channel; convert it."
            )


@dataclass(frozen=True)
class LoadedImage:
    """An already opened PIL image with the interface of ImageFile, upright."""

    image: Any

    @classmethod
    def from_image(cls, image: Any) -> Self:
        """Rotate the image upright by its EXIF orientation."""
        image.load()
        return cls(_upright(image))

    @property
    def height(self) -> int:
        """The upright height."""
        return int(self.image.height)

    @property
    def width(self) -> int:
        """The upright width."""
        return int(self.image.width)

    def rgb_or_grey(self, channels: int, shrink: float = 1) -> tuple[Any, int]:
        """Return the image in mode RGB (3 channels) or L (1); it is already decoded at full size."""
        return to_mode(self.image, channels), 1


def to_mode(image: Any, channels: int) -> Any:
    """Convert a PIL image to mode RGB (3 channels) or L (1)."""
    if image.mode == "P":  # transparency, if any, is only handled when converting to RGBA
        image = image.convert("RGBA")
    mode = "RGB" if channels == 3 else "L"
    return image if image.mode == mode else image.convert(mode)


def max_shrink(box: Box, size: tuple[int, int]) -> float:
    """Return how many times smaller an image may be decoded for a box of it to still cover this height and width."""
    return min(box[2] / size[0], box[3] / size[1])


def pil_edges(box: Box, times: int = 1) -> tuple[float, float, float, float]:
    """Return a box as PIL's (left, upper, right, lower), in an image that was decoded `times` smaller."""
    top, left, height, width = (side / times if times > 1 else side for side in box)
    return left, top, left + width, top + height


def resize_box(image: Any, box: Box, times: int, size: tuple[int, int]) -> Any:
    """Crop a box of an image that was decoded smaller and resize it to this height and width, in RGB or L."""
    from PIL.Image import Resampling

    part = image.resize((size[1], size[0]), Resampling.BILINEAR, pil_edges(box, times))
    return part if part.mode in ("RGB", "L") else part.convert("RGB")


def _in_ycbcr(image: Any) -> bool:
    """Return True if a JPEG certainly stores YCbCr, by the markers that libjpeg uses."""
    if "jfif" in image.info or "adobe_transform" in image.info:
        return "jfif" in image.info or image.info["adobe_transform"] == 1
    return [part[0] for part in getattr(image, "layer", ())] == [1, 2, 3]


def _orientation(image: Any) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF data; the pixels are unaffected
        return 1


def _upright(image: Any) -> Any:
    """Rotate or flip by the EXIF orientation; formats that rotate themselves when loaded report 1 by now."""
    from PIL.Image import Transpose

    transposes = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    orientation = _orientation(image)
    return image.transpose(transposes[orientation]) if orientation in transposes else image


def to_tensor(image: Any) -> Tensor:
    """Convert a PIL image of mode RGB or L to (C, H, W) uint8."""
    array = torch.from_numpy(np.array(image))
    return array[None] if array.dim() == 2 else array.permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class ImageHeaders:
    """A summary of image headers: channels (1 if all images are grey), and the set of heights and widths."""

    channels: int
    sizes: frozenset[tuple[int, int]]

    @property
    def largest(self) -> tuple[int, int]:
        """The largest height and the largest width."""
        return max(h for h, _ in self.sizes), max(w for _, w in self.sizes)

    def fits(self, side: int, count: int) -> bool:
        """Return True if `count` images of at most `side` pixels can be held in memory."""
        height, width = self.largest
        return max(height, width) <= side and count * self.channels * height * width < MEMORY


def read_headers(paths: Sequence[Path], limit: int = 5000) -> ImageHeaders:
    """Read the headers of all images, or of `limit` evenly spaced ones.

    Raises: DataError naming the files that can't be read.
    """
    sizes, grey, faults = set(), True, []
    for path in paths[:: -(-len(paths) // limit)]:
        try:
            picture = ImageFile(path)
            picture.refuse_deep()
        except DataError as error:
            faults.append(str(error))
            continue
        sizes.add((picture.height, picture.width))
        grey = grey and picture.mode in GREY
    if faults:
        others = [fault.partition(": ")[0] for fault in faults[3:]]
        raise DataError(
            "\n".join(faults[:3] + ([f"And {len(others)} more: {summarise(others, 20)}."] if others else []))
        )
    return ImageHeaders(1 if grey else 3, frozenset(sizes))
