"""Images with masks, which hold the class of each pixel."""

from __future__ import annotations

from pathlib import Path

from tutelage.data.decode import read_headers
from tutelage.data.image_files import ImageFileSplit
from tutelage.data.instance_masks import InstanceReading
from tutelage.data.listing import (
    Listing,
    describe_skipped,
    find_mask_folders,
    list_images,
    refuse_shared,
    subfolders,
    summarise,
    to_path,
)
from tutelage.data.masks import MaskFiles, MaskReading, infer_legend, read_legend
from tutelage.data.preparation import SourceData
from tutelage.data.sources.folder import PHOTO
from tutelage.errors import DataError, plain

NAMES = {
    "segmentation:PATH": "images and masks (integer PNG, 255 = ignore) in train/ and trainannot/ …, or images/ and "
    "masks/; classes.json: class names (void, ignore, unlabelled are ignored), or each one's value or colour",
    "instances:PATH": "the same folders with masks that number instances from 1: background, inside, border",
}

SMALL = 256

Pairs = list[tuple[Path, Path]]


def suits(path: Path) -> bool:
    """Return True if a path may be meant for this source."""
    return path.is_dir() and bool(find_mask_folders(path))


def find(kind: str, where: str, size: tuple[int, int] | None) -> SourceData:
    """Load images and masks; images of one size up to 256 pixels are held in memory, others are read on demand."""
    root = to_path(where)
    listings = {split: (list_images(images), list_images(masks)) for split, (images, masks) in _splits(root).items()}
    refuse_shared(root, {split: images for split, (images, _) in listings.items()})
    pairs = {split: _pairs(images, masks) for split, (images, masks) in listings.items()}
    legend = _legend(kind, root, [mask for _, mask in pairs["train"]])
    headers = read_headers([image for of_split in pairs.values() for image, _ in of_split])
    one_size = len(headers.sizes) == 1
    small = one_size and headers.fits(SMALL, sum(map(len, pairs.values())))
    shape = size or (headers.largest if one_size else PHOTO)
    files = {
        split: ImageFileSplit(
            [i for i, _ in of_split], headers.channels, shape, masks=MaskFiles(tuple(m for _, m in of_split), legend)
        )
        for split, of_split in pairs.items()
    }
    splits = {split: f.stored(headers.largest) for split, f in files.items()} if small else files
    notes = describe_skipped(f"{kind}:{where}", [listing for both in listings.values() for listing in both])
    return SourceData("segmentation", legend.classes, shape, "crop-flip", splits, notes=notes, target="mask")


def _legend(kind: str, root: Path, masks: list[Path]) -> MaskReading:
    """Return the meaning of the masks' values: those of classes.json, inferred ones, or instances.

    Raises: DataError if there is a classes.json of instances.
    """
    file = root / "classes.json"
    if kind == "instances":
        if file.is_file():
            raise DataError(f"{plain(file)}: instances have no classes: remove it, or use data=segmentation:PATH.")
        return InstanceReading.of(masks)
    return read_legend(file) if file.is_file() else infer_legend(root, masks)


def _splits(root: Path) -> dict[str, tuple[Path, Path]]:
    """Return each split's folders of images and of masks.

    Raises: DataError if there are none for train.
    """
    subfolders(root)
    mask_folders = find_mask_folders(root)
    if "train" not in mask_folders:
        has = f"has {' and '.join(mask_folders)} but no train" if mask_folders else "no images with masks"
        raise DataError(
            f"{plain(root)}: {has}: expected train/ and trainannot/, train/images/ and train/masks/, "
            "images/train/ and masks/train/, or images/ and masks/ (also labels/, annotations/)."
        )
    return mask_folders


def _pairs(images: Listing, masks: Listing) -> Pairs:
    """Pair images and masks of the same name, whatever their suffixes.

    Raises: DataError if there are none, or some have no partner.
    """
    image_of, mask_of = _by_stem(images), _by_stem(masks)
    if not image_of:
        raise DataError(f"{plain(images.folder)}: no images: add some, or remove the folder.")
    if unpaired := sorted(image_of.keys() ^ mask_of.keys()):
        which = summarise([f"{stem} (no {'mask' if stem in image_of else 'image'})" for stem in unpaired])
        raise DataError(
            f"{plain(images.folder)} and {plain(masks.folder)}: {len(unpaired)} file(s) without a partner of the same "
            f"name: {which}; add, rename or remove."
        )
    return [(image_of[stem], mask_of[stem]) for stem in sorted(image_of)]


def _by_stem(listing: Listing) -> dict[Path, Path]:
    """Return the files by their names without suffixes.

    Raises: DataError if two files have the same name.
    """
    by_stem: dict[Path, Path] = {}
    duplicates = []
    for path in listing.files:
        stem = path.relative_to(listing.folder).with_suffix("")
        if by_stem.setdefault(stem, path) != path:
            duplicates.append(f"{by_stem[stem].name} and {path.name}")
    if duplicates:
        raise DataError(
            f"{plain(listing.folder)}: {len(duplicates)} name(s) with two files: {summarise(duplicates)}; expected "
            "one image and one "
            "mask of each name."
        )
    return by_stem
