"""An image file becomes pixels: upright, in three channels or one, no larger than needed."""

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

from tutelage.data.listing import some
from tutelage.errors import DataError, plain

GREY = ("1", "L")
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
MEMORY = 2 * 1024**3
"""Small images are held in memory up to so many bytes."""
PIXELS = 178_956_970
"""Of a picture that is decoded at most, half a gigabyte: PIL's own limit, which others may have lifted."""
SCALES = (8, 4, 2)
"""A JPEG can be decoded so many times smaller, for less."""
ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)

Box = tuple[int, int, int, int]
"""Top, left, height, width."""


@contextmanager
def _of(path: Path) -> Iterator[None]:
    """Inside, whatever PIL stumbles over is a DataError naming the file, and its warnings aren't shown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except Exception as error:  # a broken file makes its decoder raise almost anything
        raise DataError(f"{plain(path)}: can't be read as an image ({plain(error)}): repair or remove it.") from error


class Picture:
    """An image file whose header was read: its height and width as one looks at it; its pixels when asked for.

    Raises: DataError naming the file if it can't be read, or has more pixels than should be decoded.
    """

    def __init__(self, path: Path) -> None:
        from PIL import Image

        self.path = path
        with _of(path), Image.open(path) as image:
            self.format, self.mode = image.format, image.mode
            stored = getattr(image, "tag_v2", {})  # a TIFF may have turned its size already
            width, height = stored.get(256, image.width), stored.get(257, image.height)
            orientation = _orientation(image)
        self.turned = orientation != 1
        self.height, self.width = (width, height) if orientation in SIDEWAYS else (height, width)
        if width * height > PIXELS:
            raise DataError(f"{plain(path)}: {width} × {height} pixels: expected at most {PIXELS:,}; shrink it.")

    def decoded(self, shrink: float = 1) -> tuple[Any, int]:
        """The PIL image, upright, and how many times smaller it is: at most `shrink` times; 1 where that can't be."""
        from PIL import Image

        with _of(self.path), Image.open(self.path) as image:
            times = next((scale for scale in SCALES if scale <= shrink), 1)
            colours = "YCbCr" if _in_ycbcr(image) else None  # as it is stored: cheaper to change once it is small
            if times == 1 or image.draft(colours, (image.width // times, image.height // times)) is None:
                times = 1
            image.load()
            return _upright(image), times

    def rgb_or_grey(self, channels: int, shrink: float = 1) -> tuple[Any, int]:
        """The same in mode RGB (3 channels) or L (1); decoded smaller, a JPEG's YCbCr stays for `within` to change."""
        self.refuse_deep()
        image, times = self.decoded(shrink)
        return image if times > 1 and channels == 3 else coloured(image, channels), times

    def refuse_deep(self) -> None:
        """Refuse more than 8 bits a channel, for nothing says which of them to take."""
        if self.mode in DEEP:
            raise DataError(
                f"{plain(self.path)}: has pixels of mode {self.mode}: expected 8 bits a channel; convert it."
            )


@dataclass(frozen=True)
class Opened:
    """A PIL image that somebody opened, as a Picture: upright."""

    image: Any

    @classmethod
    def from_image(cls, image: Any) -> Self:
        """Turned as the camera says."""
        image.load()
        return cls(_upright(image))

    @property
    def height(self) -> int:
        """As one looks at it."""
        return int(self.image.height)

    @property
    def width(self) -> int:
        """As one looks at it."""
        return int(self.image.width)

    def rgb_or_grey(self, channels: int, shrink: float = 1) -> tuple[Any, int]:
        """In mode RGB (3 channels) or L (1), decoded at its full size already."""
        return coloured(self.image, channels), 1


def coloured(image: Any, channels: int) -> Any:
    """A PIL image in mode RGB (3 channels) or L (1)."""
    if image.mode == "P":  # its transparency, if any, is only understood on the way to RGBA
        image = image.convert("RGBA")
    mode = "RGB" if channels == 3 else "L"
    return image if image.mode == mode else image.convert(mode)


def spare(box: Box, size: tuple[int, int]) -> float:
    """How many times smaller a picture may be for a box of it to fill this height and width still."""
    return min(box[2] / size[0], box[3] / size[1])


def edges(box: Box, times: int = 1) -> tuple[float, float, float, float]:
    """A box as PIL has it, in a picture that was decoded so many times smaller."""
    top, left, height, width = (side / times if times > 1 else side for side in box)
    return left, top, left + width, top + height


def within(image: Any, box: Box, times: int, size: tuple[int, int]) -> Any:
    """A box of a picture that was decoded smaller, at this height and width, in RGB or L."""
    from PIL.Image import Resampling

    part = image.resize((size[1], size[0]), Resampling.BILINEAR, edges(box, times))
    return part if part.mode in ("RGB", "L") else part.convert("RGB")


def _in_ycbcr(image: Any) -> bool:
    """Whether a JPEG surely stores YCbCr, by the marks that libjpeg goes by."""
    if "jfif" in image.info or "adobe_transform" in image.info:
        return "jfif" in image.info or image.info["adobe_transform"] == 1
    return [part[0] for part in getattr(image, "layer", ())] == [1, 2, 3]


def _orientation(image: Any) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # what says it is damaged, which harms no pixel
        return 1


def _upright(image: Any) -> Any:
    """Turned as the camera says; formats that turn themselves when loaded say 1 by now."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    orientation = _orientation(image)
    return image.transpose(turns[orientation]) if orientation in turns else image


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
    """Reads the headers of all images, or of `most` evenly spaced ones; DataError that names those that can't be."""
    sizes, grey, faults = set(), True, []
    for path in paths[:: -(-len(paths) // most)]:
        try:
            picture = Picture(path)
            picture.refuse_deep()
        except DataError as error:
            faults.append(str(error))
            continue
        sizes.add((picture.height, picture.width))
        grey = grey and picture.mode in GREY
    if faults:
        rest = [fault.partition(": ")[0] for fault in faults[3:]]
        raise DataError("\n".join(faults[:3] + ([f"And {len(rest)} more: {some(rest, 20)}."] if rest else [])))
    return Probe(1 if grey else 3, frozenset(sizes))
