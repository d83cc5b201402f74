"""Images with boxes in YOLO's text format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tutelage.data.annotated_images import AnnotatedImage, refuse_faults
from tutelage.data.decode import ImageFile
from tutelage.data.listing import describe_skipped, find_mask_folders, list_images, refuse_shared, to_path
from tutelage.data.object_split import object_data
from tutelage.data.preparation import SourceData
from tutelage.errors import DataError, plain

NAMES = {
    "yolo:FOLDER": "images with boxes: images/train and labels/train (or train/images and train/labels) …, a .txt file "
    "for each image with `class x y width height` in fractions; data.yaml or classes.txt: class names"
}


def suits(path: Path) -> bool:
    """Return True if a path may be meant for this source."""
    return path.is_dir() and bool(_class_file(path)) and bool(find_mask_folders(path))


def find(kind: str, where: str, size: tuple[int, int] | None) -> SourceData:
    """Load the images; one without a text file has no object."""
    root = to_path(where)
    folders = find_mask_folders(root)
    if "train" not in folders:
        raise DataError(
            f"{plain(root)}: has no training images with labels: expected images/train and labels/train, train/images "
            "and train/labels, or images and labels."
        )
    classes = _classes(root)
    listings = {split: list_images(images) for split, (images, _) in folders.items()}
    refuse_shared(root, listings)
    splits = {}
    for split, listing in listings.items():
        labels = folders[split][1]
        images = [_read(path, _label_file(path, listing.folder, labels), classes) for path in listing.files]
        stems = {_label_file(path, listing.folder, labels) for path in listing.files}
        unknown = [file for file in sorted(labels.rglob("*.txt")) if file not in stems and file.name != "classes.txt"]
        refuse_faults(labels, [f"{plain(file.relative_to(labels))} is of no image" for file in unknown])
        splits[split] = images
    notes = describe_skipped(f"yolo:{where}", list(listings.values()))
    return object_data(splits, classes, size, notes=notes)


def _label_file(path: Path, images: Path, labels: Path) -> Path:
    return (labels / path.relative_to(images)).with_suffix(".txt")


def _class_file(root: Path) -> Path | None:
    candidates = [root / name for name in ("data.yaml", "data.yml", "dataset.yaml", "classes.txt")]
    return next((file for file in [*candidates, root / "labels" / "classes.txt"] if file.is_file()), None)


def _classes(root: Path) -> list[str]:
    """Return the class names.

    Raises: DataError if there are none.
    """
    file = _class_file(root)
    if file is None:
        raise DataError(f"{plain(root)}: expected a file data.yaml with names, or classes.txt, one name a line.")
    try:
        content: Any = file.read_text() if file.suffix == ".txt" else yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{plain(file)}: can't be read ({plain(error)}).") from error
    if isinstance(content, str):
        names: Any = content.split("\n") if file.suffix == ".txt" else None
        names = names and [name.strip() for name in names if name.strip()]
    else:
        names = content.get("names") if isinstance(content, dict) else None
        names = [names[key] for key in sorted(names)] if isinstance(names, dict) else names
    if not isinstance(names, list) or not names or len({*map(str, names)}) < len(names):
        raise DataError(f"{plain(file)}: expected a list of class names, each once.")
    return [str(name) for name in names]


def _read(path: Path, labels: Path, classes: Sequence[str]) -> AnnotatedImage:
    """Return an image with the objects that its text file lists.

    Raises: DataError that names the file and the line.
    """
    picture = ImageFile(path)
    image = AnnotatedImage(path, picture.height, picture.width)
    if not labels.is_file():
        return image
    try:
        lines = labels.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{plain(labels)}: can't be read ({plain(error)}).") from error
    faults = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            fault = _add(image, line.split(), len(classes))
            faults += [f"line {number} {fault}"] if fault else []
    refuse_faults(labels, faults)
    return image


def _add(image: AnnotatedImage, words: Sequence[str], classes: int) -> str:
    """Add a line's object; return what is wrong with it."""
    try:
        label, x, y, width, height = int(words[0]), *map(float, words[1:5])
    except (ValueError, IndexError):
        return f"is {' '.join(words)!r}: expected `class x y width height`"
    if len(words) != 5:
        return f"has {len(words)} numbers: expected 5 (`class x y width height`); polygons and scores aren't boxes"
    if not 0 <= label < classes:
        return f"has the class {label}: expected 0 to {classes - 1}"
    if max(x, y, width, height) > 2:
        return f"has {x:g} {y:g} {width:g} {height:g}: expected fractions of the image's width and height, 0 to 1"
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    w, h = image.width, image.height
    return image.add((box[0] * w, box[1] * h, box[2] * w, box[3] * h), label)
