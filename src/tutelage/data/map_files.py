"""Maps of values in files, and images that go with them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.data.augment import random_crop_box
from tutelage.data.decode import ImageFile, to_tensor
from tutelage.data.map_targets import MapForm
from tutelage.data.single_precision import to_float32
from tutelage.data.splits import InMemorySplit, LazySplit, Sample, ViewSeed
from tutelage.errors import DataError, plain

SUFFIXES = (".npy", ".npz", ".flo", ".png", ".tif", ".tiff")
"""The suffixes of files with maps."""
FLO_MAGIC = 202021.25


@dataclass(frozen=True)
class MapReader:
    """Reads maps of one kind from files.

    Args:
        form: their channels' kinds.
        scale: by which stored numbers are multiplied.
        unknown: the stored number that means "not known", besides NaN; None: there is none.
        least: the least value that there may be; None: any.
        pictures: whether they are images of 8 bits, read as [0, 1].
    """

    form: MapForm
    scale: float = 1.0
    unknown: float | None = None
    least: float | None = None
    pictures: bool = False

    def read(self, path: Path) -> Tensor:
        """Return a map (C, h, w), float32, NaN where it isn't known.

        Raises: DataError that names the file.
        """
        channels = len(self.form.kinds)
        if self.pictures:
            return to_tensor(ImageFile(path).rgb_or_grey(channels)[0]).float() / 255
        raw = _array(path)
        if raw.ndim == 2:
            raw = raw[None]
        elif raw.ndim == 3 and raw.shape[0] != channels and raw.shape[2] == channels:
            raw = raw.transpose(2, 0, 1)
        if raw.ndim != 3 or len(raw) != channels or 0 in raw.shape or raw.dtype.kind not in "iufb":
            raise DataError(
                f"{plain(path)}: is {raw.dtype} of shape {raw.shape}: expected numbers (H, W), or ({channels}, H, W) "
                f"for {', '.join(self.form.kinds)}."
            )
        values = raw.astype(np.float64)
        if self.unknown is not None:
            values = np.where(values == self.unknown, np.nan, values)
        single = to_float32(values * self.scale)
        self._refuse_wrong(path, single)
        return torch.from_numpy(single)

    def _refuse_wrong(self, path: Path, values: Any) -> None:
        if np.isinf(values).any():
            raise DataError(f"{plain(path)}: has infinite or too large values: expected NaN where it isn't known.")
        known = values[np.isfinite(values)]
        if self.least is not None and known.size and known.min() < self.least:
            raise DataError(
                f"{plain(path)}: has the value {known.min():g}: expected {self.least:g} or more; NaN, or the number "
                '`unknown` of maps.json, such as {"unknown": 0}, marks what isn\'t known.'
            )


def _array(path: Path) -> Any:
    """Return the numbers in a file."""
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, allow_pickle=False)
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                (name,) = arrays.files
                return arrays[name]
        if path.suffix.lower() == ".flo":
            return _flo(path.read_bytes())
        return np.array(ImageFile(path).decode()[0])
    except DataError:
        raise
    except Exception as error:  # on a broken file numpy raises almost anything
        raise DataError(
            f"{plain(path)}: can't be read as a map ({plain(error)}): expected .npy, .npz with one array, .flo, or PNG "
            "or TIFF of one channel."
        ) from error


def _flo(content: bytes) -> Any:
    """Decode Middlebury's format of optical flow: (H, W, 2)."""
    magic, (width, height) = np.frombuffer(content, "<f4", 1), np.frombuffer(content, "<i4", 2, 4)
    if magic[0] != FLO_MAGIC:
        raise ValueError("it isn't a .flo file")
    flow = np.frombuffer(content, "<f4", 2 * width * height, 12).reshape(height, width, 2)
    return np.where(np.abs(flow) > 1e9, np.nan, flow)  # the format's mark of unknown flow


class MapFileSplit(LazySplit):
    """Images in files, one or two for each sample, with a map in another file.

    size: the height and width that images are brought to. times: how many times as large the maps are.
    """

    can_crop = True

    def __init__(
        self,
        images: Sequence[tuple[Path, ...]],
        maps: Sequence[Path],
        reader: MapReader,
        channels: int,
        size: tuple[int, int],
        times: int,
    ) -> None:
        self.images, self.maps, self.reader = tuple(images), tuple(maps), reader
        self.channels, self.size, self.times = channels, size, times

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_size(self) -> tuple[int, int]:
        """The height and width of all images."""
        return self.size

    def take(self, rows: Tensor) -> Self:
        """Select other files."""
        images, maps = [self.images[i] for i in rows.tolist()], [self.maps[i] for i in rows.tolist()]
        selected = type(self)(images, maps, self.reader, self.channels, self.size, self.times)
        selected.content = self.content
        return selected

    def item(self, number: int, augmentation: ViewSeed) -> Sample:
        """Read a sample at `size`; in a view that crops photos, from a random box of it."""
        x, y = self.raw(number)
        if augmentation.crop:
            top, left, height, width, flip = random_crop_box(
                augmentation.seed, number, augmentation.view, x.shape[1], x.shape[2]
            )
            t = self.times
            x = x[:, top : top + height, left : left + width]
            y = y[:, t * top : t * (top + height), t * left : t * (left + width)]
            x, y = (x.flip(-1), self.reader.form.flip(y.flip(-1))) if flip else (x, y)
        return self._sized(x, y)

    def _sized(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        from torchvision.transforms import functional as TF

        sized = self.reader.form.resize(y[None], x.shape[1:], self.size)
        shape = [self.times * side for side in self.size]
        sized = sized if list(sized.shape[2:]) == shape else F.interpolate(sized, shape, mode="nearest-exact")
        return TF.resize(x, list(self.size), antialias=True), sized[0]

    def raw(self, number: int) -> tuple[Tensor, Tensor]:
        """Return the images (C, H, W) uint8 of a sample, one after the other, and its map.

        Raises: DataError if the images differ in size, or the map isn't `times` as large.
        """
        pictures = [to_tensor(ImageFile(path).rgb_or_grey(self.channels)[0]) for path in self.images[number]]
        y, path = self.reader.read(self.maps[number]), self.maps[number]
        if len({x.shape for x in pictures}) > 1:
            raise DataError(
                f"{plain(self.images[number][1])}: isn't of the size of the first image: expected the same."
            )
        expected = tuple(self.times * side for side in pictures[0].shape[1:])
        if tuple(y.shape[1:]) != expected:
            raise DataError(
                f"{plain(path)}: is {tuple(y.shape[1:])} for an image of {tuple(pictures[0].shape[1:])}: expected "
                f"{expected}."
            )
        return torch.cat(pictures), y

    def stored(self) -> InMemorySplit:
        """Load all samples into memory, at their own size."""
        samples = [self.raw(number) for number in range(len(self))]
        return InMemorySplit(torch.stack([x for x, _ in samples]), torch.stack([y for _, y in samples]))

    def fingerprint(self) -> str:
        """Hash the files' names and sizes, their contents if `content` is set, and how the maps are read."""
        digest = hashlib.sha256(f"{self.reader} {self.times} {self.channels}".encode())
        for path in (*(path for paths in self.images for path in paths), *self.maps):
            name = f"{path.parent.name}/{path.name} {path.stat().st_size}\n"
            digest.update(name.encode(errors="surrogateescape"))
            if self.content:
                digest.update(path.read_bytes())
        return digest.hexdigest()
