"""A folder of images without labels, at any depth."""

from __future__ import annotations

from pathlib import Path

from tutelage.data.decode import read_headers
from tutelage.data.image_files import ImageFileSplit
from tutelage.data.items import UNLABELLED
from tutelage.data.listing import (
    SPLITS,
    Listing,
    describe_duplicates,
    describe_skipped,
    list_images,
    refuse_shared,
    subfolders,
    to_path,
)
from tutelage.data.listing import images_directly_in as directly_in
from tutelage.data.preparation import SourceData
from tutelage.data.sources.folder import PHOTO, SMALL
from tutelage.data.splits import Split
from tutelage.errors import DataError, plain

NAMES = {
    "images:PATH": "images without labels, in folders of any depth; in train/, val/ and test/ if the data is split"
}


def suits(path: Path) -> bool:
    """Return True if a path may be meant for this source."""
    return path.is_dir()


def find(kind: str, where: str, size: tuple[int, int] | None) -> SourceData:
    """Load the images; up to 64 pixels they are decoded once and held in memory, larger ones are read on demand.

    Raises: DataError if there are none.
    """
    root = to_path(where)
    listings = {split: list_images(path) for split, path in _splits(root).items()}
    if empty := [listing for listing in listings.values() if not listing.files]:
        there = " ".join(describe_skipped(f"images:{where}", empty))
        raise DataError(
            f"{plain(empty[0].folder)}: has no images: add some (.jpg, .png …), or remove it. {there}".rstrip()
        )
    refuse_shared(root, listings)
    headers = read_headers([path for listing in listings.values() for path in listing.paths])
    small = headers.fits(SMALL, sum(len(listing.paths) for listing in listings.values()))
    shape = size or (headers.largest if max(headers.largest) <= SMALL else PHOTO)
    splits: dict[str, Split] = {}
    for split, listing in listings.items():
        files = ImageFileSplit(listing.paths, headers.channels, shape)
        splits[split] = files.stored(headers.largest) if small else files
    augment = "crop-flip" if small else "resized-crop"
    return SourceData(UNLABELLED, (), shape, augment, splits, notes=_notes(where, [*listings.values()]), target="none")


def _splits(root: Path) -> dict[str, Path]:
    """Return the folder of each split: the whole folder, unless all that it holds are train/, val/ and test/."""
    folders = subfolders(root)
    by_name = {split: path for path in folders for split, names in SPLITS.items() if path.name in names}
    is_split = "train" in by_name and len(by_name) == len(folders) and not directly_in(root)
    return by_name if is_split else {"train": root}


def _notes(where: str, listings: list[Listing]) -> list[str]:
    name = f"images:{where}"
    return describe_skipped(name, listings) + describe_duplicates(name, listings)
