"""Images with boxes in COCO's JSON format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage.data.annotated_images import AnnotatedImage, refuse_faults, refuse_missing_files, refuse_other_sizes
from tutelage.data.listing import to_path
from tutelage.data.object_split import object_data
from tutelage.data.preparation import SourceData
from tutelage.errors import DataError, plain

NAMES = {
    "coco:PATH": "images with boxes, a COCO .json file (an image's `split` is train, val or test), or a folder of one "
    "for each split (annotations/*train*.json …, or train/_annotations.coco.json …)"
}

SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


def suits(path: Path) -> bool:
    """Return True if a path may be meant for this source."""
    return path.suffix == ".json" or (path.is_dir() and bool(_files_of(path)))


def find(kind: str, where: str, size: tuple[int, int] | None) -> SourceData:
    """Load the images: a file's are in one split each, or all in train; crowds count in no split's figures."""
    path = to_path(where)
    files = {"": path} if path.is_file() else _files_of(path)
    if not files:
        raise DataError(
            f"{plain(path)}: has no annotations: expected annotations/*train*.json, train/_annotations.coco.json, or "
            "the path of a .json file."
        )
    if path.is_dir() and "train" not in files:
        raise DataError(f"{plain(path)}: has annotations of {', '.join(files)}, but none of train.")
    contents = {split: _read(file) for split, file in files.items()}
    classes = _classes(files, contents)
    splits: dict[str, list[AnnotatedImage]] = {}
    for split, file in files.items():
        images = _images(file, contents[split], [folder for folder in _folders(file, split) if folder.is_dir()])
        _add_objects(file, contents[split], images, classes)
        refuse_other_sizes(file, list(images.values()))
        for number, image in images.items():
            name = split or _split_of(file, number, contents[split])
            splits.setdefault(name, []).append(image)
    return object_data(splits, list(classes.values()), size)


def _files_of(root: Path) -> dict[str, Path]:
    """Return the annotations of each split in a folder."""
    found: dict[str, Path] = {}
    for split, names in SPLIT_NAMES.items():
        for name in names:
            candidates = [*sorted(root.glob(f"annotations/*{name}*.json")), root / name / "_annotations.coco.json"]
            boxes = [file for file in candidates if file.is_file() and not file.name.startswith(("captions", "person"))]
            if boxes:
                found.setdefault(split, boxes[0])
    return found


def _folders(file: Path, split: str) -> list[Path]:
    """Return the folders in which an annotations' file may have its images."""
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    names = [file.stem.partition("_")[2], *SPLIT_NAMES.get(split, ())]
    folders = [folder for name in names if name for folder in (root / name, root / "images" / name)]
    return [*folders, root, root / "images"]


def _read(file: Path) -> Mapping[str, Any]:
    """Read the file.

    Raises: DataError if it isn't JSON, or lacks a list.
    """
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{plain(file)}: can't be read ({plain(error)}): expected COCO's JSON.") from error
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in lists):
        raise DataError(f"{plain(file)}: expected the lists images, annotations and categories, as COCO has them.")
    for name, keys in (("images", ("id", "file_name")), ("annotations", ("image_id", "category_id", "bbox")),
                       ("categories", ("id", "name"))):  # fmt: skip
        faults = [
            f"{name}[{row}] has no {' and no '.join(key for key in keys if key not in entry)}"
            if isinstance(entry, dict)
            else f"{name}[{row}] is {type(entry).__name__}, expected an object"
            for row, entry in enumerate(content[name])
            if not isinstance(entry, dict) or any(key not in entry for key in keys)
        ]
        refuse_faults(file, faults)
    return content


def _classes(files: Mapping[str, Path], contents: Mapping[str, Mapping[str, Any]]) -> dict[Any, str]:
    """Return the categories' names by id, which all files must agree on.

    Raises: DataError.
    """
    first: dict[Any, str] = {}
    for split, content in contents.items():
        names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        if len(names) < len(content["categories"]) or len({*names.values()}) < len(names):
            raise DataError(f"{plain(files[split])}: has two categories of one id or name: expected each once.")
        if first and names != first:
            raise DataError(f"{plain(files[split])}: has other categories than the first split's: expected the same.")
        first = first or names
    if not first:
        raise DataError(f"{plain(next(iter(files.values())))}: has no categories: expected one or more.")
    return first


def _images(file: Path, content: Mapping[str, Any], folders: Sequence[Path]) -> dict[Any, AnnotatedImage]:
    """Return the images by id.

    Raises: DataError if an id is there twice, or a file is missing.
    """
    images: dict[Any, AnnotatedImage] = {}
    faults = []
    for row, entry in enumerate(content["images"]):
        if entry["id"] in images:
            faults.append(f"images[{row}] has the id {entry['id']}, as an earlier one")
        paths = [folder / str(entry["file_name"]) for folder in folders]
        path = next((path for path in paths if path.is_file()), paths[0])
        height, width = _sides(entry, path)
        images[entry["id"]] = AnnotatedImage(path, height, width)
    refuse_faults(file, faults)
    refuse_missing_files(file, [image.path for image in images.values()])
    return images


def _sides(entry: Mapping[str, Any], path: Path) -> tuple[int, int]:
    """Return an image's declared height and width, or else those of its file."""
    from tutelage.data.decode import ImageFile

    if isinstance(entry.get("height"), int) and isinstance(entry.get("width"), int):
        return entry["height"], entry["width"]
    if not path.is_file():
        return 0, 0
    picture = ImageFile(path)
    return picture.height, picture.width


def _add_objects(
    file: Path, content: Mapping[str, Any], images: Mapping[Any, AnnotatedImage], classes: Mapping[Any, str]
) -> None:
    """Add the annotations to their images.

    Raises: DataError that lists the faults by row.
    """
    numbers = {category: number for number, category in enumerate(classes)}
    faults, corners = [], 0
    for row, entry in enumerate(content["annotations"]):
        where, box = f"annotations[{row}]", entry["bbox"]
        if entry["image_id"] not in images:
            faults.append(f"{where} is of the image {entry['image_id']}, which isn't in images")
        elif entry["category_id"] not in numbers:
            faults.append(f"{where} has the category {entry['category_id']}, which isn't in categories")
        elif not _are_four(box):
            faults.append(f"{where} has the box {box}, expected [x, y, width, height]")
        else:
            image, (x, y, width, height) = images[entry["image_id"]], map(float, box)
            crowd, area = bool(entry.get("iscrowd", 0)), entry.get("area")
            area = float(area) if isinstance(area, int | float) and area > 0 else None
            fault = image.add((x, y, x + width, y + height), numbers[entry["category_id"]], crowd, area)
            corners += bool(fault) and x < width <= image.width and y < height <= image.height
            faults += [f"{where} {fault}"] if fault else []
    advice = "They look like x₁, y₁, x₂, y₂; expected x, y, width, height." if 2 * corners > len(faults) else ""
    refuse_faults(file, faults, advice)


def _are_four(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(isinstance(x, int | float) for x in box)


def _split_of(file: Path, number: Any, content: Mapping[str, Any]) -> str:
    """Return the split that a file names for an image; train if it names none.

    Raises: DataError for another name.
    """
    name = next(entry.get("split", "train") for entry in content["images"] if entry["id"] == number)
    split = next((split for split, names in SPLIT_NAMES.items() if name in names), None)
    if split is None:
        raise DataError(f"{plain(file)}: the image {number} has the split {name!r}: expected train, val or test.")
    return split
