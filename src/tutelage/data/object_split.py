"""Images read from files with their objects, which move with them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

from torch import Tensor

from tutelage.data.annotated_images import AnnotatedImage, refuse_in_two_splits
from tutelage.data.augment import random_crop_box
from tutelage.data.boxes import crop_boxes, flip_boxes
from tutelage.data.decode import ImageFile, max_shrink, read_headers, resize_box, to_tensor
from tutelage.data.image_files import file_digest
from tutelage.data.preparation import SourceData
from tutelage.data.sources.folder import PHOTO
from tutelage.data.splits import LazySplit, Sample, ViewSeed


class ObjectSplit(LazySplit):
    """Images resized to one size (their sides by different factors where they are longer or shorter), with objects.

    An item is (C, H, W) uint8 and a mapping: boxes (n, 4), x₁, y₁, x₂, y₂ in pixels of the resized image; labels (n,);
    iscrowd (n,); area (n,) in pixels of the file; size (2,), the file's height and width.
    """

    can_crop = True

    def __init__(self, images: Sequence[AnnotatedImage], channels: int, size: tuple[int, int]) -> None:
        self.images, self.channels, self.size = tuple(images), channels, size

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_size(self) -> tuple[int, int]:
        """The height and width of all images."""
        return self.size

    @cached_property
    def objects(self) -> list[dict[str, Tensor]]:
        """Each image's objects, in pixels of the files."""
        return [image.objects() for image in self.images]

    def take(self, rows: Tensor) -> Self:
        """Select other images."""
        selected = type(self)([self.images[i] for i in rows.tolist()], self.channels, self.size)
        selected.content = self.content
        return selected

    def item(self, number: int, augmentation: ViewSeed) -> Sample:
        """Decode an image, crop it at random if the view does, and resize it; its objects move with it."""
        picture = ImageFile(self.images[number].path)
        box, flip = (0, 0, picture.height, picture.width), False
        if augmentation.crop:
            address = augmentation.seed, number, augmentation.view
            *corner, flip = random_crop_box(*address, picture.height, picture.width)
            box = (corner[0], corner[1], corner[2], corner[3])
        image, times = picture.rgb_or_grey(self.channels, max_shrink(box, self.size))
        x = to_tensor(resize_box(image, box, times, self.size))
        objects = crop_boxes(self.objects[number], (box[1], box[0], box[1] + box[3], box[0] + box[2]), self.size)
        return (x.flip(-1), flip_boxes(objects, self.size[1])) if flip else (x, objects)

    def fingerprint(self) -> str:
        """Hash the files' names and sizes, or their contents if `content` is set, and the objects."""
        digest = hashlib.sha256()
        for image, objects in zip(self.images, self.objects, strict=True):
            name = f"{image.path.parent.name}/{image.path.name} {image.path.stat().st_size}\n"
            digest.update(name.encode(errors="surrogateescape"))
            if self.content:
                digest.update(file_digest(image.path))
            for value in objects.values():
                digest.update(value.numpy().tobytes())
        return digest.hexdigest()


def object_data(
    splits: Mapping[str, Sequence[AnnotatedImage]], classes: Sequence[str], size: tuple[int, int] | None, **more: Any
) -> SourceData:
    """Return the source's data; without a size, images of one size up to 640 pixels keep it, others are PHOTO's."""
    refuse_in_two_splits(splits)
    headers = read_headers([image.path for images in splits.values() for image in images])
    keep = len(headers.sizes) == 1 and max(headers.largest) <= 640
    shape = size or (headers.largest if keep else (2 * PHOTO[0], 2 * PHOTO[1]))
    parts = {split: ObjectSplit(images, headers.channels, shape) for split, images in splits.items()}
    return SourceData("detection", tuple(classes), shape, "crop-flip", parts, target="objects", **more)
