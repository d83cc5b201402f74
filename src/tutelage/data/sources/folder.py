"""Folders of images, one for each class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from tutelage.data.decode import ImageHeaders, read_headers
from tutelage.data.image_files import ImageFileSplit
from tutelage.data.listing import (
    SPLITS,
    Listing,
    describe_duplicates,
    describe_skipped,
    find_mask_folders,
    images_directly_in,
    list_images,
    refuse_shared,
    subfolders,
    summarise,
    to_path,
)
from tutelage.data.preparation import SourceData
from tutelage.data.splits import Split
from tutelage.errors import DataError, plain

NAMES = {"folder:PATH": "images in one folder per class; in train/, val/ and test/ if the data is split"}

SMALL = 64
PHOTO = (224, 224)

Classes = Mapping[str, Listing]


def suits(path: Path) -> bool:
    """Return True if a path may be meant for this source."""
    return path.is_dir()


def find(kind: str, where: str, size: tuple[int, int] | None) -> SourceData:
    """Load the images; up to 64 pixels they are decoded once and held in memory, larger ones are read on demand."""
    root = to_path(where)
    roots, notes = _splits(root)
    classes_of = {split: _classes(root, path) for split, path in roots.items()}
    classes = tuple(classes_of["train"])
    _check_classes(root, classes_of)
    listings = [listing for of_split in classes_of.values() for listing in of_split.values()]
    headers = read_headers([path for listing in listings for path in listing.paths])
    count = sum(len(listing.paths) for listing in listings)
    small = headers.fits(SMALL, count)
    shape = size or (headers.largest if max(headers.largest) <= SMALL else PHOTO)
    splits = {split: _samples(list(of_split.values()), headers, shape, small) for split, of_split in classes_of.items()}
    notes += describe_skipped(f"folder:{where}", listings) + describe_duplicates(f"folder:{where}", listings)
    return SourceData("classification", classes, shape, "crop-flip" if small else "resized-crop", splits, notes=notes)


def _splits(root: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the folder of each split, and notes about other folders.

    Raises: DataError if the folders' meaning is ambiguous or train is missing.
    """
    candidates = subfolders(root)
    if find_mask_folders(root):
        raise DataError(f"{plain(root)}: has images and masks, no classes: did you mean segmentation:{plain(root)}?")
    exact = {path: split for path in candidates for split, names in SPLITS.items() if path.name in names}
    lowercase = {path: split for path in candidates for split, names in SPLITS.items() if path.name.lower() in names}
    if not exact and len(lowercase) == len(candidates) and not any(map(_has_images, candidates)):
        exact = lowercase  # Train/ and Test/
    if not exact:
        return {"train": root}, _stray_images(root) if candidates else []
    roots: dict[str, Path] = {}
    for path, split in exact.items():
        if _has_images(path):
            raise DataError(_class_or_split(path))
        if split in roots:
            raise DataError(f"{plain(root)}: {roots[split].name} and {path.name} are both for {split}: keep one.")
        roots[split] = path
    if "train" not in roots:
        present = " and ".join(sorted(path.name for path in exact))
        raise DataError(f"{plain(root)}: has {present} but no train: expected train/CLASS/… as well; add it.")
    notes = [note for path in roots.values() for note in _stray_images(path)]
    if ignored := [path.name for path in candidates if path not in exact]:
        notes.append(f"data {plain(root)}: left out next to {', '.join(p.name for p in exact)}: {summarise(ignored)}.")
    return roots, notes


def _has_images(path: Path) -> bool:
    """Return True if a folder has images and no subfolders, and is therefore a class's, not a split's."""
    return bool(images_directly_in(path)) and not subfolders(path)


def _class_or_split(path: Path) -> str:
    return (
        f"{plain(path)}: has images and no class folders. If {path.name!r} is a class, its name is that of a split: "
        f"rename it (such as {path.name}_), or put all classes into a folder called train. If it is a split, sort its "
        f"images into one folder per class ({path.name}/CLASS/…), or remove it: a missing split is cut from train."
    )


def _stray_images(path: Path) -> list[str]:
    images = images_directly_in(path)
    start = f"data {plain(path)}: {len(images):,} image(s) outside of the class folders are left out: "
    return [f"{start}{summarise(images, 3)}."] if images else []


def _classes(root: Path, path: Path) -> dict[str, Listing]:
    """List the image files of each class.

    Raises: DataError if there are no class folders, or some are empty or have names that aren't UTF-8.
    """
    listings = {folder.name: list_images(folder) for folder in subfolders(path)}
    if not listings:
        loose = len(list_images(path).files)
        has = f"has {loose:,} images, but no folders" if loose else "has no folders"
        raise DataError(f"{plain(path)}: {has}: expected one folder of images for each class ({path.name}/CLASS/…).")
    if wrong := [name for name in listings if not _is_text(name)]:
        raise DataError(f"{plain(path)}: class folder(s) whose names aren't UTF-8: {summarise(wrong)}; rename them.")
    if empty := [name for name, listing in listings.items() if not listing.files]:
        raise DataError(
            f"{plain(path)}: no images in the class folder(s) {summarise(empty)}: add some (.jpg, .png …), or remove "
            "the "
            "folder. " + " ".join(describe_skipped(path.name, [listings[name] for name in empty]))
        )
    return listings


def _is_text(name: str) -> bool:
    return name.encode(errors="replace").decode() == name


def _check_classes(root: Path, classes_of: Mapping[str, Classes]) -> None:
    """Reject a single class, splits with other classes than train's, and files that are in two places.

    Raises: DataError.
    """
    train = classes_of["train"]
    if len(train) < 2:
        (only,) = (listing.folder for listing in train.values())
        inner = [folder.name for folder in subfolders(only)]
        mend = f"did you mean {plain(only)}, which has {summarise(inner)}?" if inner else "add another class."
        raise DataError(f"{plain(root)}: has one class folder only, {plain(only.name)}: expected two or more; {mend}")
    for split, classes in classes_of.items():
        if tuple(classes) != tuple(train):
            only_train = summarise(sorted({*train} - {*classes})) or "none"
            only_there = summarise(sorted({*classes} - {*train})) or "none"
            raise DataError(
                f"{plain(root)}: class folders differ: only in train: {only_train}; only in {split}: {only_there}. "
                "Expected the same in each split: add or remove folders."
            )
    refuse_shared(root, {f"{split}/{name}": x for split, classes in classes_of.items() for name, x in classes.items()})


def _samples(listings: list[Listing], headers: ImageHeaders, size: tuple[int, int], small: bool) -> Split:
    labels = torch.tensor([label for label, listing in enumerate(listings) for _ in listing.paths])
    files = ImageFileSplit(
        [path for listing in listings for path in listing.paths], headers.channels, size, labels=labels
    )
    return files.stored(headers.largest) if small else files
