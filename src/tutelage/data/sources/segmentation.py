"""Images with masks: an integer a pixel says its class."""

from __future__ import annotations

from pathlib import Path

from tutelage.data.decode import probe
from tutelage.data.image_files import ImageFileSplit
from tutelage.data.listing import Listing, folders, images_in, left_out, place, refuse_shared, some, with_masks
from tutelage.data.masks import Masks, legend, legend_of
from tutelage.data.preparation import SourceData
from tutelage.data.sources.folder import PHOTO
from tutelage.errors import DataError, plain

NAMES = {
    "segmentation:PATH": "images and masks (integer PNG, 255 = ignore) in train/ and trainannot/ …, or images/ and "
    "masks/; classes.json: class names, of which void, ignore, unlabelled don't count, or each one's value or colour"
}

SMALL = 256

Pairs = list[tuple[Path, Path]]


def suits(path: Path) -> bool:
    """Whether a path may be meant for this source."""
    return path.is_dir() and bool(with_masks(path))


def find(kind: str, where: str, size: tuple[int, int] | None) -> SourceData:
    """Images of one size up to 256 pixels are decoded once and held in memory, others are read when asked for."""
    root = place(where)
    listings = {split: (images_in(images), images_in(masks)) for split, (images, masks) in _splits(root).items()}
    refuse_shared(root, {split: images for split, (images, _) in listings.items()})
    pairs = {split: _pairs(*found) for split, found in listings.items()}
    listed = root / "classes.json"
    known = legend(listed) if listed.is_file() else legend_of(root, [mask for _, mask in pairs["train"]])
    seen = probe([image for found in pairs.values() for image, _ in found])
    alike = len(seen.sizes) == 1
    small = alike and seen.fits(SMALL, sum(map(len, pairs.values())))
    shape = size or (seen.largest if alike else PHOTO)
    files = {
        split: ImageFileSplit(
            [i for i, _ in found], seen.channels, shape, masks=Masks(tuple(m for _, m in found), known)
        )
        for split, found in pairs.items()
    }
    splits = {split: f.stored(seen.largest) for split, f in files.items()} if small else files
    notes = left_out(f"segmentation:{where}", [listing for both in listings.values() for listing in both])
    return SourceData("segmentation", known.classes, shape, "crop-flip", splits, notes=notes)


def _splits(root: Path) -> dict[str, tuple[Path, Path]]:
    """The folders of images and of masks of each split."""
    folders(root)
    found = with_masks(root)
    if "train" not in found:
        has = f"has {' and '.join(found)} but no train" if found else "no images with masks"
        raise DataError(
            f"{plain(root)}: {has}: expected train/ and trainannot/, train/images/ and train/masks/, "
            "images/train/ and masks/train/, or images/ and masks/ (also labels/, annotations/)."
        )
    return found


def _pairs(images: Listing, masks: Listing) -> Pairs:
    """Images and masks of the same name, whatever their endings."""
    image_of, mask_of = _by_stem(images), _by_stem(masks)
    if not image_of:
        raise DataError(f"{plain(images.folder)}: no images: add some, or remove the folder.")
    if lone := sorted(image_of.keys() ^ mask_of.keys()):
        which = some([f"{stem} (no {'mask' if stem in image_of else 'image'})" for stem in lone])
        raise DataError(
            f"{plain(images.folder)} and {plain(masks.folder)}: {len(lone)} file(s) without a partner of the same "
            f"name: {which}; add, rename or remove."
        )
    return [(image_of[stem], mask_of[stem]) for stem in sorted(image_of)]


def _by_stem(listing: Listing) -> dict[Path, Path]:
    """The files by their names without endings; DataError if two have the same."""
    found: dict[Path, Path] = {}
    twice = []
    for path in listing.files:
        stem = path.relative_to(listing.folder).with_suffix("")
        if found.setdefault(stem, path) != path:
            twice.append(f"{found[stem].name} and {path.name}")
    if twice:
        raise DataError(
            f"{plain(listing.folder)}: {len(twice)} name(s) with two files: {some(twice)}; expected one image and one "
            "mask of each name."
        )
    return found
