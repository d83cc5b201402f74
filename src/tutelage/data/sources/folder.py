"""Folders of images, one for each class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from tutelage.data.decode import Probe, probe
from tutelage.data.image_files import ImageFileSplit
from tutelage.data.listing import (
    SPLITS,
    Listing,
    doubles,
    folders,
    images_at,
    images_in,
    left_out,
    place,
    refuse_shared,
    some,
    with_masks,
)
from tutelage.data.preparation import SourceData
from tutelage.data.splits import Split
from tutelage.errors import DataError, plain

NAMES = {"folder:PATH": "images in one folder a class; in train/, val/ and test/ if the data is split"}

SMALL = 64
PHOTO = (224, 224)

Classes = Mapping[str, Listing]


def suits(path: Path) -> bool:
    """Whether a path may be meant for this source."""
    return path.is_dir()


def find(kind: str, where: str, size: tuple[int, int] | None) -> SourceData:
    """Images up to 64 pixels are decoded once and held in memory; larger ones are photos, read when asked for."""
    root = place(where)
    roots, notes = _splits(root)
    found = {split: _classes(root, path) for split, path in roots.items()}
    classes = tuple(found["train"])
    _refuse(root, found)
    listings = [listing for of_class in found.values() for listing in of_class.values()]
    seen = probe([path for listing in listings for path in listing.paths])
    count = sum(len(listing.paths) for listing in listings)
    small = seen.fits(SMALL, count)
    shape = size or (seen.largest if max(seen.largest) <= SMALL else PHOTO)
    splits = {split: _samples(list(of_class.values()), seen, shape, small) for split, of_class in found.items()}
    notes += left_out(f"folder:{where}", listings) + doubles(f"folder:{where}", listings)
    return SourceData("classification", classes, shape, "crop-flip" if small else "resized-crop", splits, notes=notes)


def _splits(root: Path) -> tuple[dict[str, Path], list[str]]:
    """The folder of each split, and what is to be said of other folders; DataError if it can't be meant so."""
    there = folders(root)
    if with_masks(root):
        raise DataError(f"{plain(root)}: holds images and masks, no classes: did you mean segmentation:{plain(root)}?")
    exact = {path: split for path in there for split, names in SPLITS.items() if path.name in names}
    alike = {path: split for path in there for split, names in SPLITS.items() if path.name.lower() in names}
    if not exact and len(alike) == len(there) and not any(map(_has_images, there)):
        exact = alike  # Train/ and Test/
    if not exact:
        return {"train": root}, _beside(root, "the class folders") if there else []
    roots: dict[str, Path] = {}
    for path, split in exact.items():
        if _has_images(path):
            raise DataError(_as_class(path))
        if split in roots:
            raise DataError(f"{plain(root)}: {roots[split].name} and {path.name} are both for {split}: leave one.")
        roots[split] = path
    if "train" not in roots:
        given = " and ".join(sorted(path.name for path in exact))
        raise DataError(f"{plain(root)}: has {given} but no train: expected train/CLASS/… beside; add it.")
    notes = [note for path in roots.values() for note in _beside(path, "the class folders")]
    if others := [path.name for path in there if path not in exact]:
        notes.append(f"data {plain(root)}: left out beside {', '.join(p.name for p in exact)}: {some(others)}.")
    return roots, notes


def _has_images(path: Path) -> bool:
    """Whether images lie in a folder and no folders do: it is a class's, not a split's."""
    return bool(images_at(path)) and not folders(path)


def _as_class(path: Path) -> str:
    return (
        f"{plain(path)}: holds images and no class folders. If {path.name!r} is a class, its name is one of a split: "
        f"rename it (such as {path.name}_), or put all classes into a folder called train. If it is a split, sort its "
        f"images into one folder a class ({path.name}/CLASS/…), or leave it out: what is missing is cut from train."
    )


def _beside(path: Path, what: str) -> list[str]:
    stray = images_at(path)
    lie = f"data {plain(path)}: {len(stray):,} image(s) beside {what} belong to no class and are left out: "
    return [f"{lie}{some(stray, 3)}."] if stray else []


def _classes(root: Path, path: Path) -> dict[str, Listing]:
    """The image files of each class."""
    found = {folder.name: images_in(folder) for folder in folders(path)}
    if not found:
        loose = len(images_in(path).files)
        has = f"has {loose:,} images, but no folders" if loose else "has no folders"
        raise DataError(f"{plain(path)}: {has}: expected one folder of images for each class ({path.name}/CLASS/…).")
    if wrong := [name for name in found if not _is_text(name)]:
        raise DataError(f"{plain(path)}: class folder(s) whose names aren't UTF-8: {some(wrong)}; rename them.")
    if empty := [name for name, listing in found.items() if not listing.files]:
        raise DataError(
            f"{plain(path)}: no images in the class folder(s) {some(empty)}: add some (.jpg, .png …), or remove the "
            "folder. " + " ".join(left_out(path.name, [found[name] for name in empty]))
        )
    return found


def _is_text(name: str) -> bool:
    return name.encode(errors="replace").decode() == name


def _refuse(root: Path, found: Mapping[str, Classes]) -> None:
    """Refuse a single class, splits of other classes than train's, and files that are in two places."""
    train = found["train"]
    if len(train) < 2:
        (only,) = (listing.folder for listing in train.values())
        inner = [folder.name for folder in folders(only)]
        mend = f"did you mean {plain(only)}, which has {some(inner)}?" if inner else "add another class."
        raise DataError(f"{plain(root)}: has one class folder only, {plain(only.name)}: expected two or more; {mend}")
    for split, classes in found.items():
        if tuple(classes) != tuple(train):
            only_train = some(sorted({*train} - {*classes})) or "none"
            only_there = some(sorted({*classes} - {*train})) or "none"
            raise DataError(
                f"{plain(root)}: class folders differ: only in train: {only_train}; only in {split}: {only_there}. "
                "Expected the same in each split: add or remove folders."
            )
    refuse_shared(root, {f"{split}/{name}": x for split, classes in found.items() for name, x in classes.items()})


def _samples(of_class: list[Listing], seen: Probe, size: tuple[int, int], small: bool) -> Split:
    labels = torch.tensor([label for label, listing in enumerate(of_class) for _ in listing.paths])
    files = ImageFileSplit([path for listing in of_class for path in listing.paths], seen.channels, size, labels=labels)
    return files.stored(seen.largest) if small else files
